// A server with its table and log in memory, and streams to it: it can be killed and started again, and its connections cut.

import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { type DatedClock, systemDatedClock } from "../../fs/clock.ts";
import type { SessionEvents } from "../../fs/messages.ts";
import { ENTRY_KINDS, type EntryKind } from "../../fs/namespace/entry.ts";
import { type Namespace, openNamespace, type StripeHooks } from "../../fs/namespace/namespace.ts";
import { RemoteSession } from "../../fs/remote-session.ts";
import { type ServedReport, SessionServer } from "../../fs/session-server.ts";
import type { BlockClient } from "../../replication/block-client.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { duplexPair } from "../fixture/duplex.ts";
import { MemoryLog } from "./namespace/memory-log.ts";

const noBlocks = { disks: () => [] } as unknown as BlockClient;

/** The log as one run of the server has it: after that run was killed, nothing of it gets in any more. */
function logOfOneRun(log: MemoryLog, appended: (entry: Uint8Array) => void): { log: MemoryLog; kill: () => void } {
  let dead = false;
  const run = Object.create(log) as MemoryLog;
  run.append = (entry) => {
    assert.ok(!dead, "the server was killed");
    const index = log.append(entry);
    appended(entry);
    return index;
  };
  for (const method of ["tail", "first", "read", "sync", "drained", "trim"] as const)
    run[method] = (log[method] as () => never).bind(log);
  return { log: run, kill: () => (dead = true) };
}

function kindOf(entry: Uint8Array): EntryKind {
  return ENTRY_KINDS[entry[1]];
}

export class Machine {
  readonly clock: DatedClock;
  readonly #table = new MemoryTable();
  readonly #log = new MemoryLog();
  store = "a store";
  timeLimitMs = 5_000;
  blocks = noBlocks;
  /** How the namespace gets rid of blocks. */
  hooks: StripeHooks | undefined;
  /** What is sent does not arrive, and nobody notices: as where a cable is cut. */
  silent = false;
  namespace!: Namespace;
  #server!: SessionServer;
  #killLog: () => void = () => {};
  #streams: Duplex[] = [];
  #down = false;
  /** Chunks sent over all connections; at `cutAt` they break, before it is delivered. */
  chunks = 0;
  cutAt = Infinity;
  onCut: () => Promise<void> = async () => {};
  /** Called when the log has an entry of this kind, before anybody is answered. */
  onEntry: (kind: EntryKind) => void = () => {};

  constructor(clock: DatedClock = systemDatedClock()) {
    this.clock = clock;
  }

  async start(): Promise<void> {
    const run = logOfOneRun(this.#log, (entry) => this.onEntry(kindOf(entry)));
    this.#killLog = run.kill;
    this.namespace = await openNamespace({ table: this.#table, log: run.log, clock: this.clock, stripes: this.hooks, limits: { resumeMs: 2_000 } }); // prettier-ignore
    const { namespace } = this;
    this.#server = new SessionServer({
      openSession: (events, { resume, former }) =>
        namespace.openSession(events, { durable: true, expires: true, limitMs: this.timeLimitMs, resume, former }),
      written: () => namespace.written(),
      store: this.store,
      scheme: "copies:1",
      blocks: this.blocks,
      clock: this.clock,
      timeLimitMs: this.timeLimitMs,
      isAlive: () => true,
      trace: () => {},
    });
    this.#down = false;
  }

  /** How many entries of the kind the log has. */
  entries(kind: EntryKind): number {
    return this.#log.entries.filter((entry) => kindOf(entry) === kind).length;
  }

  /** As kill -9. */
  kill(): void {
    this.#down = true;
    this.#killLog();
    this.cut();
  }

  /** The sessions that are served. */
  sessions(): ServedReport[] {
    return this.#server.list();
  }

  cut(): void {
    for (const stream of this.#streams.splice(0)) stream.destroy();
  }

  connect = async (): Promise<Duplex> => {
    if (this.#down) throw new Error("connection refused");
    const [left, right] = duplexPair();
    this.#streams.push(left, right);
    left.on("close", () => right.destroy());
    right.on("close", () => left.destroy());
    for (const end of [left, right]) {
      const write = end._write.bind(end);
      end._write = (chunk, encoding, done) => {
        if (this.silent) return done();
        if (++this.chunks !== this.cutAt) return write(chunk, encoding, done);
        this.cut();
        done();
        void this.onCut();
      };
    }
    this.#server.serve(right);
    return left;
  };

  open(events: Partial<SessionEvents> = {}, connect = this.connect): Promise<RemoteSession> {
    return RemoteSession.open({
      connect,
      mountpoint: "/mnt",
      pid: process.pid,
      clock: this.clock,
      random: () => 0,
      events: { recall: async () => {}, expired: () => {}, ...events },
    });
  }
}

// A machine with a store on it, all in this process: simulated disks for blocks, one for the log and the table, a daemon,
// and two mounts behind simulated kernels. One mount, or both, are processes of their own. Power cuts, lost disks, rot
// happen to it; processes are stopped and killed.

import { EmbeddedStore } from "../../fs/embedded.ts";
import { UnwrittenError } from "../../fs/mount/losses.ts";
import type { HeldLease } from "../../fs/messages.ts";
import type { Server } from "../../fs/namespace/server.ts";
import type { Namespace, NamespaceSession } from "../../fs/namespace/namespace.ts";
import type { SessionId } from "../../fs/types.ts";
import { SessionServer } from "../../fs/session-server.ts";
import { LocalBlocks } from "../../replication/local-blocks.ts";
import { StripeStore } from "../../replication/stripes.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, type Random, seededRandom } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { type ProcessClock, SimulationClock } from "./clock.ts";
import { Disks, slow } from "./disks.ts";
import type { Kernel } from "./kernel.ts";
import { MachineTable } from "../storage/machine-table.ts";
import { Mounted } from "./mounted.ts";
import { codeOnThisThread } from "./one-thread.ts";
import { WireEnd } from "./wire.ts";

const STORE = "5e0c5a4e-0f5b-4c44-9d5e-3f6c7b7d3a11";
const SCHEMES = { full: "rs:4+2", small: "copies:3" };
const MOUNTS = 2;
/** Of a mount in a process of its own, as the daemon gives it. */
export const SESSION_LIMIT_MS = 10_000;
/** Small, so that files are rolled and trimmed within a short run. */
const LOG_FILE_BYTES = 1024 * 1024;
const LIMITS = { cacheBytes: 64 * 1024, applyIntervalMs: 200, trimIntervalMs: 500, deadStripeGraceMs: 300 };
/** Of idle files and the rest of what mounts remember, so that little that they forget it often. */
const FEW_INODES = { idleFiles: 2, cleanPieces: 64, attributes: 4, forgetBatch: 2 };
/** How often it is looked whether a session is over. */
const LOOK_MS = 20;

interface Daemon {
  clock: ProcessClock;
  log: LocalLog;
  blocks: LocalBlocks;
  stripes: StripeStore;
  store: EmbeddedStore;
  sessions: SessionServer;
  /** Its ends of the connections. */
  ends: Set<WireEnd>;
}

/** What happens when the operation was done for the `left`-th time and its log entry is written, before the reply is sent. */
export interface Aim {
  operation: string;
  left: number;
  strike: (mount: number) => void;
}

export class World {
  readonly clock = new SimulationClock();
  readonly trace: string[] = [];
  /** Decides delays and what crashes keep; set anew before each round, so that leaving rounds out changes little. */
  random: Random;
  readonly #system: SimulatedDirectory;
  readonly #table = new MemoryTable();
  readonly #disks: Disks;
  readonly #seed: number;
  #lastMount = 0;
  #daemon: Daemon | null = null;
  #mounts: Mounted[] = [];
  #aim: Aim | null = null;
  /** How often the connection of the mount with this number is still cut when it has said all that it held. */
  #hello: { mount: number; left: number } = { mount: 0, left: 0 };
  /** Until when the daemon refuses connections of a mount, by its number. */
  readonly #refusedUntilMs: number[] = [];
  /** Processes of mounts that are there. */
  readonly #alive = new Set<number>();
  /** When the namespace ended the session of a process, in simulated time. */
  readonly #endedMs = new Map<number, number>();

  private constructor(seed: number, disks: Disks, random: Random) {
    this.#seed = seed;
    this.#disks = disks;
    this.random = random;
    disks.note = (line) => this.note(line);
    this.#system = new SimulatedDirectory({ seed: seed + 1, path: "/system" });
  }

  static async create(seed: number): Promise<World> {
    codeOnThisThread();
    let world: World | null = null;
    const first = seededRandom(seed);
    const disks = await Disks.create(STORE, seed, () => (world === null ? first() : world.random()));
    world = new World(seed, disks, first);
    return world;
  }

  get kernels(): Kernel[] {
    if (this.#mounts.length === 0) throw new Error("the machine is down");
    return this.#mounts.map(({ kernel }) => kernel);
  }

  get store(): EmbeddedStore {
    return this.#required().store;
  }

  /** The namespace from within. */
  get server(): Server {
    return this.store.namespace as Server;
  }

  /** What a mount says of its session. */
  beliefs(index: number): { session: SessionId; held: Iterable<HeldLease> } {
    const { session, held } = this.#mounts[index];
    return { session, held: held() };
  }

  get up(): boolean {
    return this.#daemon !== null;
  }

  /** Whether the mount is a process of its own. */
  isRemote(index: number): boolean {
    return index > 0 || this.#seed % 2 === 0;
  }

  /** Boots the machine and mounts twice. */
  async start(): Promise<void> {
    await this.#startDaemon();
    const mounts: Mounted[] = [];
    for (let index = 0; index < MOUNTS; index++) mounts.push(await this.#openMount(index));
    this.#mounts = mounts;
  }

  async #startDaemon(): Promise<void> {
    this.clearFull();
    const clock = this.clock.process();
    const random = (): number => this.random();
    slow(this.#system, clock, random);
    const blocks = new LocalBlocks({
      disks: await this.#disks.open(clock),
      clock,
      onDiskFailed: (status) => this.note(`disk ${status.id}: ${status.reason}`),
    });
    await blocks.start();
    const stripes = new StripeStore({ client: blocks, scheme: SCHEMES.full, random });
    const log = await LocalLog.open(this.#system.view(), { clock, fileBytes: LOG_FILE_BYTES });
    const table = new MachineTable(this.#system, this.#table);
    const trace = (line: string): void => this.note(line);
    const awaits = (owner: string): boolean => this.#alive.has(Number(owner));
    const parts = { table, log, stripes, blocks, schemes: SCHEMES, clock, trace, limits: LIMITS, awaits };
    const store = await EmbeddedStore.open({ ...parts, clean: true });
    this.#daemon = { clock, log, blocks, stripes, store, sessions: this.#sessionServer(store, blocks, clock), ends: new Set() };
  }

  #sessionServer({ namespace }: EmbeddedStore, blocks: LocalBlocks, clock: ProcessClock): SessionServer {
    return new SessionServer({
      openSession: async (events, { pid, resume }) => {
        const expired = (): void => {
          this.#endedMs.set(pid, this.clock.nowMs);
          events.expired();
        };
        const options = { expires: true, durable: true, limitMs: SESSION_LIMIT_MS, owner: String(pid), resume };
        return this.#watched(pid, namespace, await namespace.openSession({ ...events, expired }, options));
      },
      written: () => namespace.written(),
      store: STORE,
      scheme: SCHEMES.full,
      blocks,
      clock,
      timeLimitMs: SESSION_LIMIT_MS,
      isAlive: (pid) => this.#alive.has(pid),
      trace: (line) => this.note(line),
    });
  }

  /** A session whose operations can be aimed at. */
  #watched(pid: number, namespace: Namespace, session: NamespaceSession): NamespaceSession {
    const watch = <Parameters extends unknown[], T>(call: (...request: Parameters) => Promise<T>) => {
      return async (...request: Parameters): Promise<T> => {
        const aim = this.#aim;
        if (aim === null || !request.includes(aim.operation)) return call(...request);
        const reply = await call(...request);
        await namespace.written();
        const mount = this.#mounts.findIndex((mounted) => mounted.pid === pid);
        if (this.#aim !== aim || mount < 0 || --aim.left > 0) return reply;
        this.#aim = null;
        aim.strike(mount);
        return new Promise<never>(() => {});
      };
    };
    const reclaimed = (...told: Parameters<NamespaceSession["reclaimed"]>): Promise<void> => {
      const over = session.reclaimed(...told);
      const { mount } = this.#hello;
      if (this.#hello.left > 0 && this.#mounts[mount]?.pid === pid) {
        this.#hello.left--;
        this.clock.machine().after(this.random(), () => this.cutConnection(mount));
      }
      return over;
    };
    const { call, callNumbered } = session;
    const value = { call: watch(call), callNumbered: watch(callNumbered), reclaimed };
    return Object.assign(Object.create(session) as NamespaceSession, value);
  }

  aim(aim: Aim | null): void {
    this.#aim = aim;
  }

  /** The connection of a mount that is a process of its own breaks. */
  cutConnection(index: number): void {
    this.note(`the connection of mount ${index} is cut`);
    this.#mounts[index]?.breakConnection(this.random() < 0.5);
  }

  /** The daemon takes no connection of the mount for so long. */
  refuse(index: number, forMs: number): void {
    this.#refusedUntilMs[index] = this.clock.nowMs + forMs;
  }

  /** So many times the mount's connection is cut when it has said all that it held to a daemon that was started again. */
  repeatHello(mount: number, times: number): void {
    this.#hello = { mount, left: times };
  }

  get allRemote(): boolean {
    return this.#mounts.every((_, index) => this.isRemote(index));
  }

  async #openMount(index: number): Promise<Mounted> {
    const pid = ++this.#lastMount;
    const options = {
      schemes: SCHEMES,
      trace: (line: string): void => this.note(`mount ${index}: ${line}`),
      clock: this.clock.process(),
      kernelClock: this.clock.machine(),
      random: (): number => this.random(),
      name: `${index}-${pid}`,
      allocate: (bytes: number) => new Uint8Array(bytes),
      inodeLimits: index > 0 || this.#seed % 4 < 2 ? FEW_INODES : {},
    };
    if (!this.isRemote(index)) {
      const { store, stripes } = this.#required();
      return Mounted.openLocal({ ...options, namespace: store.namespace, stripes });
    }
    this.#alive.add(pid);
    return Mounted.openRemote({ ...options, pid, connect: async () => this.#connect(index, options.clock) });
  }

  #connect(index: number, clock: ProcessClock): WireEnd {
    const daemon = this.#daemon;
    if (daemon === null || this.clock.nowMs < (this.#refusedUntilMs[index] ?? 0)) throw new Error("connection refused");
    const [near, far] = WireEnd.pair(clock, daemon.clock, () => this.random());
    daemon.ends.add(far);
    far.once("close", () => daemon.ends.delete(far));
    daemon.sessions.serve(far);
    return near;
  }

  /** SIGKILL to one mount; another one takes its place, when the session of the dead one is over. */
  async killMount(index: number): Promise<void> {
    const mounted = this.#mounts[index];
    const { clock, sessions } = this.#required();
    this.#alive.delete(mounted.pid);
    await mounted.kill();
    while (sessions.list().some(({ pid }) => pid === mounted.pid)) await clock.sleep(LOOK_MS);
    this.#mounts[index] = await this.#openMount(index);
  }

  /** SIGKILL to the daemon. Mounts in processes of their own live on. */
  killDaemon(): void {
    const { clock, ends } = this.#required();
    this.note("the daemon is killed");
    clock.end();
    for (const end of ends) end.sever();
    this.#daemon = null;
    for (const { directory } of [{ directory: this.#system }, ...this.#disks.all]) {
      directory.delay = null;
      directory.kill();
    }
  }

  async restartDaemon(): Promise<void> {
    await this.#startDaemon();
  }

  stopMount(index: number): void {
    this.note(`mount ${index} is stopped`);
    this.#mounts[index].clock.stop();
  }

  continueMount(index: number): void {
    this.note(`mount ${index} goes on`);
    this.#mounts[index].clock.resume();
  }

  /** When the session that the mount had at `sinceMs` was ended by the namespace; null: it was not. */
  sessionEndedMs(index: number, sinceMs: number): number | null {
    const endedMs = this.#endedMs.get(this.#mounts[index].pid) ?? -1;
    return endedMs >= sinceMs ? endedMs : null;
  }

  /** How often another session has begun in the place of one that was over. */
  renewals(index: number): number {
    return this.#mounts[index].renewals;
  }

  /** The power goes, at this moment. */
  cutPower(): void {
    this.halt();
    this.#system.faults = [];
    for (const directory of [this.#system, ...this.#disks.all.map((disk) => disk.directory)]) {
      directory.delay = null;
      directory.crash();
    }
    for (const table of [this.#table, ...this.#disks.all.map((disk) => disk.index)])
      table.crash(randomBelow(this.random, table.unflushedBatches + 1));
  }

  /** Everything is written back and ended, as Ctrl-C does. `unwritten` is told what a mount has lost and no program was told. */
  async stop(unwritten: (mount: number, error: UnwrittenError) => void): Promise<void> {
    const { store, log, blocks, sessions } = this.#required();
    await store.cleaner.stop();
    for (const [index, mount] of this.#mounts.entries())
      await mount.close().catch((error: unknown) => {
        if (!(error instanceof UnwrittenError)) throw error;
        unwritten(index, error);
      });
    sessions.close();
    await store.close();
    await log.close();
    // A disk that is lost says so once more.
    await blocks.close().catch((error: unknown) => {
      if (!this.#disks.anyLost) throw error;
    });
    this.halt();
  }

  /** A whole pass of the cleaner begins, beside whatever comes next. */
  beginCleaning(): void {
    const { cleaner } = this.store;
    if (cleaner.report().state !== "idle") return;
    const ended = (): void => this.note(`cleaner: ${JSON.stringify(cleaner.report())}`);
    cleaner.run({ thorough: true }).then(ended, ended);
  }

  /** What the namespace's own check finds. Takes no time but what it waits for. */
  async check(): Promise<string[]> {
    const { delay } = this.#system;
    this.#system.delay = null;
    const problems: string[] = [];
    for await (const { kind, text } of this.store.namespace.check()) problems.push(`${kind}: ${text}`);
    this.#system.delay = delay;
    return problems;
  }

  /** Nothing happens here any more. */
  halt(): void {
    this.#aim = null;
    this.#hello.left = 0;
    this.#refusedUntilMs.fill(0);
    this.#daemon?.clock.end();
    this.#daemon = null;
    for (const mount of this.#mounts.splice(0)) mount.halt();
    this.#alive.clear();
  }

  loseDisk(choice: number): string {
    return this.#disks.lose(choice);
  }

  rot(choice: number): string {
    return this.#disks.rot(choice);
  }

  faultDisk(choice: number, calls: number): { text: string; full: boolean } {
    return this.#disks.fault(choice, calls);
  }

  clearFull(): void {
    this.#disks.clearFull();
  }

  /** The n-th call to the disk of the log and the table, from now on, will fail. */
  faultSystem(call: number): void {
    this.#system.faults = [{ call: this.#system.calls + call, code: "EIO" }];
  }

  heal(): Promise<string[]> {
    const { blocks, store, clock } = this.#required();
    return this.#disks.heal(blocks, store, clock);
  }

  note(line: string): void {
    this.trace.push(`${this.clock.nowMs.toFixed(3)} ${line}`);
    if (this.trace.length > 500) this.trace.splice(0, 250);
  }

  #required(): Daemon {
    if (this.#daemon === null) throw new Error("the machine is down");
    return this.#daemon;
  }
}

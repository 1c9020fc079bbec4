// A log in memory, and a namespace on it and on a table in memory: for tests of what has nothing to do with disks.
import type { Log, LogIndex } from "../../../storage/log.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import {
  type Namespace,
  type NamespaceOptions,
  type NamespaceSession,
  openNamespace,
  type SessionOptions,
} from "../../../fs/namespace/namespace.ts";
import type { Problem } from "../../../fs/namespace/check-walk.ts";
import type { Attributes, ByteString, InodeId } from "../../../fs/types.ts";
import type { SessionEvents } from "../../../fs/messages.ts";
import type { DatedClock } from "../../../fs/clock.ts";

export class MemoryLog implements Log {
  entries: Uint8Array[] = [];
  #first = 1;
  pendingBytes = 0;

  append(entry: Uint8Array): LogIndex {
    this.entries.push(entry);
    return this.tail();
  }
  async sync(): Promise<void> {}
  async *read(from: LogIndex): AsyncIterable<{ index: LogIndex; entry: Uint8Array }> {
    for (let index = from as number; index <= this.tail(); index++)
      yield { index: index as LogIndex, entry: this.entries[index - this.#first] };
  }
  tail(): LogIndex {
    return (this.#first + this.entries.length - 1) as LogIndex;
  }
  first(): LogIndex {
    return this.#first as LogIndex;
  }
  async drained(): Promise<void> {}
  async trim(below: LogIndex): Promise<void> {
    this.entries.splice(0, below - this.#first);
    this.#first = below;
  }
  async seal(): Promise<LogIndex> {
    return this.tail();
  }
  async close(): Promise<void> {}
}

/** A clock that stands still until it is told to go on. */
export class TestClock implements DatedClock {
  #nowMs = 0;
  /** What the date is ahead of nowMs(). Change it as one who sets the date does. */
  dateAheadMs = 1_700_000_000_000;
  #timers = new Set<{ at: number; callback: () => void }>();
  nowMs(): number {
    return this.#nowMs;
  }
  dateMs(): number {
    return this.dateAheadMs + this.#nowMs;
  }
  after(milliseconds: number, callback: () => void): () => void {
    const timer = { at: this.#nowMs + milliseconds, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
  advance(milliseconds: number): void {
    this.#nowMs += milliseconds;
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at <= this.#nowMs && this.#timers.delete(timer)) timer.callback();
    }
  }
}

export const quietEvents: SessionEvents = { recall: async () => {}, expired: () => {} };

export interface TestStore {
  table: MemoryTable;
  log: MemoryLog;
  clock: TestClock;
  namespace: Namespace;
  session: NamespaceSession;
  root: InodeId;
}

export async function openStore(
  options: Partial<NamespaceOptions> = {},
  sessionOptions: SessionOptions = {},
): Promise<TestStore> {
  const table = new MemoryTable();
  const log = new MemoryLog();
  const clock = new TestClock();
  const namespace = await openNamespace({ table, log, clock, ...options });
  const session = await namespace.openSession(quietEvents, sessionOptions);
  return { table, log, clock, namespace, session, root: 1 as InodeId };
}

export const name = (text: string): ByteString => Buffer.from(text).toString("latin1") as ByteString;

export async function makeEntry(
  session: NamespaceSession,
  parent: InodeId,
  text: string,
  mode = 0o100644,
  more: object = {},
): Promise<Attributes> {
  const request = { parent, name: name(text), mode, umask: 0, uid: 0, gid: 0, exclusive: true, ...more };
  return (await session.call("make", request)).attributes;
}

export async function problems(namespace: Namespace): Promise<Problem[]> {
  const found: Problem[] = [];
  for await (const problem of namespace.check()) found.push(problem);
  return found;
}

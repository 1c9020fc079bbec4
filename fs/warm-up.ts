// Runs the paths of names before the first mount is there. A JavaScript engine that has just started compiles
// while programs wait: a first `find` over 5,000 files cost the daemon 203 ms of processor time, 106 of them its compiler's threads. What
// runs here is the same code on the same kinds of objects, so that it is compiled by the time that it is needed. It is over after a fixed
// time, nothing of it is kept, and nothing outside this process is changed.
//
// "Same kinds" is worth keeping: where a field that was always a small integer here turns out to have a fraction, or a method is
// called on an object of another shape, the engine throws away what it compiled (node --trace-deopt).

import type { Stripes } from "../replication/block-client.ts";
import type { DiskId, Stripe } from "../replication/stripe.ts";
import type { Log, LogIndex } from "../storage/log.ts";
import { MemoryTable } from "../storage/memory-table.ts";
import type { Table } from "../storage/table.ts";
import type { Entry, Handlers, Opened } from "./mount/handlers.ts";
import { Mount } from "./mount/mount.ts";
import type { Connection } from "./mount/operations.ts";
import { operationByCode } from "./mount/operations.ts";
import { ReplyBody, Request, arenaView } from "./mount/operations-request.ts";
import type { ArenaView } from "./mount/operations-request.ts";
import { IN_HEADER_BYTES, IN_HEADER_WORDS, IN_NODE, IN_OPCODE, writeName, writeS64 } from "./mount/protocol.ts";
import { openNamespace } from "./namespace/namespace.ts";
import type { Namespace, StripeHooks } from "./namespace/namespace.ts";
import { Overlay } from "./namespace/overlay.ts";
import { State } from "./namespace/state.ts";
import type { Miss } from "./namespace/state.ts";
import { ROOT_INODE, S_IFREG } from "./types.ts";
import type { ByteString, InodeId } from "./types.ts";

/** On a free machine most is compiled by then; the rest is compiled as before. */
const OPERATIONS_MS = 150;
const TABLE_MS = 75;
const ROUNDS_MAX = 24;
const FILES_PER_ROUND = 12;
/** Directories that stay, to be walked. */
const ROUNDS_KEPT = 4;
/** What is read of the store's own table, and how often: records of this many inode numbers, names of so many directories. */
const TABLE_INODES = 512;
const TABLE_DIRECTORIES = 128;
const TABLE_ROUNDS = 6;
const TABLE_CACHE_BYTES = 4 * 1024 * 1024;

const ARENA_BYTES = 256 * 1024;
/** Nothing follows it. */
const LAST_COOKIE = 0x7fffffff;
const O_WRONLY = 1;
const O_CREAT = 0o100;
const schemes = { full: "copies:1", small: "copies:1" };

const [LOOKUP, GETATTR, SYMLINK, MKDIR, UNLINK, RMDIR, LINK, OPEN, RELEASE, FLUSH, OPENDIR, RELEASEDIR, CREATE, BATCH_FORGET, READDIRPLUS, RENAME2] =
  [1, 3, 6, 9, 10, 11, 13, 14, 18, 25, 27, 29, 35, 42, 44, 45]; // prettier-ignore

/** A log that only counts. */
class CountingLog implements Log {
  readonly pendingBytes = 0;
  #tail = 0;
  append(): LogIndex {
    return ++this.#tail as LogIndex;
  }
  async sync(): Promise<void> {}
  async *read(): AsyncIterable<{ index: LogIndex; entry: Uint8Array }> {}
  tail(): LogIndex {
    return this.#tail as LogIndex;
  }
  first(): LogIndex {
    return 1 as LogIndex;
  }
  async drained(): Promise<void> {}
  async trim(): Promise<void> {}
  async seal(): Promise<LogIndex> {
    return this.tail();
  }
  async close(): Promise<void> {}
}

/** Stripes that keep nothing. */
const stripes: Stripes = {
  write: async (id, scheme, data): Promise<Stripe> => ({
    id,
    scheme,
    dataBytes: data.length,
    blockBytes: data.length,
    disks: [1 as DiskId],
  }),
  sync: async () => {},
  read: async () => {},
  readNow: () => true,
  remove: async () => {},
  space: () => ({ totalBytes: 1e15, freeBytes: 1e15 }),
};

const hooks: StripeHooks = { remove: async () => {}, removeUncommitted: async () => {}, space: stripes.space };

/** The kernel's part: requests as they come, through the operation table, and their replies encoded. */
class Asker {
  readonly #arena: ArenaView = arenaView(new ArrayBuffer(ARENA_BYTES), 0, ARENA_BYTES);
  readonly #body = new ReplyBody(this.#arena, ARENA_BYTES / 2, 4096);
  readonly #connection: Connection;

  constructor(handlers: Handlers) {
    this.#connection = {
      handlers,
      extendedSetxattr: false,
      initialize: () => {},
      writeInitialized: () => 0,
      slotBody: () => this.#body,
      interrupt: () => {},
    };
  }

  async ask(code: number, node: number, fields: readonly number[], text = ""): Promise<unknown> {
    const { words, bytes } = this.#arena;
    const end = IN_HEADER_BYTES + fields.length * 4 + text.length;
    words.fill(0, 0, IN_HEADER_WORDS);
    words[IN_OPCODE] = code;
    writeS64(words, IN_NODE, node);
    for (let index = 0; index < fields.length; index++) words[IN_HEADER_WORDS + index] = fields[index];
    writeName(bytes, end - text.length, text as ByteString);
    const request = new Request(this.#arena, 0, end, 0);
    const operation = operationByCode[code]!;
    const result = operation.call(request, this.#connection);
    // As the channel notes it: the fraction counts, code for whole numbers would be of no use.
    if (result instanceof Promise) request.receivedMs = performance.now();
    const value = result instanceof Promise ? await result : result;
    operation.encode?.(this.#body, value, request, this.#connection);
    return value;
  }

  /** The inode of the entry that answers. */
  async entry(code: number, node: number, fields: readonly number[], text: string): Promise<InodeId> {
    return ((await this.ask(code, node, fields, text)) as Entry).attributes.inode;
  }

  async list(directory: number): Promise<void> {
    const { handle } = (await this.ask(OPENDIR, directory, [0, 0])) as Opened;
    const fields = [handle, 0, 0, 0, ARENA_BYTES / 4, 0, 0, 0, 0, 0];
    await this.ask(READDIRPLUS, directory, fields);
    fields[2] = LAST_COOKIE;
    await this.ask(READDIRPLUS, directory, fields);
    await this.ask(RELEASEDIR, directory, [handle, 0, 0, 0, 0, 0]);
  }
}

async function makeFile(asker: Asker, directory: number, name: string): Promise<InodeId> {
  const fields = [O_CREAT | O_WRONLY, S_IFREG | 0o644, 0o022, 0];
  const made = (await asker.ask(CREATE, directory, fields, `${name}\0`)) as { entry: Entry; opened: Opened };
  const { inode } = made.entry.attributes;
  const { handle } = made.opened;
  await asker.ask(FLUSH, inode, [handle, 0, 0, 0, 0, 0]);
  await asker.ask(RELEASE, inode, [handle, 0, O_WRONLY, 0, 0, 0]);
  return inode;
}

/** A directory of files made, renamed, looked at; and, unless it is kept, removed. */
async function oneRound(asker: Asker, round: number, keep: boolean): Promise<void> {
  const directory = await asker.entry(MKDIR, ROOT_INODE, [0o755, 0o022], `d${round}\0`);
  const made: InodeId[] = [directory];
  for (let file = 0; file < FILES_PER_ROUND; file++) {
    const inode = await makeFile(asker, directory, `f${file}`);
    made.push(inode, await asker.entry(SYMLINK, directory, [], `s${file}\0target\0`));
    await asker.entry(LINK, directory, [inode, 0], `l${file}\0`);
    await asker.ask(RENAME2, directory, [directory, 0, 0, 0], `f${file}\0e${file}\0`);
    await asker.ask(GETATTR, inode, [0, 0, 0, 0]);
    await asker.entry(LOOKUP, directory, [], `e${file}\0`);
    const { handle } = (await asker.ask(OPEN, inode, [0, 0])) as Opened;
    await asker.ask(RELEASE, inode, [handle, 0, 0, 0, 0, 0]);
  }
  await asker.list(directory);
  if (keep) return;
  for (let file = 0; file < FILES_PER_ROUND; file++)
    for (const kind of ["e", "s", "l"]) await asker.ask(UNLINK, directory, [], `${kind}${file}\0`);
  await asker.ask(RMDIR, ROOT_INODE, [], `d${round}\0`);
  for (const inode of made) await asker.ask(BATCH_FORGET, 0, [1, 0, inode, 0, 1, 0]);
}

/** What a mount does that finds nothing in memory. */
async function walk(table: Table, log: Log): Promise<void> {
  const store = await openStore(table, log);
  await store.asker.list(ROOT_INODE);
  for (let round = 0; round < ROUNDS_KEPT; round++) {
    const directory = await store.asker.entry(LOOKUP, ROOT_INODE, [], `d${round}\0`);
    await store.asker.list(directory);
    for (let file = 0; file < FILES_PER_ROUND; file++) await store.asker.entry(LOOKUP, directory, [], `e${file}\0`);
  }
  await store.close();
}

interface WarmStore {
  namespace: Namespace;
  asker: Asker;
  close(): Promise<void>;
}

async function openStore(table: Table, log: Log): Promise<WarmStore> {
  const namespace = await openNamespace({ table, log, stripes: hooks });
  const mount = await Mount.open({ openSession: (events) => namespace.openSession(events), stripes, schemes });
  const close = async (): Promise<void> => {
    await mount.destroy();
    await namespace.close();
  };
  return { namespace, asker: new Asker(mount), close };
}

/** Names and files made, walked through, changed and removed in a store in memory. Ends when the paths are compiled, or after OPERATIONS_MS. */
export async function warmUpOperations(trace: (line: string) => void): Promise<void> {
  const end = performance.now() + OPERATIONS_MS;
  const table = new MemoryTable();
  const log = new CountingLog();
  let store: WarmStore | null = null;
  try {
    store = await openStore(table, log);
    for (let round = 0; round < ROUNDS_KEPT; round++) await oneRound(store.asker, round, true);
    await store.namespace.apply();
    for (let round = ROUNDS_KEPT; round < ROUNDS_MAX && performance.now() < end; round++) {
      await oneRound(store.asker, round, false);
      await walk(table, log);
      await store.namespace.tick();
      // What else is being opened at the same time has its turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } catch (error) {
    trace(`warming up: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    await store?.close();
  }
}

/** Reads the beginning of the store's own table, as a listing does that finds nothing in memory, and drops what it read. Changes nothing; ends after TABLE_MS. */
export async function warmUpTable(table: Table, trace: (line: string) => void): Promise<void> {
  const end = performance.now() + TABLE_MS;
  const limits = { applyRecords: 1, maximumRecords: 1, maximumBytes: 1 };
  const overlay = new Overlay(table, new CountingLog(), { index: 0 as LogIndex, inodes: 0 }, limits);
  const inodes: Miss[] = [];
  for (let index = 0; index < TABLE_INODES; index++) inodes.push({ kind: "inode", inode: (ROOT_INODE + index) as InodeId });
  try {
    for (let round = 0; round < TABLE_ROUNDS; round++) {
      const state = new State(overlay, TABLE_CACHE_BYTES);
      await state.load(inodes);
      for (let index = 0; index < TABLE_DIRECTORIES; index++) {
        if (performance.now() > end) return;
        const directory = (ROOT_INODE + index) as InodeId;
        if (state.completeDirectory(directory) === undefined) await state.load([{ kind: "directory", directory }]);
      }
    }
  } catch (error) {
    // Whoever needs a damaged record is told.
    trace(`warming up: ${error instanceof Error ? error.message : String(error)}`);
  }
}

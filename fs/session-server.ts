// Serves mounts of other processes: their sessions with the namespace, and the blocks, each over one connection at a time.
//
// A session outlives its connection: the mount connects again and goes on. It ends when the mount says so, when its process
// is gone, or when nothing was heard of it for its time limit (the namespace watches that): a stopped process then finds every
// later request refused, so it cannot overwrite what others did meanwhile. Blocks that it stores are harmless: only a
// commit makes them part of a file. What the server was told of a session before a restart: see fs/DESIGN.md.

import type { Duplex } from "node:stream";
import type { BlockClient } from "../replication/block-client.ts";
import { type BlockOperation, isBlockOperation } from "../replication/block-messages.ts";
import { blockReplyBytes, serveBlocks } from "../replication/block-server.ts";
import { Connection, type Message } from "../replication/connection.ts";
import type { Clock } from "../storage/clock.ts";
import { FsError } from "./errno.ts";
import { decodeMessage, decodeRequest, encodeMessage, encodeReply, isOperation } from "./message-codec.ts";
import type { HeldLease, HeldLock, LeaseMode, OperationName, Reply, Request, Session, SessionEvents } from "./messages.ts";
import { OPERATION_RULES } from "./operation-rules.ts";
import type { ByteString, InodeId, SessionId } from "./types.ts";

/** Goes up when the messages change in a way that an older side cannot speak. */
export const SESSION_PROTOCOL_VERSION = 5;
/** Leases, and locks, in one reclaim request. */
export const RECLAIM_MAX = 8192;
/** PATH_MAX. */
export const MOUNTPOINT_CHARACTERS_MAX = 4096;
/** How often a mount without a connection is looked for: one that was killed shall not keep its leases for the whole time limit. */
const PROCESS_CHECK_MS = 250;

/** A session as the namespace gives it out (NamespaceSession). */
export interface ServedSession extends Session {
  readonly limitMs: number;
  heard(): void;
  call<Name extends OperationName>(operation: Name, request: Request<Name>, signal?: AbortSignal): Promise<Reply<Name>>;
  callNumbered<Name extends OperationName>(
    number: number,
    operation: Name,
    request: Request<Name>,
    options: { unanswered?: readonly number[]; signal: AbortSignal },
  ): Promise<{ reply: Reply<Name>; repeated: boolean }>;
  readonly reclaiming: boolean;
  reclaim(leases: readonly HeldLease[], locks: readonly HeldLock[]): void;
  reclaimed(unanswered: readonly number[], learning: readonly number[]): Promise<void>;
  readonly othersReclaim: Promise<void> | undefined;
  fail(reason: string): void;
  close(stored?: Promise<void>): Promise<void>;
}

export interface SessionRequest {
  mountpoint: string;
  pid: number;
  /** A session of before a restart. */
  resume?: SessionId;
  /** The mount's session before this one: it knows that it is over. */
  former?: SessionId;
}

export interface SessionServerOptions {
  /** Opens a durable session with the namespace that expires when nothing is heard of it for timeLimitMs. ESTALE where it cannot be resumed. */
  openSession: (events: SessionEvents, request: SessionRequest) => Promise<ServedSession>;
  /** Resolves when what was acknowledged outlives the process. */
  written: () => Promise<void> | undefined;
  /** Which store this is. */
  store: string;
  /** Scheme of new full stripes. */
  scheme: string;
  blocks: BlockClient;
  clock: Clock;
  /** For how long a connection may be there without a session. */
  timeLimitMs: number;
  /** Whether the process may still be there. */
  isAlive: (pid: number) => boolean;
  trace: (text: string) => void;
}

interface Hello {
  version: number;
  mountpoint: string;
  pid: number;
  session: SessionId;
  store: string;
}

interface Reclaim extends Record<LeaseMode, InodeId[]> {
  locks: HeldLock[];
  last: boolean;
  /** With the last: numbers of requests whose replies are still to come, and those of them by which the mount comes to know an inode. */
  unanswered: number[];
  learning: number[];
  /** Of the inodes: those of which was said that they are open for writing. */
  writing: InodeId[];
}

export interface ServedReport {
  mountpoint: string;
  pid: number;
  session: SessionId;
  requests: number;
  connected: boolean;
}

/** A session, and the connection that it has at the moment. */
interface Hosted {
  session: ServedSession;
  mountpoint: string;
  pid: number;
  requests: number;
  connection: Connection | null;
  over: boolean;
  /** What replies wait for before they are sent. */
  held: Set<Promise<void>>;
  /** Recalls that it has not answered. */
  recalls: number;
  /** What requests wait for while there are such recalls. */
  turn: Promise<void> | null;
  /** Resolves when it, and everybody else, has said what it holds; null while it has not. */
  reclaimed: Promise<void> | null;
  /** Blocks that are just being stored for it. */
  storing: Set<Promise<Message>>;
  /** Waiting for a connection, or for the session's end (null). */
  waiting: ((connection: Connection | null) => void)[];
}

const EMPTY = (): Message => ({ body: encodeMessage("Empty", {}) });

export class SessionServer {
  readonly #options: SessionServerOptions;
  readonly #hosted = new Map<SessionId, Hosted>();
  /** Sessions of before a restart that are just being resumed. */
  readonly #resuming = new Map<SessionId, Promise<Hosted>>();
  readonly #connections = new Set<Connection>();
  #closing = false;

  constructor(options: SessionServerOptions) {
    this.#options = options;
  }

  /** Begins to serve a connection. */
  serve(stream: Duplex): void {
    const { clock, timeLimitMs } = this.#options;
    let hosted: Hosted | null = null;
    let greeting = false;
    /** The session that it said hello for and is over: from then on its mount knows. As it does of one that ended while it had this connection. */
    let former: SessionId | undefined;
    const connection: Connection = new Connection({
      stream,
      handle: async (name, message, signal) => {
        if (name === "ping") {
          // A mount whose ping is answered trusts what it caches for another while.
          if (hosted?.over) throw new FsError("ESTALE", "the session is over");
          hosted?.session.heard();
          return EMPTY();
        }
        if (name === "hello") {
          if (greeting || (hosted !== null && !hosted.over)) throw new FsError("EINVAL", "hello was said already");
          greeting = true;
          const asked = decodeMessage<Hello>("Hello", message.body);
          try {
            const { welcome, host } = await this.#hello(connection, asked, former ?? hosted?.session.id);
            hosted = host;
            return welcome;
          } catch (error) {
            if (asked.session !== 0 && (error as FsError).code === "ESTALE") former = asked.session;
            throw error;
          } finally {
            greeting = false;
          }
        }
        if (hosted === null) throw new FsError("EINVAL", `${name} was asked before hello`);
        if (hosted.connection !== connection) throw new FsError("EINVAL", `${name}: the session has another connection`);
        return this.#handle(hosted, name, message, signal);
      },
      setTimer: (action, delayMs) => clock.after(delayMs, action),
      replyBytes: blockReplyBytes,
      closed: (reason) => {
        cancelSilence();
        this.#connections.delete(connection);
        for (const host of this.#hosted.values()) if (host.connection === connection) this.#detach(host, reason.message);
      },
    });
    this.#connections.add(connection);
    // One whose hello is being answered may have to wait for sessions of before a restart: the namespace says how long.
    const cancelSilence = clock.after(timeLimitMs, () => {
      if (hosted === null && !greeting) connection.close();
    });
  }

  /** The sessions that there are. */
  list(): ServedReport[] {
    return [...this.#hosted.values()].map(({ session, mountpoint, pid, requests, connection }) => ({
      mountpoint,
      pid,
      session: session.id,
      requests,
      connected: connection !== null,
    }));
  }

  /** Ends all connections. The sessions stay, for the mounts to resume when the server is there again. */
  close(): void {
    this.#closing = true;
    for (const connection of [...this.#connections]) connection.close();
  }

  async #hello(connection: Connection, hello: Hello, former?: SessionId): Promise<{ welcome: Message; host: Hosted }> {
    const { store, scheme } = this.#options;
    if (hello.version !== SESSION_PROTOCOL_VERSION)
      throw new FsError(
        "EINVAL",
        `the mount speaks version ${hello.version} of the session protocol; this daemon speaks ${SESSION_PROTOCOL_VERSION}`,
      );
    if (hello.mountpoint.length > MOUNTPOINT_CHARACTERS_MAX)
      throw new FsError("EINVAL", `a mountpoint of ${hello.mountpoint.length} characters; at most ${MOUNTPOINT_CHARACTERS_MAX}`);
    if (hello.store !== "" && hello.store !== store)
      throw new FsError("EINVAL", `the mount is of store ${hello.store.slice(0, 100)}; this daemon serves ${store}`);
    const host = this.#hosted.get(hello.session) ?? (await this.#openOnce(hello, former));
    // A mount that said hello before, and all that it holds: others have not yet, and may hold what it would change.
    await host.reclaimed;
    if (host.over) throw new FsError("ESTALE", `session ${host.session.id} is over`);
    host.session.heard();
    const replaced = host.connection;
    host.connection = connection;
    replaced?.close();
    if (!this.#connections.has(connection)) this.#detach(host, "the connection was closed during hello");
    for (const resolve of host.waiting.splice(0)) resolve(connection);
    const reclaim = host.session.reclaiming;
    const welcome = { session: host.session.id, timeLimitMs: host.session.limitMs, scheme, store, reclaim };
    return { welcome: { body: encodeMessage("Welcome", welcome) }, host };
  }

  /** A mount whose connection broke during hello says it again on the next: the session is resumed once, for both. */
  #openOnce(hello: Hello, former: SessionId | undefined): Promise<Hosted> {
    if (hello.session === 0) return this.#open(hello, former);
    let resuming = this.#resuming.get(hello.session);
    if (resuming === undefined) {
      resuming = this.#open(hello).finally(() => this.#resuming.delete(hello.session));
      this.#resuming.set(hello.session, resuming);
    }
    return resuming;
  }

  async #open({ mountpoint, pid, session: resume }: Hello, former?: SessionId): Promise<Hosted> {
    let host: Hosted | null = null;
    const session = await this.#options.openSession(
      {
        recall: async (inode, mode, names) => (host === null ? undefined : this.#recall(host, inode, mode, names)),
        moved: (inodes) => (host === null ? undefined : this.#moved(host, inodes)),
        writtenElsewhere: (inode) => (host === null ? undefined : this.#writtenElsewhere(host, inode)),
        expired: () => (host === null ? undefined : this.#forget(host)),
      },
      { mountpoint, pid, resume: resume === 0 ? undefined : resume, former },
    );
    host = { session, mountpoint, pid, requests: 0, connection: null, over: false, held: new Set(), recalls: 0, turn: null, reclaimed: null, storing: new Set(), waiting: [] }; // prettier-ignore
    this.#hosted.set(session.id, host);
    return host;
  }

  #detach(host: Hosted, reason: string): void {
    host.connection = null;
    if (this.#closing || host.over) return;
    this.#options.trace(`session ${host.session.id}: connection lost: ${reason}`);
    this.#watch(host);
  }

  /** A mount whose process is gone does not come back. */
  #watch(host: Hosted): void {
    this.#options.clock.after(PROCESS_CHECK_MS, () => {
      if (host.over || host.connection !== null || this.#closing) return;
      if (this.#options.isAlive(host.pid)) this.#watch(host);
      else void this.#end(host, `process ${host.pid} is gone`);
    });
  }

  /** The mount, or its process, is over: nobody trusts what it caches. */
  async #end(host: Hosted, reason: string): Promise<void> {
    if (host.over) return;
    const { id } = host.session;
    this.#options.trace(`session ${id}: over: ${reason}`);
    this.#hosted.delete(id);
    host.over = true;
    await host.session
      .close(stored(host))
      .catch((error: unknown) => this.#options.trace(`session ${id}: close: ${(error as Error).message}`));
    for (const resolve of host.waiting.splice(0)) resolve(null);
  }

  /** The namespace has ended the session. Resolves when its last block is stored. */
  async #forget(host: Hosted): Promise<void> {
    if (host.over) return;
    host.over = true;
    this.#hosted.delete(host.session.id);
    host.connection?.close();
    for (const resolve of host.waiting.splice(0)) resolve(null);
    await stored(host);
  }

  async #handle(host: Hosted, name: string, message: Message, signal: AbortSignal): Promise<Message> {
    const { session } = host;
    if (host.recalls > 0 || host.turn !== null) await this.#turnOf(host);
    if (signal.aborted) throw new FsError("EINTR", `${name} was given up`);
    if (host.over) throw new FsError("ESTALE", `${name}: the session is over`);
    session.heard();
    host.requests++;
    if (name === "reclaim") return this.#reclaim(host, decodeMessage<Reclaim>("Reclaim", message.body));
    if (name === "bye") {
      await this.#end(host, "the mount ended it");
      return EMPTY();
    }
    if (session.reclaiming || session.othersReclaim !== undefined)
      throw new FsError("EINVAL", `${name} was asked before all was reclaimed`);
    if (isBlockOperation(name)) return this.#serveBlocks(host, name, message);
    if (!isOperation(name)) throw new FsError("ENOSYS", `there is no operation ${name}`);
    const request = decodeRequest(name, message.body);
    // A lock that nobody waits for any more must not be granted.
    if (name === "lock")
      signal.addEventListener("abort", () => this.#cancelLock(session, request as Request<"lock">), { once: true });
    const { number = 0, unanswered } = message;
    const { once } = OPERATION_RULES[name];
    if (once !== number > 0)
      throw new FsError("EINVAL", `${name} with the number ${number}: changes have one, other requests none`);
    // What the mount gave up, or asked over a connection that broke, is not done any more: it would be granted what it does not know of.
    const { reply, repeated } = once
      ? await session.callNumbered(number, name, request, { unanswered, signal })
      : { reply: await session.call(name, request, signal), repeated: false };
    // A daemon that is killed must not have told what it then has forgotten: the mount goes on.
    const written = this.#options.written();
    if (written !== undefined) {
      host.held.add(written);
      await written.finally(() => host.held.delete(written));
    }
    return { body: encodeReply(name, reply), repeated };
  }

  /** One chunk may have the answer to a recall and, behind it, what the mount asks afterwards: that must find the recall answered. All that comes until then waits, too, and keeps its order. */
  #turnOf(host: Hosted): Promise<void> {
    host.turn ??= nextTurn().finally(() => (host.turn = null));
    return host.turn;
  }

  /** What is stored for a session that ends meanwhile is removed afterwards. */
  async #serveBlocks(host: Hosted, name: BlockOperation, message: Message): Promise<Message> {
    const served = serveBlocks(this.#options.blocks, name, message);
    if (name !== "block.store") return served;
    host.storing.add(served);
    return served.finally(() => host.storing.delete(served));
  }

  #cancelLock(session: ServedSession, { wait, ticket }: Request<"lock">): void {
    if (wait) session.call("cancelLock", { ticket }).catch(() => {});
  }

  async #reclaim(
    host: Hosted,
    { known, shared, exclusive, locks, last, unanswered, learning, writing }: Reclaim,
  ): Promise<Message> {
    const held = Math.max(known.length + shared.length + exclusive.length, locks.length);
    if (held > RECLAIM_MAX)
      throw new FsError("EINVAL", `reclaim of ${held} leases or locks at once; at most ${RECLAIM_MAX} are taken`);
    const written = new Set(writing);
    const leases = Object.entries({ known, shared, exclusive }).flatMap(([mode, inodes]) =>
      inodes.map((inode) => ({ inode, mode: mode as LeaseMode, writing: written.has(inode) })),
    );
    try {
      host.session.reclaim(leases, locks);
    } catch (error) {
      // The mount hears the reason on its connection.
      host.connection = null;
      host.session.fail((error as Error).message);
      throw error;
    }
    if (last) {
      const reclaimed = host.session.reclaimed(unanswered, learning);
      host.reclaimed = reclaimed.catch(() => {});
      await reclaimed;
    }
    return EMPTY();
  }

  /** Urgent: it goes out before the reply that grants the lease. */
  #writtenElsewhere({ connection, session }: Hosted, inode: InodeId): void {
    const body = encodeMessage("ForgetRequest", { inodes: [inode] });
    connection?.request("writtenElsewhere", { body }, { deadlineMs: session.limitMs, place: "urgent" }).catch(() => {});
  }

  #moved({ connection, session }: Hosted, inodes: readonly InodeId[]): void {
    const body = encodeMessage("ForgetRequest", { inodes });
    connection?.request("moved", { body }, { deadlineMs: session.limitMs }).catch(() => {});
  }

  /** Resolves when the mount has done it, or when its session is over and there is nothing left to give back. While the connection is gone the mount may come back: the namespace says how long that is waited for. */
  async #recall(host: Hosted, inode: InodeId, mode: LeaseMode, names?: readonly ByteString[]): Promise<void> {
    const body = encodeMessage("Recall", { inode, mode, names: names ?? [], allNames: names === undefined });
    await repliesSent(host);
    host.recalls++;
    try {
      await this.#recallAnswered(host, inode, body);
    } finally {
      host.recalls--;
    }
  }

  async #recallAnswered(host: Hosted, inode: InodeId, body: Uint8Array): Promise<void> {
    while (!host.over) {
      const connection = host.connection ?? (await new Promise<Connection | null>((resolve) => host.waiting.push(resolve)));
      if (connection === null) return;
      try {
        // The namespace ends the session before this deadline.
        await connection.request("recall", { body }, { deadlineMs: 4 * host.session.limitMs });
        return;
      } catch (error) {
        if ((error as { code?: string }).code === "ECONNRESET") continue;
        host.session.fail(`recall of inode ${inode}: ${(error as Error).message}`);
      }
    }
  }
}

/** Resolves when nothing is being stored for it any more. */
async function stored({ storing }: Hosted): Promise<void> {
  await Promise.allSettled([...storing]);
}

/** Everything that waits for no event has gone on. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A reply that grants a lease goes out before the lease is recalled, or the mount could never use it where two contend. */
async function repliesSent(host: Hosted): Promise<void> {
  await nextTurn();
  if (host.held.size === 0) return;
  await Promise.allSettled([...host.held]);
  await nextTurn();
}

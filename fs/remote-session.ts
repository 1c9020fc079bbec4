// A mount's session with a namespace in another process, and the blocks behind it. It outlives its connection, and the
// server: see fs/DESIGN.md.

import type { Duplex } from "node:stream";
import type { BlockClient } from "../replication/block-client.ts";
import type { BlockOperation } from "../replication/block-messages.ts";
import type { Connection, Message, RequestError } from "../replication/connection.ts";
import { RemoteBlocks } from "../replication/remote-blocks.ts";
import type { Clock } from "../storage/clock.ts";
import { FsError, type ErrnoName, errno } from "./errno.ts";
import { decodeMessage, decodeReply, encodeMessage, encodeRequest } from "./message-codec.ts";
import type { HeldLock, LeaseMode, OperationName, Reply, Request, Session, SessionEvents } from "./messages.ts";
import { Locks } from "./namespace/locks.ts";
import { BLOCK_PLACE, BLOCK_RULES, OPERATION_RULES } from "./operation-rules.ts";
import { SessionLink, SessionOver } from "./session-link.ts";
import { type Numbered, RequestNumbers } from "./request-numbers.ts";
import { RECLAIM_MAX, SESSION_PROTOCOL_VERSION } from "./session-server.ts";
import type { ByteString, InodeId, SessionId } from "./types.ts";

/** A namespace that does not answer within this counts as gone for the request: the program gets ETIMEDOUT. */
const DEADLINE_MS = 60_000;
/** A waiting lock has no deadline of its own; this is the longest timer there is. */
const LOCK_DEADLINE_MS = 2 ** 31 - 1;
const BYE_DEADLINE_MS = 5_000;
/** How long a request waits for the first word from the server after its leases have run out. */
const CONTACT_MS = 60_000;
/** Heard of this often within its time limit, a session survives two lost turns. */
const PINGS_PER_LIMIT = 3;

/** In hello: another session, please. */
const NO_SESSION = 0 as SessionId;

interface RecallMessage {
  inode: InodeId;
  mode: LeaseMode;
  names: ByteString[];
  allNames: boolean;
}

interface Welcome {
  session: SessionId;
  timeLimitMs: number;
  scheme: string;
  store: string;
  reclaim: boolean;
}

/** What the server and the network refuse with, as a program will see it. */
function refusal(error: unknown): FsError {
  const { code, message } = error as { code?: string; message: string };
  if (code === "ECONNRESET" || code === "EPROTO") return new FsError("ENOTCONN", message, { cause: error });
  return new FsError(code !== undefined && code in errno ? (code as ErrnoName) : "EIO", message, { cause: error });
}

export interface RemoteSessionOptions {
  /** A new stream to the server, each time it is called. */
  connect: () => Promise<Duplex>;
  /** Shown in the daemon's status. */
  mountpoint: string;
  pid: number;
  clock: Clock;
  /** From 0 up to 1. Default Math.random. */
  random?: () => number;
  events: SessionEvents;
  trace?: (text: string) => void;
}

export class RemoteSession implements Session {
  readonly #options: RemoteSessionOptions;
  readonly #link: SessionLink;
  /** What the server holds for this session, for one that has forgotten: all NO_SESSION's here, for there is one mount only. */
  readonly #locks: Locks;
  /** The last recall of each inode that is under way. */
  readonly #recalls = new Map<InodeId, Promise<void>>();
  readonly #numbers: RequestNumbers;
  #welcome: Welcome | null = null;
  #blocks!: BlockClient;
  #cancelPing: () => void = () => {};
  /** Until then the server cannot have ended the session for its silence: it counts from when it heard the last request that it answered. */
  #freshUntil = -Infinity;
  #cancelLapse: () => void = () => {};
  #contact: Promise<void> | null = null;
  #closed = false;

  private constructor(options: RemoteSessionOptions) {
    this.#options = options;
    this.#locks = new Locks(options.clock);
    this.#numbers = new RequestNumbers(options.clock);
    this.#link = new SessionLink({
      connect: options.connect,
      greet: (connection) => this.#greet(connection),
      handle: (request, message) => this.#answer(request, message),
      clock: options.clock,
      random: options.random ?? Math.random,
      trace: options.trace ?? (() => {}),
      over: (reason) => {
        options.trace?.(`session: ${reason.message}`);
        options.events.expired();
      },
    });
  }

  /** Says hello and learns the disks. Rejects with FsError where the daemon refuses or does not answer. */
  static async open(options: RemoteSessionOptions): Promise<RemoteSession> {
    const session = new RemoteSession(options);
    try {
      await session.#link.open();
      const requester = {
        request: (name: string, message: Message, { deadlineMs }: { deadlineMs: number }) =>
          session.#link.request(name, message, {
            deadlineMs,
            place: BLOCK_PLACE,
            renewable: BLOCK_RULES[name as BlockOperation].renewable,
          }),
      };
      session.#blocks = await RemoteBlocks.open(requester, () => options.clock.nowMs());
      return session;
    } catch (error) {
      session.#link.close();
      throw refusal(error);
    }
  }

  /** NO_SESSION while one is over and another has not begun. */
  get id(): SessionId {
    return this.#welcome?.session ?? NO_SESSION;
  }

  get blocks(): BlockClient {
    return this.#blocks;
  }

  /** Scheme of new full stripes. */
  get scheme(): string {
    return this.#welcome!.scheme;
  }

  get connected(): boolean {
    return this.#link.connected;
  }

  get fresh(): boolean {
    return this.#options.clock.nowMs() < this.#freshUntil;
  }

  contact(): Promise<void> {
    this.#contact ??= this.#reach().finally(() => (this.#contact = null));
    return this.#contact;
  }

  /** A new connection's Welcome, or a ping that is answered in time, makes it fresh. */
  async #reach(): Promise<void> {
    const { clock } = this.#options;
    const giveUpAt = clock.nowMs() + CONTACT_MS;
    while (!this.fresh) {
      const [sentAt, deadlineMs] = [clock.nowMs(), giveUpAt - clock.nowMs()];
      try {
        if (deadlineMs <= 0) throw new Error(`no answer in time within ${CONTACT_MS / 1000} s`);
        await this.#link.request("ping", { body: encodeMessage("Empty", {}) }, { deadlineMs, place: "urgent", renewable: true });
      } catch (error) {
        throw new FsError("EIO", `the namespace was not heard of for longer than the session's time limit: ${(error as Error).message}`, { cause: error }); // prettier-ignore
      }
      this.#heard(sentAt);
    }
  }

  /** The server answered what was sent then. */
  #heard(sentAt: number): void {
    const { clock, events } = this.#options;
    const until = sentAt + this.#welcome!.timeLimitMs;
    if (until <= this.#freshUntil) return;
    this.#freshUntil = until;
    this.#cancelLapse();
    this.#cancelLapse = clock.after(Math.ceil(until - clock.nowMs()) + 1, () => {
      if (!this.#closed) events.lapsed?.();
    });
  }

  async call<Name extends OperationName>(operation: Name, request: Request<Name>): Promise<Reply<Name>> {
    const { clock, events } = this.#options;
    const { once, renewable, place: usual } = OPERATION_RULES[operation];
    const waits = operation === "lock" && (request as Request<"lock">).wait;
    const { held } = request as Partial<Request<"setAttributes">>;
    const place = held ? "flush" : usual === "long" && !waits ? "ordinary" : usual;
    const giveUpAt = clock.nowMs() + (waits ? LOCK_DEADLINE_MS : DEADLINE_MS);
    // What is asked was gathered under this session: while it waits for a number another may take its place.
    const { generation } = this.#link;
    if (operation === "releaseLocks") this.#note(operation, request, false);
    let numbered: Numbered | undefined;
    try {
      if (once) numbered = this.#numbers.take(operation, place) ?? (await this.#numbers.wait(operation, DEADLINE_MS));
      const body = encodeRequest(operation, request);
      const deadlineMs = Math.max(1, giveUpAt - clock.nowMs());
      const message = await this.#link.request(operation, { body }, { deadlineMs, place, ...numbered, renewable, generation });
      this.#note(operation, request, true);
      if (message.repeated) events.repeated?.();
      return decodeReply(operation, message.body);
    } catch (error) {
      this.#note(operation, request, false);
      throw refusal(error);
    } finally {
      if (numbered !== undefined) this.#numbers.settle(numbered.number);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelPing();
    this.#cancelLapse();
    if (this.#link.connected)
      await this.#link
        .request("bye", { body: encodeMessage("Empty", {}) }, { deadlineMs: BYE_DEADLINE_MS, renewable: false })
        .catch(() => {});
    this.#link.close();
  }

  /** Keeps what locks are held. Those of owners that are gone are not, whatever becomes of the request: it is said again until it is answered. */
  #note(operation: OperationName, request: unknown, done: boolean): void {
    if (operation === "lock") {
      const { inode, lock } = request as Request<"lock">;
      // flock(2) gives the old lock up before it waits for the new one, whatever becomes of that.
      if (done) this.#locks.restore(NO_SESSION, inode, lock);
      else if (lock.kind === "flock") this.#locks.restore(NO_SESSION, inode, { ...lock, type: "unlock" });
    } else if (operation === "releaseLocks") {
      const { inode, kind, owner } = request as Request<"releaseLocks">;
      this.#locks.releaseOwner(NO_SESSION, inode, kind, owner);
    }
  }

  // A new connection.

  async #greet(connection: Connection): Promise<void> {
    let sentAt = this.#options.clock.nowMs();
    try {
      this.#welcome = await this.#resumed(connection);
    } catch (error) {
      if (this.id === NO_SESSION || (error as RequestError).code !== "ESTALE") throw this.#final(error);
      // Others may change already what it held, and the next hello may wait long: so first all is given up.
      this.#renew((error as Error).message);
      sentAt = this.#options.clock.nowMs();
      this.#welcome = await this.#hello(connection).catch((failure: unknown) => {
        throw this.#final(failure);
      });
    }
    this.#heard(sentAt);
    this.#ping(connection);
  }

  async #resumed(connection: Connection): Promise<Welcome> {
    const welcome = await this.#hello(connection);
    if (welcome.reclaim) await this.#reclaim(connection);
    return welcome;
  }

  async #hello(connection: Connection): Promise<Welcome> {
    const { mountpoint, pid } = this.#options;
    const hello = { version: SESSION_PROTOCOL_VERSION, mountpoint, pid, session: this.id, store: this.#welcome?.store ?? "" };
    const { body } = await connection.request("hello", { body: encodeMessage("Hello", hello) }, { deadlineMs: DEADLINE_MS });
    return decodeMessage<Welcome>("Welcome", body);
  }

  /** Another version, or another store: asking again would bring the same answer. */
  #final(error: unknown): unknown {
    const { code, message } = error as RequestError;
    return this.#welcome !== null && (code === "EINVAL" || code === "EPROTO") ? new SessionOver(message) : error;
  }

  #renew(reason: string): void {
    this.#options.trace?.(`session ${this.id}: over (${reason}); another goes on in its place`);
    this.#welcome = { ...this.#welcome!, session: NO_SESSION };
    this.#freshUntil = -Infinity;
    this.#cancelLapse();
    this.#link.renewed();
    const locked = new Set<InodeId>();
    for (const { inode } of this.#locks.held()) locked.add(inode);
    this.#locks.releaseSession(NO_SESSION);
    this.#options.events.renewed?.(locked);
  }

  /** Tells a server that was started again what this session holds. */
  async #reclaim(connection: Connection): Promise<void> {
    const leases = (this.#options.events.held?.() ?? [])[Symbol.iterator]();
    const locks = [...this.#locks.held()];
    for (let last = false; !last;) {
      const part: Record<LeaseMode, InodeId[]> = { known: [], shared: [], exclusive: [] };
      const writing: InodeId[] = [];
      for (let count = 0; count < RECLAIM_MAX && !last; count++) {
        const next = leases.next();
        if (next.done) last = true;
        else {
          part[next.value.mode].push(next.value.inode);
          if (next.value.writing) writing.push(next.value.inode);
        }
      }
      const someLocks: HeldLock[] = locks.splice(0, RECLAIM_MAX);
      last &&= locks.length === 0;
      const body = encodeMessage("Reclaim", { ...part, writing, locks: someLocks, last, ...(last ? this.#unanswered() : {}) });
      await connection.request("reclaim", { body }, { deadlineMs: DEADLINE_MS });
    }
  }

  /** Numbers whose replies are still to come. Those of `learning` tell the mount of an inode that nobody else may know of. */
  #unanswered(): { unanswered: number[]; learning: number[] } {
    const all = [...this.#numbers.unanswered()];
    const learning = all.filter(([, operation]) => OPERATION_RULES[operation].learns);
    return { unanswered: all.map(([number]) => number), learning: learning.map(([number]) => number) };
  }

  #ping(connection: Connection): void {
    this.#cancelPing();
    if (this.#closed) return;
    const { timeLimitMs } = this.#welcome!;
    const sentAt = this.#options.clock.nowMs();
    connection.request("ping", { body: encodeMessage("Empty", {}) }, { deadlineMs: timeLimitMs, place: "urgent" }).then(
      () => {
        this.#heard(sentAt);
        this.#cancelPing = this.#options.clock.after(timeLimitMs / PINGS_PER_LIMIT, () => this.#ping(connection));
      },
      () => connection.close(),
    );
  }

  // What the server asks.

  async #answer(request: string, message: Message): Promise<Message> {
    const { events } = this.#options;
    if (request === "moved") {
      events.moved?.(decodeMessage<{ inodes: InodeId[] }>("ForgetRequest", message.body).inodes);
      return { body: encodeMessage("Empty", {}) };
    }
    if (request === "writtenElsewhere") {
      for (const inode of decodeMessage<{ inodes: InodeId[] }>("ForgetRequest", message.body).inodes)
        events.writtenElsewhere?.(inode);
      return { body: encodeMessage("Empty", {}) };
    }
    if (request !== "recall") throw new FsError("ENOSYS", `there is no request ${request}`);
    await this.#recall(decodeMessage<RecallMessage>("Recall", message.body));
    return { body: encodeMessage("Empty", {}) };
  }

  /**
   * A reply that came with the recall, before it, is given to who waits for it first: else a lease would be given back
   * before it was used, and two writers could take it from each other for ever.
   * A recall may come again after a break of the connection, while its first form is still being answered: one at a time of each inode.
   */
  async #recall({ inode, mode, names, allNames }: RecallMessage): Promise<void> {
    const before = this.#recalls.get(inode) ?? new Promise<void>((resolve) => setImmediate(resolve));
    const run = (): Promise<void> => this.#options.events.recall(inode, mode, allNames ? undefined : names);
    const recall = before.then(run, run);
    this.#recalls.set(inode, recall);
    try {
      await recall;
    } finally {
      if (this.#recalls.get(inode) === recall) this.#recalls.delete(inode);
    }
  }
}

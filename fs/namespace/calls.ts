// What each operation of a session runs: one transaction for most, pieces for large ones, none for locks and the like.

import { FsError } from "../errno.ts";
import type { OperationName, Reply, Request, Statistics } from "../messages.ts";
import { OPERATION_RULES } from "../operation-rules.ts";
import type { InodeId } from "../types.ts";
import { acquire, getAttributes, setAttributes } from "./attributes.ts";
import { commit, extents, missingBytes, PIECE_BYTES, reshape, share } from "./files.ts";
import { ended } from "./leases.ts";
import { link, list, lookup, make, makeUnnamed, parent, readLink, rename, unlink } from "./names.ts";
import type { Server } from "./server.ts";
import type { Services } from "./services.ts";
import type { ServerSession } from "./sessions.ts";
import type { Transaction } from "./transaction.ts";
import { getXattr, listXattrs, removeXattr, setXattr } from "./xattrs.ts";

export type Operation = (tx: Transaction, request: never, services: Services) => unknown;

/** What carries an operation out in a transaction. How it runs besides: operation-rules.ts. */
export const OPERATIONS: Partial<Record<OperationName, Operation>> = {
  lookup,
  parent,
  getAttributes,
  setAttributes,
  make,
  makeUnnamed,
  link,
  unlink,
  rename,
  readLink,
  list,
  getXattr,
  setXattr,
  listXattrs,
  removeXattr,
  extents,
  reserveStripes,
  commit,
  reshape,
  share,
  acquire,
};

/** Of a request that is done once though it may be sent twice: what is written down in the transactions that carry it out. */
export interface Recording {
  /** Pieces of it were done before, up to this offset; null: none. */
  readonly doneTo: number | null;
  /** It is done with this transaction. */
  done(tx: Transaction, reply: unknown): void;
  /** It goes on behind this transaction, from the offset. */
  goesOn(tx: Transaction, from: number): void;
}

/** Files that one request may say of that they are written. */
export const WRITING_MAX = 1024;
/** Stripe numbers that one request may reserve. */
export const RESERVE_MAX = 4096;

function reserveStripes(tx: Transaction, { count }: Request<"reserveStripes">, services: Services): Reply<"reserveStripes"> {
  if (!(Number.isInteger(count) && count >= 1 && count <= RESERVE_MAX))
    throw new FsError("EINVAL", `reserveStripes: ${count} numbers; 1 to ${RESERVE_MAX} are given`);
  return { first: services.reserveStripes(tx, count) };
}

export interface CallOptions {
  recording?: Recording;
  /** Aborted where nobody waits for the reply any more: what has not been done by then is not done. */
  signal?: AbortSignal;
}

const NO_OPTIONS: CallOptions = {};

function isOnePiece({ kind, length }: Request<"reshape">): boolean {
  return kind === "collapse" || kind === "insert" || length <= PIECE_BYTES || length !== Math.trunc(length);
}

function pieceOf(request: Request<"reshape">, offset: number): Request<"reshape"> {
  return { ...request, offset, length: Math.min(request.offset + request.length - offset, PIECE_BYTES) };
}

export class Calls {
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  async call<Name extends OperationName>(
    session: ServerSession,
    name: Name,
    request: Request<Name>,
    options?: CallOptions,
  ): Promise<Reply<Name>> {
    return this.callNow(session, name, request, options);
  }

  /** The reply itself, or a throw, where nothing has to be waited for. */
  callNow<Name extends OperationName>(
    session: ServerSession,
    name: Name,
    request: Request<Name>,
    options: CallOptions = NO_OPTIONS,
  ): Reply<Name> | Promise<Reply<Name>> {
    if (session.expires) session.lastHeard = this.#server.clock.nowMs();
    const rule = OPERATION_RULES[name];
    if (rule === undefined || rule.runs === "directly") return this.#callOther(session, name, request);
    if (name === "extents")
      return this.#callExtents(session, request as Request<"extents">, options.signal) as Reply<Name> | Promise<Reply<Name>>;
    if (rule.runs === "pieces") return this.#callPieces(session, request as Request<"reshape">, options) as Promise<Reply<Name>>;
    const run = OPERATIONS[name]!;
    const { recording, signal } = options;
    const transaction = (tx: Transaction): unknown => {
      const made = run(tx, request as never, this.#server.identities);
      recording?.done(tx, made);
      return made;
    };
    const reply = this.#server.transactions.runNow(rule.entry, session, transaction, signal) as
      Reply<Name> | Promise<Reply<Name>>;
    return rule.synced ? this.#synced(reply) : reply;
  }

  async #synced<T>(reply: T | Promise<T>): Promise<T> {
    const made = await reply;
    await this.#server.sync();
    return made;
  }

  /** fallocate(2) over much of a file, piece by piece: each is a transaction. Room for all of it is held before the first. A request that is carried out again goes on behind the last piece that was done: others may have written since into those before. */
  async #callPieces(
    session: ServerSession,
    request: Request<"reshape">,
    { recording, signal }: CallOptions,
  ): Promise<Reply<"reshape">> {
    const from = recording?.doneTo ?? request.offset;
    const promises = !isOnePiece(request) && request.kind !== "punch";
    const hold = promises ? await this.#server.room.hold(await this.#missing(session, request, from)) : null;
    try {
      for (let offset = from; ;) {
        const piece = isOnePiece(request) ? request : pieceOf(request, offset);
        const next = await this.#nextPiece(request, offset + piece.length);
        const transaction = (tx: Transaction): Reply<"reshape"> => {
          const made = reshape(tx, piece, this.#server.identities, hold);
          if (next === null) recording?.done(tx, made);
          else recording?.goesOn(tx, next);
          return made;
        };
        const reply = await this.#server.transact("reshape", session, transaction, signal);
        if (next === null) return reply;
        offset = next;
      }
    } finally {
      hold?.end();
    }
  }

  /** Where the piece that follows begins; null where none does. Holes need not be punched. */
  async #nextPiece({ kind, inode, offset, length }: Request<"reshape">, at: number): Promise<number | null> {
    const end = offset + length;
    const next = kind === "punch" && at < end ? Math.max(at, await this.#server.nextExtent(inode, at)) : at;
    return next < end ? next : null;
  }

  /** What the request would promise from the offset on. */
  async #missing(session: ServerSession, request: Request<"reshape">, from: number): Promise<number> {
    let bytes = 0;
    for (let offset = from; offset < request.offset + request.length;) {
      const piece = pieceOf(request, offset);
      bytes += await this.#server.transact("none", session, (tx) => missingBytes(tx, piece));
      offset += piece.length;
    }
    return bytes;
  }

  /** The reply, and where it found nothing, how far nothing is to be found: files may be sparse over petabytes. */
  #callExtents(
    session: ServerSession,
    request: Request<"extents">,
    signal: AbortSignal | undefined,
  ): Reply<"extents"> | Promise<Reply<"extents">> {
    const reply = this.#server.transactions.runNow("none", session, (tx) => extents(tx, request), signal);
    if (reply instanceof Promise) return reply.then((found) => this.#reachOfExtents(request, found));
    return this.#reachOfExtents(request, reply);
  }

  #reachOfExtents(request: Request<"extents">, reply: Reply<"extents">): Reply<"extents"> | Promise<Reply<"extents">> {
    if (reply.extents.length > 0 || reply.end >= request.to) return reply;
    return this.#server.nextExtent(request.inode, reply.end).then((next) => ({
      ...reply,
      end: Math.min(request.to, Math.max(reply.end, next)),
    }));
  }

  /** Operations that are not transactions over the table. */
  async #callOther<Name extends OperationName>(session: ServerSession, name: Name, request: Request<Name>): Promise<Reply<Name>> {
    if (session.ended) throw ended();
    const reply = await this.#other(session, name, request);
    if (session.ended) throw ended();
    return (reply ?? {}) as Reply<Name>;
  }

  #other(session: ServerSession, name: OperationName, request: unknown): unknown {
    switch (name) {
      case "sync":
        return this.#server.sync();
      case "statistics":
        return this.#statistics();
      case "space":
        return this.#server.room.grant(session, request as Request<"space">);
      case "forget":
        return this.#forget(session, (request as Request<"forget">).inodes);
      case "writing":
        return this.#writing(session, request as Request<"writing">);
      case "lock": {
        const { inode, lock, wait, ticket } = request as Request<"lock">;
        return this.#server.locks.lock(session.id, inode, lock, wait, ticket);
      }
      case "cancelLock":
        return this.#server.locks.cancel(session.id, (request as Request<"cancelLock">).ticket);
      case "testLock": {
        const { inode, lock } = request as Request<"testLock">;
        return { conflict: this.#server.locks.test(session.id, inode, lock) };
      }
      case "releaseLocks": {
        const { inode, kind, owner } = request as Request<"releaseLocks">;
        return this.#server.locks.releaseOwner(session.id, inode, kind, owner);
      }
      default:
        throw new FsError("ENOSYS", `operation ${String(name)} is unknown`);
    }
  }

  #writing(session: ServerSession, { inodes, open }: Request<"writing">): void {
    if (inodes.length > WRITING_MAX)
      throw new FsError("EINVAL", `writing: ${inodes.length} files; at most ${WRITING_MAX} are taken`);
    for (const inode of inodes) this.#server.leases.setWriting(session, inode, open);
  }

  #forget(session: ServerSession, inodes: readonly InodeId[]): void {
    for (const inode of inodes) {
      this.#server.leases.setWriting(session, inode, false);
      if (session.holds.delete(inode)) this.#server.ticks.forgotten(inode);
    }
  }

  async #statistics(): Promise<Statistics> {
    await this.#server.room.measuredSpace();
    return this.#server.identities.statistics();
  }
}

// What each operation of a session runs: one transaction for most, pieces for large ones, none for locks and the like.

import { FsError } from "../errno.ts";
import type { OperationName, Reply, Request, Statistics } from "../messages.ts";
import type { InodeId } from "../types.ts";
import { acquire, getAttributes, setAttributes } from "./attributes.ts";
import type { EntryKind } from "./entry.ts";
import { commit, extents, PIECE_BYTES, reshape, share } from "./files.ts";
import { ended } from "./leases.ts";
import { link, list, lookup, make, makeUnnamed, parent, readLink, rename, unlink } from "./names.ts";
import type { Server } from "./server.ts";
import type { Services } from "./services.ts";
import type { ServerSession } from "./sessions.ts";
import type { Transaction } from "./transaction.ts";
import { getXattr, listXattrs, removeXattr, setXattr } from "./xattrs.ts";

export type Operation = (tx: Transaction, request: never, services: Services) => unknown;

/** One row an operation: what carries it out, and what its log entry says it came from ("none": changes nothing). */
export const OPERATIONS: Partial<Record<OperationName, readonly [Operation, EntryKind]>> = {
  lookup: [lookup, "none"],
  parent: [parent, "none"],
  getAttributes: [getAttributes, "none"],
  setAttributes: [setAttributes, "setAttributes"],
  make: [make, "make"],
  makeUnnamed: [makeUnnamed, "makeUnnamed"],
  link: [link, "link"],
  unlink: [unlink, "unlink"],
  rename: [rename, "rename"],
  readLink: [readLink, "none"],
  list: [list, "none"],
  getXattr: [getXattr, "none"],
  setXattr: [setXattr, "setXattr"],
  listXattrs: [listXattrs, "none"],
  removeXattr: [removeXattr, "removeXattr"],
  extents: [extents, "none"],
  reserveStripes: [reserveStripes, "reserveStripes"],
  commit: [commit, "commit"],
  reshape: [reshape, "reshape"],
  share: [share, "share"],
  acquire: [acquire, "none"],
};

/** Stripe numbers that one request may reserve. */
const RESERVE_MAX = 4096;

function reserveStripes(tx: Transaction, { count }: Request<"reserveStripes">, services: Services): Reply<"reserveStripes"> {
  if (!(Number.isInteger(count) && count >= 1 && count <= RESERVE_MAX))
    throw new FsError("EINVAL", `reserveStripes: ${count} numbers; 1 to ${RESERVE_MAX} are given`);
  return { first: services.reserveStripes(tx, count) };
}

export class Calls {
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  async call<Name extends OperationName>(session: ServerSession, name: Name, request: Request<Name>): Promise<Reply<Name>> {
    return this.callNow(session, name, request);
  }

  /** The reply itself, or a throw, where nothing has to be waited for. */
  callNow<Name extends OperationName>(
    session: ServerSession,
    name: Name,
    request: Request<Name>,
  ): Reply<Name> | Promise<Reply<Name>> {
    if (session.expires) session.lastHeard = this.#server.clock.nowMs();
    const operation = OPERATIONS[name];
    if (operation === undefined) return this.#callOther(session, name, request);
    if (name === "extents")
      return this.#callExtents(session, request as Request<"extents">) as Reply<Name> | Promise<Reply<Name>>;
    if (name === "reshape") return this.#callPieces(session, request as Request<"reshape">) as Promise<Reply<Name>>;
    if (name === "reserveStripes")
      return this.#callReserve(session, request as Request<"reserveStripes">) as Promise<Reply<Name>>;
    const [run, kind] = operation;
    return this.#server.transactions.runNow(kind, session, (tx) =>
      run(tx, request as never, this.#server.identities),
    ) as Reply<Name>;
  }

  /** Numbers that a power cut takes back would be given out again, to blocks other than those that lie on the disks under them: so they are durable before anyone uses them. */
  async #callReserve(session: ServerSession, request: Request<"reserveStripes">): Promise<Reply<"reserveStripes">> {
    const reply = await this.#server.transact("reserveStripes", session, (tx) =>
      reserveStripes(tx, request, this.#server.identities),
    );
    await this.#server.sync();
    return reply;
  }

  /** fallocate(2) over much of a file, piece by piece: each is a transaction, and a repeated piece changes nothing. */
  async #callPieces(session: ServerSession, request: Request<"reshape">): Promise<Reply<"reshape">> {
    const whole =
      request.kind === "collapse" ||
      request.kind === "insert" ||
      request.length <= PIECE_BYTES ||
      request.length !== Math.trunc(request.length);
    if (whole) return this.#server.transact("reshape", session, (tx) => reshape(tx, request, this.#server.identities));
    const { attributes } = await this.#server.transact("none", session, (tx) => getAttributes(tx, request));
    // At least this much is not there yet: refused before any of the pieces.
    if (request.kind !== "punch") this.#server.identities.checkSpace(Math.max(0, request.length - attributes.allocatedBytes));
    const end = request.offset + request.length;
    for (let offset = request.offset; ;) {
      const length = Math.min(end - offset, PIECE_BYTES);
      const piece = { ...request, offset, length };
      const reply = await this.#server.transact("reshape", session, (tx) => reshape(tx, piece, this.#server.identities));
      offset += length;
      if (request.kind === "punch" && offset < end)
        offset = Math.max(offset, await this.#server.nextExtent(request.inode, offset));
      if (offset >= end) return reply;
    }
  }

  /** The reply, and where it found nothing, how far nothing is to be found: files may be sparse over petabytes. */
  #callExtents(session: ServerSession, request: Request<"extents">): Reply<"extents"> | Promise<Reply<"extents">> {
    const reply = this.#server.transactions.runNow("none", session, (tx) => extents(tx, request));
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
      case "forget":
        return this.#forget(session, (request as Request<"forget">).inodes);
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

  #forget(session: ServerSession, inodes: readonly InodeId[]): void {
    for (const inode of inodes) if (session.holds.delete(inode)) this.#server.ticks.forgotten(inode);
  }

  #statistics(): Statistics {
    const { hooks, overlay } = this.#server;
    return { ...(hooks?.space() ?? { totalBytes: 0, freeBytes: 0 }), inodes: overlay.inodes };
  }
}

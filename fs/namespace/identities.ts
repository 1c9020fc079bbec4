// Numbers that are given out once (inodes, stripes, sessions), which session has reserved which stripes, and the counts
// that belong to them. Numbers are taken in blocks, so that most of them cost no record; what is left of a block is
// lost at a restart.

import type { Extent, Statistics } from "../messages.ts";
import { type InodeId, ROOT_INODE, type SessionId, type StripeId } from "../types.ts";
import type { InlineCount } from "./inline-count.ts";
import { id8, idFrom, after, TAG_ANSWER, TAG_META, TAG_RESERVATION } from "./keys.ts";
import type { Overlay } from "./overlay.ts";
import { decodeNumber, encodeNumber, openValue, type Reservation } from "./records.ts";
import type { Services } from "./services.ts";
import type { Hold, Room } from "./room.ts";
import type { Ticks } from "./ticks.ts";
import type { Transaction } from "./transaction.ts";

const BLOCK = 4096;
/** Stands for the server itself as the owner of reserved stripes: the cleaner's. After a restart they are swept as any session's. */
export const SERVER_SESSION = 0 as SessionId;

class Counter {
  next: number;
  /** The table says that numbers below this are given out. */
  limit: number;
  readonly #key: string;
  readonly #block: number;

  constructor(name: string, first: number, block: number) {
    this.#key = TAG_META + name;
    this.next = first;
    this.limit = first;
    this.#block = block;
  }

  async load(overlay: Overlay): Promise<void> {
    const stored = await overlay.get([this.#key], ([value]) =>
      value === null ? null : decodeNumber(openValue(this.#key, value)),
    );
    if (stored !== null) this.next = this.limit = stored;
  }

  take(tx: Transaction, count: number): number {
    const first = this.next;
    this.next += count;
    if (this.next > this.limit) {
      const limit = this.next + this.#block;
      tx.raw(this.#key, "", (writer) => encodeNumber(writer, limit));
      tx.afterwards(() => {
        this.limit = Math.max(this.limit, limit);
      });
    }
    return first;
  }
}

interface Reserved extends Reservation {
  unused: Set<StripeId>;
}

function idsOf({ first, count }: Pick<Reservation, "first" | "count">): StripeId[] {
  return Array.from({ length: count }, (_, index) => (first + index) as StripeId);
}

export class Identities implements Services {
  readonly #overlay: Overlay;
  readonly #ticks: Ticks;
  readonly #inlineCount: InlineCount;
  readonly #room: Room;
  readonly #inodes = new Counter("inodes", ROOT_INODE + 1, BLOCK);
  readonly #stripes = new Counter("stripes", 1, BLOCK);
  readonly #sessions = new Counter("sessions", 1, 16);
  readonly #reserved = new Map<SessionId, Reserved[]>();
  /** Reservations of before the restart, of sessions that may come back. */
  readonly #awaited = new Map<SessionId, Reservation[]>();

  constructor(overlay: Overlay, ticks: Ticks, inlineCount: InlineCount, room: Room) {
    this.#overlay = overlay;
    this.#inlineCount = inlineCount;
    this.#ticks = ticks;
    this.#room = room;
  }

  /** `awaits`: whether a session of before the restart may come back. */
  async start(awaits: (session: SessionId) => boolean): Promise<void> {
    for (const counter of [this.#inodes, this.#stripes, this.#sessions]) await counter.load(this.#overlay);
    const left = await this.#overlay.scan(TAG_RESERVATION, after(TAG_RESERVATION), 1 << 20, (records) =>
      records.map(({ key, value }): Reservation => {
        const reader = openValue(key, value);
        return { first: idFrom(key, 1) as StripeId, session: reader.varint() as SessionId, count: reader.varint() };
      }),
    );
    for (const reservation of left) {
      const { session } = reservation;
      if (awaits(session)) this.#awaited.set(session, [...(this.#awaited.get(session) ?? []), reservation]);
      else this.#ticks.sweep(reservation);
    }
  }

  /** Numbers that a session reserved before the restart, used or not. */
  awaitedStripes(session: SessionId): StripeId[] {
    return (this.#awaited.get(session) ?? []).flatMap(idsOf);
  }

  /** The session goes on with its reservations, `used` numbers excepted. */
  sessionResumed(session: SessionId, used: ReadonlySet<StripeId>): void {
    const reserved = (this.#awaited.get(session) ?? []).map((reservation) => ({
      ...reservation,
      unused: new Set(idsOf(reservation).filter((id) => !used.has(id))),
    }));
    this.#awaited.delete(session);
    this.#reserved.set(
      session,
      reserved.filter(({ unused }) => unused.size > 0),
    );
  }

  allocateInode(tx: Transaction): InodeId {
    return this.#inodes.take(tx, 1) as InodeId;
  }

  allocateSession(tx: Transaction): SessionId {
    return this.#sessions.take(tx, 1) as SessionId;
  }

  reserveStripes(tx: Transaction, count: number): StripeId {
    const first = this.#stripes.take(tx, count) as StripeId;
    const session = tx.session === null ? SERVER_SESSION : tx.session.id;
    tx.raw(TAG_RESERVATION + id8(first), "", (writer) => {
      writer.varint(session);
      writer.varint(count);
    });
    tx.afterwards(() => {
      const unused = new Set(idsOf({ first, count }));
      const reservations = this.#reserved.get(session) ?? [];
      reservations.push({ first, session, count, unused });
      this.#reserved.set(session, reservations);
    });
    return first;
  }

  #reservationOf(session: SessionId, stripe: StripeId): Reserved | undefined {
    return this.#reserved.get(session)?.find(({ unused }) => unused.has(stripe));
  }

  isReserved(session: SessionId, stripe: StripeId): boolean {
    return this.#reservationOf(session, stripe) !== undefined;
  }

  isReservedByAny(stripe: StripeId): boolean {
    for (const session of this.#reserved.keys()) if (this.isReserved(session, stripe)) return true;
    return false;
  }

  /** A reservation whose last number is used needs no record any more. */
  useReserved(tx: Transaction, session: SessionId, stripes: readonly StripeId[]): void {
    const used = new Map<Reserved, number>();
    for (const stripe of stripes) {
      const reservation = this.#reservationOf(session, stripe)!;
      const count = (used.get(reservation) ?? 0) + 1;
      used.set(reservation, count);
      if (count === reservation.unused.size) tx.raw(TAG_RESERVATION + id8(reservation.first), "", null);
    }
    tx.afterwards(() => {
      for (const stripe of stripes) this.#reservationOf(session, stripe)?.unused.delete(stripe);
      const left = this.#reserved.get(session)?.filter(({ unused }) => unused.size > 0);
      if (left !== undefined) this.#reserved.set(session, left);
    });
  }

  /** What an ended session reserved and did not use may lie on the disks, uncommitted. */
  sessionEnded(session: SessionId): void {
    this.#room.forget(session);
    for (const reserved of [this.#reserved, this.#awaited]) {
      for (const reservation of reserved.get(session) ?? []) this.#ticks.sweep(reservation);
      reserved.delete(session);
    }
  }

  isBeingRemoved(stripe: StripeId): boolean {
    return this.#ticks.isBeingRemoved(stripe);
  }

  checkSpace(tx: Transaction): void {
    this.#room.checkRecord(tx);
  }

  checkPromise(tx: Transaction, hold: Hold | null): void {
    this.#room.checkPromise(tx, hold);
  }

  countInodes(tx: Transaction, difference: number): void {
    tx.afterwards(() => {
      this.#overlay.inodes += difference;
    });
  }

  becomesUnnamed(tx: Transaction, inode: InodeId): void {
    tx.afterwards(() => this.#ticks.becameUnnamed(inode));
  }

  becomesNamed(tx: Transaction, inode: InodeId): void {
    tx.afterwards(() => this.#ticks.becameNamed(inode));
  }

  becomesCut(tx: Transaction, inode: InodeId): void {
    tx.afterwards(() => this.#ticks.becameCut(inode));
  }

  becomesInline(tx: Transaction, inode: InodeId, extents: readonly Extent[]): void {
    tx.afterwards(() => {
      for (const { offset, length } of extents) this.#inlineCount.note(inode, offset, length);
    });
  }

  statistics(): Statistics {
    return { ...this.#room.space(), inodes: this.#overlay.inodes };
  }

  /** Replies stored for a session, by request number. */
  answers(session: SessionId): Promise<[number, unknown][]> {
    const prefix = TAG_ANSWER + id8(session);
    return this.#overlay.scan(prefix, after(prefix), 1 << 20, (records) =>
      records.map(({ key, value }): [number, unknown] => {
        const reader = openValue(key, value);
        return [idFrom(key, 9), JSON.parse(Buffer.from(reader.raw(reader.end - reader.at)).toString())];
      }),
    );
  }
}

// How much more may be written: what the disks have free, less what is promised to reserved ranges (fallocate), less what
// sessions were granted and have not stored yet, less a reserve. And making room: what is deleted is released before
// anybody is refused. See DESIGN.md, "Reserved ranges" and "Room".

import { FsError } from "../errno.ts";
import type { Reply, Request } from "../messages.ts";
import type { SessionId } from "../types.ts";
import { ended, type SessionLeases } from "./leases.ts";
import type { Server } from "./server.ts";
import type { Transaction } from "./transaction.ts";

/** Left free for the namespace itself and for removing things. */
export const ROOM_RESERVE_BYTES = 1024 * 1024;
/** With so much room it is asked for again only after CHECKS_SAVED further records of some 300 bytes: asking all disks takes a tenth of the time of a make. */
const PLENTY_BYTES = 1024 * 1024 * 1024;
const CHECKS_SAVED = 256;
/** A promised byte is counted with an eighth more: what headers and padding of blocks, and the ends of segments that no block fits into, take beside the data (DESIGN.md has the arithmetic). */
const PROMISE_OVERHEAD = 8;
/** A session is granted at most this share of what is free, unless it needs more at once: small pieces, stored as copies, may take six times what was granted. */
const GRANT_SHARE = 16;
/** Below this share of the store (or below so many bytes) mounts code small pieces as they code large ones, so that a byte takes what it counts. */
const SCARCE_SHARE = 16;
const SCARCE_BYTES_MAX = 4 * 1024 * 1024 * 1024;
/** Longest that anybody is kept waiting for room. */
export const MAKE_ROOM_MAX_MS = 5_000;
/** Mounts say every 500 ms what their kernel has forgotten and what they have stored: so long what is deleted may still be known, or what is stored still be counted as granted. */
export const ROOM_COMES_MS = 700;
const LOOK_AGAIN_MS = 50;
/** A figure of the disks that is no older need not be asked for anew to tell how much is free. */
const MEASURED_AGE_MAX_MS = 200;

/** Left free on the medium of log and table, for removing: a removal's entry has some 500 bytes. On a small medium a 128th of it. */
export const RECORDS_RESERVE_BYTES = 64 * 1024 * 1024;
const RECORDS_RESERVE_SHARE = 128;
const RECORDS_MEASURED_EVERY_MS = 1000;

/** What is kept free for so many promised bytes. */
export function chargeOf(promisedBytes: number): number {
  return promisedBytes + Math.ceil(promisedBytes / PROMISE_OVERHEAD);
}

/** Room set aside for a promise that is made in several transactions. To be ended. */
export class Hold {
  readonly #room: Room;
  #bytes: number;

  constructor(room: Room, bytes: number) {
    this.#room = room;
    this.#bytes = bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** So much of it is counted as promised now. */
  spend(bytes: number): void {
    const spent = Math.min(bytes, this.#bytes);
    this.#bytes -= spent;
    this.#room.heldBytes -= spent;
  }

  end(): void {
    this.spend(this.#bytes);
  }
}

export class Room {
  readonly #server: Server;
  /** Records that may still be made without asking how much room there is. */
  #checksSaved = 0;
  /** The sum of all holds. */
  heldBytes = 0;
  /** What each session may have to store yet, as it last said: granted and not used, and taken and not stored. Never less than the truth, unless the server was started again meanwhile (a mount says it anew with its next request for room, or when it has written nothing for 500 ms). */
  readonly #claims = new Map<SessionId, number>();
  #measuring: Promise<void> | null = null;
  #measuredMs = -Infinity;
  /** What is missing to the reserve on the medium of log and table, as last measured. */
  #recordsMissing = 0;
  #recordsMeasuredMs = -Infinity;
  #pass: Promise<void> | null = null;
  /** When room was last looked for in vain, and how much had been deleted by then. */
  #failedMs = -Infinity;
  #failedAt = -1;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Of the store, in bytes of data. What is promised counts as taken. */
  space(): { totalBytes: number; freeBytes: number } {
    const { totalBytes, freeBytes } = this.#server.hooks?.space() ?? { totalBytes: 0, freeBytes: 0 };
    return { totalBytes, freeBytes: Math.max(0, freeBytes - chargeOf(this.#server.state.promisedBytes)) };
  }

  /** As space(), of this moment. */
  async measuredSpace(): Promise<{ totalBytes: number; freeBytes: number }> {
    if (this.#server.clock.nowMs() - this.#measuredMs > MEASURED_AGE_MAX_MS) await this.#measure();
    return this.space();
  }

  /** What nobody has a right to but, perhaps, the session that asks. */
  #freeBytes(asking: SessionId | null): number {
    const { hooks, state } = this.#server;
    if (hooks === undefined) return Infinity;
    let claimed = 0;
    for (const [session, bytes] of this.#claims) if (session !== asking) claimed += bytes;
    return hooks.space().freeBytes - ROOM_RESERVE_BYTES - chargeOf(state.promisedBytes + this.heldBytes) - claimed;
  }

  /** For a record: ENOSPC where not even the reserve is there. Promised bytes are on the disks, so they keep nobody from making files. */
  checkRecord(tx: Transaction): void {
    if (this.#checksSaved > 0) {
      this.#checksSaved--;
      return;
    }
    const space = this.#server.hooks?.space();
    this.#checksSaved = space === undefined || space.freeBytes > PLENTY_BYTES ? CHECKS_SAVED : 0;
    if (this.#recordsMissing > 0) {
      this.#checksSaved = 0;
      tx.wantRoom(0);
      throw new FsError(
        "ENOSPC",
        `the medium of the namespace is full: ${this.#recordsMissing} bytes are missing to its reserve`,
      );
    }
    if (space === undefined || space.freeBytes >= ROOM_RESERVE_BYTES) return;
    tx.wantRoom(0);
    throw new FsError("ENOSPC", `${space.freeBytes} of ${space.totalBytes} bytes are free, ${ROOM_RESERVE_BYTES} are wanted`);
  }

  /** Sets room aside for so many bytes. ENOSPC. */
  async hold(bytes: number): Promise<Hold> {
    await this.#measure();
    if (chargeOf(bytes) > this.#freeBytes(null)) await this.make(chargeOf(bytes));
    if (chargeOf(bytes) > this.#freeBytes(null)) throw this.#refusal(bytes);
    this.heldBytes += bytes;
    return new Hold(this, bytes);
  }

  /** ENOSPC where what the transaction promises is neither held nor free. */
  checkPromise(tx: Transaction, hold: Hold | null): void {
    const { promisedBytes } = tx;
    if (promisedBytes <= 0) return;
    const bytes = promisedBytes - Math.min(promisedBytes, hold?.bytes ?? 0);
    if (bytes > 0 && chargeOf(bytes) > this.#freeBytes(null)) {
      tx.wantRoom(chargeOf(bytes));
      throw this.#refusal(bytes);
    }
    if (hold !== null) tx.afterwards(() => hold.spend(promisedBytes));
  }

  #refusal(bytes: number): FsError {
    const free = Math.max(0, Math.floor(this.#freeBytes(null)));
    return new FsError("ENOSPC", `reserving ${bytes} bytes: ${free} are free and not promised, ${chargeOf(bytes)} are wanted`);
  }

  /** What a session may write. What it says that it has replaces what it said before. */
  async grant(asking: SessionLeases, request: Request<"space">): Promise<Reply<"space">> {
    const { id: session } = asking;
    const { heldBytes, unstoredBytes, neededBytes, wantedBytes } = request;
    const has = heldBytes + unstoredBytes;
    this.#claims.set(session, has);
    if (request.release) await this.make(Infinity, session);
    else await this.#measure();
    if (neededBytes > this.#freeBytes(session) - has) await this.make(neededBytes + has, session);
    // It may be forgotten by now: nobody would take back what is granted to it.
    if (asking.ended) throw ended();
    // Without room for records what is written could not be committed.
    const free = this.#recordsMissing > 0 ? 0 : this.#freeBytes(session) - has;
    const share = Math.floor(Math.max(0, free) / GRANT_SHARE);
    const grantedBytes = neededBytes > free ? 0 : Math.max(neededBytes, Math.min(wantedBytes, share));
    this.#claims.set(session, has + grantedBytes);
    const { totalBytes } = this.space();
    return { grantedBytes, scarce: free < Math.min(SCARCE_BYTES_MAX, totalBytes / SCARCE_SHARE) };
  }

  /** The session is over: what it has not stored it will not store. */
  forget(session: SessionId): void {
    this.#claims.delete(session);
  }

  /**
   * Releases what is deleted until so many bytes are free (to the session, if one asks), or nothing more is to come, or
   * MAKE_ROOM_MAX_MS are over. All who wait share one pass at a time. Never rejects: who asked looks how much is free.
   */
  async make(bytes: number, asking: SessionId | null = null): Promise<void> {
    const { clock, ticks } = this.#server;
    const begun = clock.nowMs();
    if (ticks.deletions === this.#failedAt && begun - this.#failedMs < ROOM_COMES_MS) return this.#measure();
    const isEnough = (): boolean => this.#enough(bytes, asking);
    // What was deleted just now may come too late for a pass that is under way.
    if (this.#pass !== null) await this.#pass;
    for (;;) {
      const before = ticks.deletions;
      this.#pass ??= this.#release(begun + MAKE_ROOM_MAX_MS).finally(() => (this.#pass = null));
      await this.#pass;
      const waitedMs = clock.nowMs() - begun;
      if (isEnough() || waitedMs >= MAKE_ROOM_MAX_MS) return;
      if (ticks.deletions === before && !this.#comes(waitedMs, asking)) break;
      await new Promise<void>((resolve) => clock.after(LOOK_AGAIN_MS, resolve));
    }
    this.#failedMs = clock.nowMs();
    this.#failedAt = ticks.deletions;
  }

  #enough(bytes: number, asking: SessionId | null): boolean {
    if (this.#recordsMissing > 0) return false;
    if (bytes === 0) return (this.#server.hooks?.space().freeBytes ?? Infinity) >= ROOM_RESERVE_BYTES;
    return this.#freeBytes(asking) >= bytes;
  }

  /** Whether some may come by itself: inodes that mounts are about to forget, and what other sessions are about to have stored. */
  #comes(waitedMs: number, asking: SessionId | null): boolean {
    if (waitedMs >= ROOM_COMES_MS) return false;
    for (const [session, bytes] of this.#claims) if (session !== asking && bytes > 0) return true;
    return this.#server.clock.nowMs() - this.#server.ticks.lastUnnamedMs < ROOM_COMES_MS;
  }

  async #release(untilMs: number): Promise<void> {
    try {
      await this.#server.ticks.release(untilMs);
    } catch (error) {
      this.#server.trace(`namespace: releasing what is deleted: ${(error as Error).message}`);
    }
    await this.#measure(true);
  }

  /** Has the disks say anew how much is free; with `release` they first give back what deleted blocks held. */
  async #measure(release = false): Promise<void> {
    const { hooks, clock } = this.#server;
    this.#recordsMeasuredMs = -Infinity;
    await this.measureRecords();
    if (hooks?.measure === undefined) return;
    // One that began before the question may be too old for it.
    if (this.#measuring !== null) await this.#measuring;
    while (release && this.#measuring !== null) await this.#measuring;
    this.#measuring ??= hooks
      .measure(release)
      .catch((error: unknown) => this.#server.trace(`namespace: measuring the disks: ${(error as Error).message}`))
      .finally(() => (this.#measuring = null));
    await this.#measuring;
    this.#measuredMs = clock.nowMs();
  }

  /** Looks how full the medium of log and table is, at most once a second. */
  async measureRecords(): Promise<void> {
    const { recordSpace, clock } = this.#server;
    const now = clock.nowMs();
    if (recordSpace === undefined || now - this.#recordsMeasuredMs < RECORDS_MEASURED_EVERY_MS) return;
    this.#recordsMeasuredMs = now;
    try {
      const { totalBytes, freeBytes } = await recordSpace();
      this.#recordsMissing = Math.min(RECORDS_RESERVE_BYTES, Math.floor(totalBytes / RECORDS_RESERVE_SHARE)) - freeBytes;
    } catch (error) {
      this.#server.trace(`namespace: measuring the medium of log and table: ${(error as Error).message}`);
    }
  }
}

// Work that goes on behind: freeing inodes without names, finishing large truncates, removing dead stripes' blocks,
// sweeping up stripes that were stored and never committed, writing the table, trimming the log. Each piece is
// bounded; what is waiting is recorded in the table and found again after a restart.

import type { LogIndex } from "../../storage/log.ts";
import type { InodeId, SessionId, StripeId } from "../types.ts";
import { cutPiece, endOfPiece, type PieceLimits, removeRange, type Replacement, wantReplaced, windowOf } from "./extents.ts";
import { after, id8, idFrom, TAG_ANSWER, TAG_CUT, TAG_DEAD, TAG_RESERVATION, TAG_SESSION, TAG_UNNAMED } from "./keys.ts";
import type { Server } from "./server.ts";
import type { Reservation } from "./records.ts";
import { HAS_XATTRS, type Inode, type StripeRecord } from "./records.ts";
import type { Miss } from "./state.ts";
import type { Transaction } from "./transaction.ts";

/** What one transaction drops of one file: 256 MiB, and extents for some 5 ms. */
const PIECE: PieceLimits = { windows: 64, extents: 2048 };
/** Inodes freed by one transaction; files with more windows, or extents, than these go piece by piece. */
const INODES_PER_PIECE = 128;
const WINDOWS_WHOLE_MAX = 4;
/** Programs have the time between pieces: twice as long as a piece took, but no longer than this. */
const REST_SHARE = 2;
const REST_MAX_MS = 100;
/** Transactions of each kind in one tick. */
const PIECES_PER_TICK = 16;
const STRIPES_PER_REMOVAL = 256;
/** Sessions that are over, whose records go in one tick. */
const SESSIONS_PER_TICK = 64;
/** Work found at start-up at once; the rest is found when that is done. */
const FOUND_AT_START_MAX = 1 << 20;

interface DeadStripe {
  /** Removed from the disks only when the log is durable up to here. */
  index: LogIndex;
  since: number;
}

export class Ticks {
  readonly #server: Server;
  /** Inodes without names that a session knows. */
  readonly #unnamed = new Set<InodeId>();
  /** Those that nobody knows: to be freed. */
  readonly #free = new Set<InodeId>();
  readonly #cut = new Set<InodeId>();
  readonly #dead = new Map<StripeId, DeadStripe>();
  readonly #removing = new Set<StripeId>();
  readonly #sweeps: Reservation[] = [];
  #sweeping: Reservation | null = null;
  readonly #endedSessions: SessionId[] = [];
  #lastApply = 0;
  #lastTrim = 0;
  #running: Promise<boolean> | null = null;
  /** Callers that wait for room: no rests. */
  #hurried = 0;
  #stopped = false;
  /** Goes up with everything that is deleted or no longer held: where it stands still, no more room is to be made than there was. */
  deletions = 0;
  /** When an inode that a session knows lost its last name. */
  lastUnnamedMs = -Infinity;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Finds the work that a restart left. No session is open: inodes without names belong to nobody. */
  async start(): Promise<void> {
    for (const inode of await this.#idsOf(TAG_UNNAMED)) this.#free.add(inode as InodeId);
    for (const inode of await this.#idsOf(TAG_CUT)) this.#cut.add(inode as InodeId);
    const now = this.#server.clock.nowMs();
    for (const stripe of await this.#idsOf(TAG_DEAD))
      this.#dead.set(stripe as StripeId, { index: this.#server.overlay.index, since: now });
  }

  #idsOf(tag: string): Promise<number[]> {
    return this.#server.overlay.scan(tag, after(tag), FOUND_AT_START_MAX, (records) => records.map(({ key }) => idFrom(key, 1)));
  }

  status(): { unnamedInodes: number; cutInodes: number; deadStripes: number } {
    return { unnamedInodes: this.#unnamed.size + this.#free.size, cutInodes: this.#cut.size, deadStripes: this.#dead.size };
  }

  becameUnnamed(inode: InodeId): void {
    // The transaction's own grants come after this: makeUnnamed's session knows the inode then, and `free` looks again.
    const known = this.#server.leases.known(inode);
    (known ? this.#unnamed : this.#free).add(inode);
    this.deletions++;
    if (known) this.lastUnnamedMs = this.#server.clock.nowMs();
  }

  becameNamed(inode: InodeId): void {
    this.#unnamed.delete(inode);
    this.#free.delete(inode);
  }

  forgotten(inode: InodeId): void {
    if (this.#unnamed.size > 0 && this.#unnamed.has(inode) && !this.#server.leases.known(inode)) {
      this.#unnamed.delete(inode);
      this.#free.add(inode);
      this.deletions++;
    }
  }

  becameCut(inode: InodeId): void {
    this.deletions++;
    this.#cut.add(inode);
  }

  becameDead(stripe: StripeId, index: LogIndex): void {
    this.deletions++;
    this.#dead.set(stripe, { index, since: this.#server.clock.nowMs() });
  }

  isBeingRemoved(stripe: StripeId): boolean {
    return this.#removing.has(stripe);
  }

  sweep(reservation: Reservation): void {
    this.deletions++;
    this.#sweeps.push(reservation);
  }

  isToBeSwept(stripe: StripeId): boolean {
    const { first, count } = this.#sweeping ?? { first: 0, count: 0 };
    if (stripe >= first && stripe < first + count) return true;
    return this.#sweeps.some((sweep) => stripe >= sweep.first && stripe < sweep.first + sweep.count);
  }

  forgetSession(session: SessionId): void {
    this.#endedSessions.push(session);
  }

  run(): Promise<boolean> {
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** Frees and removes all that is deleted by now, also what readers might still be using: they ask anew where bytes are gone. Ends at `untilMs`. */
  async release(untilMs: number): Promise<void> {
    this.#hurried++;
    while (this.#running !== null) await this.#running.catch(() => {});
    const releasing = this.#release(untilMs);
    this.#running = releasing.then(
      () => false,
      () => false,
    );
    try {
      await releasing;
    } finally {
      this.#hurried--;
      this.#running = null;
    }
  }

  async #release(untilMs: number): Promise<void> {
    while (!this.#stopped && this.#server.clock.nowMs() < untilMs) {
      const freed = await this.#freeSome();
      const removed = await this.#removeDead(0);
      if (!freed && removed === 0) break;
    }
    for (let count = this.#sweeps.length; count > 0 && !this.#stopped && this.#server.clock.nowMs() < untilMs; count--)
      await this.#sweepNext();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running?.catch(() => {});
  }

  async #run(): Promise<boolean> {
    const { overlay, limits, clock } = this.#server;
    this.#server.sessions.expireUnheard();
    await this.#server.room.measureRecords();
    let more = await this.#freeSome();
    if (!this.#stopped) more = (await this.#removeDead(limits.deadStripeGraceMs)) === STRIPES_PER_REMOVAL || more;
    if (!this.#stopped) await this.#sweepNext();
    if (!this.#stopped) await this.#forgetSessions();
    const now = clock.nowMs();
    if (overlay.due || now - this.#lastApply >= limits.applyIntervalMs) {
      this.#lastApply = now;
      await overlay.apply();
    }
    if (now - this.#lastTrim >= limits.trimIntervalMs) {
      this.#lastTrim = now;
      await overlay.trim();
    }
    return more;
  }

  /** A bounded number of pieces. Returns whether there is more. */
  async #freeSome(): Promise<boolean> {
    let more = true;
    for (let piece = 0; more && piece < PIECES_PER_TICK && !this.#stopped; piece++) {
      const beganMs = this.#server.clock.nowMs();
      // A session that is still to come back may know inodes without names.
      const freed = !this.#server.resumption.pending && (await this.#freePiece());
      more = (await this.#cutNext()) || freed;
      if (more) await this.#rest(beganMs);
    }
    return more;
  }

  async #rest(sinceMs: number): Promise<void> {
    const { clock } = this.#server;
    if (this.#hurried > 0) return;
    const restMs = Math.min(REST_MAX_MS, (clock.nowMs() - sinceMs) * REST_SHARE);
    if (restMs < 1) return;
    // The clock's timers let a process end in which nothing else goes on.
    const alive = setInterval(() => {}, REST_MAX_MS);
    await new Promise<void>((resolve) => clock.after(restMs, resolve));
    clearInterval(alive);
  }

  /** Frees inodes that nobody knows: small ones many at a time, a large one piece by piece. */
  async #freePiece(): Promise<boolean> {
    const batch: InodeId[] = [];
    for (const inode of this.#free) {
      if (batch.length >= INODES_PER_PIECE) break;
      if (!this.#server.leases.known(inode)) batch.push(inode);
      else {
        this.#free.delete(inode);
        this.#unnamed.add(inode);
      }
    }
    if (batch.length === 0) return false;
    const { done, large } = await this.#server.transact("free", null, (tx) => this.#freeInodes(tx, batch));
    for (const inode of done) this.#free.delete(inode);
    if (large !== null) await this.#freeLarge(large);
    return this.#free.size > 0;
  }

  /** Drops the extents of a file from its beginning on, piece by piece. What lies between them is passed over: a file may be sparse over petabytes. */
  async #freeLarge(id: InodeId): Promise<void> {
    const { clock, state } = this.#server;
    let pinned: Miss[] = [];
    try {
      for (let piece = 0, at = 0; piece < PIECES_PER_TICK && !this.#stopped; piece++) {
        const beganMs = clock.nowMs();
        const extentAt = await this.#server.nextExtent(id, at);
        // The pieces of one window read it once, however large it is.
        const window: Miss[] = [{ kind: "window", inode: id, window: windowOf(extentAt), count: 1 }];
        if (extentAt !== Infinity) state.pin(window, 1);
        state.pin(pinned, -1);
        pinned = extentAt === Infinity ? [] : window;
        at = await this.#server.transact("free", null, (tx) => this.#freeFrom(tx, id, extentAt));
        if (at === Infinity) return;
        await this.#rest(beganMs);
      }
    } finally {
      state.pin(pinned, -1);
    }
  }

  /** Drops a piece from the offset on, where the file's first extent begins. Returns the piece's end; Infinity where there is no more to drop. */
  #freeFrom(tx: Transaction, id: InodeId, extentAt: number): number {
    const inode = tx.find(id);
    if (inode === null || inode.linkCount > 0 || this.#server.leases.known(id)) return Infinity;
    const end = extentAt === Infinity ? Infinity : endOfPiece(tx, inode, extentAt, PIECE);
    const copy = tx.edit(id);
    if (end === Infinity) copy.extentEnd = 0;
    else removeRange(tx, copy, extentAt, end);
    return end;
  }

  /** Frees those of the batch that fit into one transaction; `large` is one that does not fit by itself. */
  #freeInodes(tx: Transaction, batch: readonly InodeId[]): { done: InodeId[]; large: InodeId | null } {
    tx.wantInodes(batch);
    const { fitting, large } = this.#fitting(tx, batch);
    const whole = (inode: Inode): Replacement => ({ inode, ranges: [{ offset: 0, length: inode.extentEnd }] });
    wantReplaced(
      tx,
      fitting.flatMap((id) => (tx.find(id) === null ? [] : [whole(tx.find(id)!)])),
    );
    for (const id of fitting) this.#freeInode(tx, id);
    return { done: fitting, large };
  }

  /** Inodes from the batch's beginning on, with few windows and extents, and together with few. */
  #fitting(tx: Transaction, batch: readonly InodeId[]): { fitting: InodeId[]; large: InodeId | null } {
    const free = batch.filter((id) => {
      const inode = tx.find(id);
      return inode === null || (inode.linkCount === 0 && !this.#server.leases.known(id));
    });
    const isSmall = (id: InodeId): boolean => windowOf((tx.find(id)?.extentEnd ?? 0) - 1) < WINDOWS_WHOLE_MAX;
    for (const id of free) {
      const inode = tx.find(id);
      if (inode === null || !isSmall(id)) continue;
      tx.noteWindows(inode, 0, WINDOWS_WHOLE_MAX);
      if ((inode.flags & HAS_XATTRS) !== 0) tx.noteXattrs(id);
    }
    tx.interruptWhereMissing();
    const fitting: InodeId[] = [];
    let extents = 0;
    for (const id of free) {
      const inode = tx.find(id);
      if (isSmall(id) && inode !== null)
        for (let window = 0; window < WINDOWS_WHOLE_MAX; window++) extents += tx.window(inode, window).length;
      if (!isSmall(id) || extents > PIECE.extents) return { fitting, large: fitting.length === 0 ? id : null };
      fitting.push(id);
    }
    return { fitting, large: null };
  }

  #freeInode(tx: Transaction, id: InodeId): void {
    const inode = tx.find(id);
    if (inode !== null) {
      if (inode.extentEnd > 0) removeRange(tx, tx.edit(id), 0, inode.extentEnd);
      if ((inode.flags & HAS_XATTRS) !== 0) for (const name of tx.xattrs(id).keys()) tx.setXattr(id, name, null);
      tx.deleteInode(id);
      if (inode.cutTo > 0) tx.raw(TAG_CUT + id8(id), "", null);
      this.#server.identities.countInodes(tx, -1);
    }
    tx.raw(TAG_UNNAMED + id8(id), "", null);
  }

  async #cutNext(): Promise<boolean> {
    const next = this.#cut.values().next();
    if (next.done) return false;
    await this.#cutOnce(next.value);
    return this.#cut.size > 0;
  }

  async #cutOnce(id: InodeId): Promise<number> {
    const from = await this.#server.transact("none", null, (tx) => tx.find(id)?.cutFrom ?? 0);
    const extentAt = await this.#server.nextExtent(id, from);
    const reached = await this.#server.transact("cut", null, (tx) => {
      const inode = tx.find(id);
      if (inode === null || inode.cutTo === 0) return Infinity;
      const copy = tx.edit(id);
      // A further truncate may have moved the cut's begin down meanwhile; what was found then says nothing.
      const emptyTo = copy.cutFrom === from ? extentAt : 0;
      return cutPiece(tx, copy, PIECE, emptyTo) ? Infinity : copy.cutFrom;
    });
    if (reached === Infinity) this.#cut.delete(id);
    return reached;
  }

  /** For a change that must not meet dead extents below `until`. */
  async cutUntil(id: InodeId, until: number): Promise<void> {
    while ((await this.#cutOnce(id)) < until);
  }

  /** Removes stripes that have been dead for so long: as many as it returns, at most STRIPES_PER_REMOVAL. */
  async #removeDead(graceMs: number): Promise<number> {
    const { clock, log, hooks, overlay } = this.#server;
    const now = clock.nowMs();
    const batch: StripeId[] = [];
    let index = 0 as LogIndex;
    for (const [stripe, dead] of this.#dead) {
      if (batch.length >= STRIPES_PER_REMOVAL || now - dead.since < graceMs) break;
      batch.push(stripe);
      if (dead.index > index) index = dead.index;
    }
    if (batch.length === 0) return 0;
    await log.sync(index < overlay.index ? index : overlay.index);
    const stripes = await this.#claimDead(batch);
    try {
      if (stripes.length > 0) await hooks?.remove(stripes);
      await this.#server.transact("remove-stripes", null, (tx) => {
        for (const stripe of stripes) tx.deleteStripe(stripe);
      });
      for (const { id } of stripes) this.#dead.delete(id);
    } catch (error) {
      // Tried again after the others, in a later tick: the record of the dead stripe is still there.
      this.#server.trace(
        `namespace: removing ${stripes.length} dead stripes failed: ${error instanceof Error ? error.message : String(error)}`,
      );
      for (const { id } of stripes) {
        this.#dead.delete(id);
        this.#dead.set(id, { index, since: clock.nowMs() });
      }
      return 0;
    } finally {
      for (const { id } of stripes) this.#removing.delete(id);
    }
    return batch.length;
  }

  /** From here on no commit brings these back to life. Those that live again are no longer dead. */
  #claimDead(batch: readonly StripeId[]): Promise<StripeRecord[]> {
    return this.#server.transact("none", null, (tx) => {
      tx.wantStripes(batch);
      const dead: StripeRecord[] = [];
      for (const id of batch) {
        const stripe = tx.stripe(id);
        if (stripe === null || stripe.live > 0) this.#dead.delete(id);
        else dead.push(stripe);
      }
      for (const { id } of dead) this.#removing.add(id);
      return dead;
    });
  }

  /** Blocks stored under numbers that an ended session reserved and never committed. */
  async #sweepNext(): Promise<void> {
    const reservation = this.#sweeps.shift();
    if (reservation === undefined) return;
    this.#sweeping = reservation;
    const ids = Array.from({ length: reservation.count }, (_, index) => (reservation.first + index) as StripeId);
    try {
      const committed = await this.#server.transact("none", null, (tx) => {
        tx.wantStripes(ids);
        return new Set(ids.filter((id) => tx.stripe(id) !== null));
      });
      if (committed.size < ids.length)
        await this.#server.hooks?.removeUncommitted(reservation.first, reservation.count, committed);
      await this.#server.transact("remove-stripes", null, (tx) => tx.raw(TAG_RESERVATION + id8(reservation.first), "", null));
    } catch (error) {
      this.#sweeps.push(reservation);
      this.#server.trace(
        `namespace: sweeping ${reservation.count} stripes from ${reservation.first} failed: ${error instanceof Error ? error.message : String(error)}`,
      );
    } finally {
      this.#sweeping = null;
    }
  }

  async #forgetSessions(): Promise<void> {
    for (const session of this.#endedSessions.slice(0, SESSIONS_PER_TICK)) {
      await this.#forgetAnswers(session);
      this.#endedSessions.shift();
    }
  }

  async #forgetAnswers(session: SessionId): Promise<void> {
    const prefix = TAG_ANSWER + id8(session);
    const keys = await this.#server.overlay.scan(prefix, after(prefix), 1 << 16, (records) => records.map(({ key }) => key));
    await this.#server.transact("session", null, (tx) => {
      for (const key of keys) tx.raw(prefix, key.slice(9), null);
      tx.raw(TAG_SESSION + id8(session), "", null);
    });
  }
}

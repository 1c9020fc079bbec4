// The way of sealed units to the namespace: store the stripe (several at once), make the disks durable once for many,
// commit many files in one request. One commit is on its way at a time; whoever asks meanwhile shares the next.
//
// 1. A unit is committed only after every earlier unit of each of its files (or together with it).
// 2. Blocks are durable (stripes.sync) before the commit that names them is sent.
// 3. A file's part of a unit is void once the file's dropCount has moved on (truncated to nothing, or gone).
// 4. What failed stays, its error waits at its files for the next fsync, close or write, and it is tried again.

import { errno } from "../errno.ts";
import type { ErrnoName } from "../errno.ts";
import type { Clock } from "../../storage/clock.ts";
import type { Extent, FileCommit, Session } from "../messages.ts";
import type { Stripes } from "../../replication/block-client.ts";
import type { Stripe } from "../../replication/stripe.ts";
import type { InodeId, StripeId } from "../types.ts";
import type { BufferPool, StripeBuffer } from "./buffers.ts";
import { mergeAttributes } from "./file-state.ts";
import type { FileState } from "./file-state.ts";
import { piecesOfUnit } from "./flush-unit.ts";
import type { FlushUnit, SealedRange } from "./flush-unit.ts";
import { COMMIT_RANGES_MAX, COMMIT_FILES_MAX, FLUSH_RETRY_MS, STORES_IN_FLIGHT_MAX, UNCOMMITTED_STRIPES_MAX } from "./limits.ts";
import { Piece, Pieces, STRIPED } from "./pieces.ts";
import type { StripeNumbers } from "./stripe-numbers.ts";

export interface FlushOptions {
  session: Session;
  stripes: Stripes;
  numbers: StripeNumbers;
  pool: BufferPool;
  clock: Clock;
  /** A file has nothing uncommitted any more. */
  onClean: (file: FileState) => void;
  /** A trace line about a flush that failed. */
  onError: (text: string) => void;
}

export class Flusher {
  readonly #options: FlushOptions;
  /** Not committed, in the order of sealing. */
  #units: FlushUnit[] = [];
  /** Of these, to be stored. */
  #toStore: FlushUnit[] = [];
  #storing = 0;
  #committing = false;
  #wanted = false;
  #retry: (() => void) | null = null;
  #stopped = false;
  /** Sessions that there were before. */
  #session = 0;
  #progress: (() => void)[] = [];
  /** Set while attempts fail: writers that would wait for a buffer get it instead. */
  failure: unknown = null;
  /** When attempts began to fail, as long as they do. */
  failingSinceMs = 0;
  uncommittedRanges = 0;
  /** Bytes sealed and not yet on disks. */
  unstoredBytes = 0;

  constructor(options: FlushOptions) {
    this.#options = options;
  }

  enqueue(unit: FlushUnit): void {
    this.#units.push(unit);
    this.uncommittedRanges += unit.ranges;
    if (unit.buffer !== null) {
      this.unstoredBytes += unit.buffer.used;
      this.#toStore.push(unit);
      this.#pump();
    }
  }

  release(buffer: StripeBuffer): void {
    if (buffer.pooled) this.#options.pool.give(buffer.bytes);
  }

  /** Resolves when all units that the files have now are committed, or an attempt at one failed (then the error is at the file). */
  async settle(files: Iterable<FileState>): Promise<void> {
    const waits: Promise<void>[] = [];
    for (const file of files) {
      for (const unit of file.units) {
        if (unit.error !== null) this.#again(unit);
        waits.push(new Promise((resolve) => unit.waiting.push(resolve)));
      }
    }
    if (waits.length === 0) return;
    this.#want();
    await Promise.all(waits);
  }

  /** As settle, for everything there is. */
  async settleAll(): Promise<void> {
    const waits = this.#units.map((unit) => {
      if (unit.error !== null) this.#again(unit);
      return new Promise<void>((resolve) => unit.waiting.push(resolve));
    });
    this.#want();
    await Promise.all(waits);
  }

  /** Resolves when a commit was made or failed. */
  async progress(): Promise<void> {
    this.#want();
    await new Promise<void>((resolve) => this.#progress.push(resolve));
  }

  /** Commits what was stored before `time` (ms). */
  commitOlder(time: number): void {
    if (this.#units.some((unit) => unit.stage === "stored" && unit.since < time)) this.#want();
  }

  /** Makes the file's part of every uncommitted unit void and resolves when none is on its way. The caller has removed the pieces. */
  async drop(file: FileState): Promise<void> {
    file.dropCount++;
    const committing = file.units.filter((unit) => unit.stage === "committing");
    for (const unit of file.units) if (unit.stage !== "committing") unit.files.delete(file);
    file.units.splice(0, file.units.length, ...committing);
    this.#sweep();
    if (committing.length > 0)
      await Promise.all(committing.map((unit) => new Promise<void>((resolve) => unit.waiting.push(resolve))));
  }

  /** Forgets everything: the session is over. */
  abandon(): void {
    for (const unit of this.#units) {
      for (const file of unit.files.keys()) file.units.length = 0;
      unit.files.clear();
    }
    this.#sweep();
  }

  /** As abandon, where another session goes on: nothing is sent under the old one's numbers. */
  renew(): void {
    this.#session++;
    this.abandon();
    this.#options.numbers.reset();
  }

  /** No more retries. */
  stop(): void {
    this.#stopped = true;
  }

  get uncommittedUnits(): number {
    return this.#units.length;
  }

  /** Removes units that no file needs any more. */
  #sweep(): void {
    const empty = this.#units.filter((unit) => unit.files.size === 0 && (unit.stage === "sealed" || unit.stage === "stored"));
    for (const unit of empty) {
      if (unit.buffer !== null) this.#bufferDone(unit);
      if (unit.stripe !== null && !unit.sent) this.#removeStripe(unit.stripe);
      this.#finish(unit);
    }
    if (empty.length === 0) return;
    this.#units = this.#units.filter((unit) => unit.stage !== "done");
    this.#toStore = this.#toStore.filter((unit) => unit.stage !== "done");
    // Nobody needs any more what failed.
    if (this.#units.every(({ error }) => error === null)) this.failure = null;
  }

  /** A stripe that nothing names was stored for nothing. Left behind, it is found when the session that reserved its number ends. */
  #removeStripe(stripe: Stripe): void {
    this.#options.stripes
      .remove([stripe])
      .catch((error: unknown) => this.#options.onError(`removing unused stripe ${stripe.id}: ${String(error)}`));
  }

  #bufferDone(unit: FlushUnit): void {
    this.unstoredBytes -= unit.buffer!.used;
    this.release(unit.buffer!);
    unit.buffer = null;
  }

  #pump(): void {
    while (this.#storing < STORES_IN_FLIGHT_MAX) {
      const unit = this.#toStore.shift();
      if (unit === undefined) return;
      this.#storing++;
      unit.stage = "storing";
      void this.#store(unit);
    }
  }

  async #store(unit: FlushUnit): Promise<void> {
    const { stripes, numbers } = this.#options;
    const buffer = unit.buffer!;
    try {
      const next = numbers.next();
      const id: StripeId = typeof next === "number" ? next : await next;
      unit.stripe = await stripes.write(
        id,
        unit.scheme,
        buffer.used === buffer.bytes.length ? buffer.bytes : buffer.bytes.subarray(0, buffer.used),
      );
      unit.stage = "stored";
      unit.error = null;
      this.failure = null;
      for (const [file, sealed] of unit.files) toStriped(file, unit, sealed.ranges);
      this.#bufferDone(unit);
    } catch (error) {
      unit.stage = "sealed";
      this.#failed([unit], error, "storing a stripe");
    }
    if (unit.files.size === 0) this.#sweep();
    this.#storing--;
    this.#pump();
    if (this.#wanted || this.#storedStripes() >= UNCOMMITTED_STRIPES_MAX) this.#want();
  }

  #storedStripes(): number {
    let count = 0;
    for (const unit of this.#units) if (unit.stage === "stored" && unit.stripe !== null) count++;
    return count;
  }

  #failed(units: readonly FlushUnit[], error: unknown, action: string): void {
    const code = codeOf(error);
    if (this.failure === null) this.failingSinceMs = this.#options.clock.nowMs();
    this.failure = error;
    for (const unit of units) {
      unit.error = error;
      for (const file of unit.files.keys()) file.error = code;
      this.#wake(unit);
    }
    this.#refuseBlocked(code);
    for (const resolve of this.#progress.splice(0)) resolve();
    this.#options.onError(`${action} failed (${code}), will be tried again: ${String((error as Error)?.message ?? error)}`);
    this.#options.pool.refuseWaiting(error);
    this.#retry ??= this.#options.clock.after(FLUSH_RETRY_MS, () => {
      this.#retry = null;
      if (this.#stopped) return;
      for (const unit of this.#units) if (unit.error !== null) this.#again(unit);
      this.#want();
    });
  }

  /** Whoever waits for a unit that rule 1 keeps behind a failed one would wait as long as that fails: a full disk, perhaps for ever. */
  #refuseBlocked(code: ErrnoName): void {
    const blocked = new Set<FileState>();
    for (const unit of this.#units) {
      let behind = unit.error !== null;
      for (const file of unit.files.keys()) if (blocked.has(file)) behind = true;
      if (!behind) continue;
      for (const file of unit.files.keys()) blocked.add(file);
      if (unit.waiting.length === 0) continue;
      for (const file of unit.files.keys()) file.error = code;
      this.#wake(unit);
    }
  }

  #again(unit: FlushUnit): void {
    if (unit.error === null) return;
    unit.error = null;
    if (unit.stage === "sealed" && !this.#toStore.includes(unit)) {
      this.#toStore.push(unit);
      this.#pump();
    }
  }

  #want(): void {
    this.#wanted = true;
    if (!this.#committing) void this.#commitLoop();
  }

  async #commitLoop(): Promise<void> {
    this.#committing = true;
    for (;;) {
      const batch = this.#chooseBatch();
      if (batch.length === 0) break;
      this.#wanted = this.#units.length > batch.length;
      await this.#commit(batch);
      for (const resolve of this.#progress.splice(0)) resolve();
    }
    this.#committing = false;
    if (this.#units.length === 0) {
      this.#wanted = false;
      for (const resolve of this.#progress.splice(0)) resolve();
    }
  }

  /** Units that may be committed now, by rule 1. */
  #chooseBatch(): FlushUnit[] {
    const batch: FlushUnit[] = [];
    const blocked = new Set<FileState>();
    let ranges = 0;
    let files = 0;
    for (const unit of this.#units) {
      let free = unit.stage === "stored" && unit.error === null;
      if (free && blocked.size > 0) for (const file of unit.files.keys()) if (blocked.has(file)) free = false;
      if (free && batch.length > 0 && (ranges + unit.ranges > COMMIT_RANGES_MAX || files + unit.files.size > COMMIT_FILES_MAX))
        break;
      if (free) {
        batch.push(unit);
        ranges += unit.ranges;
        files += unit.files.size;
      } else {
        for (const file of unit.files.keys()) blocked.add(file);
      }
    }
    return batch;
  }

  async #commit(batch: FlushUnit[]): Promise<void> {
    const { session, stripes } = this.#options;
    const before = this.#session;
    try {
      if (batch.some((unit) => unit.stripe !== null)) await stripes.sync();
      batch = batch.filter((unit) => unit.stage === "stored");
      if (batch.length === 0) return;
      for (const unit of batch) {
        unit.stage = "committing";
        unit.sent = true;
      }
      const { commits, versions } = gather(batch);
      const reply =
        commits.length === 0
          ? { attributes: [], gone: [] }
          : await session.call("commit", {
              files: commits,
              stripes: batch.filter((unit) => unit.stripe !== null && unit.files.size > 0).map((unit) => unit.stripe!),
            });
      this.failure = null;
      this.#committed(batch, versions);
      // What another session has begun with is not what this one was told.
      for (const attributes of before === this.#session ? reply.attributes : []) {
        const entry = versions.get(attributes.inode);
        if (entry !== undefined) mergeAttributes(entry.file, attributes);
      }
      for (const { file } of versions.values()) if (!file.dirty) this.#options.onClean(file);
    } catch (error) {
      for (const unit of batch) if (unit.stage === "committing") unit.stage = "stored";
      this.#failed(batch, error, "committing written data");
      this.#sweep();
    }
  }

  #committed(batch: readonly FlushUnit[], versions: ReadonlyMap<InodeId, SentFile>): void {
    for (const unit of batch) {
      for (const [file, sealed] of unit.files) {
        for (const piece of piecesOfUnit(file, unit, sealed.ranges)) piece.unit = null;
        const index = file.units.indexOf(unit);
        if (index >= 0) file.units.splice(index, 1);
      }
      this.#finish(unit);
    }
    for (const { file, mtimeSeconds, mtimeNanoseconds } of versions.values()) {
      const now = file.attributes;
      if (now.mtimeSeconds === mtimeSeconds && now.mtimeNanoseconds === mtimeNanoseconds && file.openBytes === 0)
        file.timesDirty = false;
    }
    this.#units = this.#units.filter((unit) => unit.stage !== "done");
  }

  #finish(unit: FlushUnit): void {
    unit.stage = "done";
    this.uncommittedRanges -= unit.ranges;
    this.#wake(unit);
  }

  #wake(unit: FlushUnit): void {
    for (const resolve of unit.waiting.splice(0)) resolve();
  }
}

interface SentFile {
  file: FileState;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
}

function toStriped(file: FileState, unit: FlushUnit, ranges: readonly SealedRange[]): void {
  for (const piece of piecesOfUnit(file, unit, ranges)) {
    piece.kind = STRIPED;
    piece.source = unit.stripe;
  }
}

/** One FileCommit a file, of all its parts in the batch. */
function gather(batch: readonly FlushUnit[]): { commits: FileCommit[]; versions: Map<InodeId, SentFile> } {
  const parts = new Map<FileState, { unit: FlushUnit; ranges: SealedRange[]; size: number }[]>();
  for (const unit of batch) {
    for (const [file, sealed] of unit.files) {
      if (sealed.dropCount !== file.dropCount) continue;
      const list = parts.get(file);
      if (list === undefined) parts.set(file, [{ unit, ranges: sealed.ranges, size: sealed.size }]);
      else list.push({ unit, ranges: sealed.ranges, size: sealed.size });
    }
  }
  const commits: FileCommit[] = [];
  const versions = new Map<InodeId, SentFile>();
  for (const [file, list] of parts) {
    const { mtimeSeconds, mtimeNanoseconds, ctimeSeconds, ctimeNanoseconds, atimeSeconds, atimeNanoseconds } = file.attributes;
    const commit: FileCommit = {
      inode: file.inode,
      extents: extentsOf(list),
      sizeAtLeast: Math.max(...list.map((part) => part.size)),
      // Without times of its own the data was written before a program set them: they stay.
      change: {},
    };
    if (file.timesDirty) {
      commit.change = {
        mtime: { seconds: mtimeSeconds, nanoseconds: mtimeNanoseconds },
        ctime: { seconds: ctimeSeconds, nanoseconds: ctimeNanoseconds },
      };
    }
    if (file.accessTimeDirty) {
      commit.change = { ...commit.change, atime: { seconds: atimeSeconds, nanoseconds: atimeNanoseconds } };
      file.accessTimeDirty = false;
    }
    commits.push(commit);
    versions.set(file.inode, { file, mtimeSeconds, mtimeNanoseconds });
  }
  return { commits, versions };
}

function extentsOf(parts: readonly { unit: FlushUnit; ranges: SealedRange[] }[]): Extent[] {
  if (parts.length === 1) return parts[0].ranges.map((range) => extentOf(parts[0].unit, range));
  // Later parts win where they overlap: let an ordered list of pieces work that out.
  const pieces = new Pieces();
  for (const { unit, ranges } of parts) {
    for (const range of ranges) {
      const end = range.start + range.length;
      pieces.put(
        new Piece(range.start, end, STRIPED, range.inline ?? unit.stripe, range.inline === null ? range.sourceOffset : 0, unit),
      );
    }
  }
  return pieces.all().map((piece) => {
    const inline = piece.source instanceof Uint8Array ? piece.source : null;
    const length = piece.end - piece.start;
    const bytes = inline === null ? null : inline.subarray(piece.sourceOffset, piece.sourceOffset + length);
    return extentOf(piece.unit!, { start: piece.start, length, sourceOffset: piece.sourceOffset, inline: bytes });
  });
}

function extentOf(unit: FlushUnit, range: SealedRange): Extent {
  if (range.inline !== null) return { offset: range.start, length: range.length, inline: range.inline };
  return { offset: range.start, length: range.length, stripe: unit.stripe!.id as StripeId, stripeOffset: range.sourceOffset };
}

/** The error number's name that a program is told: the error's own if it is one, else EIO. */
export function codeOf(error: unknown): ErrnoName {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && code in errno ? (code as ErrnoName) : "EIO";
}

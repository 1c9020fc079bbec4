// The way of sealed units to the namespace: store the stripe (several at once), make the disks durable once for many,
// commit many files in one request. One commit is on its way at a time; whoever asks meanwhile shares the next.
//
// 1. A unit is committed only after every earlier unit of each of its files (or together with it).
// 2. Blocks are durable (stripes.sync) before the commit that names them is sent.
// 3. A file's part of a unit is void once the file's dropCount has moved on (truncated to nothing, or gone).
// 4. What failed and may pass stays: its error waits at its files for the next fsync, close or write, and it is tried again.
// 5. A commit that is refused for what it says is cut in halves until one file's part is refused alone. That part is given
//    up: its pieces go, so that reads show what the namespace has, and its file is told. Everything else is committed.

import type { ErrnoName } from "../errno.ts";
import type { Clock } from "../../storage/clock.ts";
import type { Session } from "../messages.ts";
import type { Stripes } from "../../replication/block-client.ts";
import type { Stripe } from "../../replication/stripe.ts";
import type { InodeId, StripeId } from "../types.ts";
import type { BufferPool, StripeBuffer } from "./buffers.ts";
import { chooseBatch, gather } from "./commit-batch.ts";
import type { SentFile } from "./commit-batch.ts";
import { mergeAttributes } from "./file-state.ts";
import type { FileState } from "./file-state.ts";
import { codeOf, codeOfLoss, isLasting } from "./flush-failure.ts";
import { newUnit, piecesOfUnit } from "./flush-unit.ts";
import type { FlushUnit, SealedRange } from "./flush-unit.ts";
import {
  COMMIT_FILES_MAX,
  FLUSH_RETRY_MS,
  STORES_IN_FLIGHT_MAX,
  UNCOMMITTED_INLINE_MAX_BYTES,
  UNCOMMITTED_PIECES_MAX,
  UNCOMMITTED_STRIPES_MAX,
} from "./limits.ts";
import { STRIPED } from "./pieces.ts";
import type { StripeNumbers } from "./stripe-numbers.ts";

export interface FlushOptions {
  session: Session;
  stripes: Pick<Stripes, "write" | "sync" | "remove">;
  numbers: StripeNumbers;
  pool: BufferPool;
  clock: Clock;
  /** A file has nothing uncommitted any more. */
  onClean: (file: FileState) => void;
  /** So many bytes of the file will never be stored; its error is set, its pieces are gone. */
  onLost: (file: FileState, bytes: number) => void;
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
  /** Files that are being truncated to nothing: until it is known whether that was done, nothing of before is committed. */
  readonly #heldBack = new Set<FileState>();
  #committing = false;
  #wanted = false;
  #retry: (() => void) | null = null;
  #stopped = false;
  /** Sessions that there were before. */
  #session = 0;
  #progress: (() => void)[] = [];
  /** Units in one commit: fewer after a refusal, until the one is found that was refused. */
  #unitsAtOnce = Infinity;
  /** Set as long as there is a unit whose last attempt failed: writers that would wait for a buffer get it instead. */
  failure: unknown = null;
  /** When attempts began to fail, as long as they do. */
  failingSinceMs = 0;
  /** Of units that are not committed; one without ranges counts as one. */
  uncommittedRanges = 0;
  /** Bytes that wait for a commit outside of buffers. */
  inlineBytes = 0;
  /** Bytes sealed and not yet on disks. */
  unstoredBytes = 0;

  constructor(options: FlushOptions) {
    this.#options = options;
  }

  enqueue(unit: FlushUnit): void {
    this.#units.push(unit);
    this.#count(unit, 1);
    if (unit.buffer !== null) {
      this.unstoredBytes += unit.buffer.used;
      this.#toStore.push(unit);
      this.#pump();
    }
    if (this.crowded) this.#want();
  }

  /** So much waits for a commit that writers shall wait, too. */
  get crowded(): boolean {
    return this.uncommittedRanges > UNCOMMITTED_PIECES_MAX || this.inlineBytes > UNCOMMITTED_INLINE_MAX_BYTES;
  }

  #count(unit: FlushUnit, sign: 1 | -1): void {
    this.uncommittedRanges += sign * Math.max(1, unit.ranges);
    this.inlineBytes += sign * unit.inlineBytes;
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

  /** From when this resolves, nothing of the file is committed before `goOn`. Units that it shares with others wait, too. */
  async holdBack(file: FileState): Promise<void> {
    this.#heldBack.add(file);
    const committing = file.units.filter((unit) => unit.stage === "committing");
    await Promise.all(committing.map((unit) => new Promise<void>((resolve) => unit.waiting.push(resolve))));
  }

  goOn(file: FileState): void {
    this.#heldBack.delete(file);
    if (this.#units.length > 0) this.#want();
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
    this.#recovered();
  }

  /** Nothing that failed is left, or all of it has gone on. */
  #recovered(): void {
    if (this.failure !== null && this.#units.every(({ failed }) => failed === null)) this.failure = null;
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
      unit.error = unit.failed = null;
      this.#recovered();
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
      unit.error = unit.failed = error;
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
      const batch = chooseBatch(this.#units, this.#unitsAtOnce, this.#heldBack);
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

  async #commit(batch: FlushUnit[]): Promise<void> {
    const { session, stripes } = this.#options;
    const before = this.#session;
    let sent = false;
    try {
      if (batch.some((unit) => unit.stripe !== null)) await stripes.sync();
      batch = batch.filter((unit) => unit.stage === "stored");
      if (this.#heldBack.size > 0) {
        const free = new Set(chooseBatch(this.#units, this.#unitsAtOnce, this.#heldBack));
        batch = batch.filter((unit) => free.has(unit));
      }
      if (batch.length === 0) return;
      for (const unit of batch) {
        unit.stage = "committing";
        unit.sent = true;
      }
      sent = true;
      const { commits, versions } = gather(batch);
      const reply =
        commits.length === 0
          ? { attributes: [], gone: [] }
          : await session.call("commit", {
              files: commits,
              stripes: batch.filter((unit) => unit.stripe !== null && unit.files.size > 0).map((unit) => unit.stripe!),
            });
      this.#unitsAtOnce = this.#unitsAtOnce >= COMMIT_FILES_MAX ? Infinity : this.#unitsAtOnce * 2;
      this.#committed(batch, versions);
      // What another session has begun with is not what this one was told.
      for (const attributes of before === this.#session ? reply.attributes : []) {
        const entry = versions.get(attributes.inode);
        if (entry !== undefined) mergeAttributes(entry.file, attributes);
      }
      for (const { file } of versions.values()) if (!file.dirty) this.#options.onClean(file);
    } catch (error) {
      for (const unit of batch) if (unit.stage === "committing") unit.stage = "stored";
      // What the disks say is no refusal of the commit.
      if (sent && isLasting(error)) this.#refused(batch, error);
      else this.#failed(batch, error, "committing written data");
      this.#sweep();
    }
  }

  /** The commit loop goes on at once, with less: each refusal halves the batch, parts a unit or ends one. */
  #refused(batch: readonly FlushUnit[], error: unknown): void {
    const [unit] = batch;
    if (batch.length > 1) this.#unitsAtOnce = batch.length >>> 1;
    else if (unit.files.size > 1) this.#part(unit);
    else this.#giveUp(unit, error);
  }

  /** A unit for each file of it; they share its stripe. */
  #part(unit: FlushUnit): void {
    const parts: FlushUnit[] = [];
    for (const [file, sealed] of unit.files) {
      const part = newUnit(unit.sequence, unit.since);
      part.stripe = unit.stripe;
      part.sent = unit.sent;
      part.files.set(file, sealed);
      part.ranges = sealed.ranges.length;
      for (const { length, inline } of sealed.ranges) {
        part.bytes += length;
        part.inlineBytes += inline?.length ?? 0;
      }
      for (const piece of piecesOfUnit(file, unit, sealed.ranges)) piece.unit = part;
      file.units.splice(file.units.indexOf(unit), 1, part);
      this.#count(part, 1);
      parts.push(part);
    }
    // The last of them is done last.
    parts.at(-1)!.waiting = unit.waiting.splice(0);
    this.#units.splice(this.#units.indexOf(unit), 1, ...parts);
    this.#finish(unit);
  }

  #giveUp(unit: FlushUnit, error: unknown): void {
    this.#options.onError(`a commit was refused, its data is given up: ${String((error as Error)?.message ?? error)}`);
    for (const [file, sealed] of unit.files) {
      let bytes = 0;
      for (const piece of piecesOfUnit(file, unit, sealed.ranges)) {
        bytes += piece.end - piece.start;
        file.pieces.remove(piece.start, piece.end);
      }
      file.units.splice(file.units.indexOf(unit), 1);
      if (sealed.dropCount !== file.dropCount) continue;
      file.error = codeOfLoss(error);
      this.#options.onLost(file, bytes);
    }
    this.#finish(unit);
    this.#units = this.#units.filter((other) => other !== unit);
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
    this.#recovered();
  }

  #finish(unit: FlushUnit): void {
    unit.stage = "done";
    this.#count(unit, -1);
    this.#wake(unit);
  }

  #wake(unit: FlushUnit): void {
    for (const resolve of unit.waiting.splice(0)) resolve();
  }
}

function toStriped(file: FileState, unit: FlushUnit, ranges: readonly SealedRange[]): void {
  for (const piece of piecesOfUnit(file, unit, ranges)) {
    piece.kind = STRIPED;
    piece.source = unit.stripe;
  }
}

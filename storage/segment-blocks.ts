// The block store of one disk (storage/blocks.ts): blocks are records in append-only segment files, found through an
// index. This file puts the parts together: segment-writer.ts appends, block-reader.ts reads and checks,
// block-index.ts knows where, block-changes.ts brings changes to it, blocks-recovery.ts mends both after a crash.
//
// Invariants:
// 1. The segments are the truth. The index's table gets a change only after the bytes it speaks of are synced.
// 2. A record that no change speaks of any more is marked deleted or punched out, so a scan does not bring it back.
// 3. After a failed fdatasync nothing is stored or called durable any more: the kernel may have dropped the bytes and
//    would report the next sync as good (fsync(2)). Reads go on; opening the disk again finds out what is there.

import { crc32cPieces } from "../native/kernels.ts";
import { AlignedPool } from "./aligned-pool.ts";
import { BlockError, codeOf, nameOf, requireId, requireRange, textOf, type Damage, type OnDamage } from "./block-errors.ts";
import { BlockChanges } from "./block-changes.ts";
import { BlockIndex, keyOf, type Change } from "./block-index.ts";
import type { Entry } from "./block-index-format.ts";
import { BlockReader, dataOffsetOf, READ_SCRATCH_BYTES } from "./block-reader.ts";
import { BlockTurns } from "./block-turns.ts";
import {
  BLOCK_MAX_BYTES,
  PIECE_BYTES,
  type BlockId,
  type BlockInfo,
  type Blocks,
  type BlockCounts,
  type BlockSpace,
  type CompactOptions,
  type CompactStep,
} from "./blocks.ts";
import { BlocksRecovery } from "./blocks-recovery.ts";
import { ALIGNMENT_BYTES, type Directory } from "./directory.ts";
import { checkDiskIdentity, saltOf, type DiskIdentity } from "./disk-identity.ts";
import { SegmentCompactor } from "./segment-compact.ts";
import { SEGMENTS_FOLDER, SegmentFiles } from "./segment-files.ts";
import { piecesOf } from "./segment-format.ts";
import { openIndex, searchRecord, type IndexStore, type OpenedIndex } from "./segment-recovery.ts";
import { SegmentWriter } from "./segment-writer.ts";
import type { Segment } from "./segment.ts";

export interface SegmentBlocksOptions {
  /** The disk: its identity file is there already (disk-identity.ts). */
  directory: Directory;
  identity: DiskIdentity;
  index: IndexStore;
  /** Milliseconds of a clock that never goes back. */
  now: () => number;
  /** Told of everything that is not as it was written. May be called at any time; must not throw. */
  onDamage?: OnDamage;
  /** Memory for index entries of blocks that were used lately. Default 8 MiB. */
  cacheBytes?: number;
  /** Kept free on the disk for the index and for deletes. Default: 1 % of the disk, at most 64 MiB. */
  reserveBytes?: number;
  /** Default: 256 MiB for large blocks, 64 MiB for small ones, less on a small disk. */
  segmentBytesMax?: number;
}

const CACHE_BYTES_DEFAULT = 8 * 1024 * 1024;
const RESERVE_BYTES_MAX = 64 * 1024 * 1024;
/** Large writes at once; each needs two pages for its header and tail. */
const LARGE_WRITES_MAX = 64;
/** Buffers for blocks whose memory is not aligned, and for reads of parts of pieces. */
const WRITE_SCRATCH_BUFFERS = 4;
const READ_SCRATCH_BUFFERS = 16;
const SPACE_AGE_MAX_MS = 1000;
const DELETES_AT_ONCE = 256;

/** Opens the disk's blocks; after a crash this repairs the index. Errors: of the disk, and BlockError EINVAL where a format is of another version. */
export async function openSegmentBlocks(options: SegmentBlocksOptions): Promise<SegmentBlocks> {
  const onDamage = options.onDamage ?? (() => undefined);
  const salt = saltOf(options.identity);
  const opened = await openIndex(options.index, options.directory.path, salt, onDamage);
  try {
    const blocks = new SegmentBlocks(options, opened);
    await blocks.recover(opened);
    return blocks;
  } catch (error) {
    await opened.table.close().catch(() => undefined);
    throw error;
  }
}

export class SegmentBlocks implements Blocks {
  readonly #options: SegmentBlocksOptions;
  readonly #directory: Directory;
  readonly #salt: number;
  readonly #onDamage: OnDamage;
  readonly #files: SegmentFiles;
  readonly #segments = new Map<number, Segment>();
  readonly #index: BlockIndex;
  readonly #reader: BlockReader;
  readonly #compactor: SegmentCompactor;
  readonly #pages = new AlignedPool({ bufferBytes: 2 * ALIGNMENT_BYTES, buffersMax: LARGE_WRITES_MAX });
  readonly #readScratch = new AlignedPool({ bufferBytes: READ_SCRATCH_BYTES, buffersMax: READ_SCRATCH_BUFFERS });
  readonly #writeScratch = new AlignedPool({ bufferBytes: BLOCK_MAX_BYTES, buffersMax: WRITE_SCRATCH_BUFFERS });
  #writer!: SegmentWriter;
  readonly #turns = new BlockTurns();
  readonly #changes: BlockChanges;
  #closed = false;
  #space: { at: number; value: Promise<{ totalBytes: number; freeBytes: number }> } | null = null;

  /** Use openSegmentBlocks. */
  constructor(options: SegmentBlocksOptions, opened: OpenedIndex) {
    this.#options = options;
    this.#directory = options.directory;
    this.#salt = saltOf(options.identity);
    this.#onDamage = options.onDamage ?? (() => undefined);
    this.#files = new SegmentFiles(options.directory);
    const retired = new Set<Segment>();
    this.#index = new BlockIndex({
      table: opened.table,
      segments: this.#segments,
      salt: this.#salt,
      sequence: () => this.#writer.sequence,
      cacheBytes: options.cacheBytes ?? CACHE_BYTES_DEFAULT,
      onDamagedValue: (id) => this.#repairValue(id),
      onRetirable: (segment) => retired.add(segment),
    });
    this.#changes = new BlockChanges(
      {
        path: options.directory.path,
        files: this.#files,
        segments: this.#segments,
        index: this.#index,
        writer: () => this.#writer,
        now: options.now,
      },
      retired,
    );
    this.#reader = new BlockReader(this.#files, this.#readScratch);
    this.#compactor = this.#newCompactor();
  }

  #newCompactor(): SegmentCompactor {
    return new SegmentCompactor({
      segments: this.#segments,
      files: this.#files,
      salt: this.#salt,
      writer: () => this.#writer,
      lookup: (id) => this.#index.lookup(id),
      read: async (segment, entry, into) => (await this.#reader.read(segment, entry, 0, into)) < 0,
      alone: (ids, action) => this.#turns.alone(ids.map(keyOf), action),
      sync: () => this.#changes.rounds.run(),
      replace: (blocks) => {
        const changes = blocks.map(({ id, from, to }) => this.#changes.record(id, to, from));
        return this.#changes.commit(
          changes,
          blocks.map(({ from }) => from),
        );
      },
      discard: (entries) => this.#changes.discard(entries),
      settle: () => this.#changes.settle(),
    });
  }

  /** For openSegmentBlocks only. */
  recover(opened: OpenedIndex): Promise<void> {
    return new BlocksRecovery({
      opened,
      directory: this.#directory,
      salt: this.#salt,
      onDamage: this.#onDamage,
      files: this.#files,
      segments: this.#segments,
      index: this.#index,
      changes: this.#changes,
      startWriter: (nextNumber, sequence) => {
        this.#writer = this.#newWriter(nextNumber, sequence);
      },
      writer: () => this.#writer,
      segmentBytesMax: this.#options.segmentBytesMax,
    }).run();
  }

  async store(id: BlockId, bytes: Uint8Array): Promise<void> {
    requireId(id);
    if (bytes.length === 0 || bytes.length > BLOCK_MAX_BYTES)
      throw new BlockError("EINVAL", `store ${nameOf(id)}: it has ${bytes.length} bytes, required are 1 to ${BLOCK_MAX_BYTES}`);
    this.#requireUsable(`store ${nameOf(id)}`);
    if (this.#changes.many) await this.#changes.relieve();
    const checksums = new Uint32Array(piecesOf(bytes.length));
    crc32cPieces(bytes, PIECE_BYTES, checksums);
    await this.#turns.alone([keyOf(id)], async () => {
      const known = this.#index.lookupNow(id);
      const previous = known === undefined ? await this.#index.lookup(id) : known;
      if (previous !== null && (await this.#isStored(id, previous, bytes.length, checksums))) return;
      const entry = await this.#writer.append(id, bytes, checksums);
      await this.#changes.commit([this.#changes.record(id, entry, previous)], previous === null ? [] : [previous]);
    });
  }

  async sync(): Promise<void> {
    this.#requireUsable(`sync ${this.#directory.path}`);
    return this.#changes.sync();
  }

  async retrieve(id: BlockId, offset: number, into: Uint8Array): Promise<void> {
    // A block may move or go while it is read; then what was read is looked at again in its new place.
    for (let attempt = 1; ; attempt++) {
      const known = this.#index.lookupNow(id);
      const entry = known === undefined ? await this.#index.lookup(id) : known;
      if (entry === null) throw this.#unknown(id);
      requireRange(id, entry, offset, into.length);
      const segment = this.#segments.get(entry.segment);
      let wrong = 0;
      try {
        if (segment !== undefined) wrong = await this.#reader.read(segment, entry, offset, into);
        if (segment !== undefined && wrong < 0) return;
      } catch (error) {
        if (!this.#changes.hasMoved(id, entry)) throw this.#readFailure(id, segment!, entry, error);
      }
      if (this.#changes.hasMoved(id, entry) && attempt < 4) continue;
      await this.#explain(id, segment, entry, wrong);
    }
  }

  retrieveNow(id: BlockId, offset: number, into: Uint8Array): boolean {
    const entry = this.#index.lookupNow(id);
    if (entry === undefined) return false;
    if (entry === null) throw this.#unknown(id);
    requireRange(id, entry, offset, into.length);
    const segment = this.#segments.get(entry.segment);
    // What is wrong is found out, and said, by retrieve.
    return segment !== undefined && this.#reader.readNow(segment, entry, offset, into) === -1;
  }

  async delete(ids: readonly BlockId[]): Promise<void> {
    this.#requireUsable(`delete ${ids.length} blocks of ${this.#directory.path}`);
    for (let start = 0; start < ids.length; start += DELETES_AT_ONCE) {
      const part = ids.slice(start, start + DELETES_AT_ONCE);
      await this.#turns.alone(part.map(keyOf), async () => {
        await Promise.all(part.map((id) => this.#index.lookup(id)));
        const entries: Entry[] = [];
        const changes: Change[] = [];
        for (const id of part) {
          const entry = this.#index.lookupNow(id) ?? (await this.#index.lookup(id));
          if (entry === null) continue;
          entries.push(entry);
          changes.push(this.#changes.record(id, null, entry));
        }
        if (changes.length === 0) return;
        await this.#changes.note(changes);
        await this.#changes.commit(changes, entries);
      });
    }
    if (this.#changes.many) await this.#changes.relieve();
  }

  async list(after: BlockId | null, limit: number): Promise<BlockInfo[]> {
    const found = await this.#index.list(after, limit);
    return found.map(({ id, entry }) => this.#infoOf(id, entry));
  }

  async locate(id: BlockId): Promise<BlockInfo | null> {
    const entry = await this.#index.lookup(id);
    return entry === null ? null : this.#infoOf(id, entry);
  }

  async verify(id: BlockId): Promise<"good" | "missing" | "damaged"> {
    for (let attempt = 1; ; attempt++) {
      const entry = await this.#index.lookup(id);
      if (entry === null) return "missing";
      const segment = this.#segments.get(entry.segment);
      if (segment === undefined) return "missing";
      let state: "good" | "erased" | "damaged";
      try {
        state = await this.#reader.verify(segment, entry, this.#placeOf(entry));
      } catch (error) {
        if (this.#changes.hasMoved(id, entry) && attempt < 4) continue;
        throw this.#readFailure(id, segment, entry, error);
      }
      if (state === "good") return state;
      if (this.#changes.hasMoved(id, entry) && attempt < 4) continue;
      if (state === "damaged") {
        this.#onDamage(this.#damageOf(id, segment, entry, entry.offset, "the record differs from its checksums"));
        return state;
      }
      this.#changes.forget(id, entry);
      return "missing";
    }
  }

  compact(options: CompactOptions): Promise<CompactStep> {
    this.#requireUsable(`compact ${this.#directory.path}`);
    return this.#compactor.step(options);
  }

  async release(): Promise<void> {
    this.#requireUsable(`release space of ${this.#directory.path}`);
    await this.#changes.settle();
  }

  async space(anew = false): Promise<BlockSpace> {
    const now = this.#options.now();
    if (anew || this.#space === null || now - this.#space.at >= SPACE_AGE_MAX_MS) {
      const value = this.#directory.space();
      this.#space = { at: now, value };
      value.catch(() => (this.#space = null));
    }
    const { totalBytes, freeBytes } = await this.#space.value;
    let blocks = 0;
    let blockBytes = 0;
    for (const segment of this.#segments.values()) {
      blocks += segment.records;
      blockBytes += segment.blockBytes;
    }
    const usable = Math.max(0, freeBytes - this.#reserveBytes(totalBytes)) + this.#writer.unusedBytes;
    return { totalBytes, freeBytes: usable, blockBytes, blocks };
  }

  counts(): BlockCounts {
    const pools = [this.#pages, this.#readScratch, this.#writeScratch];
    return { segments: this.#segments.size, buffersLent: pools.reduce((sum, { taken }) => sum + taken, 0) };
  }

  /** Null, or why the disk cannot be used: a failed sync, or its directory or identity is gone or another one's. For the caller to mark the disk failed. */
  async healthy(): Promise<string | null> {
    const { failure } = this.#changes;
    if (failure !== null) return failure.message;
    try {
      await checkDiskIdentity(this.#directory, this.#options.identity);
      await this.#directory.list(SEGMENTS_FOLDER);
      return null;
    } catch (error) {
      return textOf(error);
    }
  }

  /** Makes everything durable and closes. No other call may run or follow. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (this.#changes.failure !== null) return;
      await this.#writer.close();
      await this.#changes.settle();
      await this.#index.writeSummaries(this.#segments.values());
      await this.#index.flush();
    } finally {
      await this.#changes.idle();
      await this.#files.close();
      await this.#index.close();
    }
  }

  #newWriter(nextNumber: number, sequence: number): SegmentWriter {
    return new SegmentWriter(
      {
        files: this.#files,
        salt: this.#salt,
        segments: this.#segments,
        pages: this.#pages,
        scratch: this.#writeScratch,
        space: () => this.#directory.space(),
        reserveBytes: (totalBytes) => this.#reserveBytes(totalBytes),
        syncNames: () => this.#directory.syncNames(SEGMENTS_FOLDER),
        syncSegment: (segment) => this.#changes.syncSegment(segment),
        onWritten: (segment) => this.#changes.markDirty(segment),
        onEmpty: (segment) => this.#changes.retired.add(segment),
        segmentBytesMax: this.#options.segmentBytesMax,
      },
      nextNumber,
      sequence,
    );
  }

  /** Whether the same bytes are stored and readable. Error EEXIST where other bytes are stored. */
  async #isStored(id: BlockId, entry: Entry, length: number, checksums: Uint32Array): Promise<boolean> {
    if (entry.length !== length || entry.checksums.some((checksum, piece) => checksum !== checksums[piece])) {
      throw new BlockError("EEXIST", `store ${nameOf(id)} on ${this.#directory.path}: it is stored with other bytes already`);
    }
    // Storing again is how a damaged block is mended.
    const segment = this.#segments.get(entry.segment);
    return (
      segment !== undefined && (await this.#reader.verify(segment, entry, this.#placeOf(entry)).catch(() => "damaged")) === "good"
    );
  }

  async #repairValue(id: BlockId): Promise<Entry | null> {
    this.#onDamage({
      kind: "index",
      file: this.#directory.path,
      id,
      text: `look up ${nameOf(id)} on ${this.#directory.path}: its index value differs from its checksum; the segments are searched`,
    });
    const entry = await searchRecord(id, this.#segments.values(), this.#files, this.#salt);
    if (entry !== null && this.#index.lookupNow(id) === undefined) {
      // It was counted when it was stored: the change replaces itself.
      const change: Change = { id, entry, previous: entry };
      this.#index.record(change);
      this.#changes.add(change);
    }
    return entry;
  }

  /** Throws what a failed check means. */
  async #explain(id: BlockId, segment: Segment | undefined, entry: Entry, piece: number): Promise<never> {
    const state =
      segment === undefined ? "erased" : await this.#reader.header(segment, entry, this.#placeOf(entry)).catch(() => "damaged");
    if (segment === undefined || state === "erased") {
      this.#onDamage({
        kind: "index",
        file: this.#directory.path,
        id,
        text: `retrieve ${nameOf(id)} on ${this.#directory.path}: the index has it, its record is gone`,
      });
      this.#changes.forget(id, entry);
      throw this.#unknown(id);
    }
    const offset = dataOffsetOf(segment, entry) + piece * PIECE_BYTES;
    const damage = this.#damageOf(id, segment, entry, offset, `the piece at ${offset} differs from its checksum`);
    this.#onDamage(damage);
    throw new BlockError("EBADMSG", damage.text);
  }

  #damageOf(id: BlockId, segment: Segment, entry: Entry, offset: number, what: string): Damage {
    const file = this.#files.pathOf(segment.name);
    return { kind: "corrupt", file, offset, bytes: entry.length, id, text: `retrieve ${nameOf(id)} from ${file}: ${what}` };
  }

  #readFailure(id: BlockId, segment: Segment, entry: Entry, error: unknown): BlockError {
    const text = `retrieve ${nameOf(id)} from ${this.#files.pathOf(segment.name)} at ${entry.offset}: ${textOf(error)}`;
    return new BlockError(codeOf(error) === "EBUSY" ? "EBUSY" : "EIO", text, { cause: error });
  }

  #unknown(id: BlockId): BlockError {
    return new BlockError("ENOENT", `retrieve ${nameOf(id)} from ${this.#directory.path}: it is not stored there`);
  }

  #infoOf(id: BlockId, entry: Entry): BlockInfo {
    const segment = this.#segments.get(entry.segment);
    const file = segment === undefined ? "" : `${SEGMENTS_FOLDER}/${segment.name}`;
    return {
      stripe: id.stripe,
      index: id.index,
      bytes: entry.length,
      file,
      offset: segment === undefined ? entry.offset : dataOffsetOf(segment, entry),
    };
  }

  #placeOf(entry: Entry): { salt: number; segment: number; offset: number } {
    return { salt: this.#salt, segment: entry.segment, offset: entry.offset };
  }

  #reserveBytes(totalBytes: number): number {
    return this.#options.reserveBytes ?? Math.min(RESERVE_BYTES_MAX, Math.floor(totalBytes / 100));
  }

  #requireUsable(action: string): void {
    if (this.#closed) throw new BlockError("EIO", `${action}: the disk is closed`);
    if (this.#changes.failure !== null) throw this.#changes.failure;
  }
}

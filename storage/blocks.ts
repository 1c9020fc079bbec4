// What one disk does: keeps immutable blocks. storage/segment-blocks.ts is the real one.

/** Names a block: which stripe, and which of its blocks. */
export interface BlockId {
  stripe: number;
  index: number;
}

export interface BlockInfo extends BlockId {
  bytes: number;
  /** File (relative to the disk's directory) and offset of the block's first data byte, for `cairn where`. */
  file: string;
  offset: number;
}

export interface BlockSpace {
  totalBytes: number;
  freeBytes: number;
  /** Bytes of live blocks, without their overhead. */
  blockBytes: number;
  blocks: number;
}

/** What a disk holds at the moment, to be compared with a walk. */
export interface BlockCounts {
  /** Files in its segments folder. */
  segments: number;
  /** Buffers of its pools that are out. */
  buffersLent: number;
}

/** 16 KiB: the unit of checksums, so a 4 KiB read verifies 16 KiB; 4 bytes of CRC32C each make 0.024 % overhead. */
export const PIECE_BYTES = 16 * 1024;

/** At most 4 MiB a block: a whole stripe in one copy. */
export const BLOCK_MAX_BYTES = 4 * 1024 * 1024;

export interface CompactOptions {
  /** Files of which less than this share lives are rewritten. */
  below: number;
  /** Also the ones that are being written to, and space that is only reserved. */
  thorough: boolean;
}

export interface CompactStep {
  movedBytes: number;
  more: boolean;
}

export interface Blocks {
  /** Writes a new block. Resolves when it may be read; durable only after a later sync(). Error EEXIST if the id is stored with other bytes; the same bytes again are fine. ENOSPC leaves nothing behind. The caller keeps `bytes` unchanged until it resolves. */
  store(id: BlockId, bytes: Uint8Array): Promise<void>;
  /** Everything whose store() or delete() resolved before this call is durable when it resolves. Calls share one fdatasync. */
  sync(): Promise<void>;
  /** Fills `into` with the block's bytes from `offset`, each piece touched verified against its checksum. Errors: ENOENT unknown block; EBADMSG checksum differs (names file and offset); EIO. */
  retrieve(id: BlockId, offset: number, into: Uint8Array): Promise<void>;
  /** As retrieve, but only if it can be done without waiting (index entry cached, bytes in the page cache): true and filled, or false. Throws as retrieve does. */
  retrieveNow(id: BlockId, offset: number, into: Uint8Array): boolean;
  /** Forgets the blocks and returns their space. Unknown ids are fine. A delete that a crash took before its sync() may be done in part (the block is there, missing or damaged): delete again. */
  delete(ids: readonly BlockId[]): Promise<void>;
  /** Blocks in order of (stripe, index) after `after`, at most `limit`. */
  list(after: BlockId | null, limit: number): Promise<BlockInfo[]>;
  /** Reads the whole block past the page cache and checks it. */
  verify(id: BlockId): Promise<"good" | "missing" | "damaged">;
  locate(id: BlockId): Promise<BlockInfo | null>;
  /** `anew`: of this moment; else up to a second old. */
  space(anew?: boolean): Promise<BlockSpace>;
  /** Gives back at once what deleted blocks still hold, as far as nothing must be moved for it. */
  release?(): Promise<void>;
  counts?(): BlockCounts;
  /** Moves live blocks out of a file that is mostly dead, and removes it; one file at most. Readers and writers go on meanwhile. */
  compact?(options: CompactOptions): Promise<CompactStep>;
  close(): Promise<void>;
}

// How stripes reach disks, wherever those are: the seam between the stripe reader and writer, and block stores. The
// embedded implementation (replication/local-blocks.ts) calls the disks of this process; the cluster's will send frames.

import type { BlockId, BlockInfo, BlockSpace, CompactOptions, CompactStep } from "../storage/blocks.ts";
import type { DiskId, Stripe } from "./stripe.ts";

/** `active` takes new blocks; `draining` is read but gets none; `failed` is neither read nor written (lost, unreadable, or removed while running). */
export type DiskState = "active" | "draining" | "failed";

export interface DiskStatus {
  id: DiskId;
  /** Directory or, later, node and directory. */
  path: string;
  state: DiskState;
  /** Why it is failed, for people. */
  reason?: string;
  space: BlockSpace;
  /** Failure domains above the disk, where they are known. Placement spreads a stripe over zones, then nodes, then disks. */
  node?: string;
  zone?: string;
  /** Has not answered a request for a while: readers rather take other blocks. */
  slow?: boolean;
  /** Errors since start: reads that failed or differed from their checksum. */
  readErrors: number;
  writeErrors: number;
}

/** All methods take a disk and reject with EIO (code "EIO", text naming the disk) where it is failed or unknown. A disk that fails as a whole (directory gone, EIO on write) turns `failed` by itself; a damaged block does not fail its disk. */
export interface BlockClient {
  disks(): readonly DiskStatus[];
  store(disk: DiskId, id: BlockId, bytes: Uint8Array): Promise<void>;
  sync(disk: DiskId): Promise<void>;
  retrieve(disk: DiskId, id: BlockId, offset: number, into: Uint8Array): Promise<void>;
  retrieveNow(disk: DiskId, id: BlockId, offset: number, into: Uint8Array): boolean;
  delete(disk: DiskId, ids: readonly BlockId[]): Promise<void>;
  list(disk: DiskId, after: BlockId | null, limit: number): Promise<BlockInfo[]>;
  verify(disk: DiskId, id: BlockId): Promise<"good" | "missing" | "damaged">;
  locate(disk: DiskId, id: BlockId): Promise<BlockInfo | null>;
  /** Learns anew how much space every disk has; with `release` they first give back what deleted blocks hold. Never rejects, and takes a bounded time: what a disk does not tell stays as it was. */
  measure?(release: boolean): Promise<void>;
  /** A step of giving back the space of deleted blocks that the disk still holds; call it again while there is `more`. */
  compact?(disk: DiskId, options: CompactOptions): Promise<CompactStep>;
}

/** Reads and writes whole stripes over a BlockClient; implemented in replication/stripes.ts. */
export interface Stripes {
  /** Encodes and stores a new stripe on distinct disks. `data` is 1..STRIPE_DATA_MAX_BYTES and is kept unchanged by the caller until this resolves. If a disk fails meanwhile its block goes to another; with fewer usable disks than the scheme needs, stores degraded as long as every block that is needed for decoding plus at least one more (or all that remain) is stored, else rejects: ENOSPC where space is what is missing, EIO otherwise. */
  write(id: number, scheme: string, data: Uint8Array): Promise<Stripe>;
  /** Durable: all blocks of all stripes whose write() resolved before this call. */
  sync(): Promise<void>;
  /** Fills `into` with stripe bytes from `offset`. Degraded where a block is missing or damaged (the damage is reported to `onDamage`). EIO naming stripe and disks when it cannot be decoded. */
  read(stripe: Stripe, offset: number, into: Uint8Array): Promise<void>;
  /** True and filled if that needs no waiting; else false. Never throws: damage falls through to read(). */
  readNow(stripe: Stripe, offset: number, into: Uint8Array): boolean;
  /** Removes the blocks from every disk that is there. */
  remove(stripes: readonly Stripe[]): Promise<void>;
  /** Which schemes can be carried right now, and how much more data fits. */
  space(): { totalBytes: number; freeBytes: number };
  /** Makes space() true of this moment (BlockClient.measure). Absent where it always is. */
  measure?(release: boolean): Promise<void>;
}

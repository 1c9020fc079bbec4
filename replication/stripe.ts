// The stripe record: where a stripe's blocks lie and how they are coded. Immutable but for `disks`, which repair and
// drains rewrite. Shared by the namespace (which stores it) and by the stripe reader and writer (which use it).

/** A disk's number in its store: from 1 on, assigned once, never reused. */
export type DiskId = number & { readonly brand: "DiskId" };

/** Stands in Stripe.disks for a block that is stored nowhere: a degraded write had no disk for it. Repair finds it one. */
export const NO_DISK = 0 as DiskId;

export interface Stripe {
  /** Unique in the store, never reused (fs calls it StripeId). */
  readonly id: number;
  /** Scheme text, as `rs:4+2` or `copies:3` (coding/scheme.ts). */
  readonly scheme: string;
  /** Bytes of data in the stripe, 1..STRIPE_DATA_MAX_BYTES. The last data block is zero-padded, and trailing data blocks may be all padding. */
  readonly dataBytes: number;
  /** Bytes of each block: data block i holds stripe bytes [i*blockBytes, (i+1)*blockBytes). A multiple of 4096, or for copies exactly dataBytes. */
  readonly blockBytes: number;
  /** disks[index] holds block `index` (NO_DISK: none does yet); its length is the scheme's total number of blocks. */
  readonly disks: readonly DiskId[];
}

/** 4 MiB: k blocks of up to 1 MiB for rs:4+2 (architecture.md). */
export const STRIPE_DATA_MAX_BYTES = 4 * 1024 * 1024;

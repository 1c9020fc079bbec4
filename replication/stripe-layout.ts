// Arithmetic of stripes: which bytes lie in which block. Pure.
import type { Code } from "../coding/code.ts";
import { parseScheme } from "../coding/scheme.ts";
import { ALIGNMENT_BYTES } from "../storage/directory.ts";
import { NO_DISK, type DiskId, type Stripe } from "./stripe.ts";

/** What stripes throw. `code` is an errno name. */
export class StripeError extends Error {
  readonly code: "EIO" | "ENOSPC" | "EINVAL";
  constructor(code: StripeError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The scheme's code. Errors: CodingError INVALID_SCHEME; StripeError EINVAL where its blocks are not the data itself. */
export function stripeCode(scheme: string): Code {
  const code = parseScheme(scheme);
  if (!code.systematic)
    throw new StripeError(
      "EINVAL",
      `use scheme ${scheme} for a stripe: its blocks are not the data itself; rs:K+M and copies:R can be used`,
    );
  return code;
}

/** Bytes of each block of a stripe with so much data: exactly the data where one block holds all, else rounded up to 4096. */
export function blockBytesOf(code: Code, dataBytes: number): number {
  if (code.dataBlocks === 1) return dataBytes;
  return Math.ceil(dataBytes / code.dataBlocks / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
}

export function isCopies(code: Code): boolean {
  return code.scheme.startsWith("copies:");
}

/** A part of one data block that a read wants. */
export interface Segment {
  index: number;
  /** Offset in the block. */
  from: number;
  into: Uint8Array;
  error: Error | null;
}

/** The parts of data blocks that hold [offset, offset + into.length) of the stripe. */
export function segmentsOf({ id, dataBytes, blockBytes }: Stripe, offset: number, into: Uint8Array): Segment[] {
  if (offset < 0 || offset + into.length > dataBytes) {
    throw new StripeError("EINVAL", `read stripe ${id}: bytes ${offset} to ${offset + into.length} of ${dataBytes}`);
  }
  const segments: Segment[] = [];
  for (let done = 0; done < into.length;) {
    const index = Math.floor((offset + done) / blockBytes);
    const from = offset + done - index * blockBytes;
    const length = Math.min(blockBytes - from, into.length - done);
    segments.push({ index, from, into: into.subarray(done, done + length), error: null });
    done += length;
  }
  return segments;
}

/** Bytes [from, to) of a stripe's data that cannot be read where these blocks are gone and the rest does not make up for them. */
export function lostRanges({ scheme, dataBytes, blockBytes }: Stripe, gone: readonly number[]): { from: number; to: number }[] {
  const code = stripeCode(scheme);
  if (isCopies(code)) return [{ from: 0, to: dataBytes }];
  return gone
    .filter((index) => index < code.dataBlocks && index * blockBytes < dataBytes)
    .map((index) => ({ from: index * blockBytes, to: Math.min(dataBytes, (index + 1) * blockBytes) }));
}

/** The disks that hold blocks of the stripe. */
export function disksOf(stripe: Stripe): DiskId[] {
  return stripe.disks.filter((disk) => disk !== NO_DISK);
}

/** "stripe 7 (rs:4+2 on disks 1, 2, 3, 4, none, 6)" */
export function describeStripe({ id, scheme, disks }: Stripe): string {
  return `stripe ${id} (${scheme} on disks ${disks.map((disk) => (disk === NO_DISK ? "none" : disk)).join(", ")})`;
}

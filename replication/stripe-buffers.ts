// Aligned memory for parity, padding and decoding, by size class. The number of stripes worked on at once bounds it:
// each takes at most its blocks, so WORK_MAX stripes of 4 MiB with n/k = 1.5 hold 48 MiB at the very most.
import { AlignedPool } from "../storage/aligned-pool.ts";

const SMALLEST_BYTES = 4096;

/** What one stripe's work has taken; give it all back at the end. */
export class StripeBuffers {
  readonly #pools: BufferPools;
  #taken: { pool: AlignedPool; buffer: Uint8Array }[] = [];

  constructor(pools: BufferPools) {
    this.#pools = pools;
  }

  /** A buffer of exactly this length, with unspecified contents. */
  take(bytes: number): Uint8Array {
    const pool = this.#pools.poolFor(bytes);
    const buffer = pool.tryTake()!;
    this.#taken.push({ pool, buffer });
    return buffer.subarray(0, bytes);
  }

  giveBack(): void {
    for (const { pool, buffer } of this.#taken.splice(0)) pool.give(buffer);
  }
}

export class BufferPools {
  readonly #pools = new Map<number, AlignedPool>();

  /** Buffers that are out at this moment. */
  get taken(): number {
    return [...this.#pools.values()].reduce((sum, { taken }) => sum + taken, 0);
  }

  poolFor(bytes: number): AlignedPool {
    const bufferBytes = Math.max(SMALLEST_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
    let pool = this.#pools.get(bufferBytes);
    if (pool === undefined) {
      // The bound is the number of stripes at work, not this pool's.
      pool = new AlignedPool({ bufferBytes, buffersMax: Number.MAX_SAFE_INTEGER });
      this.#pools.set(bufferBytes, pool);
    }
    return pool;
  }
}

// A bounded pool of page-aligned buffers of one size. Buffers are made when first needed and then used again for ever:
// the first touch of fresh memory costs more than the I/O it is for (2.6 CPU-s per GB measured on a small VM).
import assert from "node:assert/strict";
import { allocateAligned } from "../native/files.ts";
import { ALIGNMENT_BYTES } from "./directory.ts";

export interface AlignedPoolOptions {
  /** Size of each buffer, a multiple of ALIGNMENT_BYTES. */
  bufferBytes: number;
  /** Most buffers that exist at once. Small ones come into being 2 MiB at a time. */
  buffersMax: number;
  /** Most callers that wait in take(); the next one is refused with code EBUSY. Default 4096. */
  waitingMax?: number;
}

const WAITING_MAX_DEFAULT = 4096;
/** Buffers are cut from pieces of this size, which lie in one huge page (native/files): direct reads of 4 MiB took a third of the CPU so. */
const SLAB_BYTES = 2 * 1024 * 1024;

export class PoolExhausted extends Error {
  readonly code = "EBUSY";
}

export class AlignedPool {
  readonly bufferBytes: number;
  readonly buffersMax: number;
  readonly #waitingMax: number;
  readonly #free: Uint8Array[] = [];
  readonly #taken = new Set<Uint8Array>();
  #waiting: ((buffer: Uint8Array) => void)[] = [];
  #made = 0;

  constructor({ bufferBytes, buffersMax, waitingMax = WAITING_MAX_DEFAULT }: AlignedPoolOptions) {
    assert(
      bufferBytes > 0 && bufferBytes % ALIGNMENT_BYTES === 0,
      `pool: buffer size ${bufferBytes} is not a multiple of ${ALIGNMENT_BYTES}`,
    );
    this.bufferBytes = bufferBytes;
    this.buffersMax = buffersMax;
    this.#waitingMax = waitingMax;
  }

  /** Buffers that are out at this moment. */
  get taken(): number {
    return this.#taken.size;
  }

  /** A buffer with unspecified contents, at once, or null where all are out. */
  tryTake(): Uint8Array | null {
    if (this.#free.length === 0 && !this.#grow()) return null;
    const buffer = this.#free.pop()!;
    this.#taken.add(buffer);
    return buffer;
  }

  /** A buffer with unspecified contents, waiting in line for one. The caller gives it back, always. */
  async take(): Promise<Uint8Array> {
    const buffer = this.tryTake();
    if (buffer !== null) return buffer;
    if (this.#waiting.length >= this.#waitingMax) {
      throw new PoolExhausted(
        `take a buffer: ${this.#waiting.length} callers wait for one of ${this.buffersMax} already, at most ${this.#waitingMax} may`,
      );
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Returns a buffer of this pool (the very object that take() gave). */
  give(buffer: Uint8Array): void {
    assert(this.#taken.has(buffer), "pool: a buffer given back twice, or not of this pool");
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next(buffer);
      return;
    }
    this.#taken.delete(buffer);
    this.#free.push(buffer);
  }

  /** Makes as many buffers as a slab holds, within the bound. False where all exist already. */
  #grow(): boolean {
    const perSlab = Math.max(1, Math.floor(SLAB_BYTES / this.bufferBytes));
    const count = Math.min(perSlab, this.buffersMax - this.#made);
    if (count === 0) return false;
    const slab = allocateAligned(count * this.bufferBytes);
    for (let at = slab.length - this.bufferBytes; at >= 0; at -= this.bufferBytes)
      this.#free.push(slab.subarray(at, at + this.bufferBytes));
    this.#made += count;
    return true;
  }
}

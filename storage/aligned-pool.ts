// A bounded pool of page-aligned buffers of one size. Buffers are made when first needed and then used again for ever:
// the first touch of fresh memory costs more than the I/O it is for (2.6 CPU-s per GB measured on a small VM).
import assert from "node:assert/strict";
import { allocateAligned } from "../native/files.ts";
import { ALIGNMENT_BYTES } from "./directory.ts";

export interface AlignedPoolOptions {
  /** Size of each buffer, a multiple of ALIGNMENT_BYTES. */
  bufferBytes: number;
  /** Most buffers that exist at once. */
  buffersMax: number;
  /** Most callers that wait in take(); the next one is refused with code EBUSY. Default 4096. */
  waitingMax?: number;
}

const WAITING_MAX_DEFAULT = 4096;

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
    let buffer = this.#free.pop();
    if (buffer === undefined) {
      if (this.#made === this.buffersMax) return null;
      buffer = allocateAligned(this.bufferBytes);
      this.#made++;
    }
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
}

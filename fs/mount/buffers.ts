// Stripe-sized buffers for written data: a bounded pool, reused because touching fresh memory is dear (facts-parts.md).
// When all are taken, callers wait in order. Those that nobody needed for a while are let go, a part with each trim().

import { STRIPE_BUFFER_BYTES } from "./limits.ts";
import type { FileState } from "./file-state.ts";

/** One file's writes to one buffer. */
export interface BufferedPart {
  bytes: number;
  /** Where in the file, in the order of writing; they may overlap. */
  ranges: { start: number; length: number }[];
}

export interface StripeBuffer {
  /** Page aligned, STRIPE_BUFFER_BYTES long. Others when it is laid out. */
  bytes: Uint8Array;
  /** Bytes taken from the start. */
  used: number;
  /** Where the owner's next adjacent write goes; null for the buffer that files share. */
  owner: FileState | null;
  /** Files that have pieces here, and what each wrote. */
  readonly files: Map<FileState, BufferedPart>;
  /** False for one made for a single small flush, which is not given back. */
  readonly pooled: boolean;
  /** Pieces of files that were made here since it was laid out: writes that went on neither in their file nor in the buffer. */
  pieces: number;
  /** No more bytes are added or changed. */
  sealed: boolean;
  /** Time of the first write, ms. */
  since: number;
}

/** Where aligned memory comes from; the files addon gives page-aligned buffers, tests use plain ones. */
export type AllocateBuffer = (bytes: number) => Uint8Array;

export function newStripeBuffer(bytes: Uint8Array, owner: FileState | null, pooled: boolean, since: number): StripeBuffer {
  return { bytes, used: 0, owner, files: new Map(), pooled, pieces: 0, sealed: false, since };
}

/** Free buffers that stay. */
const KEPT_MIN = 4;
/** Of those that nobody needed since the last trim, one in so many goes. */
const TRIMMED_SHARE = 8;

export class BufferPool {
  readonly #maximum: number;
  readonly #allocate: AllocateBuffer;
  readonly #free: Uint8Array[] = [];
  #made = 0;
  /** The fewest free ones since the last trim. */
  #unneeded = 0;
  /** For laying a buffer out: one more than the maximum. */
  #spare: Uint8Array | null = null;
  #spareUsed = false;
  readonly #waiting: { resolve: (bytes: Uint8Array) => void; reject: (error: unknown) => void }[] = [];

  constructor(maximum: number, allocate: AllocateBuffer) {
    this.#maximum = maximum;
    this.#allocate = allocate;
  }

  /** Buffers that can be had without waiting. */
  get available(): number {
    return this.#waiting.length > 0 ? 0 : this.#free.length + this.#maximum - this.#made;
  }

  get taken(): number {
    return this.#made - this.#free.length;
  }

  take(): Uint8Array | null {
    if (this.#waiting.length > 0) return null;
    const bytes = this.#free.pop();
    this.#unneeded = Math.min(this.#unneeded, this.#free.length);
    if (bytes !== undefined) return bytes;
    if (this.#made === this.#maximum) return null;
    this.#made++;
    return this.#allocate(STRIPE_BUFFER_BYTES);
  }

  /** Resolves with a buffer when one is given back; in the order of the calls. */
  wait(): Promise<Uint8Array> {
    const bytes = this.take();
    if (bytes !== null) return Promise.resolve(bytes);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  give(bytes: Uint8Array): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) waiting.resolve(bytes);
    else this.#free.push(bytes);
  }

  /** Memory to lay a buffer's bytes out in; the memory that it had is given to giveSpare() in the same turn. */
  takeSpare(): Uint8Array {
    const bytes = this.#spare ?? this.#allocate(STRIPE_BUFFER_BYTES);
    this.#spare = null;
    return bytes;
  }

  giveSpare(bytes: Uint8Array): void {
    this.#spare = bytes;
    this.#spareUsed = true;
  }

  /** Lets go of some buffers that were not needed since the last call. */
  trim(): void {
    const spare = Math.max(0, this.#unneeded - KEPT_MIN);
    const count = Math.ceil(spare / TRIMMED_SHARE);
    this.#free.splice(0, count);
    this.#made -= count;
    this.#unneeded = this.#free.length;
    if (!this.#spareUsed) this.#spare = null;
    this.#spareUsed = false;
  }

  /** Ends the wait of all who wait now (flushing fails, so no buffer will come). */
  refuseWaiting(error: unknown): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

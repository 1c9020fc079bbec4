// The one interface of every code: how bytes become redundant bytes and come back. Implementations: copies.ts,
// reed-solomon.ts, rapidraid.ts; coding/scheme.ts turns a scheme's text into one. Pure: no files, no sockets, no clock.
//
// Blocks of a stripe are numbered 0..totalBlocks-1 and are all of one length. A systematic code's first `dataBlocks`
// blocks are the data itself.

export interface Code {
  /** Scheme text, as `rs:4+2`, `copies:3`, `rapidraid:11+5`. */
  readonly scheme: string;
  /** k: blocks of data. */
  readonly dataBlocks: number;
  /** n = k + m (copies:r has k = 1, n = r). */
  readonly totalBlocks: number;
  readonly systematic: boolean;
  /** Losses of any blocks that are survived whatever they are. */
  readonly guaranteedLosses: number;
  /** Bytes stored for each byte of data: n/k. */
  readonly storageFactor: number;
  /** Whether these blocks (numbers, any order) suffice to get the data back. */
  decodable(present: readonly number[]): boolean;
  /** Blocks to read in order to get `wanted` from `present`, the fewest that do; null where it cannot be done. */
  plan(present: readonly number[], wanted: readonly number[]): number[] | null;
  /** data: k buffers of one length. into: for a systematic code the m = n-k parity blocks, otherwise all n. Overwrites into. On this thread. */
  encode(data: readonly Uint8Array[], into: readonly Uint8Array[]): void;
  /** As encode, off the main thread where the job is large enough to be worth the hop. The buffers are the code's until it resolves. */
  encodeAsync(data: readonly Uint8Array[], into: readonly Uint8Array[]): Promise<void>;
  /** Computes the blocks `wanted[i]` into `into[i]` from the blocks given (number -> bytes, all of one length; may be any ranges of the blocks, the same range of each). Throws CodingError UNDECODABLE naming what is missing. */
  reconstruct(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void;
  reconstructAsync(
    present: ReadonlyMap<number, Uint8Array>,
    wanted: readonly number[],
    into: readonly Uint8Array[],
  ): Promise<void>;
  /** As reconstruct, for data parts of a code that is not systematic: wanted are part numbers 0..k-1. For systematic codes the same as reconstruct. */
  decode(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void;
}

export class CodingError extends Error {
  readonly code: "UNDECODABLE" | "INVALID_SCHEME" | "INVALID_ARGUMENT" | "INVALID_PROGRAM" | "HOP_FAILED" | "HOP_STALLED";
  constructor(code: CodingError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Throws CodingError INVALID_ARGUMENT unless every number is a block of the code. */
export function checkBlockNumbers(code: Pick<Code, "scheme" | "totalBlocks">, numbers: Iterable<number>): void {
  for (const number of numbers) {
    if (Number.isInteger(number) && number >= 0 && number < code.totalBlocks) continue;
    throw new CodingError(
      "INVALID_ARGUMENT",
      `${code.scheme}: there is no block ${number}; blocks are 0..${code.totalBlocks - 1}`,
    );
  }
}

/** Throws CodingError INVALID_ARGUMENT unless all buffers have one length. */
export function checkOneLength(scheme: string, buffers: Iterable<Uint8Array>): void {
  let length = -1;
  for (const buffer of buffers) {
    if (length < 0) length = buffer.length;
    if (buffer.length === length) continue;
    throw new CodingError(
      "INVALID_ARGUMENT",
      `${scheme}: a block has ${buffer.length} bytes, another ${length}; they must be of one length`,
    );
  }
}

/** Throws CodingError INVALID_ARGUMENT unless there is one buffer for each block wanted. */
export function checkCount(scheme: string, what: string, count: number, required: number): void {
  if (count === required) return;
  throw new CodingError("INVALID_ARGUMENT", `${scheme}: ${count} ${what} given; it must be ${required}`);
}

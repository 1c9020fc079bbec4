// `copies:r`: the same block r times. The trivial code, so that every scheme has one interface.
import { checkBlockNumbers, checkCount, checkOneLength, CodingError } from "./code.ts";
import type { Code } from "./code.ts";

/** More copies than this are a mistake in the text, not a wish. */
export const COPIES_MAX = 256;

export class Copies implements Code {
  readonly scheme: string;
  readonly dataBlocks = 1;
  readonly totalBlocks: number;
  readonly systematic = true;
  readonly guaranteedLosses: number;
  readonly storageFactor: number;

  constructor(copies: number) {
    if (!Number.isInteger(copies) || copies < 1 || copies > COPIES_MAX) {
      throw new CodingError("INVALID_SCHEME", `copies:${copies}: the number of copies must be 1..${COPIES_MAX}`);
    }
    this.scheme = `copies:${copies}`;
    this.totalBlocks = copies;
    this.guaranteedLosses = copies - 1;
    this.storageFactor = copies;
  }

  decodable(present: readonly number[]): boolean {
    checkBlockNumbers(this, present);
    return present.length > 0;
  }

  plan(present: readonly number[], wanted: readonly number[]): number[] | null {
    checkBlockNumbers(this, present);
    checkBlockNumbers(this, wanted);
    if (wanted.length === 0) return [];
    const found = present.find((block) => wanted.includes(block)) ?? present[0];
    return found === undefined ? null : [found];
  }

  encode(data: readonly Uint8Array[], into: readonly Uint8Array[]): void {
    checkCount(this.scheme, "data blocks", data.length, 1);
    checkCount(this.scheme, "further copies", into.length, this.totalBlocks - 1);
    checkOneLength(this.scheme, [...data, ...into]);
    for (const copy of into) copy.set(data[0]);
  }

  async encodeAsync(data: readonly Uint8Array[], into: readonly Uint8Array[]): Promise<void> {
    this.encode(data, into);
  }

  reconstruct(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    checkBlockNumbers(this, present.keys());
    checkBlockNumbers(this, wanted);
    checkCount(this.scheme, "buffers for wanted blocks", into.length, wanted.length);
    checkOneLength(this.scheme, [...present.values(), ...into]);
    if (wanted.length === 0) return;
    const [source] = present.values();
    if (!source)
      throw new CodingError(
        "UNDECODABLE",
        `${this.scheme}: cannot reconstruct block ${wanted.join(", ")}: no copy was given; one is needed`,
      );
    wanted.forEach((block, index) => into[index].set(present.get(block) ?? source));
  }

  async reconstructAsync(
    present: ReadonlyMap<number, Uint8Array>,
    wanted: readonly number[],
    into: readonly Uint8Array[],
  ): Promise<void> {
    this.reconstruct(present, wanted, into);
  }

  decode(present: ReadonlyMap<number, Uint8Array>, wanted: readonly number[], into: readonly Uint8Array[]): void {
    this.reconstruct(present, wanted, into);
  }

  /** blocks: all of them. Returns the numbers of those that differ from block 0. */
  verify(blocks: readonly Uint8Array[]): number[] {
    checkCount(this.scheme, "blocks", blocks.length, this.totalBlocks);
    checkOneLength(this.scheme, blocks);
    return blocks.flatMap((block, number) => (Buffer.compare(block, blocks[0]) === 0 ? [] : [number]));
  }
}

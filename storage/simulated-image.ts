// What a simulated file holds: sparse pages and a size, and the changes that can be made to it. A change that was not
// synced may survive a crash whole, in part (torn at sectors), out of order, or not at all: `survivors` decides.
import { type Random, randomBelow } from "./seeded-random.ts";

export const PAGE_BYTES = 4096;
/** What a device writes atomically. */
export const SECTOR_BYTES = 512;
/** Stands for every page that is allocated and was never written, so that reserving a large file costs no memory. */
const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

/** The bytes of a write belong to the images that it is applied to. */
export type Change =
  | { kind: "write"; position: number; bytes: Uint8Array }
  | { kind: "allocate" | "punch"; position: number; length: number }
  | { kind: "truncate"; length: number };

export class Image {
  #pages = new Map<number, Uint8Array>();
  /** Pages that something else may hold as well: they are copied before they are changed. */
  readonly #shared = new Set<number>();
  size = 0;

  get pages(): number {
    return this.#pages.size;
  }

  clone(): Image {
    const copy = new Image();
    copy.size = this.size;
    for (const [number, page] of this.#pages) {
      copy.#pages.set(number, page);
      copy.#shared.add(number);
      this.#shared.add(number);
    }
    return copy;
  }

  read(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.size - position));
    eachPage(position, length, (number, from, to, done) => {
      const page = this.#pages.get(number) ?? ZERO_PAGE;
      into.set(page.subarray(from, to), done);
    });
    return length;
  }

  apply(change: Change): void {
    if (change.kind === "write") this.#write(change.bytes, change.position);
    else if (change.kind === "truncate") this.#truncate(change.length);
    else if (change.kind === "punch")
      this.#punch(change.position, Math.min(change.length, Math.max(0, this.size - change.position)));
    else this.#allocate(change.position, change.length);
  }

  /** Pages that the change would add. */
  growth(change: Change): number {
    if (change.kind !== "write" && change.kind !== "allocate") return 0;
    const length = change.kind === "write" ? change.bytes.length : change.length;
    let added = 0;
    eachPage(change.position, length, (number) => {
      if (!this.#pages.has(number)) added++;
    });
    return added;
  }

  flip(offset: number, bit: number): void {
    const byte = new Uint8Array(1);
    this.read(byte, offset);
    byte[0] ^= 1 << bit;
    this.#write(byte, offset);
  }

  #write(bytes: Uint8Array, position: number): void {
    eachPage(position, bytes.length, (number, from, to, done) => {
      const part = bytes.subarray(done, done + to - from);
      if (part.length < PAGE_BYTES) this.#own(number).set(part, from);
      else {
        this.#pages.set(number, part);
        this.#shared.add(number);
      }
    });
    this.size = Math.max(this.size, position + bytes.length);
  }

  #punch(position: number, length: number): void {
    eachPage(position, length, (number, from, to) => {
      if (to - from === PAGE_BYTES) this.#pages.delete(number);
      else if (this.#pages.has(number)) this.#own(number).fill(0, from, to);
    });
  }

  #allocate(position: number, length: number): void {
    eachPage(position, length, (number) => {
      if (!this.#pages.has(number)) this.#pages.set(number, ZERO_PAGE);
    });
    this.size = Math.max(this.size, position + length);
  }

  #truncate(length: number): void {
    for (const number of [...this.#pages.keys()]) if (number * PAGE_BYTES >= length) this.#pages.delete(number);
    const last = Math.floor(length / PAGE_BYTES);
    if (this.#pages.has(last)) this.#own(last).fill(0, length - last * PAGE_BYTES);
    this.size = length;
  }

  #own(number: number): Uint8Array {
    let page = this.#pages.get(number);
    if (page !== undefined && page !== ZERO_PAGE && !this.#shared.has(number)) return page;
    page = page === undefined ? new Uint8Array(PAGE_BYTES) : page.slice();
    this.#pages.set(number, page);
    this.#shared.delete(number);
    return page;
  }
}

function eachPage(
  position: number,
  length: number,
  visit: (number: number, from: number, to: number, done: number) => void,
): void {
  let done = 0;
  while (done < length) {
    const at = position + done;
    const number = Math.floor(at / PAGE_BYTES);
    const from = at - number * PAGE_BYTES;
    const to = Math.min(PAGE_BYTES, from + length - done);
    visit(number, from, to, done);
    done += to - from;
  }
}

/** Which parts of unsynced changes a crash keeps, in the order in which they reached the medium. */
export function survivors(changes: readonly Change[], random: Random): Change[] {
  const mode = randomBelow(random, 4);
  if (mode === 0) return [];
  if (mode === 1) return [...changes];
  const pieces = changes.flatMap((change) => (change.kind === "write" ? sectorsOf(change) : [change]));
  if (mode === 2) return pieces.slice(0, randomBelow(random, pieces.length + 1));
  const share = random();
  const kept = pieces.filter(() => random() < share);
  shuffle(kept, random);
  return kept;
}

function sectorsOf(change: { kind: "write"; position: number; bytes: Uint8Array }): Change[] {
  const pieces: Change[] = [];
  let done = 0;
  while (done < change.bytes.length) {
    const position = change.position + done;
    const end = Math.min(change.bytes.length, done + SECTOR_BYTES - (position % SECTOR_BYTES));
    pieces.push({ kind: "write", position, bytes: change.bytes.subarray(done, end) });
    done = end;
  }
  return pieces;
}

export function shuffle<T>(values: T[], random: Random): void {
  for (let index = values.length - 1; index > 0; index--) {
    const other = randomBelow(random, index + 1);
    [values[index], values[other]] = [values[other], values[index]];
  }
}

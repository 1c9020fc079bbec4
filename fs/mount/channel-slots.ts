// The arena's layout and which of its slots are taken.
//
//   0            scratch: replies that fit it, one at a time, written and sent without a pause in between
//                (4080: reply header, 4096: body)
//   SCRATCH      slot 0, slot 1, ... each SLOT_BYTES
//
// A slot: a request is received at +4016, so that a WRITE's data (behind 40 bytes of header and 40 of struct
// fuse_write_in) lies page aligned at +4096. A reply made in the slot has its header at +4080 and its body at +4096, so
// that both are one write. The body may replace what was received, once that has been decoded.
//
// Slots are taken last-in first-out and touched only as far as requests and replies reach: unused memory stays unmapped.
import { PAGE_BYTES } from "../../native/fuse.ts";
import { IN_HEADER_BYTES, IN_HEADER_WORDS, IN_OPCODE, OUT_HEADER_BYTES, WRITE_IN_BYTES } from "./protocol.ts";
import { MAX_WRITE_BYTES } from "./protocol-init.ts";

export const SLOT_REQUEST_AT = PAGE_BYTES - IN_HEADER_BYTES - WRITE_IN_BYTES;
export const SLOT_HEADER_AT = PAGE_BYTES - OUT_HEADER_BYTES;
export const SLOT_BODY_AT = PAGE_BYTES;
export const SLOT_BYTES = PAGE_BYTES + MAX_WRITE_BYTES;
/** What read(2) may fill: the longest request is a WRITE of MAX_WRITE_BYTES. */
export const SLOT_REQUEST_BYTES = SLOT_BYTES - SLOT_REQUEST_AT;
/** Room for the longest reply made in scratch: an xattr's value or list, 64 KiB, behind the header's page. */
export const SCRATCH_BYTES = PAGE_BYTES + 128 * 1024;

const READ_OPCODE = 15;
const WRITE_OPCODE = 16;
/** Where struct fuse_read_in has the size. */
const READ_ROOM_WORD = 4;
/** In place of the slot of a request that has memory of its own, laid out as a slot. */
export const APART = -1;

/** What a READ or WRITE takes apart; 0 for other requests. */
export function bytesApart(words: Uint32Array, at: number, length: number): number {
  const opcode = words[(at >>> 2) + IN_OPCODE];
  if (opcode === READ_OPCODE) {
    const room = words[(at >>> 2) + IN_HEADER_WORDS + READ_ROOM_WORD];
    return room > MAX_WRITE_BYTES ? 0 : wholeWords(SLOT_BODY_AT + room);
  }
  return opcode === WRITE_OPCODE ? wholeWords(SLOT_REQUEST_AT + length) : 0;
}

function wholeWords(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

export class Slots {
  readonly count: number;
  readonly #free: number[] = [];

  constructor(count: number) {
    this.count = count;
    for (let slot = count - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  /** Bytes of an arena with so many slots, and a page to align it. */
  static arenaBytes(count: number): number {
    return PAGE_BYTES + SCRATCH_BYTES + count * SLOT_BYTES;
  }

  offset(slot: number): number {
    return SCRATCH_BYTES + slot * SLOT_BYTES;
  }

  get free(): number {
    return this.#free.length;
  }

  /** A free slot, or -1. */
  take(): number {
    return this.#free.pop() ?? -1;
  }

  release(slot: number): void {
    this.#free.push(slot);
  }
}

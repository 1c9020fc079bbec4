// One request on its way through the operation table: the caller, and the fields of its body, read where they lie in
// the arena. The body is only valid until the handler is called (a WRITE's data: until it has answered); everything else
// is copied out into numbers and strings before.
import { FsError } from "../errno.ts";
import { NAME_MAX_BYTES } from "../types.ts";
import type { ByteString, InodeId } from "../types.ts";
import type { Caller } from "./handlers.ts";
import {
  IN_EXTENSIONS, IN_GID, IN_HEADER_WORDS, IN_NODE, IN_OPCODE, IN_PID, IN_UID, IN_UNIQUE, readOwner, readS64, readU64,
  WRITE_IN_BYTES,
} from "./protocol.ts"; // prettier-ignore
import { MAX_WRITE_BYTES } from "./protocol-init.ts";

/** A Buffer with the method that toString("latin1", ...) ends in; the types do not show it. */
export type ArenaBytes = Buffer & { latin1Slice(start: number, end: number): string };

/** The arena seen as bytes and as words, both from its first page boundary. */
export interface ArenaView {
  readonly bytes: ArenaBytes;
  readonly words: Uint32Array;
}

export function arenaView(buffer: ArrayBuffer, start: number, length: number): ArenaView {
  return { bytes: Buffer.from(buffer, start, length) as ArenaBytes, words: new Uint32Array(buffer, start, length >>> 2) };
}

function malformed(what: string): never {
  throw new FsError("EINVAL", `FUSE request: ${what}`);
}

export class Request implements Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly opcode: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly node: InodeId;
  /** The slot that the request was received into. */
  readonly slot: number;
  /** When it was received, in the channel's clock. */
  receivedMs = 0;
  /** A reply was sent, or none is due; a later result is dropped. */
  finished = false;
  interrupted = false;
  /** The bytes that the reply's variable part may take (READ, READDIR, GETXATTR, LISTXATTR). */
  room = 0;
  #controller: AbortController | undefined;
  readonly #arena: ArenaView;
  /** Word index of the body. */
  readonly #body: number;
  /** Byte offset of the request's end, extensions not counted. */
  readonly #end: number;

  /** A request of `length` bytes at byte offset `at` of the arena. */
  constructor(arena: ArenaView, at: number, length: number, slot: number) {
    const words = arena.words;
    const header = at >>> 2;
    this.#arena = arena;
    this.#body = header + IN_HEADER_WORDS;
    this.#end = at + length - (words[header + IN_EXTENSIONS] & 0xffff) * 8;
    this.opcode = words[header + IN_OPCODE];
    this.uniqueLow = words[header + IN_UNIQUE];
    this.uniqueHigh = words[header + IN_UNIQUE + 1];
    this.node = readU64(words, header + IN_NODE) as InodeId;
    this.uid = words[header + IN_UID];
    this.gid = words[header + IN_GID];
    this.pid = words[header + IN_PID];
    this.slot = slot;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.interrupted && !this.#controller.signal.aborted) this.#controller.abort();
    return this.#controller.signal;
  }

  interrupt(): void {
    this.interrupted = true;
    this.#controller?.abort();
  }

  /** The request's number as an exact number (they count up from 2 and never reach 2^53). */
  get unique(): number {
    return this.uniqueHigh * 2 ** 32 + this.uniqueLow;
  }

  get bodyBytes(): number {
    return this.#end - this.#body * 4;
  }

  get words(): Uint32Array {
    return this.#arena.words;
  }

  get bytes(): Uint8Array {
    return this.#arena.bytes;
  }

  /** Word index of a body's field in `words`. */
  at(word: number): number {
    return this.#body + word;
  }

  u32(word: number): number {
    return this.#arena.words[this.#body + word];
  }

  /** A handle or the like; EINVAL where it is no exact number. */
  u64(word: number): number {
    const value = readU64(this.#arena.words, this.#body + word);
    return value < 0 ? malformed(`the 64-bit field at ${word * 4} is above 2^53`) : value;
  }

  /** An offset, size or length in a file: clipped to the largest exact number, which is beyond the end that any file can have. */
  length64(word: number): number {
    const value = readU64(this.#arena.words, this.#body + word);
    return value < 0 ? Number.MAX_SAFE_INTEGER : value;
  }

  s64(word: number): number {
    return readS64(this.#arena.words, this.#body + word);
  }

  owner(word: number): string {
    return readOwner(this.#arena.words, this.#body + word);
  }

  inode(word: number): InodeId {
    return this.u64(word) as InodeId;
  }

  /** The byte string from body offset `from` to the request's end, which its NUL must be. ENAMETOOLONG above the limit: the kernel itself allows up to PATH_MAX. */
  lastName(from: number, limit = NAME_MAX_BYTES): ByteString {
    const start = this.#body * 4 + from;
    const end = this.#nul(start);
    if (end !== this.#end - 1) malformed("a name does not end where the request ends");
    return this.#text(start, end, limit);
  }

  /** The first of two byte strings; the second one follows at `from + length + 1`. */
  firstName(from: number, limit = NAME_MAX_BYTES): ByteString {
    const start = this.#body * 4 + from;
    const end = this.#nul(start);
    if (end === this.#end) malformed("a name does not end within the request");
    return this.#text(start, end, limit);
  }

  /** `length` bytes from body offset `from`, where they lie in the arena. */
  data(from: number, length: number): Uint8Array {
    const start = this.#body * 4 + from;
    if (length > this.#end - start) malformed(`it holds ${this.#end - start} bytes of data, its header says ${length}`);
    return this.#arena.bytes.subarray(start, start + length);
  }

  /** Reads the size field that bounds the reply and keeps it in `room`. */
  takeRoom(word: number): number {
    const room = this.u32(word);
    if (room > MAX_WRITE_BYTES) malformed(`it asks for ${room} bytes, more than ${MAX_WRITE_BYTES}`);
    return (this.room = room);
  }

  /** The slot's reply body, where the protocol's longest request header ends. */
  get slotBodyAt(): number {
    return this.#body * 4 + WRITE_IN_BYTES;
  }

  slotData(length: number): Uint8Array {
    const start = this.slotBodyAt;
    return this.#arena.bytes.subarray(start, start + length);
  }

  /** Where the first NUL at or after `start` is, or the request's end. A loop: names are short. */
  #nul(start: number): number {
    const bytes = this.#arena.bytes;
    let at = start;
    while (at < this.#end && bytes[at] !== 0) at++;
    return at;
  }

  #text(start: number, end: number, limit: number): ByteString {
    if (start >= end) malformed("a name is empty");
    if (end - start > limit) throw new FsError("ENAMETOOLONG", `a name of ${end - start} bytes; ${limit} are allowed`);
    return this.#arena.bytes.latin1Slice(start, end) as ByteString;
  }
}

/** Where a reply's body is written. */
export class ReplyBody {
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
  /** Byte offset of the body. */
  at: number;
  readonly blockBytes: number;

  constructor(arena: ArenaView, at: number, blockBytes: number) {
    this.at = at;
    this.words = arena.words;
    this.bytes = arena.bytes;
    this.blockBytes = blockBytes;
  }
}

// The frame: the one unit that Cairn processes send to each other, on Unix sockets and on TLS. Pure: bytes in, frames
// out. Byte by byte (little endian):
//
//    0  4  length of everything after these four bytes: 8 + header + payload
//    4  1  version, 1
//    5  1  kind: 1 request, 2 reply, 3 refusal, 4 cancel
//    6  2  zero
//    8  4  header bytes, at most 8 MiB
//   12  .  header: a protobuf message, FrameHeader below; its body is the message of whoever asks or answers; what is 0,
//          false or empty is absent
//    .  .  payload: raw bytes (of a block), what is left of the length, at most 8 MiB
//
// A decoder trusts nothing: a length, version or kind that cannot be ends the connection with a FrameError.

import protobuf from "protobufjs";

protobuf.util.Long = null as never;
protobuf.configure();

export const FRAME_VERSION = 1;
/** Length, version, kind, zeros and header length. */
export const PREFIX_BYTES = 12;
/** A commit of 16,384 extents, 4 MiB of them inline, fits. */
export const HEADER_MAX_BYTES = 8 * 1024 * 1024;
/** The largest block is 4 MiB. */
export const PAYLOAD_MAX_BYTES = 8 * 1024 * 1024;

export type FrameKind = "request" | "reply" | "refusal" | "cancel";
const KINDS: readonly (FrameKind | null)[] = [null, "request", "reply", "refusal", "cancel"];

export interface FrameHeader {
  /** Pairs a reply with its request; unique among a side's requests in flight. */
  id: number;
  /** What is asked for; in a refusal the error's code. */
  name: string;
  /** Of a request: how long the asker waits, in ms. */
  deadlineMs: number;
  /** Of a refusal: text for people. */
  message: string;
  /** The message asked or answered with, encoded. */
  body: Uint8Array;
  /** Of a request: its number in the session, the same when it is sent again on another connection; 0: none. */
  number?: number;
  /** Of a request with a number: those before it whose replies have not come, the first and the last of each run. */
  unanswered?: readonly number[];
  /** Of a reply: the request was carried out before, and this is what it was answered with then. */
  repeated?: boolean;
}

export interface Frame extends FrameHeader {
  kind: FrameKind;
  payload: Uint8Array;
}

export class FrameError extends Error {
  readonly code = "EPROTO";
}

const headerType = protobuf
  .parse(
    `syntax = "proto3";
     message FrameHeader { uint64 id = 1; string name = 2; uint32 deadline_ms = 3; string message = 4; bytes body = 5; uint64 number = 6; repeated uint64 unanswered = 7; bool repeated = 8; }`,
  )
  .root.lookupType("FrameHeader");

/** The frame's bytes in pieces (prefix and header, then the payload uncopied). Throws FrameError where it is too large. */
export function encodeFrame(frame: Frame): Uint8Array[] {
  const header = headerType
    .encode({
      id: frame.id,
      name: frame.name,
      deadlineMs: frame.deadlineMs,
      message: frame.message,
      body: frame.body,
      number: frame.number ?? 0,
      unanswered: frame.unanswered,
      repeated: frame.repeated ?? false,
    })
    .finish();
  if (header.length > HEADER_MAX_BYTES)
    throw new FrameError(`frame header is ${header.length} bytes; at most ${HEADER_MAX_BYTES} fit`);
  if (frame.payload.length > PAYLOAD_MAX_BYTES)
    throw new FrameError(`frame payload is ${frame.payload.length} bytes; at most ${PAYLOAD_MAX_BYTES} are allowed`);
  const head = Buffer.allocUnsafe(PREFIX_BYTES + header.length);
  head.writeUInt32LE(8 + header.length + frame.payload.length, 0);
  head[4] = FRAME_VERSION;
  head[5] = KINDS.indexOf(frame.kind);
  head.writeUInt16LE(0, 6);
  head.writeUInt32LE(header.length, 8);
  head.set(header, PREFIX_BYTES);
  return frame.payload.length > 0 ? [head, frame.payload] : [head];
}

function decodeHeader(bytes: Uint8Array): FrameHeader {
  try {
    const decoded = headerType.decode(bytes) as unknown as FrameHeader;
    const { id, name, deadlineMs, message, body, number, unanswered, repeated } = decoded;
    if (!Number.isSafeInteger(id)) throw new FrameError(`frame id ${id} is beyond 2^53`);
    if (!Number.isSafeInteger(number)) throw new FrameError(`frame number ${number} is beyond 2^53`);
    return { id, name, deadlineMs, message, body, number, unanswered, repeated };
  } catch (error) {
    throw new FrameError(`frame header of ${bytes.length} bytes cannot be decoded: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Cuts a stream of bytes into frames. Holds at most one frame's bytes. */
export class FrameDecoder {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** Takes the next bytes of the stream; returns the frames that they complete. A payload may share memory with the chunk. Throws FrameError; the stream is unusable then. */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    for (let total = this.#nextLength(); total !== null && this.#bytes >= total; total = this.#nextLength())
      frames.push(this.#take(total));
    return frames;
  }

  /** Bytes of an incomplete frame that are held. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  #joined(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0];
  }

  #nextLength(): number | null {
    if (this.#bytes < PREFIX_BYTES) return null;
    if (this.#chunks[0].length < PREFIX_BYTES) this.#joined();
    const prefix = this.#chunks[0];
    const length = prefix.readUInt32LE(0);
    const headerBytes = prefix.readUInt32LE(8);
    if (prefix[4] !== FRAME_VERSION)
      throw new FrameError(`frame version is ${prefix[4]}; this program speaks version ${FRAME_VERSION}`);
    if (!KINDS[prefix[5]]) throw new FrameError(`frame kind is ${prefix[5]}; it should be 1 to ${KINDS.length - 1}`);
    if (prefix.readUInt16LE(6) !== 0) throw new FrameError("frame bytes 6 and 7 are not zero");
    if (headerBytes > HEADER_MAX_BYTES)
      throw new FrameError(`frame header is ${headerBytes} bytes; at most ${HEADER_MAX_BYTES} are allowed`);
    if (length < 8 + headerBytes)
      throw new FrameError(`frame length is ${length}, less than its header of ${headerBytes} bytes needs`);
    if (length > 8 + headerBytes + PAYLOAD_MAX_BYTES)
      throw new FrameError(`frame length is ${length}; a payload is at most ${PAYLOAD_MAX_BYTES} bytes`);
    return 4 + length;
  }

  #take(total: number): Frame {
    const bytes = this.#joined();
    this.#bytes -= total;
    this.#chunks = bytes.length > total ? [bytes.subarray(total)] : [];
    const headerEnd = PREFIX_BYTES + bytes.readUInt32LE(8);
    return {
      kind: KINDS[bytes[5]]!,
      ...decodeHeader(bytes.subarray(PREFIX_BYTES, headerEnd)),
      payload: bytes.subarray(headerEnd, total),
    };
  }
}

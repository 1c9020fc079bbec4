// Log records on their way to the file: small ones are copied side by side into chunks that are used again, large
// payloads are passed by reference. One write call then takes few buffers.
import { RECORD_HEADER_BYTES, encodeRecordHeader, recordBytes } from "./log-format.ts";

const CHUNK_BYTES = 64 * 1024;
/** Chunks kept for use again: 2 MiB. */
const CHUNKS_KEPT_MAX = 32;
/** From here on copying costs more than another buffer in the write call. */
const BY_REFERENCE_BYTES = 32 * 1024;

export interface RecordBatch {
  buffers: Uint8Array[];
  bytes: number;
}

export class RecordBuffer {
  #kept: Buffer[] = [];
  #chunks: Buffer[] = [];
  #buffers: Uint8Array[] = [];
  #chunk: Buffer | null = null;
  #from = 0;
  #to = 0;
  #bytes = 0;
  readonly #chunksOf = new WeakMap<RecordBatch, Buffer[]>();

  /** Bytes that take() would give. */
  get bytes(): number {
    return this.#bytes;
  }

  append(kind: number, index: number, durable: number, payload: Uint8Array): void {
    const inline = payload.length < BY_REFERENCE_BYTES;
    const size = recordBytes(payload.length);
    const chunk = this.#room(inline ? size : RECORD_HEADER_BYTES);
    encodeRecordHeader(chunk, this.#to, kind, index, durable, payload);
    this.#to += RECORD_HEADER_BYTES;
    if (inline) chunk.set(payload, this.#to);
    else {
      this.#cut();
      this.#buffers.push(payload);
    }
    if (inline) this.#to += payload.length;
    this.#pad(size - RECORD_HEADER_BYTES - payload.length);
    this.#bytes += size;
  }

  /** Everything appended since the last take(); give it back with recycle() once it is written. */
  take(): RecordBatch {
    this.#cut();
    const batch = { buffers: this.#buffers, bytes: this.#bytes };
    if (this.#chunk !== null) this.#chunks.push(this.#chunk);
    this.#chunksOf.set(batch, this.#chunks);
    this.#buffers = [];
    this.#chunks = [];
    this.#chunk = null;
    this.#bytes = 0;
    return batch;
  }

  recycle(batch: RecordBatch): void {
    for (const chunk of this.#chunksOf.get(batch) ?? []) if (this.#kept.length < CHUNKS_KEPT_MAX) this.#kept.push(chunk);
    this.#chunksOf.delete(batch);
  }

  #room(bytes: number): Buffer {
    if (this.#chunk !== null && this.#to + bytes + 8 <= CHUNK_BYTES) return this.#chunk;
    this.#cut();
    if (this.#chunk !== null) this.#chunks.push(this.#chunk);
    this.#chunk = this.#kept.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    this.#from = this.#to = 0;
    return this.#chunk;
  }

  #pad(bytes: number): void {
    if (bytes === 0) return;
    const chunk = this.#room(bytes);
    chunk.fill(0, this.#to, this.#to + bytes);
    this.#to += bytes;
  }

  #cut(): void {
    if (this.#chunk !== null && this.#to > this.#from) this.#buffers.push(this.#chunk.subarray(this.#from, this.#to));
    this.#from = this.#to;
  }
}

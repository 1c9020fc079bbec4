// A regular file's bytes in memory: chunks, with holes where nothing was written.

/** Large enough that a 1 MiB read copies few pieces; small files take only what they need of their only chunk. */
const CHUNK_BYTES = 128 * 1024;
const SMALLEST_CHUNK_BYTES = 4096;

export class Content {
  size = 0;
  #chunks = new Map<number, Uint8Array>();

  get allocatedBytes(): number {
    let bytes = 0;
    for (const chunk of this.#chunks.values()) bytes += chunk.length;
    return bytes;
  }

  read(offset: number, into: Uint8Array): number {
    const length = Math.max(0, Math.min(into.length, this.size - offset));
    for (let done = 0; done < length;) {
      const at = offset + done;
      const within = at % CHUNK_BYTES;
      const piece = Math.min(length - done, CHUNK_BYTES - within);
      const chunk = this.#chunks.get((at - within) / CHUNK_BYTES);
      const present = chunk ? Math.max(0, Math.min(piece, chunk.length - within)) : 0;
      if (present > 0) into.set(chunk!.subarray(within, within + present), done);
      if (present < piece) into.fill(0, done + present, done + piece);
      done += piece;
    }
    return length;
  }

  write(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const at = offset + done;
      const within = at % CHUNK_BYTES;
      const piece = Math.min(data.length - done, CHUNK_BYTES - within);
      this.#chunk((at - within) / CHUNK_BYTES, within + piece).set(data.subarray(done, done + piece), within);
      done += piece;
    }
    this.size = Math.max(this.size, offset + data.length);
  }

  truncate(size: number): void {
    if (size < this.size) this.clear(size, this.size - size);
    this.size = size;
  }

  /** Makes [offset, offset+length) read as zeros; whole chunks become holes. */
  clear(offset: number, length: number): void {
    const end = offset + length;
    for (const [number, chunk] of this.#chunks) {
      const start = number * CHUNK_BYTES;
      if (start >= end || start + CHUNK_BYTES <= offset) continue;
      if (start >= offset && start + CHUNK_BYTES <= end) this.#chunks.delete(number);
      else chunk.fill(0, Math.max(0, offset - start), Math.max(0, Math.min(chunk.length, end - start)));
    }
  }

  /** The next offset from `offset` on that lies in data, or in a hole; undefined where no data follows. */
  seek(offset: number, data: boolean): number | undefined {
    for (let at = offset; at < this.size; at = (Math.floor(at / CHUNK_BYTES) + 1) * CHUNK_BYTES) {
      if (this.#chunks.has(Math.floor(at / CHUNK_BYTES)) === data) return at;
    }
    return data ? undefined : this.size;
  }

  #chunk(number: number, bytes: number): Uint8Array {
    const chunk = this.#chunks.get(number);
    if (chunk && chunk.length >= bytes) return chunk;
    let capacity = chunk ? chunk.length : SMALLEST_CHUNK_BYTES;
    while (capacity < bytes) capacity *= 2;
    const larger = new Uint8Array(capacity);
    if (chunk) larger.set(chunk);
    this.#chunks.set(number, larger);
    return larger;
  }
}

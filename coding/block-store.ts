// A node's blocks, as its runner reads and writes them.
import type { Piece } from "./arithmetic.ts";

export interface BlockStore<P extends Piece> {
  /** Resolves with exactly these bytes, which are the caller's; rejects where the block is missing, damaged or shorter. */
  read(block: string, offset: number, length: number): Promise<P>;
  /** Begins a new block of so many bytes. It is not seen by anyone before commit. Rejects where there is one of this name, or no space. */
  create(block: string, bytes: number): Promise<BlockWriter<P>>;
}

export interface BlockWriter<P extends Piece> {
  /** The piece stays the caller's, and is unchanged until this resolves. Every byte is written once, in any order. */
  write(offset: number, piece: P): Promise<void>;
  /** Makes the block seen; it is durable when this resolves. */
  commit(): Promise<void>;
  /** Takes back all that was written, even after commit, and while a write goes on. */
  abort(): Promise<void>;
}

/** Blocks in memory, by name; for tests, and for programs whose data is at hand. */
export class MemoryBlocks implements BlockStore<Uint8Array> {
  readonly blocks = new Map<string, Uint8Array>();

  constructor(blocks: Iterable<readonly [string, Uint8Array]> = []) {
    for (const [name, bytes] of blocks) this.blocks.set(name, bytes);
  }

  async read(block: string, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.blocks.get(block);
    if (!bytes) throw new Error(`there is no block ${JSON.stringify(block)}`);
    if (offset + length > bytes.length)
      throw new Error(`block ${JSON.stringify(block)} has ${bytes.length} bytes; ${offset + length} are needed`);
    return bytes.slice(offset, offset + length);
  }

  async create(block: string, bytes: number): Promise<BlockWriter<Uint8Array>> {
    if (this.blocks.has(block)) throw new Error(`there is a block ${JSON.stringify(block)} already`);
    const content = new Uint8Array(bytes);
    let committed = false;
    return {
      write: async (offset, piece) => content.set(piece, offset),
      commit: async () => {
        this.blocks.set(block, content);
        committed = true;
      },
      abort: async () => {
        if (committed) this.blocks.delete(block);
      },
    };
  }
}

// A block store in memory whose blocks can be lost, damaged and slow, and whose calls fail on demand. For tests.
import type { BlockId, BlockInfo, BlockSpace, Blocks } from "../../storage/blocks.ts";

const nameOf = ({ stripe, index }: BlockId): string => `${stripe}/${index}`;

function failure(code: string, text: string): Error {
  return Object.assign(new Error(`${text} (${code})`), { code });
}

export class MemoryBlocks implements Blocks {
  readonly blocks = new Map<string, { id: BlockId; bytes: Uint8Array; damaged: boolean }>();
  totalBytes = 1e9;
  /** Every call fails with this code while set. */
  broken: string | null = null;
  /** healthy() says this. */
  problem: string | null = null;
  calls = 0;
  /** The call of this number fails with EIO. */
  failAt = 0;
  syncs = 0;
  failSync = false;
  delay: (() => Promise<void>) | null = null;
  cached = true;

  async store(id: BlockId, bytes: Uint8Array): Promise<void> {
    await this.#call("store");
    if (this.#used() + bytes.length > this.totalBytes) throw failure("ENOSPC", "store: the disk is full");
    const known = this.blocks.get(nameOf(id));
    if (known !== undefined && Buffer.compare(known.bytes, bytes) !== 0)
      throw failure("EEXIST", "store: there is another block of this name");
    this.blocks.set(nameOf(id), { id, bytes: bytes.slice(), damaged: false });
  }

  async sync(): Promise<void> {
    await this.#call("sync");
    this.syncs++;
    if (this.failSync) throw failure("EIO", "sync");
  }

  async retrieve(id: BlockId, offset: number, into: Uint8Array): Promise<void> {
    await this.#call("retrieve");
    this.#copy(id, offset, into);
  }

  retrieveNow(id: BlockId, offset: number, into: Uint8Array): boolean {
    if (!this.cached || this.broken !== null) return false;
    this.#copy(id, offset, into);
    return true;
  }

  async delete(ids: readonly BlockId[]): Promise<void> {
    await this.#call("delete");
    for (const id of ids) this.blocks.delete(nameOf(id));
  }

  async list(after: BlockId | null, limit: number): Promise<BlockInfo[]> {
    await this.#call("list");
    const infos = [...this.blocks.values()].map(({ id, bytes }) => ({ ...id, bytes: bytes.length, file: "memory", offset: 0 }));
    infos.sort((a, b) => a.stripe - b.stripe || a.index - b.index);
    return infos
      .filter(({ stripe, index }) => after === null || stripe > after.stripe || (stripe === after.stripe && index > after.index))
      .slice(0, limit);
  }

  async verify(id: BlockId): Promise<"good" | "missing" | "damaged"> {
    await this.#call("verify");
    const block = this.blocks.get(nameOf(id));
    return block === undefined ? "missing" : block.damaged ? "damaged" : "good";
  }

  async locate(id: BlockId): Promise<BlockInfo | null> {
    await this.#call("locate");
    const block = this.blocks.get(nameOf(id));
    return block === undefined ? null : { ...id, bytes: block.bytes.length, file: "memory", offset: 0 };
  }

  async space(): Promise<BlockSpace> {
    return {
      totalBytes: this.totalBytes,
      freeBytes: this.totalBytes - this.#used(),
      blockBytes: this.#used(),
      blocks: this.blocks.size,
    };
  }

  async close(): Promise<void> {}

  async healthy(): Promise<string | null> {
    return this.problem;
  }

  damage(id: BlockId): void {
    const block = this.blocks.get(nameOf(id));
    if (block !== undefined) block.damaged = true;
  }

  lose(id: BlockId): void {
    this.blocks.delete(nameOf(id));
  }

  #used(): number {
    let bytes = 0;
    for (const block of this.blocks.values()) bytes += block.bytes.length;
    return bytes;
  }

  #copy(id: BlockId, offset: number, into: Uint8Array): void {
    const block = this.blocks.get(nameOf(id));
    if (block === undefined) throw failure("ENOENT", `retrieve block ${nameOf(id)}`);
    if (block.damaged) throw failure("EBADMSG", `retrieve block ${nameOf(id)}: checksum differs`);
    into.set(block.bytes.subarray(offset, offset + into.length));
  }

  async #call(action: string): Promise<void> {
    const call = ++this.calls;
    if (this.delay !== null) await this.delay();
    else await null;
    if (this.broken !== null) throw failure(this.broken, action);
    if (call === this.failAt) throw failure("EIO", action);
  }
}

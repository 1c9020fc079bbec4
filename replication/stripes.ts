// Whole stripes over a block client: the seam that the mount writes and reads through (Stripes in block-client.ts).
import type { BlockClient, Stripes } from "./block-client.ts";
import { dataThatFits } from "./placement.ts";
import { BufferPools } from "./stripe-buffers.ts";
import { stripeCode } from "./stripe-layout.ts";
import { type BlockDamage, StripeReader } from "./stripe-reader.ts";
import { StripeWriter, removeBlocks } from "./stripe-writer.ts";
import type { Stripe } from "./stripe.ts";

export type { BlockDamage } from "./stripe-reader.ts";

export interface StripeStoreOptions {
  client: BlockClient;
  /** The store's scheme, by which space() counts. */
  scheme: string;
  /** Numbers in [0, 1) for placement. */
  random?: () => number;
  /** Told of every block that a read found missing or damaged on a working disk. Must not throw. */
  onDamage?: (damage: BlockDamage) => void;
}

export class StripeStore implements Stripes {
  readonly #client: BlockClient;
  readonly #scheme: string;
  readonly #pools: BufferPools;
  readonly #writer: StripeWriter;
  readonly #reader: StripeReader;

  constructor({ client, scheme, random = Math.random, onDamage = () => {} }: StripeStoreOptions) {
    const pools = (this.#pools = new BufferPools());
    stripeCode(scheme);
    this.#client = client;
    this.#scheme = scheme;
    this.#writer = new StripeWriter(client, random, pools);
    this.#reader = new StripeReader(client, pools, onDamage);
  }

  /** Buffers of stripes being encoded or decoded at this moment. */
  get buffersLent(): number {
    return this.#pools.taken;
  }

  write(id: number, scheme: string, data: Uint8Array): Promise<Stripe> {
    return this.#writer.write(id, scheme, data);
  }

  sync(): Promise<void> {
    return this.#writer.sync();
  }

  read(stripe: Stripe, offset: number, into: Uint8Array): Promise<void> {
    return this.#reader.read(stripe, offset, into);
  }

  readNow(stripe: Stripe, offset: number, into: Uint8Array): boolean {
    return this.#reader.readNow(stripe, offset, into);
  }

  remove(stripes: readonly Stripe[]): Promise<void> {
    this.#writer.forget(stripes);
    return removeBlocks(this.#client, stripes);
  }

  async measure(release: boolean): Promise<void> {
    await this.#client.measure?.(release);
  }

  /** In bytes of data under the store's scheme, on the disks that take new blocks; with fewer of them than the scheme has blocks, as degraded writes would use them. */
  space(): { totalBytes: number; freeBytes: number } {
    const code = stripeCode(this.#scheme);
    const spaces = this.#client.disks().filter(({ state }) => state === "active").map(({ space }) => space); // prettier-ignore
    const blocks = Math.min(code.totalBlocks, spaces.length);
    if (blocks < code.dataBlocks) return { totalBytes: 0, freeBytes: 0 };
    const fits = (bytes: number[]): number => dataThatFits(bytes, code.dataBlocks, blocks);
    return {
      totalBytes: fits(spaces.map(({ totalBytes }) => totalBytes)),
      freeBytes: fits(spaces.map(({ freeBytes }) => freeBytes)),
    };
  }
}

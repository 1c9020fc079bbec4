// Writes stripes: encode, store every block on another disk, sync.
//
// 1. A write succeeds with all n blocks stored, or, where fewer than n disks work, with one on each working disk, at
//    least k of them. So with more than k working disks at least k+1 blocks are stored; with exactly k, k: readable,
//    without redundancy, and status says so. Missing blocks have NO_DISK in the record, which repair looks for.
// 2. A full disk is no reason to be degraded: where space is what lacks, nothing stays stored and the error is ENOSPC.
// 3. sync() holds the same bar for what a disk lost that failed between store and sync.
import type { Code } from "../coding/code.ts";
import type { BlockId } from "../storage/blocks.ts";
import { Rounds } from "../storage/block-rounds.ts";
import type { BlockClient } from "./block-client.ts";
import { Gate } from "./gate.ts";
import { choosePlaces } from "./placement.ts";
import { type BufferPools, StripeBuffers } from "./stripe-buffers.ts";
import { StripeError, blockBytesOf, describeStripe, disksOf, stripeCode } from "./stripe-layout.ts";
import { type DiskId, NO_DISK, STRIPE_DATA_MAX_BYTES, type Stripe } from "./stripe.ts";

/** Stripes that are encoded and stored at once: 8 of 4 MiB keep six disks busy, and bound the parity in memory. */
export const WRITES_MAX = 8;
export const WRITES_WAITING_MAX = 4096;
/** Stripes remembered between syncs; a write beyond them syncs first. */
export const UNSYNCED_MAX = 4096;

/** How the blocks of one write fare. */
interface Attempt {
  id: number;
  blockBytes: number;
  disks: DiskId[];
  /** Disks that have been tried or are another block's. */
  used: Set<DiskId>;
  full: boolean;
  lastError: Error | null;
}

export class StripeWriter {
  readonly #client: BlockClient;
  readonly #random: () => number;
  readonly #pools: BufferPools;
  readonly #gate = new Gate("stripe writes", WRITES_MAX, WRITES_WAITING_MAX);
  readonly #rounds = new Rounds(() => this.#syncRound());
  #unsynced: Stripe[] = [];

  constructor(client: BlockClient, random: () => number, pools: BufferPools) {
    this.#client = client;
    this.#random = random;
    this.#pools = pools;
  }

  async write(id: number, scheme: string, data: Uint8Array): Promise<Stripe> {
    const code = stripeCode(scheme);
    if (data.length < 1 || data.length > STRIPE_DATA_MAX_BYTES) {
      throw new StripeError("EINVAL", `write stripe ${id}: ${data.length} bytes, 1 to ${STRIPE_DATA_MAX_BYTES} are allowed`);
    }
    if (this.#unsynced.length >= UNSYNCED_MAX) await this.sync();
    return this.#gate.run(() => this.#write(id, code, data));
  }

  sync(): Promise<void> {
    if (this.#unsynced.length === 0 && this.#rounds.running === null) return Promise.resolve();
    return this.#rounds.run();
  }

  async #write(id: number, code: Code, data: Uint8Array): Promise<Stripe> {
    const blockBytes = blockBytesOf(code, data.length);
    const places = this.#places(id, code, blockBytes);
    const attempt: Attempt = {
      id,
      blockBytes,
      disks: new Array<DiskId>(code.totalBlocks).fill(NO_DISK),
      used: new Set(places),
      full: false,
      lastError: null,
    };
    const buffers = new StripeBuffers(this.#pools);
    let encoded: Error | null = null;
    try {
      const dataBlocks = cut(data, code.dataBlocks, blockBytes, buffers);
      // Data blocks are under way while the others are computed. No way out of here before every store has ended.
      const storing = dataBlocks.map((block, index) => this.#storeBlock(attempt, index, places[index], block));
      const others = Array.from({ length: code.totalBlocks - code.dataBlocks }, () => buffers.take(blockBytes));
      encoded = await encode(code, dataBlocks, others);
      for (const [index, block] of encoded === null ? others.entries() : []) {
        storing.push(this.#storeBlock(attempt, code.dataBlocks + index, places[code.dataBlocks + index], block));
      }
      await Promise.all(storing);
    } finally {
      buffers.giveBack();
    }
    const stripe: Stripe = { id, scheme: code.scheme, dataBytes: data.length, blockBytes, disks: attempt.disks };
    await this.#requireEnough(code, stripe, attempt, encoded);
    this.#unsynced.push(stripe);
    return stripe;
  }

  #places(id: number, code: Code, blockBytes: number): DiskId[] {
    const disks = this.#client.disks();
    const places = choosePlaces({ disks, count: code.totalBlocks, blockBytes, random: this.#random });
    if (places.length === code.totalBlocks) return places;
    const active = disks.filter(({ state }) => state === "active").length;
    const say = (what: string): string =>
      `write stripe ${id}: ${what}; ${code.scheme} needs ${code.totalBlocks}, and ${code.dataBlocks} at the very least`;
    if (active > places.length)
      throw new StripeError("ENOSPC", say(`only ${places.length} of ${active} disks have ${blockBytes} bytes free`));
    if (places.length < code.dataBlocks) throw new StripeError("EIO", say(`only ${places.length} disks work`));
    return places;
  }

  /** Stores the block on its disk, or on others in turn where that fails. Never rejects. Each round uses up a disk, which bounds it. */
  async #storeBlock(attempt: Attempt, index: number, place: DiskId | undefined, block: Uint8Array): Promise<void> {
    while (place !== undefined) {
      try {
        await this.#client.store(place, { stripe: attempt.id, index }, block);
        attempt.disks[index] = place;
        return;
      } catch (error) {
        attempt.lastError = error as Error;
        if ((error as { code?: string }).code === "ENOSPC") attempt.full = true;
        place = this.#anotherPlace(attempt);
      }
    }
  }

  #anotherPlace({ used, blockBytes }: Attempt): DiskId | undefined {
    const [place] = choosePlaces({ disks: this.#client.disks(), count: 1, blockBytes, except: used, random: this.#random });
    if (place !== undefined) used.add(place);
    return place;
  }

  async #requireEnough(code: Code, stripe: Stripe, attempt: Attempt, encoded: Error | null): Promise<void> {
    const stored = stripe.disks.flatMap((disk, index) => (disk === NO_DISK ? [] : [index]));
    if (stored.length === code.totalBlocks) return;
    if (encoded === null && !attempt.full && code.decodable(stored)) return;
    await removeBlocks(this.#client, [stripe]).catch(() => {});
    if (encoded !== null) throw encoded;
    const reason = `write ${describeStripe(stripe)}: ${stored.length} of ${code.totalBlocks} blocks could be stored`;
    throw new StripeError(attempt.full ? "ENOSPC" : "EIO", `${reason} (${attempt.lastError?.message})`, {
      cause: attempt.lastError,
    });
  }

  async #syncRound(): Promise<void> {
    const stripes = this.#unsynced;
    this.#unsynced = [];
    const disks = [...new Set(stripes.flatMap(disksOf))];
    const results = await Promise.allSettled(disks.map((disk) => this.#client.sync(disk)));
    const lost = new Set(disks.filter((_, position) => results[position].status === "rejected"));
    if (lost.size === 0) return;
    const active = this.#client.disks().filter(({ state }) => state === "active").length;
    const weak = stripes.filter((stripe) => !isDurable(stripe, lost, active));
    if (weak.length === 0) return;
    // A later sync must not call them durable either, whoever asks: they stay until they are, or are removed.
    this.#unsynced.push(...weak);
    const { reason } = results.find((result) => result.status === "rejected")!;
    throw new StripeError(
      "EIO",
      `sync ${describeStripe(weak[0])}: too few of its blocks are durable (${(reason as Error).message})`,
      { cause: reason },
    );
  }

  /** The stripes are being removed: nobody waits for them any more. */
  forget(stripes: readonly Stripe[]): void {
    if (this.#unsynced.length === 0) return;
    const ids = new Set(stripes.map(({ id }) => id));
    this.#unsynced = this.#unsynced.filter(({ id }) => !ids.has(id));
  }
}

/** Whether what was not lost meets the bar of invariant 1. */
function isDurable(stripe: Stripe, lost: ReadonlySet<DiskId>, activeDisks: number): boolean {
  const code = stripeCode(stripe.scheme);
  const durable = stripe.disks.flatMap((disk, index) => (disk === NO_DISK || lost.has(disk) ? [] : [index]));
  const needed = Math.min(code.totalBlocks, Math.max(code.dataBlocks, Math.min(activeDisks, code.dataBlocks + 1)));
  return durable.length >= needed && code.decodable(durable);
}

/** Computes the others. Null, or what went wrong. */
async function encode(code: Code, data: readonly Uint8Array[], others: readonly Uint8Array[]): Promise<Error | null> {
  try {
    if (others.length > 0) await code.encodeAsync(data, others);
    return null;
  } catch (error) {
    return error as Error;
  }
}

/** The data as k blocks: views of it where they are full, and copies filled up with zeros at the end. */
function cut(data: Uint8Array, k: number, blockBytes: number, buffers: StripeBuffers): Uint8Array[] {
  return Array.from({ length: k }, (_, index) => {
    const part = data.subarray(Math.min(data.length, index * blockBytes), (index + 1) * blockBytes);
    if (part.length === blockBytes) return part;
    const block = buffers.take(blockBytes);
    block.set(part);
    block.fill(0, part.length);
    return block;
  });
}

/** Removes the stripes' blocks from every disk that works. Rejects with the first error of a disk that still works after that. */
export async function removeBlocks(client: BlockClient, stripes: readonly Stripe[]): Promise<void> {
  const byDisk = new Map<DiskId, BlockId[]>();
  for (const { id, disks } of stripes) {
    disks.forEach((disk, index) => {
      if (disk === NO_DISK) return;
      const ids = byDisk.get(disk);
      if (ids === undefined) byDisk.set(disk, [{ stripe: id, index }]);
      else ids.push({ stripe: id, index });
    });
  }
  const works = (id: DiskId): boolean => client.disks().some((disk) => disk.id === id && disk.state !== "failed");
  const removing = [...byDisk].filter(([disk]) => works(disk)).map(([disk, ids]) => client.delete(disk, ids).catch((error) => { if (works(disk)) throw error; })); // prettier-ignore
  const failed = (await Promise.allSettled(removing)).find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

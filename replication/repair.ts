// Mends one stripe: finds out which of its blocks are not where they should be, computes those from the others, stores
// them, and has the record changed.
//
// 1. Order: store the new blocks, make them durable, commit the record, and only then remove what the record no longer
//    names. A crash in between leaves blocks without a record, which a check of the disk finds; never the other way.
// 2. A block that differs from its checksum is removed before its successor is stored in its place: nobody can use it.
// 3. One Repairer at a time works on a store, and it works on a stripe once at a time.
import type { Code } from "../coding/code.ts";
import type { BlockClient } from "./block-client.ts";
import { choosePlaces } from "./placement.ts";
import { BufferPools, StripeBuffers } from "./stripe-buffers.ts";
import type { StripeDirectory } from "./stripe-directory.ts";
import { StripeError, describeStripe, stripeCode } from "./stripe-layout.ts";
import { type DiskId, NO_DISK, type Stripe } from "./stripe.ts";
import type { Pace } from "./throttle.ts";

/** `lost`: its disk is failed or none; `leaving`: whole, but its disk is to be emptied. */
export type BlockState = "good" | "missing" | "damaged" | "lost" | "leaving";

export interface Mending {
  /** The record as it is now. */
  stripe: Stripe;
  /** Blocks that were made anew or moved. */
  mended: number[];
  /** Blocks that no disk could take: too few disks, or too little space. */
  unplaced: number[];
  /** The stripe was removed or changed by others meanwhile; nothing was done to it. */
  superseded: boolean;
}

export interface RepairerOptions {
  client: BlockClient;
  directory: StripeDirectory;
  throttle: Pace;
  random?: () => number;
}

export class Repairer {
  readonly #client: BlockClient;
  readonly #directory: StripeDirectory;
  readonly #throttle: Pace;
  readonly #random: () => number;
  readonly #pools: BufferPools;
  readonly #busy: Set<number>;

  constructor({ client, directory, throttle, random = Math.random }: RepairerOptions, same?: Repairer) {
    this.#client = client;
    this.#directory = directory;
    this.#throttle = throttle;
    this.#random = random;
    this.#pools = same ? same.#pools : new BufferPools();
    this.#busy = same ? same.#busy : new Set();
  }

  /** This repairer for work at another pace. In the sense of rule 3 both are one. */
  at(throttle: Pace): Repairer {
    return new Repairer({ client: this.#client, directory: this.#directory, throttle, random: this.#random }, this);
  }

  /** Mends the stripe. verify: read and check every block, rather than only ask whether it is there. Errors: StripeError EIO where too few blocks are left; those of the directory. */
  async repairStripe(stripe: Stripe, { verify = false }: { verify?: boolean } = {}): Promise<Mending> {
    if (this.#busy.has(stripe.id)) return { stripe, mended: [], unplaced: [], superseded: true };
    this.#busy.add(stripe.id);
    try {
      const states = await Promise.all(stripe.disks.map((_, index) => this.inspect(stripe, index, verify)));
      if (states.every((state) => state === "good")) return { stripe, mended: [], unplaced: [], superseded: false };
      // An old record's blocks are missing where others have moved them from. Mending them again could take the very
      // disks that the stripe has now, and giving up would then remove its blocks from them.
      if (!(await this.#isCurrent(stripe))) return { stripe, mended: [], unplaced: [], superseded: true };
      return await this.#mend(stripe, states);
    } catch (error) {
      // A stripe that died meanwhile loses its blocks: nothing is wrong with that.
      if (await this.#isCurrent(stripe)) throw error;
      return { stripe, mended: [], unplaced: [], superseded: true };
    } finally {
      this.#busy.delete(stripe.id);
    }
  }

  #isCurrent(stripe: Stripe): Promise<boolean> {
    return this.#directory.commit(stripe, stripe);
  }

  /** Whether the stripe's blocks are being moved or made anew at this moment. */
  isBusy(stripe: number): boolean {
    return this.#busy.has(stripe);
  }

  /** Runs the action while no repair works on the stripe; false, and nothing is done, where one does already. */
  async exclusively(stripe: number, action: () => Promise<boolean>): Promise<boolean> {
    if (this.#busy.has(stripe)) return false;
    this.#busy.add(stripe);
    try {
      return await action();
    } finally {
      this.#busy.delete(stripe);
    }
  }

  /** What is the matter with one block. */
  async inspect(stripe: Stripe, index: number, verify: boolean): Promise<BlockState> {
    const disk = stripe.disks[index];
    const state = this.#client.disks().find(({ id }) => id === disk)?.state;
    if (state === undefined || state === "failed") return "lost";
    const id = { stripe: stripe.id, index };
    try {
      if (verify) {
        await this.#throttle.spend(stripe.blockBytes);
        const found = await this.#client.verify(disk, id);
        if (found !== "good") return found;
      } else if ((await this.#client.locate(disk, id)) === null) return "missing";
    } catch {
      return this.#client.disks().find(({ id }) => id === disk)?.state === "failed" ? "lost" : "damaged";
    }
    return state === "draining" ? "leaving" : "good";
  }

  async #mend(stripe: Stripe, states: BlockState[]): Promise<Mending> {
    const buffers = new StripeBuffers(this.#pools);
    try {
      const blocks = await this.#compute(stripe, states, buffers);
      const disks = [...stripe.disks];
      const mended: number[] = [];
      const unplaced: number[] = [];
      for (const [index, bytes] of blocks) {
        const disk = await this.#store(stripe, disks, index, states[index], bytes);
        if (disk === null) unplaced.push(index);
        else {
          disks[index] = disk;
          mended.push(index);
        }
      }
      await Promise.all([...new Set(mended.map((index) => disks[index]))].map((disk) => this.#client.sync(disk)));
      return await this.#commit(stripe, { ...stripe, disks }, mended, unplaced);
    } finally {
      buffers.giveBack();
    }
  }

  /** The bytes of every block that is not good. Changes states of blocks that turn out unreadable. */
  async #compute(stripe: Stripe, states: BlockState[], buffers: StripeBuffers): Promise<Map<number, Uint8Array>> {
    const code = stripeCode(stripe.scheme);
    const have = new Map<number, Uint8Array>();
    // Each round but the last finds one more block unreadable.
    for (;;) {
      const wanted = indexesOf(states, (state) => state !== "good");
      const gone = indexesOf(states, (state) => state !== "good" && state !== "leaving");
      const present = indexesOf(states, (state) => state === "good" || state === "leaving");
      const plan = code.plan(present, gone);
      if (plan === null) throw tooFew(stripe, code, states);
      const needed = new Set([...plan, ...wanted.filter((index) => states[index] === "leaving")]);
      const unread = [...needed].filter((index) => !have.has(index));
      await Promise.all(unread.map((index) => this.#read(stripe, states, index, have, buffers)));
      if (unread.some((index) => !have.has(index))) continue;
      const targets = gone.map(() => buffers.take(stripe.blockBytes));
      await code.reconstructAsync(new Map(plan.map((index) => [index, have.get(index)!])), gone, targets);
      return new Map(wanted.map((index) => [index, have.get(index) ?? targets[gone.indexOf(index)]]));
    }
  }

  async #read(
    stripe: Stripe,
    states: BlockState[],
    index: number,
    have: Map<number, Uint8Array>,
    buffers: StripeBuffers,
  ): Promise<void> {
    await this.#throttle.spend(stripe.blockBytes);
    const block = buffers.take(stripe.blockBytes);
    try {
      await this.#client.retrieve(stripe.disks[index], { stripe: stripe.id, index }, 0, block);
      have.set(index, block);
    } catch {
      states[index] = await this.inspect(stripe, index, false);
      // It is there and cannot be read.
      if (states[index] === "good" || states[index] === "leaving") states[index] = "damaged";
    }
  }

  /** Stores the block in its place, or on a disk that holds none of the stripe. Null where no disk takes it. */
  async #store(
    stripe: Stripe,
    disks: readonly DiskId[],
    index: number,
    state: BlockState,
    bytes: Uint8Array,
  ): Promise<DiskId | null> {
    const id = { stripe: stripe.id, index };
    const own = this.#client.disks().find((disk) => disk.id === stripe.disks[index]);
    const tried = new Set([...disks, ...stripe.disks].filter((disk) => disk !== NO_DISK));
    let place: DiskId | undefined = own?.state === "active" ? own.id : this.#another(stripe, tried);
    while (place !== undefined) {
      await this.#throttle.spend(bytes.length);
      try {
        if (place === own?.id && state === "damaged") await this.#client.delete(place, [id]);
        await this.#client.store(place, id, bytes);
        return place;
      } catch {
        place = this.#another(stripe, tried);
      }
    }
    return null;
  }

  #another({ blockBytes }: Stripe, tried: Set<DiskId>): DiskId | undefined {
    const [place] = choosePlaces({ disks: this.#client.disks(), count: 1, blockBytes, except: tried, random: this.#random });
    if (place !== undefined) tried.add(place);
    return place;
  }

  async #commit(from: Stripe, to: Stripe, mended: number[], unplaced: number[]): Promise<Mending> {
    if (mended.length === 0) return { stripe: from, mended, unplaced, superseded: false };
    const committed = await this.#directory.commit(from, to);
    const moved = mended.filter((index) => from.disks[index] !== to.disks[index]);
    if (!committed) {
      // Blocks put back in their own place belong to the stripe if it still is; if it is gone, so should they be.
      await Promise.all(moved.map((index) => this.#remove(to, index)));
      return { stripe: from, mended: [], unplaced, superseded: true };
    }
    await Promise.all(moved.map((index) => this.#remove(from, index)));
    return { stripe: to, mended, unplaced, superseded: false };
  }

  /** Best effort: what stays behind has no record, and a check of the disk finds it. */
  async #remove(stripe: Stripe, index: number): Promise<void> {
    const disk = stripe.disks[index];
    const state = this.#client.disks().find(({ id }) => id === disk)?.state;
    if (state === undefined || state === "failed") return;
    await this.#client.delete(disk, [{ stripe: stripe.id, index }]).catch(() => {});
  }
}

function indexesOf(states: readonly BlockState[], wanted: (state: BlockState) => boolean): number[] {
  return states.flatMap((state, index) => (wanted(state) ? [index] : []));
}

function tooFew(stripe: Stripe, code: Code, states: readonly BlockState[]): StripeError {
  const bad = states.flatMap((state, index) =>
    state === "good" || state === "leaving" ? [] : [`block ${index} on disk ${stripe.disks[index]} is ${state}`],
  );
  return new StripeError(
    "EIO",
    `repair ${describeStripe(stripe)}: ${bad.length} of ${code.totalBlocks} blocks are gone, ${code.guaranteedLosses} can be: ${bad.join("; ")}`,
  );
}

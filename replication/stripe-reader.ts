// Reads ranges of stripes: directly from data blocks, and where one is missing, damaged, or on a failed or slow disk,
// by decoding the same range of other blocks. Every block read is checked against its checksums by its disk; what
// comes out of decoding is as right as what went in.
import type { Code } from "../coding/code.ts";
import type { BlockClient } from "./block-client.ts";
import { Gate } from "./gate.ts";
import { type BufferPools, StripeBuffers } from "./stripe-buffers.ts";
import { type Segment, StripeError, describeStripe, isCopies, segmentsOf, stripeCode } from "./stripe-layout.ts";
import { type DiskId, NO_DISK, type Stripe } from "./stripe.ts";

/** A block that could not be read though its disk works. */
export interface BlockDamage {
  stripe: Stripe;
  index: number;
  disk: DiskId;
  kind: "missing" | "damaged" | "unreadable";
  error: Error;
}

/** Degraded reads at once; each holds up to a stripe in memory. */
export const DECODES_MAX = 8;
export const DECODES_WAITING_MAX = 8192;

/** What is known of a stripe's blocks while one read lasts. */
interface Sources {
  stripe: Stripe;
  code: Code;
  /** Blocks found unreadable, with why. */
  unusable: Map<number, Error>;
  avoidSlow: boolean;
  avoided: boolean;
}

export class StripeReader {
  readonly #client: BlockClient;
  readonly #pools: BufferPools;
  readonly #onDamage: (damage: BlockDamage) => void;
  readonly #gate = new Gate("degraded reads", DECODES_MAX, DECODES_WAITING_MAX);

  constructor(client: BlockClient, pools: BufferPools, onDamage: (damage: BlockDamage) => void) {
    this.#client = client;
    this.#pools = pools;
    this.#onDamage = onDamage;
  }

  async read(stripe: Stripe, offset: number, into: Uint8Array): Promise<void> {
    const code = stripeCode(stripe.scheme);
    const segments = this.#segments(stripe, code, offset, into);
    const unusable = new Map<number, Error>();
    for (const avoidSlow of [true, false]) {
      const sources: Sources = { stripe, code, unusable, avoidSlow, avoided: false };
      if (segments.length === 1) await this.#readDirectly(sources, segments[0]);
      else await Promise.all(segments.map((segment) => this.#readDirectly(sources, segment)));
      const bad = segments.filter(({ error }) => error !== null);
      if (bad.length === 0) return;
      const decoded = await this.#gate.run(() => this.#decode(sources, segments, bad));
      if (decoded) return;
      if (!sources.avoided) break;
      for (const segment of bad) segment.error = null;
    }
    throw this.#beyondRepair(stripe, code, unusable);
  }

  readNow(stripe: Stripe, offset: number, into: Uint8Array): boolean {
    try {
      const code = stripeCode(stripe.scheme);
      for (const { index, from, into: part } of this.#segments(stripe, code, offset, into)) {
        const disk = stripe.disks[index];
        if (disk === NO_DISK || !this.#client.retrieveNow(disk, { stripe: stripe.id, index }, from, part)) return false;
      }
      return true;
    } catch {
      // Damage, or a disk that is gone: read() finds a way, and reports it.
      return false;
    }
  }

  /** For copies, which all hold everything: the copy whose turn it is, of those that can be read. */
  #segments(stripe: Stripe, code: Code, offset: number, into: Uint8Array): Segment[] {
    const segments = segmentsOf(stripe, offset, into);
    if (!isCopies(code)) return segments;
    for (let turn = 0; turn < code.totalBlocks; turn++) {
      const index = (stripe.id + turn) % code.totalBlocks;
      if (stripe.disks[index] === NO_DISK) continue;
      for (const segment of segments) segment.index = index;
      break;
    }
    return segments;
  }

  async #readDirectly(sources: Sources, segment: Segment): Promise<void> {
    if (segment.error !== null) return;
    segment.error = await this.#retrieve(sources, segment.index, segment.from, segment.into);
  }

  /** Null when read, else the error, which is noted in `unusable` unless the disk was only avoided. */
  async #retrieve(sources: Sources, index: number, from: number, into: Uint8Array): Promise<Error | null> {
    const { stripe, unusable } = sources;
    const known = unusable.get(index);
    if (known !== undefined) return known;
    const disk = stripe.disks[index];
    if (disk === NO_DISK) return note(unusable, index, new StripeError("EIO", `block ${index} was never stored`));
    const status = this.#client.disks().find(({ id }) => id === disk);
    if (status?.slow && sources.avoidSlow) {
      sources.avoided = true;
      return new StripeError("EIO", `disk ${disk} is slow`);
    }
    try {
      await this.#client.retrieve(disk, { stripe: stripe.id, index }, from, into);
      return null;
    } catch (error) {
      this.#report(stripe, index, disk, error as Error);
      return note(unusable, index, error as Error);
    }
  }

  #report(stripe: Stripe, index: number, disk: DiskId, error: Error): void {
    const status = this.#client.disks().find(({ id }) => id === disk);
    if (status === undefined || status.state === "failed") return;
    const { code } = error as { code?: string };
    const kind = code === "ENOENT" ? "missing" : code === "EBADMSG" ? "damaged" : "unreadable";
    this.#onDamage({ stripe, index, disk, kind, error });
  }

  /** Computes the bad segments from the same range of other blocks. False where too few can be read. */
  async #decode(sources: Sources, segments: readonly Segment[], bad: readonly Segment[]): Promise<boolean> {
    const { code, unusable } = sources;
    const from = Math.min(...bad.map((segment) => segment.from));
    const to = Math.max(...bad.map((segment) => segment.from + segment.into.length));
    const wanted = bad.map(({ index }) => index);
    const avoided = new Set<number>(wanted);
    const buffers = new StripeBuffers(this.#pools);
    const have = new Map<number, Uint8Array>();
    try {
      // Each round but the last finds at least one more block unusable.
      for (;;) {
        const present = Array.from({ length: code.totalBlocks }, (_, index) => index).filter(
          (index) => !unusable.has(index) && !avoided.has(index),
        );
        const plan = code.plan(present, wanted);
        if (plan === null) return false;
        const reads = plan
          .filter((index) => !have.has(index))
          .map((index) => this.#fetch(sources, segments, index, from, to, buffers));
        for (const { index, part, error } of await Promise.all(reads)) {
          if (error === null) have.set(index, part);
          else avoided.add(index);
        }
        if (plan.every((index) => have.has(index))) {
          await this.#reconstruct(code, new Map(plan.map((index) => [index, have.get(index)!])), bad, from, to, buffers);
          return true;
        }
      }
    } finally {
      buffers.giveBack();
    }
  }

  /** The range of one block: what this read has in its target already, or else read from the disk. */
  async #fetch(
    sources: Sources,
    segments: readonly Segment[],
    index: number,
    from: number,
    to: number,
    buffers: StripeBuffers,
  ): Promise<{ index: number; part: Uint8Array; error: Error | null }> {
    const there = readAlready(segments, index, from, to);
    if (there !== null) return { index, part: there, error: null };
    const part = buffers.take(to - from);
    return { index, part, error: await this.#retrieve(sources, index, from, part) };
  }

  async #reconstruct(
    code: Code,
    present: Map<number, Uint8Array>,
    bad: readonly Segment[],
    from: number,
    to: number,
    buffers: StripeBuffers,
  ): Promise<void> {
    const targets = bad.map((segment) => (segment.into.length === to - from ? segment.into : buffers.take(to - from)));
    const wanted = bad.map(({ index }) => index);
    await code.reconstructAsync(present, wanted, targets);
    bad.forEach((segment, position) => {
      if (targets[position] === segment.into) return;
      segment.into.set(targets[position].subarray(segment.from - from, segment.from - from + segment.into.length));
    });
  }

  #beyondRepair(stripe: Stripe, code: Code, unusable: ReadonlyMap<number, Error>): StripeError {
    const reasons = [...unusable].map(([index, error]) => `block ${index} on disk ${stripe.disks[index]}: ${error.message}`);
    const text = `read ${describeStripe(stripe)}: ${unusable.size} of ${code.totalBlocks} blocks cannot be read, ${code.guaranteedLosses} can be missing: ${reasons.join("; ")}`;
    return new StripeError("EIO", text, { cause: [...unusable.values()][0] });
  }
}

function note(unusable: Map<number, Error>, index: number, error: Error): Error {
  unusable.set(index, error);
  return error;
}

/** The range of a block where this read has it in its target already, else null. */
function readAlready(segments: readonly Segment[], index: number, from: number, to: number): Uint8Array | null {
  const segment = segments.find((segment) => segment.index === index && segment.error === null);
  if (segment === undefined || segment.from > from || segment.from + segment.into.length < to) return null;
  return segment.into.subarray(from - segment.from, to - segment.from);
}

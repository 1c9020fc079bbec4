// Bytes of a file that lie in many small pieces, fetched together. A program that writes at random places leaves what is
// near in the file in many stripes, a few bytes in each; to read every piece by itself costs a request and a checksum of
// 16 KiB for each. Here the grains of stripes (16 KiB) that hold the next few MiB of the file are read, each once, those
// that are neighbours in one read. The pieces are then copied from there.
//
// What is kept are bytes of stripes, and these never change: whatever becomes of the file, its pieces find the right bytes.

import type { Stripes } from "../../replication/block-client.ts";
import { STRIPE_DATA_MAX_BYTES, type Stripe } from "../../replication/stripe.ts";
import type { InodeId } from "../types.ts";
import type { AllocateBuffer } from "./buffers.ts";
import type { Core } from "./core.ts";
import { boundPieces, fetchExtents, forgetCleanIn } from "./extents.ts";
import type { FileState } from "./file-state.ts";
import {
  CLEAN_PIECES_PER_FILE_MAX,
  EXTENTS_FRAGMENTED,
  FRAGMENT_BUFFERS_MAX,
  FRAGMENT_MAX_BYTES,
  FRAGMENT_RANGE_MAX_BYTES,
  FRAGMENT_READS_MAX,
  GRAIN_BYTES,
  STRIPE_BUFFER_BYTES,
} from "./limits.ts";
import { STRIPED } from "./pieces.ts";

const GRAINS_PER_BUFFER = STRIPE_BUFFER_BYTES / GRAIN_BYTES;
/** A stripe's number and a grain's are one number. */
const GRAINS_PER_STRIPE_MAX = STRIPE_DATA_MAX_BYTES / GRAIN_BYTES;

/** The grains for one range of a file. */
interface Batch {
  readonly inode: InodeId;
  readonly start: number;
  /** Up to here the file's fragments are in it; while the range is not known yet, the most that it can become. */
  end: number;
  readonly bytes: Uint8Array;
  /** Where in `bytes` each is. */
  readonly places: Map<number, number>;
  /** Null once the bytes are there. Never rejects: a grain that could not be read is simply not here afterwards. */
  loading: Promise<void> | null;
  /** What comes behind it in the file was fetched, or begun to be. */
  followed: boolean;
}

/** Grains that are neighbours in a stripe and in the buffer. */
interface GrainRun {
  readonly stripe: Stripe;
  readonly first: number;
  count: number;
  readonly at: number;
}

/** Grains of stripes that a range of a file needs, by the stripes' numbers. */
interface Plan {
  end: number;
  grains: Map<number, { stripe: Stripe; wanted: Set<number> }>;
}

export class Fragments {
  readonly #stripes: Stripes;
  readonly #allocate: AllocateBuffer;
  /** Least recently used first. */
  #batches: Batch[] = [];
  readonly #free: Uint8Array[] = [];
  #made = 0;

  constructor(stripes: Stripes, allocate: AllocateBuffer) {
    this.#stripes = stripes;
    this.#allocate = allocate;
  }

  /** Copies bytes of the stripe, if all of them are here. */
  copy(stripe: Stripe, from: number, into: Uint8Array): boolean {
    for (let index = this.#batches.length - 1; index >= 0; index--) {
      const batch = this.#batches[index];
      if (batch.loading === null && copyFrom(batch, stripe, from, into)) return true;
    }
    return false;
  }

  /** Whether what is at this place of the file is being fetched. */
  isComing(file: FileState, offset: number): boolean {
    return this.#batches.length > 0 && (this.#at(file, offset)?.loading ?? null) !== null;
  }

  /** Resolves when what is being fetched for this place of the file is here; false where nothing is. */
  async arrival(file: FileState, offset: number): Promise<boolean> {
    const batch = this.#at(file, offset);
    if (batch === undefined || batch.loading === null) return false;
    await batch.loading;
    return true;
  }

  /**
   * Fetches the grains of the file's fragments from `start` on, up to `end`, or as many as one buffer takes.
   * Resolves to the offset up to which they are here; to `start` where every buffer is being filled. Never rejects.
   */
  async fetch(core: Core, file: FileState, start: number, end: number): Promise<number> {
    const batch = this.#begin(core, file, start, end);
    if (batch === null) return start;
    await batch.loading;
    return batch.end;
  }

  /** A sequential reader is here: begins to fetch what comes behind the batch that it reads from. The lease is held. */
  goOn(core: Core, file: FileState, offset: number): void {
    if (this.#batches.length === 0) return;
    const batch = this.#at(file, offset);
    if (batch === undefined || batch.loading !== null) return;
    this.#use(batch);
    if (batch.followed || batch.end >= file.attributes.size) return;
    // The reader is past it: so the file's pieces stay below their limit, and none that are needed go.
    if (file.pieces.count > CLEAN_PIECES_PER_FILE_MAX - EXTENTS_FRAGMENTED) forgetCleanIn(file, 0, batch.start);
    batch.followed = this.#at(file, batch.end) !== undefined || this.#begin(core, file, batch.end, Infinity) !== null;
  }

  #at({ inode }: FileState, offset: number): Batch | undefined {
    return this.#batches.findLast((batch) => batch.inode === inode && batch.start <= offset && offset < batch.end);
  }

  #use(batch: Batch): void {
    if (this.#batches.at(-1) === batch) return;
    this.#batches = [...this.#batches.filter((other) => other !== batch), batch];
  }

  #begin(core: Core, file: FileState, start: number, end: number): Batch | null {
    const bytes = this.#buffer();
    if (bytes === null) return null;
    const to = Math.min(end, start + FRAGMENT_RANGE_MAX_BYTES, file.attributes.size);
    const batch: Batch = { inode: file.inode, start, end: to, bytes, places: new Map(), loading: null, followed: false };
    this.#batches.push(batch);
    batch.loading = this.#load(core, file, batch);
    return batch;
  }

  async #load(core: Core, file: FileState, batch: Batch): Promise<void> {
    await learn(core, file, batch.start, batch.end);
    const plan = planOf(file, batch.start, batch.end);
    batch.end = plan.end;
    const runs = this.#lay(batch, plan).values();
    const reader = async (): Promise<void> => {
      for (const run of runs) await this.#read(batch, run);
    };
    await Promise.all(Array.from({ length: FRAGMENT_READS_MAX }, reader));
    batch.loading = null;
    if (batch.places.size === 0) this.#drop(batch);
  }

  #drop(batch: Batch): void {
    this.#batches = this.#batches.filter((other) => other !== batch);
    this.#free.push(batch.bytes);
  }

  /** Gives each grain its place. What another batch has is copied; the rest is to be read. */
  #lay(batch: Batch, { grains }: Plan): GrainRun[] {
    const runs: GrainRun[] = [];
    let at = 0;
    for (const { stripe, wanted } of grains.values()) {
      let run: GrainRun | undefined;
      for (const grain of [...wanted].sort((a, b) => a - b)) {
        const from = grain * GRAIN_BYTES;
        const place = batch.bytes.subarray(at, at + Math.min(GRAIN_BYTES, stripe.dataBytes - from));
        if (this.copy(stripe, from, place)) run = undefined;
        else if (run !== undefined && run.first + run.count === grain) run.count++;
        else runs.push((run = { stripe, first: grain, count: 1, at }));
        batch.places.set(keyOf(stripe, grain), at);
        at += GRAIN_BYTES;
      }
    }
    return runs;
  }

  async #read(batch: Batch, { stripe, first, count, at }: GrainRun): Promise<void> {
    const from = first * GRAIN_BYTES;
    const into = batch.bytes.subarray(at, at + Math.min(count * GRAIN_BYTES, stripe.dataBytes - from));
    try {
      if (!this.#stripes.readNow(stripe, from, into)) await this.#stripes.read(stripe, from, into);
    } catch {
      // The reader's own attempt will say what is wrong.
      for (let grain = first; grain < first + count; grain++) batch.places.delete(keyOf(stripe, grain));
    }
  }

  #buffer(): Uint8Array | null {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made < FRAGMENT_BUFFERS_MAX) {
      this.#made++;
      return this.#allocate(STRIPE_BUFFER_BYTES);
    }
    const oldest = this.#batches.find(({ loading }) => loading === null);
    if (oldest === undefined) return null;
    this.#batches = this.#batches.filter((batch) => batch !== oldest);
    return oldest.bytes;
  }
}

function keyOf({ id }: Stripe, grain: number): number {
  return id * GRAINS_PER_STRIPE_MAX + grain;
}

function copyFrom({ places, bytes }: Batch, stripe: Stripe, from: number, into: Uint8Array): boolean {
  for (let done = 0; done < into.length;) {
    const grain = Math.floor((from + done) / GRAIN_BYTES);
    const at = places.get(keyOf(stripe, grain));
    if (at === undefined) return false;
    const skip = from + done - grain * GRAIN_BYTES;
    const length = Math.min(GRAIN_BYTES - skip, into.length - done);
    into.set(bytes.subarray(at + skip, at + skip + length), done);
    done += length;
  }
  return true;
}

/** Asks where the file's bytes are. Recalls wait for it, as for a read: the answer holds under the lease. */
async function learn(core: Core, file: FileState, from: number, to: number): Promise<void> {
  file.reads++;
  try {
    boundPieces(file);
    const at = file.pieces.firstUnknown(from, to);
    // Once: what is not known after that is for the next batch, so that a file in pieces of one byte fills no memory.
    if (at !== Infinity) await fetchExtents(core, file, at, to, EXTENTS_FRAGMENTED);
  } catch {
    // The reader asks again, and is told.
  } finally {
    if (--file.reads === 0) for (const resolve of file.readsDone.splice(0)) resolve();
  }
}

/** The grains of the fragments in [start, to), as far as their places are known and a buffer takes them. */
function planOf(file: FileState, start: number, to: number): Plan {
  const grains: Plan["grains"] = new Map();
  let count = 0;
  let position = start;
  while (position < to) {
    const piece = file.pieces.after(position);
    if (piece === undefined || piece.start > position) break;
    const stop = Math.min(piece.end, to);
    if (piece.kind === STRIPED && piece.end - piece.start <= FRAGMENT_MAX_BYTES) {
      const stripe = piece.source as Stripe;
      const from = piece.sourceOffset + (position - piece.start);
      const { wanted } = entry(grains, stripe);
      const last = Math.floor((from + stop - position - 1) / GRAIN_BYTES);
      for (let grain = Math.floor(from / GRAIN_BYTES); grain <= last; grain++) {
        if (wanted.has(grain)) continue;
        if (count++ === GRAINS_PER_BUFFER) return { end: position, grains };
        wanted.add(grain);
      }
    }
    position = stop;
  }
  return { end: position, grains };
}

function entry(grains: Plan["grains"], stripe: Stripe): { wanted: Set<number> } {
  let entry = grains.get(stripe.id);
  if (entry === undefined) grains.set(stripe.id, (entry = { stripe, wanted: new Set() }));
  return entry;
}

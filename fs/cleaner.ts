// The cleaner: gives space of overwritten and deleted data back to the disks, and turns scattered files into full stripes.
//
// A pass: survey (walk the stripes, see which cost more than what lives in them is worth) -> move (walk all extents;
// copy what lies in such stripes, and what is scattered, into new full stripes) -> the old stripes, left without live
// bytes, are removed by the namespace's tick -> compact (the disks rewrite segment files that are mostly dead).
//
// 1. Order of a move: batch-mover.ts.
// 2. Small steps: at most one stripe of data at a time, held to a rate, and nothing is locked meanwhile.
// 3. A second pass right after the first moves nothing: see #wanted and worthMoving.

import { parseScheme } from "../coding/scheme.ts";
import type { BlockClient } from "../replication/block-client.ts";
import type { DiskId } from "../replication/stripe.ts";
import { Throttle } from "../replication/throttle.ts";
import type { Clock } from "../storage/clock.ts";
import { type BatchMover, CODED_FROM_BYTES } from "./batch-mover.ts";
import { Batch } from "./cleaner-batch.ts";
import { chooseStripes, isScattered, type StripeCost, type Survey } from "./cleaner-choice.ts";
import type { Namespace } from "./namespace/namespace.ts";
import type { FileWindow } from "./namespace/relocation.ts";
import type { Extent } from "./messages.ts";
import type { StripeId } from "./types.ts";

export interface CleanerOptions {
  namespace: Namespace;
  mover: BatchMover;
  blocks?: BlockClient;
  schemes: { full: string; small: string };
  clock: Clock;
  trace?: (line: string) => void;
  /** Rate of passes that nobody asked for. */
  bytesPerSecond?: number;
}

export interface CleanerReport {
  state: "idle" | "surveying" | "moving" | "waiting" | "compacting" | "paused";
  /** What the disks hold for stripes, and what the live data would need in full stripes, as of the last survey. */
  storedBytes: number;
  neededBytes: number;
  /** Since the daemon's start. */
  passes: number;
  movedBytes: number;
  compactedBytes: number;
  /** Progress of the pass that runs: bytes to move as surveyed, and moved. */
  passBytes: number;
  passMovedBytes: number;
  /** Why the last pass ended early; null where it did not. */
  error: string | null;
}

export interface PassOptions {
  /** Clean all that is worth it, also what was written just now; else only where much is wasted, and only older stripes. */
  thorough: boolean;
  bytesPerSecond?: number;
  signal?: AbortSignal;
  onProgress?: (report: CleanerReport) => void;
}

/** 16 MiB/s: some 2 % of what one disk does, and 1 TB a day. */
const BACKGROUND_BYTES_PER_SECOND = 16 * 1024 * 1024;
/** Looking takes a walk over the stripes (3 s for a million of them), so not too often. */
const SURVEY_EVERY_MS = 30_000;
/** Stripes younger than this are left alone: what is just being written will be overwritten or joined soon. */
const SETTLED_AFTER_MS = 60_000;
/** Scattered files are looked for so often while nothing else makes the cleaner walk: a walk reads every extent's record. */
const WALK_EVERY_MS = 3_600_000;
const STRIPES_PER_FETCH = 1024;
/** How long a thorough pass waits for dead stripes to be removed, before it has the disks compact what is left. */
const REMOVAL_WAIT_MS = 30_000;
/** Segments with a smaller live share than this are rewritten. */
const COMPACT_BELOW = 0.5;
const COMPACT_BELOW_THOROUGH = 0.85;

export class Cleaner {
  readonly #options: CleanerOptions;
  readonly #throttle: Throttle;
  readonly #report: CleanerReport = {
    state: "idle",
    storedBytes: 0,
    neededBytes: 0,
    passes: 0,
    movedBytes: 0,
    compactedBytes: 0,
    passBytes: 0,
    passMovedBytes: 0,
    error: null,
  };
  #running: Promise<void> | null = null;
  #abort: AbortController | null = null;
  #cancelTimer: () => void = () => {};
  #started = false;
  readonly #stopping = new AbortController();
  #paused = false;
  #walkedAt: number;
  /** Earlier surveys: stripes up to `last` were there at `at`. */
  #seen: { at: number; last: StripeId | 0 }[] = [];

  constructor(options: CleanerOptions) {
    this.#options = options;
    const { clock } = options;
    this.#walkedAt = clock.nowMs();
    this.#throttle = new Throttle(clock);
  }

  report(): CleanerReport {
    return { ...this.#report, state: this.#paused && this.#running === null ? "paused" : this.#report.state };
  }

  /** Begins to clean in the background. */
  start(): void {
    this.#started = true;
    this.#schedule();
  }

  /** Ends what runs, and starts nothing more. */
  async stop(): Promise<void> {
    this.#started = false;
    this.#cancelTimer();
    this.#stopping.abort(new Error("the store is closing"));
    await this.#running?.catch(() => {});
  }

  /** No pass runs until resume(), but ones that are asked for. */
  pause(): void {
    this.#paused = true;
    this.#cancelTimer();
    this.#abort?.abort(new Error("paused"));
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#schedule();
  }

  /** One whole pass. One at a time runs: a pass in the background gives way to it. Rejects with why it ended early. */
  async run(options: PassOptions): Promise<void> {
    while (this.#running !== null) {
      if (this.#abort !== null) this.#abort.abort(new Error("another pass was asked for"));
      await this.#running.catch(() => {});
    }
    this.#running = this.#pass(options).finally(() => {
      this.#running = null;
      this.#report.state = "idle";
    });
    await this.#running;
  }

  #schedule(): void {
    if (!this.#started || this.#paused) return;
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.after(SURVEY_EVERY_MS, () => void this.#background());
  }

  async #background(): Promise<void> {
    const abort = new AbortController();
    try {
      if (this.#running === null) {
        this.#abort = abort;
        await this.run({ thorough: false, signal: abort.signal });
      }
    } catch (error) {
      if (!abort.signal.aborted) this.#options.trace?.(`cleaner: ${(error as Error).message}`);
    } finally {
      if (this.#abort === abort) this.#abort = null;
      this.#schedule();
    }
  }

  async #pass(asked: PassOptions): Promise<void> {
    const signals = [this.#stopping.signal, asked.signal].filter((signal) => signal !== undefined);
    const options = { ...asked, signal: AbortSignal.any(signals) };
    this.#throttle.bytesPerSecond =
      options.bytesPerSecond ?? (options.thorough ? Infinity : (this.#options.bytesPerSecond ?? BACKGROUND_BYTES_PER_SECOND));
    Object.assign(this.#report, { error: null, passBytes: 0, passMovedBytes: 0 });
    try {
      const survey = await this.#survey(options);
      const chosen = chooseStripes(survey, options.thorough);
      this.#report.passBytes = chosen.liveBytes;
      const walk = chosen.stripes.size > 0 || options.thorough || this.#isWalkDue();
      if (walk && this.#disksSuffice()) await this.#move(chosen.stripes, survey, options);
      await this.#compact(options);
      if (this.#report.passMovedBytes > 0) await this.#survey(options);
      this.#report.passes++;
    } catch (error) {
      this.#report.error = (error as Error).message;
      throw error;
    }
  }

  /** Scattered files are found only by walking all extents. */
  #isWalkDue(): boolean {
    return this.#options.clock.nowMs() - this.#walkedAt >= WALK_EVERY_MS;
  }

  /** With fewer disks than the scheme needs, new stripes would be degraded: repair comes first. */
  #disksSuffice(): boolean {
    const active = this.#options.blocks?.disks().filter(({ state }) => state === "active").length ?? Infinity;
    return active >= parseScheme(this.#options.schemes.full).totalBlocks;
  }

  #enter(state: CleanerReport["state"], options: PassOptions): void {
    this.#report.state = state;
    options.onProgress?.(this.report());
  }

  async #survey(options: PassOptions): Promise<Survey> {
    this.#enter("surveying", options);
    const { namespace, schemes, clock } = this.#options;
    const factor = parseScheme(schemes.full).storageFactor;
    const settled = options.thorough ? Infinity : this.#settledBelow();
    const costs: StripeCost[] = [];
    let last: StripeId | 0 = 0;
    let storedBytes = 0;
    let neededBytes = 0;
    for (;;) {
      options.signal?.throwIfAborted();
      const page = await namespace.stripes.list(last, STRIPES_PER_FETCH);
      if (page.length === 0) break;
      last = page[page.length - 1].id;
      for (const { id, live, dataBytes, blockBytes, disks } of page) {
        if (live === 0) continue;
        const stored = blockBytes * disks.length;
        const liveBytes = Math.min(live, dataBytes);
        storedBytes += stored;
        neededBytes += liveBytes * factor;
        if (id <= settled) costs.push({ id, stored, liveBytes, needed: liveBytes * factor });
      }
    }
    this.#seen.push({ at: clock.nowMs(), last });
    Object.assign(this.#report, { storedBytes, neededBytes: Math.round(neededBytes) });
    return { costs, storedBytes, neededBytes, settled };
  }

  /** The highest stripe that was there SETTLED_AFTER_MS ago, by earlier surveys. */
  #settledBelow(): number {
    const before = this.#options.clock.nowMs() - SETTLED_AFTER_MS;
    const old = this.#seen.findLastIndex(({ at }) => at <= before);
    if (old < 0) return 0;
    this.#seen = this.#seen.slice(old);
    return this.#seen[0].last;
  }

  async #move(chosen: ReadonlySet<StripeId>, survey: Survey, options: PassOptions): Promise<void> {
    this.#enter("moving", options);
    const { namespace, clock } = this.#options;
    this.#walkedAt = clock.nowMs();
    let batch = new Batch();
    for (let cursor: string | null = null; ;) {
      options.signal?.throwIfAborted();
      const { windows, next } = await namespace.relocation.windows(cursor);
      for (const window of windows) {
        for (const extent of this.#wanted(window, chosen, survey)) {
          for (let rest: Extent | null = extent; rest !== null;) {
            rest = batch.add(window.inode, rest);
            if (!batch.full) continue;
            await this.#moveBatch(batch, options);
            batch = new Batch();
          }
        }
      }
      if (next === null) break;
      cursor = next;
    }
    if (batch.bytes > 0 && this.#worthMoving(batch, survey)) await this.#moveBatch(batch, options);
  }

  /** Extents of the window that are to be moved: of chosen stripes, and all data of a window that is scattered. */
  #wanted({ extents }: FileWindow, chosen: ReadonlySet<StripeId>, { settled }: Survey): Extent[] {
    const data = extents.filter(({ stripe, inline }) => stripe !== undefined || inline !== undefined);
    const movable = data.filter(({ stripe }) => stripe === undefined || stripe <= settled);
    if (isScattered(movable)) return movable;
    return movable.filter(({ stripe }) => stripe !== undefined && chosen.has(stripe));
  }

  /** The last stripe of a pass is not full. Where it would be tiny, it pays only if it is much smaller than what it replaces. */
  #worthMoving(batch: Batch, { costs }: Survey): boolean {
    if (batch.bytes >= CODED_FROM_BYTES) return true;
    const copies = parseScheme(this.#options.schemes.small).storageFactor;
    const touched = new Map<StripeId, number>();
    for (const { from, length } of batch.items)
      if ("stripe" in from) touched.set(from.stripe, (touched.get(from.stripe) ?? 0) + length);
    let freed = 0;
    for (const { id, stored, liveBytes } of costs) if ((touched.get(id) ?? 0) >= liveBytes) freed += stored;
    return freed >= 2 * batch.bytes * copies;
  }

  async #moveBatch(batch: Batch, options: PassOptions): Promise<void> {
    options.signal?.throwIfAborted();
    await this.#throttle.spend(batch.bytes);
    const moved = await this.#options.mover.move(batch);
    this.#report.movedBytes += moved;
    this.#report.passMovedBytes += moved;
    options.onProgress?.(this.report());
  }

  /** Has each disk rewrite its segment files that are mostly dead. */
  async #compact(options: PassOptions): Promise<void> {
    const { blocks } = this.#options;
    if (blocks?.compact === undefined) return;
    if (options.thorough) await this.#waitForRemovals(options);
    this.#enter("compacting", options);
    for (const { id, state } of blocks.disks()) {
      if (state === "failed") continue;
      await this.#compactDisk(blocks, id, options).catch((error: unknown) => {
        options.signal?.throwIfAborted();
        // A disk that is failing keeps nobody from cleaning the others.
        this.#report.error = `compacting disk ${id}: ${(error as Error).message}`;
        this.#options.trace?.(`cleaner: ${this.#report.error}`);
      });
    }
  }

  async #compactDisk(blocks: BlockClient, disk: DiskId, { thorough, signal }: PassOptions): Promise<void> {
    const below = thorough ? COMPACT_BELOW_THOROUGH : COMPACT_BELOW;
    for (let more = true; more;) {
      signal?.throwIfAborted();
      const step = await blocks.compact!(disk, { below, thorough });
      this.#report.compactedBytes += step.movedBytes;
      await this.#throttle.spend(step.movedBytes);
      more = step.more;
    }
  }

  async #waitForRemovals(options: PassOptions): Promise<void> {
    this.#enter("waiting", options);
    const until = this.#options.clock.nowMs() + REMOVAL_WAIT_MS;
    while (this.#options.namespace.status().deadStripes > 0 && this.#options.clock.nowMs() < until) {
      options.signal?.throwIfAborted();
      await new Promise<void>((resolve) => this.#options.clock.after(100, resolve));
    }
  }
}

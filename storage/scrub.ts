// Walks all blocks of a disk slowly and checks each one, past the page cache. Resumable: a walk that ended at a block
// goes on behind it. Knows nothing of repair; the caller is told what is damaged.
import { textOf } from "./block-errors.ts";
import type { Clock } from "./clock.ts";
import type { BlockId, BlockInfo, Blocks } from "./blocks.ts";

export interface ScrubOptions {
  /** Bytes of blocks read per second, on average. Infinity: as fast as the disk gives them. */
  rateBytesPerSecond: number;
  clock: Clock;
  /** Told of each block that is not good: damaged, or unreadable (then with the error). Awaited, so repair can hold the walk back. */
  onDamage(block: BlockInfo, state: "damaged" | "unreadable", error?: unknown): void | Promise<void>;
  /** Ends the walk after the block at hand. */
  signal?: AbortSignal;
  /** Go on behind this block. */
  from?: BlockId | null;
}

export interface ScrubProgress {
  /** The last block that was checked: `from` of a walk that goes on here. */
  at: BlockId;
  blocks: number;
  bytes: number;
  damaged: number;
}

const LIST_BLOCKS = 256;
/** A walk that was held up does not catch up with a burst longer than this. */
const BURST_MS = 1000;

/** Progress after each group of blocks; ends when all blocks were checked or the signal is aborted. Blocks stored or deleted meanwhile may be passed by. Errors of list() come through. */
export async function* scrubDisk(blocks: Pick<Blocks, "list" | "verify">, options: ScrubOptions): AsyncGenerator<ScrubProgress> {
  const { rateBytesPerSecond, clock, onDamage, signal } = options;
  const progress = { blocks: 0, bytes: 0, damaged: 0 };
  let after = options.from ?? null;
  let due = clock.nowMs();
  for (;;) {
    const found = await blocks.list(after, LIST_BLOCKS);
    for (const block of found) {
      if (signal?.aborted) {
        if (after !== null) yield { at: after, ...progress };
        return;
      }
      const state = await stateOf(blocks, block);
      if (state.state !== "good" && state.state !== "missing") {
        progress.damaged++;
        await onDamage(block, state.state, state.error);
      }
      after = { stripe: block.stripe, index: block.index };
      progress.blocks++;
      progress.bytes += block.bytes;
      due = Math.max(due, clock.nowMs() - BURST_MS) + (block.bytes / rateBytesPerSecond) * 1000;
      const wait = due - clock.nowMs();
      if (wait > 0) await pause(clock, wait, signal);
    }
    if (found.length === 0) return;
    yield { at: after!, ...progress };
  }
}

/** Ends early when the signal is aborted. */
function pause(clock: Clock, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(waitMs, end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}

interface ScrubState {
  state: "good" | "missing" | "damaged" | "unreadable";
  error?: unknown;
}

async function stateOf(blocks: Pick<Blocks, "verify">, block: BlockInfo): Promise<ScrubState> {
  try {
    return { state: await blocks.verify(block) };
  } catch (error) {
    return {
      state: "unreadable",
      error: new Error(`scrub block ${block.index} of stripe ${block.stripe}: ${textOf(error)}`, { cause: error }),
    };
  }
}

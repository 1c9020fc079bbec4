// Runs seed after seed on one store until the time is over or a difference shows, and makes what differs small.

import { compileProbe, Probe } from "../posix/probe.ts";
import { packageRoot } from "../posix/table.ts";
import { fewest } from "../fixture/fewest.ts";
import { generateSteps } from "./generate.ts";
import { Rig, StoreFailure } from "./rig.ts";
import { type Difference, Run } from "./run.ts";
import type { Offers } from "./scene.ts";

/** Shorter lists of steps tried, and how long at most. */
const ATTEMPTS_MAX = 400;
const SHRINK_LIMIT_MS = 15 * 60_000;
/** A list that fails now and then only is tried so often. */
const TRIES = 3;

/** A seed whose run differed. */
export interface Finding {
  readonly seed: number | null;
  readonly text: string;
  /** As few as could be found; all, where it did not show again. */
  readonly steps: readonly string[];
  readonly shownAgain: boolean;
}

export interface Progress {
  readonly seed: number | null;
  readonly runs: number;
  readonly operations: number;
  /** What goes on beside the run of a seed. */
  readonly note?: string;
}

/** Who is told how it goes on. */
export interface Watcher {
  update(progress: Progress): void;
  say(text: string): void;
}

export interface Plan {
  readonly firstSeed: number;
  /** Steps of one run. */
  readonly steps: number;
  readonly runs: number;
  readonly minutes: number;
  readonly shrink: boolean;
}

export class Interrupted extends Error {}

/** A store and ext4 that take one run after the other. */
export class Campaign {
  readonly #program: string;
  readonly #signal: AbortSignal;
  readonly #watcher: Watcher;
  #rig: Rig | null = null;
  #offers: Offers | null = null;
  #seed: number | null = null;
  #ending: Promise<void> | null = null;
  #runs = 0;
  #operations = 0;
  #refused = 0;

  constructor(signal: AbortSignal, watcher: Watcher = { update: () => {}, say: () => {} }) {
    this.#program = compileProbe(packageRoot());
    this.#signal = signal;
    // What hangs in the kernel ends with its mount.
    signal.addEventListener("abort", () => void this.destroy().catch(() => {}), { once: true });
    this.#watcher = watcher;
  }

  get runs(): number {
    return this.#runs;
  }

  get operations(): number {
    return this.#operations;
  }

  /** How many of the operations both sides refused. */
  get refused(): number {
    return this.#refused;
  }

  get seed(): number | null {
    return this.#seed;
  }

  /** Runs the seeds of the plan, to the first whose run differs. */
  async seeds({ firstSeed, steps, runs, minutes, shrink }: Plan): Promise<Finding | null> {
    const until = performance.now() + minutes * 60_000;
    for (let seed = firstSeed; seed < firstSeed + runs && performance.now() < until; seed++) {
      this.#seed = seed;
      await this.#freshRig(false);
      const finding = await this.find(generateSteps(seed, steps, this.#offers!), shrink);
      if (finding) return finding;
    }
    return null;
  }

  /** Carries out steps; where they differ, finds fewer that do. */
  async find(steps: readonly string[], shrink: boolean): Promise<Finding | null> {
    await this.#freshRig(false);
    const difference = await this.#try(steps);
    if (!difference) return null;
    const untilThere = steps.slice(0, difference.step + 1);
    if (!shrink) return { seed: this.#seed, text: difference.text, steps: untilThere, shownAgain: false };
    this.#watcher.say(`a difference, after ${untilThere.length} steps: ${difference.text}`);
    return this.#shrink(untilThere, difference.text);
  }

  async #shrink(steps: readonly string[], text: string): Promise<Finding> {
    let hits = 0;
    for (let i = 0; i < TRIES; i++) hits += (await this.#try(steps, `shows it again ${hits} of ${i} times`)) ? 1 : 0;
    if (hits === 0) return { seed: this.#seed, text, steps, shownAgain: false };
    const until = performance.now() + SHRINK_LIMIT_MS;
    const tries = hits === TRIES ? 1 : TRIES;
    const fails = async (some: readonly string[]): Promise<readonly string[] | null> => {
      for (let i = 0; i < tries && performance.now() < until; i++) {
        const difference = await this.#try(some, `${some.length} steps are tried`);
        if (!difference) continue;
        text = difference.text;
        return some.slice(0, difference.step + 1);
      }
      return null;
    };
    return { seed: this.#seed, steps: await fewest(steps, fails, ATTEMPTS_MAX), text, shownAgain: true };
  }

  async #try(steps: readonly string[], note?: string): Promise<Difference | null> {
    await this.#freshRig(false);
    const rig = this.#rig!;
    try {
      const difference = await this.#attempt(rig, steps, note);
      if (difference?.severe) await this.#freshRig(true);
      return difference;
    } finally {
      if (this.#signal.aborted) throw new Interrupted();
    }
  }

  async #attempt(rig: Rig, steps: readonly string[], note?: string): Promise<Difference | null> {
    const checked = async (action: () => Promise<void>): Promise<Difference | null> => {
      try {
        return (await action(), null);
      } catch (error) {
        if (error instanceof StoreFailure) return { step: steps.length - 1, text: error.message, severe: true };
        throw error;
      }
    };
    const directory = rig.nextDirectory();
    const refused = await checked(() => rig.makeDirectory(directory));
    if (refused) return refused;
    const run = new Run({ rig, program: this.#program, directory });
    const before = this.#operations;
    const difference = await run.steps(steps, () => {
      if (this.#signal.aborted) throw new Interrupted();
      this.#operations = before + run.operations;
      this.#watcher.update({ seed: this.#seed, runs: this.#runs, operations: this.#operations, note });
    });
    this.#runs++;
    this.#operations = before + run.operations;
    this.#refused += run.refused;
    if (difference?.severe) return difference;
    const removed = await checked(() => rig.removeDirectory(directory));
    return difference ?? removed ?? checked(() => rig.fsck());
  }

  /** A store to work on; a new one after a run that may have left it unusable. */
  async #freshRig(anew: boolean): Promise<void> {
    if (anew) await this.destroy();
    if (this.#signal.aborted) throw new Interrupted();
    if (this.#rig) return;
    this.#rig = new Rig("fuzz");
    await this.#rig.start();
    this.#offers ??= await this.#look(this.#rig);
  }

  async #look(rig: Rig): Promise<Offers> {
    const probe = new Probe(this.#program, rig.reference);
    await probe.perform(["create", "look"]);
    const [reply] = await probe.perform(["fill-xattr", "look", "user.large", "65536", "1"]);
    await probe.perform(["unlink", "look"]);
    await probe.end();
    return { root: process.getuid?.() === 0, largeXattrs: reply === "ok" };
  }

  /** Ends the store and removes everything. */
  async destroy(): Promise<void> {
    const rig = this.#rig;
    this.#rig = null;
    if (rig) this.#ending = rig.destroy();
    await this.#ending;
  }
}

// `cairn scrub` in the daemon: reads and checks every block of every stripe, and mends what is not good.

import type { Repairer } from "../replication/repair.ts";
import type { StripeDirectory } from "../replication/stripe-directory.ts";
import type { Stripe } from "../replication/stripe.ts";
import { countStripes } from "./reports.ts";
import type { RunningStore } from "./running-store.ts";
import type { TaskDescription, TaskProgress } from "./tasks.ts";

const STRIPES_PER_FETCH = 64;
const STRIPES_AT_ONCE = 4;

/** Counts of the finished task: `stripes`, of these `damaged`, and of these `repaired` and `unrepaired`. */
export function scrubTask(
  store: RunningStore,
  directory: StripeDirectory,
  repairer: Repairer,
  verifyOnly: boolean,
): TaskDescription {
  return {
    kind: "scrub",
    subject: verifyOnly ? "verify" : "repair",
    title: verifyOnly ? "verify" : "scrub",
    unit: "stripes",
    run: (progress) => new Scrub(store, directory, repairer.at(progress.pace), verifyOnly, progress).run(),
  };
}

class Scrub {
  readonly #store: RunningStore;
  readonly #directory: StripeDirectory;
  readonly #repairer: Repairer;
  readonly #verifyOnly: boolean;
  readonly #progress: TaskProgress;

  constructor(store: RunningStore, directory: StripeDirectory, repairer: Repairer, verifyOnly: boolean, progress: TaskProgress) {
    this.#store = store;
    this.#directory = directory;
    this.#repairer = repairer;
    this.#verifyOnly = verifyOnly;
    this.#progress = progress;
  }

  async run(): Promise<void> {
    const progress = this.#progress;
    const total = await countStripes(this.#store);
    let done = 0;
    progress.advance(0, total);
    for (let after = 0, more = true; more;) {
      const stripes = await this.#directory.stripes(after, STRIPES_PER_FETCH);
      for (let start = 0; start < stripes.length; start += STRIPES_AT_ONCE) {
        progress.signal.throwIfAborted();
        const step = stripes.slice(start, start + STRIPES_AT_ONCE);
        await Promise.all(step.map((stripe) => this.#visit(stripe)));
        done += step.length;
        progress.advance(done, Math.max(total, done));
      }
      more = stripes.length > 0;
      if (more) after = stripes.at(-1)!.id;
    }
  }

  async #visit(stripe: Stripe): Promise<void> {
    const progress = this.#progress;
    progress.count("stripes");
    try {
      if (this.#verifyOnly) {
        const states = await Promise.all(stripe.disks.map((_, index) => this.#repairer.inspect(stripe, index, true)));
        const bad = states.flatMap((state, index) =>
          state === "good" || state === "leaving" ? [] : [`block ${index} on disk ${stripe.disks[index]} is ${state}`],
        );
        // It may have died, or its blocks have moved, while they were looked at.
        if (bad.length === 0 || !(await this.#directory.commit(stripe, stripe))) return;
        progress.count("damaged");
        progress.count("unrepaired");
        progress.finding(`stripe ${stripe.id}: ${bad.join("; ")}`);
        return;
      }
      const { mended, unplaced } = await this.#repairer.repairStripe(stripe, { verify: true });
      if (mended.length + unplaced.length > 0) progress.count("damaged");
      if (unplaced.length > 0) {
        progress.count("unrepaired");
        progress.finding(
          `stripe ${stripe.id}: no disk could take ${unplaced.length === 1 ? "block" : "blocks"} ${unplaced.join(", ")}`,
        );
      } else if (mended.length > 0) progress.count("repaired");
    } catch (error) {
      progress.count("damaged");
      progress.count("unrepaired");
      progress.finding(`stripe ${stripe.id}: ${(error as Error).message}`);
    }
  }
}

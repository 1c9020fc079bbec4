// `cairn fsck` in the daemon: the namespace against itself, stripes against disks, disks against stripes. It runs beside
// ordinary work: the namespace is checked on a snapshot, and what looks wrong with blocks is looked at twice.

import type { Mending } from "../fs/namespace/check.ts";
import type { StripeId } from "../fs/types.ts";
import {
  type AuditDirectory,
  type AuditOptions,
  auditDisk,
  auditStripes,
  removeStray,
  type StrayBlock,
  type StripeProblem,
} from "../replication/audit.ts";
import type { Repairer } from "../replication/repair.ts";
import { systemClock } from "../storage/clock.ts";
import { countStripes } from "./reports.ts";
import type { RunningStore } from "./running-store.ts";
import type { TaskDescription, TaskProgress } from "./tasks.ts";

type Problem = StripeProblem | StrayBlock;

export interface FsckOptions {
  /** Read and check every block. */
  verify: boolean;
  /** Mend what can be mended without losing anything. */
  repair: boolean;
}

/** Counts of the finished task: `stripes` and `blocks` seen, `problems`, of these `repaired`, and one count for each kind of problem. */
export function fsckTask(store: RunningStore, repairer: Repairer, options: FsckOptions): TaskDescription {
  const title = `fsck${options.verify ? " --verify" : ""}${options.repair ? " --repair" : ""}`;
  const subject = title;
  return { kind: "fsck", subject, title, unit: "blocks", run: (progress) => new Fsck(store, repairer, options, progress).run() };
}

class Fsck {
  readonly #store: RunningStore;
  readonly #repairer: Repairer;
  readonly #options: FsckOptions;
  readonly #progress: TaskProgress;
  readonly #audit: AuditOptions;
  #done = 0;
  #total = 0;

  constructor(store: RunningStore, repairer: Repairer, options: FsckOptions, progress: TaskProgress) {
    this.#store = store;
    this.#repairer = repairer.at(progress.pace);
    this.#options = options;
    this.#progress = progress;
    this.#audit = {
      client: store.blocks,
      directory: auditDirectory(store),
      repairer: this.#repairer,
      clock: systemClock,
      verify: options.verify,
      onBlocks: (count) => this.#advance(count),
      signal: progress.signal,
    };
  }

  async run(): Promise<void> {
    const disks = this.#store.blocks.disks().filter(({ state }) => state !== "failed");
    const stored = disks.reduce((sum, { space }) => sum + space.blocks, 0);
    this.#total = Math.max(1, 2 * stored);
    this.#progress.count("problems", 0);
    this.#progress.count("repaired", 0);
    this.#progress.count("stripes", await countStripes(this.#store));
    await this.#checkNamespace();
    for await (const problem of auditStripes(this.#audit)) await this.#handle(problem);
    const before = this.#done;
    for (const { id } of disks) for await (const problem of auditDisk(this.#audit, id)) await this.#handle(problem);
    this.#progress.count("blocks", this.#done - before);
    this.#progress.advance(this.#total, this.#total);
  }

  #advance(count: number): void {
    this.#done += count;
    this.#total = Math.max(this.#total, this.#done);
    this.#progress.advance(this.#done, this.#total);
  }

  async #checkNamespace(): Promise<void> {
    const mendings: Mending[] = [];
    for await (const { kind, text, mending } of this.#store.namespace.check()) {
      this.#progress.signal.throwIfAborted();
      const mendable = mending !== undefined && this.#options.repair;
      const repaired = mendable && (await this.#store.namespace.mend(mending));
      if (repaired) mendings.push(mending);
      this.#report(`namespace-${kind}`, text, repaired);
    }
    if (mendings.length > 0) await this.#store.namespace.sync();
  }

  async #handle(problem: Problem): Promise<void> {
    const repaired = this.#options.repair && (await this.#mend(problem).catch((error: unknown) => this.#cannot(problem, error)));
    this.#report(problem.kind, problem.text, repaired);
  }

  #cannot({ text }: Problem, error: unknown): boolean {
    this.#progress.finding(`cannot repair ${text}: ${(error as Error).message}`);
    return false;
  }

  async #mend(problem: Problem): Promise<boolean> {
    if (!("stripe" in problem)) return removeStray(this.#audit, problem);
    const { stripe } = problem;
    const { mended, unplaced, superseded } = await this.#repairer.repairStripe(stripe, { verify: this.#options.verify });
    return !superseded && mended.length > 0 && unplaced.length === 0;
  }

  #report(kind: string, text: string, repaired: boolean): void {
    this.#progress.count("problems");
    this.#progress.count(kind);
    if (repaired) this.#progress.count("repaired");
    this.#progress.finding(`${kind}: ${text}${repaired ? " (repaired)" : ""}`);
  }
}

function auditDirectory({ namespace }: RunningStore): AuditDirectory {
  const { stripes } = namespace;
  return {
    getAll: (ids) => stripes.getAll(ids as readonly StripeId[]),
    stripes: (after, limit) => stripes.list(after as StripeId, limit),
    isReserved: (id) => stripes.isReserved(id as StripeId),
  };
}

// `cairn fsck` in the daemon: the namespace against itself, stripes against disks, disks against stripes. It runs beside
// ordinary work: the namespace is checked on a snapshot, and what looks wrong with blocks is looked at twice.

import type { Problem as NamespaceProblem } from "../fs/namespace/check-walk.ts";
import type { LostFile, Range } from "../fs/namespace/lost-files.ts";
import type { InodeId, StripeId } from "../fs/types.ts";
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
import { lostRanges } from "../replication/stripe-layout.ts";
import { STRIPE_DATA_MAX_BYTES } from "../replication/stripe.ts";
import { systemClock } from "../storage/clock.ts";
import type { LostFileReport, ProblemReport } from "./api.ts";
import { countStripes } from "./reports.ts";
import type { RunningStore } from "./running-store.ts";
import { PROBLEMS_MAX, type TaskDescription, type TaskProgress } from "./tasks.ts";

type BlockProblem = StripeProblem | StrayBlock;

export interface FsckOptions {
  /** Read and check every block. */
  verify: boolean;
  /** Mend what can be mended without losing anything. */
  repair: boolean;
}

/** Lost stripes and inodes whose files are looked for. */
const LOST_MAX = 10_000;

/** Counts of the finished task: `stripes` and `blocks` seen, `problems`, of these `repaired`, one count for each kind of problem, and `lostFiles`. */
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
  readonly #lostStripes = new Map<StripeId, readonly Range[]>();
  readonly #lostInodes = new Set<InodeId>();
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
    if (this.#lostStripes.size + this.#lostInodes.size > 0) await this.#nameLostFiles();
    this.#progress.advance(this.#total, this.#total);
  }

  #advance(count: number): void {
    this.#done += count;
    this.#total = Math.max(this.#total, this.#done);
    this.#progress.advance(this.#done, this.#total);
  }

  async #checkNamespace(): Promise<void> {
    const { namespace } = this.#store;
    let mended = false;
    for await (const problem of namespace.check()) {
      this.#progress.signal.throwIfAborted();
      const repaired = this.#options.repair && (await this.#mendRecord(problem));
      mended ||= repaired;
      const { kind, text, inode, stripe } = problem;
      this.#report({ kind: `namespace-${kind}`, text, repaired, ...about({ inode, stripe }) });
      if (problem.loses === "stripe") this.#lose(stripe!, [{ from: 0, to: STRIPE_DATA_MAX_BYTES }]);
      if (problem.loses === "inode" && this.#lostInodes.size < LOST_MAX) this.#lostInodes.add(inode!);
    }
    if (!mended) return;
    await namespace.sync();
    // The number of inodes is kept with the table and not in the log.
    await namespace.apply();
  }

  async #mendRecord({ mending, text }: NamespaceProblem): Promise<boolean> {
    if (mending === undefined) return false;
    try {
      return await this.#store.namespace.mend(mending);
    } catch (error) {
      return this.#cannot(text, error);
    }
  }

  async #handle(problem: BlockProblem): Promise<void> {
    const { text, kind } = problem;
    const repaired = this.#options.repair && (await this.#mend(problem).catch((error: unknown) => this.#cannot(text, error)));
    if ("stripe" in problem) {
      const { stripe, bad } = problem;
      this.#report({ kind, text, repaired, ...about({ stripe: stripe.id, block: bad[0], disk: stripe.disks[bad[0]] }) });
      if (kind === "unreadable") this.#lose(stripe.id as StripeId, lostRanges(stripe, bad));
    } else this.#report({ kind, text, repaired, ...about({ ...problem.id, block: problem.id.index, disk: problem.disk }) });
  }

  #cannot(text: string, error: unknown): boolean {
    this.#progress.finding(`cannot repair ${text}: ${(error as Error).message}`);
    return false;
  }

  async #mend(problem: BlockProblem): Promise<boolean> {
    if (!("stripe" in problem)) return removeStray(this.#audit, problem);
    const { stripe } = problem;
    const { mended, unplaced, superseded } = await this.#repairer.repairStripe(stripe, { verify: this.#options.verify });
    return !superseded && mended.length > 0 && unplaced.length === 0;
  }

  #report(problem: ProblemReport): void {
    const { kind, text, repaired } = problem;
    this.#progress.count("problems");
    this.#progress.count(kind);
    if (repaired) this.#progress.count("repaired");
    this.#progress.problem(problem);
    this.#progress.finding(`${kind}: ${text}${repaired ? " (repaired)" : ""}`);
  }

  #lose(stripe: StripeId, ranges: readonly Range[]): void {
    if (this.#lostStripes.size < LOST_MAX) this.#lostStripes.set(stripe, ranges);
  }

  async #nameLostFiles(): Promise<void> {
    const files = await this.#store.namespace.lostFiles({ stripes: this.#lostStripes, inodes: this.#lostInodes });
    this.#progress.count("lostFiles", files.length);
    for (const file of files.slice(0, PROBLEMS_MAX)) {
      const report = reportLost(file);
      this.#progress.lostFile(report);
      this.#progress.finding(describeLost(report));
    }
  }
}

function about(
  subject: Partial<Record<"inode" | "stripe" | "block" | "disk", number>>,
): Omit<ProblemReport, "kind" | "text" | "repaired"> {
  const { inode = null, stripe = null, block = null, disk = null } = subject;
  return { inode, stripe, block, disk };
}

function reportLost({ inode, paths, ranges }: LostFile): LostFileReport {
  return {
    inode,
    paths: paths.map((path) => Buffer.from(path, "latin1").toString("utf8")),
    ranges: ranges.map(({ from, to }) => ({ offset: from, length: to - from })),
  };
}

/** "lost: /a/b (inode 5): bytes 0 to 99, 200 to 299", last bytes included; without ranges, all of the file. */
function describeLost({ inode, paths, ranges }: LostFileReport): string {
  const bytes = ranges.map(({ offset, length }) => `${offset} to ${offset + length - 1}`).join(", ");
  const name = paths.length === 0 ? `inode ${inode}, which has no name` : `${paths.join(" = ")} (inode ${inode})`;
  return `lost: ${name}: ${bytes === "" ? "its record or one of its extents" : `bytes ${bytes}`}`;
}

function auditDirectory({ namespace }: RunningStore): AuditDirectory {
  const { stripes } = namespace;
  return {
    getAll: (ids) => stripes.getAll(ids as readonly StripeId[]),
    stripes: (after, limit) => stripes.list(after as StripeId, limit),
    isReserved: (id) => stripes.isReserved(id as StripeId),
  };
}

// `cairn fsck` in the daemon: the namespace against itself, stripes against disks, disks against stripes. It runs beside
// ordinary work: the namespace is checked on a snapshot, and what looks wrong with blocks is looked at twice.

import type { Problem as NamespaceProblem } from "../fs/namespace/check-walk.ts";
import { PROBLEMS_MAX as NAMESPACE_PROBLEMS_MAX } from "../fs/namespace/check.ts";
import { TAG_EXTENT } from "../fs/namespace/keys.ts";
import type { Mending } from "../fs/namespace/mend.ts";
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
import { findStripe } from "../replication/find-stripe.ts";
import type { Repairer } from "../replication/repair.ts";
import { lostRanges } from "../replication/stripe-layout.ts";
import { STRIPE_DATA_MAX_BYTES } from "../replication/stripe.ts";
import { systemClock } from "../storage/clock.ts";
import type { LostFileReport, ProblemReport } from "./api.ts";
import { countStripes } from "./reports.ts";
import { type RunningStore, schemesOf } from "./running-store.ts";
import { PROBLEMS_MAX, type TaskDescription, type TaskProgress } from "./tasks.ts";

type BlockProblem = StripeProblem | StrayBlock;

export interface FsckOptions {
  /** Read and check every block. */
  verify: boolean;
  /** Mend what can be mended without losing what could be live. */
  repair: boolean;
}

/** A damaged record hides what is below it: an inode its names and extents, these nothing more. */
const PASSES_MAX = 3;
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
  /** Stripes with extents that have no record, or a damaged one: their blocks are theirs. */
  readonly #unrecorded = new Set<number>();
  #extentsAreMissing = false;
  #allIsKnown = true;
  #done = 0;
  #total = 0;

  constructor(store: RunningStore, repairer: Repairer, options: FsckOptions, progress: TaskProgress) {
    this.#store = store;
    this.#repairer = repairer.at(progress.pace);
    this.#options = options;
    this.#progress = progress;
    this.#audit = {
      client: store.blocks,
      directory: auditDirectory(store, this.#unrecorded),
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
    await this.#checkNamespace();
    this.#progress.count("stripes", await countStripes(this.#store));
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

  /** Mending a damaged record leaves what only another check finds. What cannot be mended is told of the last one. */
  async #checkNamespace(): Promise<void> {
    for (let pass = 1; ; pass++) {
      const { mended, uncovers, remaining } = await this.#checkOnce();
      if (mended) {
        await this.#store.namespace.sync();
        // The number of inodes is kept with the table and not in the log.
        await this.#store.namespace.apply();
      }
      if (uncovers && pass < PASSES_MAX) continue;
      for (const problem of remaining) this.#reportRecord(problem, false);
      return;
    }
  }

  /** `uncovers`: what was mended may have been in the way of finding more. */
  async #checkOnce(): Promise<{ mended: boolean; uncovers: boolean; remaining: NamespaceProblem[] }> {
    const remaining: NamespaceProblem[] = [];
    let [mended, uncovers, found] = [false, false, 0];
    for await (const problem of this.#store.namespace.check({ extentsAreMissing: this.#extentsAreMissing })) {
      this.#progress.signal.throwIfAborted();
      found++;
      if (!this.#options.repair || !(await this.#mendRecord(problem))) {
        remaining.push(problem);
        continue;
      }
      mended = true;
      this.#reportRecord(problem, true);
      if (problem.kind !== "damaged") continue;
      uncovers = true;
      if (problem.mending?.kind === "damaged" && problem.mending.key[0] === TAG_EXTENT) this.#extentsAreMissing = true;
    }
    this.#allIsKnown = found < NAMESPACE_PROBLEMS_MAX;
    return { mended, uncovers, remaining };
  }

  #reportRecord({ kind, text, inode, stripe, loses }: NamespaceProblem, repaired: boolean): void {
    this.#report({ kind: `namespace-${kind}`, text, repaired, ...about({ inode, stripe }) });
    if (stripe !== undefined && !repaired && (kind === "damaged" || loses === "stripe")) this.#unrecorded.add(stripe);
    if (loses === "stripe" && !repaired) this.#lose(stripe!, [{ from: 0, to: STRIPE_DATA_MAX_BYTES }]);
    if (loses === "inode" && this.#lostInodes.size < LOST_MAX) this.#lostInodes.add(inode!);
  }

  async #mendRecord({ mending, text }: NamespaceProblem): Promise<boolean> {
    if (mending === undefined) return false;
    const { namespace } = this.#store;
    try {
      return await namespace.mend(mending.kind === "stripe" ? await this.#lookForStripe(mending) : mending);
    } catch (error) {
      return this.#cannot(text, error);
    }
  }

  /** By what is on the disks. */
  async #lookForStripe(mending: Mending & { kind: "stripe" }): Promise<Mending> {
    const { full, small } = schemesOf(this.#store.description.scheme);
    const found = await findStripe(this.#store.blocks, mending.stripe, mending.end, [full, small]);
    return { ...mending, found: found ?? undefined };
  }

  async #handle(problem: BlockProblem): Promise<void> {
    const { text, kind } = problem;
    // The owner may be among the records that the check did not come to.
    const isSafe = "stripe" in problem || this.#allIsKnown;
    const repaired =
      this.#options.repair && isSafe && (await this.#mend(problem).catch((error: unknown) => this.#cannot(text, error)));
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

/** `unrecorded`: stripes whose records cannot be asked for. */
function auditDirectory({ namespace }: RunningStore, unrecorded: ReadonlySet<number>): AuditDirectory {
  const { stripes } = namespace;
  return {
    getAll: (ids) => stripes.getAll(ids.filter((id) => !unrecorded.has(id)) as StripeId[]),
    stripes: (after, limit) => stripes.list(after as StripeId, limit),
    isReserved: (id) => unrecorded.has(id) || stripes.isReserved(id as StripeId),
  };
}

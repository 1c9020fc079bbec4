// Long work on disks: scrub, removal, replacement. The state in store.json says what is wanted and is written first;
// the work brings it about and may be interrupted anywhere; the final state is written last (admin/DESIGN.md).

import fs from "node:fs/promises";
import path from "node:path";
import { parseScheme } from "../coding/scheme.ts";
import type { StripeId } from "../fs/types.ts";
import { complete, evacuate, type WalkProgress } from "../replication/drain.ts";
import { Repairer } from "../replication/repair.ts";
import type { StripeDirectory } from "../replication/stripe-directory.ts";
import type { DiskId } from "../replication/stripe.ts";
import { Throttle } from "../replication/throttle.ts";
import { type Clock, systemClock } from "../storage/clock.ts";
import { DISK_IDENTITY_FILE } from "../storage/disk-identity.ts";
import type { DiskReport, TaskReport } from "./api.ts";
import type { TaskRequest } from "./api-server.ts";
import { createDisk } from "./disks.ts";
import { AdminError } from "./errors.ts";
import { fsckTask } from "./fsck-task.ts";
import { reportDisks } from "./reports.ts";
import { openLocalDisk, type RunningStore } from "./running-store.ts";
import { scrubTask } from "./scrub-task.ts";
import { diskDirectory, repairRateOf, type StoreDisk, writeStore } from "./store-file.ts";
import { type TaskDescription, type TaskProgress, Tasks } from "./tasks.ts";

type RepairRequest = Extract<TaskRequest, { kind: "scrub" | "remove-disk" | "replace-disk" }>;

export class DiskTasks {
  readonly #store: RunningStore;
  readonly #tasks: Tasks;
  readonly #directory: StripeDirectory;
  readonly #repairer: Repairer;

  constructor(store: RunningStore, clock: Clock = systemClock) {
    this.#store = store;
    this.#directory = stripeDirectoryOf(store);
    const throttle = new Throttle(clock, repairRateOf(store.description));
    this.#tasks = new Tasks(clock, throttle);
    this.#repairer = new Repairer({ client: store.blocks, directory: this.#directory, throttle });
  }

  list(): TaskReport[] {
    return this.#tasks.list();
  }

  follow(id: number): AsyncIterable<TaskReport> {
    return this.#tasks.find(id).follow();
  }

  cancel(id: number): TaskReport {
    const task = this.#tasks.find(id);
    task.cancel();
    return task.report;
  }

  stop(): Promise<void> {
    return this.#tasks.stop();
  }

  /** Goes on with removals and replacements that an earlier daemon did not finish. */
  resume(): void {
    for (const disk of this.#store.description.disks) {
      if (disk.state === "draining") this.#tasks.start(this.#removal(disk));
      if (disk.state === "replaced") this.#tasks.start(this.#rebuild(disk));
    }
  }

  async start(request: TaskRequest): Promise<AsyncIterable<TaskReport>> {
    if (request.kind === "clean") return this.#tasks.start(this.#clean(request.rateBytesPerSecond)).follow();
    if (request.kind === "fsck") return this.#tasks.start(fsckTask(this.#store, this.#repairer, request)).follow();
    return this.#tasks.start(await this.#describe(request), request.repairBytesPerSecond).follow();
  }

  async #describe(request: RepairRequest): Promise<TaskDescription> {
    if (request.kind === "scrub") return scrubTask(this.#store, this.#directory, this.#repairer, request.verifyOnly);
    const disk = this.#find(request.disk);
    return request.kind === "remove-disk" ? this.#beginRemoval(disk) : this.#beginReplacement(disk, request.path);
  }

  async addDisk(directory: string): Promise<DiskReport> {
    const disk = await this.#newDisk(directory);
    return reportDisks(this.#store).find((report) => report.id === disk.id)!;
  }

  /** Makes, records and opens a disk. Its number was never used before. */
  async #newDisk(directory: string): Promise<StoreDisk> {
    const { description, data, trace, blocks } = this.#store;
    const relative = path.relative(data, directory);
    const disk: StoreDisk = {
      id: Math.max(...description.disks.map(({ id }) => id)) + 1,
      path: relative.startsWith("..") ? directory : relative,
      state: "active",
    };
    await createDisk(directory, description.uuid, disk.id);
    const opened = await openLocalDisk(data, description, disk, trace);
    if (!opened.blocks) throw new AdminError("refused", `the new disk in ${directory} cannot be used: ${opened.reason}`);
    await this.#write([...description.disks, disk]);
    await blocks.add(opened);
    return disk;
  }

  async #write(disks: StoreDisk[]): Promise<void> {
    const description = { ...this.#store.description, disks };
    await writeStore(this.#store.data, description);
    this.#store.description = description;
  }

  #setState(disk: StoreDisk, state: StoreDisk["state"]): Promise<void> {
    return this.#write(this.#store.description.disks.map((other) => (other.id === disk.id ? { ...other, state } : other)));
  }

  /** A disk by its number or directory. */
  #find(name: string): StoreDisk {
    const { description, data } = this.#store;
    const disks = description.disks.filter((disk) => disk.state !== "removed");
    const named = disks.filter(
      (disk) => String(disk.id) === name || disk.path === name || diskDirectory(data, disk) === path.resolve(name),
    );
    // After a replacement in place the old disk and the new one have one directory; the new one is meant.
    const disk = named.at(-1);
    if (!disk)
      throw new AdminError(
        "refused",
        `${name} is not a disk of this store (disks: ${disks.map(({ id, path: where }) => `${id} ${where}`).join(", ")})`,
      );
    return disk;
  }

  #isFailed(disk: StoreDisk): boolean {
    return this.#store.blocks.disks().find(({ id }) => id === disk.id)?.state === "failed";
  }

  async #beginRemoval(disk: StoreDisk): Promise<TaskDescription> {
    if (disk.state === "replaced")
      throw new AdminError("refused", `disk ${disk.id} is being replaced; \`cairn disk replace ${disk.id}\` shows how far it is`);
    const { description, blocks } = this.#store;
    const needed = parseScheme(description.scheme).totalBlocks;
    const remaining = blocks.disks().filter(({ id, state }) => id !== disk.id && state === "active").length;
    if (remaining < needed) {
      throw new AdminError(
        "refused",
        `disk ${disk.id} cannot be removed: ${description.scheme} needs ${needed} disks and ${remaining} working ones would be left; add one first with \`cairn disk add DIR\``,
      );
    }
    await this.#setState(disk, "draining");
    if (!this.#isFailed(disk)) blocks.setState(disk.id as DiskId, "draining");
    return this.#removal(disk);
  }

  #removal(disk: StoreDisk): TaskDescription {
    return {
      kind: "remove-disk",
      subject: String(disk.id),
      title: `remove disk ${disk.id} (${disk.path})`,
      unit: "blocks",
      run: async (progress) => {
        const last = await this.#walk(
          evacuate(this.#repairer.at(progress.pace), this.#directory, disk.id as DiskId),
          await this.#blocksOn(disk),
          "moved",
          progress,
        );
        if (last && last.failedStripes + last.unplacedBlocks > 0) {
          throw new Error(
            `${last.failedStripes} stripes could not be moved and ${last.unplacedBlocks} blocks found no other disk; free space or add a disk, then give the same command again`,
          );
        }
        await this.#forget(disk);
      },
    };
  }

  async #beginReplacement(disk: StoreDisk, directory: string | null): Promise<TaskDescription> {
    const { data, blocks } = this.#store;
    if (disk.state === "replaced") return this.#rebuild(disk);
    const old = diskDirectory(data, disk);
    const target = directory ?? old;
    if (target === old) {
      if (!this.#isFailed(disk)) {
        throw new AdminError(
          "refused",
          `disk ${disk.id} (${old}) works; to move it name a new directory: \`cairn disk replace ${disk.id} DIR\``,
        );
      }
      await blocks.release(disk.id as DiskId);
      await clearDisk(target);
    }
    await this.#newDisk(target);
    await this.#setState(disk, "replaced");
    if (!this.#isFailed(disk)) blocks.setState(disk.id as DiskId, "draining");
    return this.#rebuild(disk);
  }

  #rebuild(disk: StoreDisk): TaskDescription {
    return {
      kind: "replace-disk",
      subject: String(disk.id),
      title: `replace disk ${disk.id} (${disk.path})`,
      unit: "blocks",
      run: async (progress) => {
        const id = disk.id as DiskId;
        const repairer = this.#repairer.at(progress.pace);
        await this.#walk(evacuate(repairer, this.#directory, id), await this.#blocksOn(disk), "rebuilt", progress);
        await this.#walk(complete(repairer, this.#directory), 0, "rebuilt", progress);
        await this.#finishReplaced(progress);
      },
    };
  }

  /** Lets go of every replaced disk that no stripe names any more; while several disks are lost, the last replacement frees them all. */
  async #finishReplaced(progress: TaskProgress): Promise<void> {
    for (const disk of this.#store.description.disks.filter(({ state }) => state === "replaced")) {
      const walk = evacuate(this.#repairer.at(progress.pace), this.#directory, disk.id as DiskId);
      const left = await this.#walk(walk, 0, "rebuilt", progress);
      const remaining = await this.#blocksOn(disk);
      const text = `${remaining} stripes still lack the block that disk ${disk.id} had${left?.failed[0] ? `: ${left.failed[0].reason}` : ""}`;
      if (remaining === 0) await this.#forget(disk);
      else if (this.#othersLost(disk)) progress.finding(`${text}; they get it when the other lost disks are replaced too`);
      else throw new Error(`${text}; free space or add a disk, then give the same command again`);
    }
  }

  #othersLost(disk: StoreDisk): boolean {
    const states = new Map(this.#store.description.disks.map(({ id, state }) => [id, state]));
    return this.#store.blocks
      .disks()
      .some(({ id, state }) => id !== disk.id && (state === "failed" || states.get(id) === "replaced"));
  }

  async #forget(disk: StoreDisk): Promise<void> {
    await this.#setState(disk, "removed");
    await this.#store.blocks.remove(disk.id as DiskId);
  }

  async #blocksOn(disk: StoreDisk): Promise<number> {
    let count = 0;
    for (let after = 0, full = true; full;) {
      const page = await this.#store.namespace.stripes.listByDisk(disk.id as DiskId, after as StripeId, 1024);
      count += page.length;
      full = page.length === 1024;
      if (full) after = page[1023].id;
    }
    return count;
  }

  async #walk(
    walk: AsyncGenerator<WalkProgress>,
    total: number,
    counted: string,
    progress: TaskProgress,
  ): Promise<WalkProgress | null> {
    let last: WalkProgress | null = null;
    for await (const step of walk) {
      progress.signal.throwIfAborted();
      progress.count(counted, step.mendedBlocks - (last?.mendedBlocks ?? 0));
      for (const { stripe, reason } of step.failed) progress.finding(`stripe ${stripe}: ${reason}`);
      if (total > 0) progress.advance(Math.min(step.stripes, total), total);
      last = step;
    }
    return last;
  }

  #clean(rateBytesPerSecond: number | null): TaskDescription {
    const { cleaner } = this.#store.embedded;
    const before = cleaner.report();
    return {
      kind: "clean",
      subject: "all",
      title: "clean",
      unit: "bytes",
      run: async (progress) => {
        await cleaner.run({
          thorough: true,
          bytesPerSecond: rateBytesPerSecond ?? undefined,
          signal: progress.signal,
          onProgress: ({ passMovedBytes, passBytes }) => progress.advance(passMovedBytes, Math.max(passBytes, passMovedBytes)),
        });
        const after = cleaner.report();
        progress.count("moved", after.movedBytes - before.movedBytes);
        progress.count("compacted", after.compactedBytes - before.compactedBytes);
        progress.advance(after.passMovedBytes, after.passMovedBytes);
      },
    };
  }
}

function stripeDirectoryOf({ namespace }: RunningStore): StripeDirectory {
  return {
    stripesOn: (disk, after, limit) => namespace.stripes.listByDisk(disk, after as StripeId, limit),
    stripes: (after, limit) => namespace.stripes.list(after as StripeId, limit),
    async commit(from, to) {
      const changed = await namespace.stripes.replaceDisks(from.id as StripeId, from.disks, to.disks);
      if (changed && from.disks.some((disk, index) => disk !== to.disks[index])) await namespace.sync();
      return changed;
    },
  };
}

/** Empties the directory of a disk of ours that is lost, so that a new one can be made in it. Touches nothing else. */
async function clearDisk(directory: string): Promise<void> {
  for (const name of [DISK_IDENTITY_FILE, "segments", "index"])
    await fs.rm(path.join(directory, name), { recursive: true, force: true });
}

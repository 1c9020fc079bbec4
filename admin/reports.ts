// What `cairn status` and `cairn where` show, gathered from a running store.

import type { InodeId, StripeId } from "../fs/types.ts";
import { parseScheme } from "../coding/scheme.ts";
import { type DiskId, NO_DISK, type Stripe } from "../replication/stripe.ts";
import type { BlockReport, DiskReport, ExtentReport, MountReport, StatusReport, TaskReport, WhereReport } from "./api.ts";
import type { RunningStore } from "./running-store.ts";
import { AdminError } from "./errors.ts";
import { repairRateOf, STORE_FORMAT } from "./store-file.ts";
import { version } from "./version.ts";

/** Stripes and extents in one step of a walk. */
const PAGE = 1024;
/** `cairn where` of a file with more extents than this shows the first ones. */
const EXTENTS_MAX = 100_000;

export function reportDisks(store: RunningStore): DiskReport[] {
  const states = new Map(store.description.disks.map((disk) => [disk.id, disk.state]));
  return store.blocks.disks().map((disk) => ({
    id: disk.id,
    path: disk.path,
    state: states.get(disk.id) === "replaced" ? "replaced" : disk.state,
    reason: disk.reason ?? null,
    totalBytes: disk.space.totalBytes,
    freeBytes: disk.space.freeBytes,
    blocks: disk.space.blocks,
    blockBytes: disk.space.blockBytes,
    segments: store.blocks.counts(disk.id)?.segments ?? null,
    readErrors: disk.readErrors,
    writeErrors: disk.writeErrors,
  }));
}

/** Calls back for every stripe that has a block on one of the disks, or lacks one; each stripe once. */
async function eachStripeOn(store: RunningStore, disks: readonly DiskId[], visit: (stripe: Stripe) => void): Promise<void> {
  const seen = new Set<number>();
  for (const disk of [...disks, NO_DISK]) {
    for (let after: StripeId | 0 = 0, full = true; full;) {
      const page = await store.namespace.stripes.listByDisk(disk, after, PAGE);
      for (const stripe of page) {
        if (!seen.has(stripe.id)) visit(stripe);
        seen.add(stripe.id);
      }
      full = page.length === PAGE;
      if (full) after = page[PAGE - 1].id;
    }
  }
}

/** How many stripes lack blocks, and how many of these cannot be read. */
async function countDegraded(store: RunningStore): Promise<{ degraded: number; unreadable: number }> {
  const failed = new Set(reportDisks(store).filter((disk) => disk.state === "failed" || disk.state === "replaced").map((disk) => disk.id)); // prettier-ignore
  const counts = { degraded: 0, unreadable: 0 };
  const known = new Set<number>(store.blocks.disks().map((disk) => disk.id));
  await eachStripeOn(store, [...failed] as DiskId[], (stripe) => {
    const present = stripe.disks.flatMap((disk, index) => (known.has(disk) && !failed.has(disk) ? [index] : []));
    if (present.length === stripe.disks.length) return;
    counts.degraded++;
    if (!parseScheme(stripe.scheme).decodable(present)) counts.unreadable++;
  });
  return counts;
}

export async function reportStatus(
  store: RunningStore,
  startedAt: Date,
  mounts: MountReport[],
  tasks: TaskReport[],
): Promise<StatusReport> {
  const { description, data } = store;
  await store.blocks.examine();
  const disks = reportDisks(store);
  const { degraded, unreadable } = await countDegraded(store);
  const lost = disks.filter((disk) => disk.state === "failed" || disk.state === "replaced");
  const problems = lost.map(
    (disk) =>
      `disk ${disk.id} (${disk.path}) is ${disk.state}${disk.reason ? `: ${disk.reason}` : ""}; \`cairn disk replace ${disk.id}\` rebuilds it`,
  );
  if (degraded > 0)
    problems.push(
      `${degraded} stripes have less redundancy than ${description.scheme} says; \`cairn scrub\` or \`cairn disk replace\` restores it`,
    );
  if (unreadable > 0)
    problems.push(
      `${unreadable} stripes cannot be read: more blocks are lost than the scheme survives; bring a disk that failed back, \`cairn fsck\` names the files that need one`,
    );
  return {
    store: {
      data,
      uuid: description.uuid,
      format: STORE_FORMAT,
      scheme: description.scheme,
      createdAt: description.createdAt,
      repairBytesPerSecond: repairRateOf(description),
    },
    daemon: {
      pid: process.pid,
      version,
      startedAt: startedAt.toISOString(),
      ...memory(),
      buffersLent: buffersLent(store, mounts),
    },
    health: unreadable > 0 ? "damaged" : problems.length > 0 ? "degraded" : "healthy",
    problems,
    mounts,
    disks,
    space: reportSpace(store),
    inodes: store.namespace.status().inodes,
    stripes: { total: await countStripes(store), degraded, unreadable },
    tasks,
    cleaner: store.embedded.cleaner.report(),
  };
}

function reportSpace(store: RunningStore): StatusReport["space"] {
  const { totalBytes, freeBytes } = store.namespace.space();
  return { totalBytes, freeBytes, reservedBytes: store.namespace.status().promisedBytes };
}

export async function countStripes(store: RunningStore): Promise<number> {
  let count = 0;
  for (let after: StripeId | 0 = 0, full = true; full;) {
    const page = await store.namespace.stripes.list(after, PAGE);
    count += page.length;
    full = page.length === PAGE;
    if (full) after = page[PAGE - 1].id;
  }
  return count;
}

async function locateBlocks(store: RunningStore, stripe: Stripe): Promise<BlockReport[]> {
  const states = new Map(store.blocks.disks().map((disk) => [disk.id, disk.state]));
  return Promise.all(
    stripe.disks.map(async (disk, index): Promise<BlockReport> => {
      const absent = { index, disk, file: null, offset: null, bytes: stripe.blockBytes };
      if ((states.get(disk) ?? "failed") === "failed") return { ...absent, state: "failed-disk" };
      const place = await store.blocks.locate(disk, { stripe: stripe.id, index }).catch(() => null);
      if (!place) return { ...absent, state: "missing" };
      const root = store.blocks.disks().find((candidate) => candidate.id === disk)!.path;
      return { index, disk, state: "good", file: `${root}/${place.file}`, offset: place.offset, bytes: place.bytes };
    }),
  );
}

export async function reportWhere(store: RunningStore, inode: number): Promise<WhereReport> {
  const session = await store.namespace.openSession({ recall: async () => {}, expired: () => {} });
  try {
    const id = inode as InodeId;
    // Another session's look makes the mount write back what it holds of the file, so that all of it has a place.
    const { attributes } = await session.call("acquire", { inode: id, mode: "shared" });
    const extents: ExtentReport[] = [];
    for (let from = 0; from < attributes.size && extents.length < EXTENTS_MAX;) {
      const page = await session.call("extents", { inode: id, from, to: attributes.size, limit: PAGE });
      const stripes = new Map(page.stripes.map((stripe) => [stripe.id, stripe]));
      for (const extent of page.extents) {
        const stripe = extent.stripe === undefined ? null : stripes.get(extent.stripe)!;
        extents.push({
          offset: extent.offset,
          length: extent.length,
          kind: stripe ? "stripe" : extent.inline ? "inline" : "unwritten",
          stripe: stripe?.id ?? null,
          stripeOffset: extent.stripeOffset ?? null,
          scheme: stripe?.scheme ?? null,
          blocks: stripe ? await locateBlocks(store, stripe) : [],
        });
      }
      if (page.end <= from) break;
      from = page.end;
    }
    return { inode, size: attributes.size, extents };
  } catch (error) {
    throw new AdminError("refused", `inode ${inode}: ${(error as Error).message}`, { cause: error });
  } finally {
    await session.close();
  }
}

/** Buffers that the pools of the stripes, the disks and the daemon's own mounts have lent. */
function buffersLent(store: RunningStore, mounts: readonly MountReport[]): number {
  const ofDisks = store.blocks.disks().reduce((sum, { id }) => sum + (store.blocks.counts(id)?.buffersLent ?? 0), 0);
  const ofMounts = mounts.reduce((sum, { counts }) => sum + (counts?.buffersLent ?? 0), 0);
  return store.stripes.buffersLent + ofDisks + ofMounts;
}

/** Resident memory, live and dead objects of JavaScript's heap, and buffers outside it. */
function memory(): { residentBytes: number; heapBytes: number; bufferBytes: number } {
  const { rss, heapUsed, external } = process.memoryUsage();
  return { residentBytes: rss, heapBytes: heapUsed, bufferBytes: external };
}

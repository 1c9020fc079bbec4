// `npm run bench -- leases`: what leases cost a mount that is alone. The mount's handlers are called in the process, over a
// namespace in memory, with the bookkeeping of leases and without it (granting, checking, looking up: replaced by nothing,
// which is right for one mount), each in processes of its own, in turn. CPU time, so that load does not matter much.

import { spawnSync } from "node:child_process";
import process from "node:process";
import { Command } from "commander";
import { formatTable } from "../admin/format.ts";
import { EmbeddedStore } from "../fs/embedded.ts";
import { Inodes } from "../fs/mount/inodes.ts";
import type { Mount } from "../fs/mount/mount.ts";
import { Leases } from "../fs/namespace/leases.ts";
import { Transaction } from "../fs/namespace/transaction.ts";
import { type ByteString, type InodeId, ROOT_INODE } from "../fs/types.ts";
import { MemoryTable } from "../storage/memory-table.ts";
import { caller, MemoryStripes } from "../test/fs/mount/doubles.ts";
import { MemoryLog } from "../test/fs/namespace/memory-log.ts";
import type { BenchOptions } from "./run.ts";

const ROUNDS = 5;
const WARM_UP_FILES = 5000;
const FILES = 20_000;
const CHILD_TIMEOUT_MS = 120_000;
const VARIANTS = ["with", "without"] as const;
type Figures = Record<string, number>;

function removeBookkeeping(): void {
  Object.assign(Leases.prototype, { grant: () => {}, free: () => true, conflicts: () => false });
  Object.assign(Transaction.prototype, { grant: () => {}, reads: () => {}, changes: () => {}, promises: () => {} });
  Object.assign(Inodes.prototype, { granted: () => {}, lease: () => "exclusive", timeoutMs: () => 3_600_000 });
}

/** Microseconds of CPU time that each call took, on average. */
async function timed(count: number, action: (index: number) => unknown): Promise<number> {
  const before = process.cpuUsage();
  for (let index = 0; index < count; index++) {
    const result = action(index);
    if (result instanceof Promise) await result;
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

async function oneRound(mount: Mount, round: string, count: number): Promise<Figures> {
  const data = new Uint8Array(4096);
  const into = new Uint8Array(4096);
  const inodes: InodeId[] = [];
  const name = (index: number): ByteString => `${round}${index}` as ByteString;
  return {
    "create, write 4 KiB, close": await timed(count, async (index) => {
      const { entry, opened } = await mount.create(caller, ROOT_INODE, name(index), 0o644, 1, 0o022);
      const inode = entry.attributes.inode;
      inodes.push(inode);
      await mount.write(caller, inode, opened.handle, 0, data, 1, false, false);
      await mount.flush(caller, inode, opened.handle, "owner");
      await mount.release(caller, inode, opened.handle, null);
    }),
    "look up": await timed(count, (index) => mount.lookup(caller, ROOT_INODE, name(index))),
    stat: await timed(count, (index) => mount.getattr(caller, inodes[index], null)),
    "open, read 4 KiB, close": await timed(count, async (index) => {
      const inode = inodes[index];
      const { handle } = await mount.open(caller, inode, 0, false);
      await mount.read(caller, inode, handle, 0, 4096, into, 0);
      await mount.flush(caller, inode, handle, "owner");
      await mount.release(caller, inode, handle, null);
    }),
    unlink: await timed(count, (index) => mount.unlink(caller, ROOT_INODE, name(index))),
  };
}

async function measure(without: boolean): Promise<Figures> {
  if (without) removeBookkeeping();
  const schemes = { full: "rs:4+2", small: "copies:3" };
  const store = await EmbeddedStore.open({
    table: new MemoryTable(),
    log: new MemoryLog(),
    stripes: new MemoryStripes(),
    schemes,
  });
  const mount = await store.openMount();
  await oneRound(mount, "warm", WARM_UP_FILES);
  const figures = await oneRound(mount, "file", FILES);
  await store.close();
  return figures;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1];
}

function inChild(variant: string): Figures {
  const words = [process.argv[1], "leases", "--variant", variant];
  const child = spawnSync(process.execPath, words, { encoding: "utf8", timeout: CHILD_TIMEOUT_MS });
  if (child.status !== 0) throw new Error(`leases, ${variant}: ${child.stderr || child.error?.message || child.status}`);
  return JSON.parse(child.stdout) as Figures;
}

function compare(json: boolean): void {
  const runs: Record<string, Figures[]> = { with: [], without: [] };
  for (let round = 0; round < ROUNDS; round++) for (const variant of VARIANTS) runs[variant].push(inChild(variant));
  const rows = Object.keys(runs.with[0]).map((operation) => {
    const [kept, removed] = VARIANTS.map((variant) => median(runs[variant].map((figures) => figures[operation])));
    return { operation, with: kept, without: removed };
  });
  if (json) process.stdout.write(`${JSON.stringify(rows)}\n`);
  else {
    const lines = rows.map((row) => [
      row.operation,
      row.with.toFixed(2),
      row.without.toFixed(2),
      (row.with / row.without).toFixed(2),
    ]);
    process.stdout.write(`${formatTable(["us of CPU time", "with leases", "without", "ratio"], lines)}\n`);
  }
}

/** The bench's command, for bench/run.ts. */
export async function run({ json, parameters }: BenchOptions): Promise<void> {
  const command = new Command("leases")
    .description("CPU time of a mount that is alone, with the bookkeeping of leases and without")
    .option("--variant <variant>", "measure only `with` or `without`, and print JSON")
    .action(async ({ variant }: { variant?: string }) => {
      if (variant === undefined) compare(json);
      else process.stdout.write(JSON.stringify(await measure(variant === "without")));
    });
  await command.parseAsync(parameters, { from: "user" });
}

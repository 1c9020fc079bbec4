// A whole store on the real disk, for tests: RocksDB, log, six disks in directories, below one temporary directory.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { EmbeddedStore } from "../../fs/embedded.ts";
import { systemDatedClock } from "../../fs/clock.ts";
import { LocalBlocks } from "../../replication/local-blocks.ts";
import type { LocalDisk } from "../../replication/local-disk.ts";
import type { DiskId } from "../../replication/stripe.ts";
import { StripeStore } from "../../replication/stripes.ts";
import { rocksIndexStore } from "../../storage/block-index-store.ts";
import { createDiskIdentity } from "../../storage/disk-identity.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { RealDirectory } from "../../storage/real-directory.ts";
import { RocksTable } from "../../storage/rocks-table.ts";
import { openSegmentBlocks } from "../../storage/segment-blocks.ts";

export interface RealStore {
  store: EmbeddedStore;
  blocks: LocalBlocks;
  close(): Promise<void>;
}

const STORE = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

/** Opens the store in the directory, making it where it is not there. */
export async function openRealStore(directory: string, trace: (line: string) => void, disks = 6): Promise<RealStore> {
  const namespaceDirectory = path.join(directory, "namespace");
  const isNew = mkdirSync(namespaceDirectory, { recursive: true }) !== undefined;
  const locals: LocalDisk[] = [];
  for (let disk = 1; disk <= disks; disk++) locals.push(await openDisk(path.join(directory, `disk-${disk}`), disk, isNew));
  const blocks = new LocalBlocks({
    disks: locals,
    onDiskFailed: (status) => trace(`disk ${status.id} failed: ${status.reason}`),
  });
  await blocks.start();
  const stripes = new StripeStore({
    client: blocks,
    scheme: "rs:4+2",
    onDamage: (damage) => trace(`damage: ${JSON.stringify(damage)}`),
  });
  const table = await RocksTable.open(path.join(namespaceDirectory, "table"));
  const logDirectory = new RealDirectory(path.join(namespaceDirectory, "log"));
  await logDirectory.makeDirectory("");
  const log = await LocalLog.open(logDirectory);
  const schemes = { full: "rs:4+2", small: "copies:3" };
  const root = { mode: 0o755, uid: process.getuid!(), gid: process.getgid!() };
  const store = await EmbeddedStore.open({ table, log, stripes, blocks, schemes, trace, clock: systemDatedClock(), root });
  return {
    store,
    blocks,
    async close() {
      await store.close();
      await log.close();
      await table.close();
      await blocks.close();
    },
  };
}

async function openDisk(directory: string, disk: number, isNew: boolean): Promise<LocalDisk> {
  mkdirSync(directory, { recursive: true });
  const real = new RealDirectory(directory);
  const identity = { store: STORE, disk };
  if (isNew) await createDiskIdentity(real, identity);
  const index = rocksIndexStore(real);
  const blocks = await openSegmentBlocks({ directory: real, identity, index, now: () => performance.now() });
  return { id: disk as DiskId, path: directory, blocks };
}

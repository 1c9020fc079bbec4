// A store as it runs in this process: disks, stripes, log, table, namespace, and the ticks that move them.

import fs from "node:fs/promises";
import path from "node:path";
import { parseScheme } from "../coding/scheme.ts";
import { systemClock } from "../fs/clock.ts";
import { openNamespace } from "../fs/namespace/namespace.ts";
import type { Namespace } from "../fs/namespace/namespace.ts";
import type { StripeId } from "../fs/types.ts";
import { LocalBlocks } from "../replication/local-blocks.ts";
import type { LocalDisk } from "../replication/local-disk.ts";
import type { DiskId } from "../replication/stripe.ts";
import { StripeStore } from "../replication/stripes.ts";
import { LocalLog } from "../storage/local-log.ts";
import { RealDirectory } from "../storage/real-directory.ts";
import { RocksTable } from "../storage/rocks-table.ts";
import { openDisk } from "./disks.ts";
import { AdminError } from "./errors.ts";
import { diskDirectory, type StoreDescription, type StoreDisk } from "./store-file.ts";

/** Background work of the namespace is asked for this often; it goes on at once while there is more. */
const TICK_MS = 50;
/** Ids in one LIST while blocks that were never committed are looked for. */
const LIST_MAX = 4096;

/** copies:m+1 survives what rs:k+m survives. */
export function smallScheme(scheme: string): string {
  const code = parseScheme(scheme);
  return `copies:${code.guaranteedLosses + 1}`;
}

export class RunningStore {
  readonly data: string;
  readonly trace: (text: string) => void;
  readonly blocks: LocalBlocks;
  readonly stripes: StripeStore;
  readonly namespace: Namespace;
  description: StoreDescription;
  #stopTicks = false;
  #ticking: Promise<void>;

  private constructor(parts: {
    data: string;
    trace: (text: string) => void;
    blocks: LocalBlocks;
    stripes: StripeStore;
    namespace: Namespace;
    description: StoreDescription;
  }) {
    this.data = parts.data;
    this.trace = parts.trace;
    this.blocks = parts.blocks;
    this.stripes = parts.stripes;
    this.namespace = parts.namespace;
    this.description = parts.description;
    this.#ticking = this.#tick();
  }

  /** Opens everything that store.json names. A disk that cannot be opened is failed and the store goes on without it. */
  static async open(data: string, description: StoreDescription, trace: (text: string) => void): Promise<RunningStore> {
    const blocks = new LocalBlocks({
      disks: await Promise.all(
        description.disks.filter((disk) => disk.state !== "removed").map((disk) => openLocalDisk(data, description, disk, trace)),
      ),
      onDiskFailed: (status) => trace(`disk ${status.id} (${status.path}) failed: ${status.reason ?? "unknown reason"}`),
    });
    await blocks.start();
    const stripes = new StripeStore({
      client: blocks,
      scheme: description.scheme,
      onDamage: (damage) => trace(`damage: ${JSON.stringify(damage)}`),
    });
    try {
      const namespace = await openStoreNamespace(data, blocks, stripes, trace);
      return new RunningStore({ data, trace, blocks, stripes, namespace, description });
    } catch (error) {
      await blocks.close().catch(() => {});
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#stopTicks = true;
    await this.#ticking;
    await this.namespace.close();
    await this.blocks.close();
  }

  async #tick(): Promise<void> {
    while (!this.#stopTicks) {
      const more = await this.namespace
        .tick()
        .catch((error: unknown) => this.trace(`namespace: tick: ${(error as Error).message}`));
      await new Promise((resolve) => setTimeout(resolve, more ? 0 : TICK_MS));
    }
  }
}

/** A disk for the block client: opened, or failed with the reason. */
export async function openLocalDisk(
  data: string,
  store: StoreDescription,
  disk: StoreDisk,
  trace: (text: string) => void,
): Promise<LocalDisk> {
  const directory = diskDirectory(data, disk);
  const id = disk.id as DiskId;
  try {
    if (disk.state === "replaced") throw new Error("it is being replaced");
    const { dev } = await fs.stat(directory);
    return {
      id,
      path: directory,
      blocks: await openDisk(directory, store.uuid, disk.id, trace),
      state: disk.state === "draining" ? "draining" : "active",
      medium: String(dev),
    };
  } catch (error) {
    const reason = (error as Error).message;
    trace(`disk ${disk.id} (${directory}) cannot be used: ${reason}`);
    return { id, path: directory, blocks: null, state: "failed", reason };
  }
}

async function openStoreNamespace(
  data: string,
  blocks: LocalBlocks,
  stripes: StripeStore,
  trace: (text: string) => void,
): Promise<Namespace> {
  const folder = path.join(data, "namespace");
  let log: LocalLog | null = null;
  let table: RocksTable | null = null;
  try {
    await fs.mkdir(folder, { recursive: true });
    log = await LocalLog.open(new RealDirectory(path.join(folder, "log")));
    table = await RocksTable.open(path.join(folder, "table"));
    return await openNamespace({
      table,
      log,
      clock: systemClock(),
      trace,
      root: { mode: 0o755, uid: process.getuid!(), gid: process.getgid!() },
      stripes: {
        remove: (dead) => stripes.remove(dead),
        removeUncommitted: (first, count, except) => removeUncommitted(blocks, first, count, except),
        space: () => stripes.space(),
      },
    });
  } catch (error) {
    await log?.close().catch(() => {});
    await table?.close().catch(() => {});
    throw new AdminError("refused", `cannot open the namespace in ${folder}: ${(error as Error).message}`, { cause: error });
  }
}

/** Deletes blocks of the stripes first .. first+count-1 that no commit ever named, from every disk that is there. */
async function removeUncommitted(
  blocks: LocalBlocks,
  first: StripeId,
  count: number,
  except: ReadonlySet<StripeId>,
): Promise<void> {
  for (const disk of blocks.disks()) {
    if (disk.state === "failed") continue;
    let after = { stripe: first - 1, index: 2 ** 31 };
    for (let more = true; more;) {
      const found = (await blocks.list(disk.id, after, LIST_MAX)).filter((block) => block.stripe < first + count);
      const orphans = found.filter((block) => !except.has(block.stripe as StripeId));
      if (orphans.length > 0) await blocks.delete(disk.id, orphans);
      more = found.length === LIST_MAX;
      if (more) after = { stripe: found[LIST_MAX - 1].stripe, index: found[LIST_MAX - 1].index };
    }
  }
}

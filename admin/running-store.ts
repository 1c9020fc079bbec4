// A store as it runs in this process: disks, stripes, log, table and the embedded store over them.

import fs from "node:fs/promises";
import path from "node:path";
import { parseScheme } from "../coding/scheme.ts";
import { EmbeddedStore } from "../fs/embedded.ts";
import type { Namespace } from "../fs/namespace/namespace.ts";
import { warmUpOperations, warmUpTable } from "../fs/warm-up.ts";
import { LocalBlocks } from "../replication/local-blocks.ts";
import type { LocalDisk } from "../replication/local-disk.ts";
import type { DiskId } from "../replication/stripe.ts";
import { StripeStore } from "../replication/stripes.ts";
import { LocalLog } from "../storage/local-log.ts";
import type { Log } from "../storage/log.ts";
import { RealDirectory } from "../storage/real-directory.ts";
import { RocksTable, TableError } from "../storage/rocks-table.ts";
import type { Table } from "../storage/table.ts";
import { openDisk } from "./disks.ts";
import { keepDamagedRecord } from "./quarantine.ts";
import { mayComeBack } from "./session-listener.ts";
import { AdminError } from "./errors.ts";
import { diskDirectory, type StoreDescription, type StoreDisk } from "./store-file.ts";

/** Full stripes have the store's scheme; small ones copies that survive as many losses: copies:m+1 for rs:k+m. */
export function schemesOf(scheme: string): { full: string; small: string } {
  return { full: scheme, small: `copies:${parseScheme(scheme).guaranteedLosses + 1}` };
}

interface Parts {
  data: string;
  trace: (text: string) => void;
  blocks: LocalBlocks;
  stripes: StripeStore;
  log: Log;
  table: Table;
  embedded: EmbeddedStore;
}

export class RunningStore {
  /** As store.json has it. */
  description: StoreDescription;
  readonly #parts: Parts;

  private constructor(parts: Parts, description: StoreDescription) {
    this.#parts = parts;
    this.description = description;
  }

  get data(): string {
    return this.#parts.data;
  }
  get trace(): (text: string) => void {
    return this.#parts.trace;
  }
  get blocks(): LocalBlocks {
    return this.#parts.blocks;
  }
  get stripes(): StripeStore {
    return this.#parts.stripes;
  }
  get namespace(): Namespace {
    return this.#parts.embedded.namespace;
  }
  get embedded(): EmbeddedStore {
    return this.#parts.embedded;
  }

  /** Opens everything that store.json names. A disk that cannot be opened is failed and the store goes on without it; where one has no room to be opened, nothing is. */
  static async open(data: string, description: StoreDescription, trace: (text: string) => void): Promise<RunningStore> {
    const used = description.disks.filter((disk) => disk.state !== "removed");
    // While the disks are being opened, this thread has nothing else to do.
    const warm = warmUpOperations(trace);
    const blocks = new LocalBlocks({
      disks: await openDisks(data, description, used, trace),
      onDiskFailed: (status) => trace(`disk ${status.id} (${status.path}) failed: ${status.reason ?? "unknown reason"}`),
    });
    await blocks.start();
    await warm;
    const stripes = new StripeStore({
      client: blocks,
      scheme: description.scheme,
      onDamage: (damage) => trace(`damage: ${JSON.stringify(damage)}`),
    });
    try {
      return new RunningStore(await openParts({ data, trace, blocks, stripes }, description), description);
    } catch (error) {
      await blocks.close().catch(() => {});
      throw error;
    }
  }

  /** Writes everything back and closes it. Mounts with a kernel behind them must be gone by then. */
  async close(): Promise<void> {
    const { embedded, table, log, blocks } = this.#parts;
    const errors: unknown[] = [];
    for (const part of [embedded, table, log, blocks]) await part.close().catch((error: unknown) => errors.push(error));
    if (errors.length > 0) throw errors[0];
  }
}

async function openParts(
  parts: Pick<Parts, "data" | "trace" | "blocks" | "stripes">,
  { scheme }: StoreDescription,
): Promise<Parts> {
  const { data, trace, blocks, stripes } = parts;
  const folder = path.join(data, "namespace");
  let log: Log | null = null;
  let table: Table | null = null;
  try {
    await fs.mkdir(folder, { recursive: true });
    log = await LocalLog.open(new RealDirectory(path.join(folder, "log")));
    table = await RocksTable.open(path.join(folder, "table"));
    await warmUpTable(table, trace);
    const root = { mode: 0o755, uid: process.getuid!(), gid: process.getgid!() };
    const embedded = await EmbeddedStore.open({
      table,
      log,
      stripes,
      blocks,
      schemes: schemesOf(scheme),
      clean: true,
      recordSpace: () => new RealDirectory(folder).space(),
      awaits: mayComeBack,
      quarantine: (record) => keepDamagedRecord(data, record),
      trace,
      root,
    });
    return { ...parts, log, table, embedded };
  } catch (error) {
    const advice = adviceFor(error, folder, log);
    await table?.close().catch(() => {});
    await log?.close().catch(() => {});
    const text = `cannot open the namespace in ${folder}: ${(error as Error).message}. ${advice}`;
    throw new AdminError("refused", text, { cause: error });
  }
}

/** All, or none: then those that were opened are closed again. */
async function openDisks(
  data: string,
  description: StoreDescription,
  disks: readonly StoreDisk[],
  trace: (text: string) => void,
): Promise<LocalDisk[]> {
  const opened = await Promise.allSettled(disks.map((disk) => openLocalDisk(data, description, disk, trace)));
  const refused = opened.find((result) => result.status === "rejected");
  const there = opened.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  if (refused === undefined) return there;
  for (const { blocks } of there) await blocks?.close().catch(() => {});
  throw refused.reason;
}

const MAKE_ROOM = "Make room on that filesystem and start again";

/** What a person can do about a namespace that does not open. */
function adviceFor(error: unknown, folder: string, log: Log | null): string {
  const code = (error as { code?: string } | null)?.code;
  if (code === "ENOSPC") return MAKE_ROOM;
  if (code === "EBUSY") return "End the other process and start again";
  if (error instanceof TableError && log !== null && log.first() <= 1)
    return `The log has every change since the store was made: move ${path.join(folder, "table")} away and start again, and the table is built anew from the log`;
  return `Nothing was changed in it; restore ${folder} (log and table together) from a backup`;
}

/** A disk for the block client: opened, or failed with the reason. Rejects where its filesystem is full. */
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
    const blocks = await openDisk(directory, store.uuid, disk.id, trace);
    return { id, path: directory, blocks, state: disk.state === "draining" ? "draining" : "active", medium: String(dev) };
  } catch (error) {
    const reason = (error as Error).message;
    // Not failed: it has all that it had, and would be rebuilt elsewhere for want of a few bytes.
    if ((error as { code?: string }).code === "ENOSPC")
      throw new AdminError("refused", `disk ${disk.id} (${directory}) has no room to be opened: ${reason}. ${MAKE_ROOM}`, {
        cause: error,
      });
    trace(`disk ${disk.id} (${directory}) cannot be used: ${reason}`);
    return { id, path: directory, blocks: null, state: "failed", reason };
  }
}

// DATA/store.json: what a store is made of. Written by rename, so it is always whole; read with every field checked.
// The format is in admin/DESIGN.md.

import { randomUUID } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { parseScheme } from "../coding/scheme.ts";
import { DEFAULT_REPAIR_RATE } from "./defaults.ts";
import { AdminError } from "./errors.ts";

export const STORE_FORMAT = 1;
export const STORE_FILE = "store.json";

const diskSchema = z.strictObject({
  id: z.int().min(1),
  /** Absolute, or relative to the data directory. */
  path: z.string().min(1),
  state: z.enum(["active", "draining", "replaced", "removed"]),
});

const storeSchema = z.strictObject({
  format: z.literal(STORE_FORMAT),
  uuid: z.uuid(),
  scheme: z.string(),
  createdAt: z.iso.datetime(),
  /** What repair, rebuild and drain may read and write in a second; DEFAULT_REPAIR_RATE where nobody has set it. */
  repairBytesPerSecond: z.int().min(1).optional(),
  disks: z.array(diskSchema).min(1),
});

export type StoreDisk = z.infer<typeof diskSchema>;
export type StoreDescription = z.infer<typeof storeSchema>;

/** Where a disk's directory is. */
export function diskDirectory(data: string, disk: { path: string }): string {
  return path.resolve(data, disk.path);
}

export function repairRateOf(store: StoreDescription): number {
  return store.repairBytesPerSecond ?? DEFAULT_REPAIR_RATE;
}

/** Reads and checks DATA/store.json; null where there is none. Throws AdminError naming the file and what is wrong with it. */
export async function readStore(data: string): Promise<StoreDescription | null> {
  const file = path.join(data, STORE_FILE);
  let text: string;
  try {
    text = await fs.readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new AdminError("refused", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new AdminError(
      "refused",
      `${file} is not valid JSON (${(error as Error).message}); restore it from a backup of the file`,
      { cause: error },
    );
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format !== STORE_FORMAT) {
    throw new AdminError(
      "refused",
      `${file} has store format ${format}; this version of cairn reads format ${STORE_FORMAT}: use the version that wrote it`,
    );
  }
  const parsed = storeSchema.safeParse(value);
  if (!parsed.success) throw new AdminError("refused", `${file} is damaged: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Replaces DATA/store.json; durable when it resolves. */
export async function writeStore(data: string, store: StoreDescription): Promise<void> {
  const file = path.join(data, STORE_FILE);
  const temporary = `${file}.new`;
  const handle = await fs.open(temporary, "w", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(store, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await fs.rename(temporary, file);
  const directory = await fs.open(data, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Refuses a scheme that this many disks cannot carry: every block of a stripe needs a disk of its own. */
export function checkScheme(scheme: string, disks: number): void {
  let code;
  try {
    code = parseScheme(scheme);
  } catch (error) {
    throw new AdminError("usage", (error as Error).message, { cause: error });
  }
  if (!code.systematic)
    throw new AdminError("usage", `scheme ${scheme} is for archival of whole objects; a mount needs copies:R or rs:K+M`);
  if (code.totalBlocks > disks) {
    throw new AdminError(
      "usage",
      `scheme ${scheme} puts each stripe on ${code.totalBlocks} disks, but the store has ${disks}: give at least ${code.totalBlocks} disks (--disks, --disk) or another --scheme`,
    );
  }
}

/** A new description, not yet written. Disk ids count from 1. */
export function newStore(scheme: string, diskPaths: readonly string[], now: Date): StoreDescription {
  return {
    format: STORE_FORMAT,
    uuid: randomUUID(),
    scheme,
    createdAt: now.toISOString(),
    disks: diskPaths.map((diskPath, index) => ({ id: index + 1, path: diskPath, state: "active" })),
  };
}

/** What a start that failed may have left, and what mkfs.ext4 makes in every new filesystem. */
const NAMES_OF_NO_MEANING = new Set(["lock", "trace", "lost+found"]);

/** Fails where DATA holds something that is not a store: a store must not be mixed into somebody's files. */
export async function checkEmptyForCreation(data: string): Promise<void> {
  let names: string[];
  try {
    names = (await fs.readdir(data)).filter((name) => !NAMES_OF_NO_MEANING.has(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new AdminError("refused", `cannot use ${data} as data directory: ${(error as Error).message}`, { cause: error });
  }
  const half = names.filter((name) => name === "namespace" || /^disk-\d+$/.test(name) || name === `${STORE_FILE}.new`);
  if (half.length > 0) {
    throw new AdminError(
      "refused",
      `${data} looks like a store that was not completely created or has lost its ${STORE_FILE} (it has ${half.join(", ")}): ` +
        `restore ${STORE_FILE}, or remove the directory if it never held data`,
    );
  }
  if (names.length > 0) {
    throw new AdminError(
      "refused",
      `${data} is not empty and is not a store (it has ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", ..." : ""}): name another with --data`,
    );
  }
}

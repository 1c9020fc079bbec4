// Where damaged records of the namespace go before they are removed: a file each, for people. Nothing reads them.

import fs from "node:fs/promises";
import path from "node:path";
import type { DamagedRecord } from "../fs/namespace/namespace.ts";

/** In the data directory. */
export const QUARANTINE = "namespace/quarantine";

/** Writes `record-NUMBER.json`: what it was, when it was found, key and value in hex. Durable when it resolves. */
export async function keepDamagedRecord(data: string, { what, key, value }: DamagedRecord): Promise<void> {
  const directory = path.join(data, QUARANTINE);
  await fs.mkdir(directory, { recursive: true, mode: 0o700 });
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  const text = JSON.stringify({ what, foundAt: new Date().toISOString(), key: hex(key), value: hex(value) });
  const file = await openNew(directory);
  try {
    await file.writeFile(`${text}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  const folder = await fs.open(directory);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function openNew(directory: string): Promise<fs.FileHandle> {
  for (let number = (await fs.readdir(directory)).length + 1; ; number++)
    try {
      return await fs.open(path.join(directory, `record-${number}.json`), "wx", 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
}

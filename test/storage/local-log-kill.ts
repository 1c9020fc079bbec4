// The log on the real disk, written by a process that is killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { LocalLog } from "../../storage/local-log.ts";
import { RealDirectory } from "../../storage/real-directory.ts";

const modules = (name: string): string => new URL(`../../storage/${name}.js`, import.meta.url).href;

/** Appends entries "1", "2", ... padded, syncs every third, and prints the index of each that is synced. */
const WRITER = `
  const { LocalLog } = await import(${JSON.stringify(modules("local-log"))});
  const { RealDirectory } = await import(${JSON.stringify(modules("real-directory"))});
  const { writeSync } = await import("node:fs");
  const log = await LocalLog.open(new RealDirectory(process.argv[1]), { fileBytes: 65536 });
  for (;;) {
    const index = log.append(Buffer.from(String(log.tail() + 1).padEnd(300, ".")));
    if (index % 3 === 0) {
      await log.sync(index);
      writeSync(1, index + "\\n");
    }
  }`;

test("a writer killed at any moment, again and again, loses nothing that it had synced", async () => {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), "cairn-log-"));
  try {
    let before = 0;
    for (let round = 0; round < 5; round++) {
      const synced = await writeUntilKilled(directory, 30 + round * 40);
      assert.ok(synced > before, `round ${round}: something was synced`);
      const log = await LocalLog.open(new RealDirectory(directory), { fileBytes: 65536 });
      assert.ok(log.tail() >= synced, `${synced} was synced, the log ends at ${log.tail()}`);
      let index = 0;
      for await (const entry of log.read(log.first())) {
        index++;
        assert.equal(entry.index, index);
        assert.equal(Buffer.from(entry.entry).toString("latin1"), String(index).padEnd(300, "."));
      }
      assert.equal(index, log.tail());
      before = log.tail();
      await log.close();
    }
  } finally {
    await fs.rm(directory, { recursive: true, force: true });
  }
});

/** Lets a writer sync at least so many times, kills it, and returns the last index that it said was synced. */
async function writeUntilKilled(directory: string, syncs: number): Promise<number> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER, directory], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (text.split("\n").length > syncs) child.kill("SIGKILL");
  });
  await once(child, "close");
  const whole = text.slice(0, text.lastIndexOf("\n"));
  return Number(whole.slice(whole.lastIndexOf("\n") + 1));
}

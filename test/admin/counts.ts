// What the status counts: open files and directories, slots, buffers, segments.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { MountCountsReport, StatusReport } from "../../admin/api.ts";
import { compareAtRest } from "../../bench/rest.ts";
import { makeStore, shell } from "../fixture/store.ts";

const LOOKS_MAX = 100;

/** Looks again until the counts are these: a close reaches the daemon after the program's close(2). */
async function countsBecome(count: () => Promise<MountCountsReport>, expected: Partial<MountCountsReport>): Promise<void> {
  let counts = await count();
  for (let look = 0; look < LOOKS_MAX && !isPart(counts, expected); look++) {
    await sleep(100);
    counts = await count();
  }
  assert.deepEqual({ ...counts, ...expected }, counts);
}

function isPart(counts: MountCountsReport, expected: Partial<MountCountsReport>): boolean {
  return Object.entries(expected).every(([name, value]) => counts[name as keyof MountCountsReport] === value);
}

test("the status counts what is open, and at rest nothing is, and all counts are as a walk finds them", async () => {
  const store = makeStore("counts");
  try {
    await store.start();
    const counts = async (): Promise<MountCountsReport> => (await store.json<StatusReport>("status")).mounts[0].counts!;
    await countsBecome(counts, { slotsInUse: 0, openFiles: 0, openDirectories: 0, buffersLent: 0 });

    await shell(`cd "${store.mount}" && mkdir d && for i in $(seq 50); do head -c 20000 /dev/urandom > d/$i; ln d/$i d/l$i; done
      head -c 9000000 /dev/urandom > large; rm d/1 d/l1 d/2`);
    const script = `
      const fs = require("node:fs");
      const files = ["d/3", "d/3", "large"].map((name) => fs.openSync(name, "r"));
      const directory = fs.opendirSync("d");
      directory.readSync();
      process.stdin.on("data", () => { files.forEach((file) => fs.closeSync(file)); directory.closeSync(); console.log("closed"); });
      console.log("open");`;
    const program = spawn(process.execPath, ["-e", script], { cwd: store.mount, stdio: ["pipe", "pipe", "inherit"] });
    try {
      await new Promise((resolve) => program.stdout.once("data", resolve));
      await countsBecome(counts, { openFiles: 3, openDirectories: 1 });
      const stray = path.join(store.data, "disk-1/segments/stray");
      fs.writeFileSync(stray, "");
      const found = (await compareAtRest(store.data, store.mount, 0)).join("\n");
      fs.rmSync(stray);
      assert.match(found, /openFiles: 3, it should be 0/);
      assert.match(found, /disk 1: segments/);
      const atRest = new Promise((resolve) => program.stdout.once("data", resolve));
      program.stdin.write("close\n");
      await atRest;
      await countsBecome(counts, { slotsInUse: 0, openFiles: 0, openDirectories: 0, buffersLent: 0 });
    } finally {
      program.kill();
    }

    assert.deepEqual(await compareAtRest(store.data, store.mount), []);
    const { disks } = await store.json<StatusReport>("status");
    for (const { id, segments } of disks) {
      const files = fs.readdirSync(path.join(store.data, `disk-${id}`, "segments"));
      assert.ok(files.length > 0);
      assert.equal(segments, files.length);
    }
  } finally {
    await store.destroy();
  }
});

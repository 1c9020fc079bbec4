// --repair-rate: the store keeps it, its tasks are held to it, and a task may have one of its own.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { StatusReport, TaskReport } from "../../admin/api.ts";
import { DiskTasks } from "../../admin/disk-tasks.ts";
import { RunningStore } from "../../admin/running-store.ts";
import { DEFAULT_REPAIR_RATE } from "../../admin/defaults.ts";
import { readStore } from "../../admin/store-file.ts";
import { SimulatedClock } from "../../storage/clock.ts";
import { shell, type Store, withStore } from "../fixture/store.ts";

const MIB = 1024 * 1024;

/** The store without a daemon and mount, its tasks under a clock that stands still. */
async function withTasks(store: Store, body: (tasks: DiskTasks, clock: SimulatedClock) => Promise<void>): Promise<void> {
  const running = await RunningStore.open(store.data, (await readStore(store.data))!, () => {});
  const clock = new SimulatedClock();
  const tasks = new DiskTasks(running, clock);
  try {
    await body(tasks, clock);
  } finally {
    await tasks.stop();
    await running.close();
  }
}

async function lastOf(reports: AsyncIterable<TaskReport>): Promise<TaskReport> {
  let last: TaskReport | null = null;
  for await (const report of reports) last = report;
  return last!;
}

test("the store keeps the rate of the last start that gave one", () =>
  withStore("repair-rate-kept", async (store) => {
    const rate = async (): Promise<number> => (await store.json<StatusReport>("status")).store.repairBytesPerSecond;
    await store.start();
    assert.equal(await rate(), DEFAULT_REPAIR_RATE);
    for (const [words, expected] of [
      [["--repair-rate", "3M"], 3 * MIB],
      [[], 3 * MIB],
      [["--repair-rate", "1G"], 1024 * MIB],
    ] as const) {
      assert.equal(await store.stop(), 0);
      await store.start(...words);
      assert.equal(await rate(), expected);
    }
    const wrong = await store.cairn("scrub", "--repair-rate", "fast");
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /"fast".*50M/);
  }));

test("removal of a disk moves no more than the store's rate; with a rate of its own it does not wait; stop does not wait either", () =>
  withStore("repair-rate-removal", async (store) => {
    await store.start("--repair-rate", "4M", "--disks", "8");
    await shell(`head -c 40000000 /dev/urandom > "${store.mount}/a" && sync "${store.mount}/a"`);
    assert.equal(await store.stop(), 0);
    await withTasks(store, async (tasks, clock) => {
      const removal = await tasks.start({ kind: "remove-disk", disk: "1", repairBytesPerSecond: null });
      const ended = lastOf(removal);
      while (tasks.list()[0].state === "running") {
        clock.advance(50);
        await sleep(1);
      }
      const { state, counts } = await ended;
      assert.equal(state, "done");
      assert.ok(counts.moved >= 4, `${counts.moved} blocks moved`);
      // Each block is read and written; what is begun last need not be waited for, nor a burst of a quarter second.
      assert.ok(clock.nowMs() >= ((2 * counts.moved - 1) / 4) * 1000 - 250, `${counts.moved} blocks in ${clock.nowMs()} ms`);
    });
    await withTasks(store, async (tasks, clock) => {
      const scrub = await tasks.start({ kind: "scrub", verifyOnly: false, repairBytesPerSecond: 1e15 });
      assert.equal((await lastOf(scrub)).state, "done");
      assert.equal(clock.nowMs(), 0);
    });
    await withTasks(store, async (tasks, clock) => {
      await tasks.start({ kind: "scrub", verifyOnly: false, repairBytesPerSecond: 1 });
      while (clock.waiting === 0) await sleep(1);
      await tasks.stop();
      assert.equal(tasks.list()[0].state, "cancelled");
    });
  }));

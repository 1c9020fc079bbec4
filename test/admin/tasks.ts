import assert from "node:assert/strict";
import test from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Tasks } from "../../admin/tasks.ts";
import { Throttle } from "../../replication/throttle.ts";
import { SimulatedClock } from "../../storage/clock.ts";

test("a task may wait for its pace in many places at once without a warning, and its end ends all of that", async () => {
  const clock = new SimulatedClock();
  const tasks = new Tasks(clock, new Throttle(clock, 1));
  const warnings: string[] = [];
  const listen = (warning: Error): void => void warnings.push(warning.message);
  process.on("warning", listen);
  try {
    const run = async ({ pace }: { pace: { spend(bytes: number): Promise<void> } }): Promise<void> => {
      await Promise.all(Array.from({ length: 100 }, () => pace.spend(1000)));
    };
    tasks.start({ kind: "scrub", subject: "test", title: "test", unit: "blocks", run });
    while (clock.waiting < 99) await turn();
    await tasks.stop();
    await turn();
    assert.deepEqual(warnings, []);
    assert.equal(clock.waiting, 0);
  } finally {
    process.off("warning", listen);
  }
});

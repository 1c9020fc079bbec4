import assert from "node:assert/strict";
import test from "node:test";
import { Gate } from "../../replication/gate.ts";

test("a gate lets so many in, keeps the others in line in order, and refuses when the line is full", async () => {
  const gate = new Gate("test gate", 2, 2);
  const ends: (() => void)[] = [];
  const begun: number[] = [];
  const work = (number: number): Promise<number> =>
    gate.run(async () => {
      begun.push(number);
      await new Promise<void>((resolve) => ends.push(resolve));
      return number;
    });
  const runs = [work(1), work(2), work(3), work(4)];
  await assert.rejects(work(5), { code: "EBUSY", message: /test gate: 2 requests wait already/ });
  for (let turn = 0; turn < 5; turn++) await null;
  assert.deepEqual(begun, [1, 2]);
  ends.shift()!();
  assert.equal(await runs[0], 1);
  for (let turn = 0; turn < 5; turn++) await null;
  assert.deepEqual(begun, [1, 2, 3]);
  while (ends.length > 0) {
    ends.shift()!();
    for (let turn = 0; turn < 5; turn++) await null;
  }
  assert.deepEqual(await Promise.all(runs), [1, 2, 3, 4]);
  assert.equal(gate.inside, 0);
});

test("a gate gives the place on also when the action throws", async () => {
  const gate = new Gate("test gate", 1, 1);
  await assert.rejects(
    gate.run(async () => {
      throw new Error("fails");
    }),
    /fails/,
  );
  assert.equal(gate.tryEnter(), true);
  assert.equal(gate.tryEnter(), false);
  gate.leave();
});

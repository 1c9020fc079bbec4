import assert from "node:assert/strict";
import test from "node:test";
import {
  type Numbered,
  NUMBERS_WAITING_MAX,
  RequestNumbers,
  UNANSWERED_FLUSH,
  UNANSWERED_MAX,
} from "../../fs/request-numbers.ts";
import { TestClock } from "./namespace/memory-log.ts";

const ORDINARY_MAX = UNANSWERED_MAX - UNANSWERED_FLUSH;

/** As many as changes may have. */
function full(numbers: RequestNumbers): Numbered[] {
  return Array.from({ length: ORDINARY_MAX }, () => numbers.take("make", "ordinary")!);
}

test("each request names those before it that are not answered, whatever came in between", () => {
  const numbers = new RequestNumbers(new TestClock());
  const [one, two, three] = Array.from({ length: 3 }, () => numbers.take("make", "ordinary")!);
  assert.deepEqual([one, two, three].map(({ number, unanswered }) => [number, unanswered]), [[1, []], [2, [1, 1]], [3, [1, 2]]]); // prettier-ignore
  numbers.settle(2);
  assert.deepEqual(numbers.take("link", "ordinary"), { number: 4, unanswered: [1, 1, 3, 3] });
  // One that waits long holds nobody up, however many follow.
  for (let number = 5; number < 5000; number++) {
    assert.equal(numbers.take("make", "ordinary")?.number, number);
    numbers.settle(number);
  }
  assert.deepEqual([...numbers.unanswered()], [[1, "make"], [3, "make"], [4, "link"]]); // prettier-ignore
});

test("where all numbers of changes are taken, a flush gets one at once, up to those kept for it; others in turn", async () => {
  const numbers = new RequestNumbers(new TestClock());
  const taken = full(numbers);
  assert.equal(numbers.take("make", "ordinary"), null);
  const got: string[] = [];
  const waits = ["first", "second"].map((who) => numbers.wait("make", 60_000).then(({ number }) => (got.push(who), number)));
  for (let count = 0; count < UNANSWERED_FLUSH; count++) assert.ok(numbers.take("commit", "flush"));
  assert.equal(numbers.take("commit", "flush"), null);
  for (const { number } of taken) numbers.settle(number);
  await Promise.all(waits);
  assert.deepEqual(got, ["first", "second"]);
});

test("who waits for a number waits for his deadline at most, and only so many wait", async () => {
  const clock = new TestClock();
  const numbers = new RequestNumbers(clock);
  full(numbers);
  const waits = Promise.allSettled(Array.from({ length: NUMBERS_WAITING_MAX }, () => numbers.wait("make", 1000)));
  await assert.rejects(numbers.wait("make", 1000), { code: "EAGAIN" });
  clock.advance(1000);
  for (const outcome of await waits) assert.equal((outcome as PromiseRejectedResult).reason.code, "ETIMEDOUT");
  numbers.settle(1);
  assert.equal(numbers.take("make", "ordinary")?.number, ORDINARY_MAX + 1);
});

// Each kind of danger by itself, with seeds that have found a fault once. `npm run simulate -- --dangers none,KIND=ROUNDS --seed S
// --steps N --no-shrink` runs one of them.

import assert from "node:assert/strict";
import test from "node:test";
import type { HeldLease } from "../../fs/messages.ts";
import type { InodeId } from "../../fs/types.ts";
import { leaseProblem } from "./beliefs.ts";
import { collapseContent, EMPTY, insertContent, readContent, writeContent } from "./content.ts";
import { Runner } from "./runner.ts";
import { DANGERS, type Dangers, dangersOf, makeRounds, type Round } from "./steps.ts";

interface Case {
  name: string;
  dangers: Partial<Dangers>;
  steps: number;
  seeds: readonly number[];
}

const CASES: readonly Case[] = [
  {
    name: "an operation whose reply a kill or a cut takes away is done once, and grants nothing that only the mount knows of",
    dangers: { strike: 4 },
    steps: 80,
    seeds: [2, 4, 18, 22],
  },
  {
    name: "who says hello twice after a restart still waits for the others",
    dangers: { hello: 6 },
    steps: 60,
    seeds: [2, 4, 8, 10],
  },
  {
    name: "hundreds of programs of each mount want what the other has not written back",
    dangers: { burst: 6 },
    steps: 16,
    seeds: [2],
  },
  {
    name: "files are evicted, forgotten and looked up again while they are recalled",
    dangers: { evict: 6 },
    steps: 40,
    seeds: [1, 10, 11, 15],
  },
  {
    name: "a session ends while its mount is stopped: open files live on when others remove them, and the date says nothing",
    dangers: { standstill: 10, date: 60 },
    steps: 200,
    seeds: [4, 11],
  },
  { name: "connections break amid operations", dangers: { cable: 5 }, steps: 80, seeds: [1, 2] },
];

function only(some: Partial<Dangers>): Dangers {
  return dangersOf({ ...(Object.fromEntries(Object.keys(DANGERS).map((name) => [name, 0])) as unknown as Dangers), ...some });
}

for (const { name, dangers, steps, seeds } of CASES)
  for (const seed of seeds)
    test(`${name}, seed ${seed}`, async () => {
      await Runner.run(seed, makeRounds(seed, steps, only(dangers)));
    });

/** Steps of one mount, one after another. */
function inTurn(...steps: [kind: string, ...numbers: number[]][]): Round[] {
  return steps.map(([kind, ...numbers], id) => ({
    id,
    steps: [{ id, mount: 0, kind, numbers: [...numbers, 0, 0, 0, 0, 0, 0], delayMs: 0 }],
  }));
}

for (const kind of ["collapse", "insert"])
  test(`${kind} that was done before the daemon was killed is not done again`, async () => {
    // An open file of ten pages; then its second page.
    const rounds = inTurn(["open", 0, 0, 1], ["write", 0, 70, 40_959], [kind, 0, 1]);
    rounds[2].strike = { operation: "reshape", cut: false, nth: 1, forMs: 50 };
    const { counts } = await Runner.run(2, rounds);
    assert.equal(counts.strikes, 1);
  });

test("the same seed gives the same run to the last event, whatever happens", async () => {
  const rounds = makeRounds(2, 60, dangersOf({ strike: 8, hello: 15, cable: 15, burst: 40, evict: 30, date: 30, quiesce: 30 }));
  const [one, other] = [await Runner.run(2, rounds), await Runner.run(2, rounds)];
  assert.deepEqual(other.story, one.story);
  assert.deepEqual(other.counts, one.counts);
  assert.equal(other.simulatedMs, one.simulatedMs);
});

test("a lease that is larger at the mount than at the namespace is found", () => {
  const inode = 7 as InodeId;
  const lease = (mode: HeldLease["mode"]): HeldLease[] => [{ inode, mode }];
  const granted = (level?: number): Map<InodeId, number> => new Map(level === undefined ? [] : [[inode, level]]);
  const problem = (mode: HeldLease["mode"], level?: number, counts = true): string | null =>
    leaseProblem(lease(mode), granted(level), () => counts);
  assert.equal(problem("exclusive", 3), null);
  assert.equal(problem("shared", 3), null);
  assert.equal(problem("known", 1), null);
  assert.match(problem("exclusive", 2) ?? "", /inode 7 is exclusive to it, and shared to the namespace/);
  assert.match(problem("shared", 1) ?? "", /inode 7 is shared to it, and known to the namespace/);
  assert.match(problem("known") ?? "", /inode 7 is known to it, and nothing to the namespace/);
  assert.equal(problem("known", undefined, false), null, "closed files of a later session are looked up again");
  assert.match(problem("shared", undefined, false) ?? "", /and nothing to the namespace/);
});

test("the model collapses and inserts ranges as fallocate(2) does", () => {
  const pages = (...values: number[]): Uint8Array => Buffer.concat(values.map((value) => Buffer.alloc(4096, value)));
  const content = writeContent(EMPTY, 0, Buffer.concat([pages(1, 2, 3), Buffer.alloc(100, 4)]));
  const collapsed = collapseContent(content, 4096, 4096);
  assert.deepEqual(Buffer.from(readContent(collapsed, 0, 20_000)), Buffer.concat([pages(1, 3), Buffer.alloc(100, 4)]));
  const inserted = insertContent(content, 4096, 8192);
  assert.deepEqual(Buffer.from(readContent(inserted, 0, 30_000)), Buffer.concat([pages(1, 0, 0, 2, 3), Buffer.alloc(100, 4)]));
});

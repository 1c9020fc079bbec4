// Power cuts and failing calls: what was synced is there and right, what was not is right or missing, nothing is wrong.
import assert from "node:assert/strict";
import test from "node:test";
import type { BlockId } from "../../storage/blocks.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, seededRandom, type Random } from "../../storage/seeded-random.ts";
import type { SegmentBlocks } from "../../storage/segment-blocks.ts";
import { bytesOf, TestDisk } from "./segment-disk.ts";
import { forEachSeed } from "../fixture/seeds.ts";

interface Step {
  kind: "store" | "delete";
  done: boolean;
}

/** What was asked for each block since the last step known to be durable. */
class Model {
  readonly steps = new Map<string, Step[]>();
  readonly #durable = new Set<Step>();

  begin(id: BlockId, kind: Step["kind"]): Step {
    const step: Step = { kind, done: false };
    const key = `${id.stripe}.${id.index}`;
    this.steps.set(key, [...(this.steps.get(key) ?? []), step]);
    return step;
  }

  /** The steps that a sync beginning now will make durable; call the result when it has. */
  beginSync(): () => void {
    const covered = [...this.steps].map(([key, steps]) => ({ key, step: steps.findLast((step) => step.done) }));
    return () => {
      for (const { key, step } of covered) {
        const steps = this.steps.get(key)!;
        if (step === undefined) continue;
        this.#durable.add(step);
        if (steps.includes(step)) this.steps.set(key, steps.slice(steps.indexOf(step)));
      }
    };
  }

  /** What a reader may find: "stored", "missing" and, where a delete was under way, "damaged". */
  allowed(key: string): Set<string> {
    const allowed = new Set<string>();
    const steps = this.steps.get(key)!;
    if (!this.#durable.has(steps[0])) allowed.add("missing");
    for (const step of steps) allowed.add(step.kind === "store" ? "stored" : "missing");
    if (steps.slice(1).some(({ kind }) => kind === "delete")) allowed.add("damaged");
    return allowed;
  }
}

function lengthOf(stripe: number): number {
  return [100, 4096, 20_000, 70_000, 131_072, 150_000][stripe % 6] + (stripe % 3);
}

async function work(
  blocks: SegmentBlocks,
  model: Model,
  random: Random,
  stripes: { next: number },
  turns: number,
): Promise<void> {
  const mine: BlockId[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const choice = random();
    if (choice < 0.55 || mine.length === 0) {
      const id =
        choice < 0.05 && mine.length > 0
          ? mine[randomBelow(random, mine.length)]
          : { stripe: stripes.next++, index: randomBelow(random, 3) };
      const step = model.begin(id, "store");
      await blocks.store(id, bytesOf(id.stripe, id.index, lengthOf(id.stripe)));
      step.done = true;
      mine.push(id);
    } else if (choice < 0.75) {
      const id = mine[randomBelow(random, mine.length)];
      const step = model.begin(id, "delete");
      await blocks.delete([id]);
      step.done = true;
    } else if (choice < 0.8) {
      await blocks.compact({ below: 0.95, thorough: random() < 0.7 });
    } else {
      const synced = model.beginSync();
      await blocks.sync();
      synced();
    }
  }
}

async function stateOf(blocks: SegmentBlocks, id: BlockId): Promise<string> {
  const into = new Uint8Array(lengthOf(id.stripe));
  try {
    await blocks.retrieve(id, 0, into);
  } catch (error) {
    const { code } = error as { code: string };
    if (code === "ENOENT") return "missing";
    if (code === "EBADMSG") return "damaged";
    throw error;
  }
  assert.equal(Buffer.compare(into, bytesOf(id.stripe, id.index, into.length)), 0, `wrong bytes of ${id.stripe}.${id.index}`);
  return "stored";
}

async function checkAgainst(blocks: SegmentBlocks, model: Model, story: string): Promise<void> {
  const stored = new Map<string, string>();
  for (const key of model.steps.keys()) {
    const [stripe, index] = key.split(".").map(Number);
    const state = await stateOf(blocks, { stripe, index });
    const allowed = model.allowed(key);
    assert.ok(allowed.has(state), `${story}: block ${key} is ${state}, allowed: ${[...allowed].join(", ")}`);
    if (state !== "missing") stored.set(key, state);
  }
  const listed = (await blocks.list(null, 10_000)).map(({ stripe, index }) => `${stripe}.${index}`);
  assert.deepEqual(listed.sort(), [...stored.keys()].sort(), story);
  assert.equal((await blocks.space()).blocks, stored.size, story);
}

/** After a crash the state found is the state, but for a delete that was under way: that one is done again, as its owner would. */
async function settleModel(blocks: SegmentBlocks, model: Model): Promise<void> {
  for (const [key, steps] of [...model.steps]) {
    const [stripe, index] = key.split(".").map(Number);
    const again = steps.some(({ kind }) => kind === "delete");
    if (again) await blocks.delete([{ stripe, index }]);
    const state = await stateOf(blocks, { stripe, index });
    assert.ok(!again || state === "missing", `${key} is ${state} after it was deleted again`);
    model.steps.set(key, [{ kind: state === "stored" ? "store" : "delete", done: true }]);
  }
  const synced = model.beginSync();
  await blocks.sync();
  synced();
}

async function crashRun(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const disk = await TestDisk.create(seed, { segmentBytesMax: 512 * 1024 });
  const model = new Model();
  const stripes = { next: 1 };
  for (let life = 0; life < 3; life++) {
    const story = `seed ${seed}, life ${life}`;
    const crashAt = disk.directory.calls + 20 + randomBelow(random, 400);
    let crashed = false;
    disk.directory.delay = async () => {
      disk.milliseconds += 20;
      if (random() < 0.3) await new Promise(setImmediate);
      if (disk.directory.calls < crashAt || crashed) return;
      crashed = true;
      disk.crash(randomBelow(random, disk.table.unflushedBatches + 1));
    };
    try {
      const blocks = await disk.open();
      await Promise.all([1, 2, 3].map(() => work(blocks, model, random, stripes, 40)));
      await blocks.close();
    } catch (error) {
      if (!crashed) throw error;
    }
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    disk.directory.delay = null;
    if (!crashed) disk.crash(randomBelow(random, disk.table.unflushedBatches + 1));
    if (random() < 0.2) disk.table = new MemoryTable();
    let blocks = await disk.open();
    await checkAgainst(blocks, model, story);
    // A second cut right after the repair takes nothing away.
    disk.crash(randomBelow(random, disk.table.unflushedBatches + 1));
    blocks = await disk.open();
    await checkAgainst(blocks, model, `${story}, second cut`);
    await settleModel(blocks, model);
    await blocks.close();
    blocks = await disk.open();
    await checkAgainst(blocks, model, `${story}, reopened`);
    await blocks.close();
  }
}

test("after a power cut at any step what was synced is there, the rest is right or missing", async () => {
  await forEachSeed(15, 1, crashRun);
});

import assert from "node:assert/strict";
import test from "node:test";
import { EmbeddedStore } from "../../fs/embedded.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import type { Table } from "../../storage/table.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { MemoryStripes } from "./mount/doubles.ts";
import { newFiles, readStep, runSteps } from "./mount/model.ts";
import { attributes, createFile, openFile, read, sync, write } from "./mount/program.ts";
import { seedsOf } from "../fixture/seeds.ts";

const schemes = { full: "rs:4+2", small: "copies:3" };

/** Stripes that a power cut takes away unless they were synced. */
class LosableStripes extends MemoryStripes {
  #durable = new Map<number, Uint8Array>();

  override async sync(): Promise<void> {
    for (const [id, bytes] of this.stored) this.#durable.set(id, bytes);
  }

  crash(): LosableStripes {
    const after = new LosableStripes();
    for (const [id, bytes] of this.#durable) after.stored.set(id, bytes);
    after.#durable = new Map(this.#durable);
    return after;
  }
}

/** The table as one process sees it: dead after the crash, so that its late writes do not reach the successor's. */
function tableOf(table: MemoryTable): { view: Table; end: () => void } {
  let alive = true;
  const check = (): void => assert(alive, "the process is dead");
  return {
    view: {
      get: async (keys) => (check(), table.get(keys)),
      range: async (options) => (check(), table.range(options)),
      write: async (batch) => (check(), table.write(batch)),
      flush: async () => (check(), table.flush()),
      snapshot: () => (check(), table.snapshot()),
      close: async () => {},
    },
    end: () => void (alive = false),
  };
}

for (const seed of seedsOf(12)) {
  test(`everything that was synced survives a power cut, seed ${seed}`, async () => {
    const random = seededRandom(seed);
    const disk = new SimulatedDirectory({ seed });
    const table = new MemoryTable();
    const before = new LosableStripes();
    const first = tableOf(table);
    const store = await EmbeddedStore.open({
      table: first.view,
      log: await LocalLog.open(disk.view()),
      stripes: before,
      schemes,
    });
    const mount = await store.openMount();
    const options = { files: 3, steps: 60 + randomBelow(random, 150), maximumBytes: 400_000, random };
    const list = await newFiles(mount, options);
    await runSteps(mount, list, options);
    for (const model of list) await sync(model.file);
    // A file that nobody synced: it may be there afterwards or not, but must harm nothing.
    await write(await createFile(mount, "unsynced"), 0, new Uint8Array(100_000).fill(1));
    first.end();
    disk.crash();
    table.crash(randomBelow(random, table.unflushedBatches + 1));
    const stripes = before.crash();
    const again = await EmbeddedStore.open({ table, log: await LocalLog.open(disk.view()), stripes, schemes });
    const mounted = await again.openMount();
    for (const model of list) {
      model.file = await openFile(mounted, model.name);
      assert.equal((await attributes(model.file)).size, model.size);
      await readStep(model, 0, options.maximumBytes);
      assert.equal((await read(model.file, model.size, 10)).length, 0);
    }
    await again.close();
  });
}

for (const seed of seedsOf(12)) {
  test(`stripe numbers are not given out twice over a power cut, seed ${seed}`, async () => {
    const disk = new SimulatedDirectory({ seed });
    const table = new MemoryTable();
    const stripes = new LosableStripes();
    let given = 0;
    for (let life = 0; life < 4; life++) {
      const { view, end } = tableOf(table);
      const store = await EmbeddedStore.open({ table: view, log: await LocalLog.open(disk.view()), stripes, schemes });
      const { session } = await store.openMount();
      for (const first of [
        (await session.call("reserveStripes", { count: 3 })).first,
        await store.namespace.relocation.reserve(3),
      ]) {
        assert.ok(first > given, `${first} was given out before: numbers up to ${given} were`);
        given = first + 2;
      }
      end();
      disk.crash();
      table.crash(0);
    }
  });
}

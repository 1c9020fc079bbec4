// Power cuts at any step of the cleaner, and of moving inline data, over a whole store: log, table and six block stores on
// simulated disks.
import assert from "node:assert/strict";
import test, { after } from "node:test";
import { randomBelow } from "../../storage/seeded-random.ts";
import { CrashingStore, checkStore } from "./crashing-store.ts";
import { newFiles, readStep, runSteps } from "./mount/model.ts";
import { createFile, openFile, read, sync, write } from "./mount/program.ts";
import { seedsOf } from "../fixture/seeds.ts";

const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

for (const seed of seedsOf(10)) {
  test(`nothing that was synced is lost where the power goes while the cleaner works, seed ${seed}`, async () => {
    const world = await CrashingStore.create(seed);
    const { random } = world;
    let { store, blocks } = await world.open();
    const mount = await store.openMount();
    const options = { files: 3, steps: 80, maximumBytes: 600_000, random };
    const list = await newFiles(mount, options);
    await runSteps(mount, list, options);
    for (const model of list) await sync(model.file);
    for (let life = 0; life < 3; life++) {
      const story = `seed ${seed}, life ${life}`;
      const crashed = world.crashAfter(randomBelow(random, 150));
      const cleaning = (async () => {
        for (;;) {
          await store.cleaner.run({ thorough: true });
          await store.namespace.tick();
          await store.namespace.sync();
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      })();
      await Promise.race([crashed, cleaning.catch(() => {})]);
      await store.cleaner.stop();
      ({ store, blocks } = await world.open());
      await checkStore(store, blocks, story);
      const again = await store.openMount();
      for (const model of list) {
        model.file = await openFile(again, model.name);
        await readStep(model, 0, options.maximumBytes);
      }
      await runSteps(again, list, { ...options, steps: 25 });
      for (const model of list) await sync(model.file);
    }
    await store.cleaner.run({ thorough: true });
    await checkStore(store, blocks, `seed ${seed}, at the end`);
    for (const model of list) await readStep(model, 0, options.maximumBytes);
    await store.close();
  });
}

for (const seed of seedsOf(10)) {
  test(`... while data leaves the table for stripes, seed ${seed}`, async () => {
    const world = await CrashingStore.create(seed);
    const { random } = world;
    const limits = { inlineFileBytes: 96 * 1024 };
    let { store, blocks } = await world.open(limits);
    const bytes = new Uint8Array(400_000);
    let file = await createFile(await store.openMount(), "database");
    await write(file, 0, bytes);
    await sync(file);
    for (let life = 0; life < 3; life++) {
      const story = `seed ${seed}, life ${life}`;
      const crashed = world.crashAfter(100 + randomBelow(random, 400));
      // What was being written when the power went may be there or not.
      let last = { offset: 0, piece: bytes.slice(0, 4096) };
      const writing = (async () => {
        for (;;) {
          const offset = randomBelow(random, 97) * 4096;
          const piece = new Uint8Array(4096).fill(1 + randomBelow(random, 255));
          last = { offset, piece };
          await write(file, offset, piece);
          await sync(file);
          bytes.set(piece, offset);
        }
      })();
      await Promise.race([crashed, writing.catch(() => {})]);
      ({ store, blocks } = await world.open(limits));
      await checkStore(store, blocks, story);
      file = await openFile(await store.openMount(), "database");
      const found = await read(file, 0, bytes.length);
      const { offset, piece } = last;
      if (Buffer.compare(found.subarray(offset, offset + 4096), piece) === 0) bytes.set(piece, offset);
      assert.equal(Buffer.compare(found, bytes), 0, story);
    }
    await store.close();
  });
}

import assert from "node:assert/strict";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { MemoryTable } from "../../storage/memory-table.ts";
import { RocksTable } from "../../storage/rocks-table.ts";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import type { Table } from "../../storage/table.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const put = (key: string, value: string): { key: Buffer; value: Buffer } => ({ key: bytes(key), value: bytes(value) });
const read = (entries: { key: Uint8Array; value: Uint8Array }[]): string =>
  entries.map(({ key, value }) => `${Buffer.from(key).toString("latin1")}=${Buffer.from(value).toString("latin1")}`).join(" ");

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), "cairn-table-"));
  try {
    await work(directory);
  } finally {
    await fs.rm(directory, { recursive: true, force: true });
  }
}

async function eachTable(work: (table: Table) => Promise<void>): Promise<void> {
  await work(new MemoryTable());
  await inDirectory(async (directory) => {
    const table = await RocksTable.open(path.join(directory, "table"));
    try {
      await work(table);
    } finally {
      await table.close();
    }
  });
}

test("a table gives back what was put, null for what is missing, and empty values as empty", async () => {
  await eachTable(async (table) => {
    await table.write({ puts: [put("a", "1"), put("empty", "")], deletes: [] });
    const [one, none, empty] = await table.get([bytes("a"), bytes("b"), bytes("empty")]);
    assert.deepEqual([...one!], [0x31]);
    assert.equal(none, null);
    assert.equal(empty?.length, 0);
    assert.deepEqual(await table.get([]), []);
  });
});

test("ranges are in byte order, half open, limited, and go backwards", async () => {
  await eachTable(async (table) => {
    await table.write({ puts: ["b", "a", "c", "\xff", "\x00", "ab"].map((key) => put(key, "v")), deletes: [] });
    const range = (gte: string, lt: string, more = {}): Promise<string> =>
      table.range({ gte: bytes(gte), lt: bytes(lt), ...more }).then(read);
    assert.equal(await range("a", "c"), "a=v ab=v b=v");
    assert.equal(await range("a", "c", { limit: 2 }), "a=v ab=v");
    assert.equal(await range("a", "c", { reverse: true }), "b=v ab=v a=v");
    assert.equal(await range("a", "c", { reverse: true, limit: 1 }), "b=v");
    assert.equal(await range("c", "a"), "");
    assert.equal(await range("d", "e"), "");
    assert.equal(await range("\x00", "\xff"), "\x00=v a=v ab=v b=v c=v");
  });
});

test("in one batch deletes come before puts", async () => {
  await eachTable(async (table) => {
    await table.write({ puts: [put("a", "old"), put("b", "old")], deletes: [] });
    await table.write({ puts: [put("a", "new")], deletes: [bytes("a"), bytes("b")] });
    assert.equal(read(await table.range({ gte: bytes("a"), lt: bytes("z") })), "a=new");
  });
});

test("long ranges and large reads equal a model", async () => {
  await eachTable(async (table) => {
    const random = seededRandom(7);
    const model = new Map<string, string>();
    for (let round = 0; round < 20; round++) {
      const puts = Array.from({ length: 200 }, () => put(`k${String(randomBelow(random, 5000)).padStart(5, "0")}`, `v${round}`));
      await table.write({ puts, deletes: [] });
      for (const { key, value } of puts) model.set(key.toString("latin1"), value.toString("latin1"));
    }
    const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`); // prettier-ignore
    assert.equal(read(await table.range({ gte: bytes("k"), lt: bytes("l") })), expected.join(" "));
    for (const limit of [1, 255, 256, 257, 1000]) {
      assert.equal(read(await table.range({ gte: bytes("k"), lt: bytes("l"), limit })), expected.slice(0, limit).join(" "));
    }
    const keys = [...model.keys()];
    const values = await table.get(keys.map(bytes));
    assert.deepEqual(values.map((value) => Buffer.from(value!).toString("latin1")), [...model.values()]); // prettier-ignore
  });
});

test("a memory table that crashes keeps what was flushed and a prefix of the rest", async () => {
  const table = new MemoryTable();
  await table.write({ puts: [put("a", "1")], deletes: [] });
  await table.flush();
  await table.write({ puts: [put("b", "2")], deletes: [bytes("a")] });
  await table.write({ puts: [put("c", "3")], deletes: [] });
  assert.equal(table.unflushedBatches, 2);
  table.crash(1);
  assert.equal(read(await table.range({ gte: bytes("a"), lt: bytes("z") })), "b=2");
  await table.write({ puts: [put("d", "4")], deletes: [] });
  table.crash(0);
  assert.equal(read(await table.range({ gte: bytes("a"), lt: bytes("z") })), "b=2");
});

test("a table is found again after close, and cannot be opened twice", async () => {
  await inDirectory(async (directory) => {
    const place = path.join(directory, "table");
    await assert.rejects(RocksTable.open(place, { mustExist: true }), { code: "ENOENT" });
    const table = await RocksTable.open(place);
    await table.write({ puts: [put("a", "1")], deletes: [] });
    await assert.rejects(RocksTable.open(place), { code: "EBUSY" });
    await table.flush();
    await table.close();
    const again = await RocksTable.open(place, { mustExist: true });
    assert.equal(read(await again.range({ gte: bytes("a"), lt: bytes("z") })), "a=1");
    await again.close();
  });
});

test("a table whose files are damaged or missing is refused or refuses to read, naming its directory", async () => {
  for (const damage of ["manifest cut", "current garbled", "table file missing", "table file flipped"]) {
    await inDirectory(async (directory) => {
      const place = path.join(directory, "table");
      const table = await RocksTable.open(place);
      const filler = Array.from({ length: 2000 }, (_, index) => put(`key${index}`, `value${index}`.repeat(9)));
      await table.write({ puts: filler, deletes: [] });
      await table.flush();
      await table.close();
      await damageTable(place, damage);
      const reading = async (): Promise<void> => {
        const damaged = await RocksTable.open(place);
        try {
          await damaged.range({ gte: bytes("k"), lt: bytes("l") });
        } finally {
          await damaged.close();
        }
      };
      await assert.rejects(reading(), (error: Error & { code: string }) => {
        assert.equal(error.code, "ECORRUPT", `${damage}: ${error.message}`);
        assert.ok(error.message.includes(place), error.message);
        return true;
      });
    });
  }
});

async function damageTable(place: string, damage: string): Promise<void> {
  const names = await fs.readdir(place);
  const named = (pattern: RegExp): string => path.join(place, names.find((name) => pattern.test(name))!); // prettier-ignore
  if (damage === "manifest cut") await fs.truncate(named(/^MANIFEST/), 10);
  else if (damage === "current garbled") await fs.writeFile(path.join(place, "CURRENT"), "nonsense");
  else if (damage === "table file missing") await fs.rm(named(/\.sst$/));
  else {
    const content = await fs.readFile(named(/\.sst$/));
    content.fill(0xa5, 100, 1000);
    await fs.writeFile(named(/\.sst$/), content);
  }
}

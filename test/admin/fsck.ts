import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import type { TaskReport, WhereReport } from "../../admin/api.ts";
import { ByteWriter, checksum, checksumText } from "../../fs/namespace/bytes.ts";
import { id8, keyBytes, TAG_INODE, TAG_STRIPE } from "../../fs/namespace/keys.ts";
import { decodeInode, decodeStripe, encodeInode, encodeStripe, openValue } from "../../fs/namespace/records.ts";
import type { InodeId, StripeId } from "../../fs/types.ts";
import { openDisk } from "../../admin/disks.ts";
import { RocksTable } from "../../storage/rocks-table.ts";
import { makeStore, shell, type Store } from "../fixture/store.ts";

async function withStore(name: string, body: (store: Store) => Promise<void>): Promise<void> {
  const store = makeStore(name);
  try {
    await store.start();
    await body(store);
  } finally {
    await store.destroy();
  }
}

async function fsck(store: Store, ...words: string[]): Promise<{ code: number | null; report: TaskReport; stderr: string }> {
  const ran = await store.cairn("fsck", ...words, "--json");
  const lines = ran.stdout.trim().split("\n").map((line) => JSON.parse(line) as TaskReport); // prettier-ignore
  return { code: ran.code, report: lines.findLast((line) => line.kind === "fsck")!, stderr: ran.stderr };
}

/** Kinds of problems with their numbers. */
function kinds({ counts }: TaskReport): Record<string, number> {
  const { stripes: _stripes, blocks: _blocks, problems: _problems, repaired: _repaired, ...rest } = counts;
  return rest;
}

async function changeRecord(store: Store, key: string, change: (value: Uint8Array, writer: ByteWriter) => void): Promise<void> {
  const table = await RocksTable.open(path.join(store.data, "namespace/table"), { mustExist: true });
  const [value] = await table.get([keyBytes(key)]);
  const writer = new ByteWriter();
  change(value!, writer);
  writer.uint32(checksum(writer.bytes, 0, writer.at, checksumText(key)));
  await table.write({ puts: [{ key: keyBytes(key), value: writer.bytes.slice(0, writer.at) }], deletes: [] });
  await table.flush();
  await table.close();
}

test("a clean store is clean, at rest and while files are made, written, renamed and removed", () =>
  withStore("fsck-clean", async (store) => {
    await shell(`cp -r /usr/include/linux "${store.mount}/" && head -c 9000000 /dev/urandom > "${store.mount}/random"`);
    assert.deepEqual(kinds((await fsck(store, "--verify")).report), {});
    const load = shell(
      `cd "${store.mount}"; for round in $(seq 1 40); do
         mkdir d$round; for i in 1 2 3 4 5 6; do head -c 30000 /dev/urandom > d$round/$i; ln d$round/$i d$round/l$i; done
         head -c 3000000 /dev/urandom > big; sync -f big; mv d$round e$round; [ $round -gt 3 ] && rm -r e$((round - 3)); truncate -s 100000 big
       done; true`,
    );
    for (let round = 0; round < 4; round++) {
      const { code, report } = await fsck(store);
      assert.deepEqual(report.findings, []);
      assert.equal(code, 0);
    }
    await load;
    const { code, report } = await fsck(store, "--verify");
    assert.deepEqual([code, report.findings], [0, []]);
  }));

test("damage of each kind is found by its name, and --repair mends what it says", () =>
  withStore("fsck-damage", async (store) => {
    await shell(`head -c 9000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/a"`);
    await shell(`mkdir "${store.mount}/directory" && echo small > "${store.mount}/directory/b" && sync -f "${store.mount}/a"`);
    const { extents } = await store.json<WhereReport>("where", path.join(store.mount, "a"));
    const inode = fs.statSync(path.join(store.mount, "a")).ino as InodeId;
    const directory = fs.statSync(path.join(store.mount, "directory")).ino as InodeId;
    const [first, second] = extents;
    assert.equal(await store.stop(), 0);

    const { uuid } = JSON.parse(fs.readFileSync(path.join(store.data, "store.json"), "utf8")) as { uuid: string };
    const lost = first.blocks[2];
    const disk = await openDisk(path.join(store.data, `disk-${lost.disk}`), uuid, lost.disk, () => {});
    await disk.delete([{ stripe: first.stripe!, index: lost.index }]);
    await disk.store({ stripe: 4_000_000, index: 1 }, new Uint8Array(5000));
    await disk.store({ stripe: second.stripe!, index: 9 }, new Uint8Array(6000));
    await disk.close();
    const rotten = second.blocks[0];
    const descriptor = fs.openSync(rotten.file!, "r+");
    fs.writeSync(descriptor, Buffer.from("damaged"), 0, 7, rotten.offset! + 100);
    fs.closeSync(descriptor);
    const stripeKey = TAG_STRIPE + id8(first.stripe!);
    await changeRecord(store, stripeKey, (bytes, writer) => {
      const stripe = decodeStripe(openValue(stripeKey, { bytes, start: 0, end: bytes.length }), first.stripe! as StripeId);
      encodeStripe(writer, { ...stripe, live: stripe.live - 4096 });
    });
    for (const [id, field, by] of [
      [inode, "linkCount", 3],
      [inode, "allocatedBytes", 100],
      [directory, "size", 16],
    ] as const) {
      // prettier-ignore
      const key = TAG_INODE + id8(id);
      await changeRecord(store, key, (bytes, writer) => {
        const record = decodeInode(openValue(key, { bytes, start: 0, end: bytes.length }), id);
        record[field] += by;
        encodeInode(writer, record);
      });
    }
    await store.start();

    const seen = await fsck(store);
    assert.equal(seen.code, 4);
    const expected = { "namespace-count": 3, "namespace-links": 1, missing: 1, ownerless: 1, misplaced: 1 };
    assert.deepEqual(kinds(seen.report), expected, seen.report.findings.join("\n"));
    for (const text of [
      `stripe ${first.stripe} counts`,
      `inode ${inode} has link count 4`,
      `inode ${inode} counts`,
      `directory ${directory} has size`,
      `block ${lost.index} on disk ${lost.disk} is missing`,
      "block 1 of stripe 4000000",
      `block 9 of stripe ${second.stripe}`,
    ])
      // prettier-ignore
      assert.ok(seen.report.findings.some((line) => line.includes(text)), `${text} in:\n${seen.report.findings.join("\n")}`);

    const mended = await fsck(store, "--verify", "--repair");
    assert.deepEqual(kinds(mended.report), { ...expected, damaged: 1 }, mended.report.findings.join("\n"));
    assert.equal(mended.report.counts.repaired, mended.report.counts.problems, mended.report.findings.join("\n"));
    assert.equal(mended.code, 0);
    assert.equal((await fsck(store, "--verify")).code, 0);
    await shell(`cmp "${store.directory}/a" "${store.mount}/a"`);
    assert.equal(fs.statSync(path.join(store.mount, "a")).nlink, 1);
  }));

test("what cannot be mended remains, and the exit code says so", () =>
  withStore("fsck-lost", async (store) => {
    await shell(`head -c 3000000 /dev/urandom > "${store.mount}/a" && sync -f "${store.mount}/a"`);
    const { extents } = await store.json<WhereReport>("where", path.join(store.mount, "a"));
    await store.stop();
    const { uuid } = JSON.parse(fs.readFileSync(path.join(store.data, "store.json"), "utf8")) as { uuid: string };
    for (const { disk, index } of extents[0].blocks.slice(0, 3)) {
      const blocks = await openDisk(path.join(store.data, `disk-${disk}`), uuid, disk, () => {});
      await blocks.delete([{ stripe: extents[0].stripe!, index }]);
      await blocks.close();
    }
    await store.start();
    const { code, report, stderr } = await fsck(store, "--repair");
    assert.equal(code, 4);
    assert.equal(report.counts.unreadable, 1);
    assert.match(stderr, /1 problems remain/);
  }));

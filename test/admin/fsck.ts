import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import type { StatusReport, TaskReport, WhereReport } from "../../admin/api.ts";
import { ByteWriter, checksum, checksumText } from "../../fs/namespace/bytes.ts";
import { after, id8, keyBytes, TAG_INODE, TAG_NAME, TAG_ORDER, TAG_RESERVATION, TAG_STRIPE } from "../../fs/namespace/keys.ts";
import { decodeInode, decodeStripe, encodeInode, encodeStripe, type Inode, openValue } from "../../fs/namespace/records.ts";
import type { InodeId, StripeId } from "../../fs/types.ts";
import { openDisk } from "../../admin/disks.ts";
import { RocksTable } from "../../storage/rocks-table.ts";
import { shell, type Store, withRunningStore } from "../fixture/store.ts";

async function fsck(store: Store, ...words: string[]): Promise<{ code: number | null; report: TaskReport; stderr: string }> {
  const ran = await store.cairn("fsck", ...words, "--json");
  const lines = ran.stdout.trim().split("\n").map((line) => JSON.parse(line) as TaskReport); // prettier-ignore
  return { code: ran.code, report: lines.findLast((line) => line.kind === "fsck")!, stderr: ran.stderr };
}

/** Writes the inode's record anew. */
function changeInode(store: Store, id: InodeId, change: (inode: Inode) => void): Promise<void> {
  const key = TAG_INODE + id8(id);
  return changeRecord(store, key, (bytes, writer) => {
    const inode = decodeInode(openValue(key, { bytes, start: 0, end: bytes.length }), id);
    change(inode);
    encodeInode(writer, inode);
  });
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
  withRunningStore("fsck-clean", async (store) => {
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
  withRunningStore("fsck-damage", async (store) => {
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
    await changeInode(store, inode, (record) => ((record.linkCount += 3), (record.allocatedBytes += 100)));
    await changeInode(store, directory, (record) => (record.size += 16));
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

test("files that lost their names are found in lost+found, removed ones are freed, and programs see both at once", () =>
  withRunningStore("fsck-orphans", async (store) => {
    await shell(`cd "${store.mount}" && mkdir d && echo data > d/kept && echo gone > d/removed && sync -f d/kept && sync d`);
    const inodeOf = (name: string): InodeId => fs.statSync(path.join(store.mount, name)).ino as InodeId;
    const [directory, kept, removed] = ["d", "d/kept", "d/removed"].map(inodeOf);
    assert.equal(await store.stop(), 0);
    const table = await RocksTable.open(path.join(store.data, "namespace/table"), { mustExist: true });
    const deletes: Uint8Array[] = [];
    for (const tag of [TAG_NAME, TAG_ORDER]) {
      const prefix = tag + id8(directory);
      for (const { key } of await table.range({ gte: keyBytes(prefix), lt: keyBytes(after(prefix)) })) deletes.push(key);
    }
    assert.equal(deletes.length, 4);
    await table.write({ puts: [], deletes });
    await table.flush();
    await table.close();
    await changeInode(store, removed, (inode) => (inode.linkCount = 0));
    await store.start();
    await shell(`ls -la "${store.mount}" "${store.mount}/d"`);

    const seen = await fsck(store);
    assert.equal(seen.code, 4);
    assert.deepEqual(kinds(seen.report), { "namespace-orphan": 2, "namespace-count": 1 });
    const orphans = seen.report.problems!.filter(({ kind }) => kind === "namespace-orphan");
    const about = { kind: "namespace-orphan", repaired: false, stripe: null, block: null, disk: null };
    assert.deepEqual(orphans.map(({ text: _, ...rest }) => rest), [{ ...about, inode: kept }, { ...about, inode: removed }]); // prettier-ignore

    const mended = await fsck(store, "--repair");
    assert.equal(mended.code, 0, mended.stderr);
    assert.ok(mended.report.problems!.every(({ repaired }) => repaired));
    assert.equal(await shell(`cat "${store.mount}/lost+found/inode-${kept}"; ls -A "${store.mount}/lost+found"`), `data\ninode-${kept}\n`); // prettier-ignore
    assert.deepEqual((await fsck(store)).report.problems ?? [], []);
    await shell(
      `for i in $(seq 100); do [ "$(ls -A "${store.mount}/d")" = "" ] && rmdir "${store.mount}/d" && exit 0; sleep 0.1; done; exit 1`,
    );
    await shell(`mv "${store.mount}/lost+found/inode-${kept}" "${store.mount}/back" && rmdir "${store.mount}/lost+found"`);
    assert.equal((await fsck(store)).code, 0);
    assert.equal((await store.json<StatusReport>("status")).inodes, 2);
  }));

test("what cannot be mended remains, and the exit code says so", () =>
  withRunningStore("fsck-lost", async (store) => {
    await shell(
      `mkdir "${store.mount}/d" && head -c 3000000 /dev/urandom > "${store.mount}/d/a" && ln "${store.mount}/d/a" "${store.mount}/ä" && cp "${store.mount}/d/a" "${store.directory}/a" && sync -f "${store.mount}/d/a"`,
    );
    const { ino: inode } = fs.statSync(path.join(store.mount, "ä"));
    const { extents } = await store.json<WhereReport>("where", path.join(store.mount, "ä"));
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
    // Three of the four data blocks; the last one is there.
    const length = 3 * extents[0].blocks[0].bytes;
    assert.deepEqual(report.lostFiles, [{ inode, paths: ["/d/a", "/ä"], ranges: [{ offset: 0, length }] }]);
    assert.ok(report.findings.includes(`lost: /d/a = /ä (inode ${inode}): bytes 0 to ${length - 1}`));
    const rest = `iflag=direct,skip_bytes bs=4096 skip=${length} status=none`;
    await shell(
      `cmp <(dd if="${store.mount}/ä" ${rest}) <(dd if="${store.directory}/a" iflag=skip_bytes skip=${length} status=none)`,
    );
    assert.match(stderr, /1 problems remain/);
  }));

test("records that are lost or damaged come back from what is left of them, on a running store", () =>
  withRunningStore("fsck-records", async (store) => {
    await shell(
      `mkdir "${store.mount}/d" && head -c 5000000 /dev/urandom > "${store.directory}/a" && cp "${store.directory}/a" "${store.mount}/d/a" && sync -f "${store.mount}/d/a"`,
    );
    const file = path.join(store.mount, "d/a");
    const inode = fs.statSync(file).ino as InodeId;
    const { ino: directory } = fs.statSync(path.join(store.mount, "d"));
    const { extents } = await store.json<WhereReport>("where", file);
    assert.ok(extents.length >= 2);
    assert.equal(await store.stop(), 0);
    const damaged = [TAG_INODE + id8(inode), TAG_INODE + id8(directory), TAG_STRIPE + id8(extents[0].stripe!)];
    const table = await RocksTable.open(path.join(store.data, "namespace/table"), { mustExist: true });
    const values = await table.get(damaged.map(keyBytes));
    const puts = values.map((value, index) => ({ key: keyBytes(damaged[index]), value: Uint8Array.from(value!).fill(0, 0, 5) }));
    // The reservation goes, too: what is reserved and has no record was never committed, and is swept.
    const reserved = await table.range({ gte: keyBytes(TAG_RESERVATION), lt: keyBytes(after(TAG_RESERVATION)) });
    const deletes = [keyBytes(TAG_STRIPE + id8(extents[1].stripe!)), ...reserved.map(({ key }) => key)];
    await table.write({ puts, deletes });
    await table.flush();
    await table.close();
    await store.start();

    const seen = await fsck(store);
    assert.equal(seen.code, 4, seen.stderr);
    assert.equal(seen.report.counts["namespace-damaged"], 3, seen.report.findings.join("\n"));
    assert.equal(seen.report.counts.ownerless, undefined, "blocks of a stripe without a record are nobody's to remove");

    const mended = await fsck(store, "--repair");
    assert.equal(mended.code, 0, mended.report.findings.join("\n"));
    assert.deepEqual((await fsck(store, "--verify")).report.problems ?? [], []);
    await shell(`cmp "${store.directory}/a" "${file}"`);
    const quarantine = path.join(store.data, "namespace/quarantine");
    const kept = fs.readdirSync(quarantine).map((name) => JSON.parse(fs.readFileSync(path.join(quarantine, name), "utf8")) as Record<string, string>); // prettier-ignore
    assert.deepEqual(kept.map(({ key }) => Buffer.from(key, "hex").toString("latin1")).sort(), [...damaged].sort());
    assert.ok(kept.every(({ value }) => value.startsWith("0000000000")));
  }));

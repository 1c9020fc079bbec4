import assert from "node:assert/strict";
import test from "node:test";
import {
  blockKey,
  decodeBlockKey,
  decodeEntry,
  encodeEntry,
  encodeMeta,
  encodeSummary,
  segmentKey,
} from "../../storage/block-index-format.ts";
import {
  checkSegmentHeader,
  decodeDeletions,
  decodeRecordHeader,
  encodeDeletions,
  encodeRecordHeader,
  encodeSegmentHeader,
  parseSegmentName,
  RECORD_KIND_BLOCK,
  recordBytes,
  recordHeaderBytes,
  segmentName,
  type RecordHeader,
} from "../../storage/segment-format.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const HEADER: RecordHeader = {
  kind: RECORD_KIND_BLOCK,
  stripe: 0x123456789abc,
  index: 5,
  sequence: 0x1_0000_0002,
  length: 20_000,
  checksums: Uint32Array.of(0x11223344, 0xaabbccdd),
};
const PLACE = { salt: 0xdeadbeef, segment: 7, offset: 4096 };

test("a segment's header has these bytes", () => {
  const page = new Uint8Array(4096).fill(0xff);
  encodeSegmentHeader(page, "small", 7, 0xdeadbeef);
  assert.equal(hex(page.subarray(0, 32)), "434149524e534547010000000200000007000000400000 00efbeadde4f406c56".replace(" ", ""));
  assert.ok(page.subarray(32).every((byte) => byte === 0));
});

test("a segment's header is told from a blank, a damaged, another one's and another version's", () => {
  const page = new Uint8Array(4096);
  assert.equal(checkSegmentHeader(page, "large", 7, 1), "blank");
  encodeSegmentHeader(page, "large", 7, 1);
  assert.equal(checkSegmentHeader(page, "large", 7, 1), "good");
  assert.equal(checkSegmentHeader(page, "small", 7, 1), "foreign");
  assert.equal(checkSegmentHeader(page, "large", 8, 1), "foreign");
  assert.equal(checkSegmentHeader(page, "large", 7, 2), "foreign");
  page[17] ^= 1;
  assert.equal(checkSegmentHeader(page, "large", 7, 1), "damaged");
});

test("a record's header has these bytes", () => {
  const bytes = new Uint8Array(64).fill(0xff);
  encodeRecordHeader(bytes, HEADER, PLACE);
  assert.equal(
    hex(bytes),
    "43424c4b01010500bc9a7856341200000200000001000000204e00000040000081798dcb0000000044332211ddccbbaa00000000000000000000000000000000",
  );
});

test("every flipped bit of a record's header is noticed, but for the deletion mark's", () => {
  const bytes = new Uint8Array(64);
  encodeRecordHeader(bytes, HEADER, PLACE);
  assert.deepEqual(decodeRecordHeader(bytes, PLACE), { ...HEADER, deleted: false });
  for (let bit = 0; bit < 48 * 8; bit++) {
    bytes[bit >> 3] ^= 1 << (bit & 7);
    const mark = bit >= 36 * 8 && bit < 40 * 8;
    assert.deepEqual(decodeRecordHeader(bytes, PLACE), mark ? { ...HEADER, deleted: false } : null, `bit ${bit}`);
    bytes[bit >> 3] ^= 1 << (bit & 7);
  }
  bytes.set(Buffer.from("DEAD"), 36);
  assert.equal(decodeRecordHeader(bytes, PLACE)?.deleted, true);
});

test("a record's header is no header at another place, of another disk, or cut short", () => {
  const bytes = new Uint8Array(64);
  encodeRecordHeader(bytes, HEADER, PLACE);
  for (const place of [
    { ...PLACE, salt: 1 },
    { ...PLACE, segment: 8 },
    { ...PLACE, offset: 8192 },
  ])
    assert.equal(decodeRecordHeader(bytes, place), null);
  for (let length = 0; length < 48; length++) assert.equal(decodeRecordHeader(bytes.subarray(0, length), PLACE), null);
});

test("records pack by cache lines in small segments and by pages in large ones", () => {
  assert.equal(recordHeaderBytes(4096, "small"), 64);
  assert.equal(recordBytes(4096, "small"), 4160);
  assert.equal(recordBytes(1, "small"), 128);
  assert.equal(recordHeaderBytes(128 * 1024, "small"), 128);
  assert.equal(recordBytes(1024 * 1024, "large"), 1024 * 1024 + 4096);
  assert.equal(recordBytes(4 * 1024 * 1024 - 1, "large"), 4 * 1024 * 1024 + 4096);
});

test("deletions have these bytes", () => {
  const deletions = [{ id: { stripe: 258, index: 3 }, sequence: 2 ** 33 }];
  assert.equal(hex(encodeDeletions(deletions)), "0201000000000000" + "0000000002000000" + "0300000000000000");
  assert.deepEqual(decodeDeletions(encodeDeletions(deletions)), deletions);
});

test("segment names tell kind and number, and nothing else is taken for one", () => {
  assert.equal(segmentName(12, "large"), "00000012.large");
  assert.deepEqual(parseSegmentName("00000012.small"), { number: 12, kind: "small" });
  for (const name of ["12.large", "00000012.huge", "00000012.large.new", "LOCK", ""]) assert.equal(parseSegmentName(name), null);
});

test("index keys sort as stripes and indexes do, and values have these bytes", () => {
  const ids = [
    { stripe: 0, index: 0 },
    { stripe: 1, index: 255 },
    { stripe: 1, index: 256 },
    { stripe: 2 ** 32, index: 0 },
    { stripe: 2 ** 52, index: 1 },
  ];
  const keys = ids.map(blockKey);
  for (let at = 1; at < keys.length; at++) assert.ok(Buffer.compare(keys[at - 1], keys[at]) < 0);
  assert.deepEqual(keys.map(decodeBlockKey), ids);
  assert.equal(hex(keys[1]), "620000000000000001000000ff");
  const entry = { segment: 7, offset: 4096, length: 20_000, sequence: 9, checksums: HEADER.checksums };
  assert.equal(hex(encodeEntry(keys[1], entry)), "07000000204e00000010000000000000090000000000000044332211ddccbbaa5004f64b");
  assert.equal(
    hex(encodeSummary(segmentKey(7), { indexedUpTo: 8192, records: 2, blockBytes: 24_096 })),
    "00200000000000000200000000000000205e0000000000005d343cd1",
  );
  assert.equal(hex(encodeMeta({ version: 1, salt: 0xdeadbeef, sequence: 77 })), "01000000efbeadde4d00000000000000e7209dbe");
});

test("every flipped bit of an index value is noticed, and so is a value under another key", () => {
  const key = blockKey({ stripe: 1, index: 2 });
  const entry = { segment: 7, offset: 4096, length: 20_000, sequence: 9, checksums: HEADER.checksums };
  const value = encodeEntry(key, entry);
  assert.deepEqual(decodeEntry(key, value), entry);
  for (let bit = 0; bit < value.length * 8; bit++) {
    value[bit >> 3] ^= 1 << (bit & 7);
    assert.equal(decodeEntry(key, value), null, `bit ${bit}`);
    value[bit >> 3] ^= 1 << (bit & 7);
  }
  assert.equal(decodeEntry(blockKey({ stripe: 1, index: 3 }), value), null);
  assert.equal(decodeEntry(key, value.subarray(0, value.length - 1)), null);
});

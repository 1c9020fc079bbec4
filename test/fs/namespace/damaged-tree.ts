// A small tree in a table that tests damage by hand, record by record.
import assert from "node:assert/strict";
import { ByteReader, ByteWriter, checksum, checksumText } from "../../../fs/namespace/bytes.ts";
import { id8, keyBytes, TAG_INODE, TAG_NAME, TAG_ORDER, TAG_STRIPE } from "../../../fs/namespace/keys.ts";
import {
  decodeInode,
  decodeName,
  decodeStripe,
  encodeInode,
  encodeStripe,
  type Inode,
  openValue,
  type StripeRecord,
} from "../../../fs/namespace/records.ts";
import { type InodeId, S_IFDIR, type StripeId } from "../../../fs/types.ts";
import type { DiskId } from "../../../replication/stripe.ts";
import type { MemoryTable } from "../../../storage/memory-table.ts";
import { makeEntry, name, openStore, problems, type TestStore } from "./memory-log.ts";

export interface Tree extends TestStore {
  directory: InodeId;
  below: InodeId;
  /** `directory/file`, with data in `stripe`, an inline extent and an attribute. */
  file: InodeId;
  /** `directory/twice` and `directory/again`. */
  twice: InodeId;
  stripe: StripeId;
}

export const BYTES = 100_000;

export async function makeTree(): Promise<Tree> {
  const store = await openStore();
  const { session, root, namespace } = store;
  const { inode: directory } = await makeEntry(session, root, "directory", S_IFDIR | 0o755);
  const { inode: below } = await makeEntry(session, directory, "below", S_IFDIR | 0o755);
  const { inode: file } = await makeEntry(session, directory, "file");
  const { inode: twice } = await makeEntry(session, directory, "twice");
  await session.call("link", { inode: twice, parent: directory, name: name("again") });
  const { first: stripe } = await session.call("reserveStripes", { count: 1 });
  const disks = [1, 2, 3] as DiskId[];
  await session.call("commit", {
    stripes: [{ id: stripe, scheme: "copies:3", dataBytes: BYTES, blockBytes: BYTES, disks }],
    files: [
      {
        inode: file,
        extents: [
          { offset: 0, length: BYTES, stripe, stripeOffset: 0 },
          { offset: BYTES, length: 5, inline: new Uint8Array(5).fill(7) },
        ],
        sizeAtLeast: BYTES + 5,
      },
    ],
  });
  const attribute = { inode: file, name: name("user.a"), value: new Uint8Array(3), create: false, replace: false };
  await session.call("setXattr", { ...attribute, clearSetGroupId: false });
  await session.close();
  await namespace.apply();
  assert.deepEqual(await problems(namespace), []);
  return { ...store, directory, below, file, twice, stripe };
}

export async function put(table: MemoryTable, key: string, write: (writer: ByteWriter) => void): Promise<void> {
  const writer = new ByteWriter();
  write(writer);
  writer.uint32(checksum(writer.bytes, 0, writer.at, checksumText(key)));
  await table.write({ puts: [{ key: keyBytes(key), value: writer.bytes.slice(0, writer.at) }], deletes: [] });
}

export async function remove(table: MemoryTable, ...keys: string[]): Promise<void> {
  await table.write({ puts: [], deletes: keys.map(keyBytes) });
}

export async function read(table: MemoryTable, key: string): Promise<ByteReader> {
  const [bytes] = await table.get([keyBytes(key)]);
  return openValue(key, { bytes: bytes!, start: 0, end: bytes!.length });
}

export async function changeInode(table: MemoryTable, id: InodeId, change: (inode: Inode) => void): Promise<void> {
  const inode = decodeInode(await read(table, TAG_INODE + id8(id)), id);
  change(inode);
  await put(table, TAG_INODE + id8(id), (writer) => encodeInode(writer, inode));
}

export async function changeStripe(table: MemoryTable, id: StripeId, change: Partial<StripeRecord>): Promise<void> {
  const stripe = decodeStripe(await read(table, TAG_STRIPE + id8(id)), id);
  await put(table, TAG_STRIPE + id8(id), (writer) => encodeStripe(writer, { ...stripe, ...change }));
}

export const nameKey = (directory: InodeId, text: string): string => TAG_NAME + id8(directory) + text;

export async function orderKey(table: MemoryTable, directory: InodeId, text: string): Promise<string> {
  const { cookie } = decodeName(await read(table, nameKey(directory, text)));
  return TAG_ORDER + id8(directory) + id8(cookie);
}

export async function removeName(table: MemoryTable, directory: InodeId, text: string): Promise<void> {
  await remove(table, await orderKey(table, directory, text), nameKey(directory, text));
}

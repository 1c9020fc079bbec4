// What a program does with one file of a mount, without a kernel: each step as the kernel would ask for it.

import assert from "node:assert/strict";
import type { Mount } from "../../../fs/mount/mount.ts";
import { ROOT_INODE } from "../../../fs/types.ts";
import type { Attributes, ByteString, InodeId } from "../../../fs/types.ts";
import { caller } from "./doubles.ts";

export interface OpenFile {
  mount: Mount;
  inode: InodeId;
  handle: number;
}

export async function createFile(mount: Mount, name: string, parent: InodeId = ROOT_INODE): Promise<OpenFile> {
  const { entry, opened } = await mount.create(caller, parent, name as ByteString, 0o644, 2, 0o022);
  return { mount, inode: entry.attributes.inode, handle: opened.handle };
}

export async function openFile(mount: Mount, name: string, flags = 2): Promise<OpenFile> {
  const found = await mount.lookup(caller, ROOT_INODE, name as ByteString);
  assert(found.attributes !== null, `${name} is there`);
  const { handle } = await mount.open(caller, found.attributes.inode, flags, false);
  return { mount, inode: found.attributes.inode, handle };
}

export async function write(file: OpenFile, offset: number, data: Uint8Array, flags = 2): Promise<void> {
  assert.equal(await file.mount.write(caller, file.inode, file.handle, offset, data, flags, false, false), data.length);
}

export async function read(file: OpenFile, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee);
  const reply = await file.mount.read(caller, file.inode, file.handle, offset, length, into, 0);
  if (typeof reply === "number") return into.subarray(0, reply);
  const copy = Buffer.concat(reply.buffers);
  reply.release?.();
  return copy;
}

export async function attributes(file: OpenFile): Promise<Attributes> {
  return (await file.mount.getattr(caller, file.inode, file.handle)).attributes;
}

export async function truncate(file: OpenFile, size: number): Promise<void> {
  await file.mount.setattr(caller, file.inode, { size, handle: file.handle });
}

export async function sync(file: OpenFile): Promise<void> {
  await file.mount.fsync(caller, file.inode, file.handle, false);
}

export async function close(file: OpenFile): Promise<void> {
  await file.mount.flush(caller, file.inode, file.handle, "owner");
  await file.mount.release(caller, file.inode, file.handle, null);
}

// Notifications: messages to the kernel that answer no request (unique 0, the code in the error field).
import type { ByteString, InodeId } from "../types.ts";
import {
  FUSE_NOTIFY_DELETE, FUSE_NOTIFY_INC_EPOCH, FUSE_NOTIFY_INVAL_ENTRY, FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_STORE, OUT_HEADER_BYTES, OUT_HEADER_WORDS, writeName, writeS64,
} from "./protocol.ts"; // prettier-ignore

function message(code: number, bodyBytes: number): { words: Uint32Array; bytes: Uint8Array } {
  const buffer = new ArrayBuffer((OUT_HEADER_BYTES + bodyBytes + 7) & ~7);
  const words = new Uint32Array(buffer);
  words[0] = OUT_HEADER_BYTES + bodyBytes;
  words[1] = code;
  return { words, bytes: new Uint8Array(buffer, 0, OUT_HEADER_BYTES + bodyBytes) };
}

/** struct fuse_notify_inval_inode_out: ino(2) off(2) len(2) */
export function invalidateInodeMessage(inode: InodeId, offset: number, length: number): Uint8Array {
  const { words, bytes } = message(FUSE_NOTIFY_INVAL_INODE, 24);
  writeS64(words, OUT_HEADER_WORDS, inode);
  writeS64(words, OUT_HEADER_WORDS + 2, offset);
  writeS64(words, OUT_HEADER_WORDS + 4, length);
  return bytes;
}

/** struct fuse_notify_inval_entry_out: parent(2) namelen flags name NUL */
export function invalidateEntryMessage(parent: InodeId, name: ByteString): Uint8Array {
  const { words, bytes } = message(FUSE_NOTIFY_INVAL_ENTRY, 16 + name.length + 1);
  writeS64(words, OUT_HEADER_WORDS, parent);
  words[OUT_HEADER_WORDS + 2] = name.length;
  writeName(bytes, OUT_HEADER_BYTES + 16, name);
  return bytes;
}

/** struct fuse_notify_delete_out: parent(2) child(2) namelen padding name NUL */
export function deleteMessage(parent: InodeId, child: InodeId, name: ByteString): Uint8Array {
  const { words, bytes } = message(FUSE_NOTIFY_DELETE, 24 + name.length + 1);
  writeS64(words, OUT_HEADER_WORDS, parent);
  writeS64(words, OUT_HEADER_WORDS + 2, child);
  words[OUT_HEADER_WORDS + 4] = name.length;
  writeName(bytes, OUT_HEADER_BYTES + 24, name);
  return bytes;
}

/** Of a message that brings pages, all that is before their bytes. */
export const STORE_HEAD_BYTES = OUT_HEADER_BYTES + 24;

/** struct fuse_notify_store_out: nodeid(2) offset(2) size padding; the bytes follow. */
export function writeStoreHead(words: Uint32Array, at: number, inode: InodeId, offset: number, length: number): void {
  words[at] = STORE_HEAD_BYTES + length;
  words[at + 1] = FUSE_NOTIFY_STORE;
  words[at + 2] = 0;
  words[at + 3] = 0;
  writeS64(words, at + OUT_HEADER_WORDS, inode);
  writeS64(words, at + OUT_HEADER_WORDS + 2, offset);
  words[at + OUT_HEADER_WORDS + 4] = length;
  words[at + OUT_HEADER_WORDS + 5] = 0;
}

/** A bare header. */
export function incrementEpochMessage(): Uint8Array {
  return message(FUSE_NOTIFY_INC_EPOCH, 0).bytes;
}

// Damaged records: those whose checksum is wrong, or that make no sense. Where memory has the right one, it is written again.
// Otherwise the record's bytes go into quarantine (NamespaceOptions.quarantine), and it is removed: from then on it is as if it
// were absent, and the check mends what follows from that.

import type { ByteString, InodeId, StripeId } from "../types.ts";
import { RecordDamaged, type Slice } from "./bytes.ts";
import { windowOf } from "./extents.ts";
import { idFrom, splitKey, TAG_EXTENT, TAG_INODE, TAG_NAME, TAG_ORDER, TAG_STRIPE, TAG_XATTR } from "./keys.ts";
import { decodeExtent, decodeInode, decodeName, decodeOrder, decodeStripe, encodeExtent, openValue } from "./records.ts";
import type { Transaction } from "./transaction.ts";

/** What is wrong with the record; null where nothing is. */
export function damageOf(key: string, value: Slice): RecordDamaged | null {
  try {
    const reader = openValue(key, value);
    if (key[0] === TAG_INODE) decodeInode(reader, idFrom(key, 1) as InodeId);
    if (key[0] === TAG_NAME) decodeName(reader);
    if (key[0] === TAG_ORDER) decodeOrder(reader);
    if (key[0] === TAG_EXTENT) decodeExtent(reader, idFrom(key, 9));
    if (key[0] === TAG_STRIPE) decodeStripe(reader, idFrom(key, 1) as StripeId);
    return null;
  } catch (error) {
    if (error instanceof RecordDamaged) return error;
    throw error;
  }
}

/** The damaged record's bytes where they must be kept elsewhere before it is removed; null where it is right by now, or memory has it. */
export function damagedBytes(tx: Transaction, key: string): Slice | null {
  const value = tx.record(key);
  if (value === null || damageOf(key, value) === null || isInMemory(tx, key)) return null;
  return value;
}

/** Writes it again, or removes it. */
export function mendDamaged(tx: Transaction, key: string): boolean {
  const value = tx.record(key);
  if (value === null || damageOf(key, value) === null) return true;
  recall(tx, key);
  if (!writeFromMemory(tx, key)) remove(tx, key);
  return true;
}

function isInMemory({ state }: Transaction, key: string): boolean {
  const id = idFrom(key, 1);
  if (key[0] === TAG_INODE) return state.cachedInode(id as InodeId) !== undefined;
  if (key[0] === TAG_STRIPE) return state.cachedStripe(id as StripeId) !== undefined;
  if (key[0] === TAG_EXTENT) return cachedExtent(state, key) !== undefined;
  return false;
}

function cachedExtent(state: Transaction["state"], key: string): ReturnType<typeof decodeExtent> | undefined {
  const offset = idFrom(key, 9);
  return state.window(idFrom(key, 1) as InodeId, windowOf(offset))?.extents.find((extent) => extent.offset === offset);
}

function writeFromMemory(tx: Transaction, key: string): boolean {
  const { state } = tx;
  const id = idFrom(key, 1);
  if (key[0] === TAG_INODE && state.cachedInode(id as InodeId) !== undefined) {
    tx.edit(id as InodeId);
    return true;
  }
  const stripe = key[0] === TAG_STRIPE ? state.cachedStripe(id as StripeId) : undefined;
  if (stripe !== undefined) {
    tx.editStripe({ ...stripe });
    return true;
  }
  const extent = key[0] === TAG_EXTENT ? cachedExtent(state, key) : undefined;
  if (extent === undefined) return false;
  const { prefix, rest } = splitKey(key);
  tx.raw(prefix, rest, (writer) => encodeExtent(writer, extent));
  return true;
}

function remove(tx: Transaction, key: string): void {
  const { prefix, rest } = splitKey(key);
  tx.raw(prefix, rest, null);
  const id = idFrom(key, 1) as InodeId;
  if (key[0] === TAG_EXTENT) tx.afterwards(() => tx.state.dropWindow(id, windowOf(idFrom(key, 9))));
  if (key[0] === TAG_NAME || key[0] === TAG_ORDER || key[0] === TAG_XATTR) tx.afterwards(() => tx.state.forget(id));
}

function recall(tx: Transaction, key: string): void {
  const id = idFrom(key, 1) as InodeId;
  if (key[0] === TAG_NAME) tx.changesUnasked(id, [key.slice(9) as ByteString]);
  else if (key[0] === TAG_INODE || key[0] === TAG_ORDER || key[0] === TAG_EXTENT || key[0] === TAG_XATTR) tx.changesUnasked(id);
}

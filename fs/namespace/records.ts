// What the namespace keeps, decoded, and how each becomes bytes (DESIGN.md has the formats byte by byte). A record in
// memory is never changed once it is committed: a transaction changes a copy. So records may be shared freely.

import type { Attributes, ByteString, InodeId, SessionId, StripeId } from "../types.ts";
import type { DiskId, Stripe } from "../../replication/stripe.ts";
import type { Extent } from "../messages.ts";
import { ByteReader, type ByteWriter, checksum, checksumText, fromZigzag, RecordDamaged, type Slice } from "./bytes.ts";
import { describeKey } from "./keys.ts";

/** Bits of an inode's `flags`. */
export const HAS_XATTRS = 1;
export const HAS_ACCESS_ACL = 2;
export const HAS_DEFAULT_ACL = 4;
/** A large truncate is under way: extents in [cutFrom, cutTo) are dead. */
export const HAS_CUT = 8;
/** Made without a name (O_TMPFILE): may be given one though its link count is 0. */
export const LINKABLE = 16;
/** It has security.capability. */
export const HAS_CAPABILITY = 32;

const INODE_FORMAT = 1;

export class Inode {
  inode: InodeId;
  mode: number;
  linkCount: number;
  uid: number;
  gid: number;
  device: number;
  size: number;
  allocatedBytes: number;
  atimeSeconds = 0;
  atimeNanoseconds = 0;
  mtimeSeconds = 0;
  mtimeNanoseconds = 0;
  ctimeSeconds = 0;
  ctimeNanoseconds = 0;
  flags = 0;
  /** No extent ends above this. */
  extentEnd = 0;
  cutFrom = 0;
  cutTo = 0;
  /** The directory that a directory is in; its own number for the root, 0 for other files. */
  parent = 0 as InodeId;
  /** Cookie of the next name made in a directory. */
  nextCookie = 1;
  /** Of a symbolic link. */
  target = "" as ByteString;

  constructor(inode: InodeId, mode: number, linkCount: number, uid: number, gid: number) {
    this.inode = inode;
    this.mode = mode;
    this.linkCount = linkCount;
    this.uid = uid;
    this.gid = gid;
    this.device = 0;
    this.size = 0;
    this.allocatedBytes = 0;
  }

  copy(): Inode {
    const copy = new Inode(this.inode, this.mode, this.linkCount, this.uid, this.gid);
    copy.device = this.device;
    copy.size = this.size;
    copy.allocatedBytes = this.allocatedBytes;
    copy.atimeSeconds = this.atimeSeconds;
    copy.atimeNanoseconds = this.atimeNanoseconds;
    copy.mtimeSeconds = this.mtimeSeconds;
    copy.mtimeNanoseconds = this.mtimeNanoseconds;
    copy.ctimeSeconds = this.ctimeSeconds;
    copy.ctimeNanoseconds = this.ctimeNanoseconds;
    copy.flags = this.flags;
    copy.extentEnd = this.extentEnd;
    copy.cutFrom = this.cutFrom;
    copy.cutTo = this.cutTo;
    copy.parent = this.parent;
    copy.nextCookie = this.nextCookie;
    copy.target = this.target;
    return copy;
  }

  attributes(): Attributes {
    const attributes: Attributes = {
      inode: this.inode,
      mode: this.mode,
      linkCount: this.linkCount,
      uid: this.uid,
      gid: this.gid,
      device: this.device,
      size: this.size,
      allocatedBytes: this.allocatedBytes,
      atimeSeconds: this.atimeSeconds,
      atimeNanoseconds: this.atimeNanoseconds,
      mtimeSeconds: this.mtimeSeconds,
      mtimeNanoseconds: this.mtimeNanoseconds,
      ctimeSeconds: this.ctimeSeconds,
      ctimeNanoseconds: this.ctimeNanoseconds,
    };
    // Few have it, so that the others keep one shape.
    if ((this.flags & HAS_CAPABILITY) !== 0) attributes.hasCapability = true;
    return attributes;
  }
}

/** Where a name leads. */
export interface NameEntry {
  readonly inode: InodeId;
  /** S_IFMT bits. */
  readonly type: number;
  readonly cookie: number;
}

/** A stripe, and how many bytes of extents lie in it. With 0 it is dead and waits to be removed from its disks. */
export interface StripeRecord extends Stripe {
  readonly id: StripeId;
  readonly live: number;
}

export interface Reservation {
  readonly first: StripeId;
  readonly session: SessionId;
  readonly count: number;
}

export function encodeInode(writer: ByteWriter, inode: Inode): void {
  writer.byte(INODE_FORMAT);
  writer.byte(inode.flags);
  writer.varint(inode.mode);
  writer.varint(inode.linkCount);
  writer.varint(inode.uid);
  writer.varint(inode.gid);
  writer.varint(inode.device);
  writer.varint(inode.size);
  writer.varint(inode.allocatedBytes);
  writer.signed(inode.atimeSeconds);
  writer.varint(inode.atimeNanoseconds);
  writer.signed(inode.mtimeSeconds);
  writer.varint(inode.mtimeNanoseconds);
  writer.signed(inode.ctimeSeconds);
  writer.varint(inode.ctimeNanoseconds);
  writer.varint(inode.extentEnd);
  writer.varint(inode.cutFrom);
  writer.varint(inode.cutTo);
  writer.varint(inode.parent);
  writer.varint(inode.nextCookie);
  writer.varint(inode.target.length);
  writer.text(inode.target);
}

/** The numbers of the record that is just being decoded, in the order of encodeInode. Begun with what is no number, so that the engine keeps small integers as such: out of an array of doubles each field of an inode would be an object of its own. */
const INODE_NUMBERS = Array.from<number>({ length: 18 }).fill(undefined as never);

export function decodeInode(reader: ByteReader, id: InodeId): Inode {
  const format = reader.byte();
  if (format !== INODE_FORMAT) reader.fail(`its format is ${format}, this version reads ${INODE_FORMAT}`);
  const flags = reader.byte();
  const numbers = INODE_NUMBERS;
  reader.varints(numbers, numbers.length);
  const inode = new Inode(id, numbers[0], numbers[1], numbers[2], numbers[3]);
  inode.flags = flags;
  inode.device = numbers[4];
  inode.size = numbers[5];
  inode.allocatedBytes = numbers[6];
  inode.atimeSeconds = fromZigzag(numbers[7]);
  inode.atimeNanoseconds = numbers[8];
  inode.mtimeSeconds = fromZigzag(numbers[9]);
  inode.mtimeNanoseconds = numbers[10];
  inode.ctimeSeconds = fromZigzag(numbers[11]);
  inode.ctimeNanoseconds = numbers[12];
  inode.extentEnd = numbers[13];
  inode.cutFrom = numbers[14];
  inode.cutTo = numbers[15];
  inode.parent = numbers[16] as InodeId;
  inode.nextCookie = numbers[17];
  inode.target = reader.text(reader.varint()) as ByteString;
  reader.done();
  return inode;
}

/** A type is stored as its S_IFMT bits shifted down by 12. */
export function encodeName(writer: ByteWriter, entry: NameEntry): void {
  writer.varint(entry.inode);
  writer.byte(entry.type >>> 12);
  writer.varint(entry.cookie);
}

export function decodeName(reader: ByteReader): NameEntry {
  const entry = { inode: reader.varint() as InodeId, type: reader.byte() << 12, cookie: reader.varint() };
  reader.done();
  return entry;
}

export function encodeOrder(writer: ByteWriter, inode: InodeId, type: number, name: ByteString): void {
  writer.varint(inode);
  writer.byte(type >>> 12);
  writer.text(name);
}

export function decodeOrder(reader: ByteReader): { inode: InodeId; type: number; name: ByteString } {
  return {
    inode: reader.varint() as InodeId,
    type: reader.byte() << 12,
    name: reader.text(reader.end - reader.at) as ByteString,
  };
}

const EXTENT_UNWRITTEN = 0;
const EXTENT_STRIPE = 1;
const EXTENT_INLINE = 2;

export function encodeExtent(writer: ByteWriter, extent: Extent): void {
  writer.byte(extent.stripe !== undefined ? EXTENT_STRIPE : extent.inline !== undefined ? EXTENT_INLINE : EXTENT_UNWRITTEN);
  writer.varint(extent.length);
  if (extent.stripe !== undefined) {
    writer.varint(extent.stripe);
    writer.varint(extent.stripeOffset ?? 0);
  } else if (extent.inline !== undefined) writer.raw(extent.inline);
}

export function decodeExtent(reader: ByteReader, offset: number): Extent {
  const kind = reader.byte();
  const length = reader.varint();
  let extent: Extent;
  if (kind === EXTENT_STRIPE) extent = { offset, length, stripe: reader.varint() as StripeId, stripeOffset: reader.varint() };
  else if (kind === EXTENT_INLINE) extent = { offset, length, inline: reader.raw(length) };
  else if (kind === EXTENT_UNWRITTEN) extent = { offset, length };
  else reader.fail(`kind ${kind} of extent is unknown`);
  reader.done();
  return extent;
}

export function encodeStripe(writer: ByteWriter, stripe: StripeRecord): void {
  writer.varint(stripe.scheme.length);
  writer.text(stripe.scheme);
  writer.varint(stripe.dataBytes);
  writer.varint(stripe.blockBytes);
  writer.varint(stripe.live);
  writer.varint(stripe.disks.length);
  for (const disk of stripe.disks) writer.varint(disk);
}

export function decodeStripe(reader: ByteReader, id: StripeId): StripeRecord {
  const scheme = reader.text(reader.varint());
  const dataBytes = reader.varint();
  const blockBytes = reader.varint();
  const live = reader.varint();
  const disks = Array.from({ length: reader.varint() }, () => reader.varint() as DiskId);
  reader.done();
  return { id, scheme, dataBytes, blockBytes, live, disks };
}

/** The number that most small records consist of. */
export function encodeNumber(writer: ByteWriter, value: number): void {
  writer.varint(value);
}

export function decodeNumber(reader: ByteReader): number {
  const value = reader.varint();
  reader.done();
  return value;
}

/** Bytes at the end of each value: CRC32C of key and payload, big-endian. A value that strays to another key is found as well. */
export const CHECKSUM_BYTES = 4;

/** Checks a value against its checksum and gives a reader over its payload. Throws RecordDamaged naming the record. */
export function openValue(key: string, value: Slice): ByteReader {
  const { bytes, start, end } = value;
  if (end - start < CHECKSUM_BYTES)
    throw new RecordDamaged(`namespace: ${describeKey(key)} is damaged: it has ${end - start} bytes`);
  const payloadEnd = end - CHECKSUM_BYTES;
  const stored =
    ((bytes[payloadEnd] << 24) | (bytes[payloadEnd + 1] << 16) | (bytes[payloadEnd + 2] << 8) | bytes[payloadEnd + 3]) >>> 0;
  const computed = checksum(bytes, start, payloadEnd, checksumText(key));
  if (stored !== computed) {
    throw new RecordDamaged(
      `namespace: ${describeKey(key)} is damaged: its checksum is ${stored.toString(16)}, its bytes have ${computed.toString(16)}`,
    );
  }
  return new ByteReader(bytes, start, payloadEnd, () => describeKey(key));
}

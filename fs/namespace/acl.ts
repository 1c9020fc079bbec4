// POSIX access control lists as the kernel stores them in system.posix_acl_access and _default
// (include/uapi/linux/posix_acl_xattr.h): a 4-byte version (2), then 8 bytes an entry: tag, permissions (16 bits each),
// id (32 bits), all little-endian. And what they have to do with the mode (acl(5), fs/posix_acl.c).

import { FsError } from "../errno.ts";
import type { ByteString } from "../types.ts";

export const ACCESS_ACL = "system.posix_acl_access" as ByteString;
export const DEFAULT_ACL = "system.posix_acl_default" as ByteString;

const VERSION = 2;
const USER_OBJ = 0x01;
const USER = 0x02;
const GROUP_OBJ = 0x04;
const GROUP = 0x08;
const MASK = 0x10;
const OTHER = 0x20;
const NO_ID = 0xffffffff;
/** The order that the kernel wants entries in. */
const ORDER = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];

export interface AclEntry {
  tag: number;
  permissions: number;
  id: number;
}

/** Decodes and validates. An empty list (no bytes, or only the version) means no ACL. EINVAL for anything the kernel would refuse. */
export function decodeAcl(bytes: Uint8Array): AclEntry[] {
  if (bytes.length === 0) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 4 || (bytes.length - 4) % 8 !== 0) throw new FsError("EINVAL", `an ACL of ${bytes.length} bytes`);
  if (view.getUint32(0, true) !== VERSION)
    throw new FsError("EOPNOTSUPP", `ACL version ${view.getUint32(0, true)}, known is ${VERSION}`);
  const entries: AclEntry[] = [];
  for (let at = 4; at < bytes.length; at += 8) {
    entries.push({ tag: view.getUint16(at, true), permissions: view.getUint16(at + 2, true), id: view.getUint32(at + 4, true) });
  }
  if (entries.length > 0) validate(entries);
  return entries;
}

function validate(entries: readonly AclEntry[]): void {
  let last = -1;
  const counts = new Map<number, number>();
  for (const { tag, permissions } of entries) {
    const position = ORDER.indexOf(tag);
    if (position < 0 || position < last || permissions > 7)
      throw new FsError("EINVAL", "an ACL entry is out of order or unknown");
    last = position;
    counts.set(tag, (counts.get(tag) ?? 0) + 1);
  }
  const named = (counts.get(USER) ?? 0) + (counts.get(GROUP) ?? 0);
  const single = [USER_OBJ, GROUP_OBJ, OTHER].every((tag) => counts.get(tag) === 1);
  const masks = counts.get(MASK) ?? 0;
  if (!single || masks > 1 || (named > 0 && masks === 0)) throw new FsError("EINVAL", "an ACL lacks an entry or has one twice");
}

export function encodeAcl(entries: readonly AclEntry[]): Uint8Array {
  const bytes = new Uint8Array(4 + entries.length * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, VERSION, true);
  entries.forEach(({ tag, permissions, id }, index) => {
    view.setUint16(4 + index * 8, tag, true);
    view.setUint16(6 + index * 8, permissions, true);
    view.setUint32(8 + index * 8, tag === USER || tag === GROUP ? id : NO_ID, true);
  });
  return bytes;
}

/** Whether the list says no more than permission bits can. */
export function isMinimal(entries: readonly AclEntry[]): boolean {
  return entries.every(({ tag }) => tag === USER_OBJ || tag === GROUP_OBJ || tag === OTHER);
}

function entryOf(entries: readonly AclEntry[], tag: number): AclEntry | undefined {
  return entries.find((entry) => entry.tag === tag);
}

/** The nine permission bits that a list stands for: its mask, where it has one, shows as the group's. */
export function modeOf(entries: readonly AclEntry[]): number {
  const group = entryOf(entries, MASK) ?? entryOf(entries, GROUP_OBJ);
  return (
    ((entryOf(entries, USER_OBJ)?.permissions ?? 0) << 6) |
    ((group?.permissions ?? 0) << 3) |
    (entryOf(entries, OTHER)?.permissions ?? 0)
  );
}

/** The list after chmod(2) to these permission bits. */
export function withMode(entries: readonly AclEntry[], mode: number): AclEntry[] {
  const masked = entryOf(entries, MASK) !== undefined;
  return entries.map((entry) => {
    if (entry.tag === USER_OBJ) return { ...entry, permissions: (mode >> 6) & 7 };
    if (entry.tag === OTHER) return { ...entry, permissions: mode & 7 };
    if (entry.tag === (masked ? MASK : GROUP_OBJ)) return { ...entry, permissions: (mode >> 3) & 7 };
    return entry;
  });
}

/** What a file made with `mode` in a directory with this default list gets: permission bits, and its access list (minimal ones need not be stored). */
export function inherit(defaults: readonly AclEntry[], mode: number): { mode: number; access: AclEntry[] } {
  const access = withMode(defaults, modeOf(defaults) & mode);
  return { mode: (mode & ~0o777) | (modeOf(defaults) & mode & 0o777), access };
}

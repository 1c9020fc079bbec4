// What the two halves of fs/ both speak of: identities, names, attributes, extents. No behaviour.
//
// Identities are plain numbers, not bigints: they are on every hot path, and 2^53 of them outlast any store.
// On disk and on the wire they are 8 bytes.

/** An inode's number. 1 is the root directory. Never reused. */
export type InodeId = number & { readonly brand: "InodeId" };
export const ROOT_INODE = 1 as InodeId;

/** A file name or any other byte string of the kernel's, one char a byte (latin1), so every encoding survives and strings serve as Map keys. */
export type ByteString = string & { readonly brand: "ByteString" };

/** A stripe's number, unique in a store, never reused. */
export type StripeId = number & { readonly brand: "StripeId" };

/** A session's number, unique in a store, never reused. */
export type SessionId = number & { readonly brand: "SessionId" };

/** stat(2)'s fields. Sizes in bytes; times as whole seconds since 1970 (may be negative) and nanoseconds 0..999,999,999. */
export interface Attributes {
  inode: InodeId;
  /** Type and permission bits, as in stat(2)'s st_mode. */
  mode: number;
  linkCount: number;
  uid: number;
  gid: number;
  /** Device number of a device node, in the kernel's 32-bit encoding; 0 otherwise. */
  device: number;
  size: number;
  /** Bytes allocated to extents (st_blocks * 512). */
  allocatedBytes: number;
  atimeSeconds: number;
  atimeNanoseconds: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  ctimeSeconds: number;
  ctimeNanoseconds: number;
  /** It has file capabilities (security.capability), which go with the next change of its data. */
  hasCapability?: boolean;
}

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;

export const NAME_MAX_BYTES = 255;
/** Link counts above this get EMLINK, as ext4 does for files. */
export const LINK_MAX = 65000;
/** Times lie between this and its negative, about 140 million years: what the formats hold as exact numbers. */
export const TIME_MAX_SECONDS = 2 ** 52 - 1;
/** st_size's limit here: 2^53-1 bounds exact numbers; 8 EiB files cannot be addressed, 16 TiB and far above can. */
export const FILE_MAX_BYTES = 2 ** 52;
export const XATTR_NAME_MAX_BYTES = 255;
export const XATTR_VALUE_MAX_BYTES = 65536;

// Where the store may answer otherwise than ext4. Each row has its reason; what is not here is a difference.
//
// Never compared, because filesystems are free in it: inode and device numbers, the size and blocks of directories, st_blocks,
// access times, the order of listings, free space, and the places of holes (SEEK_HOLE may call zeros data; look and tree read
// what it calls data, so a hole with bytes in it is found). When stores to a mapping are seen through another mount, and when
// they move mtime: the kernel tells a mount of them when it writes the pages back, so mfill ends with an msync. What a mapping
// or copy_file_range sees of a file that another mount has made longer: they go by the size that the kernel heard last, so the
// commands for them begin with fstat. What setacl does to ctime: ext4 leaves it where the ACL says what is there already.

import type { Replies } from "./twin.ts";

export interface Exception {
  readonly reason: string;
  applies(words: readonly string[], replies: Replies): boolean;
  /** What must be done afterwards so that both sides are in the same state: words for the store, for the reference. */
  settle?(words: readonly string[]): { store?: string[]; reference?: string[] };
}

const SETS_ATTRIBUTE = new Set(["setxattr", "fill-xattr", "setacl"]);

export const EXCEPTIONS: readonly Exception[] = [
  {
    reason: "ext4 has room for some 4 KiB of names and small values of extended attributes of an inode, a store for 1 MiB",
    applies: (words, { store, reference }) => SETS_ATTRIBUTE.has(words[0]) && store[0] === "ok" && reference[0] === "ENOSPC",
    settle: (words) => ({
      store: ["removexattr", words[1], words[2]],
      reference: ["removexattr", words[1], words[2]],
    }),
  },
  {
    reason:
      "a file that another mount has open for writing cannot be mapped shared: FUSE has no operation for mmap, so mapped pages cannot follow another mount's locks (README)",
    applies: (words, { store, reference }) =>
      words[0] === "map" && words[4] === "SHARED" && store[0] === "ENODEV" && reference[0] === "ok",
    settle: (words) => ({ reference: ["unmap", words[1]] }),
  },
];

export function exceptionFor(words: readonly string[], replies: Replies): Exception | undefined {
  return EXCEPTIONS.find((exception) => exception.applies(words, replies));
}

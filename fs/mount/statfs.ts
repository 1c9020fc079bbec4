// What statfs(2) tells. Programs of 32 bits get EOVERFLOW where a figure needs more than 32 bits (fs/statfs.c), so the figures
// are kept below as long as they can be: inodes have no limit of their own, and larger blocks are counted where a store is large.

import type { Statistics } from "../messages.ts";
import type { StatfsReply } from "./handlers.ts";

const BLOCK_BYTES = 4096;
const FIGURE_MAX = 2 ** 32 - 1;

export function statfsOf({ totalBytes, freeBytes, inodes }: Statistics): StatfsReply {
  let blockBytes = BLOCK_BYTES;
  while (totalBytes / blockBytes > FIGURE_MAX) blockBytes *= 2;
  const freeBlocks = Math.floor(freeBytes / blockBytes);
  // Tools that compare want a limit.
  const inodesMax = Math.max(FIGURE_MAX, 2 * inodes);
  return {
    blockBytes,
    blocks: Math.floor(totalBytes / blockBytes),
    freeBlocks,
    availableBlocks: freeBlocks,
    inodes: inodesMax,
    freeInodes: inodesMax - inodes,
    nameMaxBytes: 255,
  };
}

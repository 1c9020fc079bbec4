// Small files' pages, given to the kernel before the answer to an open: a program that opens a small file reads it, and is then
// spared the READ, and the GETATTR of the fstat(2) behind it (after a READ the kernel asks for the access time).
//
// FUSE_NOTIFY_STORE takes page locks, and is sent from the JavaScript thread, which must not wait for itself: a page of a file
// is locked for a request only while a program has it open or mapped, and that is why only the first handle brings pages. They
// lie under the lease like any others; a recall drops them.

import { accessTimeDue } from "./attributes.ts";
import type { Core } from "./core.ts";
import type { FileHandle } from "./handles.ts";
import { GIVEN_FILE_MAX_BYTES } from "./limits.ts";
import { readAtOnce } from "./read.ts";
import { O_DIRECT } from "./write.ts";

const O_ACCMODE = 3;
const O_NOATIME = 0o1000000;

/** Call when the handle was opened, before that is answered. Does nothing where the bytes are not at hand, or where the read would change the access time: the kernel would go on to show the old one. */
export function givePages(core: Core, handle: FileHandle): void {
  const { file, flags } = handle;
  const { size } = file.attributes;
  if (core.caches?.storePages === undefined || file.pagesGiven || size === 0 || size > GIVEN_FILE_MAX_BYTES) return;
  if (file.handles !== 1 || handle.direct || (flags & (O_ACCMODE | O_DIRECT)) !== 0) return;
  if (file.lease === "known" || file.recall !== null || file.tail !== null || file.heldPages.size > 0) return;
  if ((flags & O_NOATIME) === 0 && accessTimeDue(core, file)) return;
  if (!core.caches.storePages(file.inode, size, (into) => readAtOnce(core, file, into))) return;
  file.pagesGiven = true;
  file.filled = true;
  file.tailCached = true;
}

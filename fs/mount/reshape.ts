// Operations that change where bytes are without writing them: fallocate's modes, copy_file_range; and lseek, which
// asks where they are.

import { FsError } from "../errno.ts";
import type { Reply, Request } from "../messages.ts";
import { FILE_MAX_BYTES } from "../types.ts";
import { acquire, call, flushFile, inTurn } from "./core.ts";
import type { Core } from "./core.ts";
import { boundPieces, fetchExtents, forgetCleanIn } from "./extents.ts";
import type { FileState } from "./file-state.ts";
import type { FileHandle } from "./handles.ts";
import { COPY_MAX_BYTES, EXTENTS_SEQUENTIAL } from "./limits.ts";
import { HOLE, UNWRITTEN } from "./pieces.ts";

const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
const COLLAPSE_RANGE = 8;
const ZERO_RANGE = 16;
const INSERT_RANGE = 32;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Space is reserved in whole blocks of this size. */
const BLOCK_BYTES = 4096;

type Kind = "allocate" | "punch" | "zero" | "collapse" | "insert";

function kindOf(mode: number): Kind {
  switch (mode) {
    case 0:
    case KEEP_SIZE:
      return "allocate";
    case PUNCH_HOLE | KEEP_SIZE:
      return "punch";
    case ZERO_RANGE:
    case ZERO_RANGE | KEEP_SIZE:
      return "zero";
    case COLLAPSE_RANGE:
      return "collapse";
    case INSERT_RANGE:
      return "insert";
    default:
      throw new FsError("EOPNOTSUPP", `fallocate mode ${mode} is not supported`);
  }
}

export async function reshape(core: Core, file: FileState, offset: number, length: number, mode: number): Promise<void> {
  const kind = kindOf(mode);
  const keepSize = (mode & KEEP_SIZE) !== 0;
  if (offset + length > FILE_MAX_BYTES)
    throw new FsError("EFBIG", `fallocate up to ${offset + length}: files end at ${FILE_MAX_BYTES} bytes`);
  await inTurn(file, async () => {
    if (file.lease !== "exclusive") await acquire(core, file, "exclusive");
    if (file.dirty) await flushFile(core, file);
    const { attributes } = await reserving(core, { inode: file.inode, kind, offset, length, keepSize });
    core.changes++;
    const end = Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES;
    forgetCleanIn(file, offset - (offset % BLOCK_BYTES), kind === "collapse" || kind === "insert" ? Infinity : end);
    if (kind === "collapse") file.attributes.size = attributes.size;
    core.inodes.learned(attributes);
  });
}

/** What this mount was granted and has not used may be what is missing. */
async function reserving(core: Core, request: Request<"reshape">): Promise<Reply<"reshape">> {
  try {
    return await call(core, "reshape", request);
  } catch (error) {
    if ((error as { code?: string } | null)?.code !== "ENOSPC") throw error;
    await core.inodes.sendForgets();
    await core.space.giveBack();
    return call(core, "reshape", request);
  }
}

/** copy_file_range(2): the target shares the source's stripes; no byte moves. Returns the number of bytes. */
export async function copyRange(
  core: Core,
  from: FileState,
  fromOffset: number,
  to: FileState,
  toOffset: number,
  length: number,
): Promise<number> {
  // prettier-ignore
  // Another mount may have changed its size.
  if (from.lease === "known") await acquire(core, from, "shared");
  const wanted = Math.min(length, COPY_MAX_BYTES, Math.max(0, from.attributes.size - fromOffset));
  if (toOffset + wanted > FILE_MAX_BYTES)
    throw new FsError("EFBIG", `copy up to ${toOffset + wanted}: files end at ${FILE_MAX_BYTES} bytes`);
  if (wanted === 0) return 0;
  if (from === to && fromOffset < toOffset + wanted && toOffset < fromOffset + wanted) {
    throw new FsError("EINVAL", "copy_file_range: the ranges overlap");
  }
  return inTurn(to, async () => {
    if (from.lease === "known") await acquire(core, from, "shared");
    if (to.lease !== "exclusive") await acquire(core, to, "exclusive");
    if (from.dirty) await flushFile(core, from);
    if (to !== from && to.dirty) await flushFile(core, to);
    const request = { from: from.inode, fromOffset, to: to.inode, toOffset, length: wanted };
    const { copied, attributes } = await call(core, "share", request);
    core.changes++;
    forgetCleanIn(to, toOffset, toOffset + copied);
    core.inodes.learned(attributes);
    return copied;
  });
}

/** lseek(2) with SEEK_DATA or SEEK_HOLE. Reserved ranges count as holes, as on ext4. */
export async function seek(core: Core, handle: FileHandle, offset: number, whence: number): Promise<number> {
  const file = handle.file;
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError("EINVAL", `lseek: whence ${whence} is not known`);
  if (file.lease === "known") await acquire(core, file, "shared");
  const size = file.attributes.size;
  if (offset < 0 || offset >= size) throw new FsError("ENXIO", `lseek: ${offset} is not below the size, ${size}`);
  let position = offset;
  while (position < size) {
    const piece = file.pieces.after(position);
    if (piece === undefined || piece.start > position) {
      boundPieces(file);
      await fetchExtents(core, file, position, piece === undefined ? size : Math.min(size, piece.start), EXTENTS_SEQUENTIAL);
      continue;
    }
    const hole = piece.kind === HOLE || piece.kind === UNWRITTEN;
    if (hole === (whence === SEEK_HOLE)) return position;
    position = piece.end;
  }
  if (whence === SEEK_HOLE) return size;
  throw new FsError("ENXIO", `lseek: no data between ${offset} and the end, ${size}`);
}

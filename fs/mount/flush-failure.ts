// What becomes of a flush that failed: what may pass is tried again, what the same request would meet again is not.

import { errno } from "../errno.ts";
import type { ErrnoName } from "../errno.ts";

/** Refusals of a request for what it says. All others (a full disk, a disk or a connection that fails, a time limit) may pass. */
const LASTING = new Set<unknown>([
  "EINVAL", "EFBIG", "EMSGSIZE", "E2BIG", "EISDIR", "ENOTDIR", "ERANGE", "EOVERFLOW", "EOPNOTSUPP", "ENOSYS", "EPERM", "EACCES", "EBADF", "ENAMETOOLONG",
  "ERR_ASSERTION",
]); // prettier-ignore

/** Whether the same request would be refused again, whenever it is sent. */
export function isLasting(error: unknown): boolean {
  return LASTING.has((error as { code?: unknown } | null)?.code) || error instanceof TypeError || error instanceof RangeError;
}

/** The error number's name that a program is told: the error's own if it is one, else EIO. */
export function codeOf(error: unknown): ErrnoName {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && code in errno ? (code as ErrnoName) : "EIO";
}

/** ... of data that is given up. Programs take EINVAL from fsync(2) for a file that cannot be synced, and go on. */
export function codeOfLoss(error: unknown): ErrnoName {
  const code = codeOf(error);
  return code === "EFBIG" || !isLasting(error) ? code : "EIO";
}

// The one table of error numbers. Everything below fs/ throws its own errors with a `code`; here they become what a
// program on the mount sees. Numbers are Linux's (include/uapi/asm-generic/errno*.h).

export const errno = {
  EPERM: 1, ENOENT: 2, EINTR: 4, EIO: 5, ENXIO: 6, E2BIG: 7, EBADF: 9, EAGAIN: 11, ENOMEM: 12, EACCES: 13, EFAULT: 14,
  EBUSY: 16, EEXIST: 17, EXDEV: 18, ENODEV: 19, ENOTDIR: 20, EISDIR: 21, EINVAL: 22, ENFILE: 23, EMFILE: 24, ENOTTY: 25,
  ETXTBSY: 26, EFBIG: 27, ENOSPC: 28, ESPIPE: 29, EROFS: 30, EMLINK: 31, ERANGE: 34, EDEADLK: 35, ENAMETOOLONG: 36,
  ENOLCK: 37, ENOSYS: 38, ENOTEMPTY: 39, ELOOP: 40, ENODATA: 61, EOVERFLOW: 75, EMSGSIZE: 90, EOPNOTSUPP: 95, ECONNABORTED: 103, ENOTCONN: 107,
  ETIMEDOUT: 110, ESTALE: 116, EDQUOT: 122,
} as const; // prettier-ignore

export type ErrnoName = keyof typeof errno;

/** An operation's refusal, as a program will see it. Has no stack: refusals are ordinary and frequent. */
export class FsError extends Error {
  readonly code: ErrnoName;
  constructor(code: ErrnoName, message: string = code, options?: ErrorOptions) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(message, options);
    Error.stackTraceLimit = limit;
    this.code = code;
  }
}

/** The positive error number for anything thrown: the error's own code where it is in the table, else EIO. */
export function errnoOf(error: unknown): number {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && code in errno ? errno[code as ErrnoName] : errno.EIO;
}

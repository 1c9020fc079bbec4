// What a store is made and served with where nothing else was asked for.

export const DEFAULT_SCHEME = "rs:4+2";
export const DEFAULT_DISKS = 6;
/** A mount of another process that hangs delays others by at most this. */
export const SESSION_TIME_LIMIT_MS = 10_000;

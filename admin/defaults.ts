// What a store is made and served with where nothing else was asked for.

export const DEFAULT_SCHEME = "rs:4+2";
export const DEFAULT_DISKS = 6;
/** A mount of another process that hangs delays others by at most this. */
export const SESSION_TIME_LIMIT_MS = 10_000;
/** What repair, rebuild and drain read and write in a second. For each of six disks some 40 MB a second, a fourth of what a hard disk does: programs keep most of it. */
export const DEFAULT_REPAIR_RATE = 256 * 1024 * 1024;

// The table's keys (DESIGN.md has them byte by byte). A key is a prefix (a tag, mostly followed by an id of 8 bytes, so
// that records of one owner are neighbours) and a rest (a name, an offset, nothing). In memory both are byte strings:
// they serve as Map keys, and compare as their bytes do.

export const TAG_META = "\x01";
/** Bytes promised to reserved ranges. */
export const PROMISED_KEY = `${TAG_META}promised`;
export const TAG_INODE = "i";
export const TAG_NAME = "n";
export const TAG_ORDER = "o";
export const TAG_EXTENT = "e";
export const TAG_STRIPE = "s";
export const TAG_DISK = "d";
export const TAG_XATTR = "x";
export const TAG_UNNAMED = "u";
export const TAG_CUT = "c";
export const TAG_DEAD = "z";
export const TAG_RESERVATION = "r";
export const TAG_ANSWER = "a";
export const TAG_SESSION = "t";

const fromCode = String.fromCharCode;

/** 8 bytes, big-endian, of a number up to 2^53-1. */
export function id8(value: number): string {
  const high = Math.floor(value / 0x100000000);
  const low = value >>> 0;
  return fromCode(high >>> 24, (high >>> 16) & 0xff, (high >>> 8) & 0xff, high & 0xff, low >>> 24, (low >>> 16) & 0xff, (low >>> 8) & 0xff, low & 0xff); // prettier-ignore
}

/** Undoes id8 for 8 chars of `text` from `at`. */
export function idFrom(text: string, at = 0): number {
  let value = 0;
  for (let index = at; index < at + 8; index++) value = value * 256 + text.charCodeAt(index);
  return value;
}

/** The smallest byte string above everything that starts with `prefix`. */
export function after(prefix: string): string {
  for (let index = prefix.length - 1; index >= 0; index--) {
    const code = prefix.charCodeAt(index);
    if (code < 0xff) return prefix.slice(0, index) + fromCode(code + 1);
  }
  throw new RangeError("after: every byte of the prefix is 255");
}

const GROUPED = new Set([TAG_NAME, TAG_ORDER, TAG_EXTENT, TAG_XATTR, TAG_ANSWER]);

/** Whether keys like this one have a rest after their prefix of 9 bytes. */
export function isGrouped(key: string): boolean {
  return GROUPED.has(key[0]);
}

/** Splits a whole key as read from a log entry or the table. */
export function splitKey(key: string): { prefix: string; rest: string } {
  const length = GROUPED.has(key[0]) ? 9 : key.length;
  return { prefix: key.slice(0, length), rest: key.slice(length) };
}

export function keyBytes(key: string): Buffer {
  return Buffer.from(key, "latin1");
}

/** A key in a form for messages. */
export function describeKey(key: string): string {
  const kinds: Record<string, string> = { i: "inode", n: "name in directory", o: "entry of directory", e: "extent of inode", s: "stripe", x: "attribute of inode", d: "stripe on disk", u: "unnamed inode", c: "cut of inode", z: "dead stripe", r: "reservation", a: "answer of session", t: "session", "\x01": "meta" }; // prettier-ignore
  const kind = kinds[key[0]] ?? `unknown record ${JSON.stringify(key[0])}`;
  if (key[0] === TAG_META) return `record ${kind} "${key.slice(1)}"`;
  if (key[0] === TAG_DISK) return `record ${kind} ${idFrom(`\0\0\0\0${key.slice(1, 5)}`)}: stripe ${idFrom(key, 5)}`;
  const rest = key.slice(9);
  const detail =
    key[0] === TAG_NAME || key[0] === TAG_XATTR ? JSON.stringify(rest) : rest.length === 8 ? String(idFrom(rest)) : "";
  return `record ${kind} ${idFrom(key, 1)}${detail === "" ? "" : ` ${detail}`}`;
}

// cairn-disk.json: what makes a directory a disk of one store. Written last when a disk is made, so a directory
// without it is a half-made disk or none at all; read again by healthy(), so a disk that was wiped or swapped is noticed.
import { crc32c } from "../native/kernels.ts";
import { codeOf, textOf } from "./block-errors.ts";
import type { Directory } from "./directory.ts";

export const DISK_IDENTITY_FILE = "cairn-disk.json";
const TEMPORARY_FILE = "cairn-disk.json.new";
export const DISK_FORMAT_VERSION = 1;
export const IDENTITY_MAX_BYTES = 4096;

export interface DiskIdentity {
  /** UUID of the store that the disk belongs to. */
  store: string;
  /** The disk's number in the store (DiskId). */
  disk: number;
}

/** `missing`: no identity file; `unreadable`: damaged or I/O error; `version`: of another version; `foreign`: of another store or disk; `present`: there is one where none may be. */
export type DiskIdentityProblem = "missing" | "unreadable" | "version" | "foreign" | "present";

export class DiskIdentityError extends Error {
  readonly problem: DiskIdentityProblem;
  constructor(problem: DiskIdentityProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.problem = problem;
  }
}

/** Makes the directory a disk. Durable when it resolves. Error `present` where it is one already; a half-made one (temporary file only) is made again. */
export async function createDiskIdentity(directory: Directory, identity: DiskIdentity): Promise<void> {
  await directory.makeDirectory("");
  const names = await directory.list("");
  if (names.includes(DISK_IDENTITY_FILE)) {
    throw new DiskIdentityError(
      "present",
      `create disk ${identity.disk} in ${directory.path}: it has a ${DISK_IDENTITY_FILE} already; name an empty directory`,
    );
  }
  const text = `${JSON.stringify({ format: DISK_FORMAT_VERSION, store: identity.store, disk: identity.disk }, null, 2)}\n`;
  const file = await directory.open(TEMPORARY_FILE, { create: true });
  try {
    await file.truncate(0);
    await file.write([Buffer.from(text)], 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await directory.rename(TEMPORARY_FILE, DISK_IDENTITY_FILE);
  await directory.syncNames("");
}

/** Errors: DiskIdentityError `missing`, `unreadable` or `version`. */
export async function readDiskIdentity(directory: Directory): Promise<DiskIdentity> {
  const where = `${directory.path}/${DISK_IDENTITY_FILE}`;
  const text = await readText(directory, where);
  let value: { format?: unknown; store?: unknown; disk?: unknown } | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (error) {
    throw new DiskIdentityError("unreadable", `read ${where}: it is not JSON (${textOf(error)})`, { cause: error });
  }
  const format = value?.format;
  if (typeof format === "number" && format !== DISK_FORMAT_VERSION) {
    throw new DiskIdentityError(
      "version",
      `read ${where}: the disk has format ${format}, this program knows format ${DISK_FORMAT_VERSION}`,
    );
  }
  if (value === null || typeof format !== "number" || typeof value.store !== "string" || !Number.isSafeInteger(value.disk)) {
    throw new DiskIdentityError("unreadable", `read ${where}: it lacks format, store or disk`);
  }
  return { store: value.store, disk: value.disk as number };
}

/** Errors: as readDiskIdentity, and `foreign` where the directory is another disk or of another store. */
export async function checkDiskIdentity(directory: Directory, expected: DiskIdentity): Promise<void> {
  const found = await readDiskIdentity(directory);
  if (found.store !== expected.store) {
    throw new DiskIdentityError(
      "foreign",
      `check disk ${expected.disk} in ${directory.path}: it belongs to store ${found.store}, required is store ${expected.store}`,
    );
  }
  if (found.disk !== expected.disk) {
    throw new DiskIdentityError(
      "foreign",
      `check disk ${expected.disk} in ${directory.path}: it is disk ${found.disk} of the store, required is disk ${expected.disk}`,
    );
  }
}

/** A number that tells this disk's records from those of any other (segment-format.ts, RecordPlace). */
export function saltOf(identity: DiskIdentity): number {
  return crc32c(Buffer.from(`${identity.store}/${identity.disk}`, "utf8"));
}

async function readText(directory: Directory, where: string): Promise<string> {
  try {
    const file = await directory.open(DISK_IDENTITY_FILE, { readOnly: true });
    try {
      const buffer = new Uint8Array(IDENTITY_MAX_BYTES);
      const bytes = await file.read(buffer, 0);
      return Buffer.from(buffer.subarray(0, bytes)).toString("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    if (codeOf(error) === "ENOENT")
      throw new DiskIdentityError(
        "missing",
        `read ${where}: there is none; the directory is no disk of a store, or its disk is gone`,
        { cause: error },
      );
    throw new DiskIdentityError("unreadable", `read ${where}: ${textOf(error)}`, { cause: error });
  }
}

// What block stores throw and what they report. `code` is an errno name, so that errno tables above understand it.
import type { BlockId } from "./blocks.ts";

export type BlockErrorCode = "EEXIST" | "ENOENT" | "EBADMSG" | "EIO" | "ENOSPC" | "EINVAL" | "EBUSY";

/** A refusal or failure of a block store. The text names disk, file, offset, stripe and index where they are known. */
export class BlockError extends Error {
  readonly code: BlockErrorCode;
  constructor(code: BlockErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Something on the disk that is not as it was written.
 * `torn`: bytes at the end of a segment that a crash cut off; nothing that was synced. `corrupt`: bytes between good
 * records, or a block whose data differs from its checksum. `index`: the index, which is repaired from the segments.
 * `missing`: a segment file that the index knows and the directory lacks.
 */
export interface Damage {
  kind: "torn" | "corrupt" | "index" | "missing";
  /** Disk's path and file, or the disk's path alone. */
  file: string;
  offset?: number;
  bytes?: number;
  id?: BlockId;
  text: string;
}

export type OnDamage = (damage: Damage) => void;

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function nameOf(id: BlockId): string {
  return `block ${id.index} of stripe ${id.stripe}`;
}

export function requireId({ stripe, index }: BlockId): void {
  if (!Number.isSafeInteger(stripe) || stripe < 0 || !Number.isInteger(index) || index < 0 || index > 0xffff) {
    throw new BlockError(
      "EINVAL",
      `block ${index} of stripe ${stripe}: the stripe is required to be an integer from 0, the index one from 0 to 65535`,
    );
  }
}

export function requireRange(id: BlockId, entry: { length: number }, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > entry.length) {
    throw new BlockError(
      "EINVAL",
      `retrieve ${nameOf(id)}: bytes ${offset} to ${offset + length} are asked for, it has ${entry.length}`,
    );
  }
}

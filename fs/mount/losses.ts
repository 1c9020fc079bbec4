// What was written through a mount and will never be stored, until a program was told of it: what is left when the mount
// ends is its error.

import type { InodeId } from "../types.ts";
import type { FileState } from "./file-state.ts";
import { LOSSES_MAX } from "./limits.ts";

export interface LostBytes {
  inode: InodeId;
  bytes: number;
}

export class Losses {
  readonly #files = new Map<InodeId, number>();
  /** Of files beyond LOSSES_MAX. */
  #unlisted: { files: number; bytes: number } = { files: 0, bytes: 0 };

  add(inode: InodeId, bytes: number): void {
    if (bytes === 0) return;
    const before = this.#files.get(inode);
    if (before !== undefined || this.#files.size < LOSSES_MAX) this.#files.set(inode, (before ?? 0) + bytes);
    else {
      this.#unlisted.files++;
      this.#unlisted.bytes += bytes;
    }
  }

  /** Bytes of the file that no program was told of. */
  of(inode: InodeId): number {
    return this.#files.get(inode) ?? 0;
  }

  /** A program was told that bytes of the file are lost. */
  told(inode: InodeId): void {
    this.#files.delete(inode);
  }

  /** Null where nothing was lost in silence. */
  error(cause: unknown): UnwrittenError | null {
    if (this.#files.size === 0 && this.#unlisted.files === 0) return null;
    const files = [...this.#files].map(([inode, bytes]) => ({ inode, bytes }));
    return new UnwrittenError(files, this.#unlisted, cause);
  }
}

const NAMED_MAX = 20;

/** Bytes that programs wrote, and that no file has. */
export class UnwrittenError extends Error {
  readonly code = "EIO";
  readonly files: readonly LostBytes[];
  readonly #unlisted: { files: number; bytes: number };

  constructor(files: readonly LostBytes[], unlisted: { files: number; bytes: number }, cause: unknown) {
    super("", { cause });
    this.files = files;
    this.#unlisted = unlisted;
    this.message = this.describe(({ inode }) => `inode ${inode}`);
  }

  /** The message, where the files' names are known. */
  describe(nameOf: (file: LostBytes) => string): string {
    const count = this.files.length + this.#unlisted.files;
    const bytes = this.files.reduce((sum, file) => sum + file.bytes, this.#unlisted.bytes);
    const named = this.files.slice(0, NAMED_MAX).map((file) => `${nameOf(file)} (${file.bytes} bytes)`);
    if (count > named.length) named.push(`${count - named.length} more`);
    const why = (this.cause as Error | undefined)?.message;
    return `${bytes} bytes of ${count} ${count === 1 ? "file" : "files"} were not written: ${named.join(", ")}${why ? `; ${why}` : ""}`;
  }
}

/** Bytes of the file that the namespace does not have (those that were overwritten in an open buffer count as well). */
export function unwrittenBytes(file: FileState): number {
  let bytes = file.openBytes;
  for (const unit of file.units) for (const { length } of unit.files.get(file)?.ranges ?? []) bytes += length;
  return bytes;
}

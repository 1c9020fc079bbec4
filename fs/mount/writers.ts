// Who has a file open for writing, as far as shared mappings have to know. FUSE does not tell us of mmap(2), so two mounts
// that store into one mapped page would not notice each other. Therefore only one mount maps a file that is open for writing:
//
// 1. A mount that has a file open for writing holds it exclusively, or has told the namespace that it writes it.
//    An open for writing takes the exclusive lease; a recall tells the namespace before it gives that lease up.
// 2. The namespace says of each inode on which it grants a lease whether another mount writes it, before it answers.
// 3. A file that another mount writes is opened without the page cache: the kernel refuses shared mappings of it (ENODEV).

import type { Session } from "../messages.ts";
import type { InodeId } from "../types.ts";
import type { FileState } from "./file-state.ts";
import { WRITING_BATCH_MAX } from "./limits.ts";

export class Writers {
  readonly #session: Session;
  readonly #onError: (text: string) => void;
  /** Files that other mounts write, and which word of it was the last. */
  readonly #elsewhere = new Map<InodeId, number>();
  #words = 0;
  /** Files of which the namespace is to be told that they are not written here any more. */
  readonly #closed = new Set<InodeId>();
  #telling: Promise<void> | null = null;

  constructor(session: Session, onError: (text: string) => void) {
    this.#session = session;
    this.#onError = onError;
  }

  /** The namespace's word that another mount writes the file. */
  heard(inode: InodeId): void {
    this.#elsewhere.set(inode, ++this.#words);
  }

  isElsewhere(inode: InodeId): boolean {
    return this.#elsewhere.has(inode);
  }

  /** Asks for a lease by `acquire`, and takes it that nobody else writes the file any more where no word of it comes. */
  async askedAgain(inode: InodeId, acquire: () => Promise<void>): Promise<void> {
    const before = this.#elsewhere.get(inode);
    await acquire();
    if (before !== undefined && this.#elsewhere.get(inode) === before) this.#elsewhere.delete(inode);
  }

  /** Tells the namespace that the file is written here. To be awaited before the exclusive lease goes. */
  async tell(file: FileState): Promise<void> {
    // A word that it is closed must not come later.
    while (this.#telling !== null) await this.#telling;
    this.#closed.delete(file.inode);
    if (file.writers === 0) return;
    await this.#session.call("writing", { inodes: [file.inode], open: true });
    file.toldWriting = true;
    if (file.writers === 0) this.closed(file);
  }

  /** The last descriptor that could write the file is closed. */
  closed(file: FileState): void {
    if (!file.toldWriting) return;
    file.toldWriting = false;
    this.#closed.add(file.inode);
    void this.sendClosed();
  }

  /** Tells the namespace what is closed. What fails is told with what is closed next, or by the mount's tick. */
  sendClosed(): Promise<void> {
    if (this.#closed.size === 0) return Promise.resolve();
    this.#telling ??= this.#sendClosed().finally(() => (this.#telling = null));
    return this.#telling;
  }

  async #sendClosed(): Promise<void> {
    while (this.#closed.size > 0) {
      const inodes = [...this.#closed].slice(0, WRITING_BATCH_MAX);
      for (const inode of inodes) this.#closed.delete(inode);
      try {
        await this.#session.call("writing", { inodes, open: false });
      } catch (error) {
        for (const inode of inodes) this.#closed.add(inode);
        this.#onError(`telling what is not written any more: ${String(error)}`);
        return;
      }
    }
  }

  /** The kernel has forgotten the inode. */
  forget(inode: InodeId): void {
    this.#elsewhere.delete(inode);
  }

  /** Another session begins: it was told nothing, and has said nothing. */
  clear(): void {
    this.#elsewhere.clear();
    this.#closed.clear();
  }
}

// Moves what files have in the table (inline extents) to stripes once it is much, behind the backs of the programs that
// sync small writes: their fsync waits for the log alone, never for the disks' six.

import type { BatchMover } from "./batch-mover.ts";
import { CODED_FROM_BYTES } from "./batch-mover.ts";
import { Batch } from "./cleaner-batch.ts";
import type { Namespace } from "./namespace/namespace.ts";
import type { InodeId } from "./types.ts";

/** Files that wait; further ones are left to the cleaner. */
const FILES_MAX = 1024;

export interface InlineMoverOptions {
  namespace: Namespace;
  mover: BatchMover;
  trace?: (line: string) => void;
}

export class InlineMover {
  readonly #options: InlineMoverOptions;
  readonly #waiting = new Set<InodeId>();
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(options: InlineMoverOptions) {
    this.#options = options;
    options.namespace.relocation.watchInline((inode) => this.#full(inode));
  }

  /** Resolves when what is under way has ended; nothing more is begun. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  #full(inode: InodeId): void {
    if (this.#stopped || this.#waiting.size >= FILES_MAX) return;
    this.#waiting.add(inode);
    this.#running ??= this.#run().finally(() => (this.#running = null));
  }

  async #run(): Promise<void> {
    for (const inode of this.#waiting) {
      if (this.#stopped) return;
      this.#waiting.delete(inode);
      try {
        await this.#moveFile(inode);
      } catch (error) {
        this.#options.trace?.(`moving inline data of inode ${inode} to a stripe: ${(error as Error).message}`);
      }
    }
  }

  async #moveFile(inode: InodeId): Promise<void> {
    let batch = new Batch();
    for await (const { extents } of this.#options.namespace.relocation.takeInline(inode)) {
      for (const extent of extents) {
        if (batch.full) {
          await this.#move(batch);
          batch = new Batch();
        }
        // What has no room any more stays where it is.
        batch.add(inode, extent);
      }
    }
    await this.#move(batch);
  }

  /** Where little is left, because the same place was written again and again, it may stay. */
  async #move(batch: Batch): Promise<void> {
    if (batch.bytes < CODED_FROM_BYTES || this.#stopped) return;
    await this.#options.mover.move(batch);
  }
}

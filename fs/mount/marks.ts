// Which replies may be believed. A request takes a mark before it is sent; when its reply is there, the mark says whether
// something has overtaken it meanwhile:
//
// 1. A recall: while a session is being recalled, the namespace answers it with what was before the change that it is
//    recalled for. So what is asked or answered during any recall is shown, and not kept.
// 2. Another session: it holds nothing of what the one before was granted.
// 3. A forget of the inode: the namespace may have granted first and forgotten then.
// 4. A restart of the namespace: a reply that is repeated after it may be of before, and what it granted was forgotten.

import type { InodeId } from "../types.ts";
import { FORGOTTEN_INODES_MAX } from "./limits.ts";

/** A moment; negative where a recall was under way. */
export type Mark = number;

export class Marks {
  #now = 1;
  #overtaken = 0;
  #recalling = 0;
  /** When the forget of an inode was answered (Infinity: it is under way), the oldest first. */
  readonly #forgotten = new Map<InodeId, number>();
  /** The last moment at which one was forgotten of which this is not known any more. */
  #droppedAt = 0;
  /** How many sessions there were before this one. What goes on over several steps belongs to one of them. */
  session = 0;

  /** Take this before a request is sent. */
  take(): Mark {
    return this.#recalling > 0 ? -this.#now : this.#now;
  }

  /** Whether the reply to a request with this mark may be kept. */
  isCurrent(mark: Mark): boolean {
    return mark >= this.#overtaken;
  }

  recallBegins(): void {
    this.#recalling++;
    this.#overtaken = ++this.#now;
  }

  /** Call when the answer is sent. The namespace has it before anything that is asked from then on. */
  recallEnds(): void {
    this.#recalling--;
    this.#overtaken = ++this.#now;
  }

  sessionBegins(): void {
    this.session++;
    this.#overtaken = ++this.#now;
  }

  /** The reply that comes next was made before. Others that are awaited just now are taken for the same. */
  replyRepeated(): void {
    this.#overtaken = ++this.#now;
  }

  /** A request that forgets the inodes is about to be sent. */
  forgetBegins(inodes: readonly InodeId[]): void {
    for (const inode of inodes) this.#note(inode, Infinity);
  }

  /** It was answered, or has failed. */
  forgetEnds(inodes: readonly InodeId[]): void {
    this.#now++;
    for (const inode of inodes) this.#note(inode, this.#now);
    for (const [inode, at] of this.#forgotten) {
      if (this.#forgotten.size <= FORGOTTEN_INODES_MAX) return;
      this.#forgotten.delete(inode);
      this.#droppedAt = Math.max(this.#droppedAt, at);
    }
  }

  #note(inode: InodeId, at: number): void {
    this.#forgotten.delete(inode);
    this.#forgotten.set(inode, at);
  }

  /** Whether a forget of the inode may have been carried out after the request with this mark: the namespace may not know that this mount has it. */
  mayBeForgotten(inode: InodeId, mark: Mark): boolean {
    return (this.#forgotten.get(inode) ?? this.#droppedAt) > Math.abs(mark);
  }
}

// What a power cut may leave: the tree as it was after some operation since the last one that was made durable, whole
// operations only, in their order; and of each file its content after some change since it was last made durable, of
// which the last change may be there in its first part only (a write larger than a stripe).

import type { InodeId } from "../../fs/types.ts";
import type { ContentEffect } from "./bound.ts";
import { type Content, EMPTY, isTornWrite, sameContent } from "./content.ts";
import { explainCut, type Ran } from "./judge.ts";
import { Model, type Nodes, treeDifference } from "./model.ts";

/** A change that was made in a round. */
export interface ContentChange extends Ran {
  changes: ContentEffect;
  mount: number;
}

interface Era {
  /** The state before the round. */
  before: Nodes;
  ran: readonly Ran[];
}

export interface Version {
  content: Content;
  /** The changes of one round that led from here to the next version, in unknown order. */
  next: readonly ContentChange[];
}

/** Rounds between two moments at which all is made durable: bounds the memory of a run. */
export const ERAS_MAX = 400;
/** Of changes to one file in one round, orders are tried up to this many. */
const PERMUTED_MAX = 4;

export class History {
  #eras: Era[] = [];
  readonly #versions = new Map<InodeId, Version[]>();

  get length(): number {
    return this.#eras.length;
  }

  /** Everything is durable as it is now. */
  restart(): void {
    this.#eras = [];
    this.#versions.clear();
  }

  /** A round was explained; `before` is the state before it. */
  add(before: Nodes, ran: readonly Ran[], changes: readonly ContentChange[]): void {
    this.#eras.push({ before, ran });
    const byInode = new Map<InodeId, ContentChange[]>();
    for (const change of changes) byInode.set(change.changes.inode, [...(byInode.get(change.changes.inode) ?? []), change]);
    for (const [inode, next] of byInode) {
      const node = before.get(inode);
      if (node === undefined) continue;
      const versions = this.#versions.get(inode) ?? [];
      this.#versions.set(inode, [...versions, { content: node.content, next }]);
    }
  }

  /**
   * What the rounds before the last one did to names is durable, and what was done to these files up to the last change
   * by the mount that was asked. What only the other mount has written since, and nobody read, is its own to sync.
   */
  synced(files: readonly { inode: InodeId; mount: number }[]): void {
    const last = this.#eras.at(-1);
    if (last === undefined) return;
    this.#eras = [last];
    for (const { inode, mount } of files) {
      const versions = this.#versions.get(inode);
      if (versions === undefined) continue;
      const before = ({ next }: Version): boolean => next.every((change) => !last.ran.includes(change));
      const covered = versions.findLastIndex((one) => before(one) && one.next.some((change) => change.mount === mount));
      const kept = versions.slice(covered + 1);
      if (kept.length === 0) this.#versions.delete(inode);
      else this.#versions.set(inode, kept);
    }
  }

  /**
   * A mount died, and with it what only it had. Of a file that the `other` mount changed, everything up to that change
   * was written back before.
   */
  killed(other: number): void {
    for (const [inode, versions] of this.#versions) {
      const covered = versions.findLastIndex(({ next }) => next.some((change) => change.mount === other));
      this.#versions.set(inode, versions.slice(Math.max(0, covered)));
    }
  }

  /** Versions that a file may have gone back to where only one mount's changes since were lost, each with the changes of the round that followed it. */
  versionsSince(inode: InodeId, other: number): readonly Version[] {
    const versions = this.#versions.get(inode) ?? [];
    return versions.slice(Math.max(0, versions.findLastIndex(({ next }) => next.some(({ mount }) => mount === other)))); // prettier-ignore
  }

  /** null, or why the tree that was found cannot be what is left. */
  treeProblem(now: Nodes, found: Nodes): string | null {
    if (treeDifference(now, found) === null) return null;
    for (const { before } of this.#eras) if (treeDifference(before, found) === null) return null;
    const matches = (nodes: Nodes): boolean => treeDifference(nodes, found) === null;
    const model = new Model();
    for (const { before, ran } of this.#eras.toReversed()) {
      model.load(before);
      if (explainCut(model, ran, matches)) return null;
    }
    const states = this.#eras.slice(-3).map(({ before }) => `  or: ${treeDifference(before, found)}`);
    return [`against the last state: ${treeDifference(now, found)}`, ...states].join("\n");
  }

  /** null, or why the content that was found cannot be what is left of the file. */
  contentProblem(inode: InodeId, now: Content | undefined, found: Content): string | null {
    const versions = this.#versions.get(inode) ?? [];
    // Removed, but not durably so: the model has forgotten it.
    now ??= this.#eras.findLast(({ before }) => before.has(inode))?.before.get(inode)!.content ?? EMPTY;
    if (sameContent(now, found)) return null;
    for (const { content, next } of versions) if (sameContent(content, found) || reaches(content, next, found)) return null;
    const sizes = versions.map(({ content }) => content.size);
    return `file ${inode} of ${found.size} bytes is like none of its ${versions.length + 1} versions (sizes ${[...sizes, now.size].join(" ")})`;
  }
}

/** Whether some of the changes, in some order, the last perhaps in part, lead from one content to the other. */
function reaches(from: Content, changes: readonly ContentChange[], found: Content): boolean {
  if (changes.length > PERMUTED_MAX) return true;
  for (const one of changes) {
    const { change, written } = one.changes;
    const after = change(from);
    if (sameContent(after, found)) return true;
    if (written !== undefined) {
      const at = written.at ?? from.size;
      if (isTornWrite(found, from, after, at, at + written.length)) return true;
    }
    if (reaches(after, changes.filter((other) => other !== one), found)) return true; // prettier-ignore
  }
  return false;
}

// The model filesystem: what the store should be, as plain as possible. Nodes are immutable, so that a state is kept by
// copying one map, and what was done is undone by a journal.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE } from "../../fs/types.ts";
import { type Content, EMPTY } from "./content.ts";

export interface HeldLock {
  kind: "posix" | "flock";
  owner: string;
  type: "read" | "write";
  start: number;
  /** Inclusive. */
  end: number;
}

export interface Node {
  readonly type: "file" | "directory" | "symlink";
  readonly mode: number;
  readonly links: number;
  readonly target: string;
  readonly entries: ReadonlyMap<ByteString, InodeId>;
  readonly xattrs: ReadonlyMap<ByteString, string>;
  readonly content: Content;
  readonly locks: readonly HeldLock[];
}

export interface NamedInode {
  inode: InodeId;
  path: ByteString[];
  type: Node["type"];
}

export type Nodes = ReadonlyMap<InodeId, Node>;

const NOTHING: ReadonlyMap<ByteString, any> = new Map();

export function newNode(type: Node["type"], target = ""): Node {
  const mode = type === "directory" ? 0o755 : type === "symlink" ? 0o777 : 0o644;
  const links = type === "directory" ? 2 : 1;
  return { type, mode, links, target, entries: NOTHING, xattrs: NOTHING, content: EMPTY, locks: [] };
}

export class Model {
  #nodes = new Map<InodeId, Node>([[ROOT_INODE, newNode("directory")]]);
  #journal: [InodeId, Node | undefined][] = [];
  /** What named() gives, as long as nothing changes. */
  #named: readonly NamedInode[] | null = null;

  get nodes(): Nodes {
    return this.#nodes;
  }

  get(inode: InodeId): Node | undefined {
    return this.#nodes.get(inode);
  }

  set(inode: InodeId, change: Partial<Node>): void {
    const node = this.#nodes.get(inode);
    this.#named = null;
    this.#journal.push([inode, node]);
    this.#nodes.set(inode, { ...(node ?? newNode("file")), ...change });
  }

  mark(): number {
    return this.#journal.length;
  }

  undo(mark: number): void {
    this.#named = null;
    while (this.#journal.length > mark) {
      const [inode, node] = this.#journal.pop()!;
      if (node === undefined) this.#nodes.delete(inode);
      else this.#nodes.set(inode, node);
    }
  }

  /** What was done stays done. */
  settle(): void {
    this.#journal = [];
  }

  /** Takes another state; there is nothing to undo afterwards. */
  load(nodes: Nodes): void {
    this.#nodes = new Map(nodes);
    this.#journal = [];
    this.#named = null;
  }

  snapshot(): Nodes {
    return new Map(this.#nodes);
  }

  /** Forgets nodes without names that nobody uses. */
  sweep(used: ReadonlySet<InodeId>): void {
    this.#named = null;
    for (const [inode, node] of this.#nodes) if (node.links === 0 && !used.has(inode)) this.#nodes.delete(inode);
  }

  entry(parent: InodeId, name: ByteString): InodeId | undefined {
    return this.get(parent)?.entries.get(name);
  }

  setEntry(parent: InodeId, name: ByteString, inode: InodeId | null): void {
    const entries = new Map(this.get(parent)!.entries);
    if (inode === null) entries.delete(name);
    else entries.set(name, inode);
    this.set(parent, { entries });
  }

  addLinks(inode: InodeId, difference: number): void {
    this.set(inode, { links: this.get(inode)!.links + difference });
  }

  /** Whether names can be made in it. */
  isLive(directory: InodeId): boolean {
    return (this.get(directory)?.links ?? 0) > 0;
  }

  /** Whether `below` is the directory or lies somewhere in it. */
  contains(directory: InodeId, below: InodeId): boolean {
    if (directory === below) return true;
    const node = this.get(directory);
    if (node?.type !== "directory") return false;
    for (const child of node.entries.values()) {
      if (this.get(child)?.type === "directory" && this.contains(child, below)) return true;
    }
    return false;
  }

  /** All inodes that have a name, with one path each, in order of inode. */
  named(): readonly NamedInode[] {
    this.#named ??= this.#findNamed();
    return this.#named;
  }

  #findNamed(): NamedInode[] {
    const paths = new Map<InodeId, ByteString[]>([[ROOT_INODE, []]]);
    for (const [directory, path] of paths) {
      for (const [name, inode] of this.get(directory)!.entries) if (!paths.has(inode)) paths.set(inode, [...path, name]);
    }
    return [...paths].sort(([a], [b]) => a - b).map(([inode, path]) => ({ inode, path, type: this.get(inode)!.type })); // prettier-ignore
  }
}

/** The first difference between the trees of two states, contents left out; null: none. */
export function treeDifference(expected: Nodes, found: Nodes): string | null {
  const seen = new Set<InodeId>();
  const compare = (inode: InodeId, path: string): string | null => {
    if (seen.has(inode)) return null;
    seen.add(inode);
    const [a, b] = [expected.get(inode), found.get(inode)];
    if (a === undefined || b === undefined) return `${path}: inode ${inode} is ${a === undefined ? "not expected" : "missing"}`;
    for (const field of ["type", "mode", "links", "target"] as const)
      if (a[field] !== b[field]) return `${path} (${inode}): ${field} should be ${a[field]}, is ${b[field]}`;
    if (text(a.xattrs) !== text(b.xattrs)) return `${path} (${inode}): xattrs should be ${text(a.xattrs)}, are ${text(b.xattrs)}`;
    if (text(a.entries) !== text(b.entries))
      return `${path} (${inode}): names should be ${text(a.entries)}, are ${text(b.entries)}`;
    for (const [name, child] of a.entries) {
      const difference = compare(child, `${path}/${name}`);
      if (difference !== null) return difference;
    }
    return null;
  };
  return compare(ROOT_INODE, "");
}

function text(map: ReadonlyMap<string, unknown>): string {
  return [...map].map(([key, value]) => `${key}=${String(value)}`).sort().join(" "); // prettier-ignore
}

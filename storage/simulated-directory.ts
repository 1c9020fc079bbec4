// A disk in memory that does, on demand, everything a real one may do: lose, tear and reorder what was not synced,
// fail the n-th call, run full, rot. Deterministic: the same seed and the same calls give the same disk.
//
// 1. What a file's sync() covered is kept by every crash; what it did not is kept in part (simulated-image.ts).
// 2. A name made, renamed or removed without syncNames() of its directory is kept or lost, each change by itself.
// 3. A failed sync loses part of what it should have made durable, for good, though reads still show it: that is what
//    Linux does (pages are marked clean), and why a failed fdatasync must never be tried again and believed.
import { getSystemErrorMap } from "node:util";
import type { Directory, DirectoryFile, OpenOptions } from "./directory.ts";
import { type Random, randomBelow, seededRandom } from "./seeded-random.ts";
import { type Change, Image, PAGE_BYTES, survivors } from "./simulated-image.ts";

/** A planned failure of the call with this number (the first call is 1). */
export interface Fault {
  call: number;
  code: string;
  /** Of the first call from that number on that may take space, as a full disk fails them. */
  growing?: boolean;
  /** A write leaves a random part of its bytes behind before it fails (default true). */
  partial?: boolean;
}

export interface SimulatedDirectoryOptions {
  seed: number;
  path?: string;
  /** Space of the medium; ENOSPC beyond it. Default: no bound. */
  totalBytes?: number;
}

interface Inode {
  current: Image;
  durable: Image;
  pending: Change[];
  locked: boolean;
}

type Node = Inode | "directory";

/** A change of names, atomic in itself. */
type NameChange = { parents: string[]; set: Map<string, Node | null> };

/** What takes space, by the action's first word. */
const GROWING = new Set(["write", "allocate", "make"]);

const DESCRIPTIONS = new Map([...getSystemErrorMap().values()]);

export class SimulatedError extends Error {
  readonly code: string;
  constructor(code: string, action: string, name: string) {
    super(`${action} ${name}: ${DESCRIPTIONS.get(code) ?? "simulated failure"} (${code})`);
    this.code = code;
  }
}

export class SimulatedDirectory implements Directory {
  readonly path: string;
  /** Calls made so far: names, reads, writes, syncs. */
  calls = 0;
  /** Planned failures. */
  faults: Fault[] = [];
  /** Every call fails with this code while it is set: a disk that is gone. */
  broken: string | null = null;
  /** Whether readNow finds bytes at hand. */
  cached = true;
  /** Awaited before each call takes effect, where set: a slow disk, or another order of completion. */
  delay: ((action: string) => Promise<void>) | null = null;
  readonly #random: Random;
  #totalBytes: number;
  #names = new Map<string, Node>([["", "directory"]]);
  #durableNames = new Map<string, Node>([["", "directory"]]);
  #nameChanges: NameChange[] = [];
  #life = 0;

  constructor({ seed, path = `/simulated-${seed}`, totalBytes = Infinity }: SimulatedDirectoryOptions) {
    this.path = path;
    this.#random = seededRandom(seed);
    this.#totalBytes = totalBytes;
  }

  async open(name: string, options: OpenOptions = {}, life = this.#life): Promise<DirectoryFile> {
    return this.call("open", name, life, () => {
      let node = this.#names.get(name);
      if (node === "directory") throw this.error("EISDIR", "open", name);
      if (node === undefined) {
        if (!options.create) throw this.error("ENOENT", "open", name);
        this.#requireDirectory(parentOf(name), "open", name);
        node = { current: new Image(), durable: new Image(), pending: [], locked: false };
        this.#changeNames([parentOf(name)], new Map([[name, node]]));
      }
      return new SimulatedFile(this, node, name, options, life);
    });
  }

  async list(name: string, life = this.#life): Promise<string[]> {
    return this.call("list", name, life, () => {
      this.#requireDirectory(name, "list", name);
      const children = [...this.#names.keys()].filter((other) => other !== "" && parentOf(other) === name);
      return children.map((child) => child.slice(name === "" ? 0 : name.length + 1)).sort();
    });
  }

  async makeDirectory(name: string, life = this.#life): Promise<void> {
    return this.call("make directory", name, life, () => {
      const parts = name === "" ? [] : name.split("/");
      parts.forEach((_, index) => {
        const part = parts.slice(0, index + 1).join("/");
        if (!this.#names.has(part)) this.#changeNames([parentOf(part)], new Map([[part, "directory"]]));
        this.#requireDirectory(part, "make directory", name);
      });
    });
  }

  async rename(from: string, to: string, life = this.#life): Promise<void> {
    return this.call("rename", from, life, () => {
      if (!this.#names.has(from)) throw this.error("ENOENT", "rename", from);
      this.#requireDirectory(parentOf(to), "rename", from);
      if (from === to) return;
      const set = new Map<string, Node | null>();
      for (const [name, node] of this.#names) {
        if (name !== from && !name.startsWith(`${from}/`)) continue;
        set.set(name, null);
        set.set(to + name.slice(from.length), node);
      }
      this.#changeNames([parentOf(from), parentOf(to)], set);
    });
  }

  async remove(name: string, life = this.#life): Promise<void> {
    return this.call("remove", name, life, () => {
      const doomed = [...this.#names.keys()].filter((other) => other === name || other.startsWith(`${name}/`));
      if (doomed.length > 0) this.#changeNames([parentOf(name)], new Map(doomed.map((other) => [other, null])));
    });
  }

  async syncNames(name: string, life = this.#life): Promise<void> {
    return this.call("sync names of", name, life, () => {
      this.#requireDirectory(name, "sync names of", name);
      // A change that is kept takes with it the earlier ones of the directories that it touches, so order holds.
      const kept = new Set<NameChange>();
      const needed = new Set([name]);
      for (const change of this.#nameChanges.toReversed()) {
        if (!change.parents.some((parent) => needed.has(parent))) continue;
        kept.add(change);
        for (const parent of change.parents) needed.add(parent);
      }
      for (const change of this.#nameChanges) if (kept.has(change)) applyNames(this.#durableNames, change);
      this.#nameChanges = this.#nameChanges.filter((change) => !kept.has(change));
    });
  }

  async space(life = this.#life): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.call("stat", "", life, () => {
      const total = Math.min(this.#totalBytes, 2 ** 50);
      return { totalBytes: total, freeBytes: Math.max(0, total - this.usedBytes()) };
    });
  }

  /** This disk as one process sees it: it stops working at the next crash() or kill(), so that what a dead process had under way cannot reach the disk of its successor. */
  view(): Directory {
    const life = this.#life;
    return {
      path: this.path,
      open: (name, options) => this.open(name, options, life),
      list: (name) => this.list(name, life),
      makeDirectory: (name) => this.makeDirectory(name, life),
      rename: (from, to) => this.rename(from, to, life),
      remove: (name) => this.remove(name, life),
      syncNames: (name) => this.syncNames(name, life),
      space: () => this.space(life),
    };
  }

  /** The power goes: open files (and views) stop working, and what was not durable is kept in part, by the seed. */
  crash(): void {
    this.#life++;
    for (const change of this.#nameChanges.splice(0)) if (this.#random() < 0.5) applyNames(this.#durableNames, change);
    for (const name of [...this.#durableNames.keys()].sort()) {
      if (name !== "" && this.#durableNames.get(parentOf(name)) !== "directory") this.#durableNames.delete(name);
    }
    this.#names = new Map(this.#durableNames);
    for (const node of new Set(this.#names.values())) {
      if (node === "directory") continue;
      for (const change of survivors(node.pending.splice(0), this.#random)) node.durable.apply(change);
      node.current = node.durable.clone();
      node.locked = false;
    }
  }

  /** The process dies and the machine lives: open files (and views) stop working, nothing is lost. */
  kill(): void {
    this.#life++;
    for (const node of this.#names.values()) if (node !== "directory") node.locked = false;
  }

  /** Rot: the bit changes, and nobody is told. */
  flip(name: string, offset: number, bit: number): void {
    const node = this.#fileOf(name);
    node.current.flip(offset, bit);
    node.durable.flip(offset, bit);
  }

  /** Cuts the file, durably and unasked. */
  cut(name: string, length: number): void {
    const node = this.#fileOf(name);
    node.current.apply({ kind: "truncate", length });
    node.durable.apply({ kind: "truncate", length });
  }

  /** Removes everything, durably and unasked: rm -rf on the running disk. */
  wipe(): void {
    this.#names = new Map([["", "directory"]]);
    this.#durableNames = new Map(this.#names);
    this.#nameChanges = [];
  }

  contents(name: string): Uint8Array {
    const node = this.#fileOf(name);
    const bytes = new Uint8Array(node.current.size);
    node.current.read(bytes, 0);
    return bytes;
  }

  /** Names of all files, sorted. */
  fileNames(): string[] {
    return [...this.#names].filter(([, node]) => node !== "directory").map(([name]) => name).sort(); // prettier-ignore
  }

  usedBytes(): number {
    let pages = 0;
    for (const node of new Set(this.#names.values())) if (node !== "directory") pages += node.current.pages;
    return pages * PAGE_BYTES;
  }

  get life(): number {
    return this.#life;
  }

  setTotalBytes(totalBytes: number): void {
    this.#totalBytes = totalBytes;
  }

  /**
   * Counts the call, waits where the disk is slow, fails where that is planned (`failed` then leaves what a failing call
   * leaves), and else runs the effect: in one step with the checks, so no crash comes between.
   */
  async call<T>(
    action: string,
    name: string,
    life: number,
    effect: () => T,
    failed: (fault: Fault) => void = () => {},
  ): Promise<T> {
    const call = ++this.calls;
    if (this.delay !== null) await this.delay(action);
    if (life !== this.#life) throw this.error("EIO", action, name);
    if (this.broken !== null) throw this.error(this.broken, action, name);
    const fault = this.faults.find((fault) => strikes(fault, call, action));
    if (fault === undefined) return effect();
    this.faults = this.faults.filter((other) => other !== fault);
    failed(fault);
    throw this.error(fault.code, action, name);
  }

  /** Makes the change, or throws ENOSPC. */
  change(inode: Inode, name: string, change: Change): void {
    const growth = inode.current.growth(change) * PAGE_BYTES;
    if (growth > 0 && this.#totalBytes !== Infinity && this.usedBytes() + growth > this.#totalBytes)
      throw this.error("ENOSPC", change.kind, name);
    inode.current.apply(change);
    inode.pending.push(change);
  }

  /** A part of the bytes is written, as a failing call may leave it. */
  changePart(inode: Inode, position: number, bytes: Uint8Array): void {
    const part = bytes.subarray(0, randomBelow(this.#random, bytes.length + 1));
    const change: Change = { kind: "write", position, bytes: part };
    inode.current.apply(change);
    inode.pending.push(change);
  }

  /** Invariant 3. */
  loseUnsynced(inode: Inode): void {
    for (const change of survivors(inode.pending.splice(0), this.#random)) inode.durable.apply(change);
  }

  error(code: string, action: string, name: string): SimulatedError {
    return new SimulatedError(code, action, `${this.path}/${name}`);
  }

  #fileOf(name: string): Inode {
    const node = this.#names.get(name);
    if (node === undefined || node === "directory") throw this.error("ENOENT", "find", name);
    return node;
  }

  #requireDirectory(name: string, action: string, subject: string): void {
    const node = this.#names.get(name);
    if (node === undefined) throw this.error("ENOENT", action, subject);
    if (node !== "directory") throw this.error("ENOTDIR", action, subject);
  }

  #changeNames(parents: string[], set: Map<string, Node | null>): void {
    const change = { parents, set };
    applyNames(this.#names, change);
    this.#nameChanges.push(change);
  }
}

class SimulatedFile implements DirectoryFile {
  readonly #disk: SimulatedDirectory;
  readonly #inode: Inode;
  readonly #name: string;
  readonly #options: OpenOptions;
  readonly #life: number;
  #ownsLock = false;

  constructor(disk: SimulatedDirectory, inode: Inode, name: string, options: OpenOptions, life: number) {
    this.#disk = disk;
    this.#inode = inode;
    this.#name = name;
    this.#options = options;
    this.#life = life;
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    this.#requireAligned("read", position, buffer.length);
    return this.#call("read", () => this.#inode.current.read(buffer, position));
  }

  readNow(buffer: Uint8Array, position: number): number {
    if (!this.#disk.cached || this.#options.direct || this.#disk.broken !== null || this.#life !== this.#disk.life) return -1;
    return this.#inode.current.read(buffer, position);
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    if (this.#options.readOnly) throw this.#disk.error("EBADF", "write", this.#name);
    const bytes = joined(buffers);
    this.#requireAligned("write", position, bytes.length);
    const partly = (fault: Fault): void => {
      if (fault.partial !== false) this.#disk.changePart(this.#inode, position, bytes);
    };
    return this.#call("write", () => this.#change({ kind: "write", position, bytes }), partly);
  }

  async writeAndSync(buffers: readonly Uint8Array[], position: number): Promise<void> {
    await this.write(buffers, position);
    await this.sync();
  }

  async sync(): Promise<void> {
    const { pending, durable } = this.#inode;
    const last = pending.at(-1);
    const effect = (): void => {
      const covered = last === undefined ? 0 : pending.indexOf(last) + 1;
      for (const change of pending.splice(0, covered)) durable.apply(change);
    };
    return this.#call("sync", effect, () => this.#disk.loseUnsynced(this.#inode));
  }

  async allocate(position: number, length: number): Promise<void> {
    return this.#call("allocate in", () => this.#change({ kind: "allocate", position, length }));
  }

  async punch(position: number, length: number): Promise<void> {
    return this.#call("punch", () => this.#change({ kind: "punch", position, length }));
  }

  async truncate(length: number): Promise<void> {
    return this.#call("truncate", () => this.#change({ kind: "truncate", length }));
  }

  async size(): Promise<number> {
    return this.#call("stat", () => this.#inode.current.size);
  }

  tryLock(): boolean {
    if (this.#inode.locked && !this.#ownsLock) return false;
    this.#inode.locked = true;
    this.#ownsLock = true;
    return true;
  }

  async close(): Promise<void> {
    if (this.#ownsLock && this.#life === this.#disk.life) this.#inode.locked = false;
    this.#ownsLock = false;
  }

  #call<T>(action: string, effect: () => T, failed?: (fault: Fault) => void): Promise<T> {
    return this.#disk.call(action, this.#name, this.#life, effect, failed);
  }

  #change(change: Change): void {
    this.#disk.change(this.#inode, this.#name, change);
  }

  #requireAligned(action: string, position: number, length: number): void {
    if (this.#options.direct && (position % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0))
      throw this.#disk.error("EINVAL", action, this.#name);
  }
}

function strikes({ call, growing = false }: Fault, number: number, action: string): boolean {
  return growing ? number >= call && GROWING.has(action.split(" ")[0]) : number === call;
}

/** A copy, as the caller may use its buffers again. */
function joined(buffers: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(buffers.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const buffer of buffers) {
    bytes.set(buffer, at);
    at += buffer.length;
  }
  return bytes;
}

function parentOf(name: string): string {
  const slash = name.lastIndexOf("/");
  return slash < 0 ? "" : name.slice(0, slash);
}

function applyNames(names: Map<string, Node>, { set }: NameChange): void {
  for (const [name, node] of set) {
    if (node === null) names.delete(name);
    else names.set(name, node);
  }
}

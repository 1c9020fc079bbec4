// Which inodes the kernel knows, under which leases, and what is remembered of them: a count and a lease for every
// inode that the kernel has (one number each, for there may be millions), attributes of some, a FileState for those that are
// open, have unwritten data, or were used lately.

import { S_IFDIR, S_IFMT, ROOT_INODE } from "../types.ts";
import type { Attributes, InodeId } from "../types.ts";
import type { HeldLease, LeaseMode, Session } from "../messages.ts";
import { FileState, goesOn, mergeAttributes, mergedAttributes, shownAttributes } from "./file-state.ts";
import type { Entry } from "./handlers.ts";
import type { Mark, Marks } from "./marks.ts";
import { ATTRIBUTES_MAX, CLEAN_PIECES_MAX, FORGET_BATCH_MAX, IDLE_FILES_MAX, LEASED_TIMEOUT_MS } from "./limits.ts";

const MODES: readonly LeaseMode[] = ["known", "shared", "exclusive"];
const DIRECTORY_BIT = 4;
const ONE_REFERENCE = 8;

/** How much is remembered (limits.ts). */
export interface InodeLimits {
  idleFiles: number;
  cleanPieces: number;
  attributes: number;
  forgetBatch: number;
}

const LIMITS: InodeLimits = {
  idleFiles: IDLE_FILES_MAX,
  cleanPieces: CLEAN_PIECES_MAX,
  attributes: ATTRIBUTES_MAX,
  forgetBatch: FORGET_BATCH_MAX,
};

export class Inodes {
  readonly #limits: InodeLimits;
  readonly #session: Session;
  readonly #marks: Marks;
  readonly #onError: (text: string) => void;
  /** References * 8 + directory * 4 + lease. */
  readonly #known = new Map<InodeId, number>([[ROOT_INODE, ONE_REFERENCE + DIRECTORY_BIT]]);
  /** Least recently used first. */
  readonly #attributes = new Map<InodeId, Attributes>();
  readonly #files = new Map<InodeId, FileState>();
  /** Files without handles, and how many pieces each had when it came here; least recently used first. */
  readonly #idle = new Map<FileState, number>();
  #idlePieces = 0;
  /** Files that would be idle, or would go, but that something goes on in: whoever comes now must find the same state. */
  readonly #putOff = new Set<FileState>();
  readonly #toForget = new Set<InodeId>();
  #forgetting: Promise<void> | null = null;

  constructor(session: Session, marks: Marks, onError: (text: string) => void, limits: Partial<InodeLimits> = {}) {
    this.#limits = { ...LIMITS, ...limits };
    this.#session = session;
    this.#marks = marks;
    this.#onError = onError;
  }

  get knownCount(): number {
    return this.#known.size;
  }

  files(): Iterable<FileState> {
    return this.#files.values();
  }

  file(inode: InodeId): FileState | undefined {
    return this.#files.get(inode);
  }

  /** Whether the kernel was told of it and has not forgotten it. */
  isKnown(inode: InodeId): boolean {
    return this.#known.has(inode);
  }

  isDirectory(inode: InodeId): boolean {
    return ((this.#known.get(inode) ?? 0) & DIRECTORY_BIT) !== 0;
  }

  lease(inode: InodeId): LeaseMode {
    return this.#files.get(inode)?.lease ?? MODES[(this.#known.get(inode) ?? 0) % 4];
  }

  /** The namespace gave at least this lease. */
  granted(inode: InodeId, mode: LeaseMode): void {
    const file = this.#files.get(inode);
    if (file !== undefined) {
      if (file.lease === "known" && mode !== "known") {
        // What was learned without a lease (by an answer that a recall overtook) may be old.
        file.pieces.dropClean();
        file.cleanGeneration++;
      }
      if (MODES.indexOf(file.lease) < MODES.indexOf(mode)) file.lease = mode;
    }
    const value = this.#known.get(inode);
    if (value !== undefined && value % 4 < MODES.indexOf(mode)) this.#known.set(inode, value - (value % 4) + MODES.indexOf(mode));
  }

  /** The lease is at most this from now on. */
  reduced(inode: InodeId, mode: LeaseMode): void {
    const level = MODES.indexOf(mode);
    const file = this.#files.get(inode);
    if (file !== undefined && MODES.indexOf(file.lease) > level) file.lease = mode;
    const value = this.#known.get(inode);
    // Not with bit operations: the count may take the number beyond 32 bits' reach of them.
    if (value !== undefined && value % 4 > level) this.#known.set(inode, value - (value % 4) + level);
    if (mode === "known") this.#attributes.delete(inode);
  }

  /** What the kernel may be told of the inode without asking, or null. */
  attributes(inode: InodeId): Attributes | null {
    const file = this.#files.get(inode);
    if (file !== undefined) return file.lease === "known" || file.attributesOld ? null : shownAttributes(file);
    const attributes = this.#attributes.get(inode);
    return attributes !== undefined && this.lease(inode) !== "known" ? attributes : null;
  }

  /** Takes attributes from a reply and returns them as they are to be shown. */
  learned(fresh: Attributes): Attributes {
    const inode = fresh.inode;
    const file = this.#files.get(inode);
    if (file !== undefined) {
      mergeAttributes(file, fresh);
      return shownAttributes(file);
    }
    // Without a lease they would be old by the time that a lease comes back.
    if (this.lease(inode) === "known") return fresh;
    const cache = this.#attributes;
    if (cache.size >= this.#limits.attributes && !cache.has(inode)) cache.delete(cache.keys().next().value!);
    cache.set(inode, fresh);
    return fresh;
  }

  /** A reply that a recall may have made old, as it is to be shown: under a lease, what is known here is newer. The kernel cuts its pages to a size that it is told, even if it may not keep it. */
  asKnown(fresh: Attributes): Attributes {
    const known = this.attributes(fresh.inode);
    if (known !== null) return known;
    const file = this.#files.get(fresh.inode);
    if (file === undefined || file.lease === "known") return fresh;
    return { ...mergedAttributes(file, fresh), size: file.attributes.size };
  }

  /** What was known of the inode's attributes is old. */
  unlearned(inode: InodeId): void {
    this.#attributes.delete(inode);
    const file = this.#files.get(inode);
    if (file !== undefined) file.attributesOld = true;
  }

  /** ... of all inodes. */
  unlearnAll(): void {
    this.#attributes.clear();
    for (const file of this.#files.values()) file.attributesOld = true;
  }

  timeoutMs(inode: InodeId): number {
    return this.lease(inode) === "known" ? 0 : LEASED_TIMEOUT_MS;
  }

  /** Whether the namespace may have forgotten the inode after it carried out the request with this mark, so that the reply must not bring it back: it is to be asked again, behind the forget. */
  mayBeForgotten(inode: InodeId, mark: Mark): boolean {
    return this.#marks.mayBeForgotten(inode, mark);
  }

  /** Resolves when no forget is under way. */
  async forgotten(): Promise<void> {
    await this.#forgetting;
  }

  /** An entry for a reply; counts as one reference of the kernel's. `mode`: what the reply granted on the inode; null where a recall may have made it old, so that nobody may keep it. */
  entry(fresh: Attributes, mode: LeaseMode | null): Entry {
    this.reference(fresh);
    if (mode === null) return { attributes: this.asKnown(fresh), entryTimeoutMs: 0, attributeTimeoutMs: 0 };
    this.granted(fresh.inode, mode);
    const attributes = this.learned(fresh);
    return { attributes, entryTimeoutMs: LEASED_TIMEOUT_MS, attributeTimeoutMs: LEASED_TIMEOUT_MS };
  }

  reference(attributes: Attributes): void {
    const inode = attributes.inode;
    const value = this.#known.get(inode);
    if (value === undefined) {
      const directory = (attributes.mode & S_IFMT) === S_IFDIR ? DIRECTORY_BIT : 0;
      this.#known.set(inode, ONE_REFERENCE + directory);
      this.#toForget.delete(inode);
    } else {
      this.#known.set(inode, value + ONE_REFERENCE);
    }
  }

  forget(inode: InodeId, count: number): void {
    if (inode === ROOT_INODE) return;
    const value = this.#known.get(inode);
    if (value === undefined) return;
    if (value >= (count + 1) * ONE_REFERENCE) {
      this.#known.set(inode, value - count * ONE_REFERENCE);
      return;
    }
    this.#known.delete(inode);
    this.#attributes.delete(inode);
    const file = this.#files.get(inode);
    if (file === undefined) this.#queueForget(inode);
    // Otherwise it is forgotten once it is closed and clean, too.
    else if (this.#idle.has(file)) this.#evict(file);
  }

  /** Whether the namespace still counts this mount as one that knows the inode. */
  knows(inode: InodeId): boolean {
    return this.#known.has(inode) || this.#files.has(inode) || this.#toForget.has(inode);
  }

  /** The inode's state, made from attributes if there is none. */
  open(attributes: Attributes): FileState {
    const inode = attributes.inode;
    const existing = this.#files.get(inode);
    if (existing !== undefined) {
      this.#leaveIdle(existing);
      return existing;
    }
    const file = new FileState(attributes, this.lease(inode));
    this.#files.set(inode, file);
    this.#attributes.delete(inode);
    return file;
  }

  /** Call when a handle was closed or a file became clean: it may be idle, or go. */
  settleFile(file: FileState): void {
    this.#putOff.delete(file);
    if (file.handles > 0 || file.dirty || this.#files.get(file.inode) !== file || this.#idle.has(file)) return;
    if (!this.#known.has(file.inode) || file.attributes.linkCount === 0) {
      this.#evict(file);
      return;
    }
    const { count } = file.pieces;
    this.#idle.set(file, count);
    this.#idlePieces += count;
    for (const [oldest] of this.#idle) {
      if (this.#idle.size <= this.#limits.idleFiles && this.#idlePieces <= this.#limits.cleanPieces) return;
      this.#evict(oldest);
    }
  }

  /** Looks again at files that were to go while something went on in them. */
  settlePutOff(): void {
    for (const file of [...this.#putOff]) this.settleFile(file);
  }

  #leaveIdle(file: FileState): void {
    const pieces = this.#idle.get(file);
    if (pieces === undefined) return;
    this.#idle.delete(file);
    this.#idlePieces -= pieces;
  }

  /** The state goes, unless a recall, a change or a request is under way in it: another state beside it would not know of that. */
  #evict(file: FileState): void {
    this.#leaveIdle(file);
    if (file.dirty) return; // settled once it is clean
    if (goesOn(file)) this.#putOff.add(file);
    else this.#dropFile(file);
  }

  #dropFile(file: FileState): void {
    const inode = file.inode;
    this.#files.delete(inode);
    const value = this.#known.get(inode);
    if (value === undefined) this.#queueForget(inode);
    else {
      this.#known.set(inode, value - (value % 4) + MODES.indexOf(file.lease));
      if (file.lease !== "known" && !file.attributesOld) this.learned(file.attributes);
    }
  }

  #queueForget(inode: InodeId): void {
    this.#toForget.add(inode);
    if (this.#toForget.size % this.#limits.forgetBatch === 0) void this.sendForgets();
  }

  /** Tells the namespace what the kernel has forgotten. One request at a time. */
  sendForgets(): Promise<void> {
    if (this.#toForget.size === 0) return Promise.resolve();
    this.#forgetting ??= this.#sendForgets().finally(() => (this.#forgetting = null));
    return this.#forgetting;
  }

  async #sendForgets(): Promise<void> {
    while (this.#toForget.size > 0) {
      const inodes: InodeId[] = [];
      for (const inode of this.#toForget) {
        if (inodes.push(inode) === this.#limits.forgetBatch) break;
      }
      for (const inode of inodes) this.#toForget.delete(inode);
      this.#marks.forgetBegins(inodes);
      try {
        await this.#session.call("forget", { inodes });
      } catch (error) {
        // Done or not, it is said again: else what has no name would stay until the session ends.
        for (const inode of inodes) if (!this.knows(inode)) this.#toForget.add(inode);
        this.#onError(`forgetting ${inodes.length} inodes, to be said again: ${String(error)}`);
        return;
      } finally {
        this.#marks.forgetEnds(inodes);
      }
    }
  }

  /** Every inode that the session knows, and the lease on it. */
  *held(): Generator<HeldLease> {
    for (const inode of this.#known.keys())
      yield { inode, mode: this.lease(inode), writing: this.#files.get(inode)?.toldWriting ?? false };
    for (const [inode, { lease, toldWriting }] of this.#files)
      if (!this.#known.has(inode)) yield { inode, mode: lease, writing: toldWriting };
  }

  /** As clear, where another session goes on. Nothing is dirty any more. Returns what the kernel may have cached. */
  renew(): InodeId[] {
    const cached = new Set(this.#files.keys());
    for (const [inode, value] of this.#known) if (value % 4 > 0) cached.add(inode);
    for (const file of this.#idle.keys()) if (!goesOn(file)) this.#files.delete(file.inode);
    this.clear();
    this.#toForget.clear();
    for (const file of [...this.#files.values()]) this.settleFile(file);
    return [...cached];
  }

  /** Everything that was remembered is void: the session is over. */
  clear(): void {
    this.#attributes.clear();
    this.#idle.clear();
    this.#idlePieces = 0;
    for (const [inode, value] of this.#known) this.#known.set(inode, value - (value % 4));
    for (const file of this.#files.values()) file.lease = "known";
  }
}

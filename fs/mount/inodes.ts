// Which inodes the kernel knows, under which leases, and what is remembered of them: a count and a lease for every
// inode that the kernel has (one number each, for there may be millions), attributes of some, a FileState for those that are
// open, have unwritten data, or were used lately.

import { S_IFDIR, S_IFMT, ROOT_INODE } from "../types.ts";
import type { Attributes, InodeId } from "../types.ts";
import type { HeldLease, LeaseMode, Session } from "../messages.ts";
import { FileState, mergeAttributes, mergedAttributes, shownAttributes } from "./file-state.ts";
import type { Entry } from "./handlers.ts";
import { ATTRIBUTES_MAX, CLEAN_PIECES_MAX, FORGET_BATCH_MAX, IDLE_FILES_MAX, LEASED_TIMEOUT_MS } from "./limits.ts";

const MODES: readonly LeaseMode[] = ["known", "shared", "exclusive"];
const DIRECTORY_BIT = 4;
const ONE_REFERENCE = 8;

export class Inodes {
  readonly #session: Session;
  readonly #onError: (text: string) => void;
  /** References * 8 + directory * 4 + lease. */
  readonly #known = new Map<InodeId, number>([[ROOT_INODE, ONE_REFERENCE + DIRECTORY_BIT]]);
  /** Least recently used first. */
  readonly #attributes = new Map<InodeId, Attributes>();
  readonly #files = new Map<InodeId, FileState>();
  /** Files without handles that are clean; least recently used first. */
  readonly #idle = new Map<InodeId, FileState>();
  #idlePieces = 0;
  readonly #toForget = new Set<InodeId>();
  #forgetting: Promise<void> | null = null;
  /** Inodes of the forget request on its way; true: the kernel got to know it again meanwhile. */
  readonly #beingForgotten = new Map<InodeId, boolean>();

  constructor(session: Session, onError: (text: string) => void) {
    this.#session = session;
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
    const file = this.#files.get(inode);
    if (file !== undefined) file.lease = mode;
    const value = this.#known.get(inode);
    // Not with bit operations: the count may take the number beyond 32 bits' reach of them.
    if (value !== undefined) this.#known.set(inode, value - (value % 4) + MODES.indexOf(mode));
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
    if (cache.size >= ATTRIBUTES_MAX && !cache.has(inode)) cache.delete(cache.keys().next().value!);
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

  timeoutMs(inode: InodeId): number {
    return this.lease(inode) === "known" ? 0 : LEASED_TIMEOUT_MS;
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
      if (this.#beingForgotten.has(inode)) this.#beingForgotten.set(inode, true);
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
    else if (this.#idle.has(inode)) this.#dropFile(file);
    // Otherwise it is forgotten once it is closed and clean: settleFile.
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
      if (this.#idle.delete(inode)) this.#idlePieces -= existing.pieces.count;
      return existing;
    }
    const file = new FileState(attributes, this.lease(inode));
    this.#files.set(inode, file);
    this.#attributes.delete(inode);
    return file;
  }

  /** Call when a handle was closed or a file became clean: it may be idle, or go. */
  settleFile(file: FileState): void {
    if (file.handles > 0 || file.dirty || this.#files.get(file.inode) !== file || this.#idle.has(file.inode)) return;
    if (!this.#known.has(file.inode) || file.attributes.linkCount === 0) {
      this.#dropFile(file);
      return;
    }
    this.#idle.set(file.inode, file);
    this.#idlePieces += file.pieces.count;
    while (this.#idle.size > IDLE_FILES_MAX || this.#idlePieces > CLEAN_PIECES_MAX)
      this.#dropFile(this.#idle.values().next().value!);
  }

  #dropFile(file: FileState): void {
    const inode = file.inode;
    if (this.#idle.delete(inode)) this.#idlePieces -= file.pieces.count;
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
    if (this.#toForget.size >= FORGET_BATCH_MAX) void this.sendForgets();
  }

  /** Tells the namespace what the kernel has forgotten. One request at a time. */
  sendForgets(): Promise<void> {
    if (this.#toForget.size === 0) return Promise.resolve();
    this.#forgetting ??= this.#sendForgets().finally(() => (this.#forgetting = null));
    return this.#forgetting;
  }

  async #sendForgets(): Promise<void> {
    while (this.#toForget.size > 0) {
      const inodes = [...this.#toForget].slice(0, FORGET_BATCH_MAX);
      for (const inode of inodes) {
        this.#toForget.delete(inode);
        this.#beingForgotten.set(inode, false);
      }
      try {
        await this.#session.call("forget", { inodes });
        const again = [...this.#beingForgotten].filter(([, known]) => known).map(([inode]) => inode);
        this.#beingForgotten.clear();
        // The namespace may have taken the look-up before the forget, so it has to be told once more.
        for (const inode of again) await this.#session.call("acquire", { inode, mode: "shared" });
      } catch (error) {
        // The session's end frees them as well.
        this.#beingForgotten.clear();
        this.#onError(`forgetting ${inodes.length} inodes: ${String(error)}`);
        return;
      }
    }
  }

  /** Every inode that the session knows, and the lease on it. */
  *held(): Generator<HeldLease> {
    for (const inode of this.#known.keys()) yield { inode, mode: this.lease(inode) };
    for (const [inode, { lease }] of this.#files) if (!this.#known.has(inode)) yield { inode, mode: lease };
  }

  /** As clear, where another session goes on. Nothing is dirty any more. Returns what the kernel may have cached. */
  renew(): InodeId[] {
    const cached = new Set(this.#files.keys());
    for (const [inode, value] of this.#known) if (value % 4 > 0) cached.add(inode);
    for (const inode of this.#idle.keys()) this.#files.delete(inode);
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

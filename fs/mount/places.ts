// Under which name the kernel has each directory, and how it is brought to take a new one.
//
// Linux gives a directory one name. A look-up that finds it elsewhere, because another mount has moved it, moves what the
// kernel has. rename(2) between two directories cannot: it looks up under the lock that this needs (s_vfs_rename_mutex;
// __d_unalias in fs/dcache.c), gets ESTALE, and tries once more, this time asking for every name on its paths again. So
// where a thread was told of a moved directory, and then asks again for one that is still in its place, that question waits
// while a process beside the mount looks the moved one up (native/look/look.cc). The thread holds no lock meanwhile.
//
// If the thread was not in rename(2), the look finds what is there already. That happens once for a directory that is moved.

import type { ByteString, InodeId } from "../types.ts";
import { ROOT_INODE } from "../types.ts";
import type { Core } from "./core.ts";
import { LOOK_WAIT_MAX_MS, MOVED_TOLD_MS, MOVED_THREADS_MAX, PLACES_MAX, PLACE_DEPTH_MAX } from "./limits.ts";

interface Name {
  parent: InodeId;
  name: ByteString;
}

interface Place extends Name {
  /** The kernel has it there for certain: not where a look-up found it moved, which may have failed in the kernel. */
  settled: boolean;
}

interface Moved extends Name {
  inode: InodeId;
  toldMs: number;
  look: Promise<void> | null;
}

export interface PlacesLimits {
  places: number;
  threads: number;
}

export class Places {
  readonly #limits: PlacesLimits;
  /**
   * Where one is missing and its directory was moved, rename(2) gets ESTALE until the new name was looked up otherwise. At half
   * the limit what was noted takes the place of what was noted before: taking the oldest out of one full Map costs 15 us.
   */
  #places = new Map<InodeId, Place>();
  #before = new Map<InodeId, Place>();
  /** The directory that each thread was told of last and that may not be in its place; the oldest first. */
  readonly #moved = new Map<number, Moved>();

  constructor(limits: Partial<PlacesLimits> = {}) {
    this.#limits = { places: PLACES_MAX, threads: MOVED_THREADS_MAX, ...limits };
  }

  get counts(): { places: number; threads: number } {
    return { places: this.#places.size + this.#before.size, threads: this.#moved.size };
  }

  /** The kernel has it there: it was made or renamed through this mount. */
  put(inode: InodeId, parent: InodeId, name: ByteString): void {
    this.#put(inode, { parent, name, settled: true });
  }

  /** It was listed: where the kernel has it under another name, that may stay. */
  putNew(inode: InodeId, parent: InodeId, name: ByteString): void {
    if (this.#placeOf(inode) === undefined) this.put(inode, parent, name);
  }

  forget(inode: InodeId): void {
    this.#places.delete(inode);
    this.#before.delete(inode);
  }

  /** Call before a thread's look-up that found a directory is answered. A promise: the answer is to be made anew when it has resolved. */
  lookedUp(core: Core, inode: InodeId, parent: InodeId, name: ByteString, thread: number): Promise<void> | null {
    const place = this.#placeOf(inode);
    const inPlace = place !== undefined && isAt(place, parent, name);
    if (!inPlace) this.#put(inode, { parent, name, settled: place === undefined });
    const settled = place === undefined || (inPlace && place.settled);
    const moved = this.#movedFor(core, thread);
    if (moved !== undefined && isAt(moved, parent, name)) {
      // Asked for again: rename(2) holds the directory's lock, for which the look waits. It is in time for the next one.
      if (!settled) moved.look ??= this.#look(core, moved);
      return null;
    }
    if (moved !== undefined && inPlace) {
      this.#moved.delete(thread);
      // Who walks through it has it.
      if (parent !== moved.inode) return atMost(core, LOOK_WAIT_MAX_MS, moved.look ?? this.#look(core, moved));
    }
    if (!settled) this.#noteMoved(thread, { inode, parent, name, toldMs: core.clock.nowMs(), look: null });
    return null;
  }

  #placeOf(inode: InodeId): Place | undefined {
    return this.#places.get(inode) ?? this.#before.get(inode);
  }

  #put(inode: InodeId, place: Place): void {
    if (this.#places.size >= this.#limits.places / 2 && !this.#places.has(inode)) {
      this.#before = this.#places;
      this.#places = new Map();
    }
    this.#places.set(inode, place);
  }

  #noteMoved(thread: number, moved: Moved): void {
    this.#moved.delete(thread);
    if (this.#moved.size >= this.#limits.threads) this.#moved.delete(this.#moved.keys().next().value!);
    this.#moved.set(thread, moved);
  }

  #movedFor(core: Core, thread: number): Moved | undefined {
    const moved = this.#moved.get(thread);
    if (moved === undefined || core.clock.nowMs() - moved.toldMs <= MOVED_TOLD_MS) return moved;
    this.#moved.delete(thread);
    return undefined;
  }

  async #look(core: Core, { inode, parent, name }: Moved): Promise<void> {
    const path = this.#pathOf({ parent, name });
    if (path === null || !(await core.caches?.lookUp?.(path))) return;
    const place = this.#placeOf(inode);
    if (place !== undefined && isAt(place, parent, name)) place.settled = true;
  }

  /** The names from the root to it, or null where one is not known. */
  #pathOf({ parent, name }: Name): ByteString[] | null {
    const names = [name];
    for (let above = parent; above !== ROOT_INODE;) {
      const place = this.#placeOf(above);
      if (place === undefined || names.length === PLACE_DEPTH_MAX) return null;
      names.push(place.name);
      above = place.parent;
    }
    return names.reverse();
  }
}

function isAt(place: Name, parent: InodeId, name: ByteString): boolean {
  return place.parent === parent && place.name === name;
}

function atMost(core: Core, ms: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const cancel = core.clock.after(ms, resolve);
    void work.then(() => {
      cancel();
      resolve();
    });
  });
}

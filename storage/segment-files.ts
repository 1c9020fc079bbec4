// Open files of the segments, bounded: a big disk has thousands of segments. Each segment may be open twice, through
// the page cache and past it (O_DIRECT). A file in use, or with bytes that await their sync, is never closed: closing
// could swallow the error of a failed write-back.
import type { Directory, DirectoryFile } from "./directory.ts";

interface Handle {
  key: string;
  name: string;
  file: DirectoryFile | null;
  opening: Promise<DirectoryFile>;
  users: number;
  dropped: boolean;
}

/** Two files each of 96 segments, per disk; six disks stay near 1,000 descriptors. */
export const OPEN_FILES_MAX = 192;

export const SEGMENTS_FOLDER = "segments";

export class SegmentFiles {
  readonly #directory: Directory;
  readonly #openMax: number;
  /** In order of last use. */
  readonly #handles = new Map<string, Handle>();
  /** Names of segments that must stay open. */
  readonly pinned = new Set<string>();

  constructor(directory: Directory, openMax: number = OPEN_FILES_MAX) {
    this.#directory = directory;
    this.#openMax = openMax;
  }

  pathOf(name: string): string {
    return `${this.#directory.path}/${SEGMENTS_FOLDER}/${name}`;
  }

  /** Runs the action with the open file, which stays open at least until the action has ended. */
  async use<T>(name: string, how: "buffered" | "direct", action: (file: DirectoryFile) => Promise<T>): Promise<T> {
    const handle = this.#handleOf(name, how);
    handle.users++;
    try {
      return await action(handle.file ?? (await handle.opening));
    } finally {
      handle.users--;
      if (handle.dropped && handle.users === 0) await closeQuietly(handle);
      else if (this.#handles.size > this.#openMax) await this.#closeOldest();
    }
  }

  /** The file if it is open through the page cache at this moment. For use without waiting only. */
  now(name: string): DirectoryFile | null {
    return this.#handles.get(name)?.file ?? null;
  }

  async create(name: string): Promise<void> {
    const file = await this.#directory.open(`${SEGMENTS_FOLDER}/${name}`, { create: true });
    this.#handles.set(name, { key: name, name, file, opening: Promise.resolve(file), users: 0, dropped: false });
  }

  async remove(name: string): Promise<void> {
    await this.#directory.remove(`${SEGMENTS_FOLDER}/${name}`);
    this.pinned.delete(name);
    for (const key of [name, directKey(name)]) await this.#drop(key);
  }

  async close(): Promise<void> {
    for (const key of [...this.#handles.keys()]) await this.#drop(key);
  }

  #handleOf(name: string, how: "buffered" | "direct"): Handle {
    const direct = how === "direct";
    const key = direct ? directKey(name) : name;
    const known = this.#handles.get(key);
    if (known !== undefined) {
      if (this.#handles.size * 2 > this.#openMax) this.#handles.delete(key);
      this.#handles.set(key, known);
      return known;
    }
    const handle: Handle = {
      key,
      name,
      file: null,
      opening: this.#directory.open(`${SEGMENTS_FOLDER}/${name}`, { direct }),
      users: 0,
      dropped: false,
    };
    this.#handles.set(key, handle);
    handle.opening.then(
      (file) => (handle.file = file),
      () => this.#handles.get(key) === handle && this.#handles.delete(key),
    );
    return handle;
  }

  async #closeOldest(): Promise<void> {
    for (const handle of this.#handles.values()) {
      if (handle.users > 0 || handle.file === null || this.pinned.has(handle.name)) continue;
      this.#handles.delete(handle.key);
      await closeQuietly(handle);
      return;
    }
  }

  async #drop(key: string): Promise<void> {
    const handle = this.#handles.get(key);
    if (handle === undefined) return;
    this.#handles.delete(key);
    handle.dropped = true;
    if (handle.users === 0) await closeQuietly(handle);
  }
}

function directKey(name: string): string {
  return `${name}:direct`;
}

/** What was written is synced before a file is closed, so an error of close says nothing that matters. */
async function closeQuietly(handle: Handle): Promise<void> {
  try {
    await (await handle.opening).close();
  } catch {
    // Opening failed, or the descriptor is gone either way.
  }
}

// Locks that must be given back, because who held them has closed its file or is gone: said again until it is answered. The
// namespace may have been away when it was said first, and nobody will ask again: else they would be held until the mount ends.
//
// 1. Each owner's release is sent once at once, then every RELEASE_AGAIN_MS while one is left, one after the other.
// 2. A process gets its owner's name from the kernel, which gives it out again: a lock is asked for only when an older release
//    of its owner on that inode is answered, so that the release cannot take the new lock.
// 3. They go with their session.

import type { Clock } from "../../storage/clock.ts";
import { FsError } from "../errno.ts";
import type { ByteLock, Request, Session } from "../messages.ts";
import type { InodeId } from "../types.ts";
import { RELEASE_AGAIN_MS, RELEASES_MAX } from "./limits.ts";

type Release = Request<"releaseLocks">;

export interface ReleasesOptions {
  session: Session;
  clock: Clock;
  trace: (text: string) => void;
  /** RELEASES_MAX, unless a test says so. */
  limit?: number;
}

export class Releases {
  readonly #options: ReleasesOptions;
  readonly #limit: number;
  readonly #waiting = new Map<string, Release>();
  #again: (() => void) | null = null;

  constructor(options: ReleasesOptions) {
    this.#options = options;
    this.#limit = options.limit ?? RELEASES_MAX;
  }

  /** Not answered yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Gives back what the owner holds. Resolves when it is answered, or will be sent again; never rejects. */
  async release(inode: InodeId, kind: ByteLock["kind"], owner: string): Promise<void> {
    const release = { inode, kind, owner };
    this.#waiting.set(keyOf(release), release);
    try {
      await this.#send(release);
    } catch (error) {
      this.#options.trace(`the ${kind} locks of an owner on inode ${inode} are not given back yet: ${(error as Error).message}`);
      this.#sendAgainLater();
    }
  }

  /** Call before a lock of the owner is asked for. ENOLCK where too many releases wait; rejects where the owner's own is not answered. */
  beforeLock(inode: InodeId, kind: ByteLock["kind"], owner: string): Promise<void> | undefined {
    if (this.#waiting.size === 0) return undefined;
    const release = this.#waiting.get(keyOf({ inode, kind, owner }));
    if (release !== undefined) return this.#send(release);
    if (this.#waiting.size < this.#limit) return undefined;
    throw new FsError("ENOLCK", `${this.#waiting.size} owners of locks are gone and the namespace has not heard of it; at most ${this.#limit}`); // prettier-ignore
  }

  /** The session is over, and its locks with it. */
  clear(): void {
    this.#waiting.clear();
    this.#again?.();
    this.#again = null;
  }

  async #send(release: Release): Promise<void> {
    await this.#options.session.call("releaseLocks", release);
    const key = keyOf(release);
    if (this.#waiting.get(key) === release) this.#waiting.delete(key);
  }

  #sendAgainLater(): void {
    if (this.#waiting.size === 0) return;
    this.#again ??= this.#options.clock.after(RELEASE_AGAIN_MS, () => void this.#sendAgain());
  }

  /** Stops at the first that is not answered: the others would not be either. */
  async #sendAgain(): Promise<void> {
    try {
      for (const release of this.#waiting.values()) await this.#send(release);
    } catch {
      // Traced when it was sent first.
    }
    this.#again = null;
    this.#sendAgainLater();
  }
}

function keyOf({ inode, kind, owner }: Release): string {
  return `${inode}/${kind}/${owner}`;
}

// The locks of one inode: byte ranges with owners, and callers that wait for one.
import { FsError } from "../fs/errno.ts";
import type { FileLock } from "../fs/mount/handlers.ts";

interface Held extends FileLock {
  owner: string;
}

interface Waiter {
  lock: Held;
  grant: () => void;
}

function overlaps(a: FileLock, b: FileLock): boolean {
  return a.start <= b.end && b.start <= a.end;
}

export class Locks {
  #held: Held[] = [];
  #waiters: Waiter[] = [];

  /** A lock of another owner that stands against this one. */
  conflict(owner: string, lock: FileLock): FileLock | undefined {
    return this.#held.find(
      (held) => held.owner !== owner && overlaps(held, lock) && (held.type === "write" || lock.type === "write"),
    );
  }

  /** Sets or removes; waits for others' locks until `signal` aborts where `wait` is set, else throws EAGAIN. */
  set(owner: string, lock: FileLock, wait: boolean, signal: () => AbortSignal): void | Promise<void> {
    if (lock.type === "unlock" || !this.conflict(owner, lock)) {
      this.#replace({ ...lock, owner });
      return;
    }
    if (!wait) throw new FsError("EAGAIN");
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { lock: { ...lock, owner }, grant: resolve };
      this.#waiters.push(waiter);
      signal().addEventListener("abort", () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(new FsError("EINTR"));
      });
    });
  }

  releaseAll(owner: string): void {
    if (this.#held.length > 0) this.#replace({ type: "unlock", start: 0, end: Infinity, pid: 0, owner });
  }

  /** Cuts the range out of the owner's locks and puts the new one there. */
  #replace(lock: Held): void {
    const kept: Held[] = [];
    for (const held of this.#held) {
      if (held.owner !== lock.owner || !overlaps(held, lock)) kept.push(held);
      else {
        if (held.start < lock.start) kept.push({ ...held, end: lock.start - 1 });
        if (held.end > lock.end) kept.push({ ...held, start: lock.end + 1 });
      }
    }
    if (lock.type !== "unlock") kept.push(lock);
    this.#held = kept;
    this.#grantWaiters();
  }

  #grantWaiters(): void {
    for (const waiter of this.#waiters) {
      if (this.conflict(waiter.lock.owner, waiter.lock)) continue;
      this.#waiters = this.#waiters.filter((other) => other !== waiter);
      this.#held.push(waiter.lock);
      waiter.grant();
    }
  }
}

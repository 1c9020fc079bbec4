// fcntl(2) and flock(2) of a simulated kernel: all locks are the mount's. A program that waits for one may be interrupted.

import type { FileLock } from "../../fs/mount/handlers.ts";
import type { File, KernelCore } from "./kernel-core.ts";

export interface LockRequest extends FileLock {
  flock: boolean;
}

/** How long a program waits before a signal interrupts it, and who is told when that is. */
export interface Patience {
  ms: number;
  interrupted: () => void;
}

const ASKED_MS = 0.1;

export class KernelLocks {
  readonly #core: KernelCore;

  constructor(core: KernelCore) {
    this.#core = core;
  }

  /** F_SETLK, LOCK_NB. */
  async set(file: File, { flock, ...lock }: LockRequest): Promise<void> {
    const { mount, caller } = this.#core;
    await this.#core.request(() => mount.setlk(caller, file.inode, file.handle, file.owner, lock, flock, false));
  }

  /** F_GETLK: what is in the way of the lock; type "unlock": nothing. */
  async test(file: File, { flock: _, ...lock }: LockRequest): Promise<FileLock> {
    const { mount, caller } = this.#core;
    return this.#core.request(() => mount.getlk(caller, file.inode, file.handle, file.owner, lock));
  }

  /** F_SETLKW, or flock(2) without LOCK_NB. EINTR. */
  async wait(file: File, { flock, ...lock }: LockRequest, { ms, interrupted }: Patience): Promise<void> {
    const { mount, clock } = this.#core;
    const controller = new AbortController();
    const caller = { ...this.#core.caller, signal: controller.signal };
    let over = false;
    let asked = false;
    const interrupt = async (): Promise<void> => {
      // A request that nobody has taken yet may be refused although nothing is in its way.
      while (!asked) await clock.sleep(ASKED_MS);
      await this.#core.taken();
      if (over) return;
      interrupted();
      controller.abort();
    };
    const cancel = clock.after(ms, () => void interrupt());
    try {
      await this.#core.request(() => {
        asked = true;
        return mount.setlk(caller, file.inode, file.handle, file.owner, lock, flock, true);
      });
    } finally {
      over = true;
      cancel();
    }
  }
}

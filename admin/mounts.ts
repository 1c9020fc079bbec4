// The mounts of one daemon: each a session of its own with the namespace.

import fs from "node:fs/promises";
import path from "node:path";
import { mountFilesystem, type Mounted } from "../fs/mount/channel.ts";
import type { Mount } from "../fs/mount/mount.ts";
import { allocateAligned } from "../native/files.ts";
import type { MountReport } from "./api.ts";
import { AdminError } from "./errors.ts";
import { prepareMountpoint } from "./mountpoint.ts";
import type { RunningStore } from "./running-store.ts";

interface Served {
  path: string;
  mount: Mount;
  mounted: Mounted;
}

export class Mounts {
  readonly #store: RunningStore;
  readonly #allowOther: boolean;
  /** Called when the last mount is gone, whoever took it away. */
  readonly #lastGone: () => void;
  readonly #served = new Map<string, Served>();

  constructor(store: RunningStore, allowOther: boolean, lastGone: () => void) {
    this.#store = store;
    this.#allowOther = allowOther;
    this.#lastGone = lastGone;
  }

  /** Mounts the store there. The directory is made if only it is missing. */
  async add(directory: string): Promise<MountReport> {
    const { embedded, trace } = this.#store;
    const made = await prepareMountpoint(directory);
    const mount = await embedded.openMount({ allocate: allocateAligned });
    try {
      const options = { source: `cairn:${this.#store.data}`, allowOther: this.#allowOther ? undefined : false };
      const mounted = await mountFilesystem({
        mountpoint: directory,
        handlers: (caches) => {
          mount.attach(caches);
          return mount;
        },
        options,
        trace,
      });
      const served = { path: mounted.mountpoint, mount, mounted };
      this.#served.set(served.path, served);
      void this.#watch(served);
      return this.#report(served);
    } catch (error) {
      await embedded.closeMount(mount);
      if (made) await fs.rmdir(directory).catch(() => {});
      throw new AdminError("refused", (error as Error).message, { cause: error });
    }
  }

  /** Flushes and unmounts; the directory stays. */
  async remove(directory: string): Promise<MountReport> {
    const real = await fs.realpath(path.dirname(directory)).then((parent) => path.join(parent, path.basename(directory)), () => directory); // prettier-ignore
    const served = this.#served.get(real) ?? this.#served.get(directory);
    if (!served)
      throw new AdminError(
        "refused",
        `${directory} is not a mount of this store (mounts: ${[...this.#served.keys()].join(", ") || "none"})`,
      );
    const report = this.#report(served);
    await served.mounted.unmount();
    return report;
  }

  async removeAll(): Promise<void> {
    await Promise.all([...this.#served.values()].map((served) => served.mounted.unmount()));
  }

  list(): MountReport[] {
    return [...this.#served.values()].map((served) => this.#report(served));
  }

  #report({ path: where, mount, mounted }: Served): MountReport {
    const { requests: byName, slots, freeSlots } = mounted.statistics();
    const requests = Object.values(byName).reduce((sum, { count }) => sum + count, 0);
    const { openFiles, openDirectories, buffersTaken } = mount.counts();
    const counts = { slotsInUse: slots - freeSlots, openFiles, openDirectories, buffersLent: buffersTaken };
    return { path: where, session: mount.session.id, pid: process.pid, requests, counts };
  }

  async #watch(served: Served): Promise<void> {
    try {
      await served.mounted.closed;
    } catch (error) {
      this.#store.trace(`mount ${served.path}: ended with an error: ${(error as Error).message}`);
    }
    this.#served.delete(served.path);
    if (this.#served.size === 0) this.#lastGone();
  }
}

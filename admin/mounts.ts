// The mounts of one daemon: each a session of its own with the namespace.

import fs from "node:fs/promises";
import path from "node:path";
import { mountFilesystem, type Mounted } from "../fs/mount/channel.ts";
import { UnwrittenError } from "../fs/mount/losses.ts";
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
  /** Somebody waits for its end. */
  asked: boolean;
}

export class Mounts {
  readonly #store: RunningStore;
  readonly #allowOther: boolean;
  readonly #sessionLimitMs: number;
  /** Called when the last mount is gone, whoever took it away. */
  readonly #lastGone: () => void;
  readonly #served = new Map<string, Served>();
  /** What mounts that were taken away from outside could not write back. */
  readonly #lost: AdminError[] = [];

  constructor(store: RunningStore, allowOther: boolean, sessionLimitMs: number, lastGone: () => void) {
    this.#store = store;
    this.#allowOther = allowOther;
    this.#sessionLimitMs = sessionLimitMs;
    this.#lastGone = lastGone;
  }

  /** Mounts the store there. The directory is made if only it is missing. */
  async add(directory: string): Promise<MountReport> {
    const { embedded, trace } = this.#store;
    const made = await prepareMountpoint(directory);
    const mount = await embedded.openMount({ allocate: allocateAligned, session: { limitMs: this.#sessionLimitMs } });
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
      const served = { path: mounted.mountpoint, mount, mounted, asked: false };
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
    await this.#end(served);
    return report;
  }

  /** Ends all mounts. Throws where one of them, now or before, could not write everything back and nobody was told. */
  async removeAll(): Promise<void> {
    const ends = await Promise.allSettled([...this.#served.values()].map((served) => this.#end(served)));
    const failed = ends.filter((end) => end.status === "rejected").map(({ reason }) => reason as Error);
    failed.push(...this.#lost);
    if (failed.length === 1) throw failed[0];
    if (failed.length > 1) throw new AdminError("degraded", failed.map(({ message }) => message).join("; "));
  }

  async #end(served: Served): Promise<void> {
    // Whoever asked is told.
    served.asked = true;
    try {
      await served.mounted.unmount();
    } catch (error) {
      throw await this.#named(served, error);
    }
  }

  /** The error with the names of the files that lost bytes. */
  async #named({ path: where }: Served, error: unknown): Promise<unknown> {
    if (!(error instanceof UnwrittenError)) return error;
    const inodes = new Set(error.files.map(({ inode }) => inode));
    const { namespace } = this.#store.embedded;
    const found = await namespace.lostFiles({ stripes: new Map(), inodes }).catch(() => []);
    const names = new Map<number, string>();
    for (const { inode, paths } of found)
      if (paths.length > 0) names.set(inode, path.join(where, Buffer.from(paths[0], "latin1").toString("utf8")));
    const text = error.describe(({ inode }) => names.get(inode) ?? `inode ${inode}`);
    const files = error.files.map(({ inode, bytes }) => ({ inode, bytes, path: names.get(inode) ?? null }));
    return new AdminError("degraded", `${where}: ${text}`, { cause: error, document: { unwritten: files } });
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
      const named = served.asked ? null : await this.#named(served, error);
      if (named instanceof AdminError) this.#lost.push(named);
    }
    this.#served.delete(served.path);
    if (this.#served.size === 0) this.#lastGone();
  }
}

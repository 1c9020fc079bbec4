// The embedded block client: the disks of this process, called directly. What a failing disk means is local-disk.ts's.
import type { BlockCounts, BlockId, BlockInfo, CompactOptions, CompactStep } from "../storage/blocks.ts";
import { type Clock, systemClock } from "../storage/clock.ts";
import type { BlockClient, DiskState, DiskStatus } from "./block-client.ts";
import { DiskError, DiskHolder, type LocalDisk } from "./local-disk.ts";
import type { DiskId } from "./stripe.ts";

export interface LocalBlocksOptions {
  disks: readonly LocalDisk[];
  clock?: Clock;
  /** Told once when a disk has failed by itself. Must not throw. */
  onDiskFailed?: (status: DiskStatus) => void;
}

/** How often every disk is looked at, so that one that was removed is noticed without traffic. */
const EXAMINE_EVERY_MS = 2000;
/** Age of the space in disks(); states in it are always those of this moment. Every block that is read asks. */
const STATUS_AGE_MAX_MS = 50;
/** A disk that has not told of its space by then keeps nobody waiting. */
export const MEASURE_MAX_MS = 2000;

export class LocalBlocks implements BlockClient {
  readonly #clock: Clock;
  readonly #onDiskFailed: (status: DiskStatus) => void;
  readonly #holders = new Map<DiskId, DiskHolder>();
  #statuses: DiskStatus[] = [];
  #statusesAtMs = -Infinity;
  #cancelExamine: (() => void) | null = null;
  #closed = false;

  constructor({ disks, clock = systemClock, onDiskFailed = () => {} }: LocalBlocksOptions) {
    this.#clock = clock;
    this.#onDiskFailed = onDiskFailed;
    for (const disk of disks) this.#hold(disk);
  }

  /** Learns how much space there is, and begins to look after the disks. Call it before the first write. */
  async start(): Promise<void> {
    await Promise.all([...this.#holders.values()].map((holder) => holder.refreshSpace()));
    this.#lookAgain();
    this.#examineLater();
  }

  async measure(release: boolean): Promise<void> {
    let cancel: () => void = () => {};
    const late = new Promise<void>((resolve) => (cancel = this.#clock.after(MEASURE_MAX_MS, resolve)));
    const all = Promise.all([...this.#holders.values()].map((holder) => holder.measure(release)));
    await Promise.race([all, late]).finally(cancel);
    this.#lookAgain();
  }

  /** Takes a further disk into use. Its id is a new one, never used before. */
  async add(disk: LocalDisk): Promise<void> {
    if (this.#holders.has(disk.id))
      throw new DiskError(
        "EEXIST",
        `add disk ${disk.id} (${disk.path}): there is a disk of this number; a new disk needs a new one`,
      );
    await this.#hold(disk).refreshSpace();
    this.#lookAgain();
  }

  /** Forgets the disk and closes its store. Its blocks must be elsewhere by now. */
  async remove(id: DiskId): Promise<void> {
    const holder = this.#holders.get(id);
    this.#holders.delete(id);
    this.#lookAgain();
    holder?.stop();
    await holder?.disk.blocks?.close().catch(() => {});
  }

  /** Looks at every disk now, so that disks() tells of those that are gone already. */
  async examine(): Promise<void> {
    await Promise.all([...this.#holders.values()].map((holder) => holder.examine()));
  }

  /** Closes the store of a failed disk, so that its directory may be used for another; it stays listed as failed. */
  async release(id: DiskId): Promise<void> {
    const holder = this.#require(id);
    if (holder.status.state !== "failed")
      throw new DiskError(
        "EINVAL",
        `release disk ${id} (${holder.status.path}): it is ${holder.status.state}; only a failed disk is let go of`,
      );
    const { blocks } = holder.disk;
    holder.disk.blocks = null;
    await blocks?.close().catch(() => {});
  }

  /** Declares a disk draining, active again, or failed. A failed one stays so: Error EINVAL. */
  setState(id: DiskId, state: DiskState, reason?: string): void {
    const holder = this.#require(id);
    if (state === "failed") return holder.fail(reason ?? "declared failed");
    if (holder.status.state === "failed")
      throw new DiskError(
        "EINVAL",
        `make disk ${id} (${holder.status.path}) ${state}: it has failed, and only a new disk can take its place`,
      );
    holder.status.state = state;
    holder.status.reason = reason;
  }

  disks(): readonly DiskStatus[] {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#statusesAtMs >= STATUS_AGE_MAX_MS) {
      this.#statuses = this.#look();
      this.#statusesAtMs = nowMs;
    }
    return this.#statuses;
  }

  store(disk: DiskId, id: BlockId, bytes: Uint8Array): Promise<void> {
    return this.#with(disk, (holder) => holder.write("store a block", (blocks) => blocks.store(id, bytes)));
  }

  sync(disk: DiskId): Promise<void> {
    return this.#with(disk, (holder) => holder.write("sync", (blocks) => blocks.sync()));
  }

  retrieve(disk: DiskId, id: BlockId, offset: number, into: Uint8Array): Promise<void> {
    return this.#with(disk, (holder) => holder.read("retrieve a block", (blocks) => blocks.retrieve(id, offset, into)));
  }

  retrieveNow(disk: DiskId, id: BlockId, offset: number, into: Uint8Array): boolean {
    const holder = this.#holders.get(disk);
    if (holder === undefined || holder.disk.blocks === null || holder.status.state === "failed") return false;
    return holder.disk.blocks.retrieveNow(id, offset, into);
  }

  delete(disk: DiskId, ids: readonly BlockId[]): Promise<void> {
    return this.#with(disk, (holder) => holder.write("delete blocks", (blocks) => blocks.delete(ids)));
  }

  list(disk: DiskId, after: BlockId | null, limit: number): Promise<BlockInfo[]> {
    return this.#with(disk, (holder) => holder.read("list blocks", (blocks) => blocks.list(after, limit)));
  }

  verify(disk: DiskId, id: BlockId): Promise<"good" | "missing" | "damaged"> {
    return this.#with(disk, (holder) => holder.read("verify a block", (blocks) => blocks.verify(id)));
  }

  locate(disk: DiskId, id: BlockId): Promise<BlockInfo | null> {
    return this.#with(disk, (holder) => holder.read("locate a block", (blocks) => blocks.locate(id)));
  }

  /** What the disk holds at the moment; null where it has failed. */
  counts(disk: DiskId): BlockCounts | null {
    const holder = this.#holders.get(disk);
    return holder === undefined || holder.status.state === "failed" ? null : (holder.disk.blocks?.counts?.() ?? null);
  }

  async compact(disk: DiskId, options: CompactOptions): Promise<CompactStep> {
    const nothing = { movedBytes: 0, more: false };
    if (this.#require(disk).disk.blocks?.compact === undefined) return nothing;
    // Bounded by the store itself and longer than one request may take, so it is not watched as one.
    return this.#require(disk).disk.blocks!.compact!(options);
  }

  /** Closes every disk's store. Errors of disks that have failed are of no interest; the first other one is thrown at the end. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelExamine?.();
    const closing = [...this.#holders.values()].map(async (holder) => {
      holder.stop();
      const working = holder.status.state !== "failed";
      await holder.disk.blocks?.close().catch((error: unknown) => {
        if (working) throw error;
      });
    });
    const failed = (await Promise.allSettled(closing)).find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  #hold(disk: LocalDisk): DiskHolder {
    const onFailed = (status: DiskStatus): void => {
      this.#lookAgain();
      this.#onDiskFailed(status);
    };
    const holder = new DiskHolder(disk, this.#clock, onFailed);
    this.#holders.set(disk.id, holder);
    this.#lookAgain();
    return holder;
  }

  #examineLater(): void {
    this.#cancelExamine = this.#clock.after(EXAMINE_EVERY_MS, () => {
      const looks = [...this.#holders.values()]
        .filter(({ status }) => status.state !== "failed")
        .map((holder) => holder.examine());
      void Promise.all(looks).then(() => {
        if (!this.#closed) this.#examineLater();
      });
    });
  }

  #look(): DiskStatus[] {
    const shares = this.#mediumShares();
    return [...this.#holders.values()].map((holder) => {
      const { space } = holder;
      const share = shares.get(holder.disk.medium ?? "") ?? 1;
      holder.status.space = {
        ...space,
        totalBytes: Math.floor(space.totalBytes / share),
        freeBytes: Math.floor(space.freeBytes / share),
      };
      return holder.status;
    });
  }

  /** For after anything that changes what disks() says of space. */
  #lookAgain(): void {
    this.#statusesAtMs = -Infinity;
  }

  /** How many working disks share each medium. */
  #mediumShares(): Map<string, number> {
    const shares = new Map<string, number>();
    for (const { disk, status } of this.#holders.values()) {
      if (disk.medium !== undefined && status.state !== "failed") shares.set(disk.medium, (shares.get(disk.medium) ?? 0) + 1);
    }
    return shares;
  }

  async #with<T>(id: DiskId, action: (holder: DiskHolder) => Promise<T>): Promise<T> {
    return action(this.#require(id));
  }

  #require(id: DiskId): DiskHolder {
    const holder = this.#holders.get(id);
    if (holder === undefined) throw new DiskError("EIO", `disk ${id} is not known here`);
    return holder;
  }
}

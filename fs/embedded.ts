// A whole store in one process: namespace, stripes and mounts put together over the parts that are given. The daemon gives
// the real ones; tests and simulations give parts in memory with a clock of their own.
//
// Closing goes from the kernel's side down: mounts write back, then the namespace, then the log and the table (theirs to
// close who made them).

import type { BlockClient, Stripes } from "../replication/block-client.ts";
import type { BlockId } from "../storage/blocks.ts";
import type { Log } from "../storage/log.ts";
import type { Table } from "../storage/table.ts";
import { BatchMover } from "./batch-mover.ts";
import { Cleaner } from "./cleaner.ts";
import { systemDatedClock } from "./clock.ts";
import { LocalSession } from "./local-session.ts";
import type { DatedClock } from "./clock.ts";
import { InlineMover } from "./inline-mover.ts";
import { Mount } from "./mount/mount.ts";
import type { MountOptions } from "./mount/mount.ts";
import type { Schemes } from "./mount/write-buffer.ts";
import { openNamespace } from "./namespace/namespace.ts";
import type { Namespace, NamespaceLimits, NamespaceOptions, SessionOptions, StripeHooks } from "./namespace/namespace.ts";
import type { StripeId } from "./types.ts";

/** Background work of the namespace is looked for so often. */
const TICK_MS = 75;
const EXPIRY_MS = 250;
/** Blocks listed at once while uncommitted ones are looked for. */
const LIST_BLOCKS = 1000;

export interface EmbeddedOptions {
  table: Table;
  log: Log;
  stripes: Stripes;
  /** To find blocks of stripes that were stored and never committed. */
  blocks?: BlockClient;
  schemes: Schemes;
  clock?: DatedClock;
  trace?: (line: string) => void;
  limits?: Partial<NamespaceLimits>;
  /** Keeps damaged records that are taken out of the namespace. */
  quarantine?: NamespaceOptions["quarantine"];
  /** Of the medium that has log and table. */
  recordSpace?: NamespaceOptions["recordSpace"];
  /** Whether a session of before this start, with this owner, may come back. */
  awaits?: (owner: string) => boolean;
  /** Clean in the background. Otherwise the cleaner runs when it is asked to. */
  clean?: boolean;
  /** Owner and permissions of a new store's root directory. */
  root?: { mode: number; uid: number; gid: number };
}

export type EmbeddedMountOptions = Pick<MountOptions, "allocate" | "accessTimes"> & { session?: SessionOptions };

export class EmbeddedStore {
  readonly namespace: Namespace;
  readonly cleaner: Cleaner;
  readonly #inlineMover: InlineMover;
  readonly #options: EmbeddedOptions;
  readonly #clock: DatedClock;
  readonly #mounts = new Set<Mount>();
  #cancelTick: () => void = () => {};
  #cancelExpiry: () => void = () => {};
  #ticking: Promise<void> | null = null;
  #closed = false;

  private constructor(options: EmbeddedOptions, clock: DatedClock, namespace: Namespace) {
    this.#options = options;
    this.#clock = clock;
    this.namespace = namespace;
    const { stripes, blocks, schemes, trace } = options;
    const mover = new BatchMover({ namespace, stripes, schemes });
    this.cleaner = new Cleaner({ namespace, mover, blocks, schemes, clock, trace });
    this.#inlineMover = new InlineMover({ namespace, mover, trace });
    if (options.clean) this.cleaner.start();
    this.#scheduleTick(TICK_MS);
    this.#scheduleExpiry();
  }

  static async open(options: EmbeddedOptions): Promise<EmbeddedStore> {
    const clock = options.clock ?? systemDatedClock();
    const { table, log, trace, limits, root, awaits, quarantine, recordSpace } = options;
    const stripes = stripeHooks(options);
    const namespace = await openNamespace({ table, log, clock, stripes, trace, limits, root, awaits, quarantine, recordSpace });
    return new EmbeddedStore(options, clock, namespace);
  }

  /** A new mount with a session of its own. */
  async openMount(options: EmbeddedMountOptions = {}): Promise<Mount> {
    const { stripes, schemes, trace } = this.#options;
    const { session, ...rest } = options;
    const openSession: MountOptions["openSession"] = (events) =>
      LocalSession.open((ours) => this.namespace.openSession(ours, session), events, trace ?? (() => {}));
    const mount = await Mount.open({ openSession, stripes, schemes, trace, clock: this.#clock, ...rest });
    this.#mounts.add(mount);
    return mount;
  }

  /** Ends a mount: it writes back and gives its session up. */
  async closeMount(mount: Mount): Promise<void> {
    this.#mounts.delete(mount);
    await mount.destroy();
  }

  /** Ends all mounts and the namespace. Everything is durable when it resolves. Where a mount could not write everything back, the rest is closed all the same, and its error follows. */
  async close(): Promise<void> {
    await this.cleaner.stop();
    const failures: unknown[] = [];
    for (const mount of [...this.#mounts]) await this.closeMount(mount).catch((error: unknown) => failures.push(error));
    await this.#inlineMover.stop();
    this.#closed = true;
    this.#cancelTick();
    this.#cancelExpiry();
    // The namespace stops the tick under way after the piece at hand: waiting for all of it could take minutes.
    const ticking = this.#ticking;
    await this.namespace.close();
    await ticking;
    if (failures.length > 0) throw failures[0];
  }

  /** A tick waits for disks, perhaps for long: what hung mounts hold must not wait for that. */
  #scheduleExpiry(): void {
    this.#cancelExpiry = this.#clock.after(EXPIRY_MS, () => {
      if (this.#closed) return;
      this.namespace.expireUnheard();
      this.#scheduleExpiry();
    });
  }

  #scheduleTick(delayMs: number): void {
    if (this.#closed) return;
    this.#cancelTick = this.#clock.after(delayMs, () => {
      this.#ticking = this.#tick();
    });
  }

  async #tick(): Promise<void> {
    let more = false;
    try {
      more = await this.namespace.tick();
    } catch (error) {
      this.#options.trace?.(`background work of the namespace: ${String(error)}`);
    }
    this.#ticking = null;
    this.#scheduleTick(more ? 0 : TICK_MS);
  }
}

function stripeHooks({ stripes, blocks }: EmbeddedOptions): StripeHooks {
  return {
    remove: (dead) => stripes.remove(dead),
    space: () => stripes.space(),
    measure: async (release) => stripes.measure?.(release),
    removeUncommitted: async (first, count, except) => {
      if (blocks === undefined) return;
      for (const disk of blocks.disks()) if (disk.state !== "failed") await removeFromDisk(blocks, disk.id, first, count, except);
    },
  };
}

async function removeFromDisk(
  blocks: BlockClient,
  disk: Parameters<BlockClient["list"]>[0],
  first: StripeId,
  count: number,
  except: ReadonlySet<StripeId>,
): Promise<void> {
  let after: BlockId | null = first > 1 ? { stripe: first - 1, index: 0xffff } : null;
  for (;;) {
    const found = await blocks.list(disk, after, LIST_BLOCKS);
    const inRange = found.filter(({ stripe }) => stripe >= first && stripe < first + count);
    const lost = inRange.filter(({ stripe }) => !except.has(stripe as StripeId)).map(({ stripe, index }) => ({ stripe, index }));
    if (lost.length > 0) await blocks.delete(disk, lost);
    if (inRange.length < found.length || found.length < LIST_BLOCKS) return;
    after = found[found.length - 1];
  }
}

// One mount of the simulated machine: it can die alone. What it had under way then reaches the disks perhaps, but never
// the namespace. A remote one is a process of its own, with the session that such mounts have; it can also be stopped.

import { Mount, type MountOptions } from "../../fs/mount/mount.ts";
import type { KernelCaches } from "../../fs/mount/handlers.ts";
import type { HeldLease, Session, SessionEvents } from "../../fs/messages.ts";
import type { Namespace } from "../../fs/namespace/namespace.ts";
import { RemoteSession } from "../../fs/remote-session.ts";
import { StripeStore } from "../../replication/stripes.ts";
import type { SessionId } from "../../fs/types.ts";
import type { Random } from "../../storage/seeded-random.ts";
import type { MachineClock, ProcessClock } from "./clock.ts";
import { Kernel } from "./kernel.ts";
import type { WireEnd } from "./wire.ts";

const SESSION_LIMIT_MS = 20_000;

export interface MountedOptions extends Pick<MountOptions, "schemes" | "trace" | "allocate" | "inodeLimits"> {
  /** The process's own: it ends with it. */
  clock: ProcessClock;
  /** The kernel's, for what it does for this mount. */
  kernelClock: MachineClock;
  random: Random;
  /** No other mount of the world has it. */
  name: string;
}

export interface LocalOptions extends MountedOptions, Pick<MountOptions, "stripes"> {
  namespace: Namespace;
}

export interface RemoteOptions extends MountedOptions {
  pid: number;
  /** A new connection to the daemon. Rejects where there is none. */
  connect: () => Promise<WireEnd>;
}

/** A mount's way to the namespace. */
interface Line {
  /** This end of the connection that there is, of a mount that is a process of its own. */
  wire?: () => WireEnd | null;
  cut: () => Promise<void>;
  held: () => Iterable<HeldLease>;
}

export class Mounted {
  readonly kernel: Kernel;
  readonly clock: ProcessClock;
  /** 0: it is in the daemon's process. */
  readonly pid: number;
  /** Sessions that came in the place of one that was over. */
  renewals = 0;
  readonly #mount: Mount;
  readonly #kernelClock: MachineClock;
  /** Ends the connection, as the system does with a dead process. Resolves when the namespace has noticed, where it does so by itself. */
  readonly #cut: () => Promise<void>;

  /** What the mount says that it holds. */
  readonly held: () => Iterable<HeldLease>;

  readonly #wire: () => WireEnd | null;

  private constructor(mount: Mount, { cut, held, wire = () => null }: Line, options: MountedOptions, pid: number) {
    this.#mount = mount;
    this.#cut = cut;
    this.held = held;
    this.#wire = wire;
    this.clock = options.clock;
    this.pid = pid;
    this.#kernelClock = options.kernelClock;
    this.kernel = new Kernel(mount, options);
    mount.attach(cachesOf(this.kernel, this.clock));
  }

  static async openLocal(options: LocalOptions): Promise<Mounted> {
    const link = new Link();
    const openSession = (events: SessionEvents): Promise<Session> => link.open(options.namespace, events);
    const mount = await Mount.open({ ...options, openSession });
    return new Mounted(mount, { cut: () => link.cut(), held: () => link.held() }, options, 0);
  }

  static async openRemote(options: RemoteOptions): Promise<Mounted> {
    const { pid, clock, random, schemes, trace } = options;
    let events: SessionEvents | null = null;
    let mounted: Mounted | null = null;
    let end: WireEnd | null = null;
    const connect = async (): Promise<WireEnd> => (end = await options.connect());
    const session = await RemoteSession.open({
      connect, pid, clock, random, trace,
      mountpoint: `/mount-${options.name}`,
      events: {
        recall: async (inode, mode, names) => events?.recall(inode, mode, names),
        repeated: () => events?.repeated?.(),
        moved: (inodes) => events?.moved?.(inodes),
        held: () => events?.held?.() ?? [],
        lapsed: () => events?.lapsed?.(),
        renewed: (locked) => {
          events?.renewed?.(locked);
          if (mounted !== null) mounted.renewals++;
        },
        expired: () => events?.expired(),
      },
    }); // prettier-ignore
    const openSession = (told: SessionEvents): Session => {
      events = told;
      return session;
    };
    const stripes = new StripeStore({ client: session.blocks, scheme: schemes.full, random });
    const mount = await Mount.open({ ...options, openSession, stripes });
    const cut = async (): Promise<void> => end?.sever();
    mounted = new Mounted(mount, { cut, held: () => events?.held?.() ?? [], wire: () => end }, options, pid);
    return mounted;
  }

  get session(): SessionId {
    return this.#mount.session.id;
  }

  /** The connection to the daemon breaks; one end finds out before the other. */
  breakConnection(nearFirst: boolean): void {
    const near = this.#wire();
    const first = nearFirst ? near : near?.other;
    first?.break();
  }

  /** Writes everything back and ends it in order. */
  async close(): Promise<void> {
    await this.#mount.destroy();
    this.halt();
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.halt();
    await this.#cut();
  }

  /** The machine is dead. */
  halt(): void {
    this.clock.end();
    this.#kernelClock.end();
  }
}

/** A process that is stopped does not hear that a notification was taken. */
function cachesOf(kernel: Kernel, clock: ProcessClock): KernelCaches {
  const heard = async <T>(answer: Promise<T>): Promise<T> => {
    const value = await answer;
    await clock.running();
    return value;
  };
  return {
    forgetAttributes: (inode) => kernel.forgetAttributes(inode),
    invalidateInode: (inode, offset, length) => heard(kernel.invalidateInode(inode, offset, length)),
    invalidateEntry: (parent, name) => heard(kernel.invalidateEntry(parent, name)),
    notifyDelete: (parent, child, name) => heard(kernel.notifyDelete(parent, child, name)),
    incrementEpoch: () => heard(kernel.incrementEpoch()),
  };
}

/** The connection between a mount in the daemon's process and the namespace. */
class Link {
  #session: Session | null = null;
  #events: SessionEvents | null = null;
  #cut = false;

  async open(namespace: Namespace, events: SessionEvents): Promise<Session> {
    this.#events = events;
    const session = await namespace.openSession(this.#eventsOf(events), { limitMs: SESSION_LIMIT_MS });
    this.#session = session;
    const never = new Promise<never>(() => {});
    return {
      id: session.id,
      call: (operation, request) => (this.#cut ? never : session.call(operation, request)),
      callNow: (operation, request) => (this.#cut ? never : session.callNow!(operation, request)),
      close: () => (this.#cut ? never : session.close()),
    };
  }

  #eventsOf(events: SessionEvents): SessionEvents {
    return {
      recall: (...recall) => (this.#cut ? new Promise<never>(() => {}) : events.recall(...recall)),
      moved: (inodes) => (this.#cut ? undefined : events.moved?.(inodes)),
      held: () => events.held?.() ?? [],
      renewed: (locked) => (this.#cut ? undefined : events.renewed?.(locked)),
      expired: () => (this.#cut ? undefined : events.expired()),
    };
  }

  held(): Iterable<HeldLease> {
    return this.#events?.held?.() ?? [];
  }

  async cut(): Promise<void> {
    this.#cut = true;
    await this.#session?.close();
  }
}

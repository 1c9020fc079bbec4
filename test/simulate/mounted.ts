// One mount of the simulated machine, as a process of its own: it can die alone. What it had under way then reaches the
// disks perhaps, but never the namespace.

import { Mount, type MountOptions } from "../../fs/mount/mount.ts";
import type { Session, SessionEvents } from "../../fs/messages.ts";
import type { Namespace } from "../../fs/namespace/namespace.ts";
import type { Random } from "../../storage/seeded-random.ts";
import type { MachineClock } from "./clock.ts";
import { Kernel } from "./kernel.ts";

const SESSION_LIMIT_MS = 20_000;

export interface MountedOptions extends Pick<MountOptions, "stripes" | "schemes" | "trace" | "allocate"> {
  namespace: Namespace;
  /** The mount's own: it ends with it. */
  clock: MachineClock;
  random: Random;
  /** No other mount of the world has it. */
  name: string;
}

export class Mounted {
  readonly kernel: Kernel;
  readonly #mount: Mount;
  readonly #clock: MachineClock;
  readonly #link: Link;

  private constructor(mount: Mount, link: Link, { clock, random, name }: MountedOptions) {
    this.#mount = mount;
    this.#link = link;
    this.#clock = clock;
    this.kernel = new Kernel(mount, clock, random, name);
    mount.attach(this.kernel);
  }

  static async open(options: MountedOptions): Promise<Mounted> {
    const link = new Link();
    const openSession = (events: SessionEvents): Promise<Session> => link.open(options.namespace, events);
    const { stripes, schemes, trace, allocate, clock } = options;
    const mount = await Mount.open({ openSession, stripes, schemes, trace, allocate, clock });
    return new Mounted(mount, link, options);
  }

  /** Writes everything back and ends it in order. */
  async close(): Promise<void> {
    await this.#mount.destroy();
    this.#clock.end();
  }

  /** SIGKILL. Resolves when the namespace has noticed. */
  async kill(): Promise<void> {
    this.halt();
    await this.#link.cut();
  }

  /** The machine is dead. */
  halt(): void {
    this.#clock.end();
  }
}

/** The connection between a mount and the namespace. */
class Link {
  #session: Session | null = null;
  #cut = false;

  async open(namespace: Namespace, events: SessionEvents): Promise<Session> {
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

  async cut(): Promise<void> {
    this.#cut = true;
    await this.#session?.close();
  }
}

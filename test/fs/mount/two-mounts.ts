// Mounts over one real namespace in this process, without kernels: tests say which requests wait, which replies come late,
// and when a session is lost and another begins.

import type { OperationName, Reply, Request, Session, SessionEvents } from "../../../fs/messages.ts";
import { type DatedClock, systemDatedClock } from "../../../fs/clock.ts";
import type { KernelCaches } from "../../../fs/mount/handlers.ts";
import type { InodeLimits } from "../../../fs/mount/inodes.ts";
import { Mount } from "../../../fs/mount/mount.ts";
import { type Namespace, type NamespaceSession, openNamespace } from "../../../fs/namespace/namespace.ts";
import type { InodeId, SessionId } from "../../../fs/types.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import { MemoryLog } from "../namespace/memory-log.ts";
import { ungranted } from "../ungranted.ts";
import { MemoryStripes } from "./doubles.ts";

const SCHEMES = { full: "rs:4+2", small: "copies:3" };

/** Something that happens when the test says so. */
export class Moment {
  happen!: () => void;
  readonly happened = new Promise<void>((resolve) => (this.happen = resolve));
}

/** Lets everything run that needs no time. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
}

/** A session as one over a socket, whose requests and replies the test may hold back, and which may be lost. */
export class SteeredSession implements Session {
  readonly #namespace: Namespace;
  readonly #events: SessionEvents;
  #inner!: NamespaceSession;
  readonly calls: [OperationName, unknown][] = [];
  fresh = true;
  /** Resolves what waits for freshness. */
  reached = new Moment();
  readonly #requests = new Map<OperationName, Promise<void>>();
  readonly #replies = new Map<OperationName, Promise<void>>();
  /** Thrown in place of sending the request. */
  readonly unsent = new Map<OperationName, Error>();
  /** Thrown in place of the reply, which is lost. */
  readonly lost = new Map<OperationName, Error>();
  #over = false;
  #begun: Promise<void> = Promise.resolve();

  private constructor(namespace: Namespace, events: SessionEvents) {
    this.#namespace = namespace;
    this.#events = events;
  }

  static async open(namespace: Namespace, events: SessionEvents): Promise<SteeredSession> {
    const session = new SteeredSession(namespace, events);
    await session.#begin();
    return session;
  }

  async #begin(): Promise<void> {
    const { recall, moved, writtenElsewhere } = this.#events;
    const over = new Moment();
    const events: SessionEvents = {
      // As the server of a session over a socket: what is recalled of a session that is over is given back.
      recall: (...request) => Promise.race([recall(...request), over.happened]),
      moved,
      writtenElsewhere,
      expired: () => {
        this.#over = true;
        over.happen();
      },
    };
    this.#inner = await this.#namespace.openSession(events, { limitMs: 60_000 });
  }

  get id(): SessionId {
    return this.#inner.id;
  }

  contact(): Promise<void> {
    return this.reached.happened;
  }

  /** Requests with this name are sent only when the moment has come. */
  holdRequests(operation: OperationName): Moment {
    return held(this.#requests, operation);
  }

  /** Replies to it come only when the moment has come. */
  holdReplies(operation: OperationName): Moment {
    return held(this.#replies, operation);
  }

  async call<Name extends OperationName>(operation: Name, request: Request<Name>): Promise<Reply<Name>> {
    this.calls.push([operation, request]);
    await this.#requests.get(operation);
    await this.#begun;
    const unsent = this.unsent.get(operation);
    if (unsent !== undefined) throw unsent;
    const reply = await this.#inner.call(operation, request);
    await this.#replies.get(operation);
    const lost = this.lost.get(operation);
    if (lost !== undefined) throw lost;
    return reply;
  }

  /** The namespace has had enough of the session; the mount does not know yet. */
  expire(): void {
    this.#namespace.expireSession(this.#inner.id, "for the test");
  }

  /** Another begins in its place. */
  async renew(locked: ReadonlySet<InodeId> = new Set()): Promise<void> {
    if (!this.#over) this.expire();
    this.#over = false;
    const begun = new Moment();
    this.#begun = begun.happened;
    this.#events.renewed!(locked);
    await this.#begin();
    begun.happen();
    await settled();
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }
}

function held(by: Map<OperationName, Promise<void>>, operation: OperationName): Moment {
  const moment = new Moment();
  const until = moment.happened.then(() => void (by.get(operation) === until && by.delete(operation)));
  by.set(operation, until);
  return moment;
}

/** What a mount has asked the kernel for. */
export interface AskedOfKernel {
  /** Inodes whose pages were dropped, in order. */
  readonly dropped: InodeId[];
  /** Resolves where the kernel has dropped them, from the offset on. */
  drop: (inode: InodeId, offset: number) => Promise<void>;
  epochs: number;
}

export interface Side {
  mount: Mount;
  session: SteeredSession;
  events: SessionEvents;
  kernel: AskedOfKernel;
}

export class Store {
  readonly namespace: Namespace;
  readonly stripes = new MemoryStripes();
  /** Where it is set, time stands still for the mounts; timers go on. */
  stillMs: number | null = null;
  readonly #sides: Side[] = [];

  private constructor(namespace: Namespace) {
    this.namespace = namespace;
  }

  static async open(): Promise<Store> {
    return new Store(await openNamespace({ table: new MemoryTable(), log: new MemoryLog() }));
  }

  async mount(inodeLimits: Partial<InodeLimits> = {}): Promise<Side> {
    let events!: SessionEvents;
    let session!: SteeredSession;
    const openSession = async (given: SessionEvents): Promise<Session> => {
      events = given;
      return (session = await SteeredSession.open(this.namespace, given));
    };
    const mount = await Mount.open({ openSession, stripes: this.stripes, schemes: SCHEMES, clock: this.#clock(), inodeLimits });
    const kernel: AskedOfKernel = { dropped: [], drop: async () => {}, epochs: 0 };
    mount.attach(cachesOf(kernel));
    const side = { mount, session, events, kernel };
    this.#sides.push(side);
    return side;
  }

  #clock(): DatedClock {
    const clock = systemDatedClock();
    return { ...clock, nowMs: () => this.stillMs ?? clock.nowMs() };
  }

  async ungranted(): Promise<string[]> {
    return (await Promise.all(this.#sides.map((side) => ungranted(side, this.namespace)))).flat();
  }

  async close(): Promise<void> {
    for (const { mount } of this.#sides) await mount.destroy();
    await this.namespace.close();
  }
}

function cachesOf(kernel: AskedOfKernel): KernelCaches {
  return {
    invalidateInode: async (inode, offset) => {
      if (offset < 0) return true;
      await kernel.drop(inode, offset);
      kernel.dropped.push(inode);
      return true;
    },
    invalidateEntry: async () => {},
    notifyDelete: async () => {},
    incrementEpoch: async () => void kernel.epochs++,
    forgetAttributes: () => {},
  };
}

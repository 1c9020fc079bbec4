// A mount's session with the namespace of its own process. As a RemoteSession it outlives what the namespace gives out:
// where that ends the session, another takes its place.
//
// 1. The mount is told in the moment in which the namespace ends the session, before anybody else goes on: `renewed`.
// 2. What was under way and means the same under another session is asked again under it. A change is refused with EIO: it may be done or not.
// 3. What is asked from then on waits for the new session, and is refused as long as none can be had.

import { FsError } from "./errno.ts";
import type { OperationName, Reply, Request, Session, SessionEvents } from "./messages.ts";
import { OPERATION_RULES } from "./operation-rules.ts";
import type { InodeId, SessionId } from "./types.ts";

/** Opens a session with the namespace. */
export type OpenSession = (events: SessionEvents) => Promise<Session>;

export class LocalSession implements Session {
  readonly #openSession: OpenSession;
  readonly #events: SessionEvents;
  readonly #trace: (text: string) => void;
  #session: Session | null = null;
  /** While there is none. */
  #opening: Promise<Session> | null = null;
  #closed = false;

  private constructor(openSession: OpenSession, events: SessionEvents, trace: (text: string) => void) {
    this.#openSession = openSession;
    this.#events = events;
    this.#trace = trace;
  }

  static async open(openSession: OpenSession, events: SessionEvents, trace: (text: string) => void): Promise<LocalSession> {
    const session = new LocalSession(openSession, events, trace);
    await session.#current();
    return session;
  }

  /** 0 while one is over and another has not begun. */
  get id(): SessionId {
    return this.#session?.id ?? (0 as SessionId);
  }

  async call<Name extends OperationName>(operation: Name, request: Request<Name>): Promise<Reply<Name>> {
    return this.#ask(this.#session ?? (await this.#current()), operation, request);
  }

  callNow<Name extends OperationName>(operation: Name, request: Request<Name>): Reply<Name> | Promise<Reply<Name>> {
    if (this.#session === null) return this.call(operation, request);
    const reply = this.#session.callNow!(operation, request);
    return reply instanceof Promise ? this.#answered(this.#session, operation, request, reply) : reply;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await (await this.#opening?.catch(() => null))?.close();
    await this.#session?.close();
  }

  #ask<Name extends OperationName>(session: Session, operation: Name, request: Request<Name>): Promise<Reply<Name>> {
    return this.#answered(session, operation, request, session.call(operation, request));
  }

  async #answered<Name extends OperationName>(
    session: Session,
    operation: Name,
    request: Request<Name>,
    reply: Promise<Reply<Name>>,
  ): Promise<Reply<Name>> {
    const { renewable, once } = OPERATION_RULES[operation];
    let cause: unknown;
    try {
      const made = await reply;
      // A change is made. Of anything else the reply speaks of what the session had.
      if (session === this.#session || once) return made;
    } catch (error) {
      if (session === this.#session || this.#closed) throw error;
      cause = error;
    }
    if (!renewable)
      throw new FsError("EIO", `${operation}: the session was over before it was answered; it may be done or not`, { cause });
    return this.#ask(this.#session ?? (await this.#current()), operation, request);
  }

  #current(): Promise<Session> {
    if (this.#closed) return Promise.reject(new FsError("ENOTCONN", "the session was closed by its mount"));
    this.#opening ??= this.#open().finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #open(): Promise<Session> {
    let session: Session | null = null;
    let over = false;
    session = await this.#openSession({
      ...this.#events,
      expired: (locked = new Set()) => {
        over = true;
        if (session !== null && session === this.#session) this.#renew(session, locked);
      },
    });
    if (over) throw new FsError("EIO", "the session was over before it began");
    this.#session = session;
    return session;
  }

  #renew({ id }: Session, locked: ReadonlySet<InodeId>): void {
    this.#trace(`session ${id}: over; another goes on in its place`);
    this.#session = null;
    // Whoever asks for something hears why there is none.
    this.#current().catch((error: unknown) => this.#trace(`session: no other to be had: ${String(error)}`));
    this.#events.renewed?.(locked);
  }
}

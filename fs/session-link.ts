// A mount's way to its session's server: one connection at a time, made again whenever it breaks. Requests that were
// under way are sent again on the next one; new ones wait for it.
//
// 1. A request is sent again only under the session that it was first sent under, unless its sender says that another
//    session does as well (`renewable`).
// 2. Attempts follow each other after BACKOFF_FIRST_MS, twice as long each time, at most BACKOFF_MAX_MS, less a random
//    part, so that many mounts do not all come at once. They go on as long as the mount is there: it has no other aim.
// 3. Nobody waits longer than for his deadline, nor when the server has been gone for PAUSE_MAX_MS: from then on requests
//    are refused at once, until it is back. At most LINK_WAITING_MAX wait.

import type { Duplex } from "node:stream";
import {
  Connection,
  LONG_REQUESTS_MAX,
  type Message,
  type Place,
  RequestError,
  type RequestHandler,
  REQUESTS_MAX,
} from "../replication/connection.ts";
import type { Clock } from "../storage/clock.ts";

/** A restart takes a second, replaying a long log some tens: longer is no pause any more, and programs want to know. */
export const PAUSE_MAX_MS = 60_000;
const BACKOFF_FIRST_MS = 20;
const BACKOFF_MAX_MS = 1_000;
/** Twice what may be in flight on a connection. */
export const LINK_WAITING_MAX = 2 * (3 * REQUESTS_MAX + LONG_REQUESTS_MAX);

/** The session cannot go on, nor can another in its place. */
export class SessionOver extends Error {}

export interface SessionLinkOptions {
  connect: () => Promise<Duplex>;
  /** Says hello on a new connection, and calls renewed() where the session does not go on. Rejects with SessionOver where it is no use to try again. */
  greet: (connection: Connection) => Promise<void>;
  /** Carries out the server's requests. */
  handle: RequestHandler;
  clock: Clock;
  /** From 0 up to 1. */
  random: () => number;
  /** Called once, where the session cannot go on. */
  over: (reason: Error) => void;
  trace: (text: string) => void;
}

export interface LinkRequestOptions {
  deadlineMs: number;
  /** As in RequestOptions. */
  place?: Place;
  /** Its number in the session: see Frame. */
  number?: number;
  unanswered?: readonly number[];
  renewable: boolean;
  /** Under which session it was made (`generation`), where that was before this call. */
  generation?: number;
}

interface Waiter {
  resolve: (connection: Connection) => void;
  reject: (error: Error) => void;
  cancelTimer: () => void;
}

export class SessionLink {
  readonly #options: SessionLinkOptions;
  readonly #waiting = new Set<Waiter>();
  #connection: Connection | null = null;
  /** How many sessions there were before this one. */
  #generation = 0;
  #goneAt = 0;
  #over: Error | null = null;

  constructor(options: SessionLinkOptions) {
    this.#options = options;
  }

  /** The first connection; rejects where it does not come about. */
  async open(): Promise<void> {
    await this.#connect();
  }

  get connected(): boolean {
    return this.#connection !== null;
  }

  /** Which session it is: how many there were before. */
  get generation(): number {
    return this.#generation;
  }

  /** Sends a request, again after every new connection until it is answered. Rejects with RequestError: as Connection.request, ETIMEDOUT also where no connection came in time, EIO. */
  async request(name: string, message: Message, options: LinkRequestOptions): Promise<Message> {
    const { clock } = this.#options;
    const { generation = this.#generation } = options;
    const giveUpAt = clock.nowMs() + options.deadlineMs;
    for (;;) {
      const connection = this.#connection ?? (await this.#reconnected(name, giveUpAt));
      if (generation !== this.#generation && !options.renewable)
        throw new RequestError("EIO", `${name}: the session was over before it was answered; it may be done or not`);
      try {
        const deadlineMs = Math.max(1, giveUpAt - clock.nowMs());
        return await connection.request(name, message, { ...options, deadlineMs });
      } catch (error) {
        const broken = (error as RequestError).code === "ECONNRESET" && connection !== this.#connection;
        if (!broken || this.#over !== null) throw error;
      }
    }
  }

  /** The session is over: what was asked under it and is not renewable is not sent any more. What is asked from here on is the next one's. */
  renewed(): void {
    this.#generation++;
  }

  /** Ends it: requests that wait are refused. */
  close(): void {
    this.#finish(new RequestError("ECONNRESET", "the session was closed by this side"));
  }

  #reconnected(name: string, giveUpAt: number): Promise<Connection> {
    if (this.#over !== null) return Promise.reject(this.#over);
    const now = this.#options.clock.nowMs();
    const goneMs = now - this.#goneAt;
    if (goneMs >= PAUSE_MAX_MS)
      return Promise.reject(new RequestError("EIO", `${name}: no daemon for ${Math.round(goneMs / 1000)} s`));
    if (this.#waiting.size >= LINK_WAITING_MAX)
      return Promise.reject(new RequestError("EIO", `${name}: ${LINK_WAITING_MAX} requests wait for the daemon already`));
    return new Promise((resolve, reject) => {
      const late = (): void => {
        this.#waiting.delete(waiter);
        reject(new RequestError("ETIMEDOUT", `${name}: the daemon has not come back in time`));
      };
      const waitMs = Math.max(1, Math.min(giveUpAt - now, PAUSE_MAX_MS - goneMs));
      const waiter: Waiter = { resolve, reject, cancelTimer: this.#options.clock.after(waitMs, late) };
      this.#waiting.add(waiter);
    });
  }

  async #connect(): Promise<void> {
    const { connect, greet, handle, clock } = this.#options;
    const stream = await connect();
    let broken: Error | null = null;
    const connection: Connection = new Connection({
      stream,
      handle,
      setTimer: (action, delayMs) => clock.after(delayMs, action),
      closed: (reason) => {
        broken = reason;
        if (connection === this.#connection) this.#lost(reason);
      },
    });
    try {
      await greet(connection);
      const failure = this.#over ?? (broken as Error | null);
      if (failure !== null) throw failure;
    } catch (error) {
      connection.close();
      throw error;
    }
    this.#connection = connection;
    for (const { resolve, cancelTimer } of this.#waiting) {
      cancelTimer();
      resolve(connection);
    }
    this.#waiting.clear();
  }

  #lost(reason: Error): void {
    this.#connection = null;
    this.#goneAt = this.#options.clock.nowMs();
    if (this.#over !== null) return;
    this.#options.trace(`session: the daemon is gone (${reason.message}); connecting again`);
    void this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    const { clock, random, over, trace } = this.#options;
    let said = "";
    for (let delayMs = BACKOFF_FIRST_MS; this.#over === null; delayMs = Math.min(2 * delayMs, BACKOFF_MAX_MS)) {
      try {
        await this.#connect();
        trace(`session: connected again after ${Math.round(clock.nowMs() - this.#goneAt)} ms`);
        return;
      } catch (error) {
        if (error instanceof SessionOver) {
          this.#finish(new RequestError("EIO", error.message));
          over(error);
          return;
        }
        const { message } = error as Error;
        if (message !== said) trace(`session: not connected yet: ${message}`);
        said = message;
      }
      await new Promise<void>((resolve) => clock.after(delayMs * (0.5 + random() / 2), resolve));
    }
  }

  #finish(reason: Error): void {
    if (this.#over !== null) return;
    this.#over = reason;
    this.#connection?.close();
    for (const { reject, cancelTimer } of this.#waiting) {
      cancelTimer();
      reject(reason);
    }
    this.#waiting.clear();
  }
}

// After a start: durable sessions of before it may come back and say what they held. Until each of them has, or the time
// for it is over, nobody else gets a session, so nothing that they hold can be given to others or changed under them.
//
// 1. A session is awaited from the start on; `take` gives it to the connection that resumes it.
// 2. `settled` says that it has told everything, or is over. When none is left, or after the limit, `over` resolves.
// 3. What is not settled by then is told to `notResumed`, and cannot be resumed any more.
// 4. The limit is the largest that a mount was told: for so long each may go on answering from what it caches. That holds
//    for the mount of a session that the server had ended before the start as well: it cannot be resumed, and is waited for.
// 5. A session that is just saying what it holds goes on for as long as it is heard of, RECLAIM_LIMITS times the limit at most.

import type { Clock } from "../../storage/clock.ts";
import type { SessionId } from "../types.ts";
import { after, idFrom, TAG_SESSION } from "./keys.ts";
import type { Overlay } from "./overlay.ts";
import { openValue } from "./records.ts";
import { decodeSession, type SessionRecord } from "./session-record.ts";

/** As many as there can be sessions, and those of several starts that nobody cleared away. */
const SESSIONS_FOUND_MAX = 1 << 16;
/** 8192 inodes a request, some milliseconds each: a mount that knows millions is done long before. */
const RECLAIM_LIMITS = 6;

interface Awaited {
  record: SessionRecord;
  /** When it was resumed, or said last what it holds. Null: it has not come back. */
  heardMs: number | null;
}

export interface ResumptionOptions {
  clock: Clock;
  /** Waited for at least so long. */
  limitMs: number;
  /** Whether a session may come back, by its owner. */
  awaits: (owner: string) => boolean;
  /** A session does not come back. Resolves when that outlives the server: only then others go on. */
  notResumed: (session: SessionId) => Promise<void>;
}

export class Resumption {
  readonly over: Promise<void>;
  readonly #options: ResumptionOptions;
  /** Not settled. */
  readonly #awaited = new Map<SessionId, Awaited>();
  #limitMs: number;
  #beganMs = 0;
  #resolve!: () => void;
  #cancel: () => void = () => {};

  constructor(options: ResumptionOptions) {
    this.#options = options;
    this.#limitMs = options.limitMs;
    this.over = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Finds the durable sessions. Those that nobody awaits are told to `notResumed` at once. */
  async start(overlay: Overlay): Promise<void> {
    const { awaits, notResumed, clock } = this.#options;
    const found = await overlay.scan(TAG_SESSION, after(TAG_SESSION), SESSIONS_FOUND_MAX, (records) =>
      records.map(({ key, value }) => ({ id: idFrom(key, 1) as SessionId, record: decodeSession(openValue(key, value)) })),
    );
    this.#beganMs = clock.nowMs();
    for (const { id, record } of found) {
      // Its process is gone: it cannot come back after the next start either.
      if (!awaits(record.owner)) void notResumed(id);
      else {
        this.#awaited.set(id, { record, heardMs: null });
        this.#limitMs = Math.max(this.#limitMs, record.limitMs);
      }
    }
    this.#watch();
  }

  get pending(): boolean {
    return this.#awaited.size > 0;
  }

  /** Whether the session may still come back, or has and is not done. */
  awaits(session: SessionId): boolean {
    return this.#awaited.get(session)?.record.over === false;
  }

  /** What is kept of the session, once, where it may be resumed; else null. */
  take(session: SessionId): SessionRecord | null {
    const awaited = this.#awaited.get(session);
    if (awaited === undefined || awaited.record.over || awaited.heardMs !== null) return null;
    awaited.heardMs = this.#options.clock.nowMs();
    return awaited.record;
  }

  /** A session that was resumed has said more of what it holds. */
  heard(session: SessionId): void {
    const awaited = this.#awaited.get(session);
    if (awaited !== undefined) awaited.heardMs = this.#options.clock.nowMs();
  }

  /** Of a session that is over: nobody trusts any more what it held. */
  mountKnows(session: SessionId): void {
    if (this.#awaited.get(session)?.record.over) void this.#options.notResumed(session).then(() => this.settled(session));
  }

  settled(session: SessionId): void {
    if (this.#awaited.delete(session)) this.#settle();
  }

  /** The server ends: who has not come back may do so after the next start. */
  abandon(): void {
    this.#awaited.clear();
    this.#settle();
  }

  #untilMs({ record, heardMs }: Awaited): number {
    if (record.over) return this.#beganMs + record.limitMs;
    const saysMs = heardMs === null ? 0 : heardMs + record.limitMs;
    return Math.min(Math.max(this.#beganMs + this.#limitMs, saysMs), this.#beganMs + RECLAIM_LIMITS * this.#limitMs);
  }

  /** Looks again when the next one's time is over. */
  #watch(): void {
    const { clock } = this.#options;
    const nextMs = Math.min(...[...this.#awaited.values()].map((awaited) => this.#untilMs(awaited)));
    if (this.pending) this.#cancel = clock.after(Math.max(0, nextMs - clock.nowMs()), () => void this.#look());
    this.#settle();
  }

  async #look(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    const late = [...this.#awaited].filter(([, awaited]) => this.#untilMs(awaited) <= nowMs);
    for (const [, { record }] of late) record.over = true;
    await Promise.all(late.map(([session]) => this.#options.notResumed(session)));
    for (const [session] of late) this.#awaited.delete(session);
    this.#watch();
  }

  #settle(): void {
    if (this.pending) return;
    this.#cancel();
    this.#resolve();
  }
}

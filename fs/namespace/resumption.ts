// After a start: durable sessions of before it may come back and say what they held. Until each of them has, or the time
// for it is over, nobody else gets a session, so nothing that they hold can be given to others or changed under them.
//
// 1. A session is awaited from the start on; `take` gives it to the connection that resumes it.
// 2. `settled` says that it has told everything, or is over. When none is left, or after the limit, `over` resolves.
// 3. What is not settled by then is told to `notResumed`, and cannot be resumed any more.

import type { Clock } from "../../storage/clock.ts";
import type { SessionId } from "../types.ts";
import { after, idFrom, TAG_SESSION } from "./keys.ts";
import type { Overlay } from "./overlay.ts";
import { openValue } from "./records.ts";

/** As many as there can be sessions, and those of several starts that nobody cleared away. */
const SESSIONS_FOUND_MAX = 1 << 16;

export class Resumption {
  readonly over: Promise<void>;
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #awaits: (owner: string) => boolean;
  readonly #notResumed: (session: SessionId) => void;
  /** Not settled; true: not taken either. */
  readonly #awaited = new Map<SessionId, boolean>();
  #resolve!: () => void;
  #cancel: () => void = () => {};

  constructor(clock: Clock, limitMs: number, awaits: (owner: string) => boolean, notResumed: (session: SessionId) => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#awaits = awaits;
    this.#notResumed = notResumed;
    this.over = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Finds the durable sessions. Those that nobody awaits are told to `notResumed` at once. */
  async start(overlay: Overlay): Promise<void> {
    const found = await overlay.scan(TAG_SESSION, after(TAG_SESSION), SESSIONS_FOUND_MAX, (records) =>
      records.map(({ key, value }) => {
        const reader = openValue(key, value);
        return { id: idFrom(key, 1) as SessionId, owner: Buffer.from(reader.raw(reader.end - reader.at)).toString() };
      }),
    );
    for (const { id, owner } of found) {
      if (this.#awaits(owner)) this.#awaited.set(id, true);
      else this.#notResumed(id);
    }
    if (this.pending) this.#cancel = this.#clock.after(this.#limitMs, () => this.#stop());
    this.#settle();
  }

  get pending(): boolean {
    return this.#awaited.size > 0;
  }

  /** Whether the session may still come back, or has and is not done. */
  awaits(session: SessionId): boolean {
    return this.#awaited.has(session);
  }

  /** True, once, where the session may be resumed. */
  take(session: SessionId): boolean {
    if (this.#awaited.get(session) !== true) return false;
    this.#awaited.set(session, false);
    return true;
  }

  settled(session: SessionId): void {
    if (this.#awaited.delete(session)) this.#settle();
  }

  /** The server ends: who has not come back may do so after the next start. */
  abandon(): void {
    this.#awaited.clear();
    this.#settle();
  }

  #stop(): void {
    const late = [...this.#awaited.keys()];
    this.#awaited.clear();
    for (const session of late) this.#notResumed(session);
    this.#settle();
  }

  #settle(): void {
    if (this.pending) return;
    this.#cancel();
    this.#resolve();
  }
}

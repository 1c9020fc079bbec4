// Stripe numbers, reserved from the namespace many at once. Numbers that are reserved and not used are lost, which is fine.

import type { Session } from "../messages.ts";
import type { StripeId } from "../types.ts";
import { STRIPE_RESERVATION } from "./limits.ts";

export class StripeNumbers {
  readonly #session: Session;
  #next = 0;
  #end = 0;
  #asking: Promise<void> | null = null;
  /** How many sessions there were before this one. */
  #sessions = 0;

  constructor(session: Session) {
    this.#session = session;
  }

  /** The session that they were reserved for is over. */
  reset(): void {
    this.#next = this.#end = 0;
    this.#sessions++;
  }

  next(): StripeId | Promise<StripeId> {
    if (this.#next < this.#end) return this.#next++ as StripeId;
    return this.#wait();
  }

  async #wait(): Promise<StripeId> {
    while (this.#next >= this.#end) {
      this.#asking ??= this.#ask().finally(() => (this.#asking = null));
      await this.#asking;
    }
    return this.#next++ as StripeId;
  }

  async #ask(): Promise<void> {
    const sessions = this.#sessions;
    const { first } = await this.#session.call("reserveStripes", { count: STRIPE_RESERVATION });
    if (sessions !== this.#sessions) return;
    this.#next = first;
    this.#end = first + STRIPE_RESERVATION;
  }
}

// Group commit as such: one action that runs for many callers.

/** Callers that come while the action runs share the next run, which begins when this one has ended. */
export class Rounds {
  readonly #action: () => Promise<void>;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(action: () => Promise<void>) {
    this.#action = action;
  }

  /** The run that is under way, or null. */
  get running(): Promise<void> | null {
    return this.#running;
  }

  /** Resolves or rejects with a run that begins after this call. */
  run(): Promise<void> {
    if (this.#next !== null) return this.#next;
    if (this.#running === null) return this.#begin();
    const begin = (): Promise<void> => {
      this.#next = null;
      return this.#begin();
    };
    this.#next = this.#running.then(begin, begin);
    return this.#next;
  }

  #begin(): Promise<void> {
    const running = this.#action().finally(() => {
      if (this.#running === running) this.#running = null;
    });
    this.#running = running;
    return running;
  }
}

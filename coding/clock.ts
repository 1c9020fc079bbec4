// Time as the runner sees it: injected, so that a deadline is tested, and a cluster modelled, without waiting.

export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /** Calls `action` after so many milliseconds, unless the function returned is called before. */
  after(milliseconds: number, action: () => void): () => void;
}

interface Event {
  at: number;
  /** Events of one moment happen in the order in which they were asked for. */
  order: number;
  action: (() => void) | null;
}

/** A clock that jumps from one event to the next. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  /** A binary heap, the earliest event first. */
  readonly #events: Event[] = [];

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, action: () => void): () => void {
    const event: Event = { at: this.#now + milliseconds, order: this.#order++, action };
    this.#insert(event);
    return () => (event.action = null);
  }

  /** Lets time pass until `work` is settled, and returns its result; the work must wait for nothing but this clock. Throws Error where nothing is left that could settle it. */
  async run<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const settle = () => (settled = true);
    work.then(settle, settle);
    for (;;) {
      // All promises that can go on without time passing do so before the next tick; this costs a fifth of a setImmediate.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      if (settled) return work;
      if (!this.#step()) throw new Error(`virtual clock: at ${this.#now} ms nothing is left to happen, and the work is not done`);
    }
  }

  /** Makes everything of the next moment happen; false where there is none. */
  #step(): boolean {
    let happened = false;
    while (this.#events.length > 0 && (!happened || this.#events[0].at <= this.#now)) {
      const event = this.#removeFirst();
      if (!event.action) continue;
      this.#now = event.at;
      happened = true;
      event.action();
    }
    return happened;
  }

  #before(a: number, b: number): boolean {
    const [first, second] = [this.#events[a], this.#events[b]];
    return first.at < second.at || (first.at === second.at && first.order < second.order);
  }

  #swap(a: number, b: number): void {
    [this.#events[a], this.#events[b]] = [this.#events[b], this.#events[a]];
  }

  #insert(event: Event): void {
    let place = this.#events.push(event) - 1;
    while (place > 0 && this.#before(place, (place - 1) >> 1)) {
      this.#swap(place, (place - 1) >> 1);
      place = (place - 1) >> 1;
    }
  }

  #removeFirst(): Event {
    this.#swap(0, this.#events.length - 1);
    const first = this.#events.pop() as Event;
    for (let place = 0; ;) {
      let least = place;
      for (const child of [2 * place + 1, 2 * place + 2])
        if (child < this.#events.length && this.#before(child, least)) least = child;
      if (least === place) return first;
      this.#swap(place, least);
      place = least;
    }
  }
}

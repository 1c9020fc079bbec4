// One clock for a whole simulated world: a queue of events in the order of their times. Nothing happens but what is in
// the queue, so a seed decides everything. A machine that crashed takes its events with it: its view of the clock ends. A
// process that is stopped (SIGSTOP) finds them when it goes on.

import type { DatedClock } from "../../fs/clock.ts";

interface Event {
  atMs: number;
  order: number;
  action: (() => void) | null;
  life: Life;
}

interface Life {
  ended: boolean;
  /** What has come to a stopped process; null: it runs. */
  held: Event[] | null;
}

/** What the parts ask for. */
export interface MachineClock extends DatedClock {
  sleep(delayMs: number): Promise<void>;
  /** The machine is dead: none of its events comes any more. */
  end(): void;
}

/** The clock of one process of a machine. */
export interface ProcessClock extends MachineClock {
  readonly stopped: boolean;
  /** SIGSTOP: what comes to it waits. */
  stop(): void;
  /** SIGCONT: what has waited comes now, in its order. */
  resume(): void;
  /** Resolves when the process runs: at once if it does. */
  running(): Promise<void> | undefined;
}

/** Times must differ where something happened between: a microsecond an event. */
const EVENT_MS = 0.001;
const EPOCH_MS = 1_700_000_000_000;

export class SimulationClock {
  #nowMs = 0;
  /** What the date is ahead of nowMs. Change it as one who sets the date does. */
  dateAheadMs = EPOCH_MS;
  #order = 0;
  /** A binary heap. */
  readonly #events: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  machine(): MachineClock {
    return this.#clockOf({ ended: false, held: null });
  }

  process(): ProcessClock {
    const life: Life = { ended: false, held: null };
    const clock = this.#clockOf(life);
    return {
      ...clock,
      get stopped() {
        return life.held !== null;
      },
      stop: () => void (life.held ??= []),
      resume: () => {
        const held = life.held ?? [];
        life.held = null;
        for (const event of held) this.#push(Object.assign(event, { atMs: this.#nowMs, order: ++this.#order }));
      },
      running: () => (life.held === null ? undefined : clock.sleep(0)),
    };
  }

  #clockOf(life: Life): MachineClock {
    return {
      dateMs: () => this.dateAheadMs + this.#nowMs,
      nowMs: () => this.#nowMs,
      after: (delayMs, action) => this.#after(delayMs, action, life),
      sleep: (delayMs) => new Promise((resolve) => void this.#after(delayMs, resolve, life)),
      end: () => void (life.ended = true),
    };
  }

  /** Lets the next event happen and everything that follows from it at once. False: there is none. */
  async step(): Promise<boolean> {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      if (event.action === null || event.life.ended) continue;
      if (event.life.held !== null) {
        event.life.held.push(event);
        continue;
      }
      this.#nowMs = Math.max(event.atMs, this.#nowMs + EVENT_MS);
      event.action();
      await settled();
      return true;
    }
  }

  #after(delayMs: number, action: () => void, life: Life): () => void {
    const event: Event = { atMs: this.#nowMs + Math.max(0, delayMs), order: ++this.#order, action, life };
    this.#push(event);
    return () => void (event.action = null);
  }

  #push(event: Event): void {
    const heap = this.#events;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (before(heap[parent], event)) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#events;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (before(last, heap[child])) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** All promises that can go on have done so. Twice, as some code waits for one turn of the event loop itself. */
async function settled(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

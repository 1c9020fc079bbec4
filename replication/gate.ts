// Lets a bounded number of callers in at once; the others wait in line, and there is a bound to the line too.

export class GateFull extends Error {
  readonly code = "EBUSY";
}

export class Gate {
  readonly #name: string;
  readonly #insideMax: number;
  readonly #waitingMax: number;
  #inside = 0;
  #waiting: (() => void)[] = [];

  constructor(name: string, insideMax: number, waitingMax: number) {
    this.#name = name;
    this.#insideMax = insideMax;
    this.#waitingMax = waitingMax;
  }

  get inside(): number {
    return this.#inside;
  }

  /** Runs the action once there is room. Error GateFull where the line is full. */
  async run<T>(action: () => Promise<T>): Promise<T> {
    if (this.#inside < this.#insideMax) this.#inside++;
    else await this.#wait();
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#inside--;
      else next();
    }
  }

  #wait(): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax) {
      throw new GateFull(`${this.#name}: ${this.#waiting.length} requests wait already, at most ${this.#waitingMax} may`);
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

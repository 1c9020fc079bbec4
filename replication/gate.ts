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

  /** Takes a place inside, if there is one at once. Whoever is inside leaves, always. */
  tryEnter(): boolean {
    if (this.#inside >= this.#insideMax) return false;
    this.#inside++;
    return true;
  }

  /** Takes a place inside, waiting in line. Error GateFull where the line is full. */
  async enter(): Promise<void> {
    if (this.tryEnter()) return;
    if (this.#waiting.length >= this.#waitingMax) {
      throw new GateFull(`${this.#name}: ${this.#waiting.length} requests wait already, at most ${this.#waitingMax} may`);
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#inside--;
    else next();
  }

  /** Runs the action inside. */
  async run<T>(action: () => Promise<T>): Promise<T> {
    await this.enter();
    try {
      return await action();
    } finally {
      this.leave();
    }
  }
}

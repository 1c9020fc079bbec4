// Locks of the simulated kernel: one holder at a time, in the order of asking.

export class Turns {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs the action when all earlier ones under these names have ended. */
  async run<T>(names: readonly string[], action: () => Promise<T>): Promise<T> {
    const waits = names.map((name) => this.#tails.get(name));
    let end!: () => void;
    const mine = new Promise<void>((resolve) => (end = resolve));
    const tails = names.map((name, index) => (waits[index] ?? Promise.resolve()).then(() => mine));
    names.forEach((name, index) => this.#tails.set(name, tails[index]));
    try {
      for (const wait of waits) await wait;
      return await action();
    } finally {
      end();
      names.forEach((name, index) => {
        if (this.#tails.get(name) === tails[index]) this.#tails.delete(name);
      });
    }
  }
}

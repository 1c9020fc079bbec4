// Who changes a block has it alone.

export class BlockTurns {
  readonly #busy = new Map<number | string, Promise<unknown>>();

  /** Runs the action while no other one runs for any of these keys. */
  async alone(keys: readonly (number | string)[], action: () => Promise<void>): Promise<void> {
    for (let at = 0; at < keys.length;) {
      const busy = this.#busy.get(keys[at]);
      if (busy === undefined) at++;
      else {
        await busy;
        at = 0;
      }
    }
    const run = action();
    const quiet = run.catch(() => undefined);
    for (const key of keys) this.#busy.set(key, quiet);
    try {
      await run;
    } finally {
      for (const key of keys) if (this.#busy.get(key) === quiet) this.#busy.delete(key);
    }
  }
}

// SQLite used by both mounts at once.

import { insertThroughMounts } from "../../test/fixture/sqlite.ts";
import type { Part } from "./part.ts";

/** A transaction waits for several fsyncs and for the other mount: much more than that is a hang. */
const TRANSACTION_LIMIT_MS = 200;
const LIMIT_MS_MIN = 120_000;

export const sqlitePart: Part = {
  name: "sqlite",
  about: "one SQLite database used by both mounts at once",
  async run({ one, second, transactions, violation }) {
    const begin = performance.now();
    const each = Math.ceil(transactions / 2);
    const limitMs = Math.max(LIMIT_MS_MIN, transactions * TRANSACTION_LIMIT_MS);
    const { problems, handOvers } = await insertThroughMounts([one, second.path], each, limitMs);
    for (const problem of problems) violation(problem);
    const seconds = (performance.now() - begin) / 1000;
    return {
      transactions: each * 2,
      "hand-overs between the mounts": handOvers,
      "transactions a second": Math.round((each * 2) / seconds),
    };
  },
};

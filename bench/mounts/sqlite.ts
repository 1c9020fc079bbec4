// SQLite used by both mounts at once, in rollback-journal mode with all its syncs (a write-ahead log needs shared memory, which
// no two machines have). The same on the local filesystem stands beside it for orientation.

import { type Inserted, insertThroughMounts } from "../../test/fixture/sqlite.ts";
import type { Part } from "./part.ts";

/** A transaction waits for several fsyncs and for the other mount: much more than that is a hang. */
const TRANSACTION_LIMIT_MS = 200;
const LIMIT_MS_MIN = 120_000;
/** Enough for a figure. */
const LOCAL_TRANSACTIONS = 1000;

export const sqlitePart: Part = {
  name: "sqlite",
  about: "one SQLite database used by both mounts at once",
  async run({ store, one, second, transactions, violation }) {
    const insert = async (places: readonly string[], count: number): Promise<Inserted & { each: number }> => {
      const each = Math.ceil(count / 2);
      const inserted = await insertThroughMounts(places, each, Math.max(LIMIT_MS_MIN, count * TRANSACTION_LIMIT_MS));
      for (const problem of inserted.problems) violation(problem);
      return { ...inserted, each };
    };
    const rate = ({ each, seconds }: Inserted & { each: number }): number => Math.round((each * 2) / Math.max(...seconds));
    const mounts = await insert([one, second.path], transactions);
    const local = await insert([store.directory, store.directory], Math.min(LOCAL_TRANSACTIONS, transactions));
    return {
      transactions: mounts.each * 2,
      "transactions a second": rate(mounts),
      "seconds of the daemon's mount": Math.round(mounts.seconds[0]),
      "seconds of the second mount": Math.round(mounts.seconds[1]),
      "hand-overs between the mounts": mounts.handOvers,
      "local, transactions a second": rate(local),
      "local, hand-overs": local.handOvers,
    };
  },
};

// The case table on a whole store in memory, called without a kernel.
import test from "node:test";
import { EmbeddedStore } from "../../fs/embedded.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { MemoryTable } from "../../storage/memory-table.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { MemoryStripes } from "../fs/mount/doubles.ts";
import { handlersTarget } from "./handlers-target.ts";
import { runTable } from "./table.ts";

const OFFERS = ["dot-links", "tmpfile", "collapse", "large-xattr", "large-files"];

test("the POSIX case table, called in memory", async (t) => {
  const log = await LocalLog.open(new SimulatedDirectory({ seed: 1 }));
  const schemes = { full: "rs:4+2", small: "copies:3" };
  const store = await EmbeddedStore.open({ table: new MemoryTable(), log, stripes: new MemoryStripes(), schemes });
  t.after(() => store.close());
  await runTable(t, handlersTarget(await store.openMount(), OFFERS));
});

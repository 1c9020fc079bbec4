// Failures of the disk under the log, one at each of its calls in turn, and a power cut after each.
import assert from "node:assert/strict";
import test from "node:test";
import { LocalLog } from "../../../storage/local-log.ts";
import type { LogIndex } from "../../../storage/log.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import { SimulatedDirectory } from "../../../storage/simulated-directory.ts";
import { openNamespace } from "../../../fs/namespace/namespace.ts";
import type { InodeId } from "../../../fs/types.ts";
import { makeEntry, MemoryLog, name, openStore, problems, quietEvents, TestClock } from "./memory-log.ts";

const ROOT = 1 as InodeId;

/** Makes names, with a sync after each few; returns those whose sync was acknowledged, and how many calls failed. */
async function script(directory: SimulatedDirectory, table: MemoryTable): Promise<{ synced: string[]; failures: string[] }> {
  const synced: string[] = [];
  const failures: string[] = [];
  const attempt = async (action: () => Promise<unknown>): Promise<boolean> => {
    try {
      await action();
      return true;
    } catch (error) {
      failures.push(String((error as { code?: string }).code));
      return false;
    }
  };
  let log: LocalLog | undefined;
  await attempt(async () => {
    log = await LocalLog.open(directory, { fileBytes: 4096 });
    const namespace = await openNamespace({
      table,
      log,
      clock: new TestClock(),
      limits: { trimIntervalMs: 0, applyIntervalMs: 0 },
    });
    const session = await namespace.openSession(quietEvents);
    for (let group = 0; group < 4; group++) {
      const made: string[] = [];
      for (let count = 0; count < 6; count++)
        if (await attempt(() => makeEntry(session, ROOT, `name-${group}-${count}`))) made.push(`name-${group}-${count}`);
      if (await attempt(() => session.call("sync", {}))) synced.push(...made);
      await attempt(() => namespace.tick());
    }
  });
  await log?.close().catch(() => {});
  return { synced, failures };
}

for (const code of ["EIO", "ENOSPC"]) {
  test(`whatever call of the log's disk fails with ${code}, what was synced is there after a power cut`, async () => {
    let failed = 0;
    for (let call = 1; ; call++) {
      const directory = new SimulatedDirectory({ seed: call });
      const table = new MemoryTable();
      directory.faults = [{ call, code }];
      const { synced, failures } = await script(directory, table);
      if (failures.length > 0) failed++;
      for (const failure of failures) assert.ok(["EIO", "ENOSPC", "ESTALE"].includes(failure), failure);
      const reached = directory.calls >= call;
      directory.faults = [];
      table.crash(call % (table.unflushedBatches + 1));
      directory.crash();
      const log = await LocalLog.open(directory, { fileBytes: 4096 });
      const namespace = await openNamespace({ table, log });
      const session = await namespace.openSession(quietEvents);
      for (const text of synced) {
        const { attributes } = await session.call("lookup", { parent: ROOT, name: name(text) });
        assert.notEqual(attributes, null, `${text} was synced and is gone after failure ${call}`);
      }
      assert.deepEqual(await problems(namespace), []);
      await log.close();
      if (!reached) break;
    }
    assert.ok(failed > 5, `${failed} of the failures were seen`);
  });
}

class ChokingLog extends MemoryLog {
  choked = false;
  override append(entry: Uint8Array): LogIndex {
    if (this.choked) throw Object.assign(new Error("the disk is full"), { code: "ENOSPC" });
    return super.append(entry);
  }
}

test("a change that the log does not take has not happened, and the next may go through", async () => {
  const log = new ChokingLog();
  const { namespace, session, root } = await openStore({ log });
  await makeEntry(session, root, "before");
  log.choked = true;
  await assert.rejects(makeEntry(session, root, "during"), { code: "ENOSPC" });
  assert.equal((await session.call("lookup", { parent: root, name: name("during") })).attributes, null);
  log.choked = false;
  await makeEntry(session, root, "after");
  const { entries } = await session.call("list", { inode: root, after: 0, limit: 10, attributes: false });
  assert.deepEqual(
    entries.map((entry) => entry.name),
    ["before", "after"],
  );
  assert.deepEqual(await problems(namespace), []);
});

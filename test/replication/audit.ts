import assert from "node:assert/strict";
import test from "node:test";
import { type AuditDirectory, type AuditOptions, auditDisk, auditStripes, removeStray } from "../../replication/audit.ts";
import { Repairer } from "../../replication/repair.ts";
import type { DiskId, Stripe } from "../../replication/stripe.ts";
import { Throttle } from "../../replication/throttle.ts";
import { randomBelow } from "../../storage/seeded-random.ts";
import { type Cluster, diskOf, makeCluster, randomBytes } from "./cluster.ts";

type Recorded = Stripe & { live: number };

class Records implements AuditDirectory {
  readonly byId = new Map<number, Recorded>();
  readonly reserved = new Set<number>();
  async getAll(ids: readonly number[]): Promise<Recorded[]> {
    return ids.map((id) => this.byId.get(id)).filter((stripe) => stripe !== undefined);
  }
  async stripes(after: number, limit: number): Promise<Recorded[]> {
    return [...this.byId.values()].filter(({ id }) => id > after).sort((a, b) => a.id - b.id).slice(0, limit); // prettier-ignore
  }
  isReserved(id: number): boolean {
    return this.reserved.has(id);
  }
}

interface Store {
  cluster: Cluster;
  records: Records;
  repairer: Repairer;
  options: AuditOptions;
}

async function makeStore(stripes: number): Promise<Store> {
  const cluster = await makeCluster(7, "rs:4+2");
  const records = new Records();
  const repairer = new Repairer({
    client: cluster.client,
    directory: {
      stripesOn: async () => [],
      stripes: (after, limit) => records.stripes(after, limit),
      commit: async (from, to) => {
        const known = records.byId.get(from.id);
        if (known === undefined || known.disks.join() !== from.disks.join()) return false;
        records.byId.set(to.id, { ...to, live: known.live });
        return true;
      },
    },
    throttle: new Throttle(cluster.clock),
    random: cluster.random,
  });
  for (let id = 1; id <= stripes; id++) await addStripe(cluster, records, id);
  const options: AuditOptions = {
    client: cluster.client,
    directory: records,
    repairer,
    clock: cluster.clock,
    verify: false,
  };
  return { cluster, records, repairer, options };
}

async function addStripe({ stripes, random }: Cluster, records: Records, id: number): Promise<void> {
  const data = randomBytes(random, 1 + randomBelow(random, 20_000));
  records.byId.set(id, { ...(await stripes.write(id, "rs:4+2", data)), live: data.length });
}

/** All problems, both ways; time passes while the audit sleeps, and `meanwhile` happens then. */
async function audit(store: Store, settings: { verify?: boolean; meanwhile?: () => Promise<void> } = {}): Promise<string[]> {
  const options = { ...store.options, verify: settings.verify ?? false };
  const found: string[] = [];
  let ended = false;
  const walk = (async () => {
    for await (const { kind } of auditStripes(options)) found.push(kind);
    for (const { id } of options.client.disks())
      for await (const problem of auditDisk(options, id)) found.push(`${problem.kind} ${problem.disk}`);
  })().finally(() => (ended = true));
  while (!ended) {
    await new Promise(setImmediate);
    await settings.meanwhile?.();
    store.cluster.clock.advance(100);
  }
  await walk;
  return found;
}

test("stripes with all their blocks, and blocks with their stripes, are no problem", async () => {
  const store = await makeStore(40);
  assert.deepEqual(await audit(store, { verify: true }), []);
});

test("a missing, a damaged and too many missing blocks are told apart, and mending them is enough", async () => {
  const store = await makeStore(10);
  const { cluster, records, repairer } = store;
  const [a, b] = [records.byId.get(3)!, records.byId.get(4)!];
  diskOf(cluster, a.disks[2]).lose({ stripe: 3, index: 2 });
  diskOf(cluster, b.disks[5]).damage({ stripe: 4, index: 5 });
  assert.deepEqual(await audit(store), ["missing"]);
  assert.deepEqual(await audit(store, { verify: true }), ["missing", "damaged"]);
  for (const stripe of [a, b]) await repairer.repairStripe(stripe, { verify: true });
  assert.deepEqual(await audit(store, { verify: true }), []);
  const c = records.byId.get(5)!;
  for (const index of [0, 3, 4]) diskOf(cluster, c.disks[index]).lose({ stripe: 5, index });
  assert.deepEqual(await audit(store), ["unreadable"]);
});

test("blocks without a record and blocks on a wrong disk are found by disk, and removed; nothing else is", async () => {
  const store = await makeStore(10);
  const { cluster, records } = store;
  const other = cluster.client.disks().find(({ id }) => !records.byId.get(2)!.disks.includes(id))!.id;
  await cluster.client.store(other, { stripe: 2, index: 1 }, new Uint8Array(10));
  await cluster.client.store(3 as DiskId, { stripe: 77, index: 0 }, new Uint8Array(10));
  assert.deepEqual((await audit(store)).sort(), [`misplaced ${other}`, "ownerless 3"].sort());
  const before = cluster.disks.reduce((sum, disk) => sum + disk.blocks.size, 0);
  await cluster.client.store(4 as DiskId, { stripe: 78, index: 0 }, new Uint8Array(10));
  records.reserved.add(78);
  assert.deepEqual((await audit(store)).length, 2, "a block under a reserved number may be on its way to a record");
  for (const [disk, stripe, index] of [
    [other, 2, 1],
    [3, 77, 0],
    [4, 78, 0],
    [records.byId.get(1)!.disks[0], 1, 0],
  ] as const)
    // prettier-ignore
    await removeStray(store.options, { kind: "ownerless", disk: disk as DiskId, id: { stripe, index }, bytes: 10, text: "" });
  const after = cluster.disks.reduce((sum, disk) => sum + disk.blocks.size, 0);
  assert.equal(after, before - 2 + 1);
  assert.deepEqual(await audit(store, { verify: true }), []);
});

test("a store under load gives no false alarm", async () => {
  const store = await makeStore(300);
  const { cluster, records } = store;
  let next = 301;
  let turns = 0;
  const meanwhile = async (): Promise<void> => {
    if (turns++ > 40) return;
    // Stored, and committed a turn later; an old one dies, its blocks go, then its record.
    const id = next++;
    records.reserved.add(id);
    const stripe = await cluster.stripes.write(id, "rs:4+2", new Uint8Array(5000));
    setImmediate(() => {
      records.byId.set(id, { ...stripe, live: 5000 });
      records.reserved.delete(id);
    });
    const doomed = [...records.byId.values()][randomBelow(cluster.random, records.byId.size)];
    records.byId.set(doomed.id, { ...doomed, live: 0 });
    await cluster.stripes.remove([doomed]);
    records.byId.delete(doomed.id);
  };
  while (turns < 40) assert.deepEqual(await audit(store, { meanwhile }), []);
});

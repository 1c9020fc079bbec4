// Random operations on the namespace and on a model beside it, with power cuts in between. A seed that fails is
// printed in the test's name.
import assert from "node:assert/strict";
import test from "node:test";
import { LocalLog } from "../../../storage/local-log.ts";
import { MemoryTable } from "../../../storage/memory-table.ts";
import { randomBelow, seededRandom } from "../../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../../storage/simulated-directory.ts";
import { type DiskId } from "../../../replication/stripe.ts";
import type { Extent } from "../../../fs/messages.ts";
import { type Namespace, type NamespaceSession, openNamespace } from "../../../fs/namespace/namespace.ts";
import { type ByteString, type InodeId, S_IFDIR, S_IFLNK, S_IFREG, type StripeId } from "../../../fs/types.ts";
import { problems, quietEvents, TestClock } from "./memory-log.ts";
import { HEAD_BYTES, Model, type Step, UNITS, unitStart } from "./model.ts";
import { seedsOf } from "../../fixture/seeds.ts";

const NAMES = ["a", "b", "c", "d", "e", "\xff\x01long"];
const MODES = [S_IFREG | 0o644, S_IFREG | 0o600, S_IFDIR | 0o755, S_IFDIR | 0o700, S_IFLNK | 0o777];

class Run {
  readonly seed: number;
  readonly random: () => number;
  readonly directory: SimulatedDirectory;
  readonly table = new MemoryTable();
  readonly clock = new TestClock();
  readonly removed = new Set<number>();
  /** The state at the last moment that a crash cannot go behind, and the steps since with the log's tail after each. */
  safe = new Model();
  steps: { step: Step; tail: number }[] = [];
  model = new Model();
  log!: LocalLog;
  namespace!: Namespace;
  session!: NamespaceSession;
  nextStripe = 0;
  lastStripe = -1;

  constructor(seed: number) {
    this.seed = seed;
    this.random = seededRandom(seed);
    this.directory = new SimulatedDirectory({ seed });
  }

  below(count: number): number {
    return randomBelow(this.random, count);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  chance(share: number): boolean {
    return this.random() < share;
  }

  async open(): Promise<void> {
    this.log = await LocalLog.open(this.directory, { fileBytes: 64 * 1024 });
    // Small bounds, so that caches forget and applies happen all the time.
    const small = this.chance(0.5);
    const limits = {
      deadStripeGraceMs: 0,
      applyIntervalMs: 0,
      trimIntervalMs: 0,
      ...(small ? { cacheBytes: 20_000, applyRecords: 20, maximumRecords: 60 } : {}),
    };
    const stripes = {
      remove: async (stripes: readonly { id: number }[]) => {
        for (const { id } of stripes) this.removed.add(id);
      },
      removeUncommitted: async (first: StripeId, count: number, except: ReadonlySet<StripeId>) => {
        for (let id = first as number; id < first + count; id++) if (!except.has(id as StripeId)) this.removed.add(id);
      },
      space: () => ({ totalBytes: 1e15, freeBytes: 1e15 }),
    };
    this.namespace = await openNamespace({ table: this.table, log: this.log, clock: this.clock, limits, stripes });
    this.session = await this.namespace.openSession(quietEvents);
    this.lastStripe = this.nextStripe = 0;
  }

  inodes(wanted: (type: number) => boolean): number {
    const found = [...this.model.inodes].filter(([, { type }]) => wanted(type)).map(([id]) => id);
    return found.length === 0 || this.chance(0.03) ? this.pick([...this.model.inodes.keys()]) : this.pick(found);
  }

  anyDirectory(): number {
    return this.inodes((type) => type === S_IFDIR);
  }

  anyFile(): number {
    return this.inodes((type) => type === S_IFREG);
  }

  range(maximum = UNITS): { from: number; to: number } {
    const from = this.below(UNITS);
    return { from, to: Math.min(UNITS, from + 1 + this.below(maximum)) };
  }

  cells(): { from: number; to: number } {
    const from = this.below(UNITS / 2) * 2;
    return { from, to: from + 2 + 2 * this.below(4) };
  }

  choose(): Step {
    const parent = this.anyDirectory();
    const name = this.pick(NAMES);
    const inode = this.anyFile();
    const keepSize = this.chance(0.5);
    switch (this.below(22)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const mode = this.pick(MODES);
        return { operation: "make", parent, name, mode, ...((mode & 0o170000) === S_IFLNK ? { target: "somewhere" } : {}) };
      } // prettier-ignore
      case 4: return { operation: "link", inode: this.pick([...this.model.inodes.keys()]), parent, name }; // prettier-ignore
      case 5:
      case 6: return { operation: "unlink", parent, name, flag: this.chance(0.4) }; // prettier-ignore
      case 7:
      case 8:
      case 9:
        return { operation: "rename", parent, name, newParent: this.anyDirectory(), newName: this.pick(NAMES), ...this.pick([{ flag: false, keepSize: false }, { flag: true, keepSize: false }, { flag: false, keepSize: true }, { flag: false, keepSize: false }]) }; // prettier-ignore
      case 10: return { operation: "chmod", inode: this.pick([...this.model.inodes.keys()]), mode: this.below(0o10000) }; // prettier-ignore
      case 11: return this.chance(0.6) ? { operation: "setXattr", inode, name: `user.${this.pick(NAMES)}`, value: `${this.below(1000)}` } : { operation: "removeXattr", inode, name: `user.${this.pick(NAMES)}` }; // prettier-ignore
      case 12: return { operation: "truncate", inode, to: this.chance(0.3) ? 0 : this.below(UNITS) }; // prettier-ignore
      case 13: return { operation: "punch", inode, ...this.range() }; // prettier-ignore
      case 14: return { operation: this.chance(0.6) ? "allocate" : "zero", inode, keepSize, ...this.range(16) }; // prettier-ignore
      case 15: return this.shiftStep(inode); // prettier-ignore
      case 16: return this.shareStep(inode); // prettier-ignore
      default: return { operation: "write", inode, ...this.writeRange() }; // prettier-ignore
    }
  }

  shiftStep(inode: number): Step {
    const { from, to } = this.cells();
    const size = this.model.inodes.get(inode)!.size;
    const insert = this.chance(0.5) && size + (to - from) <= UNITS;
    return { operation: insert ? "insert" : "collapse", inode, from, to };
  }

  shareStep(inode: number): Step {
    const { from, to } = this.cells();
    return { operation: "share", inode, from, to: Math.min(to, UNITS), source: this.anyFile(), sourceFrom: this.cells().from };
  }

  writeRange(): { from: number; to: number } {
    const from = this.below(UNITS - 1);
    return { from, to: Math.min(UNITS, from + 1 + this.below(2)) };
  }

  async reserve(): Promise<number> {
    if (this.nextStripe >= this.lastStripe) {
      const count = 1 + this.below(20);
      this.nextStripe = (await this.session.call("reserveStripes", { count })).first;
      this.lastStripe = this.nextStripe + count;
    }
    return this.nextStripe++;
  }

  /** Carries the step out on the namespace; returns the error's code, or null. */
  async carryOut(step: Step): Promise<string | null> {
    try {
      await this.request(step);
      return null;
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === undefined || code === "EIO") throw error;
      return code;
    }
  }

  async request(step: Step): Promise<void> {
    const { session } = this;
    const inode = step.inode as InodeId;
    const parent = step.parent as InodeId;
    const name = step.name as ByteString;
    const offset = unitStart(step.from ?? 0);
    const length = unitStart(step.to ?? 0) - offset;
    switch (step.operation) {
      case "make": {
        const target = step.target as ByteString | undefined;
        const reply = await session.call("make", {
          parent,
          name,
          mode: step.mode!,
          umask: 0,
          uid: 0,
          gid: 0,
          exclusive: true,
          target,
        });
        step.made = reply.attributes.inode;
        return;
      }
      case "link": return void (await session.call("link", { inode, parent, name })); // prettier-ignore
      case "unlink": return void (await session.call("unlink", { parent, name, directory: step.flag! })); // prettier-ignore
      case "rename":
        return void (await session.call("rename", { parent, name, newParent: step.newParent as InodeId, newName: step.newName as ByteString, noReplace: step.flag!, exchange: step.keepSize! })); // prettier-ignore
      case "chmod": return void (await session.call("setAttributes", { inode, change: { mode: step.mode! } })); // prettier-ignore
      case "setXattr": return void (await session.call("setXattr", { inode, name, value: Buffer.from(step.value!), create: false, replace: false, clearSetGroupId: false })); // prettier-ignore
      case "removeXattr": return void (await session.call("removeXattr", { inode, name })); // prettier-ignore
      case "truncate": return void (await session.call("setAttributes", { inode, change: { size: unitStart(step.to!) } })); // prettier-ignore
      case "share": {
        const sourceFrom = unitStart(step.sourceFrom!);
        return void (await session.call("share", {
          from: step.source as InodeId,
          fromOffset: sourceFrom,
          to: inode,
          toOffset: offset,
          length,
        }));
      }
      case "write": return this.write(step, inode, offset, length); // prettier-ignore
      default:
        return void (await session.call("reshape", { inode, kind: step.operation as "punch", offset, length, keepSize: step.keepSize ?? true })); // prettier-ignore
    }
  }

  async write(step: Step, inode: InodeId, offset: number, length: number): Promise<void> {
    if (length === HEAD_BYTES && this.chance(0.6)) {
      const byte = this.below(256);
      step.content = [`inline ${byte}`];
      await this.session.call("commit", {
        files: [{ inode, extents: [{ offset, length, inline: new Uint8Array(length).fill(byte) }] }],
        stripes: [],
      });
      return;
    }
    const id = (await this.reserve()) as StripeId;
    step.content = [];
    for (let unit = step.from!; unit < step.to!; unit++) step.content.push(`${id}+${unitStart(unit) - offset}`);
    const stripe = {
      id,
      scheme: "copies:2",
      dataBytes: length,
      blockBytes: length,
      disks: [1 + this.below(3), 4 + this.below(3)] as DiskId[],
    };
    const reply = await this.session.call("commit", {
      files: [{ inode, extents: [{ offset, length, stripe: id, stripeOffset: 0 }] }],
      stripes: [stripe],
    });
    assert.ok(!reply.gone.includes(inode) || !this.model.inodes.has(inode));
  }

  async step(): Promise<void> {
    const step = this.choose();
    const actual = await this.carryOut(step);
    const expected = this.model.run({ ...step, content: step.content ?? [] });
    assert.equal(actual, expected, `${JSON.stringify(step)}`);
    if (actual === null) this.steps.push({ step, tail: this.namespace.status().logTail });
    if (this.chance(0.15)) await this.background();
  }

  async background(): Promise<void> {
    switch (this.below(4)) {
      case 0: return void (await this.namespace.tick()); // prettier-ignore
      case 1: return this.namespace.apply(); // prettier-ignore
      case 2: return this.forget(); // prettier-ignore
      default:
        await this.session.call("sync", {});
        this.safe = this.model.copy();
        this.steps = [];
    }
  }

  async forget(): Promise<void> {
    const unnamed = [...this.model.inodes].filter(([, { links }]) => links === 0).map(([id]) => id as InodeId);
    await this.session.call("forget", { inodes: unnamed });
    await this.namespace.tick();
    // Freed in the model too: from here on they are gone for everybody, also after a crash.
    this.model.dropUnnamed();
    while (await this.namespace.tick());
  }

  async powerCut(): Promise<void> {
    this.table.crash(this.below(this.table.unflushedBatches + 1));
    this.directory.crash();
    await this.open();
    const tail = this.namespace.status().logTail;
    // The new session's own entries come after what was found.
    this.model = this.safe.copy();
    for (const { step, tail: after } of this.steps) if (after < tail) this.model.run(step);
    this.model.dropUnnamed();
    await this.namespace.sync();
    this.safe = this.model.copy();
    this.steps = [];
  }

  async compare(): Promise<void> {
    for (const [id, expected] of this.model.inodes) {
      const inode = id as InodeId;
      const { attributes } = await this.session.call("getAttributes", { inode });
      assert.equal(attributes.mode, expected.type | expected.permissions, `mode of ${id}`);
      assert.equal(attributes.linkCount, expected.links, `link count of ${id}`);
      if (expected.type === S_IFDIR) await this.compareDirectory(inode, expected.names);
      if (expected.type === S_IFREG) {
        assert.equal(attributes.size, unitStart(expected.size), `size of ${id}`);
        await this.compareContent(inode, expected.size, expected.units);
      }
      const { names } = await this.session.call("listXattrs", { inode });
      assert.deepEqual(names.sort(), [...expected.xattrs.keys()].sort());
      for (const name of names)
        assert.equal(
          Buffer.from((await this.session.call("getXattr", { inode, name })).value!).toString(),
          expected.xattrs.get(name),
        );
    }
  }

  async compareDirectory(inode: InodeId, expected: Map<string, number>): Promise<void> {
    const found = new Map<string, number>();
    const limit = 1 + this.below(4);
    for (let after = 0; ;) {
      const { entries } = await this.session.call("list", { inode, after, limit, attributes: this.chance(0.5) });
      for (const entry of entries) {
        assert.ok(entry.cookie > after);
        after = entry.cookie;
        found.set(entry.name, entry.inode);
      }
      if (entries.length < limit) break;
    }
    assert.deepEqual([...found].sort(), [...expected].sort(), `names in ${inode}`);
    for (const name of NAMES) {
      const { attributes } = await this.session.call("lookup", { parent: inode, name: name as ByteString });
      assert.equal(attributes?.inode, expected.get(name), `look-up of ${name} in ${inode}`);
    }
  }

  async compareContent(inode: InodeId, size: number, units: readonly string[]): Promise<void> {
    const found: Extent[] = [];
    for (let from = 0; from < unitStart(size);) {
      const { extents, end } = await this.session.call("extents", { inode, from, to: unitStart(size), limit: 1 + this.below(8) });
      found.push(...extents);
      assert.ok(end > from);
      from = end;
    }
    for (const { stripe } of found)
      assert.ok(
        stripe === undefined || !this.removed.has(stripe),
        `blocks of stripe ${stripe} were removed and a file needs them`,
      );
    for (let unit = 0; unit < size; unit++) {
      const extent = found.find((extent) => extent.offset + extent.length > unitStart(unit));
      assert.equal(describe(extent, unit), units[unit], `inode ${inode}, unit ${unit}`);
    }
  }
}

function describe(extent: Extent | undefined, unit: number): string {
  const start = unitStart(unit);
  if (extent === undefined || extent.offset >= unitStart(unit + 1)) return "";
  assert.ok(
    extent.offset <= start && extent.offset + extent.length >= unitStart(unit + 1),
    `an extent at ${extent.offset} of ${extent.length} bytes covers part of unit ${unit}`,
  );
  const skipped = start - extent.offset;
  if (extent.inline !== undefined) return `inline ${extent.inline[skipped]}`;
  return extent.stripe === undefined ? "unwritten" : `${extent.stripe}+${extent.stripeOffset! + skipped}`;
}

export async function runSeed(seed: number, steps: number): Promise<void> {
  const run = new Run(seed);
  await run.open();
  await run.namespace.sync();
  for (let count = 0; count < steps; count++) {
    await run.step();
    if (run.chance(0.01)) await run.compare();
    if (run.chance(0.01)) {
      await run.powerCut();
      await run.compare();
      assert.deepEqual(await problems(run.namespace), []);
    }
  }
  await run.compare();
  assert.deepEqual(await problems(run.namespace), []);
  await run.namespace.close();
  await run.open();
  run.model.dropUnnamed();
  await run.compare();
  while (await run.namespace.tick());
  assert.deepEqual(await problems(run.namespace), []);
  assert.equal(run.namespace.status().inodes, run.model.inodes.size);
  await run.namespace.close();
  await run.log.close();
}

for (const seed of seedsOf(12)) {
  test(`the namespace does what the model does, over power cuts (seed ${seed})`, () => runSeed(seed, 600));
}

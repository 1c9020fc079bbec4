import assert from "node:assert/strict";
import test from "node:test";
import { SimulatedClock } from "../../storage/clock.ts";
import { encodeFileHeader, logFileName } from "../../storage/log-format.ts";
import { LocalLog } from "../../storage/local-log.ts";
import { LogCorrupt, type LogIndex } from "../../storage/log.ts";
import { type Random, randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { SimulatedDirectory } from "../../storage/simulated-directory.ts";
import { forEachSeed } from "../fixture/seeds.ts";

const FIRST_FILE = logFileName(1);
const text = (value: string): Buffer => Buffer.from(value, "latin1");
const at = (index: number): LogIndex => index as LogIndex;

function openLog(directory: SimulatedDirectory, fileBytes = 16 * 1024, clock = new SimulatedClock()): Promise<LocalLog> {
  return LocalLog.open(directory.view(), { clock, fileBytes });
}

async function readAll(log: LocalLog, from: number = log.first()): Promise<string[]> {
  const entries: string[] = [];
  for await (const { index, entry } of log.read(at(from))) {
    assert.equal(index, from + entries.length);
    entries.push(Buffer.from(entry).toString("latin1"));
  }
  return entries;
}

/** A log with these entries, closed or (where not) as a killed process leaves it. */
async function madeLog(entries: string[], closed: boolean, fileBytes?: number): Promise<SimulatedDirectory> {
  const directory = new SimulatedDirectory({ seed: 1 });
  const log = await openLog(directory, fileBytes);
  for (const entry of entries) {
    log.append(text(entry));
    await log.sync(log.tail());
  }
  if (closed) await log.close();
  else directory.kill();
  return directory;
}

async function refusesToOpen(directory: SimulatedDirectory, file: string, offset: number | null, pattern: RegExp): Promise<void> {
  await assert.rejects(openLog(directory), (error: LogCorrupt) => {
    assert.ok(error instanceof LogCorrupt, String(error));
    assert.equal(error.code, "ECORRUPT");
    assert.ok(error.file.endsWith(file), error.file);
    if (offset !== null) assert.equal(error.offset, offset);
    assert.match(error.message, pattern);
    return true;
  });
}

test("the bytes of a log file are these", async () => {
  const directory = await madeLog(["first", "", "third entry"], true, 4096);
  const bytes = Buffer.from(directory.contents(FIRST_FILE));
  assert.equal(bytes.length, 4096);
  assert.equal(
    bytes.subarray(0, 64).toString("hex"),
    "434149524e4c4f47" +
      "01000000" +
      "00000000" +
      "0100000000000000" +
      "0010000000000000" +
      "00".repeat(28) +
      bytes.toString("hex", 60, 64),
  );
  assert.equal(bytes.subarray(64, 64 + GOLDEN_RECORDS.length / 2).toString("hex"), GOLDEN_RECORDS);
  assert.ok(bytes.subarray(64 + GOLDEN_RECORDS.length / 2).every((byte) => byte === 0));
});

const GOLDEN_RECORDS =
  "cc1efc8d05000000010000000000000001000000010000006669727374000000" +
  "acec48c90000000002000000000000000100000001000000" +
  "327bbb340b00000003000000000000000100000001000000746869726420656e7472790000000000" +
  "4c155a1000000000030000000000000000000000020000000000000000000000";

test("entries come back in order, from any index, also after opening again", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  let log = await openLog(directory);
  assert.equal(log.tail(), 0);
  assert.equal(log.first(), 1);
  assert.deepEqual(await readAll(log), []);
  const entries = Array.from({ length: 100 }, (_, index) => `entry ${index} `.repeat(index));
  for (const entry of entries) log.append(text(entry));
  assert.ok(log.pendingBytes > 0);
  assert.deepEqual(await readAll(log), entries);
  assert.equal(log.pendingBytes, 0);
  await log.close();
  log = await openLog(directory);
  assert.equal(log.tail(), 100);
  assert.deepEqual(await readAll(log, 57), entries.slice(56));
  log.append(text("more"));
  assert.deepEqual(await readAll(log, 100), [entries[99], "more"]);
  assert.throws(() => LocalLog.prototype.append.call(log, Buffer.alloc(17 * 1024 * 1024)), /at most/);
  await log.close();
});

test("syncs that come together share one write", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  const log = await openLog(directory, 64 * 1024);
  await log.sync(log.append(text("warm")));
  const before = directory.calls;
  await Promise.all(Array.from({ length: 500 }, (_, index) => log.sync(log.append(text(`entry ${index}`)))));
  assert.equal(directory.calls - before, 2, "one write and one sync");
  await log.close();
});

test("what nobody syncs is written within milliseconds and durable within a second", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  const clock = new SimulatedClock();
  let log = await openLog(directory, undefined, clock);
  log.append(text("quiet"));
  const settled = async (): Promise<void> => {
    for (let turn = 0; turn < 50; turn++) await null;
  };
  clock.advance(5);
  await settled();
  assert.equal(log.pendingBytes, 0);
  assert.ok(Buffer.from(directory.contents(FIRST_FILE)).includes("quiet"));
  clock.advance(1000);
  await settled();
  for (let round = 0; round < 8; round++) directory.crash();
  log = await openLog(directory);
  assert.deepEqual(await readAll(log), ["quiet"]);
  await log.close();
});

test("files are of bounded size, and trim drops whole ones below the index only", async () => {
  const entries = Array.from({ length: 60 }, (_, index) => `${index}`.padEnd(500, "."));
  const directory = await madeLog(entries, true, 4096);
  const files = directory.fileNames().filter((name) => name.endsWith(".log"));
  assert.ok(files.length >= 8);
  for (const name of files) assert.ok(directory.contents(name).length <= 4096 + 64, name);
  let log = await openLog(directory, 4096);
  assert.deepEqual(await readAll(log), entries);
  await log.trim(at(30));
  assert.ok(log.first() > 20 && log.first() <= 30, String(log.first()));
  assert.deepEqual(await readAll(log), entries.slice(log.first() - 1));
  await assert.rejects(readAll(log, 1), RangeError);
  await log.trim(at(61));
  assert.equal(await readAll(log).then((left) => left.at(-1)), entries[59]);
  await log.close();
  log = await openLog(directory, 4096);
  assert.equal(log.append(text("x")), 61);
  await log.close();
});

test("an entry larger than a file gets one of its own", async () => {
  const entries = ["small", "x".repeat(100_000), "small again", "y".repeat(40_000)];
  const directory = await madeLog(entries, true, 4096);
  const log = await openLog(directory, 4096);
  assert.deepEqual(await readAll(log), entries);
  await log.close();
});

test("a sealed log takes nothing more, also after opening again", async () => {
  const directory = new SimulatedDirectory({ seed: 1 });
  let log = await openLog(directory);
  log.append(text("last"));
  assert.equal(await log.seal(), 1);
  assert.throws(() => log.append(text("late")), { code: "ESEALED" });
  await log.close();
  for (let round = 0; round < 8; round++) directory.crash();
  log = await openLog(directory);
  assert.ok(log.sealed);
  assert.throws(() => log.append(text("late")), { code: "ESEALED" });
  assert.deepEqual(await readAll(log), ["last"]);
  await log.close();
});

test("a flipped bit in any entry of a closed log is refused, naming file and offset", async () => {
  for (const [entry, offset] of [
    [0, 64],
    [1, 64 + 32],
    [2, 64 + 64],
  ]) {
    for (const byte of [0, 5, 9, 17, 21, 26]) {
      const directory = await madeLog(["aaaaaaaa", "bbbbbbbb", "cccccccc"], true);
      directory.flip(FIRST_FILE, offset + byte, 3);
      await refusesToOpen(directory, FIRST_FILE, offset, new RegExp(`entry ${entry + 1} is damaged`));
    }
  }
});

test("after a crash a damaged last entry is taken for torn and cut off, an earlier one is refused", async () => {
  let directory = await madeLog(["aaaaaaaa", "bbbbbbbb", "cccccccc"], false);
  directory.flip(FIRST_FILE, 64 + 64 + 26, 0);
  const log = await openLog(directory);
  assert.deepEqual(await readAll(log), ["aaaaaaaa", "bbbbbbbb"]);
  assert.equal(log.append(text("new")), 3);
  await log.close();
  directory = await madeLog(["aaaaaaaa", "bbbbbbbb", "cccccccc"], false);
  directory.flip(FIRST_FILE, 64 + 26, 0);
  await refusesToOpen(directory, FIRST_FILE, 64, /entry 1 is damaged.*as the record at offset/);
});

test("a file that is missing, cut, foreign, or of another version is refused", async () => {
  const entries = Array.from({ length: 30 }, (_, index) => `${index}`.padEnd(500, "."));
  const names = (directory: SimulatedDirectory): string[] => directory.fileNames().filter((name) => name.endsWith(".log"));
  let directory = await madeLog(entries, true, 4096);
  const [first, second, third] = names(directory);
  await directory.remove(second);
  await refusesToOpen(directory, third, 0, /a file is missing/);

  directory = await madeLog(entries, true, 4096);
  const last = names(directory).at(-1)!;
  await directory.remove(last);
  await refusesToOpen(directory, names(directory).at(-1)!, null, /which is missing/);

  directory = await madeLog(entries, true, 4096);
  directory.cut(last, 1000);
  await refusesToOpen(directory, last, 0, /cut to 1000 bytes, it was made with 4096/);

  directory = await madeLog(entries, true, 4096);
  directory.flip(second, 100, 1);
  await refusesToOpen(directory, second, 64, /is damaged/);

  directory = await madeLog(entries, true, 4096);
  directory.flip(first, 3, 1);
  await refusesToOpen(directory, first, 0, /does not begin as a log file/);

  directory = await madeLog(["one"], true);
  await directory.rename(first, "0000000000000fff.log");
  await refusesToOpen(directory, "0000000000000fff.log", 16, /its name/);

  directory = new SimulatedDirectory({ seed: 1 });
  const header = encodeFileHeader(1, 64);
  header.writeUInt32LE(9, 8);
  const file = await directory.open(FIRST_FILE, { create: true });
  await file.write([header], 0);
  await refusesToOpen(directory, FIRST_FILE, 0, /checksum/);
});

test("random damage to a closed log is refused, or touches nothing that was said", async () => {
  const entries = Array.from({ length: 12 }, (_, index) => `${index}`.padEnd(20 + index * 9, "."));
  let refused = 0;
  for (let seed = 0; seed < 600; seed++) {
    const random = seededRandom(seed);
    const directory = await madeLog(entries, true, 4096);
    const start = randomBelow(random, 2000);
    for (let at = start; at < start + 1 + randomBelow(random, 16); at++) directory.flip(FIRST_FILE, at, randomBelow(random, 8));
    try {
      const log = await openLog(directory);
      const found = await readAll(log);
      // Damage that takes the last entry and the mark behind it looks like a torn end.
      assert.ok(found.length >= entries.length - 1, `seed ${seed}`);
      assert.deepEqual(found, entries.slice(0, found.length), `seed ${seed}`);
      await log.close();
    } catch (error) {
      assert.ok(error instanceof LogCorrupt, `seed ${seed}: ${String(error)}`);
      refused++;
    }
  }
  assert.ok(refused > 200, String(refused));
});

test("after a failed write or sync the log has failed for good", async () => {
  for (const call of [1, 2]) {
    const directory = new SimulatedDirectory({ seed: 3 });
    const log = await openLog(directory);
    await log.sync(log.append(text("good")));
    directory.faults = [{ call: directory.calls + call, code: "EIO" }];
    const doomed = log.sync(log.append(text("doomed")));
    await assert.rejects(doomed, { code: "EIO" });
    await assert.rejects(log.sync(log.tail()), { code: "EIO" });
    assert.throws(() => log.append(text("more")), { code: "EIO" });
    await assert.rejects(log.drained(), { code: "EIO" });
    await log.close();
    directory.crash();
    const again = await openLog(directory);
    assert.equal((await readAll(again))[0], "good");
    await again.close();
  }
});

test("a full disk refuses appends until there is space, and loses nothing", async () => {
  const clock = new SimulatedClock();
  const directory = new SimulatedDirectory({ seed: 3, totalBytes: 12 * 1024 });
  const log = await openLog(directory, 4096, clock);
  const accepted: string[] = [];
  const entry = (): string => `${accepted.length}`.padEnd(500, ".");
  await assert.rejects(
    async () => {
      for (;;) {
        const index = log.append(text(entry()));
        accepted.push(entry());
        await log.sync(index);
      }
    },
    { code: "ENOSPC" },
  );
  assert.ok(accepted.length > 12);
  assert.throws(() => log.append(text("x")), { code: "ENOSPC" });
  directory.setTotalBytes(1024 * 1024);
  clock.advance(1000);
  await log.sync(log.tail());
  assert.deepEqual(await readAll(log), accepted);
  await log.sync(log.append(text("goes on")));
  await log.close();
});

/** One life of a log under random work, ended by a power cut. Returns what may and must be found afterwards. */
class Life {
  readonly #random: Random;
  readonly #directory: SimulatedDirectory;
  /** By index - 1; entries below `trimmed` may be gone. */
  entries: string[] = [];
  durable = 0;
  trimmed = 1;

  constructor(random: Random, directory: SimulatedDirectory) {
    this.#random = random;
    this.#directory = directory;
  }

  async run(steps: number): Promise<void> {
    const clock = new SimulatedClock();
    const log = await LocalLog.open(this.#directory.view(), { clock, fileBytes: 4096 << randomBelow(this.#random, 3) });
    await this.check(log);
    const pending: Promise<void>[] = [];
    for (let step = 0; step < steps; step++) {
      await this.#step(log, clock, pending);
      if (this.#random() < 0.3) await turns(randomBelow(this.#random, 12));
    }
    if (this.#random() < 0.1) await log.close().then(() => (this.durable = this.entries.length));
    this.#directory.crash();
    await Promise.all(pending);
    await log.close().catch(() => {});
  }

  async #step(log: LocalLog, clock: SimulatedClock, pending: Promise<void>[]): Promise<void> {
    const choice = this.#random();
    if (choice < 0.7) {
      const entry = `${log.tail() + 1}:${String(this.#random()).repeat(randomBelow(this.#random, 40))}`;
      log.append(text(entry));
      this.entries.push(entry);
    } else if (choice < 0.9) {
      const index = log.tail();
      const noted = log.sync(index).then(() => void (this.durable = Math.max(this.durable, index)), () => {}); // prettier-ignore
      pending.push(noted);
      if (this.#random() < 0.5) await noted;
    } else if (choice < 0.97) clock.advance(randomBelow(this.#random, 1500));
    else {
      this.trimmed = Math.max(this.trimmed, Math.max(1, this.durable - 3));
      await log.trim(at(this.trimmed));
    }
  }

  async check(log: LocalLog): Promise<void> {
    assert.ok(log.tail() >= this.durable, `entry ${this.durable} was durable, the log ends at ${log.tail()}`);
    assert.ok(log.first() <= this.trimmed, `trimmed below ${this.trimmed}, the log begins at ${log.first()}`);
    const found = await readAll(log);
    assert.deepEqual(found, this.entries.slice(log.first() - 1, log.tail()));
    this.entries.length = log.tail();
    // What was found is durable from now on: others may have seen it.
    this.durable = log.tail();
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await null;
}

test("after power cuts what was synced is there, in order, and is a prefix of what was appended", async () => {
  await forEachSeed(1500, 0, async (seed) => {
    const random = seededRandom(seed);
    const directory = new SimulatedDirectory({ seed });
    directory.delay = () => turns(randomBelow(random, 5));
    const life = new Life(random, directory);
    for (let round = 0; round < 4; round++) await life.run(randomBelow(random, 40));
    const log = await openLog(directory);
    await life.check(log);
    await log.close();
  });
});

test("whatever call fails first, with whatever code, what was synced survives and the rest is refused", async () => {
  for (const code of ["EIO", "ENOSPC"]) {
    let failures = 0;
    for (let call = 1; ; call++) {
      const directory = new SimulatedDirectory({ seed: call });
      directory.faults = [{ call, code }];
      const synced = await scenario(directory);
      if (directory.calls < call) break;
      failures++;
      directory.faults = [];
      directory.crash();
      const log = await openLog(directory, 4096);
      assert.ok(log.tail() >= synced, `call ${call}: entry ${synced} was synced, the log ends at ${log.tail()}`);
      for (const [index, entry] of (await readAll(log, log.first())).entries())
        assert.equal(Number.parseInt(entry, 10), log.first() + index);
      await log.close();
    }
    assert.ok(failures > 40, String(failures));
  }
});

/** Returns the last index whose sync() resolved. */
async function scenario(directory: SimulatedDirectory): Promise<number> {
  let synced = 0;
  try {
    const clock = new SimulatedClock();
    const log = await openLog(directory, 4096, clock);
    try {
      for (let round = 1; round <= 24; round++) {
        const index = log.append(text(`${round}`.padEnd(400, ".")));
        await log.sync(index);
        synced = index;
        if (round === 20) await log.trim(at(10));
      }
    } finally {
      await log.close();
    }
  } catch (error) {
    assert.match(String((error as { code?: string }).code), /^(EIO|ENOSPC)$/, String(error));
  }
  return synced;
}

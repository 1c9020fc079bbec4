// Files of a closed store that are damaged, cut or missing at the next start: either all is read as it was written, or
// the start is refused with a text that names the thing and says what to do. Never wrong bytes, never a stack for an answer.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test, { after, before } from "node:test";
import type { StatusReport } from "../../admin/api.ts";
import { makeStore, shell, type Store } from "../fixture/store.ts";

let original: Store;
let content: string;

before(async () => {
  original = makeStore("damage");
  content = path.join(original.directory, "content");
  fs.mkdirSync(content);
  await original.start();
  // The small file by itself: written back along with the large one, it might be packed into its stripes.
  await shell(
    `cd "${content}" && head -c 9000000 /dev/urandom > large && head -c 60000 /dev/urandom > middle && echo inline > small && mkdir many && for i in $(seq 300); do echo $i > many/$i; done; cp small "${original.mount}/" && sync "${original.mount}/small" && cp -rn . "${original.mount}/" && sync "${original.mount}/large"`,
  );
  await original.stop();
});

after(() => original.destroy());

/** A copy of the closed store, damaged, and then what comes of its start. */
async function damaged(name: string, damage: (data: string) => void | Promise<void>, check: (store: Store) => Promise<void>) {
  const store = makeStore(`damage-${name}`);
  try {
    await shell(`cp -a --sparse=always "${original.data}" "${store.data}"`);
    await damage(store.data);
    await check(store);
  } finally {
    await store.destroy();
  }
}

async function readsRight(store: Store): Promise<void> {
  await shell(`diff -r "${content}" "${store.mount}"`);
}

/** Refused with the text; or everything is there. */
async function refusedOrRight(store: Store, text: RegExp): Promise<"refused" | "right"> {
  const ran = await store.cairn("up", "--mount", store.mount, "--detach");
  if (ran.code === 0) {
    await readsRight(store);
    assert.equal((await store.cairn("down")).code, 0);
    return "right";
  }
  assert.equal(ran.code, 1, ran.stderr);
  assert.match(ran.stderr, text);
  assert.doesNotMatch(ran.stderr, /^\s+at .*:\d+:\d+/m);
  assert.ok(!fs.existsSync(store.mount) || fs.readdirSync(store.mount).length === 0);
  return "refused";
}

/** Inverts `count` bytes at `offset` (from the end where it is negative). */
function flip(file: string, offset: number, count = 1): void {
  const descriptor = fs.openSync(file, "r+");
  const at = offset < 0 ? fs.fstatSync(descriptor).size + offset : offset;
  const bytes = Buffer.alloc(count);
  fs.readSync(descriptor, bytes, 0, count, at);
  fs.writeSync(descriptor, bytes.map((byte) => ~byte), 0, count, at); // prettier-ignore
  fs.closeSync(descriptor);
}

const filesOf = (directory: string, pattern: RegExp): string[] =>
  fs.readdirSync(directory).filter((name) => pattern.test(name)).map((name) => path.join(directory, name)); // prettier-ignore
const logOf = (data: string): string => filesOf(path.join(data, "namespace/log"), /\.log$/)[0];
const table = "namespace/table";

test("a flipped byte in a record of the log is refused, naming file and offset", () =>
  damaged(
    "record",
    (data) => flip(logOf(data), 400),
    async (store) =>
      assert.equal(await refusedOrRight(store, /namespace\/log\/0+1\.log at offset \d+: [\s\S]*from a backup/), "refused"),
  ));

test("a damaged header of the log, and a log file that is shorter than it was made, are refused", async () => {
  await damaged(
    "header",
    (data) => flip(logOf(data), 20),
    async (store) => assert.equal(await refusedOrRight(store, /namespace\/log\/0+1\.log/), "refused"),
  );
  await damaged(
    "short",
    (data) => fs.truncateSync(logOf(data), 4096),
    async (store) => assert.equal(await refusedOrRight(store, /namespace\/log\/0+1\.log/), "refused"),
  );
});

test("a log that is missing is refused", () =>
  damaged(
    "no-log",
    (data) => fs.rmSync(path.join(data, "namespace/log"), { recursive: true }),
    async (store) => assert.equal(await refusedOrRight(store, /log ends at 0[\s\S]*(restore|backup)/), "refused"),
  ));

test("a torn end of the log after a kill is no damage", () =>
  damaged(
    "torn",
    () => {},
    async (store) => {
      await store.start();
      // Killed by the same shell: a second after the first record behind a rest the last one is durable, and damage of it no torn end any more.
      const work = "sleep 3; for i in 1 2 3 4 5; do echo $i > new-$i; done";
      await shell(`cd "${store.mount}" && ${work}; kill -9 ${store.process!.pid}`);
      await store.kill();
      const text = fs.readFileSync(logOf(store.data));
      let end = text.length;
      while (end > 0 && text[end - 1] === 0) end--;
      flip(logOf(store.data), end - 3, 3);
      await store.start();
      await shell(`rm -f "${store.mount}"/new-*`);
      await readsRight(store);
    },
  ));

for (const [name, damage] of [
  ["CURRENT is garbage", (data: string) => fs.writeFileSync(path.join(data, table, "CURRENT"), "nonsense\n")],
  [
    "the MANIFEST has flipped bytes",
    (data: string) => filesOf(path.join(data, table), /^MANIFEST/).forEach((file) => flip(file, 40, 60)),
  ],
  [
    "the table files have flipped bytes",
    (data: string) => filesOf(path.join(data, table), /\.sst$/).forEach((file) => flip(file, 100, 800)),
  ],
  [
    "the ends of the table files have flipped bytes",
    (data: string) => filesOf(path.join(data, table), /\.sst$/).forEach((file) => flip(file, -300, 200)),
  ],
  [
    "the table files are cut",
    (data: string) => filesOf(path.join(data, table), /\.sst$/).forEach((file) => fs.truncateSync(file, 500)),
  ],
  ["the table files are missing", (data: string) => filesOf(path.join(data, table), /\.sst$/).forEach((file) => fs.rmSync(file))],
  ["the table is missing", (data: string) => fs.rmSync(path.join(data, table), { recursive: true })],
] as const) {
  // prettier-ignore
  test(`the namespace's table: ${name}: refused with what to do, or all is there from the log`, () =>
    damaged("table", damage, async (store) => {
      const outcome = await refusedOrRight(store, /namespace\/table[\s\S]*(move .*\/namespace\/table away and start again|from a backup)/);
      if (outcome === "right" || name !== "CURRENT is garbage") return;
      // As the text says: the log of so young a store has everything.
      fs.rmSync(path.join(store.data, table), { recursive: true });
      assert.equal(await refusedOrRight(store, /^$/), "right");
    }));
}

test("damage on two disks at once: segments flipped and cut, indexes gone or damaged; all is read right, scrub mends", () =>
  damaged(
    "disks",
    (data) => {
      for (const file of filesOf(path.join(data, "disk-1/segments"), /./)) flip(file, 4200, 5000);
      for (const file of filesOf(path.join(data, "disk-2/segments"), /./)) fs.truncateSync(file, Math.floor(fs.statSync(file).size / 2)); // prettier-ignore
      fs.rmSync(path.join(data, "disk-3/index"), { recursive: true });
      fs.writeFileSync(path.join(data, "disk-4/index/CURRENT"), "nonsense\n");
      filesOf(path.join(data, "disk-5/index"), /\.sst$/).forEach((file) => flip(file, 30, 200));
      filesOf(path.join(data, "disk-6/index"), /^MANIFEST/).forEach((file) => flip(file, 20, 50));
    },
    async (store) => {
      await store.start();
      await readsRight(store);
      const scrub = await store.cairn("scrub");
      assert.equal(scrub.code, 0, scrub.stdout + scrub.stderr);
      assert.match(scrub.stdout, /[1-9]\d* repaired, 0 not repaired/);
      assert.match((await store.cairn("scrub")).stdout, /0 damaged/);
      const status = await store.json<StatusReport>("status");
      assert.equal(status.health, "healthy", status.problems.join("; "));
      assert.equal(await store.stop(), 0);
      await store.start();
      await readsRight(store);
    },
  ));

test("an identity file that is damaged or of another store fails its disk, which status says; the store goes on", () =>
  damaged(
    "identity",
    (data) => {
      fs.writeFileSync(path.join(data, "disk-1/cairn-disk.json"), "{");
      const other = { format: 1, store: "00000000-0000-4000-8000-000000000000", disk: 2 };
      fs.writeFileSync(path.join(data, "disk-2/cairn-disk.json"), JSON.stringify(other));
    },
    async (store) => {
      await store.start();
      await readsRight(store);
      const status = await store.json<StatusReport>("status");
      assert.equal(status.health, "degraded");
      assert.deepEqual(status.disks.filter((disk) => disk.state === "failed").map((disk) => disk.id), [1, 2]); // prettier-ignore
      for (const disk of status.disks.slice(0, 2)) assert.match(disk.reason ?? "", /cairn-disk\.json|belongs to store 0000/);
      assert.match(status.problems[0], /cairn disk replace 1/);
    },
  ));

test("more disks lost than the scheme survives: EIO instead of wrong bytes, and status exits with 4", () =>
  damaged(
    "three",
    (data) => {
      const newer = { ...(JSON.parse(fs.readFileSync(path.join(data, "disk-1/cairn-disk.json"), "utf8")) as object), format: 99 };
      fs.writeFileSync(path.join(data, "disk-1/cairn-disk.json"), JSON.stringify(newer));
      fs.rmSync(path.join(data, "disk-2"), { recursive: true });
      fs.writeFileSync(path.join(data, "disk-3/cairn-disk.json"), "");
    },
    async (store) => {
      await store.start();
      const ran = await shell(`cat "${store.mount}/large" 2>&1 > /dev/null || true; cat "${store.mount}/small"`);
      assert.match(ran, /Input\/output error[\s\S]*inline/);
      const status = await store.cairn("status");
      assert.equal(status.code, 4, status.stdout);
      assert.match(status.stdout, /damaged/);
      assert.match(status.stdout, /format 99|version/);
    },
  ));

// Shared mappings on two mounts. What msync(2) has acknowledged is read on both. Of a file that one mount has open for
// writing the other refuses a shared mapping (ENODEV): nobody would notice what two mounts store into one page.

import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import test, { after, before } from "node:test";
import { eventually } from "../fixture/eventually.ts";
import { lacking } from "../fixture/lacking.ts";
import { mountAgain, useTwoMounts } from "../fixture/second-mount.ts";
import { run, shell } from "../fixture/store.ts";

const PAGES = 16;
const O_DIRECT = 0o40000;
/** An answer takes milliseconds; this is a hang. */
const ANSWER_LIMIT_MS = 30_000;

const { store, one, two } = useTwoMounts("mapped", { before, after });

/** Maps the file (`access`: "w" to write, "r" to read only; opened with `flags` besides) and does what lines say: `write AT BYTE`, `sync AT LENGTH`, `mapped AT`, `read AT` (read(2)). */
const PROGRAM = `
import errno, mmap, os, sys
place, pages, access, flags = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
file = os.open(place, flags | (os.O_RDWR if access == "w" else os.O_RDONLY))
try:
    memory = mmap.mmap(file, pages * 4096, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if access == "w" else 0))
    print("ready", flush=True)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
for line in sys.stdin:
    what, *numbers = line.split()
    numbers = [int(number) for number in numbers]
    answer = "done"
    if what == "write": memory[numbers[0]] = numbers[1]
    elif what == "sync": memory.flush(*numbers)
    elif what == "mapped": answer = memory[numbers[0]]
    elif what == "read": answer = os.pread(file, 1, numbers[0])[0]
    print(answer, flush=True)
`;

class Mapping {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(file: string, access: string, flags: number) {
    const words = ["-c", PROGRAM, file, String(PAGES), access, String(flags)];
    this.#child = spawn("python3", words, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin.on("error", () => {}); // its end is told by the lines' end
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** `result`: what the mapping must come to: "ready", or the error that refuses it; then read(2) goes on. */
  static async open(file: string, { access = "w", flags = 0, result = "ready" } = {}): Promise<Mapping> {
    const mapping = new Mapping(file, access, flags);
    assert.equal(await mapping.#answer("open"), result);
    return mapping;
  }

  async ask(line: string): Promise<string> {
    this.#child.stdin.write(`${line}\n`);
    return this.#answer(line);
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }

  async #answer(what: string): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ANSWER_LIMIT_MS} ms`)), ANSWER_LIMIT_MS);
    });
    try {
      const { value, done } = await Promise.race([this.#lines.next(), late]);
      if (done) throw new Error(`${what}: the program with the mapping ended`);
      return value;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Runs with a mapping on the first mount, of a file of zeros, and one refused on the second. */
async function withMapping(name: string, action: (here: Mapping, there: Mapping) => Promise<void>): Promise<void> {
  await shell(`head -c ${PAGES * 4096} /dev/zero > ${one}/${name}`);
  const open: Mapping[] = [];
  try {
    open.push(await Mapping.open(path.join(one, name)));
    open.push(await Mapping.open(path.join(two, name), { result: "ENODEV" }));
    await action(open[0], open[1]);
  } finally {
    for (const mapping of open) mapping.close();
  }
}

test("what a mount wrote through a mapping and msynced is read by the other, and what that one writes is seen in the mapping", () =>
  withMapping("back-and-forth", async (here, there) => {
    for (let round = 1; round <= 20; round++) {
      const at = ((round * 4099) % (PAGES * 4096 - 2)) + 1;
      await here.ask(`write ${at} ${round}`);
      await here.ask(`sync 0 ${PAGES * 4096}`);
      assert.deepEqual([await there.ask(`read ${at}`), await here.ask(`read ${at}`)], [String(round), String(round)]);
      await shell(
        `printf '\\x${(100 + round).toString(16)}' | dd of=${two}/back-and-forth bs=1 seek=${at} conv=notrunc status=none`,
      );
      const seen = [await here.ask(`mapped ${at}`), await here.ask(`read ${at}`), await there.ask(`read ${at}`)];
      assert.deepEqual(seen, Array(3).fill(String(100 + round)), `round ${round}, byte ${at}`);
    }
    const checked = await store.cairn("fsck");
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  }));

test("a mapping is refused, of whatever kind, as long as the other mount has the file open for writing, and given when that is closed", async () => {
  await shell(`head -c ${PAGES * 4096} /dev/zero > ${one}/closed`);
  const writer = await Mapping.open(path.join(two, "closed"));
  const place = path.join(one, "closed");
  try {
    for (const access of ["w", "r"]) (await Mapping.open(place, { access, result: "ENODEV" })).close();
    assert.equal(await shell(`cat ${place} | wc -c`), `${PAGES * 4096}\n`);
  } finally {
    writer.close();
  }
  await eventually("the other mount is told", async () => {
    const opened = await Mapping.open(place).catch(() => null);
    opened?.close();
    return opened !== null;
  });
});

test("mounts map what nobody writes, both; one maps a file that it opens with O_DIRECT", async () => {
  await shell(`head -c ${PAGES * 4096} /dev/zero > ${one}/read`);
  const readers = await Promise.all([one, two].map((mount) => Mapping.open(path.join(mount, "read"), { access: "r" })));
  for (const reader of readers) {
    assert.equal(await reader.ask("mapped 5000"), "0");
    reader.close();
  }
  const direct = await Mapping.open(path.join(one, "read"), { flags: O_DIRECT });
  await direct.ask("write 4096 9");
  await direct.ask("sync 4096 4096");
  direct.close();
  assert.equal((await shell(`od -An -tu1 -j 4096 -N 1 ${two}/read`)).trim(), "9");
});

test("SQLite in WAL mode: a second mount is refused, and loses no row in silence", { skip: lacking("sqlite3") }, async () => {
  const insert = (mount: string, rows: number, who: string): string =>
    `{ echo .bail on; for i in $(seq ${rows}); do echo "insert into t values('${who}', $i);"; done; echo "select '${who}', count(*) from t where who = '${who}';"; } | sqlite3 -cmd '.timeout 20000' ${mount}/wal.db`;
  await shell(`sqlite3 ${one}/wal.db "pragma journal_mode=wal; create table t(who, n);"`);
  const holder = spawn("sqlite3", [path.join(one, "wal.db")], { stdio: ["pipe", "ignore", "ignore"] });
  try {
    holder.stdin.write("select count(*) from t;\n");
    await eventually("it has the file open", async () => fs.existsSync(path.join(two, "wal.db-shm")));
    assert.match(await shell(insert(one, 50, "one")), /one\|50/);
    const refused = await run("bash", ["-c", insert(two, 50, "two")]);
    assert.notEqual(refused.code, 0, refused.stdout);
    assert.match(refused.stderr, /disk I\/O error|unable to open|locking protocol|No such device/i);
    assert.equal(
      await shell(`sqlite3 ${one}/wal.db "select who, count(*) from t group by who; pragma integrity_check;"`),
      "one|50\nok\n",
    );
  } finally {
    holder.kill("SIGKILL");
  }
  await eventually("the second mount may", async () => (await run("bash", ["-c", insert(two, 1, "later")])).code === 0);
  assert.equal(await shell(`sqlite3 ${one}/wal.db "select count(*) from t;"`), "51\n");
});

test("what was msynced outlives a mount whose process is killed", async () => {
  const third = await mountAgain(store, "third");
  await shell(`head -c ${PAGES * 4096} /dev/zero > ${one}/killed`);
  const mapping = await Mapping.open(path.join(third.path, "killed"));
  try {
    await mapping.ask("write 5000 77");
    await mapping.ask("sync 4096 4096");
    process.kill(third.pid, "SIGKILL");
    await shell(`test "$(dd if=${one}/killed bs=1 skip=5000 count=1 status=none | od -An -tu1 | tr -d ' ')" = 77`);
  } finally {
    mapping.close();
    await shell(`umount -l ${third.path}`);
  }
});

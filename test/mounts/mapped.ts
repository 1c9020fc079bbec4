// Shared writable mappings of one file, on two mounts at once. What msync(2) has acknowledged is there, on both.

import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import test, { after, before } from "node:test";
import { mountAgain, useTwoMounts } from "../fixture/second-mount.ts";
import { shell } from "../fixture/store.ts";

const PAGES = 16;
/** An answer takes milliseconds; this is a hang. */
const ANSWER_LIMIT_MS = 30_000;

const { store, one, two } = useTwoMounts("mapped", { before, after });

/** Maps the file and does what lines say: `write AT BYTE`, `sync AT LENGTH`, `mapped AT`, `read AT` (read(2)), `work SIDE SECONDS`. */
const PROGRAM = `
import mmap, os, struct, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
pages = int(sys.argv[2])
memory = mmap.mmap(file, pages * 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
def work(side, seconds):
    "Counts in its own pages (every other one), each count msynced; looks into the other's."
    own = [page for page in range(pages) if page % 2 == side]
    others = [page for page in range(pages) if page % 2 != side]
    synced, seen, back, number, end = {}, {page: 0 for page in others}, 0, 0, time.time() + seconds
    while time.time() < end:
        number += 1
        page = own[number % len(own)]
        for at in (0, 4088): struct.pack_into("<Q", memory, page * 4096 + at, number)
        memory.flush(page * 4096, 4096)
        synced[page] = number
        other = others[number % len(others)]
        value = struct.unpack_from("<Q", memory, other * 4096)[0]
        if value < seen[other]: back += 1
        seen[other] = value
    return "%d %d %s" % (back, max(seen.values()), ",".join("%d:%d" % pair for pair in synced.items()))
print("ready", flush=True)
for line in sys.stdin:
    what, *numbers = line.split()
    numbers = [int(number) for number in numbers]
    answer = "done"
    if what == "write": memory[numbers[0]] = numbers[1]
    elif what == "sync": memory.flush(*numbers)
    elif what == "mapped": answer = memory[numbers[0]]
    elif what == "read": answer = os.pread(file, 1, numbers[0])[0]
    elif what == "work": answer = work(*numbers)
    print(answer, flush=True)
`;

class Mapping {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  private constructor(file: string) {
    this.#child = spawn("python3", ["-c", PROGRAM, file, String(PAGES)], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin.on("error", () => {}); // its end is told by the lines' end
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  static async open(file: string): Promise<Mapping> {
    const mapping = new Mapping(file);
    assert.equal(await mapping.#answer("open"), "ready");
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

/** Runs with a mapping on each of the mounts, of one file of zeros. */
async function withMappings(name: string, action: (here: Mapping, there: Mapping) => Promise<void>): Promise<void> {
  await shell(`head -c ${PAGES * 4096} /dev/zero > ${one}/${name}`);
  const open: Mapping[] = [];
  try {
    for (const mount of [one, two]) open.push(await Mapping.open(path.join(mount, name)));
    await action(open[0], open[1]);
  } finally {
    for (const mapping of open) mapping.close();
  }
}

test("what one mount wrote through a mapping and msynced is read by the other, by read(2) and in its mapping, and back", () =>
  withMappings("back-and-forth", async (here, there) => {
    for (let round = 1; round <= 20; round++) {
      for (const [writer, reader, value] of [
        [here, there, 2 * round],
        [there, here, 2 * round + 1],
      ] as const) {
        const at = ((round * 4099) % (PAGES * 4096 - 2)) + 1;
        await writer.ask(`write ${at} ${value}`);
        await writer.ask(`sync 0 ${PAGES * 4096}`);
        const seen = [await reader.ask(`read ${at}`), await reader.ask(`mapped ${at}`), await writer.ask(`read ${at}`)];
        assert.deepEqual(seen, [String(value), String(value), String(value)], `round ${round}, byte ${at}`);
      }
    }
  }));

test("what one mount wrote by write(2) is seen in the other's mapping, also where that page had been written through the mapping", () =>
  withMappings("mixed", async (here, there) => {
    for (let round = 1; round <= 10; round++) {
      await there.ask(`write ${4096 + round} ${round}`);
      await there.ask(`sync 4096 4096`);
      await shell(
        `printf '\\x${(100 + round).toString(16)}' | dd of=${one}/mixed bs=1 seek=${4196 + round} conv=notrunc status=none`,
      );
      assert.equal(await there.ask(`mapped ${4196 + round}`), String(100 + round));
      assert.equal(await here.ask(`mapped ${4096 + round}`), String(round));
    }
  }));

test("both msync other pages of one file at once: none waits for the other for ever, nothing acknowledged is lost", () =>
  withMappings("both", async (here, there) => {
    const reports = await Promise.all([here.ask("work 0 4"), there.ask("work 1 4")]);
    const synced = new Map<number, number>();
    for (const [side, report] of reports.entries()) {
      const [back, newest, pages] = report.split(" ");
      assert.equal(back, "0", `mount ${side} saw a count go back`);
      assert.ok(Number(newest) > 0, `mount ${side} saw nothing of the other`);
      for (const pair of pages.split(",")) synced.set(...(pair.split(":").map(Number) as [number, number]));
    }
    assert.equal(synced.size, PAGES, "each page was written");
    for (const mount of [one, two]) {
      const bytes = Buffer.from(await shell(`base64 -w0 ${mount}/both`), "base64");
      for (const [page, count] of synced) {
        const found = [bytes.readUInt32LE(page * 4096), bytes.readUInt32LE(page * 4096 + 4088)];
        assert.deepEqual(found, [count, count], `page ${page} on ${mount}`);
      }
    }
    const checked = await store.cairn("fsck");
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
  }));

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

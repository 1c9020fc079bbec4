// The second mount's process is stopped (SIGSTOP) under load. The other mount is delayed at most by the session's time limit;
// continued, the stopped one overwrites nothing with what it held. Only a call that hung in it may still be carried out: its
// program was never told that it was over.

import fs from "node:fs/promises";
import path from "node:path";
import { run, shell } from "../../test/fixture/store.ts";
import { dropMount, mountAgain } from "../../test/fixture/second-mount.ts";
import { type Figures, longest, type Part, type PartContext } from "./part.ts";
import { readRecord, versionsIn, writeRecord } from "./records.ts";
import type { Work } from "./work.ts";

/** Held: written and acknowledged by the mount, then left alone. Busy: being written when it is stopped. */
const HELD = Array.from({ length: 8 }, (_, index) => `held-${index}`);
const BUSY = Array.from({ length: 4 }, (_, index) => `busy-${index}`);
/** What the other mount writes has these versions. */
const TAKEN_FROM = 1_000_000_000;
const LOAD_MS = 2000;
const AFTER_MS = 3000;
const ROUNDS = 2;
const RECORDS = 4;

interface Place {
  directory: string;
}

const withFile = async <T>(file: string, flags: string, action: (handle: fs.FileHandle) => Promise<T>): Promise<T> => {
  const handle = await fs.open(file, flags);
  try {
    return await action(handle);
  } finally {
    await handle.close();
  }
};

async function writeAll(file: string, flags: string, version: number, work: Work): Promise<void> {
  await work.timed(`write of ${file}`, () =>
    withFile(file, flags, async (handle) => {
      for (let record = 0; record < RECORDS; record++) await writeRecord(handle, record, version);
    }),
  );
}

/** The write that hung in the stopped mount. */
interface Hung {
  name: string;
  record: number;
  version: number;
}

interface Loaded {
  errors: string[];
  hung: Hung[];
  versions: number;
}

/** Overwrites, creates, renames until it is stopped; then, with its mount continued, what it gets is told as errors. */
export async function stoppedLoadProgram({ directory }: Place, work: Work): Promise<Loaded> {
  const loaded: Loaded = { errors: [], hung: [], versions: 0 };
  const lanes = BUSY.map(async (name, lane) => {
    try {
      for (let version = 1; !work.ended; version++) {
        await withFile(path.join(directory, name), version === 1 ? "w" : "r+", async (handle) => {
          for (let record = 0; record < RECORDS && !work.ended; record++) {
            const hung = { name, record, version };
            loaded.hung.push(hung);
            await writeRecord(handle, record, version);
            if (!work.ended) loaded.hung.splice(loaded.hung.indexOf(hung), 1);
          }
        });
        if (work.ended) break;
        const made = path.join(directory, `made-${lane}-${version % 50}`);
        await fs.writeFile(made, "x");
        await fs.rename(made, `${made}-renamed`);
        loaded.versions++;
      }
    } catch (error) {
      loaded.errors.push((error as NodeJS.ErrnoException).code ?? String(error));
    }
  });
  await Promise.all(lanes);
  return loaded;
}

export async function holdProgram({ directory }: Place, work: Work): Promise<object> {
  for (const name of HELD) await writeAll(path.join(directory, name), "r+", 2, work);
  return {};
}

/** What the other mount does meanwhile: overwrites all of it, and works elsewhere at the same time. */
export async function takeOverProgram({ directory }: Place, work: Work): Promise<{ elsewhereMs: number }> {
  const elsewhere = path.join(path.dirname(directory), "elsewhere");
  let elsewhereMs = 0;
  const others = async (): Promise<void> => {
    for (let count = 0; !work.ended; count++) {
      const begin = performance.now();
      await work.timed("create, sync and unlink elsewhere", async () => {
        const file = path.join(elsewhere, String(count));
        await withFile(file, "w", async (handle) => (await handle.write("x"), await handle.sync()));
        await fs.unlink(file);
      });
      elsewhereMs = Math.max(elsewhereMs, performance.now() - begin);
    }
  };
  const over = async (): Promise<void> => {
    await Promise.all(
      [...HELD, ...BUSY].map((name, index) => writeAll(path.join(directory, name), "r+", TAKEN_FROM + index, work)),
    );
    const made = path.join(directory, "made-by-the-other");
    await work.timed("create", () => fs.writeFile(made, "x"));
    await work.timed("list", () => fs.readdir(directory));
    await checkStoppedProgram({ directory, hung: [] }, work);
    work.ended = true;
  };
  await work.timed("mkdir", () => fs.mkdir(elsewhere, { recursive: true }));
  await work.lanes([over, others]);
  return { elsewhereMs };
}

export async function checkStoppedProgram(
  { directory, hung }: Place & { hung: Hung[] },
  work: Work,
): Promise<{ carriedOut: number }> {
  let carriedOut = 0;
  for (const [index, name] of [...HELD, ...BUSY].entries()) {
    const expected = TAKEN_FROM + index;
    await withFile(path.join(directory, name), "r", async (handle) => {
      for (let record = 0; record < RECORDS; record++) {
        const { min, max } = versionsIn(record, await readRecord(handle, record));
        if (min === expected && max === expected) continue;
        const write = hung.find((write) => write.name === name && write.record === record);
        if (min === write?.version && (max === expected || max === min)) carriedOut++;
        else
          work.violation(
            `${name}, record ${record}, has versions ${min} to ${max}; it must be ${expected}, written by the other`,
          );
      }
    });
  }
  return { carriedOut };
}

async function round(context: PartContext, number: number): Promise<Figures> {
  const { store, one, second, start, violation } = context;
  const third = await mountAgain(store, `stopped-${number}`);
  try {
    const [ours, theirs] = [one, third.path].map((mount) => path.join(mount, `stopped-${number}`));
    await shell(`mkdir ${ours}; for name in ${HELD.join(" ")}; do : > ${theirs}/$name; done`);
    const load = start<Loaded>("load of the stopped mount", { directory: theirs }, 60);
    await new Promise((resolve) => setTimeout(resolve, LOAD_MS));
    await start("hold", { directory: theirs }).result;
    process.kill(third.pid, "SIGSTOP");
    load.stop();
    const taken = await start<{ elsewhereMs: number }>("take over", { directory: ours }).result;
    process.kill(third.pid, "SIGCONT");
    const loaded = await load.result;
    await new Promise((resolve) => setTimeout(resolve, AFTER_MS));
    // What it may still hold would come with this, and must not.
    await run("/bin/sh", ["-c", `sync ${theirs}/${HELD[0]}; ls ${theirs}`], { timeoutMs: 20_000 });
    if (loaded?.versions === 0) violation("the load wrote nothing before its mount was stopped");
    let carriedOut = 0;
    for (const mount of [one, second.path]) {
      const parameters = { directory: path.join(mount, `stopped-${number}`), hung: loaded?.hung ?? [] };
      carriedOut = (await start<{ carriedOut: number }>("check after the stop", parameters).result)?.carriedOut ?? -1;
    }
    const delay = longest([taken]);
    return {
      [`delay ${number}, ms`]: delay["longest operation, ms"],
      [`delay elsewhere ${number}, ms`]: Math.round(taken?.elsewhereMs ?? -1),
      [`writes that hung and were carried out ${number}`]: carriedOut,
      [`errors of the stopped mount ${number}`]: loaded?.errors.join(" ") || "none",
    };
  } finally {
    await dropMount(third);
  }
}

export const stoppedPart: Part = {
  name: "stopped",
  about: "the second mount is stopped under load, and continued",
  endsSessions: true,
  async run(context) {
    let figures: Figures = {};
    for (let number = 1; number <= ROUNDS; number++) figures = { ...figures, ...(await round(context, number)) };
    return figures;
  },
};

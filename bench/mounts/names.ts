// Both mounts create, link, rename and unlink in one directory. Each side keeps its ledger of names that it owns: its private
// ones, and of the names that both want those that it got first. What a side owns must be there and what it removed must not,
// for its own listings all the time and for those of both mounts at the end.

import fs from "node:fs/promises";
import path from "node:path";
import { randomBelow, seededRandom } from "../../storage/seeded-random.ts";
import { shell } from "../../test/fixture/store.ts";
import { longest, type Part } from "./part.ts";
import { isErrno, type Work } from "./work.ts";

const LANES = 3;
const PRIVATE_NAMES = 60;
/** Few, so that both often want the same. */
const SHARED_NAMES = 40;
const LIST_SHARE = 0.01;

interface NamesParameters {
  directory: string;
  side: number;
  seconds: number;
}

class Ledger {
  readonly owned = new Set<string>();
  /** When each name last began or ended to change, as a count. */
  readonly #changed = new Map<string, number>();
  #count = 0;
  readonly #work: Work;
  readonly directory: string;

  constructor(directory: string, work: Work) {
    this.directory = directory;
    this.#work = work;
  }

  path(name: string): string {
    return path.join(this.directory, name);
  }

  /** Runs an operation that changes names; while it does, they are neither owned nor free for `list`. */
  async change(what: string, names: readonly string[], action: () => Promise<unknown>): Promise<void> {
    for (const name of names) this.#changed.set(name, Infinity);
    await this.#work.timed(`${what} ${names.join(" ")} in ${this.directory}`, action);
    for (const name of names) this.#changed.set(name, ++this.#count);
  }

  /** Takes a name that both sides want; false where the other has it. */
  async claim(what: string, name: string, action: () => Promise<unknown>): Promise<boolean> {
    try {
      await this.change(what, [name], action);
    } catch (error) {
      this.#changed.set(name, ++this.#count);
      if (isErrno(error, "EEXIST")) return false;
      throw error;
    }
    this.owned.add(name);
    return true;
  }

  async list(): Promise<void> {
    const before = this.#count;
    const unchanged = (name: string): boolean => (this.#changed.get(name) ?? 0) <= before;
    const names = [...this.owned].filter(unchanged);
    const removed = [...this.#changed.keys()].filter(
      (name) => !this.owned.has(name) && !name.startsWith("shared") && unchanged(name),
    );
    const listed = new Set(await this.#work.timed(`list ${this.directory}`, () => fs.readdir(this.directory)));
    for (const name of names)
      if (unchanged(name) && !listed.has(name)) this.#work.violation(`a listing of ${this.directory} lacks ${name}`);
    for (const name of removed)
      if (unchanged(name) && listed.has(name)) this.#work.violation(`a listing of ${this.directory} has ${name}, removed before`);
  }
}

async function create(file: string, bytes: number): Promise<void> {
  const handle = await fs.open(file, "wx");
  try {
    if (bytes > 0) await handle.write(Buffer.alloc(bytes, 65));
  } finally {
    await handle.close();
  }
}

/** One lane changes only names that it owns, and tries to claim shared ones. */
async function lane({ side }: NamesParameters, number: number, ledger: Ledger, work: Work): Promise<void> {
  const random = seededRandom(side * LANES + number);
  /** Name and file: rename(2) does nothing between two links of one file. */
  const mine = new Map<string, number>();
  let files = 0;
  const privateName = (): string => `side-${side}-${number}-${randomBelow(random, PRIVATE_NAMES)}`;
  const ownName = (): string | undefined => [...mine.keys()][randomBelow(random, Math.max(1, mine.size))];
  const remove = async (name: string): Promise<void> => {
    await ledger.change("unlink", [name], () => fs.unlink(ledger.path(name)));
    ledger.owned.delete(name);
    mine.delete(name);
  };
  while (!work.ended) {
    const choice = random();
    const own = ownName();
    const target = privateName();
    const shared = `shared-${randomBelow(random, SHARED_NAMES)}`;
    if (choice < LIST_SHARE) await ledger.list();
    else if (choice < 0.3 || own === undefined) {
      if (mine.has(target)) await remove(target);
      else {
        await ledger.change("create", [target], () => create(ledger.path(target), randomBelow(random, 3) * 50));
        mine.set(target, ++files);
        ledger.owned.add(target);
      }
    } else if (choice < 0.55) {
      if (mine.get(own) === mine.get(target)) continue;
      await ledger.change("rename", [own, target], () => fs.rename(ledger.path(own), ledger.path(target)));
      ledger.owned.delete(own);
      ledger.owned.add(target);
      mine.set(target, mine.get(own)!);
      mine.delete(own);
    } else if (choice < 0.75) await remove(own);
    else if (ledger.owned.has(shared)) {
      if (mine.has(shared)) await remove(shared);
    } else if (choice < 0.87) {
      if (await ledger.claim("create", shared, () => create(ledger.path(shared), 0))) mine.set(shared, ++files);
    } else if (choice < 0.93) {
      if (await ledger.claim("link", shared, () => fs.link(ledger.path(own), ledger.path(shared))))
        mine.set(shared, mine.get(own)!);
    } else await work.timed(`stat ${own}`, () => fs.stat(ledger.path(own)));
  }
}

export async function namesProgram(parameters: NamesParameters, work: Work): Promise<{ owned: string[] }> {
  const ledger = new Ledger(parameters.directory, work);
  work.endAfter(parameters.seconds);
  await work.lanes(Array.from({ length: LANES }, (_, number) => () => lane(parameters, number, ledger, work)));
  return { owned: [...ledger.owned] };
}

export async function listProgram({ directory }: { directory: string }, work: Work): Promise<{ names: string[] }> {
  const names = await work.timed(`list ${directory}`, () => fs.readdir(directory));
  for (const name of names) await work.timed(`stat ${name} in ${directory}`, () => fs.stat(path.join(directory, name)));
  return { names };
}

function difference(left: readonly string[], right: readonly string[]): string {
  const others = new Set(right);
  return left.filter((name) => !others.has(name)).join(" ") || "none";
}

export const namesPart: Part = {
  name: "names",
  about: "both create, link, rename and unlink in one directory",
  async run({ one, second, seconds, violation, start }) {
    const directories = [one, second.path].map((mount) => path.join(mount, "busy"));
    await shell(`mkdir ${directories[0]}`);
    const running = directories.map((directory, side) =>
      start<{ owned: string[] }>("names", { directory, side, seconds } satisfies NamesParameters, seconds),
    );
    const reports = await Promise.all(running.map(({ result }) => result));
    const owned = reports.flatMap((report) => report?.owned ?? []).sort();
    if (new Set(owned).size !== owned.length) violation("both sides own the same name");
    for (const directory of directories) {
      const listed = await start<{ names: string[] }>("list", { directory }).result;
      if (listed === null || reports.includes(null)) continue;
      if (listed.names.sort().join("/") !== owned.join("/"))
        violation(
          `${directory} lacks ${difference(owned, listed.names)}, has besides ${difference(listed.names, owned)}; ${listed.names.length} names, ${owned.length} owned`,
        );
    }
    return { ...longest(reports), "names at the end": owned.length };
  },
};

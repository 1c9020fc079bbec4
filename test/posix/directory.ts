// A directory of a mounted filesystem as a target for the case table: each case gets an empty directory of its own.
import { execFile } from "node:child_process";
import { chmod, mkdir } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { Probe, compileProbe } from "./probe.ts";
import type { CaseRoom, Target } from "./run-case.ts";
import { PEOPLE } from "./script.ts";

const execute = promisify(execFile);

/** What every mounted filesystem under test offers, beside what `directoryTarget` is told. */
const ALWAYS = ["kernel"];

class Room implements CaseRoom {
  readonly #program: string;
  readonly #directory: string;

  constructor(program: string, directory: string) {
    this.#program = program;
    this.#directory = directory;
  }

  async process(name: string): Promise<Probe> {
    const probe = new Probe(this.#program, this.#directory);
    if (name in PEOPLE) {
      const [reply] = await probe.perform(["identity", ...PEOPLE[name]]);
      if (reply !== "ok") throw new Error(`become ${name}: ${reply}`);
    }
    return probe;
  }

  async end(): Promise<void> {
    await execute("rm", ["-rf", this.#directory], { timeout: 60_000 });
  }
}

/** Cases run below `directory`, which must be reachable by every user. `offers`: what this filesystem can do beside the ordinary. */
export function directoryTarget(root: string, directory: string, offers: readonly string[]): Target {
  const program = compileProbe(root);
  const rights = process.getuid?.() === 0 ? ["root"] : [];
  let count = 0;
  return {
    offers: new Set([...ALWAYS, ...rights, ...offers]),
    async begin() {
      const own = path.join(directory, `case-${process.pid}-${++count}`);
      await mkdir(own);
      await chmod(own, 0o755);
      return new Room(program, own);
    },
  };
}

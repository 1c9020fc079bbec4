// One program of a run: a process on a mount of the store, and its twin that does the same on ext4.

import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Probe } from "../posix/probe.ts";
import { PEOPLE } from "../posix/script.ts";
import type { MountName, Rig } from "./rig.ts";

/** A request to a mount is answered within 120 s; a command that takes longer than this hangs. */
const ANSWER_LIMIT_MS = 240_000;
const END_LIMIT_MS = 10_000;

/** MOUNT-NUMBER, or MOUNT-PERSON for another user. */
export const PROGRAM_NAME = new RegExp(`^(one|two)-(\\d|${Object.keys(PEOPLE).join("|")})$`);

export interface Replies {
  store: string[];
  reference: string[];
}

/** A program that did not answer, or died. */
export class NoAnswer extends Error {}

async function within<T>(answer: Promise<T>, limitMs: number, what: string): Promise<T> {
  const timer = new AbortController();
  const late = delay(limitMs, null, { signal: timer.signal }).then(
    () => Promise.reject(new NoAnswer(`${what}: no answer within ${limitMs / 1000} s`)),
    () => answer,
  );
  try {
    return await Promise.race([answer, late]);
  } finally {
    timer.abort();
  }
}

/** One process with its working directory, as the user whom `person` names (PEOPLE), else as this one. */
async function begin(program: string, directory: string, person: string): Promise<Probe> {
  const probe = new Probe(program, directory);
  if (person in PEOPLE) {
    const [reply] = await within(probe.perform(["identity", ...PEOPLE[person]]), ANSWER_LIMIT_MS, `become ${person}`);
    if (reply !== "ok") throw new NoAnswer(`become ${person}: ${reply}`);
  }
  return probe;
}

async function perform(probe: Probe, words: string[], where: string): Promise<string[]> {
  const answer = probe.perform(words).catch((error: Error) => Promise.reject(new NoAnswer(`${where}: ${error.message}`)));
  return within(answer, ANSWER_LIMIT_MS, where);
}

export class Twin {
  readonly mount: MountName;
  readonly #store: Probe;
  readonly #reference: Probe;

  private constructor(mount: MountName, store: Probe, reference: Probe) {
    this.mount = mount;
    this.#store = store;
    this.#reference = reference;
  }

  /** `name`: as PROGRAM_NAME has it. `directory`: of the run, below each mount and the reference. */
  static async begin(rig: Rig, program: string, directory: string, name: string): Promise<Twin> {
    const [mount, person] = name.split("-") as [MountName, string];
    const store = await begin(program, path.join(rig.mount(mount), directory), person);
    return new Twin(mount, store, await begin(program, path.join(rig.reference, directory), person));
  }

  async perform(words: string[]): Promise<Replies> {
    const [store, reference] = await Promise.all([this.performStore(words), this.performReference(words)]);
    return { store, reference };
  }

  performStore(words: string[]): Promise<string[]> {
    return perform(this.#store, words, `mount ${this.mount}`);
  }

  performReference(words: string[]): Promise<string[]> {
    return perform(this.#reference, words, "ext4");
  }

  /** Ends both as SIGKILL does. One that hangs in the kernel ends when its mount does. */
  async kill(): Promise<void> {
    await Promise.race([Promise.all([this.#store.kill(), this.#reference.kill()]), delay(END_LIMIT_MS, null, { ref: false })]);
  }
}

// Carries the steps of one run out, on a store and on ext4, and compares. A step is a line of the case table's language
// (test/posix/README.md) without an expectation:
//
//   one-1: open x d0/f RDWR|CREAT 644      a program on mount one, and its twin on ext4
//   two-2: appends 20000 4 7 x y &         goes on at once; a step without & waits for all that came before
//   store: kill-daemon                     about the store itself, see STORE_COMMANDS
//   reference: chmod f0 600                on ext4 alone: plants a difference

import { setTimeout as delay } from "node:timers/promises";
import { Probe } from "../posix/probe.ts";
import { fillIn, parseStep, type Step } from "../posix/script.ts";
import { compareTimes, type KnownTimes } from "./compare-times.ts";
import { compareTrees } from "./compare-trees.ts";
import { exceptionFor } from "./exceptions.ts";
import { type MountName, type Rig, StoreFailure } from "./rig.ts";
import { NoAnswer, PROGRAM_NAME, type Replies, Twin } from "./twin.ts";

/** Reply words shown of one that differs. */
const SHOWN_CHARACTERS = 400;
/** Changes that come after a look at times get later ones, whatever the clock's step. */
const TIMES_PAUSE_MS = 5;

/** An errno's name, a fault, or what is not open. */
const REFUSED = /^(E[A-Z0-9]{2,}|SIGBUS|script-error)$/;

/** Where the store and ext4 do not agree. */
export interface Difference {
  /** Index of the step after which it showed. */
  readonly step: number;
  readonly text: string;
  /** The store may not be usable afterwards. */
  readonly severe: boolean;
}

class Disagreement extends Error {}

interface Place {
  readonly rig: Rig;
  /** The probe's program. */
  readonly program: string;
  /** The run's directory, below each mount and the reference. */
  readonly directory: string;
}

type StoreCommand = (run: Run, words: readonly string[]) => Promise<void>;

/** What may be done to the store between steps. */
export const STORE_COMMANDS: Record<string, StoreCommand> = {
  /** `cairn down` and `cairn up`: programs on mount one end before. */
  restart: (run) => run.betweenLives("one", () => run.place.rig.restart()),
  /** kill -9. What programs on mount one wrote is synced before; programs on mount two go on. */
  "kill-daemon": (run) =>
    run.betweenLives("one", async () => {
      await run.place.rig.killDaemon();
      await run.place.rig.startDaemon();
    }),
  "kill-mount": (run) => run.betweenLives("two", () => run.place.rig.killMount()),
  remount: (run) => run.betweenLives("two", () => run.place.rig.remount()),
  "drop-names": (run) => run.place.rig.dropNames(),
  /** stall MOUNT MS: its process is stopped for so long. */
  stall: (run, [mount, timeMs]) => run.place.rig.stall(mount as MountName, Number(timeMs)),
  compare: (run) => run.compare(),
};

/** What is wrong with a step that somebody wrote, or null. */
export function problemOf(text: string): string | null {
  let step: Step;
  try {
    step = parseStep(text, 0);
    for (const word of step.words) fillIn(word, new Map());
  } catch (error) {
    return (error as Error).message;
  }
  if (step.words.length === 0) return `"${text}" has no command`;
  if (step.process === "reference" || PROGRAM_NAME.test(step.process)) return null;
  if (step.process !== "store")
    return `"${text}": "${step.process}" is no program; it must be one-1, two-alice or alike, store or reference`;
  return step.words[0] in STORE_COMMANDS
    ? null
    : `"${text}": "${step.words[0]}" is none of ${Object.keys(STORE_COMMANDS).join(", ")}`;
}

export class Run {
  readonly place: Place;
  readonly #twins = new Map<string, Promise<Twin>>();
  readonly #times: KnownTimes = new Map();
  #outstanding: { mount: MountName; done: Promise<void> }[] = [];
  #problem: Error | null = null;
  #operations = 0;
  #refused = 0;

  constructor(place: Place) {
    this.place = place;
  }

  get operations(): number {
    return this.#operations;
  }

  /** Operations that both sides refused. */
  get refused(): number {
    return this.#refused;
  }

  /** Carries out the steps until one shows a difference. null: none did. `onStep` may throw to end the run. */
  async steps(texts: readonly string[], onStep: () => void = () => {}): Promise<Difference | null> {
    let index = 0;
    try {
      for (const [at, text] of texts.entries()) {
        index = at;
        onStep();
        await this.#step(parseStep(text, at + 1));
      }
      await this.settled();
      await this.compare();
      return null;
    } catch (error) {
      if (error instanceof Disagreement) return { step: index, text: error.message, severe: false };
      if (error instanceof NoAnswer || error instanceof StoreFailure)
        return { step: index, text: `${error.message}\n${this.place.rig.output}`.trim(), severe: true };
      throw error;
    } finally {
      await this.#end([...this.#twins.keys()]);
    }
  }

  async #step(step: Step): Promise<void> {
    const words = step.words.map((word) => fillIn(word, new Map()));
    if (step.process === "store") {
      return STORE_COMMANDS[words[0]](this, words.slice(1));
    }
    if (!step.background) await this.settled();
    this.#operations++;
    if (step.process === "reference") return void (await (await this.#twin("one-1")).performReference(words));
    const twin = await this.#twin(step.process);
    const done = this.#perform(twin, step, words);
    if (!step.background) return done;
    const kept = done.catch((error: Error) => void (this.#problem ??= error));
    this.#outstanding.push({ mount: twin.mount, done: kept });
  }

  #twin(name: string): Promise<Twin> {
    let twin = this.#twins.get(name);
    if (!twin) {
      const { rig, program, directory } = this.place;
      this.#twins.set(name, (twin = Twin.begin(rig, program, directory, name)));
    }
    return twin;
  }

  async #perform(twin: Twin, step: Step, words: string[]): Promise<void> {
    const replies = await twin.perform(words).catch((error: Error) => {
      throw error instanceof NoAnswer ? new NoAnswer(`${step.text}: ${error.message}`) : error;
    });
    if (words[0] === "setacl") this.#times.clear(); // see exceptions.ts
    if (words[0] === "times") {
      const problem = compareTimes(this.#times, words[1], replies);
      if (problem) throw new Disagreement(`${step.text}: ${problem}`);
      return delay(TIMES_PAUSE_MS);
    }
    if (replies.store.join(" ") === replies.reference.join(" ")) {
      if (REFUSED.test(replies.store[0])) this.#refused++;
      return;
    }
    const exception = exceptionFor(words, replies);
    if (!exception) throw new Disagreement(describe(step, replies));
    const { store, reference } = exception.settle?.(words) ?? {};
    if (store) await twin.performStore(store);
    if (reference) await twin.performReference(reference);
  }

  /** Resolves when all steps are done that went on in the background. */
  async settled(mount?: MountName): Promise<void> {
    const awaited = this.#outstanding.filter((step) => mount === undefined || step.mount === mount);
    this.#outstanding = this.#outstanding.filter((step) => !awaited.includes(step));
    await Promise.all(awaited.map((step) => step.done));
    if (this.#problem) throw this.#problem;
  }

  /** What programs of this mount did is synced, they end, `action` does something to the mount. Others go on meanwhile. */
  async betweenLives(mount: MountName, action: () => Promise<void>): Promise<void> {
    await this.settled(mount);
    const names = [...this.#twins.keys()].filter((name) => name.startsWith(`${mount}-`));
    const programs = new Set([...names, `${mount}-1`]);
    for (const name of programs) {
      const step = parseStep(`${name}: sync-all .`, 0);
      await this.#perform(await this.#twin(name), step, step.words);
    }
    await this.#end([...programs]);
    await action();
  }

  async #end(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const twin = this.#twins.get(name);
      this.#twins.delete(name);
      await twin?.then(
        (begun) => begun.kill(),
        () => {},
      );
    }
  }

  /** Both mounts must show what ext4 shows. */
  async compare(): Promise<void> {
    await this.settled();
    const problem = await compareTrees(this.place, (program, directory) => new Probe(program, directory));
    if (problem) throw new Disagreement(problem);
  }
}

function shown(words: readonly string[]): string {
  const text = words.join(" ");
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}... (${text.length} characters)` : text;
}

function describe(step: Step, { store, reference }: Replies): string {
  const text = step.text.length > SHOWN_CHARACTERS ? `${step.text.slice(0, SHOWN_CHARACTERS)}...` : step.text;
  // Long lists are shown by what is in one of them only.
  const [more, fewer] = [store.filter((word) => !reference.includes(word)), reference.filter((word) => !store.includes(word))];
  const long = store.length > 20 || reference.length > 20;
  if (long) return `${text}: only here: ${shown(more)}; only ext4: ${shown(fewer)}`;
  return `${text}: gave ${shown(store)}, ext4 gave ${shown(reference)}`;
}

// What a run consists of, made from a seed ahead of time: rounds of steps. A step is a kind and a few numbers that it
// interprets by the state that it meets, so that steps can be left out when a failing run is made smaller.

import { randomBelow, type Random, seededRandom } from "../../storage/seeded-random.ts";

export interface Step {
  /** Makes its data, and the schedule of its round, its own. */
  id: number;
  mount: number;
  kind: string;
  numbers: readonly number[];
  delayMs: number;
}

export interface Round {
  id: number;
  /** Begun together if more than one. */
  steps: Step[];
  /** The power goes so long after the round began, if it is not over. */
  cutAfterMs?: number;
}

/** How often each kind comes, of a thousand. */
const WEIGHTS: Record<string, number> = {
  open: 85, openAppend: 25, close: 25, write: 160, append: 60, read: 160, truncate: 35, punch: 15, zero: 10, allocate: 8, copy: 20, sync: 30,
  makeDirectory: 30, symlink: 15, link: 20, unlink: 45, removeDirectory: 15, rename: 60, stat: 60, list: 40, find: 30,
  readLink: 5, syncDirectory: 8, setXattr: 10, xattr: 10, removeXattr: 4, changeMode: 8, lock: 20, shrink: 5, agree: 12,
}; // prettier-ignore
/** These run alone: seen from outside they are more than one step. */
const ALONE = new Set(["copy", "shrink", "agree"]);
const NUMBERS = 6;

export interface Dangers {
  /** Rounds between power cuts, on average; the same for the rest. */
  cut: number;
  stop: number;
  lose: number;
  rot: number;
  heal: number;
  clean: number;
  /** One mount is killed. */
  kill: number;
}

export const DANGERS: Dangers = { cut: 150, stop: 600, lose: 400, rot: 400, heal: 300, clean: 40, kill: 200 };

export function makeRounds(seed: number, steps: number, dangers: Dangers): Round[] {
  const random = seededRandom(seed);
  const kinds = Object.entries(WEIGHTS);
  const total = kinds.reduce((sum, [, weight]) => sum + weight, 0);
  const rounds: Round[] = [];
  let made = 0;
  const kindOf = (): string => {
    let left = random() * total;
    return kinds.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "read";
  };
  const step = (kind: string, spread: number): Step => ({
    id: ++made,
    mount: randomBelow(random, 2),
    kind,
    numbers: Array.from({ length: NUMBERS }, () => randomBelow(random, 2 ** 30)),
    delayMs: spread * random(),
  });
  while (made < steps) {
    const event = eventOf(random, dangers);
    if (event !== null) rounds.push({ id: rounds.length, steps: [step(event, 0)] });
    else {
      const width = random() < 0.5 ? 1 : 2 + randomBelow(random, 3);
      const spread = random() < 0.5 ? 0.5 : 4;
      let together = Array.from({ length: width }, () => step(kindOf(), spread));
      if (together.some(({ kind }) => ALONE.has(kind))) together = together.slice(0, 1);
      rounds.push({ id: rounds.length, steps: together });
    }
    if (random() < 1 / dangers.cut) rounds.at(-1)!.cutAfterMs = 12 * random() * random();
  }
  return rounds;
}

function eventOf(random: Random, { stop, lose, rot, heal, clean, kill }: Dangers): string | null {
  let choice = random();
  for (const [event, rounds] of Object.entries({ stop, lose, rot, heal, clean, kill })) {
    choice -= 1 / rounds;
    if (choice < 0) return event;
  }
  return null;
}

export function describeStep({ id, mount, kind, numbers, delayMs }: Step): string {
  return `${id} mount ${mount}: ${kind} ${numbers.join(" ")} after ${delayMs.toFixed(3)} ms`;
}

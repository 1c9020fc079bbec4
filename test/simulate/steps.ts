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
  standstill?: StandstillPlan;
}

/** A mount that is a process of its own is stopped (SIGSTOP) so long after the round began, and goes on later. */
export interface StandstillPlan {
  mount: number;
  afterMs: number;
  forMs: number;
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
  /** One mount stands still for a while. */
  standstill: number;
  /** The n-th call to a disk of blocks fails. */
  fault: number;
  /** The n-th call to the disk of the log and the table fails; some rounds later the power goes. */
  logFault: number;
}

export const DANGERS: Dangers = {
  cut: 150,
  stop: 600,
  lose: 400,
  rot: 400,
  heal: 300,
  clean: 40,
  kill: 200,
  standstill: 120,
  fault: 100,
  logFault: 300,
};
/** How long a mount stands still: half of the time shorter than its session lives. */
const STANDSTILL_SHORT_MS = 11_000;
const STANDSTILL_LONG_MS = 25_000;

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
    else if (random() < 1 / dangers.standstill)
      rounds.push(standstillRound(rounds.length, random, (spread) => step(kindOf(), spread)));
    else {
      const width = random() < 0.5 ? 1 : 2 + randomBelow(random, 3);
      const spread = random() < 0.5 ? 0.5 : 4;
      let together = Array.from({ length: width }, () => step(kindOf(), spread));
      if (together.some(({ kind }) => ALONE.has(kind))) together = together.slice(0, 1);
      rounds.push({ id: rounds.length, steps: together });
    }
    if (rounds.at(-1)!.standstill === undefined && random() < 1 / dangers.cut)
      rounds.at(-1)!.cutAfterMs = 12 * random() * random();
  }
  return rounds;
}

function standstillRound(id: number, random: Random, make: (spread: number) => Step): Round {
  const forMs = random() < 0.5 ? STANDSTILL_SHORT_MS * random() * random() : STANDSTILL_SHORT_MS + (STANDSTILL_LONG_MS - STANDSTILL_SHORT_MS) * random(); // prettier-ignore
  const standstill = { mount: randomBelow(random, 2), afterMs: 4 * random(), forMs };
  const width = 2 + randomBelow(random, 4);
  // Some begin before it, some during it, a few after it.
  const steps = Array.from({ length: width }, () => make(random() < 0.5 ? 5 : 1.2 * forMs)).filter(
    ({ kind }) => !ALONE.has(kind),
  );
  return { id, steps, standstill };
}

/** Kinds of steps that are no operations of a program. */
export const EVENTS: ReadonlySet<string> = new Set(Object.keys(DANGERS));

function eventOf(random: Random, { stop, lose, rot, heal, clean, kill, fault, logFault }: Dangers): string | null {
  let choice = random();
  for (const [event, rounds] of Object.entries({ stop, lose, rot, heal, clean, kill, fault, logFault })) {
    choice -= 1 / rounds;
    if (choice < 0) return event;
  }
  return null;
}

export function describeStep({ id, mount, kind, numbers, delayMs }: Step): string {
  return `${id} mount ${mount}: ${kind} ${numbers.join(" ")} after ${delayMs.toFixed(3)} ms`;
}

export function describeStandstill({ mount, afterMs, forMs }: StandstillPlan): string {
  return `mount ${mount} is stopped ${afterMs.toFixed(3)} ms after they began, for ${forMs.toFixed(3)} ms`;
}

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
  kill?: KillPlan;
}

/** A mount's process, or (where all mounts are processes of their own) the daemon, is killed so long after the round began; a daemon is started again later. */
export interface KillPlan {
  daemon: boolean;
  mount: number;
  afterMs: number;
  forMs: number;
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
  readLink: 5, syncDirectory: 8, setXattr: 10, xattr: 10, removeXattr: 4, changeMode: 8, lock: 30, lockWait: 25, shrink: 5, agree: 12,
}; // prettier-ignore
/** These run alone: seen from outside they are more than one step. */
const ALONE = new Set(["copy", "shrink", "agree"]);
const NUMBERS = 6;
/** Of all rounds, how many begin a contention for locks. */
const LOCK_ROUNDS = 1 / 60;
/** Of the flags that an open may have: the second (name-kinds.ts). */
const OPEN_OR_CREATE = 1;

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
  /** A mount, or the daemon, is killed amid operations. */
  killAmid: number;
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
  killAmid: 60,
  fault: 100,
  logFault: 300,
};
/** How long a mount stands still: half of the time shorter than its session lives. */
const STANDSTILL_SHORT_MS = 11_000;
const STANDSTILL_LONG_MS = 25_000;
/** A daemon that was killed is away for up to so long. */
const DOWN_MS = 6_000;

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
    else if (random() < 1 / dangers.killAmid) rounds.push(killRound(rounds.length, random, (spread) => step(kindOf(), spread)));
    else if (random() < LOCK_ROUNDS) {
      for (const steps of lockRounds(random, step)) rounds.push({ id: rounds.length, steps });
    } else {
      const width = random() < 0.5 ? 1 : 2 + randomBelow(random, 3);
      const spread = random() < 0.5 ? 0.5 : 4;
      let together = Array.from({ length: width }, () => step(kindOf(), spread));
      if (together.some(({ kind }) => ALONE.has(kind))) together = together.slice(0, 1);
      rounds.push({ id: rounds.length, steps: together });
    }
    if (!isMishap(rounds.at(-1)!) && random() < 1 / dangers.cut) rounds.at(-1)!.cutAfterMs = 12 * random() * random();
  }
  return rounds;
}

export function isMishap({ standstill, kill }: Round): boolean {
  return standstill !== undefined || kill !== undefined;
}

function killRound(id: number, random: Random, make: (spread: number) => Step): Round {
  const kill = {
    daemon: random() < 0.7,
    mount: randomBelow(random, 2),
    afterMs: 6 * random() * random(),
    forMs: DOWN_MS * random() * random() * random(),
  };
  const steps = Array.from({ length: 1 + randomBelow(random, 5) }, () => make(random() < 0.8 ? 4 : 40)).filter(
    ({ kind }) => !ALONE.has(kind),
  );
  return { id, steps, kill };
}

/** Programs of both mounts open the same file, lock it, and contend. */
function lockRounds(random: Random, make: (kind: string, spread: number) => Step): Step[][] {
  const same = Array.from({ length: NUMBERS }, () => randomBelow(random, 2 ** 30));
  const open = (mount: number): Step => ({
    ...make("open", 1),
    mount,
    numbers: [same[0], same[1], OPEN_OR_CREATE, ...same.slice(3)],
  });
  const contend = (kind: string): Step => {
    const { numbers, ...rest } = make(kind, 8);
    return { ...rest, numbers: [same[0], ...numbers.slice(1, 5), numbers[5] | 1] };
  };
  const kinds = ["lock", "lock", "lockWait", "lockWait", "lockWait", "close"];
  const some = (count: number): Step[] => Array.from({ length: count }, () => contend(kinds[randomBelow(random, kinds.length)]));
  const rounds = Array.from({ length: 1 + randomBelow(random, 4) }, () => some(3 + randomBelow(random, 3)));
  return [[open(0), open(1)], [contend("lock")], ...rounds];
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

/** What happens amid the round's operations. */
export function describeMishap({ standstill, kill }: Round): string[] {
  const told: string[] = [];
  if (kill !== undefined)
    told.push(
      `${kill.daemon ? "the daemon, or " : ""}mount ${kill.mount}, is killed ${kill.afterMs.toFixed(3)} ms after they began`,
    );
  if (standstill !== undefined) told.push(describeStandstill(standstill));
  return told;
}

function describeStandstill({ mount, afterMs, forMs }: StandstillPlan): string {
  return `mount ${mount} is stopped ${afterMs.toFixed(3)} ms after they began, for ${forMs.toFixed(3)} ms`;
}

// What a run consists of, made from a seed ahead of time: rounds of steps. A step is a kind and a few numbers that it
// interprets by the state that it meets, so that steps can be left out when a failing run is made smaller.

import { cutRound, helloRounds, type Maker, strikeRounds } from "./aims.ts";
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
  strike?: StrikePlan;
  /** Connections of mounts that are cut so long after the round began. */
  cuts?: readonly { mount: number; afterMs: number }[];
}

/** A mount's process, or (where all mounts are processes of their own) the daemon, is killed so long after the round began; a daemon is started again later. */
export interface KillPlan {
  daemon: boolean;
  mount: number;
  afterMs: number;
  forMs: number;
  hello?: HelloPlan;
}

/** After the daemon was killed: the mount's connection is cut when it has said what it held, so many times; the other mount comes back only so long after the daemon. */
export interface HelloPlan {
  mount: number;
  times: number;
  lateMs: number;
}

/** The daemon is killed (or the mount's connection is cut) when this operation was done for the n-th time, before its reply is sent. */
export interface StrikePlan {
  operation: string;
  cut: boolean;
  nth: number;
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
  open: 85, openAppend: 25, openDirect: 12, openUnnamed: 8, close: 25, write: 160, append: 60, read: 160, truncate: 35, punch: 15, zero: 10, allocate: 8, collapse: 8, insert: 8, copy: 20, sync: 30,
  makeDirectory: 30, symlink: 15, link: 20, linkUnnamed: 10, unlink: 45, removeDirectory: 15, rename: 60, stat: 60, list: 40, find: 30,
  readLink: 5, syncDirectory: 8, setXattr: 10, xattr: 10, removeXattr: 4, changeMode: 8, lock: 30, lockWait: 25, testLock: 3, space: 3, xattrs: 3, shrink: 5, agree: 12,
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
  /** It is waited until nothing is under way, and looked for what must not remain. */
  quiesce: number;
  /** The daemon is killed, or a connection cut, between an operation's log entry and its reply. */
  strike: number;
  /** Hundreds of programs of each mount at once. */
  burst: number;
  /** A file is evicted by one mount while the other one takes it back. */
  evict: number;
  /** Somebody sets the date: back by an hour, forward by a minute. */
  date: number;
  /** Connections are cut amid operations. */
  cable: number;
  /** After the daemon was killed a mount says hello more than once. */
  hello: number;
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
  quiesce: 250,
  burst: 900,
  evict: 400,
  date: 300,
  strike: 40,
  cable: 80,
  hello: 150,
};
/** DANGERS, but for these; 0: never. */
export function dangersOf(some: Partial<Dangers> = {}): Dangers {
  const dangers = { ...DANGERS, ...some };
  for (const name of Object.keys(dangers) as (keyof Dangers)[]) if (dangers[name] === 0) dangers[name] = Infinity;
  return dangers;
}

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
  const maker: Maker = { random, remote: seed % 2 === 0 ? [0, 1] : [1], step, any: (spread) => step(kindOf(), spread) };
  const numbered = (some: Partial<Round>[]): Round[] =>
    some.map((round, index) => ({ steps: [], ...round, id: rounds.length + index }));
  while (made < steps) {
    const event = eventOf(random, dangers);
    if (event !== null) rounds.push({ id: rounds.length, steps: [step(event, 0)] });
    else if (random() < 1 / dangers.standstill)
      rounds.push(standstillRound(rounds.length, random, (spread) => step(kindOf(), spread)));
    else if (random() < 1 / dangers.killAmid) rounds.push(killRound(rounds.length, random, (spread) => step(kindOf(), spread)));
    else if (random() < 1 / dangers.strike) rounds.push(...numbered(strikeRounds(maker)));
    else if (random() < 1 / dangers.cable) rounds.push(...numbered([cutRound(maker)]));
    else if (random() < 1 / dangers.hello) rounds.push(...numbered(helloRounds(maker)));
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

export function isMishap({ standstill, kill, strike, cuts }: Round): boolean {
  return standstill !== undefined || kill !== undefined || strike !== undefined || cuts !== undefined;
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
export const EVENTS: ReadonlySet<string> = new Set([
  "stop",
  "lose",
  "rot",
  "heal",
  "clean",
  "kill",
  "fault",
  "logFault",
  "quiesce",
  "burst",
  "evict",
  "date",
]);

function eventOf(
  random: Random,
  { stop, lose, rot, heal, clean, kill, fault, logFault, quiesce, burst, evict, date }: Dangers,
): string | null {
  let choice = random();
  for (const [event, rounds] of Object.entries({
    stop,
    lose,
    rot,
    heal,
    clean,
    kill,
    fault,
    logFault,
    quiesce,
    burst,
    evict,
    date,
  })) {
    choice -= 1 / rounds;
    if (choice < 0) return event;
  }
  return null;
}

export function describeStep({ id, mount, kind, numbers, delayMs }: Step): string {
  return `${id} mount ${mount}: ${kind} ${numbers.join(" ")} after ${delayMs.toFixed(3)} ms`;
}

/** What happens amid the round's operations. */
export function describeMishap({ standstill, kill, strike, cuts }: Round): string[] {
  const told: string[] = [];
  const describeHello = (hello?: HelloPlan): string =>
    hello === undefined
      ? ""
      : `; mount ${hello.mount} says hello ${hello.times} times more, mount ${1 - hello.mount} is ${hello.lateMs.toFixed(3)} ms late`;
  if (strike !== undefined)
    told.push(
      `${strike.cut ? "the connection is cut" : "the daemon is killed"} when ${strike.operation} is done for the ${strike.nth}. time, before its reply`,
    );
  for (const { mount, afterMs } of cuts ?? [])
    told.push(`the connection of mount ${mount} is cut ${afterMs.toFixed(3)} ms after they began`);
  if (kill !== undefined)
    told.push(
      `${kill.daemon ? "the daemon, or " : ""}mount ${kill.mount}, is killed ${kill.afterMs.toFixed(3)} ms after they began${describeHello(kill.hello)}`,
    );
  if (standstill !== undefined) told.push(describeStandstill(standstill));
  return told;
}

function describeStandstill({ mount, afterMs, forMs }: StandstillPlan): string {
  return `mount ${mount} is stopped ${afterMs.toFixed(3)} ms after they began, for ${forMs.toFixed(3)} ms`;
}

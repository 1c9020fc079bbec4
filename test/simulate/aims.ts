// Rounds in which the daemon is killed, or a connection cut, between an operation's log entry and its reply (strikes.ts): for every
// operation, what programs do so that it comes.

import { randomBelow, type Random } from "../../storage/seeded-random.ts";
import type { HelloPlan, Round, Step, StrikePlan } from "./steps.ts";

export interface Maker {
  random: Random;
  /** Mounts that are processes of their own. */
  remote: readonly number[];
  step(kind: string, spread: number): Step;
  /** Of a kind by chance. */
  any(spread: number): Step;
}

/** O_RDWR | O_CREAT, of the flags that an open may have (name-kinds.ts). */
const OPEN_OR_CREATE = 1;
const CREATE = "create";

/** Each operation of a session, and the kinds of steps that lead to it. Those in one text come one after another, on the same file. */
export const AIMS: Record<string, readonly string[]> = {
  lookup: ["find", "stat"],
  parent: ["list"],
  getAttributes: ["stat", "agree"],
  setAttributes: ["changeMode", "truncate"],
  make: [CREATE, CREATE, "makeDirectory", "symlink"],
  makeUnnamed: ["openUnnamed"],
  link: ["link", "openUnnamed linkUnnamed"],
  unlink: ["unlink", "unlink", "removeDirectory"],
  rename: ["rename"],
  readLink: ["readLink"],
  list: ["list"],
  getXattr: ["xattr"],
  setXattr: ["setXattr"],
  listXattrs: ["xattrs"],
  removeXattr: ["removeXattr", "setXattr removeXattr"],
  extents: ["read"],
  reserveStripes: ["write sync", "write write sync"],
  commit: ["write sync", "append sync", "read"],
  reshape: ["collapse", "insert", "insert collapse", "punch", "zero", "allocate"],
  share: ["copy"],
  sync: ["write sync", "syncDirectory"],
  statistics: ["space"],
  lock: ["lock", "lockWait"],
  testLock: ["testLock"],
  releaseLocks: ["lock close"],
  acquire: ["write", "stat", "append"],
  forget: ["unlink", "shrink"],
};

const DOWN_MS = 4_000;
const CUT_SHARE = 0.35;

export function strikeRounds(maker: Maker): Partial<Round>[] {
  const { random, remote } = maker;
  const operations = Object.keys(AIMS);
  const operation = operations[randomBelow(random, operations.length)];
  const kinds = AIMS[operation];
  const mount = remote[randomBelow(random, remote.length)];
  const same = Array.from({ length: 6 }, () => randomBelow(random, 2 ** 30));
  const words = kinds[randomBelow(random, kinds.length)].split(" ");
  const at = (kind: string, index: number): Step => {
    const made = maker.step(kind === CREATE ? "open" : kind, 1);
    const numbers = words.length > 1 ? [same[0], ...made.numbers.slice(1, 5), made.numbers[5] | 1] : [...made.numbers];
    if (kind === CREATE) numbers[2] = OPEN_OR_CREATE;
    return { ...made, mount, numbers, delayMs: made.delayMs + 12 * index };
  };
  const aimed = words.map(at);
  // What is seen from outside as more than one step goes alone.
  const beside = aimed.some(({ kind }) => kind === "copy" || kind === "shrink" || kind === "agree") ? 0 : randomBelow(random, 3);
  const others = Array.from({ length: beside }, () => maker.any(6)).filter(({ kind }) => kind !== "copy" && kind !== "shrink" && kind !== "agree"); // prettier-ignore
  const strike: StrikePlan = {
    operation,
    cut: random() < CUT_SHARE,
    nth: random() < 0.8 ? 1 : 2,
    forMs: DOWN_MS * random() * random() * random(),
  };
  const open = maker.step("open", 1);
  const opened = { ...open, mount, numbers: [same[0], open.numbers[1], OPEN_OR_CREATE, ...open.numbers.slice(3)] };
  return [{ steps: [opened] }, { steps: [...aimed, ...others], strike }];
}

/** One mount has written what the other wants next; the daemon is killed, and the other one says hello more than once before the first has come back. */
export function helloRounds(maker: Maker): Partial<Round>[] {
  const { random } = maker;
  const mount = randomBelow(random, 2);
  const same = Array.from({ length: 6 }, () => randomBelow(random, 2 ** 30));
  const on = (who: number, kind: string, spread: number): Step => {
    const { numbers, ...rest } = maker.step(kind, spread);
    return {
      ...rest,
      mount: who,
      numbers: kind === "open" ? [same[0], same[1], OPEN_OR_CREATE, ...same.slice(3)] : [same[0], ...numbers.slice(1)],
    };
  };
  const hello: HelloPlan = { mount, times: 1 + randomBelow(random, 2), lateMs: 300 + 6_000 * random() * random() };
  const wants = ["write", "read", "stat", "append", "truncate", "changeMode"];
  const some = Array.from({ length: 1 + randomBelow(random, 3) }, () => on(mount, wants[randomBelow(random, wants.length)], 30));
  const kill = { daemon: true, mount, afterMs: random(), forMs: 200 * random(), hello };
  return [{ steps: [on(0, "open", 1), on(1, "open", 1)] }, { steps: [on(1 - mount, "write", 1)] }, { steps: some, kill }];
}

/** Connections are cut while operations are under way. */
export function cutRound({ random, remote, any }: Maker): Partial<Round> {
  const steps = Array.from({ length: 1 + randomBelow(random, 4) }, () => any(6)).filter(({ kind }) => kind !== "copy" && kind !== "shrink" && kind !== "agree"); // prettier-ignore
  const cuts = Array.from({ length: 1 + randomBelow(random, 4) }, () => ({
    mount: remote[randomBelow(random, remote.length)],
    afterMs: 30 * random() * random(),
  }));
  return { steps, cuts };
}

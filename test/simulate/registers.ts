// Values that many programs set and read at once, too many for all orders to be tried. Each value that is read must be the one of a
// change that may have been the last before it, or the first one.

import type { Bound } from "./bound.ts";
import { type RanBound, ranOf, type Scene } from "./scene.ts";
import type { Step } from "./steps.ts";
import { describe, Violation } from "./story.ts";

/** What has one value at a time, and who has set or read it. */
export interface Register {
  first: string;
  set: { one: RanBound; value: string }[];
  read: { one: RanBound; value: () => string }[];
}

export class Registers {
  readonly #registers = new Map<string, Register>();
  readonly #step: Step;
  /** All operations, of those that set and read and of others. */
  readonly ran: RanBound[] = [];

  constructor(step: Step) {
    this.#step = step;
  }

  of(name: string, first: string): Register {
    let register = this.#registers.get(name);
    if (register === undefined) this.#registers.set(name, (register = { first, set: [], read: [] }));
    return register;
  }

  entries(): Iterable<[string, Register]> {
    return this.#registers;
  }

  /** An operation that sets the register. */
  sets(register: Register, value: string, text: string, run: () => Promise<unknown>): RanBound {
    const one = this.does(text, run);
    register.set.push({ one, value });
    return one;
  }

  /** An operation that gives what the register has. */
  reads(register: Register, text: string, run: () => Promise<string>): RanBound {
    let shown = "";
    const one = this.does(text, async () => void (shown = await run()));
    register.read.push({ one, value: () => shown });
    return one;
  }

  does(text: string, run: () => Promise<unknown>): RanBound {
    const bound: Bound = { text, run, apply: () => true };
    const one = ranOf(bound, this.#step);
    this.ran.push(one);
    return one;
  }

  /** Nothing was refused, and every value that was read may have been there. `when`: for the text. */
  check(scene: Scene, when: string): void {
    const refused = this.ran.find(({ outcome }) => outcome !== null && "error" in outcome);
    if (refused !== undefined) throw new Violation(`${when}, ${refused.text} -> ${describe(refused.outcome)}`);
    for (const [name, { first, set, read }] of this.#registers)
      for (const { one, value } of read) {
        const possible = set.filter((change) => mayBeLast(change.one, one, set)).map((change) => change.value);
        if (!set.some((change) => change.one.ended < one.began)) possible.push(first);
        if (possible.includes(value())) continue;
        scene.note([...set.map((change) => change.one), one].sort((a, b) => a.began - b.began).slice(-40));
        throw new Violation(`${when}, ${name} is ${value()}, and should be one of ${possible.slice(0, 8).join(" ")}`);
      }
  }
}

/** Whether no other change must lie between the change and the look. */
function mayBeLast(change: RanBound, look: RanBound, all: Register["set"]): boolean {
  if (change.began > look.ended) return false;
  return !all.some(({ one }) => one !== change && one.began > change.ended && one.ended < look.began);
}

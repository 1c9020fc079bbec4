// What a file may hold where some of its changes may be lost: the states that orders of some of them lead to.

import type { ContentEffect } from "./bound.ts";
import { type Content, isTornWrite, sameContent } from "./content.ts";

export interface LossyChange extends ContentEffect {
  began: number;
  ended: number;
  acknowledged: boolean;
  /** It cannot be lost. */
  certain: boolean;
  /** Its first part may be there alone: a mount sends a write in pieces. */
  tearable: boolean;
}

/** Of the changes of one round, orders are tried up to this many. */
const PERMUTED_MAX = 5;

/** Whether `accept` takes a state that some of `earlier`, then some of `changes` lead to: all that are certain, each after those that ended before it began. */
export function someState(
  base: Content,
  earlier: readonly LossyChange[],
  changes: readonly LossyChange[],
  accept: (content: Content, made: readonly LossyChange[]) => boolean,
): boolean {
  if (earlier.length > PERMUTED_MAX || changes.length > PERMUTED_MAX) return true;
  const go = (
    content: Content,
    made: readonly LossyChange[],
    first: readonly LossyChange[],
    then: readonly LossyChange[],
  ): boolean => {
    if (then.every(({ certain }) => !certain) && accept(content, made)) return true;
    for (const one of first) if (go(one.change(content), [...made, one], after(first, one), then)) return true;
    for (const one of then) {
      // Those that are left out are lost; none that is certain may be passed over.
      if (then.some((other) => other.certain && other.ended < one.began)) continue;
      if (go(one.change(content), [...made, one], [], after(then, one))) return true;
    }
    return false;
  };
  return go(base, [], earlier, changes);
}

/** As someState, and the found content may have one of the writes in its first part only. */
export function leadsTo(
  base: Content,
  earlier: readonly LossyChange[],
  changes: readonly LossyChange[],
  found: Content,
): boolean {
  return someState(base, earlier, changes, (content, made) => sameContent(content, found) || isTorn(base, made, found));
}

function isTorn(base: Content, made: readonly LossyChange[], found: Content): boolean {
  return made.some((torn, index) => {
    if (!torn.tearable || torn.written === undefined) return false;
    const before = made.slice(0, index).reduce((content, { change }) => change(content), base);
    const after = torn.change(before);
    const at = torn.written.at ?? before.size;
    const [with_, without_] = [after, before].map((content) =>
      made.slice(index + 1).reduce((changed, { change }) => change(changed), content),
    );
    return isTornWrite(found, without_, with_, at, at + torn.written.length);
  });
}

/** Those that can still come after the one. */
function after(all: readonly LossyChange[], one: LossyChange): LossyChange[] {
  return all.filter((other) => other !== one && !(other.ended < one.began));
}

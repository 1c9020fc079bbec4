// Finds an order of operations that overlapped in which the model answers as the store did. An operation that ended
// before another began comes first; what remains free is tried.

import { type Model, type Nodes } from "./model.ts";

export type Outcome = { value: unknown } | { error: string };

/** One operation as it ran. */
export interface Ran {
  text: string;
  /** When it began and ended, in events; Infinity: the power went before. */
  began: number;
  ended: number;
  outcome: Outcome | null;
  /** It may as well have changed nothing, whatever it answered. */
  maybe?: boolean;
  /** Does to the model what the operation does. False: from this state the outcome cannot come. With a null outcome it does what it can. */
  apply(model: Model, outcome: Outcome | null): boolean;
}

/** Tries orders until `accept` takes the state at the end of one; the model then has it. False: none fits, and the model is as it was. */
export function explain(model: Model, operations: readonly Ran[], accept: () => boolean = () => true): boolean {
  if (operations.length === 0) return accept();
  for (const next of operations) {
    if (operations.some((other) => other.ended < next.began)) continue;
    const mark = model.mark();
    if (next.apply(model, next.outcome)) {
      const rest = operations.filter((other) => other !== next);
      if (explain(model, rest, accept)) return true;
    }
    model.undo(mark);
    if (next.maybe === true && explain(model, operations.filter((other) => other !== next), accept)) return true; // prettier-ignore
  }
  return false;
}

/** Whether the power may have gone at a moment of some order when the state was as `matches` wants it. Operations whose outcome nobody saw may have happened or not. */
export function explainCut(model: Model, operations: readonly Ran[], matches: (nodes: Nodes) => boolean): boolean {
  if (matches(model.nodes)) return true;
  for (const next of operations) {
    if (operations.some((other) => other.ended < next.began)) continue;
    const mark = model.mark();
    if (next.apply(model, next.outcome)) {
      const rest = operations.filter((other) => other !== next);
      if (explainCut(model, rest, matches)) return true;
    }
    model.undo(mark);
    if (next.maybe === true && explainCut(model, operations.filter((other) => other !== next), matches)) return true; // prettier-ignore
  }
  return false;
}

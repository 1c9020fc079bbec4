// Makes the steps of a run from a seed. Every run favours some kinds of steps and leaves others out, so that runs differ more
// than one mixture would let them. What is open and what exists is only guessed: a step that fails, fails on both sides.

import { randomNumbers } from "../fixture/random.ts";
import { BURST_KINDS } from "./generate-bursts.ts";
import { DATA_KINDS } from "./generate-data.ts";
import { NAME_KINDS } from "./generate-names.ts";
import { Scene, type StepKind, type Offers } from "./scene.ts";
import { STORE_KINDS } from "./generate-store.ts";

const KINDS: readonly StepKind[] = [...DATA_KINDS, ...NAME_KINDS, ...BURST_KINDS, ...STORE_KINDS];
/** What a kind's weight is multiplied with in one run. */
const FAVOURS = [0, 0.3, 1, 1, 3];

/** What must be the same again when nothing is remembered of it any more. The last comparison comes by itself. */
const LAST_STEPS = ["store: compare", "store: restart", "store: remount", "store: drop-names"];

/** At least `count` steps; the same for the same seed and offers. */
export function generateSteps(seed: number, count: number, offers: Offers): string[] {
  // Neighbouring seeds must not begin alike.
  const random = randomNumbers(Math.imul(seed, 0x9e3779b1) >>> 0 || 1);
  for (let i = 0; i < 8; i++) random(2);
  const scene = new Scene(random, offers);
  const weights = KINDS.map(({ weight, always }) => Math.round(10 * weight * (always ? 1 : FAVOURS[random(FAVOURS.length)])));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const steps = scene.begin();
  while (steps.length < count) {
    let at = random(total);
    const index = weights.findIndex((weight) => (at -= weight) < 0);
    steps.push(...KINDS[index].make(scene));
  }
  return [...steps, ...LAST_STEPS];
}

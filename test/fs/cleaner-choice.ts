import assert from "node:assert/strict";
import test from "node:test";
import { chooseStripes, isScattered, type StripeCost } from "../../fs/cleaner-choice.ts";
import type { Extent } from "../../fs/messages.ts";
import type { StripeId } from "../../fs/types.ts";

const MIB = 1024 * 1024;

/** A stripe of 4 MiB under rs:4+2 of which this share lives. */
function coded(id: number, live: number): StripeCost {
  return { id: id as StripeId, stored: 6 * MIB, liveBytes: live * 4 * MIB, needed: live * 6 * MIB };
}

function survey(costs: StripeCost[]): Parameters<typeof chooseStripes>[0] {
  const storedBytes = costs.reduce((sum, { stored }) => sum + stored, 0);
  const neededBytes = costs.reduce((sum, { needed }) => sum + needed, 0);
  return { costs, storedBytes, neededBytes, settled: Infinity };
}

/** What the disks hold, as a multiple of what is needed, when the chosen ones are written anew. */
function shareAfter(costs: StripeCost[], stripes: ReadonlySet<StripeId>): number {
  const after = costs.reduce((sum, { id, stored, needed }) => sum + (stripes.has(id) ? needed : stored), 0);
  return after / costs.reduce((sum, { needed }) => sum + needed, 0);
}

test("the emptiest stripes are chosen, and no more of them than it takes", () => {
  const costs = Array.from({ length: 100 }, (_, index) => coded(index + 1, (index + 1) / 100));
  const { stripes } = chooseStripes(survey(costs), false);
  const share = shareAfter(costs, stripes);
  assert.ok(share <= 1.1 && share > 1.05, `${share}`);
  const fullest = Math.max(...stripes);
  assert.equal(stripes.size, fullest, "all that are emptier than the fullest chosen one are chosen");
});

test("in the background little waste is left alone; a thorough pass takes it, but no stripe that is nearly full", () => {
  const costs = [...Array.from({ length: 50 }, (_, index) => coded(index + 1, 0.88)), coded(100, 0.95), coded(101, 0.2)];
  assert.equal(chooseStripes(survey(costs), false).stripes.size, 0);
  const { stripes } = chooseStripes(survey(costs), true);
  assert.ok(stripes.has(101 as StripeId) && stripes.has(1 as StripeId) && !stripes.has(100 as StripeId));
});

test("stripes of copies count as sparse: coded they take half", () => {
  const copies = (id: number): StripeCost => ({ id: id as StripeId, stored: 3 * 30_000, liveBytes: 30_000, needed: 45_000 });
  const costs = [coded(1, 1), ...Array.from({ length: 1000 }, (_, index) => copies(index + 2))];
  const { stripes, liveBytes } = chooseStripes(survey(costs), true);
  assert.equal(stripes.size, 1000);
  assert.equal(liveBytes, 1000 * 30_000);
});

test("a store without stripes, and one whose stripes are all full, have nothing to choose", () => {
  for (const costs of [[], [coded(1, 1), coded(2, 1)]]) assert.equal(chooseStripes(survey(costs), true).stripes.size, 0);
});

function extents(count: number, length: number, gap: number): Extent[] {
  return Array.from({ length: count }, (_, index) => ({ offset: index * (length + gap), length, stripe: 1 as StripeId, stripeOffset: 0 })); // prettier-ignore
}

test("many pieces without gaps are scattered; few ones, large ones and ones with gaps are not", () => {
  assert.equal(isScattered(extents(1000, 4096, 0)), true);
  assert.equal(isScattered(extents(20, 4096, 0)), false);
  assert.equal(isScattered(extents(4, 4 * MIB, 0)), false);
  assert.equal(isScattered(extents(1000, 4096, 4096)), false);
});

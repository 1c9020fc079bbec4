// A handful of fixed seeds; `npm run fuzz` runs any number of them. And that what is planted is found, and made small.

import assert from "node:assert/strict";
import test from "node:test";
import { Campaign } from "./campaign.ts";
import { generateSteps } from "./generate.ts";
import { problemOf } from "./run.ts";

/** So many seeds take about two minutes on a quiet machine with two processors; a busy one begins no more after two minutes. */
const SEEDS = 8;
const STEPS = 250;
const MINUTES = 2;
const OFFERS = { root: true, largeXattrs: true };

async function withCampaign(body: (campaign: Campaign) => Promise<void>): Promise<void> {
  const campaign = new Campaign(new AbortController().signal);
  try {
    await body(campaign);
  } finally {
    await campaign.destroy();
  }
}

test("two mounts of a store and ext4 answer alike, through restarts and kills", () =>
  withCampaign(async (campaign) => {
    const plan = { firstSeed: 1, steps: STEPS, runs: SEEDS, minutes: MINUTES, shrink: false };
    const finding = await campaign.seeds(plan);
    assert.equal(finding, null, finding === null ? "" : `seed ${finding.seed}: ${finding.text}\n${finding.steps.join("\n")}`);
    assert.ok(campaign.runs >= 1);
  }));

test("a difference that is planted is found and made small", () =>
  withCampaign(async (campaign) => {
    const noise = ["two-1: mkdir e", "one-2: create e/g text", "two-2: look e/g", "one-1: names e"];
    const finding = await campaign.find(
      [...noise, "one-1: create f text", "two-1: mkdir d &", "two-2: mkdir c &", "reference: chmod f 600", ...noise.slice(2)],
      true,
    );
    assert.deepEqual(finding?.steps, ["one-1: create f text", "reference: chmod f 600"]);
    assert.match(
      finding.text,
      /mount one differs from ext4 in 1 entries:\n {2}mount: .\/f\|file\|0644.*\n {2}ext4: {2}.\/f\|file\|0600/,
    );
    assert.equal(finding.shownAgain, true);
  }));

test("a seed gives the same steps each time, and others than the next one", () => {
  const steps = generateSteps(7, 400, OFFERS);
  assert.deepEqual(generateSteps(7, 400, OFFERS), steps);
  assert.notDeepEqual(generateSteps(8, 400, OFFERS), steps);
  assert.ok(steps.length >= 400);
});

test("every kind of step comes in some run", () => {
  const commands = new Set(Array.from({ length: 40 }, (_, seed) => generateSteps(seed + 1, 1500, OFFERS)).flat().map((step) => step.split(" ")[1])); // prettier-ignore
  for (const command of [
    "fill",
    "appends",
    "strided",
    "scattered",
    "mfill",
    "fallocate",
    "map",
    "copy",
    "rename2",
    "link-descriptor",
    "fill-xattr",
    "utimens",
    "rename-while-listing",
    "kill-daemon",
    "kill-mount",
    "restart",
    "remount",
    "stall",
  ])
    // prettier-ignore
    assert.ok(commands.has(command), command);
});

test("a step that cannot be carried out is named", () => {
  for (const text of ["one-1: mkdir d", "two-alice: look f &", "store: restart", "reference: chmod f 600"])
    assert.equal(problemOf(text), null);
  assert.match(problemOf("three-1: mkdir d") ?? "", /"three-1" is no program/);
  assert.match(problemOf("store: explode") ?? "", /"explode" is none of restart, /);
  assert.match(problemOf('one-1: mkdir "d') ?? "", /a quote is not closed/);
  assert.match(problemOf("one-1:") ?? "", /no command/);
});

// One round: operations that overlap, and what happens to the machine meanwhile.

import type { ByteString, InodeId } from "../../fs/types.ts";
import type { Bound } from "./bound.ts";
import type { MachineClock } from "./clock.ts";
import { bindRead } from "./data-kinds.ts";
import { bindFind } from "./name-kinds.ts";
import { bindStat } from "./operations.ts";
import { newNode, type Node } from "./model.ts";
import { type RanBound, ranOf, type Scene } from "./scene.ts";
import { beginKilling } from "./killing.ts";
import { beginStandstill, type Mishap } from "./standstill.ts";
import type { Round, Step } from "./steps.ts";
import { beginCuts, beginStrike } from "./strikes.ts";
import { cutPower } from "./survival.ts";
import { settle } from "./verdict.ts";

export interface BoundStep {
  bound: Bound;
  step: Step;
}

export async function together(scene: Scene, steps: readonly BoundStep[], round: Round): Promise<void> {
  const { world } = scene;
  const { cutAfterMs } = round;
  const clock = world.clock.machine();
  const mishap = mishapOf(scene, round, clock);
  const overlap = steps.length > 1 || mishap !== null;
  const all = steps.map(({ bound, step }) => ({ ...ranOf(bound, step), apply: promised(scene, bound, steps) }));
  const operations = all.map(async (one) => {
    const death = mishap?.death?.mount === one.step!.mount ? mishap.death : null;
    let dead = false;
    void death?.died.then(() => (dead = true));
    if (overlap) await clock.sleep(one.step!.delayMs);
    if (!dead) await Promise.race([scene.run(one), ...(death === null ? [] : [death.died])]);
  });
  const over = Promise.all(operations).then(() => mishap?.operationsOver?.());
  const untilMs = cutAfterMs === undefined ? Infinity : world.clock.nowMs + cutAfterMs;
  await scene.drive(Promise.all([over, mishap?.over]), untilMs);
  clock.end();
  // Those of a mount that died before they began are none.
  const ran = cutAfterMs === undefined ? all.filter(({ began }) => began > 0) : all;
  const excused = scene.excuse(ran);
  if (cutAfterMs !== undefined || (excused && scene.failing > 0)) {
    scene.note(ran);
    return cutPower(scene, ran);
  }
  if (mishap !== null && (await mishap.judge(ran))) return;
  const probes = overlap || excused ? await probe(scene, ran) : [];
  scene.note(ran);
  if (scene.excuse(probes)) return cutPower(scene, ran);
  if (excused) learnNames(scene, ran, probes);
  settle(scene, ran, probes);
  scene.unknown = null;
}

function mishapOf(scene: Scene, { standstill, kill, strike, cuts }: Round, clock: MachineClock): Mishap | null {
  if (strike !== undefined) return beginStrike(scene, strike, clock);
  if (cuts !== undefined) return beginCuts(scene, cuts, clock);
  if (standstill !== undefined) return beginStandstill(scene, standstill, clock);
  return kill === undefined ? null : beginKilling(scene, kill, clock);
}

/** What an answer must fit. Linux reads a file's size and its pages one after another: where both change meanwhile, a read may give new bytes up to the old end; where another mount appends, what it gives is nobody's promise. */
function promised({ model }: Scene, bound: Bound, steps: readonly BoundStep[]): Bound["apply"] {
  if (bound.reads === undefined || bound.exact === true) return bound.apply;
  const size = model.get(bound.reads)?.content.size ?? 0;
  let { apply } = bound;
  for (const { bound: other } of steps) {
    if (other.changes?.inode !== bound.reads) continue;
    const { written } = other.changes;
    if (written?.at == null) return () => true;
    if (written.at + written.length > size) apply = bound.applyCut ?? apply;
  }
  return apply;
}

/** Looks at what the operations touched, so that there is no doubt about the state after them. */
async function probe(scene: Scene, ran: readonly RanBound[]): Promise<RanBound[]> {
  const { world, slots } = scene;
  const probes: (Bound & { mount?: number })[] = [];
  const touched = new Set(ran.flatMap(({ bound }) => (bound.changes === undefined ? [] : [bound.changes.inode])));
  const mount = world.random() < 0.5 ? 0 : 1;
  for (const inode of touched) {
    const file = slots.flat().find((open) => open !== null && open.inode === inode);
    if (file === undefined || file === null) continue;
    const holder = slots[0].includes(file) ? 0 : 1;
    const owner = world.kernels[holder];
    for (const bound of [bindStat(owner, inode), bindRead(owner, file, 0, 2 ** 24)]) probes.push({ ...bound, mount: holder });
  }
  for (const { bound, step } of ran) if (bound.look !== undefined) probes.push({ ...bound.look, mount: step!.mount });
  for (const { text } of ran) {
    for (const [, parent, name] of text.matchAll(/(\d+)\/(n\d)/g)) {
      const inode = Number(parent) as InodeId;
      const asked = [mount, 1 - mount].find((index) => world.kernels[index].knows(inode));
      if (asked !== undefined) probes.push({ ...bindFind(world.kernels[asked], inode, name as ByteString), mount: asked });
    }
  }
  const looked: RanBound[] = [];
  for (const bound of probes) {
    const one = { ...ranOf(bound, null), text: `${bound.text} (${bound.mount ?? mount})` };
    await scene.drive(scene.run(one));
    looked.push(one);
  }
  return looked;
}

/** What operations have made of which nobody was told the inode. */
function learnNames(scene: Scene, ran: readonly RanBound[], probes: readonly RanBound[]): void {
  const unknown = new Map<InodeId, Node>();
  const found = new Map<InodeId, Node>();
  for (const { text, outcome } of probes) {
    const match = /look up (\d+)\/(n\d)/.exec(text);
    if (match === null || outcome === null || !("value" in outcome) || outcome.value === null) continue;
    const [parent, inode] = [Number(match[1]) as InodeId, outcome.value as InodeId];
    const entries = new Map(found.get(parent)?.entries).set(match[2] as ByteString, inode);
    found.set(parent, { ...newNode("directory"), entries });
    if (
      scene.model.get(inode) === undefined &&
      !ran.some(({ outcome: told }) => told !== null && "value" in told && told.value === inode)
    )
      // prettier-ignore
      unknown.set(inode, newNode("file"));
  }
  scene.unknown = unknown;
  scene.found = found;
}

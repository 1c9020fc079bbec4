// Judges operations that overlapped: whether some order of them explains what they answered, and what was seen afterwards.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { explain } from "./judge.ts";
import type { Nodes } from "./model.ts";
import { changesOf, type RanBound, type Scene } from "./scene.ts";
import { describe, kindOf, Violation } from "./story.ts";

export function settle(scene: Scene, ran: readonly RanBound[], probes: readonly RanBound[]): void {
  const { model, history } = scene;
  const before = model.snapshot();
  const seen = (): boolean => probes.every((probe) => probe.apply(model, probe.outcome));
  if (!explain(model, ran, seen)) {
    scene.note(probes);
    const { lines, first } = contradictions(scene, ran, probes);
    const answers = ran.map(({ text, outcome }) => `  ${text} -> ${describe(outcome)}`);
    const message = ["no order of these explains what they answered:", ...answers, ...lines].join("\n");
    throw new Violation(message, `${ran.length > 1 ? "overlapping" : "alone"}: ${first}`);
  }
  checkListings(scene, before, ran);
  model.settle();
  history.add(before, ran, changesOf(ran));
  noteSyncs(scene, ran);
  scene.sweep();
}

/** What was synced in the round, which the history has already. */
export function noteSyncs({ history }: Scene, ran: readonly RanBound[]): void {
  const syncs = ran.filter(({ bound, outcome }) => bound.sync !== undefined && outcome !== null && "value" in outcome);
  if (syncs.length === 0) return;
  const files = syncs.flatMap(({ bound, step }) =>
    bound.sync!.inode === null ? [] : [{ inode: bound.sync!.inode, mount: step!.mount }],
  );
  history.synced(files);
}

/** A listing beside changes has every name that was there all the time, and none that never was. */
function checkListings({ model }: Scene, before: Nodes, ran: readonly RanBound[]): void {
  const texts = ran.map(({ text }) => text).join("\n");
  for (const { bound, outcome } of ran) {
    if (bound.lists === undefined || outcome === null || !("value" in outcome)) continue;
    const found = outcome.value as ReadonlyMap<ByteString, InodeId>;
    const [then, now] = [before.get(bound.lists)?.entries, model.get(bound.lists)?.entries];
    for (const name of new Set([...found.keys(), ...(then?.keys() ?? []), ...(now?.keys() ?? [])])) {
      if (texts.includes(`${bound.lists}/${name}`)) continue;
      if (found.get(name) !== then?.get(name) || found.get(name) !== now?.get(name))
        throw new Violation(`${bound.text}: ${name} is ${found.get(name)}, was ${then?.get(name)} all the time`);
    }
  }
}

/** What does not fit if all happened in the order in which it ended. */
function contradictions(scene: Scene, ran: readonly RanBound[], probes: readonly RanBound[]): { lines: string[]; first: string } {
  const lines: string[] = [];
  let first = "no order fits";
  for (const one of [...ran].sort((a, b) => a.ended - b.ended).concat(probes)) {
    const expected = expectedOf(scene, one);
    if (one.apply(scene.model, one.outcome)) continue;
    if (lines.length === 0) first = `${one.text.split(" ")[0]} answers ${kindOf(describe(one.outcome).split(",")[0])}`;
    lines.push(`in the order of their ends, ${one.text} -> ${describe(one.outcome)} does not fit: the model has ${expected}`);
  }
  return { lines, first };
}

function expectedOf({ model }: Scene, { bound, outcome }: RanBound): string {
  const inode = bound.changes?.inode ?? bound.reads;
  if (inode === undefined) return JSON.stringify([...model.nodes].map(([id, { entries, links }]) => [id, links, [...entries]]));
  const { size, pages } = model.get(inode)!.content;
  const found = outcome !== null && "value" in outcome ? outcome.value : null;
  const match = /read \d+ at (\d+)/.exec(bound.text);
  if (!(found instanceof Uint8Array) || match === null) return `${size} bytes`;
  const from = Number(match[1]);
  const at = found.findIndex((byte, index) => byte !== (pages[Math.floor((from + index) / 4096)]?.[(from + index) % 4096] ?? 0));
  return `${size} bytes, read ${found.length}, first difference at ${at < 0 ? "none" : from + at}`;
}

// A session of a mount was ended while operations were under way, or the mount was killed: what it had not made durable may be
// lost, and its locks. Names are whole; the other mount has all that it made; and each open file of a mount that goes on and
// lost something says so, once.

import type { InodeId } from "../../fs/types.ts";
import { type Content, contentOf, EMPTY, readContent, sameContent } from "./content.ts";
import { explain, type Outcome, type Ran } from "./judge.ts";
import type { File } from "./kernel-core.ts";
import { conflicts } from "./lock-kinds.ts";
import { leadsTo, type LossyChange, someState } from "./lossy.ts";
import { type Nodes, treeDifference } from "./model.ts";
import { type RanBound, ranOf, type Scene } from "./scene.ts";
import { describe, Violation } from "./story.ts";
import { contentsOf, walk } from "./survival.ts";

/** So long the kernel may answer by itself from what it had, after the mount goes on. */
const DROPPED_MS = 200;
/** A lock is given at once where the one before is gone; the answer takes its time. */
const WOKEN_MS = 1_000;
/** An inode that nobody knows is freed by then. */
const FREED_MS = 1_000;
/** What a mount without its session answers. */
const SESSION_OVER = ["EIO", "ESTALE"];

export interface Loss {
  mount: number;
  /** When the session was ended, and when the mount went on; Infinity: it was killed, and another is in its place. */
  endedMs: number;
  backMs: number;
  /** What its programs had open before. */
  open: readonly File[];
}

export async function judgeLoss(scene: Scene, ran: readonly RanBound[], loss: Loss): Promise<void> {
  const { model, world } = scene;
  const other = 1 - loss.mount;
  const before = model.snapshot();
  scene.note(ran);
  let found: Nodes = await walk(scene, world.kernels[other]);
  const contents = await contentsOf(scene, found, other);
  explainTree(scene, ran, loss, before, found);
  const lossy = new Set<InodeId>();
  for (const [inode, content] of contents) {
    const states = new States(scene, ran, loss, inode, before.get(inode)?.content ?? EMPTY);
    const problem = states.problem(content);
    if (problem !== null) throw new Violation(`after a session was ended: ${problem}`);
    if (states.lost(content)) lossy.add(inode);
    if (loss.backMs < Infinity && lossy.has(inode)) scene.lossy[loss.mount].add(inode);
    model.set(inode, { content });
  }
  for (const { inode, owner } of loss.open) if (before.get(inode)?.locks.some((held) => held.owner === owner)) lossy.add(inode);
  checkWaiters(ran, loss, before);
  if (loss.backMs < Infinity) {
    found = await removeOpen(scene, loss, found, contents);
    await checkErrors(scene, ran, loss, lossy, found);
  }
  await releaseLocks(scene);
  model.settle();
  scene.sweep();
  await agree(scene, loss.mount, found, contents);
  await scene.syncAll();
}

// ---- Names

/** Some order of the operations must lead to the tree that is there; what the stopped mount asked for may be done or not. */
function explainTree(scene: Scene, ran: readonly RanBound[], loss: Loss, before: Nodes, found: Nodes): void {
  const { model } = scene;
  scene.unknown = new Map([...found].filter(([inode]) => !before.has(inode)));
  const fits = (): boolean => treeDifference(model.nodes, found) === null;
  const explained = explain(model, ran.map((one) => loosened(one, loss)), fits); // prettier-ignore
  scene.unknown = null;
  if (explained) return;
  const answers = ran.map(({ text, outcome, step }) => `  mount ${step!.mount}: ${text} -> ${describe(outcome)}`);
  const message = ["no order of these, some of a mount whose session was ended, explains the tree:", ...answers];
  throw new Violation([...message, `without them: ${treeDifference(before, found)}`].join("\n"));
}

function loosened(one: RanBound, loss: Loss): Ran {
  const apply = one.bound.applyLost ?? one.bound.apply;
  if (one.step!.mount !== loss.mount || one.endedMs < loss.endedMs) return { ...one, apply };
  if (one.outcome === null || isOver(one.outcome)) return { ...one, apply, outcome: null, maybe: true };
  return { ...one, apply, maybe: mayBeOld(one, loss) };
}

function isOver(outcome: Outcome | null): boolean {
  return outcome !== null && "error" in outcome && SESSION_OVER.includes(outcome.error);
}

// ---- Bytes

/** What one file may hold. */
class States {
  readonly #scene: Scene;
  readonly #ran: readonly RanBound[];
  readonly #loss: Loss;
  readonly #inode: InodeId;
  readonly #now: Content;
  readonly #changes: readonly LossyChange[];
  /** An fsync of the mount has made certain all that came before it. */
  readonly #syncedAt: number;

  constructor(scene: Scene, ran: readonly RanBound[], loss: Loss, inode: InodeId, now: Content) {
    this.#scene = scene;
    this.#ran = ran;
    this.#loss = loss;
    this.#inode = inode;
    this.#now = now;
    const mine = ran.filter(({ bound, step }) => step!.mount === loss.mount && concerns(bound, inode));
    const syncs = mine.filter(({ bound, outcome }) => bound.sync?.inode === inode && outcome !== null && "value" in outcome);
    this.#syncedAt = mine.some(({ outcome }) => isOver(outcome)) ? -1 : Math.max(-1, ...syncs.map(({ began }) => began));
    this.#changes = ran.filter(({ bound }) => bound.changes?.inode === inode).flatMap((one) => this.#lossy(one));
  }

  #lossy(one: RanBound): LossyChange[] {
    const { outcome, step, bound, began, ended, beganMs } = one;
    const acknowledged = outcome !== null && "value" in outcome;
    if (!acknowledged && outcome !== null && !isOver(outcome)) return [];
    const mine = step!.mount === this.#loss.mount;
    const certain = !mine || ended < this.#syncedAt || beganMs > this.#loss.backMs + DROPPED_MS;
    return [{ ...bound.changes!, began, ended, acknowledged, certain: acknowledged && certain, tearable: mine }];
  }

  /** Whether something that was acknowledged is not there. */
  lost(found: Content): boolean {
    const all = this.#changes.map((change) => ({ ...change, certain: change.acknowledged }));
    return !someState(this.#now, [], all, (content) => sameContent(content, found));
  }

  problem(found: Content): string | null {
    for (const one of this.#ran) {
      const wrong = this.#readProblem(one);
      if (wrong !== null) return wrong;
    }
    if (!this.lost(found)) return null;
    for (const [base, earlier] of this.#bases()) if (leadsTo(base, earlier, this.#changes, found)) return null;
    return `file ${this.#inode} of ${found.size} bytes is like none of its versions, the last had ${this.#now.size}`;
  }

  #bases(): [Content, LossyChange[]][] {
    const last: [Content, LossyChange[]] = [this.#now, []];
    if (this.#syncedAt >= 0) return [last];
    const versions = this.#scene.history.versionsSince(this.#inode, 1 - this.#loss.mount);
    return [
      last,
      ...versions.map(({ content, next }): [Content, LossyChange[]] => [
        content,
        next.map(({ changes, began, ended }) => ({
          ...changes,
          began,
          ended,
          acknowledged: true,
          certain: false,
          tearable: true,
        })),
      ]),
    ];
  }

  /** A read gives what some version had. */
  #readProblem(one: RanBound): string | null {
    const { bound, outcome, text } = one;
    if (bound.reads !== this.#inode || outcome === null || !("value" in outcome)) return null;
    const passes = passesKernel(one, this.#loss);
    if (!passes && mayBeOld(one, this.#loss)) return null;
    const bytes = outcome.value as Uint8Array;
    const { offset, length } = bound.range!;
    const fits = (content: Content): boolean => {
      const expected = readContent(content, offset, length);
      const shown = this.#changes.length > 0 ? expected.subarray(0, bytes.length) : expected;
      return Buffer.compare(shown, bytes) === 0;
    };
    // What the other mount was told is done by then must be in it, where the mount itself answers after its session was ended.
    const any = this.#changes.map((change) => ({
      ...change,
      certain: passes && !change.tearable && change.acknowledged && change.ended < one.began,
    }));
    for (const [base, earlier] of this.#bases()) if (someState(base, earlier, any, fits)) return null;
    return `${text} gave ${describe(outcome)}, which no version had`;
  }
}

/** While a mount is stopped its kernel answers by itself, perhaps with a size and pages of different versions. */
function mayBeOld({ step, beganMs, endedMs }: RanBound, { mount, endedMs: overMs, backMs }: Loss): boolean {
  return step!.mount === mount && endedMs >= overMs && beganMs < backMs + DROPPED_MS;
}

/** A direct read that came after the end of the session: no cache of the kernel answers it, and the mount must not do so from its own. */
function passesKernel({ bound, step, beganMs }: RanBound, { mount, endedMs }: Loss): boolean {
  return step!.mount === mount && bound.exact === true && beganMs >= endedMs;
}

function concerns({ changes, sync, closes }: RanBound["bound"], inode: InodeId): boolean {
  return changes?.inode === inode || sync?.inode === inode || closes === inode;
}

// ---- Errors and locks

/** Each open file that lost something has said so, or says so now; then it goes on without. Files that have no name any more are closed. */
async function checkErrors(
  scene: Scene,
  ran: readonly RanBound[],
  loss: Loss,
  lossy: ReadonlySet<InodeId>,
  found: Nodes,
): Promise<void> {
  const kernel = scene.world.kernels[loss.mount];
  const slots = scene.slots[loss.mount];
  const told = new Set<InodeId>();
  for (const { bound, outcome, step } of ran) {
    if (step!.mount !== loss.mount) continue;
    const inode = bound.changes?.inode ?? bound.sync?.inode ?? bound.closes ?? bound.locks?.inode;
    const closed = bound.closes !== undefined && outcome !== null && "value" in outcome && outcome.value !== null;
    if (inode !== undefined && inode !== null && (isOver(outcome) || closed)) told.add(inode);
  }
  for (const [index, file] of slots.entries()) {
    if (file === null) continue;
    if (!found.has(file.inode)) {
      await scene.drive(kernel.close(file));
      slots[index] = null;
      continue;
    }
    for (let attempt = 0; ; attempt++) {
      const bound = { text: `fsync ${file.inode} after the loss`, run: () => kernel.sync(file), apply: () => true };
      const one = { ...ranOf(bound, null), step: null };
      await scene.drive(scene.run(one));
      scene.note([one]);
      if (isOver(one.outcome)) told.add(file.inode);
      else if (one.outcome !== null && "value" in one.outcome) break;
      if (attempt > 0) throw new Violation(`fsync of ${file.inode} after a session was ended: ${describe(one.outcome)}, again`);
    }
    if (lossy.has(file.inode) && loss.open.includes(file) && !told.has(file.inode))
      throw new Violation(
        `file ${file.inode} lost what was written or locked on a mount whose session was ended, and fsync says nothing`,
      );
  }
}

/** The other mount removes a file that the lost one has open: it lives on as long as it is open, also under the new session. */
async function removeOpen(scene: Scene, loss: Loss, found: Nodes, contents: ReadonlyMap<InodeId, Content>): Promise<Nodes> {
  const { world, model, slots } = scene;
  const file = slots[loss.mount].find((one) => one !== null && found.get(one.inode)?.links === 1);
  if (file === null || file === undefined || world.random() < 0.5) return found;
  const { inode } = file;
  const [parent, { entries }] = [...found].find(([, node]) => [...node.entries.values()].includes(inode))!;
  const [name] = [...entries].find(([, child]) => child === inode)!;
  await scene.drive(world.kernels[1 - loss.mount].remove(parent, name, false));
  await scene.drive(world.kernels[1 - loss.mount].forgetUnnamed(inode));
  scene.story.tell(() => `mount ${1 - loss.mount} removes ${parent}/${name}, ${inode}, which mount ${loss.mount} has open`);
  model.setEntry(parent, name, null);
  model.addLinks(inode, -1);
  const clock = world.clock.machine();
  await scene.drive(clock.sleep(FREED_MS));
  clock.end();
  const bytes = await scene.drive(world.kernels[loss.mount].data.read(file, 0, 2 ** 26)).catch((error: unknown) => String(error));
  if (typeof bytes === "string" || !sameContent(contentOf(bytes!), contents.get(inode)!))
    throw new Violation(
      `a file that is open on a mount whose session was ended, and was removed since, reads as ${typeof bytes === "string" ? bytes : `${bytes!.length} other bytes`}`,
    );
  const left = new Map(found);
  left.set(parent, { ...left.get(parent)!, entries: new Map([...entries].filter(([, child]) => child !== inode)) });
  left.delete(inode);
  return left;
}

/** Who waits for a lock that only the lost session held has it when that is over. */
function checkWaiters(ran: readonly RanBound[], loss: Loss, before: Nodes): void {
  const owners = new Set(loss.open.map(({ owner }) => owner));
  const asked = ran.filter(({ bound }) => bound.locks !== undefined);
  for (const { bound, step, outcome, endedMs, text } of asked) {
    const { inode, held, wait } = bound.locks!;
    if (!wait || step!.mount === loss.mount || outcome === null || !("error" in outcome) || endedMs < loss.endedMs + WOKEN_MS)
      continue;
    const others = asked.filter((other) => other.bound.locks!.inode === inode);
    const holders = before.get(inode)!.locks.filter((one) => conflicts(one, held));
    if (others.length === 1 && holders.every(({ owner }) => owners.has(owner)))
      throw new Violation(`${text}: still waited ${Math.round(endedMs - loss.endedMs)} ms after the holder's session was ended`);
  }
}

async function releaseLocks(scene: Scene): Promise<void> {
  const { model, world, slots } = scene;
  for (const [mount, kernel] of world.kernels.entries())
    for (const file of slots[mount])
      for (const flock of file === null ? [] : [false, true])
        await scene.drive(kernel.locks.set(file!, { type: "unlock", start: 0, end: Infinity, pid: 1, flock }));
  for (const [inode, { locks }] of model.nodes) if (locks.length > 0) model.set(inode, { locks: [] });
}

/** The mount that was stopped sees what the other one does, and has written nothing over it. */
async function agree(scene: Scene, mount: number, expected: Nodes, contents: ReadonlyMap<InodeId, Content>): Promise<void> {
  const found = await walk(scene, scene.world.kernels[mount]);
  const difference = treeDifference(expected, found);
  if (difference !== null) throw new Violation(`a mount whose session was ended sees another tree: ${difference}`);
  for (const [inode, { type, content }] of found)
    if (type === "file" && !sameContent(content, contents.get(inode)!))
      throw new Violation(
        `a mount whose session was ended sees ${content.size} other bytes in ${inode}, of ${contents.get(inode)!.size}`,
      );
}

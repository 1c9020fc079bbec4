// What is left after a machine or a mount died: the whole tree is read and compared with what may be left.

import type { UnwrittenError } from "../../fs/mount/losses.ts";
import type { ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE, S_IFDIR, S_IFLNK, S_IFMT } from "../../fs/types.ts";
import { type Content, contentOf } from "./content.ts";
import type { Ran } from "./judge.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { newNode, type Node, type Nodes, treeDifference } from "./model.ts";
import { changesOf, type RanBound, type Scene, SLOTS } from "./scene.ts";
import { Violation } from "./story.ts";
import { noteSyncs } from "./verdict.ts";

/** Reads the whole tree through a mount. */
export async function walk(scene: Scene, kernel: Kernel): Promise<Map<InodeId, Node>> {
  const found = new Map<InodeId, Node>();
  await scene.drive(visit(kernel, ROOT_INODE, found));
  scene.found = found;
  return found;
}

async function visit(kernel: Kernel, inode: InodeId, found: Map<InodeId, Node>): Promise<void> {
  const { mode, linkCount } = await kernel.attributes(inode);
  const type = (mode & S_IFMT) === S_IFDIR ? "directory" : (mode & S_IFMT) === S_IFLNK ? "symlink" : "file";
  const node = { ...newNode(type), mode: mode & 0o7777, links: linkCount, xattrs: await kernel.xattrs(inode) };
  found.set(inode, node);
  if (type === "symlink") found.set(inode, { ...node, target: await kernel.readLink(inode) });
  if (type !== "directory") return;
  const entries = await kernel.list(inode, true);
  found.set(inode, { ...node, entries });
  for (const [name, child] of entries) {
    const looked = await kernel.find(inode, name);
    if (looked !== child) throw new Violation(`${name} in ${inode} is listed as ${child} and looked up as ${looked}`);
    if (found.has(child)) continue;
    await visit(kernel, child, found);
    if (found.get(child)!.type === "file")
      found.set(child, { ...found.get(child)!, content: await kernel.contents(inode, name as ByteString) });
  }
}

export async function cutPower(scene: Scene, ran: readonly RanBound[]): Promise<void> {
  const { world, model, history, story } = scene;
  scene.counts.cuts++;
  const atMs = world.clock.nowMs;
  story.tell(() => `the power goes at ${atMs.toFixed(3)} ms`);
  world.cutPower();
  const before = model.snapshot();
  history.add(before, ran, changesOf(ran));
  noteSyncs(scene, ran);
  await boot(scene, before, ran);
}

/** Ends everything in order, and starts it again. */
export async function restart(scene: Scene): Promise<void> {
  scene.counts.restarts++;
  scene.story.tell(() => "stopped and started again");
  await scene.settleFull();
  await scene.drive(scene.world.stop((mount, error) => checkUnwritten(scene, mount, error)));
  scene.history.restart();
  await boot(scene, scene.model.snapshot(), []);
}

/** What a mount says at its end that nobody was told: it was lost with a session, or with the file's last name. */
function checkUnwritten({ lossy, model, story }: Scene, mount: number, error: UnwrittenError): void {
  story.tell(() => `mount ${mount} ends: ${error.message}`);
  for (const { inode } of error.files)
    if (!lossy[mount].has(inode) && model.get(inode) !== undefined) throw new Violation(`mount ${mount} ends: ${error.message}`);
}

async function boot(scene: Scene, before: Nodes, ran: readonly Ran[]): Promise<void> {
  const { world, model, history } = scene;
  await scene.start();
  const problems = (await scene.drive(world.check()))!;
  if (problems.length > 0) throw new Violation(`the namespace contradicts itself:\n${problems.slice(0, 10).join("\n")}`);
  const found = await walk(scene, world.kernels[Math.floor(world.random() * 2)]);
  scene.unknown = new Map([...found].filter(([inode]) => !before.has(inode)));
  const wrong = history.treeProblem(before, found);
  scene.unknown = null;
  if (wrong !== null) {
    const under = ran.map(({ text }) => `  under way: ${text}`);
    throw new Violation([`after the restart the tree is none that was there: ${wrong}`, ...under].join("\n"));
  }
  for (const [inode, node] of found) {
    if (node.type !== "file") continue;
    const problem = history.contentProblem(inode, before.get(inode)?.content, node.content);
    if (problem !== null) throw new Violation(`after the restart ${problem}`);
  }
  model.load(found);
  history.restart();
}

/** A mount dies. The other one finds all names as they were, and the files with all that was synced or that it wrote itself. */
export async function killMount(scene: Scene, dead: number): Promise<void> {
  const { world, model, history } = scene;
  scene.counts.killed++;
  scene.story.tell(() => `mount ${dead} is killed`);
  await scene.settleFull();
  const owners = new Set(scene.slots[dead].map((file) => file?.owner));
  await scene.drive(world.killMount(dead));
  await scene.drive(world.kernels[dead].learnRoot());
  scene.renewals[dead] = 0;
  scene.lossy[dead].clear();
  scene.slots[dead] = Array<File | null>(SLOTS).fill(null);
  for (const [inode, { locks }] of model.nodes)
    if (locks.length > 0) model.set(inode, { locks: locks.filter(({ owner }) => !owners.has(owner)) });
  scene.sweep();
  history.killed(1 - dead);
  const found = await walk(scene, world.kernels[1 - dead]);
  const wrong = treeDifference(model.nodes, found);
  if (wrong !== null) throw new Violation(`after a mount was killed the tree differs: ${wrong}`);
  for (const [inode, content] of await contentsOf(scene, found, 1 - dead)) {
    const problem = history.contentProblem(inode, model.get(inode)!.content, content);
    if (problem !== null) throw new Violation(`after a mount was killed ${problem}`);
    model.set(inode, { content });
  }
  model.settle();
  await scene.syncAll();
}

/** What the files of the tree hold, and those without names that the mount has open. */
export async function contentsOf(scene: Scene, found: Nodes, mount: number): Promise<Map<InodeId, Content>> {
  const kernel = scene.world.kernels[mount];
  const contents = new Map([...found].filter(([, { type }]) => type === "file").map(([inode, { content }]) => [inode, content]));
  for (const file of scene.slots[mount]) {
    if (file === null || contents.has(file.inode)) continue;
    contents.set(file.inode, contentOf((await scene.drive(kernel.data.read(file, 0, 2 ** 26)))!));
  }
  return contents;
}

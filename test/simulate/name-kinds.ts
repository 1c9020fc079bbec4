// The kinds of steps on names: what each does to a kernel, and what it does to the model.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { answers, type Bound, type Context, directoryOf, inodeOf, nameOf } from "./bound.ts";
import { truncateContent } from "./content.ts";
import type { Outcome } from "./judge.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { type Model, newNode } from "./model.ts";
import type { Step } from "./steps.ts";

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_DIRECT = 0o40000;
const DIRECTORIES_MAX = 12;

const FLAGS = [O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_CREAT | O_TRUNC, O_RDWR | O_TRUNC]; // prettier-ignore

/** Stands for a file that is just being opened. */
const PLACE: File = { inode: 0 as InodeId, handle: -1, owner: "", append: false, direct: false };

export async function open(context: Context, { numbers }: Step, more: number): Promise<Bound | null> {
  const { kernel, slots, strangers } = context;
  const parent = await directoryOf(context, numbers[0]);
  const name = nameOf(numbers[1]);
  let flags = FLAGS[numbers[2] % FLAGS.length] | more;
  if (!context.alone) flags &= ~O_TRUNC;
  const slot = slots.indexOf(null);
  if (slot < 0) return null;
  // The place is taken at once, so that two of a round do not take the same.
  slots[slot] = PLACE;
  const apply = (model: Model, outcome: Outcome | null): boolean => {
    const inode = model.entry(parent, name);
    const node = inode === undefined ? undefined : model.get(inode);
    const refusals: string[] = [];
    if (node !== undefined && (flags & O_EXCL) !== 0) refusals.push("EEXIST");
    else if (node?.type === "directory") refusals.push("EISDIR", "EEXIST");
    else if (node?.type === "symlink") refusals.push("ELOOP", "EEXIST");
    else if (node === undefined && ((flags & O_CREAT) === 0 || !model.isLive(parent))) refusals.push("ENOENT");
    return answers(outcome, refusals, (value) => {
      if (node === undefined) {
        const made = (value as InodeId | undefined) ?? strangers(parent, name);
        if (model.get(made) !== undefined) return false;
        model.set(made, newNode("file"));
        model.setEntry(parent, name, made);
        return true;
      }
      if (value !== undefined && value !== inode) return false;
      if ((flags & O_TRUNC) !== 0) model.set(inode!, { content: truncateContent(node.content, 0) });
      return true;
    });
  };
  const existing = context.model.entry(parent, name);
  return {
    text: `open ${parent}/${name} flags 0${flags.toString(8)} in slot ${slot}`,
    run: async () => {
      try {
        slots[slot] = await kernel.open(parent, name, flags);
        return slots[slot].inode;
      } catch (error) {
        slots[slot] = null;
        throw error;
      }
    },
    apply,
    changes:
      (flags & O_TRUNC) !== 0 && existing !== undefined
        ? { inode: existing, change: (content) => truncateContent(content, 0) }
        : undefined,
  };
}

/** A file without a name. */
export async function openUnnamed(context: Context, { numbers }: Step): Promise<Bound | null> {
  const { kernel, slots } = context;
  const slot = slots.indexOf(null);
  if (slot < 0) return null;
  const parent = await directoryOf(context, numbers[0]);
  slots[slot] = PLACE;
  return {
    text: `open without a name in ${parent}, in slot ${slot}`,
    run: async () => {
      try {
        slots[slot] = await kernel.openUnnamed(parent);
        return slots[slot].inode;
      } catch (error) {
        slots[slot] = null;
        throw error;
      }
    },
    apply: (model, outcome) =>
      answers(outcome, model.isLive(parent) ? [] : ["ENOENT"], (value) => {
        const made = value as InodeId | undefined;
        if (made === undefined) return true;
        if (model.get(made) !== undefined) return false;
        model.set(made, { ...newNode("file"), links: 0 });
        return true;
      }),
  };
}

/** linkat(2) with AT_EMPTY_PATH: gives an open file without a name its first one. */
export async function linkUnnamed(context: Context, { numbers }: Step): Promise<Bound | null> {
  const { kernel, slots, inUse, model } = context;
  const some = slots.filter((file) => file?.linkable === true && !inUse.has(file) && model.get(file.inode)?.links === 0);
  const file = some[numbers[0] % some.length] ?? null;
  if (file === null) return null;
  inUse.add(file);
  const { inode } = file;
  const parent = await directoryOf(context, numbers[1]);
  const name = nameOf(numbers[2]);
  return {
    text: `link open ${inode} as ${parent}/${name}`,
    run: async () => {
      await kernel.link(inode, parent, name);
      file.linkable = false;
    },
    apply: (model, outcome) => {
      const refusals: string[] = [];
      if (model.entry(parent, name) !== undefined) refusals.push("EEXIST");
      if (!model.isLive(parent)) refusals.push("ENOENT");
      return answers(outcome, refusals, () => {
        model.setEntry(parent, name, inode);
        model.addLinks(inode, 1);
        return true;
      });
    },
  };
}

export async function make(context: Context, { numbers, id }: Step, type: "directory" | "symlink"): Promise<Bound | null> {
  const { kernel, strangers, model } = context;
  if (type === "directory" && model.named().filter((one) => one.type === "directory").length >= DIRECTORIES_MAX) return null;
  const parent = await directoryOf(context, numbers[0]);
  const name = nameOf(numbers[1]);
  const target = (type === "symlink" ? `target-${id}` : "") as ByteString;
  return {
    text: `make ${type} ${parent}/${name}`,
    run: () => kernel.make(parent, name, type, target),
    apply: (model, outcome) => {
      const refusals: string[] = [];
      if (model.entry(parent, name) !== undefined) refusals.push("EEXIST");
      if (!model.isLive(parent)) refusals.push("ENOENT");
      return answers(outcome, refusals, (value) => {
        const made = (value as InodeId | undefined) ?? strangers(parent, name);
        if (model.get(made) !== undefined) return false;
        model.set(made, newNode(type, target));
        model.setEntry(parent, name, made);
        if (type === "directory") model.addLinks(parent, 1);
        return true;
      });
    },
  };
}

/** The name's inode loses it. */
function unname(model: Model, parent: InodeId, name: ByteString): void {
  const inode = model.entry(parent, name)!;
  const directory = model.get(inode)!.type === "directory";
  model.setEntry(parent, name, null);
  if (directory) {
    model.set(inode, { links: 0 });
    model.addLinks(parent, -1);
  } else model.addLinks(inode, -1);
}

export async function remove(context: Context, { numbers }: Step, directory: boolean): Promise<Bound> {
  const { kernel } = context;
  const parent = await directoryOf(context, numbers[0]);
  const name = nameOf(numbers[1]);
  return {
    text: `${directory ? "rmdir" : "unlink"} ${parent}/${name}`,
    run: () => kernel.remove(parent, name, directory),
    apply: (model, outcome) => {
      const inode = model.entry(parent, name);
      const node = inode === undefined ? undefined : model.get(inode);
      const refusals: string[] = [];
      if (node === undefined) refusals.push("ENOENT");
      else if (directory && node.type !== "directory") refusals.push("ENOTDIR");
      else if (!directory && node.type === "directory") refusals.push("EISDIR");
      else if (node.entries.size > 0) refusals.push("ENOTEMPTY");
      return answers(outcome, refusals, () => {
        unname(model, parent, name);
        return true;
      });
    },
  };
}

export async function rename(context: Context, { numbers }: Step): Promise<Bound> {
  const { kernel } = context;
  const parent = await directoryOf(context, numbers[0]);
  const newParent = numbers[4] % 2 === 0 ? parent : await directoryOf(context, numbers[1]);
  const [name, newName] = [nameOf(numbers[2]), nameOf(numbers[3])];
  const flags = [0, 0, 0, 1, 2][numbers[5] % 5];
  const apply = (model: Model, outcome: Outcome | null): boolean => {
    const [source, target] = [model.entry(parent, name), model.entry(newParent, newName)];
    const refusals = renameRefusals(model, parent, source, newParent, target, flags);
    return answers(outcome, refusals, () => {
      if (source === target) return true;
      const from = model.get(source!)!.type === "directory";
      const to = target !== undefined && model.get(target)!.type === "directory";
      if (target !== undefined && flags !== 2) unname(model, newParent, newName);
      model.setEntry(parent, name, flags === 2 ? target! : null);
      model.setEntry(newParent, newName, source!);
      if (parent !== newParent) {
        const moved = Number(from) - Number(flags === 2 && to);
        model.addLinks(parent, -moved);
        model.addLinks(newParent, moved);
      }
      return true;
    });
  };
  const text = `rename ${parent}/${name} to ${newParent}/${newName}${["", " noreplace", " exchange"][flags]}`;
  return { text, run: () => kernel.rename(parent, name, newParent, newName, flags), apply };
}

/** Every refusal that there is reason for; which comes first is not said. */
function renameRefusals(
  model: Model,
  parent: InodeId,
  source: InodeId | undefined,
  newParent: InodeId,
  target: InodeId | undefined,
  flags: number,
): string[] {
  const refusals: string[] = [];
  if (source === undefined || !model.isLive(parent) || !model.isLive(newParent)) refusals.push("ENOENT");
  if (flags === 1 && target !== undefined) refusals.push("EEXIST");
  if (flags === 2 && target === undefined) refusals.push("ENOENT");
  const from = source === undefined ? undefined : model.get(source);
  const to = target === undefined ? undefined : model.get(target);
  if (from?.type === "directory" && model.contains(source!, newParent)) refusals.push("EINVAL");
  if (to?.type === "directory" && flags === 2 && model.contains(target!, parent)) refusals.push("EINVAL");
  if (to?.type === "directory" && flags !== 2 && model.contains(target!, parent)) refusals.push("ENOTEMPTY");
  if (from !== undefined && to !== undefined && flags !== 2 && source !== target) {
    if (from.type === "directory" && to.type !== "directory") refusals.push("ENOTDIR");
    if (from.type !== "directory" && to.type === "directory") refusals.push("EISDIR");
    if (to.entries.size > 0) refusals.push("ENOTEMPTY");
  }
  return refusals;
}

export async function link(context: Context, { numbers }: Step): Promise<Bound | null> {
  const { kernel } = context;
  const inode = await inodeOf(context, numbers[0], ["file", "symlink"]);
  if (inode === null) return null;
  const parent = await directoryOf(context, numbers[1]);
  const name = nameOf(numbers[2]);
  return {
    text: `link ${inode} as ${parent}/${name}`,
    run: () => kernel.link(inode, parent, name),
    apply: (model, outcome) => {
      const refusals: string[] = [];
      if (model.entry(parent, name) !== undefined) refusals.push("EEXIST");
      if (!model.isLive(parent) || model.get(inode)!.links === 0) refusals.push("ENOENT");
      return answers(outcome, refusals, () => {
        model.setEntry(parent, name, inode);
        model.addLinks(inode, 1);
        return true;
      });
    },
  };
}

export async function find(context: Context, { numbers }: Step): Promise<Bound> {
  const { kernel } = context;
  const parent = await directoryOf(context, numbers[0]);
  return bindFind(kernel, parent, nameOf(numbers[1]));
}

export function bindFind(kernel: Kernel, parent: InodeId, name: ByteString): Bound {
  return {
    text: `look up ${parent}/${name}`,
    run: () => kernel.find(parent, name),
    apply: (model, outcome) => {
      if (outcome !== null && "error" in outcome) return outcome.error === "ENOENT" && !model.isLive(parent);
      return outcome === null || outcome.value === (model.entry(parent, name) ?? null);
    },
  };
}

export async function list(context: Context, { numbers }: Step): Promise<Bound> {
  const { kernel, alone } = context;
  const inode = await directoryOf(context, numbers[0]);
  return {
    text: `list ${inode}`,
    lists: inode,
    run: () => kernel.list(inode, numbers[1] % 2 === 0, alone),
    apply: (model, outcome) => {
      if (outcome === null || !alone) return true;
      const found = "value" in outcome ? (outcome.value as ReadonlyMap<ByteString, InodeId>) : new Map();
      const expected = model.get(inode)!.entries;
      return found.size === expected.size && [...expected].every(([name, child]) => found.get(name) === child);
    },
  };
}

export async function readLink(context: Context, { numbers }: Step): Promise<Bound | null> {
  const inode = await inodeOf(context, numbers[0], ["symlink"]);
  if (inode === null) return null;
  const apply = (model: Model, outcome: Outcome | null): boolean =>
    answers(outcome, [], (value) => value === undefined || value === model.get(inode)!.target);
  return { text: `readlink ${inode}`, run: () => context.kernel.readLink(inode), apply };
}

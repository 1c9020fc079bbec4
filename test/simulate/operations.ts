// The kinds of steps: what each does to a kernel, and what it does to the model.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, type Attributes } from "../../fs/types.ts";
import { type Content, readContent, truncateContent, writeContent, zeroContent } from "./content.ts";
import type { Outcome } from "./judge.ts";
import { ALLOCATE, type File, type Kernel, PUNCH, ZERO } from "./kernel.ts";
import { type HeldLock, type Model, newNode } from "./model.ts";
import type { Step } from "./steps.ts";

const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
export const SLOTS = 6;
const NAMES = 7;
const DIRECTORIES_MAX = 12;

/** A step with what it needs at hand: what the program has open, which inodes its paths led to. */
export interface Bound {
  text: string;
  run(): Promise<unknown>;
  apply(model: Model, outcome: Outcome | null): boolean;
  /** The file whose content it changes, and how. */
  changes?: ContentEffect;
  /** It makes everything durable that ended before it began; with an inode, that file's content as well. */
  sync?: { inode: InodeId | null };
  /** The file whose bytes it gives. */
  reads?: InodeId;
  /** The directory whose names it gives. */
  lists?: InodeId;
}

export interface ContentEffect {
  inode: InodeId;
  change(content: Content): Content;
  /** Of a write: where it begins (null: at the end) and how long it is. A power cut may leave its first part only. */
  written?: { at: number | null; length: number };
}

export interface Context {
  kernel: Kernel;
  model: Model;
  slots: (File | null)[];
  /** Open files that steps of this round use. */
  inUse: Set<File>;
  /** Nothing else goes on in this round. */
  alone: boolean;
  /** Walks to the inode, which has a name, and keeps it in use until the round ends. */
  reach(inode: InodeId): Promise<InodeId>;
  /** Inodes that the store has and the model does not: what operations made whose end nobody saw. */
  strangers(parent: InodeId, name: ByteString): InodeId;
  agree(inode: InodeId): Promise<void>;
}

type Kind = (context: Context, step: Step) => Promise<Bound | null> | Bound | null;

/** Outcome as expected: a value (compared by `same`), or one of the refusals that the state gives reason for. */
function answers(outcome: Outcome | null, refusals: readonly string[], done: (value: unknown) => boolean): boolean {
  if (outcome !== null && "error" in outcome) return refusals.includes(outcome.error);
  if (refusals.length > 0) return outcome === null;
  return done(outcome === null ? undefined : outcome.value);
}

function nameOf(number: number): ByteString {
  return `n${number % NAMES}` as ByteString;
}

async function directoryOf({ model, reach }: Context, number: number): Promise<InodeId> {
  const directories = model.named().filter(({ type }) => type === "directory");
  return reach(directories[number % directories.length].inode);
}

async function inodeOf({ model, reach }: Context, number: number, types: readonly string[]): Promise<InodeId | null> {
  const inodes = model.named().filter(({ type }) => types.includes(type));
  return inodes.length === 0 ? null : reach(inodes[number % inodes.length].inode);
}

function lengthOf(kind: number, number: number): number {
  const most = kind % 100 < 60 ? 5000 : kind % 100 < 97 ? 60_000 : kind % 1000 < 990 ? 250_000 : 1_500_000;
  return 1 + (number % most);
}

function offsetOf(kind: number, number: number): number {
  const offset = number % (kind % 4 === 0 ? 2000 : kind % 4 === 1 ? 20_000 : 200_000);
  return kind % 3 === 0 ? offset - (offset % 4096) : offset;
}

function dataOf(id: number, length: number): Uint8Array {
  const data = new Uint8Array(length);
  for (let at = 0; at < length; at++) data[at] = id * 31 + at * 7 + (at >> 8);
  return data;
}

function openAt({ slots, inUse }: Context, number: number): File | null {
  const open = slots.filter((file) => file !== null && file.handle >= 0);
  if (open.length === 0) return null;
  const file = open[number % open.length]!;
  inUse.add(file);
  return file;
}

// ---- Names

const FLAGS = [O_RDWR, O_RDWR | O_CREAT, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_CREAT | O_TRUNC, O_RDWR | O_TRUNC]; // prettier-ignore

async function open(context: Context, { numbers }: Step): Promise<Bound | null> {
  const { kernel, slots, strangers } = context;
  const parent = await directoryOf(context, numbers[0]);
  const name = nameOf(numbers[1]);
  let flags = FLAGS[numbers[2] % FLAGS.length];
  if (!context.alone) flags &= ~O_TRUNC;
  const slot = slots.indexOf(null);
  if (slot < 0) return null;
  // The place is taken at once, so that two of a round do not take the same.
  slots[slot] = { inode: 0 as InodeId, handle: -1, owner: "" };
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

async function make(context: Context, { numbers, id }: Step, type: "directory" | "symlink"): Promise<Bound | null> {
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

async function remove(context: Context, { numbers }: Step, directory: boolean): Promise<Bound> {
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

async function rename(context: Context, { numbers }: Step): Promise<Bound> {
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

async function link(context: Context, { numbers }: Step): Promise<Bound | null> {
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

async function find(context: Context, { numbers }: Step): Promise<Bound> {
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

async function list(context: Context, { numbers }: Step): Promise<Bound> {
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

async function readLink(context: Context, { numbers }: Step): Promise<Bound | null> {
  const inode = await inodeOf(context, numbers[0], ["symlink"]);
  if (inode === null) return null;
  const apply = (model: Model, outcome: Outcome | null): boolean =>
    answers(outcome, [], (value) => value === undefined || value === model.get(inode)!.target);
  return { text: `readlink ${inode}`, run: () => context.kernel.readLink(inode), apply };
}

// ---- Attributes

async function stat(context: Context, { numbers }: Step): Promise<Bound> {
  const { kernel } = context;
  const file = numbers[1] % 2 === 0 ? openAt(context, numbers[0]) : null;
  const inode = file?.inode ?? (await inodeOf(context, numbers[0], ["file", "directory", "symlink"]))!;
  return bindStat(kernel, inode);
}

export function bindStat(kernel: Kernel, inode: InodeId): Bound {
  return {
    text: `stat ${inode}`,
    run: async () => ({ ...(await kernel.attributes(inode)) }),
    apply: (model, outcome) =>
      answers(outcome, [], (value) => {
        if (value === undefined) return true;
        const { mode, size, linkCount } = value as Attributes;
        const node = model.get(inode)!;
        const type = { [S_IFREG]: "file", [S_IFDIR]: "directory", [S_IFLNK]: "symlink" }[mode & S_IFMT];
        if (type !== node.type || (mode & 0o7777) !== node.mode || linkCount !== node.links) return false;
        return type !== "file" || size === node.content.size;
      }),
  };
}

async function changeMode(context: Context, { numbers }: Step): Promise<Bound> {
  const inode = (await inodeOf(context, numbers[0], ["file", "directory"]))!;
  const mode = 0o400 | (numbers[1] & 0o777);
  const apply = (model: Model, outcome: Outcome | null): boolean =>
    answers(outcome, [], () => {
      model.set(inode, { mode });
      return true;
    });
  return { text: `chmod ${inode} 0${mode.toString(8)}`, run: () => context.kernel.changeMode(inode, mode), apply };
}

async function xattr(context: Context, { numbers, id }: Step, action: "get" | "set" | "remove"): Promise<Bound> {
  const { kernel } = context;
  const inode = (await inodeOf(context, numbers[0], ["file", "directory"]))!;
  const name = `user.x${numbers[1] % 3}` as ByteString;
  const value = `value-${id}`;
  const run = async (): Promise<unknown> => {
    if (action === "get") return Buffer.from(await kernel.xattr(inode, name)).toString();
    return action === "set" ? kernel.setXattr(inode, name, Buffer.from(value)) : kernel.removeXattr(inode, name);
  };
  return {
    text: `${action} xattr ${name} of ${inode}`,
    run,
    apply: (model, outcome) => {
      const { xattrs } = model.get(inode)!;
      const refusals = action !== "set" && !xattrs.has(name) ? ["ENODATA"] : [];
      return answers(outcome, refusals, (found) => {
        if (action === "get") return found === undefined || found === xattrs.get(name);
        const changed = new Map(xattrs);
        if (action === "set") changed.set(name, value);
        else changed.delete(name);
        model.set(inode, { xattrs: changed });
        return true;
      });
    },
  };
}

// ---- Data

type Change = ContentEffect["change"];

/** A change of a file's content with a result that is known ahead. */
function bindChange(text: string, file: File, change: Change, run: () => Promise<unknown>, expected?: number): Bound {
  return {
    text,
    run,
    changes: { inode: file.inode, change },
    apply: (model, outcome) =>
      answers(outcome, [], (value) => {
        if (value !== undefined && expected !== undefined && value !== expected) return false;
        model.set(file.inode, { content: change(model.get(file.inode)!.content) });
        return true;
      }),
  };
}

function write(context: Context, { numbers, id }: Step, append: boolean): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const data = dataOf(id, lengthOf(numbers[1], numbers[2]));
  const offset = offsetOf(numbers[3], numbers[4]);
  const { size } = context.model.get(file.inode)!.content;
  if (append && size > 4_000_000) return null;
  const text = append ? `append ${data.length} to ${file.inode}` : `write ${data.length} at ${offset} of ${file.inode}`;
  const change: Change = (content) => writeContent(content, append ? content.size : offset, data);
  const bound = bindChange(text, file, change, () => context.kernel.write(file, offset, data, append), data.length);
  const written = { at: append ? null : offset, length: data.length };
  return { ...bound, changes: { inode: file.inode, change, written } };
}

function read(context: Context, { numbers }: Step): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const { size } = context.model.get(file.inode)!.content;
  let offset = numbers[2] % Math.max(1, size + 100);
  let length = lengthOf(numbers[1], numbers[3]);
  if (!context.alone) {
    // Within one page, for Linux does not read more than that at once.
    offset -= offset % 4096;
    length = 1 + (length % 4096);
  }
  return bindRead(context.kernel, file, offset, length);
}

export function bindRead(kernel: Kernel, file: File, offset: number, length: number): Bound {
  return {
    text: `read ${length} at ${offset} of ${file.inode}`,
    reads: file.inode,
    run: () => kernel.read(file, offset, length),
    apply: (model, outcome) =>
      answers(outcome, [], (value) => {
        if (value === undefined) return true;
        const expected = readContent(model.get(file.inode)!.content, offset, length);
        return Buffer.compare(expected, value as Uint8Array) === 0;
      }),
  };
}

function truncate(context: Context, { numbers }: Step): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const size = numbers[1] % 5 === 0 ? 0 : offsetOf(numbers[2], numbers[3]);
  const change: Change = (content) => truncateContent(content, size);
  return bindChange(`truncate ${file.inode} to ${size}`, file, change, () => context.kernel.truncate(file, size));
}

function fallocate(context: Context, { numbers }: Step, mode: number): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const [offset, length] = [offsetOf(numbers[1], numbers[2]), lengthOf(numbers[3] % 97, numbers[4])];
  const change: Change = (content) => {
    const end = Math.max(content.size, mode === PUNCH ? 0 : offset + length);
    const longer = end > content.size ? truncateContent(content, end) : content;
    return mode === ALLOCATE ? longer : zeroContent(longer, offset, length);
  };
  const text = `fallocate ${mode} ${length} at ${offset} of ${file.inode}`;
  return bindChange(text, file, change, () => context.kernel.fallocate(file, offset, length, mode));
}

function copy(context: Context, { numbers }: Step): Bound | null {
  const [from, to] = [openAt(context, numbers[0]), openAt(context, numbers[1])];
  if (from === null || to === null || from.inode === to.inode) return null;
  const [offset, toOffset] = [offsetOf(numbers[2], numbers[3]), offsetOf(numbers[3], numbers[4])];
  const length = lengthOf(numbers[5] % 97, numbers[5]);
  const data = readContent(context.model.get(from.inode)!.content, offset, length);
  const change: Change = (content) => writeContent(content, toOffset, data);
  const text = `copy ${length} from ${offset} of ${from.inode} to ${toOffset} of ${to.inode}`;
  return bindChange(text, to, change, () => context.kernel.copy(from, offset, to, toOffset, length), data.length);
}

function sync(context: Context, { numbers }: Step): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const { inode } = file;
  return { text: `fsync ${inode}`, run: () => context.kernel.sync(file), apply: done, sync: { inode } };
}

async function syncDirectory(context: Context, { numbers }: Step): Promise<Bound> {
  const inode = await directoryOf(context, numbers[0]);
  return { text: `fsync directory ${inode}`, run: () => context.kernel.syncDirectory(inode), apply: done, sync: { inode: null } };
}

function done(_model: Model, outcome: Outcome | null): boolean {
  return answers(outcome, [], () => true);
}

// ---- Locks, open files, the rest

function lock(context: Context, { numbers }: Step): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const type = (["read", "write", "unlock"] as const)[numbers[1] % 3];
  const start = numbers[2] % 10;
  const end = numbers[3] % 5 === 0 ? Infinity : start + (numbers[3] % 10);
  return {
    text: `${type} lock [${start}, ${end}] of ${file.inode} by ${file.owner}`,
    run: () => context.kernel.lock(file, { type, start, end, pid: 1 }),
    apply: (model, outcome) => {
      const { locks } = model.get(file.inode)!;
      const held = (one: HeldLock): boolean => one.owner !== file.owner && one.start <= end && one.end >= start;
      const taken = type !== "unlock" && locks.some((one) => held(one) && (type === "write" || one.type === "write"));
      return answers(outcome, taken ? ["EAGAIN"] : [], () => {
        const rest = locks.flatMap((one) => (one.owner === file.owner ? without(one, start, end) : [one]));
        const added = type === "unlock" ? rest : [...rest, { owner: file.owner, type, start, end }];
        model.set(file.inode, { locks: added });
        return true;
      });
    },
  };
}

function without(held: HeldLock, start: number, end: number): HeldLock[] {
  const parts = [
    { ...held, end: Math.min(held.end, start - 1) },
    { ...held, start: Math.max(held.start, end + 1) },
  ];
  return parts.filter((part) => part.start <= part.end);
}

function close(context: Context, { numbers }: Step): Bound | null {
  const used = new Set(context.inUse);
  const file = openAt(context, numbers[0]);
  if (file === null || used.has(file)) return null;
  context.slots[context.slots.indexOf(file)] = null;
  return {
    text: `close ${file.inode} of ${file.owner}`,
    run: () => context.kernel.close(file),
    apply: (model, outcome) =>
      answers(outcome, [], () => {
        const { locks } = model.get(file.inode)!;
        if (locks.length > 0) model.set(file.inode, { locks: locks.filter((one) => one.owner !== file.owner) });
        return true;
      }),
  };
}

function shrink({ kernel }: Context): Bound {
  return { text: "the kernel forgets what it does not use", run: async () => kernel.shrink(), apply: done };
}

async function agree(context: Context, { numbers }: Step): Promise<Bound> {
  const inode = (await inodeOf(context, numbers[0], ["file", "directory", "symlink"]))!;
  return { text: `both mounts agree on ${inode}`, run: () => context.agree(inode), apply: done };
}

export const KINDS: Record<string, Kind> = {
  open,
  makeDirectory: (context, step) => make(context, step, "directory"),
  symlink: (context, step) => make(context, step, "symlink"),
  unlink: (context, step) => remove(context, step, false),
  removeDirectory: (context, step) => remove(context, step, true),
  rename,
  link,
  find,
  list,
  readLink,
  stat,
  changeMode,
  xattr: (context, step) => xattr(context, step, "get"),
  setXattr: (context, step) => xattr(context, step, "set"),
  removeXattr: (context, step) => xattr(context, step, "remove"),
  write: (context, step) => write(context, step, false),
  append: (context, step) => write(context, step, true),
  read,
  truncate,
  punch: (context, step) => fallocate(context, step, PUNCH),
  zero: (context, step) => fallocate(context, step, ZERO),
  allocate: (context, step) => fallocate(context, step, ALLOCATE),
  copy,
  sync,
  syncDirectory,
  lock,
  close,
  shrink,
  agree,
};

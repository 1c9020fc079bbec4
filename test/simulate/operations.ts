// The kinds of steps: what each does to a kernel, and what it does to the model. Those on names and on data are in files of
// their own.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, type Attributes } from "../../fs/types.ts";
import { answers, type Bound, type Context, done, inodeOf, type Kind, openAt } from "./bound.ts";
import { copy, fallocate, read, shift, sync, syncDirectory, truncate, write } from "./data-kinds.ts";
import type { Outcome } from "./judge.ts";
import type { Kernel } from "./kernel.ts";
import { ALLOCATE, COLLAPSE, INSERT, PUNCH, ZERO } from "./kernel-data.ts";
import type { Model } from "./model.ts";
import { contended, lock, testLock } from "./lock-kinds.ts";
import {
  find,
  link,
  linkUnnamed,
  list,
  make,
  O_APPEND,
  O_DIRECT,
  open,
  openUnnamed,
  readLink,
  remove,
  rename,
} from "./name-kinds.ts";
import type { Step } from "./steps.ts";

// ---- Attributes

async function stat(context: Context, { numbers }: Step): Promise<Bound> {
  const { kernel } = context;
  const file = numbers[1] % 2 === 0 ? openAt(context, numbers[0]) : null;
  const inode = file?.inode ?? (await inodeOf(context, numbers[0], ["file", "directory", "symlink"]))!;
  return bindStat(kernel, inode);
}

export function bindStat(kernel: Kernel, inode: InodeId): Bound {
  const fits = (model: Model, outcome: Outcome | null, sized: boolean): boolean =>
    answers(outcome, [], (value) => {
      if (value === undefined) return true;
      const { mode, size, linkCount } = value as Attributes;
      const node = model.get(inode)!;
      const type = { [S_IFREG]: "file", [S_IFDIR]: "directory", [S_IFLNK]: "symlink" }[mode & S_IFMT];
      if (type !== node.type || (mode & 0o7777) !== node.mode || linkCount !== node.links) return false;
      return !sized || type !== "file" || size === node.content.size;
    });
  return {
    text: `stat ${inode}`,
    run: async () => ({ ...(await kernel.attributes(inode)) }),
    apply: (model, outcome) => fits(model, outcome, true),
    applyLost: (model, outcome) => fits(model, outcome, false),
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
  const look = bindStat(context.kernel, inode);
  return { text: `chmod ${inode} 0${mode.toString(8)}`, run: () => context.kernel.changeMode(inode, mode), apply, look };
}

type XattrAction = "get" | "set" | "remove";

async function xattr(context: Context, { numbers, id }: Step, action: XattrAction): Promise<Bound> {
  const inode = (await inodeOf(context, numbers[0], ["file", "directory"]))!;
  const name = `user.x${numbers[1] % 3}` as ByteString;
  const bound = bindXattr(context.kernel, inode, name, action, `value-${id}`);
  return action === "get" ? bound : { ...bound, look: bindXattr(context.kernel, inode, name, "get", "") };
}

function bindXattr(kernel: Kernel, inode: InodeId, name: ByteString, action: XattrAction, value: string): Bound {
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

async function xattrs(context: Context, { numbers }: Step): Promise<Bound> {
  const inode = (await inodeOf(context, numbers[0], ["file", "directory"]))!;
  return {
    text: `list xattrs of ${inode}`,
    run: async () => [...(await context.kernel.xattrNames(inode))].sort().join(),
    apply: (model, outcome) =>
      answers(outcome, [], (value) => value === undefined || value === [...model.get(inode)!.xattrs.keys()].sort().join()),
  };
}

// ---- Open files, the rest

function space({ kernel }: Context): Bound {
  return { text: "statfs", run: () => kernel.space(), apply: done };
}

function close(context: Context, { numbers }: Step): Bound | null {
  const used = new Set(context.inUse);
  const file = contended(context, numbers) ?? openAt(context, numbers[0]);
  if (file === null || used.has(file)) return null;
  context.slots[context.slots.indexOf(file)] = null;
  return {
    text: `close ${file.inode} of ${file.owner}`,
    run: () => context.kernel.close(file),
    closes: file.inode,
    apply: (model, outcome) =>
      answers(outcome, [], () => {
        const { locks } = model.get(file.inode)!;
        if (locks.length > 0) model.set(file.inode, { locks: locks.filter((one) => one.owner !== file.owner) });
        return true;
      }),
  };
}

function shrink({ kernel }: Context): Bound {
  return { text: "the kernel forgets what it does not use", run: () => kernel.shrink(), apply: done };
}

async function agree(context: Context, { numbers }: Step): Promise<Bound> {
  const inode = (await inodeOf(context, numbers[0], ["file", "directory", "symlink"]))!;
  return { text: `both mounts agree on ${inode}`, run: () => context.agree(inode), apply: done };
}

export const KINDS: Record<string, Kind> = {
  open: (context, step) => open(context, step, 0),
  openAppend: (context, step) => open(context, step, O_APPEND),
  openDirect: (context, step) => open(context, step, O_DIRECT),
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
  xattrs,
  collapse: (context, step) => shift(context, step, COLLAPSE),
  insert: (context, step) => shift(context, step, INSERT),
  openUnnamed,
  linkUnnamed,
  testLock,
  space,
  lock: (context, step) => lock(context, step, false),
  lockWait: (context, step) => lock(context, step, true),
  close,
  shrink,
  agree,
};

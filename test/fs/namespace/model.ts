// A filesystem so simple that it can be seen to be right: the namespace's operations over Maps and arrays. The random
// test (random.ts) carries out the same operations on both and compares.
//
// A file's content is cut into units: 4 MiB cells, of each the first 4 KiB are a unit and the rest is one. What a unit
// holds is a text: the stripe and offset of its first byte, an inline byte, "unwritten", or "" for a hole. All ranges
// begin and end where units do.
import { S_IFDIR, S_IFLNK, S_IFREG } from "../../../fs/types.ts";

export const CELL_BYTES = 4 * 1024 * 1024;
export const HEAD_BYTES = 4096;
/** 256 MiB: enough windows that truncates are done in the background. */
export const UNITS = 128;

export function unitStart(unit: number): number {
  return Math.floor(unit / 2) * CELL_BYTES + (unit % 2) * HEAD_BYTES;
}

export interface ModelInode {
  type: number;
  permissions: number;
  links: number;
  /** In units. */
  size: number;
  units: string[];
  xattrs: Map<string, string>;
  names: Map<string, number>;
  parent: number;
  target: string;
}

export interface Step {
  operation: string;
  inode?: number;
  parent?: number;
  name?: string;
  newParent?: number;
  newName?: string;
  mode?: number;
  target?: string;
  from?: number;
  to?: number;
  /** What each unit of [from, to) holds afterwards. */
  content?: string[];
  source?: number;
  sourceFrom?: number;
  flag?: boolean;
  keepSize?: boolean;
  value?: string;
  /** The number that the namespace gave to what was made. */
  made?: number;
}

const LOOP_LIMIT = 10_000;

export class Model {
  inodes = new Map<number, ModelInode>([[1, blank(S_IFDIR, 0o755, 1)]]);

  copy(): Model {
    const copy = new Model();
    copy.inodes = structuredClone(this.inodes);
    return copy;
  }

  /** Carries the step out; returns the error's code, or null. */
  run(step: Step): string | null {
    return STEPS[step.operation](this, step);
  }

  /** Inodes without names go when nobody knows them. */
  dropUnnamed(): void {
    for (const [id, inode] of this.inodes) if (inode.links === 0) this.inodes.delete(id);
  }

  directory(id: number): ModelInode | string {
    const inode = this.inodes.get(id);
    if (inode === undefined || inode.links === 0) return "ENOENT";
    return inode.type === S_IFDIR ? inode : "ENOTDIR";
  }

  isAbove(id: number, below: number): boolean {
    for (let at = below, count = 0; count < LOOP_LIMIT; count++) {
      if (at === id) return true;
      if (at === 1) return false;
      at = this.inodes.get(at)!.parent;
    }
    throw new Error("the model has a loop");
  }
}

function blank(type: number, permissions: number, parent: number): ModelInode {
  return {
    type,
    permissions,
    links: type === S_IFDIR ? 2 : 1,
    size: 0,
    units: Array.from({ length: UNITS * 2 }, () => ""),
    xattrs: new Map(),
    names: new Map(),
    parent,
    target: "",
  };
}

function drop(inode: ModelInode): void {
  inode.links = inode.type === S_IFDIR ? 0 : inode.links - 1;
}

function truncate(inode: ModelInode, size: number): void {
  if (size <= inode.size) inode.units.fill("", size);
  inode.size = size;
}

const STEPS: Record<string, (model: Model, step: Step) => string | null> = {
  make(model, step) {
    const directory = model.directory(step.parent!);
    if (typeof directory === "string") return directory;
    if (directory.names.has(step.name!)) return "EEXIST";
    const type = step.mode! & 0o170000;
    if (step.made === undefined) return null;
    const inode = blank(type, type === S_IFLNK ? 0o777 : step.mode! & 0o7777, step.parent!);
    if (type === S_IFDIR) inode.permissions |= directory.permissions & 0o2000;
    inode.target = step.target ?? "";
    model.inodes.set(step.made, inode);
    directory.names.set(step.name!, step.made);
    if (type === S_IFDIR) directory.links++;
    return null;
  },
  link(model, step) {
    const directory = model.directory(step.parent!);
    if (typeof directory === "string") return directory;
    const inode = model.inodes.get(step.inode!);
    if (inode === undefined) return "ESTALE";
    if (inode.type === S_IFDIR) return "EPERM";
    if (directory.names.has(step.name!)) return "EEXIST";
    if (inode.links === 0) return "ENOENT";
    directory.names.set(step.name!, step.inode!);
    inode.links++;
    return null;
  },
  unlink(model, step) {
    const directory = model.directory(step.parent!);
    if (typeof directory === "string") return directory;
    const id = directory.names.get(step.name!);
    if (id === undefined) return "ENOENT";
    const inode = model.inodes.get(id)!;
    if (step.flag && inode.type !== S_IFDIR) return "ENOTDIR";
    if (!step.flag && inode.type === S_IFDIR) return "EISDIR";
    if (inode.names.size > 0) return "ENOTEMPTY";
    directory.names.delete(step.name!);
    if (inode.type === S_IFDIR) directory.links--;
    drop(inode);
    return null;
  },
  rename: (model, step) => rename(model, step),
  chmod(model, step) {
    const inode = model.inodes.get(step.inode!);
    if (inode === undefined) return "ESTALE";
    inode.permissions = step.mode!;
    return null;
  },
  setXattr(model, step) {
    const inode = model.inodes.get(step.inode!);
    if (inode === undefined) return "ESTALE";
    if (inode.type !== S_IFREG && inode.type !== S_IFDIR) return "EPERM";
    inode.xattrs.set(step.name!, step.value!);
    return null;
  },
  removeXattr(model, step) {
    const inode = model.inodes.get(step.inode!);
    if (inode === undefined) return "ESTALE";
    return inode.xattrs.delete(step.name!) ? null : "ENODATA";
  },
  truncate(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    truncate(inode, step.to!);
    return null;
  },
  write(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    step.content!.forEach((text, index) => (inode.units[step.from! + index] = text));
    inode.size = Math.max(inode.size, step.to!);
    return null;
  },
  punch(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    inode.units.fill("", step.from!, step.to!);
    return null;
  },
  allocate(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    for (let unit = step.from!; unit < step.to!; unit++) inode.units[unit] ||= "unwritten";
    if (!step.keepSize) inode.size = Math.max(inode.size, step.to!);
    return null;
  },
  zero(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    inode.units.fill("unwritten", step.from!, step.to!);
    if (!step.keepSize) inode.size = Math.max(inode.size, step.to!);
    return null;
  },
  collapse(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    const count = step.to! - step.from!;
    if (step.to! >= inode.size) return "EINVAL";
    inode.units.splice(step.from!, count);
    for (let index = 0; index < count; index++) inode.units.push("");
    inode.size -= count;
    inode.units.fill("", inode.size);
    return null;
  },
  insert(model, step) {
    const inode = file(model, step.inode!);
    if (typeof inode === "string") return inode;
    const count = step.to! - step.from!;
    if (step.from! >= inode.size) return "EINVAL";
    inode.units.splice(step.from!, 0, ...Array.from({ length: count }, () => ""));
    inode.units.length = UNITS * 2;
    inode.size += count;
    return null;
  },
  share(model, step) {
    const source = file(model, step.source!);
    const inode = file(model, step.inode!);
    if (typeof source === "string") return source;
    if (typeof inode === "string") return inode;
    const count = Math.max(0, Math.min(step.to! - step.from!, source.size - step.sourceFrom!));
    const overlap = source === inode && step.from! < step.sourceFrom! + count && step.sourceFrom! < step.from! + count;
    if (overlap) return "EINVAL";
    if (count === 0) return null;
    for (let index = 0; index < count; index++) {
      const text = source.units[step.sourceFrom! + index];
      inode.units[step.from! + index] = text === "unwritten" ? "" : text;
    }
    inode.size = Math.max(inode.size, step.from! + count);
    return null;
  },
};

function file(model: Model, id: number): ModelInode | string {
  const inode = model.inodes.get(id);
  if (inode === undefined) return "ESTALE";
  return inode.type === S_IFREG ? inode : inode.type === S_IFDIR ? "EISDIR" : "EINVAL";
}

function rename(model: Model, step: Step): string | null {
  const from = model.directory(step.parent!);
  if (typeof from === "string") return from;
  const to = model.directory(step.newParent!);
  if (typeof to === "string") return to;
  const source = from.names.get(step.name!);
  if (source === undefined) return "ENOENT";
  const target = to.names.get(step.newName!);
  const exchange = step.keepSize!;
  if (target === undefined && exchange) return "ENOENT";
  if (target !== undefined && step.flag) return "EEXIST";
  if (target === source) return null;
  const moved = model.inodes.get(source)!;
  const replaced = target === undefined ? undefined : model.inodes.get(target)!;
  if (moved.type === S_IFDIR && model.isAbove(source, step.newParent!)) return "EINVAL";
  if (exchange && replaced!.type === S_IFDIR && model.isAbove(target!, step.parent!)) return "EINVAL";
  if (!exchange && replaced !== undefined) {
    if (moved.type === S_IFDIR && replaced.type !== S_IFDIR) return "ENOTDIR";
    if (moved.type !== S_IFDIR && replaced.type === S_IFDIR) return "EISDIR";
    if (replaced.names.size > 0) return "ENOTEMPTY";
    if (replaced.type === S_IFDIR) to.links--;
    drop(replaced);
  }
  from.names.delete(step.name!);
  to.names.set(step.newName!, source);
  if (exchange) from.names.set(step.name!, target!);
  move(moved, from, to, step.newParent!);
  if (exchange) move(replaced!, to, from, step.parent!);
  return null;
}

function move(inode: ModelInode, from: ModelInode, to: ModelInode, parent: number): void {
  if (inode.type !== S_IFDIR) return;
  from.links--;
  to.links++;
  inode.parent = parent;
}

// The kinds of steps on the data of open files.

import type { Outcome } from "./judge.ts";
import type { Model } from "./model.ts";
import { answers, type Bound, type ContentEffect, type Context, directoryOf, done, openAt } from "./bound.ts";
import {
  type Content,
  collapseContent,
  insertContent,
  readContent,
  truncateContent,
  writeContent,
  zeroContent,
} from "./content.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { ALLOCATE, COLLAPSE, INSERT, PUNCH } from "./kernel-data.ts";
import type { Step } from "./steps.ts";

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

/** Whole in one request, however it lies in the program's memory. */
const DIRECT_UNCUT_BYTES = 1020 * 1024;

const PAGE_BYTES = 4096;
/** Files do not grow without end. */
const SHIFTED_MAX_BYTES = 2_000_000;

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

export function write(context: Context, { numbers, id }: Step, append: boolean): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  append ||= file.append;
  // A direct write that is longer is more than one request.
  const data = dataOf(id, Math.min(lengthOf(numbers[1], numbers[2]), file.direct ? DIRECT_UNCUT_BYTES : Infinity));
  const offset = offsetOf(numbers[3], numbers[4]);
  const { size } = context.model.get(file.inode)!.content;
  if (append && size > 4_000_000) return null;
  const text = append ? `append ${data.length} to ${file.inode}` : `write ${data.length} at ${offset} of ${file.inode}`;
  const change: Change = (content) => writeContent(content, append ? content.size : offset, data);
  const bound = bindChange(text, file, change, () => context.kernel.data.write(file, offset, data, append), data.length);
  const written = { at: append ? null : offset, length: data.length };
  return { ...bound, changes: { inode: file.inode, change, written } };
}

export function read(context: Context, { numbers }: Step): Bound | null {
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
  const fits = (model: Model, outcome: Outcome | null, cut: boolean): boolean =>
    answers(outcome, [], (value) => {
      if (value === undefined) return true;
      const found = value as Uint8Array;
      const expected = readContent(model.get(file.inode)!.content, offset, length);
      return Buffer.compare(cut ? expected.subarray(0, found.length) : expected, found) === 0;
    });
  return {
    text: `read ${length} at ${offset} of ${file.inode}`,
    reads: file.inode,
    exact: file.direct,
    run: () => kernel.data.read(file, offset, length),
    apply: (model, outcome) => fits(model, outcome, false),
    applyCut: (model, outcome) => fits(model, outcome, true),
    applyLost: () => true,
    range: { offset, length },
  };
}

export function truncate(context: Context, { numbers }: Step): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const size = numbers[1] % 5 === 0 ? 0 : offsetOf(numbers[2], numbers[3]);
  const change: Change = (content) => truncateContent(content, size);
  return bindChange(`truncate ${file.inode} to ${size}`, file, change, () => context.kernel.data.truncate(file, size));
}

export function fallocate(context: Context, { numbers }: Step, mode: number): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const [offset, length] = [offsetOf(numbers[1], numbers[2]), lengthOf(numbers[3] % 97, numbers[4])];
  const change: Change = (content) => {
    const end = Math.max(content.size, mode === PUNCH ? 0 : offset + length);
    const longer = end > content.size ? truncateContent(content, end) : content;
    return mode === ALLOCATE ? longer : zeroContent(longer, offset, length);
  };
  const text = `fallocate ${mode} ${length} at ${offset} of ${file.inode}`;
  return bindChange(text, file, change, () => context.kernel.data.fallocate(file, offset, length, mode));
}

/** fallocate(2) that moves what follows. */
export function shift(context: Context, { numbers }: Step, mode: typeof COLLAPSE | typeof INSERT): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const { size } = context.model.get(file.inode)!.content;
  if (mode === INSERT && size > SHIFTED_MAX_BYTES) return null;
  const pages = Math.floor(size / PAGE_BYTES);
  const offset = PAGE_BYTES * (numbers[1] % (pages + 1));
  const length = PAGE_BYTES * (1 + (numbers[2] % (numbers[3] % 2 === 0 ? 4 : 1 + pages)));
  const beyond = (content: Content): boolean => offset >= content.size || (mode === COLLAPSE && offset + length >= content.size);
  const shifted = mode === COLLAPSE ? collapseContent : insertContent;
  const change: Change = (content) => (beyond(content) ? content : shifted(content, offset, length));
  const bound = bindChange("", file, change, () => context.kernel.data.fallocate(file, offset, length, mode));
  return {
    ...bound,
    text: `${mode === COLLAPSE ? "collapse" : "insert"} ${length} at ${offset} of ${file.inode}`,
    apply: (model, outcome) =>
      answers(outcome, beyond(model.get(file.inode)!.content) ? ["EINVAL"] : [], () => {
        model.set(file.inode, { content: change(model.get(file.inode)!.content) });
        return true;
      }),
  };
}

export function copy(context: Context, { numbers }: Step): Bound | null {
  const [from, to] = [openAt(context, numbers[0]), openAt(context, numbers[1])];
  // copy_file_range(2) refuses files that are opened to append to.
  if (from === null || to === null || from.inode === to.inode || to.append) return null;
  const [offset, toOffset] = [offsetOf(numbers[2], numbers[3]), offsetOf(numbers[3], numbers[4])];
  const length = lengthOf(numbers[5] % 97, numbers[5]);
  const data = readContent(context.model.get(from.inode)!.content, offset, length);
  const change: Change = (content) => writeContent(content, toOffset, data);
  const text = `copy ${length} from ${offset} of ${from.inode} to ${toOffset} of ${to.inode}`;
  return bindChange(text, to, change, () => context.kernel.data.copy(from, offset, to, toOffset, length), data.length);
}

export function sync(context: Context, { numbers }: Step): Bound | null {
  const file = openAt(context, numbers[0]);
  if (file === null) return null;
  const { inode } = file;
  return { text: `fsync ${inode}`, run: () => context.kernel.sync(file), apply: done, sync: { inode } };
}

export async function syncDirectory(context: Context, { numbers }: Step): Promise<Bound> {
  const inode = await directoryOf(context, numbers[0]);
  return { text: `fsync directory ${inode}`, run: () => context.kernel.syncDirectory(inode), apply: done, sync: { inode: null } };
}

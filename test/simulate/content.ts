// What a file of the model holds. Immutable: a change makes a new content that shares all pages but those changed.

const PAGE_BYTES = 4096;

export interface Content {
  readonly size: number;
  /** null: zeros. */
  readonly pages: readonly (Uint8Array | null)[];
}

export const EMPTY: Content = { size: 0, pages: [] };

export function readContent(content: Content, offset: number, length: number): Uint8Array {
  const end = Math.min(content.size, offset + length);
  const bytes = new Uint8Array(Math.max(0, end - offset));
  for (let at = offset; at < end; at = (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES) {
    const number = Math.floor(at / PAGE_BYTES);
    const start = number * PAGE_BYTES;
    const page = content.pages[number];
    if (page) bytes.set(page.subarray(at - start, Math.min(PAGE_BYTES, end - start)), at - offset);
  }
  return bytes;
}

export function writeContent(content: Content, offset: number, data: Uint8Array): Content {
  if (data.length === 0) return content;
  const end = offset + data.length;
  const pages = content.pages.slice();
  for (let at = offset; at < end; at = (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES) {
    const number = Math.floor(at / PAGE_BYTES);
    const start = number * PAGE_BYTES;
    const page = pages[number]?.slice() ?? new Uint8Array(PAGE_BYTES);
    page.set(data.subarray(at - offset, Math.min(end, start + PAGE_BYTES) - offset), at - start);
    pages[number] = page;
  }
  return { size: Math.max(content.size, end), pages: filled(pages) };
}

export function truncateContent(content: Content, size: number): Content {
  if (size >= content.size) return { size, pages: content.pages };
  const pages = content.pages.slice(0, Math.ceil(size / PAGE_BYTES));
  const last = pages[Math.floor(size / PAGE_BYTES)];
  if (last && size % PAGE_BYTES !== 0) {
    const page = last.slice();
    page.fill(0, size % PAGE_BYTES);
    pages[Math.floor(size / PAGE_BYTES)] = page;
  }
  return { size, pages };
}

/** Zeros in the range, up to the end of the file. */
export function zeroContent(content: Content, offset: number, length: number): Content {
  const end = Math.min(content.size, offset + length);
  if (end <= offset) return content;
  return writeContent(content, offset, new Uint8Array(end - offset));
}

/** Without the range: what follows moves up. Both are multiples of a page, and the range ends before the file does. */
export function collapseContent({ size, pages }: Content, offset: number, length: number): Content {
  const [first, end] = [offset / PAGE_BYTES, (offset + length) / PAGE_BYTES];
  return { size: size - length, pages: filled([...padded(pages, first), ...pages.slice(end)]) };
}

/** With zeros before what follows the offset, which moves down. */
export function insertContent({ size, pages }: Content, offset: number, length: number): Content {
  const first = offset / PAGE_BYTES;
  const zeros = Array<null>(length / PAGE_BYTES).fill(null);
  return { size: size + length, pages: filled([...padded(pages, first), ...zeros, ...pages.slice(first)]) };
}

function padded(pages: Content["pages"], count: number): (Uint8Array | null)[] {
  return Array.from({ length: count }, (_, index) => pages[index] ?? null);
}

export function sameContent(a: Content, b: Content): boolean {
  if (a === b) return true;
  return a.size === b.size && firstDifference(a, b, 0, a.size) === -1;
}

/** The first offset in [from, to) where they differ (behind its end a content is zeros), or -1. */
export function firstDifference(a: Content, b: Content, from: number, to: number): number {
  for (let at = from; at < to; at = (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES) {
    const number = Math.floor(at / PAGE_BYTES);
    const [one, other] = [a.pages[number] ?? null, b.pages[number] ?? null];
    if (one === other) continue;
    const start = number * PAGE_BYTES;
    const stop = Math.min(to, start + PAGE_BYTES);
    if (sameBytes(one, other, at - start, stop - start)) continue;
    for (let byte = at; byte < stop; byte++) if ((one?.[byte - start] ?? 0) !== (other?.[byte - start] ?? 0)) return byte;
  }
  return -1;
}

const ZEROS = new Uint8Array(PAGE_BYTES);

function sameBytes(a: Uint8Array | null, b: Uint8Array | null, from: number, to: number): boolean {
  return Buffer.compare((a ?? ZEROS).subarray(from, to), (b ?? ZEROS).subarray(from, to)) === 0;
}

/** Whether `found` is `before` with only the first part of a write of [from, to) that led to `after`. */
export function isTornWrite(found: Content, before: Content, after: Content, from: number, to: number): boolean {
  if (found.size < before.size || found.size > after.size) return false;
  const end = Math.max(found.size, before.size);
  if (firstDifference(found, before, 0, Math.min(from, end)) !== -1) return false;
  if (firstDifference(found, before, to, Math.max(to, end)) !== -1) return false;
  let split = from;
  const unlike = firstDifference(found, after, from, to);
  const most = unlike === -1 ? to : unlike;
  if (found.size > before.size) split = found.size;
  else for (let at = from; at !== -1 && at < to; at = firstDifference(found, before, split, to)) split = at + 1;
  return split <= most && firstDifference(found, before, split, to) === -1;
}

export function contentOf(bytes: Uint8Array): Content {
  return writeContent(EMPTY, 0, bytes);
}

function filled(pages: (Uint8Array | null)[]): (Uint8Array | null)[] {
  for (let index = 0; index < pages.length; index++) pages[index] ??= null;
  return pages;
}

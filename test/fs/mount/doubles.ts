// A namespace for one session and stripes in memory, as simple as they can be: a file is an array of extents kept in
// order. For tests of the mount's own logic; the real ones are tried in embedded.ts.

import { FsError } from "../../../fs/errno.ts";
import type { Extent, OperationName, Reply, Request, Session } from "../../../fs/messages.ts";
import { S_IFDIR, S_IFMT } from "../../../fs/types.ts";
import type { Attributes, ByteString, InodeId, SessionId, StripeId } from "../../../fs/types.ts";
import type { Stripes } from "../../../replication/block-client.ts";
import type { DiskId, Stripe } from "../../../replication/stripe.ts";
import type { Caller } from "../../../fs/mount/handlers.ts";

export const caller: Caller = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal };

export class MemoryStripes implements Stripes {
  readonly stored = new Map<number, Uint8Array>();
  freeBytes = 1e12;
  /** Thrown by the next writes while set. */
  failure: Error | null = null;
  writes = 0;

  async write(id: number, scheme: string, data: Uint8Array): Promise<Stripe> {
    const copy = data.slice();
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure !== null) throw this.failure;
    this.writes++;
    this.stored.set(id, copy);
    return { id, scheme, dataBytes: copy.length, blockBytes: copy.length, disks: [1 as DiskId] };
  }
  async sync(): Promise<void> {}
  async read(stripe: Stripe, offset: number, into: Uint8Array): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (!this.readNow(stripe, offset, into)) throw new FsError("EIO", `stripe ${stripe.id} is not stored`);
  }
  readNow(stripe: Stripe, offset: number, into: Uint8Array): boolean {
    const bytes = this.stored.get(stripe.id);
    if (bytes === undefined) return false;
    into.set(bytes.subarray(offset, offset + into.length));
    return true;
  }
  async remove(stripes: readonly Stripe[]): Promise<void> {
    for (const stripe of stripes) this.stored.delete(stripe.id);
  }
  space(): { totalBytes: number; freeBytes: number } {
    return { totalBytes: 1e12, freeBytes: this.freeBytes };
  }
}

interface FileRecord {
  attributes: Attributes;
  extents: Extent[];
}

export class MemorySession implements Session {
  readonly id = 1 as SessionId;
  readonly calls: string[] = [];
  readonly #files = new Map<InodeId, FileRecord>();
  readonly #names = new Map<string, InodeId>();
  readonly #stripes = new Map<number, Stripe>();
  #lastInode = 1;
  #lastStripe = 0;

  constructor() {
    this.#files.set(1 as InodeId, { attributes: newAttributes(1 as InodeId, S_IFDIR | 0o755), extents: [] });
  }

  async call<Name extends OperationName>(operation: Name, request: Request<Name>): Promise<Reply<Name>> {
    this.calls.push(operation);
    const method = (this as unknown as Record<string, (request: unknown) => unknown>)[`on_${operation}`];
    if (method === undefined) throw new FsError("ENOSYS", `double: ${operation}`);
    await Promise.resolve();
    return method.call(this, request) as Reply<Name>;
  }
  async close(): Promise<void> {}

  file(inode: InodeId): FileRecord {
    const file = this.#files.get(inode);
    if (file === undefined) throw new FsError("ESTALE", `inode ${inode}`);
    return file;
  }

  on_make(request: Request<"make">): Reply<"make"> {
    const key = `${request.parent}/${request.name}`;
    const parent = { ...this.file(request.parent).attributes };
    const existing = this.#names.get(key);
    if (existing !== undefined) {
      if (request.exclusive) throw new FsError("EEXIST");
      return { attributes: { ...this.file(existing).attributes }, created: false, parent };
    }
    const inode = ++this.#lastInode as InodeId;
    this.#files.set(inode, { attributes: newAttributes(inode, request.mode & ~request.umask), extents: [] });
    this.#names.set(key, inode);
    return { attributes: { ...this.file(inode).attributes }, created: true, parent };
  }
  on_lookup(request: Request<"lookup">): Reply<"lookup"> {
    const inode = this.#names.get(`${request.parent}/${request.name}`);
    return { attributes: inode === undefined ? null : { ...this.file(inode).attributes } };
  }
  on_list(request: Request<"list">): Reply<"list"> {
    const entries = [...this.#names]
      .filter(([key, inode]) => key.startsWith(`${request.inode}/`) && inode > request.after)
      .map(([key, inode]) => {
        const attributes = this.file(inode).attributes;
        return {
          name: key.slice(key.indexOf("/") + 1) as ByteString,
          inode,
          type: attributes.mode & S_IFMT,
          cookie: inode as number,
          attributes: { ...attributes },
        };
      })
      .sort((a, b) => a.cookie - b.cookie);
    return { entries: entries.slice(0, request.limit), newestCookie: this.#lastInode };
  }
  on_parent(): Reply<"parent"> {
    return { attributes: this.file(1 as InodeId).attributes };
  }
  on_unlink(request: Request<"unlink">): Reply<"unlink"> {
    const key = `${request.parent}/${request.name}`;
    const inode = this.#names.get(key);
    if (inode === undefined) throw new FsError("ENOENT");
    this.#names.delete(key);
    const { attributes } = this.file(inode);
    attributes.linkCount--;
    return { attributes: { ...attributes }, parent: { ...this.file(request.parent).attributes }, knownElsewhere: false };
  }
  on_getAttributes(request: Request<"getAttributes">): Reply<"getAttributes"> {
    return { attributes: { ...this.file(request.inode).attributes } };
  }
  on_acquire(request: Request<"acquire">): Reply<"acquire"> {
    return { attributes: { ...this.file(request.inode).attributes } };
  }
  on_setAttributes({ inode, change }: Request<"setAttributes">): Reply<"setAttributes"> {
    const file = this.file(inode);
    if (change.size !== undefined) {
      if (change.size < file.attributes.size) this.replace(file, { offset: change.size, length: Infinity }, false);
      file.attributes.size = change.size;
    }
    applyTimes(file.attributes, change);
    return { attributes: { ...file.attributes } };
  }
  on_extents({ inode, from, to, limit }: Request<"extents">): Reply<"extents"> {
    const touching = this.file(inode).extents.filter((extent) => extent.offset < to && extent.offset + extent.length > from);
    const extents = touching.slice(0, limit);
    const last = extents[extents.length - 1];
    const end = touching.length > limit ? last.offset + last.length : to;
    const stripes = extents.flatMap((extent) => (extent.stripe === undefined ? [] : [this.#stripes.get(extent.stripe)!]));
    return { extents, stripes, end };
  }
  on_reserveStripes({ count }: Request<"reserveStripes">): Reply<"reserveStripes"> {
    const first = this.#lastStripe + 1;
    this.#lastStripe += count;
    return { first: first as StripeId };
  }
  on_commit({ files, stripes }: Request<"commit">): Reply<"commit"> {
    for (const stripe of stripes) this.#stripes.set(stripe.id, stripe);
    const attributes: Attributes[] = [];
    for (const commit of files) {
      const file = this.file(commit.inode);
      for (const extent of commit.extents) this.replace(file, extent, true);
      if (commit.sizeAtLeast !== undefined) file.attributes.size = Math.max(file.attributes.size, commit.sizeAtLeast);
      applyTimes(file.attributes, commit.change ?? {});
      attributes.push({ ...file.attributes });
    }
    return { attributes, gone: [] };
  }
  on_reshape({ inode, kind, offset, length, keepSize }: Request<"reshape">): Reply<"reshape"> {
    const file = this.file(inode);
    if (kind === "punch" || kind === "zero") this.replace(file, { offset, length }, false);
    if (!keepSize) file.attributes.size = Math.max(file.attributes.size, offset + length);
    return { attributes: { ...file.attributes } };
  }
  on_share({ from, fromOffset, to, toOffset, length }: Request<"share">): Reply<"share"> {
    const source = this.file(from);
    const target = this.file(to);
    const copied = Math.min(length, Math.max(0, source.attributes.size - fromOffset));
    const parts = source.extents
      .map((extent) => cut(extent, fromOffset, fromOffset + copied))
      .filter((extent) => extent !== null);
    this.replace(target, { offset: toOffset, length: copied }, false);
    for (const part of parts) this.replace(target, { ...part, offset: part.offset - fromOffset + toOffset }, true);
    target.attributes.size = Math.max(target.attributes.size, toOffset + copied);
    return { copied, attributes: { ...target.attributes } };
  }
  on_forget(): Reply<"forget"> {
    return {};
  }
  on_writing(): Reply<"writing"> {
    return {};
  }
  on_sync(): Reply<"sync"> {
    return {};
  }
  /** For what this session writes. */
  freeBytes = 1e12;
  on_space({ heldBytes, unstoredBytes, neededBytes, wantedBytes }: Request<"space">): Reply<"space"> {
    const free = this.freeBytes - heldBytes - unstoredBytes;
    return { grantedBytes: neededBytes > free ? 0 : Math.min(Math.max(neededBytes, wantedBytes), free), scarce: free < 1e6 };
  }
  on_statistics(): Reply<"statistics"> {
    return { totalBytes: 1e12, freeBytes: 1e12, inodes: this.#files.size };
  }

  /** Takes the range out and, if asked, puts the extent in. */
  replace(file: FileRecord, extent: Extent, put: boolean): void {
    const end = extent.offset + extent.length;
    const last = file.extents.at(-1);
    if (put && (last === undefined || last.offset + last.length <= extent.offset)) {
      file.extents.push({ ...extent, inline: extent.inline?.slice() });
      return;
    }
    const kept: Extent[] = [];
    for (const old of file.extents) {
      // Most are elsewhere: cutting them would copy what they hold.
      if (old.offset >= end || old.offset + old.length <= extent.offset) {
        kept.push(old);
        continue;
      }
      const before = cut(old, 0, extent.offset);
      const after = cut(old, end, Infinity);
      if (before !== null) kept.push(before);
      if (after !== null) kept.push(after);
    }
    if (put) kept.push({ ...extent, inline: extent.inline?.slice() });
    file.extents = kept.sort((a, b) => a.offset - b.offset);
  }
}

function cut(extent: Extent, from: number, to: number): Extent | null {
  const start = Math.max(extent.offset, from);
  const end = Math.min(extent.offset + extent.length, to);
  if (start >= end) return null;
  const skip = start - extent.offset;
  const part: Extent = { offset: start, length: end - start };
  if (extent.inline !== undefined) part.inline = extent.inline.slice(skip, skip + end - start);
  if (extent.stripe !== undefined) {
    part.stripe = extent.stripe;
    part.stripeOffset = (extent.stripeOffset ?? 0) + skip;
  }
  return part;
}

function applyTimes(attributes: Attributes, change: Request<"setAttributes">["change"]): void {
  if (change.mode !== undefined) attributes.mode = change.mode;
  if (change.mtime !== undefined && change.mtime !== "now") {
    attributes.mtimeSeconds = change.mtime.seconds;
    attributes.mtimeNanoseconds = change.mtime.nanoseconds;
  }
}

export function newAttributes(inode: InodeId, mode: number): Attributes {
  return {
    inode, mode, linkCount: 1, uid: 0, gid: 0, device: 0, size: 0, allocatedBytes: 0,
    atimeSeconds: 0, atimeNanoseconds: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, ctimeSeconds: 0, ctimeNanoseconds: 0,
  }; // prettier-ignore
}

// What the kernel does above a filesystem, as far as the case table needs it without one: path walks over look-ups,
// references to inodes, split requests. Permissions and page caches are the kernel's own and are not imitated.
import { FsError } from "../../fs/errno.ts";
import type { Caller, DirectoryItem, Handlers } from "../../fs/mount/handlers.ts";
import type { Attributes, ByteString, InodeId } from "../../fs/types.ts";
import { S_IFDIR, S_IFLNK, S_IFMT } from "../../fs/types.ts";

/** path_resolution(7): more symlinks than this give ELOOP. */
const MAX_SYMLINKS = 40;
/** PATH_MAX, with its zero byte. */
const PATH_BYTES = 4096;
/** The kernel cuts larger reads and writes. */
export const REQUEST_BYTES = 1024 * 1024;
/** About what fits in the 32 KiB that readdir(3) asks for. */
const LISTED_AT_ONCE = 200;

export function isDirectory(attributes: Attributes): boolean {
  return (attributes.mode & S_IFMT) === S_IFDIR;
}

/** Where a path leads: its last name's directory, and the inode if the name exists. */
export interface Place {
  parent: InodeId;
  name: ByteString;
  attributes: Attributes | null;
}

/** One filesystem as one kernel sees it: counts look-ups so that they can be forgotten. */
export class Walker {
  readonly handlers: Handlers;
  readonly #references = new Map<InodeId, number>();

  constructor(handlers: Handlers) {
    this.handlers = handlers;
  }

  /** Notes a reference that a reply gave; keeps a copy of the attributes, as the kernel does. */
  refer(attributes: Attributes): Attributes {
    this.#references.set(attributes.inode, (this.#references.get(attributes.inode) ?? 0) + 1);
    return { ...attributes };
  }

  forgetAll(): void {
    for (const [inode, count] of this.#references) this.handlers.forget(inode, count);
    this.#references.clear();
  }

  async lookup(caller: Caller, parent: InodeId, name: string): Promise<Attributes | null> {
    const entry = await this.handlers.lookup(caller, parent, name as ByteString);
    return entry.attributes ? this.refer(entry.attributes) : null;
  }

  async attributes(caller: Caller, inode: InodeId): Promise<Attributes> {
    return { ...(await this.handlers.getattr(caller, inode, null)).attributes };
  }

  /** Follows a relative path from a directory. The last name is followed if it is a symlink and `follow` says so. */
  async walk(caller: Caller, start: InodeId, path: string, follow: boolean): Promise<Place> {
    if (path.length >= PATH_BYTES) throw new FsError("ENAMETOOLONG");
    const names = path.split("/").filter(Boolean);
    let place: Place = { parent: start, name: "." as ByteString, attributes: await this.attributes(caller, start) };
    for (let links = 0; names.length;) {
      const name = names.shift()! as ByteString;
      if (!place.attributes) throw new FsError("ENOENT");
      if (!isDirectory(place.attributes)) throw new FsError("ENOTDIR");
      if (name === ".") continue;
      const parent = place.attributes.inode;
      const attributes = await this.lookup(caller, parent, name);
      if (attributes && (attributes.mode & S_IFMT) === S_IFLNK && (names.length > 0 || follow)) {
        if (++links > MAX_SYMLINKS) throw new FsError("ELOOP");
        const target = await this.handlers.readlink(caller, attributes.inode);
        names.unshift(...target.split("/").filter(Boolean));
      } else place = { parent, name, attributes };
    }
    return place;
  }

  /** A path that must lead to something. */
  async find(caller: Caller, start: InodeId, path: string, follow = true): Promise<Attributes> {
    const { attributes } = await this.walk(caller, start, path, follow);
    if (!attributes) throw new FsError("ENOENT");
    return attributes;
  }

  async read(caller: Caller, inode: InodeId, handle: number, offset: number, length: number, flags: number): Promise<string> {
    let text = "";
    while (text.length < length) {
      const asked = Math.min(length - text.length, REQUEST_BYTES);
      const into = new Uint8Array(asked);
      const reply = await this.handlers.read(caller, inode, handle, offset + text.length, asked, into, flags);
      const pieces = typeof reply === "number" ? [into.subarray(0, reply)] : reply.buffers;
      const bytes = Buffer.concat(pieces).toString("latin1");
      if (typeof reply !== "number") reply.release?.();
      text += bytes;
      if (bytes.length < asked) break;
    }
    return text;
  }

  async write(caller: Caller, inode: InodeId, handle: number, offset: number, text: string, flags: number): Promise<number> {
    const data = Buffer.from(text, "latin1");
    let done = 0;
    while (done < data.length) {
      const piece = Uint8Array.from(data.subarray(done, done + REQUEST_BYTES));
      const took = await this.handlers.write(caller, inode, handle, offset + done, piece, flags, false, false);
      piece.fill(0xee); // the channel's buffer is used for the next request
      if (took === 0) break;
      done += took;
    }
    return done;
  }
}

/** An open directory, read in pieces as readdir(3) does. */
export class Listing {
  readonly #walker: Walker;
  readonly #caller: Caller;
  readonly #inode: InodeId;
  readonly #handle: number;
  #items: DirectoryItem[] = [];
  /** The offset that readdir goes on from when the items are used up, and the one after the last item given. */
  #next = 0;
  position = 0;

  private constructor(walker: Walker, caller: Caller, inode: InodeId, handle: number) {
    this.#walker = walker;
    this.#caller = caller;
    this.#inode = inode;
    this.#handle = handle;
  }

  static async open(walker: Walker, caller: Caller, inode: InodeId): Promise<Listing> {
    const { handle } = await walker.handlers.opendir(caller, inode, 0);
    return new Listing(walker, caller, inode, handle);
  }

  /** null at the end. */
  async next(): Promise<DirectoryItem | null> {
    if (this.#items.length === 0) await this.#fill();
    const item = this.#items.shift() ?? null;
    if (item) this.position = item.cookie;
    return item;
  }

  seek(position: number): void {
    this.#items = [];
    this.#next = this.position = position;
  }

  async rest(): Promise<DirectoryItem[]> {
    const items: DirectoryItem[] = [];
    for (let item = await this.next(); item; item = await this.next()) items.push(item);
    return items;
  }

  async close(): Promise<void> {
    await this.#walker.handlers.releasedir(this.#caller, this.#inode, this.#handle);
  }

  async #fill(): Promise<void> {
    const sink = (item: DirectoryItem): boolean => {
      if (this.#items.length >= LISTED_AT_ONCE) return false;
      this.#items.push(item);
      return true;
    };
    await this.#walker.handlers.readdir(this.#caller, this.#inode, this.#handle, this.#next, false, sink);
    this.#next = this.#items.at(-1)?.cookie ?? this.#next;
  }
}

/** "." and ".." left out. */
export async function listDirectory(walker: Walker, caller: Caller, inode: InodeId): Promise<DirectoryItem[]> {
  const listing = await Listing.open(walker, caller, inode);
  try {
    return (await listing.rest()).filter((item) => item.name !== "." && item.name !== "..");
  } finally {
    await listing.close();
  }
}

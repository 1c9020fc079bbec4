// What the filesystem asks of the kernel's caches, sent by the addon's own thread. A caller waits while the thread's
// queue is full. Pages are stored at once, on the JavaScript thread, out of the arena's scratch. When the connection has ended there is nothing left to invalidate, so everything counts as done.
import type { FuseConnection } from "../../native/fuse.ts";
import { FsError, errno } from "../errno.ts";
import type { ByteString, InodeId } from "../types.ts";
import { SLOT_HEADER_AT } from "./channel-slots.ts";
import type { KernelCaches } from "./handlers.ts";
import type { Looks } from "./look.ts";
import type { ArenaView } from "./operations-request.ts";
import { FUSE_EPOCH_MINOR } from "./protocol.ts";
import type { Negotiated } from "./protocol-init.ts";
import {
  STORE_HEAD_BYTES,
  deleteMessage,
  incrementEpochMessage,
  invalidateEntryMessage,
  invalidateInodeMessage,
  writeStoreHead,
} from "./protocol-notify.ts";

interface Waiting {
  message: Uint8Array;
  /** Whether the kernel knew what it was about. */
  resolve: (known: boolean) => void;
  reject: (error: Error) => void;
}

/** The kernel does not know the inode or name, or is gone: nothing cached. */
const DONE: readonly number[] = [0, errno.ENOENT, errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.EBADF];

export class Notifications implements KernelCaches {
  #connection: FuseConnection | null = null;
  #arena: ArenaView | null = null;
  #ended = false;
  #minor = 0;
  #looks: Looks | null = null;
  #lastId = 0;
  readonly #sent = new Map<number, Waiting>();
  readonly #unsent: Waiting[] = [];
  /** Sent since the mount was made. */
  count = 0;

  /** The connection stands from here on. */
  start(connection: FuseConnection, arena: ArenaView, negotiated: Negotiated, looks: Looks): void {
    this.#connection = connection;
    this.#looks = looks;
    this.#arena = arena;
    this.#minor = negotiated.minor;
  }

  /** The thread wrote notification `id`; error is a positive errno or 0. */
  completed(id: number, error: number): void {
    const waiting = this.#sent.get(id);
    this.#sent.delete(id);
    if (DONE.includes(error)) waiting?.resolve(error !== errno.ENOENT);
    else waiting?.reject(new FsError("EIO", `the kernel refused a notification with errno ${error}`));
    while (this.#unsent.length > 0 && this.#send(this.#unsent[0])) this.#unsent.shift();
  }

  end(): void {
    this.#ended = true;
    this.#looks?.end();
    for (const waiting of [...this.#sent.values(), ...this.#unsent]) waiting.resolve(true);
    this.#sent.clear();
    this.#unsent.length = 0;
  }

  get waiting(): number {
    return this.#sent.size + this.#unsent.length;
  }

  invalidateInode(inode: InodeId, offset: number, length: number): Promise<boolean> {
    return this.#notify(invalidateInodeMessage(inode, offset, length));
  }

  async invalidateEntry(parent: InodeId, name: ByteString): Promise<void> {
    await this.#notify(invalidateEntryMessage(parent, name));
  }

  async notifyDelete(parent: InodeId, child: InodeId, name: ByteString): Promise<void> {
    await this.#notify(deleteMessage(parent, child, name));
  }

  async incrementEpoch(): Promise<void> {
    if (this.#minor < FUSE_EPOCH_MINOR && !this.#ended) {
      throw new FsError("EOPNOTSUPP", `incrementEpoch: the kernel speaks FUSE 7.${this.#minor}, it needs 7.${FUSE_EPOCH_MINOR}`);
    }
    await this.#notify(incrementEpochMessage());
  }

  async lookUp(names: readonly ByteString[]): Promise<boolean> {
    return !this.#ended && this.#looks !== null && this.#looks.lookUp(names);
  }

  storePages(inode: InodeId, length: number, fill: (into: Uint8Array) => boolean): boolean {
    if (this.#ended || this.#connection === null) return false;
    const { bytes, words } = this.#arena!;
    const from = SLOT_HEADER_AT + STORE_HEAD_BYTES;
    if (!fill(bytes.subarray(from, from + length))) return false;
    writeStoreHead(words, SLOT_HEADER_AT >>> 2, inode, 0, length);
    this.count++;
    return this.#connection.reply(SLOT_HEADER_AT, STORE_HEAD_BYTES + length) === 0;
  }

  forgetAttributes(inode: InodeId): void {
    if (this.#ended || this.#connection === null) return;
    const message = invalidateInodeMessage(inode, -1, 0);
    this.#arena!.bytes.set(message, SLOT_HEADER_AT);
    this.count++;
    // Where the kernel does not know the inode, it keeps nothing of it.
    this.#connection.reply(SLOT_HEADER_AT, message.length);
  }

  #notify(message: Uint8Array): Promise<boolean> {
    if (this.#ended || !this.#connection) return Promise.resolve(true);
    this.count++;
    return new Promise((resolve, reject) => {
      const waiting = { message, resolve, reject };
      if (this.#unsent.length > 0 || !this.#send(waiting)) this.#unsent.push(waiting);
    });
  }

  #send(waiting: Waiting): boolean {
    const id = (this.#lastId = (this.#lastId + 1) >>> 0);
    const result = this.#connection!.notify(id, waiting.message);
    if (result === -errno.EAGAIN) return false;
    if (result < 0) waiting.resolve(true);
    else this.#sent.set(id, waiting);
    return true;
  }
}

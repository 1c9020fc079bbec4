// The daemon that test/fs/mount/channel.ts starts: the in-memory filesystem with files that misbehave by name, and
// commands on standard input, one JSON array a line. Prints "ready", then one JSON value for each command.
import { statSync } from "node:fs";
import { createInterface } from "node:readline";
import { MemoryFilesystem } from "../../../bench/memory-filesystem.ts";
import { FsError } from "../../../fs/errno.ts";
import { mountFilesystem } from "../../../fs/mount/channel.ts";
import type { ChannelOptions } from "../../../fs/mount/channel.ts";
import type { Caller, Entry, NegativeEntry, ReadReply, Result } from "../../../fs/mount/handlers.ts";
import type { ByteString, InodeId } from "../../../fs/types.ts";

const [, , mountpoint, optionsText] = process.argv;
const options = JSON.parse(optionsText ?? "{}") as ChannelOptions;
let [made, released] = [0, 0];

class Misbehaving extends MemoryFilesystem {
  readonly #names = new Map<InodeId, string>();

  override lookup(caller: Caller, parent: InodeId, name: ByteString): Entry | NegativeEntry {
    if (name === "lookup-throws") throw new TypeError("a bug in a handler");
    const entry = super.lookup(caller, parent, name);
    if (entry.attributes) this.#names.set(entry.attributes.inode, name);
    return entry;
  }

  override read(
    caller: Caller,
    inode: InodeId,
    handle: number,
    offset: number,
    length: number,
    into: Uint8Array,
  ): Result<number | ReadReply> {
    const name = this.#names.get(inode) ?? "";
    const read = (): number => super.read(caller, inode, handle, offset, length, into) as number;
    if (name.startsWith("hangs")) return new Promise(() => {});
    if (name.startsWith("waits")) {
      return new Promise((_, reject) => caller.signal.addEventListener("abort", () => reject(new FsError("EINTR"))));
    }
    if (name.startsWith("slow")) return new Promise((resolve) => setTimeout(() => resolve(read()), 200));
    if (name.startsWith("rejects")) return Promise.reject(new RangeError("another bug"));
    if (name.startsWith("overlong")) return length + 1;
    if (name.startsWith("buffers")) return this.#inPieces(read(), into);
    return read();
  }

  #inPieces(bytes: number, from: Uint8Array): ReadReply {
    made++;
    const copy = Buffer.from(from.subarray(0, bytes));
    const buffers: Uint8Array[] = [];
    for (let at = 0; at < bytes; at += 1000) buffers.push(copy.subarray(at, Math.min(bytes, at + 1000)));
    return { buffers, release: () => released++ };
  }
}

const filesystem = new Misbehaving();
const mounted = await mountFilesystem({
  mountpoint,
  handlers: filesystem,
  options,
  trace: (line) => console.error(line.split("\n")[0]),
});
process.on("SIGTERM", () => void mounted.unmount());

const commands: Record<string, (...values: never[]) => unknown> = {
  invalidateInode: (inode: number, offset: number, length: number) =>
    mounted.kernelCaches.invalidateInode(inode as InodeId, offset, length),
  invalidateEntry: (parent: number, name: string) => mounted.kernelCaches.invalidateEntry(parent as InodeId, name as ByteString),
  notifyDelete: (parent: number, child: number, name: string) =>
    mounted.kernelCaches.notifyDelete(parent as InodeId, child as InodeId, name as ByteString),
  incrementEpoch: () => mounted.kernelCaches.incrementEpoch(),
  invalidateMany: async (count: number) => {
    await Promise.all(Array.from({ length: count }, (_, i) => mounted.kernelCaches.invalidateInode((i + 1) as InodeId, 0, 0)));
  },
  /** Behind the kernel's back. */
  write: (inode: number, text: string) => filesystem.write({} as Caller, inode as InodeId, 0, 0, Buffer.from(text), 0, false),
  statistics: () => mounted.statistics(),
  released: () => [made, released],
  exit: () => process.exit(3),
  /** What no daemon may do: a synchronous call on its own mount. */
  touchOwnMount: () => {
    try {
      statSync(`${mountpoint}/lookup-me`);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code;
    }
    return "no error";
  },
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const [command, ...values] = JSON.parse(line) as [string, ...never[]];
  const result = await commands[command](...values);
  console.log(JSON.stringify(result ?? null));
});
console.log("ready");
console.log(JSON.stringify(await mounted.closed));
process.stdin.destroy();

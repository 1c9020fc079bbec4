// The real disk: storage/directory.ts over the files addon. Paths are made absolute once; nothing else is remembered.
import assert from "node:assert/strict";
import fs from "node:fs/promises";
import path from "node:path";
import { allocateModes, check, files, openFlags } from "../native/files.ts";
import type { Directory, DirectoryFile, OpenOptions } from "./directory.ts";

const EAGAIN = -11;
const EINVAL = -22;

export class RealDirectory implements Directory {
  readonly path: string;

  constructor(directory: string) {
    this.path = path.resolve(directory);
  }

  async open(name: string, options: OpenOptions = {}): Promise<DirectoryFile> {
    const file = this.#pathOf(name);
    const flags = (options.readOnly ? openFlags.readOnly : openFlags.readWrite) | (options.create ? openFlags.create : 0);
    if (options.direct) {
      const fd = await files.open(file, flags | openFlags.direct);
      // EINVAL: a filesystem without O_DIRECT (tmpfs before Linux 6.5, some network ones). The page cache serves as well.
      if (fd !== EINVAL) return new RealFile(check(fd, "open", file), file, true);
    }
    return new RealFile(check(await files.open(file, flags), "open", file), file, false);
  }

  async list(name: string): Promise<string[]> {
    return (await fs.readdir(this.#pathOf(name))).sort();
  }

  async makeDirectory(name: string): Promise<void> {
    await fs.mkdir(this.#pathOf(name), { recursive: true });
  }

  async rename(from: string, to: string): Promise<void> {
    await fs.rename(this.#pathOf(from), this.#pathOf(to));
  }

  async remove(name: string): Promise<void> {
    await fs.rm(this.#pathOf(name), { recursive: true, force: true });
  }

  async syncNames(name: string): Promise<void> {
    const handle = await fs.open(this.#pathOf(name), "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const status = await fs.statfs(this.path);
    return { totalBytes: status.blocks * status.bsize, freeBytes: status.bavail * status.bsize };
  }

  #pathOf(name: string): string {
    assert(
      !name.startsWith("/") && !name.split("/").includes(".."),
      `directory ${this.path}: name ${JSON.stringify(name)} leaves it`,
    );
    return name === "" ? this.path : path.join(this.path, name);
  }
}

class RealFile implements DirectoryFile {
  #fd: number;
  readonly #path: string;
  readonly #direct: boolean;

  constructor(fd: number, file: string, direct: boolean) {
    this.#fd = fd;
    this.#path = file;
    this.#direct = direct;
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    return check(await files.read(this.#descriptor(), buffer, position), "read", this.#path);
  }

  readNow(buffer: Uint8Array, position: number): number {
    if (this.#direct) return -1;
    const result = files.readNow(this.#descriptor(), buffer, position);
    return result === EAGAIN ? -1 : check(result, "read", this.#path);
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    check(await files.write(this.#descriptor(), [...buffers], position), "write", this.#path);
  }

  async writeAndSync(buffers: readonly Uint8Array[], position: number): Promise<void> {
    check(await files.writeAndSync(this.#descriptor(), [...buffers], position), "write and sync", this.#path);
  }

  async sync(): Promise<void> {
    check(await files.sync(this.#descriptor()), "sync", this.#path);
  }

  async allocate(position: number, length: number): Promise<void> {
    check(
      await files.allocate(this.#descriptor(), allocateModes.reserve, position, length),
      `allocate ${length} bytes in`,
      this.#path,
    );
  }

  async punch(position: number, length: number): Promise<void> {
    check(
      await files.allocate(this.#descriptor(), allocateModes.punch, position, length),
      `punch ${length} bytes out of`,
      this.#path,
    );
  }

  async truncate(length: number): Promise<void> {
    check(await files.truncate(this.#descriptor(), length), `truncate to ${length} bytes`, this.#path);
  }

  async size(): Promise<number> {
    return check(files.size(this.#descriptor()), "stat", this.#path);
  }

  tryLock(): boolean {
    const result = files.lock(this.#descriptor());
    return result === EAGAIN ? false : check(result, "lock", this.#path) === 0;
  }

  async close(): Promise<void> {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    check(await files.close(fd), "close", this.#path);
  }

  #descriptor(): number {
    assert(this.#fd >= 0, `${this.#path} is used after it was closed`);
    return this.#fd;
  }
}

// What a run of the tester works on: a store with two mounts, and a directory on ext4 beside it. As root the directory is an
// ext4 of its own in a file, which takes attribute values of 64 KiB; for others it is an ordinary temporary directory.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { dropMount, mountAgain, type SecondMount } from "../fixture/second-mount.ts";
import { makeStore, run, type Store } from "../fixture/store.ts";

/** The size of the file that holds the ext4; it is sparse. */
const REFERENCE_BYTES = 16 * 2 ** 30;
/** A `cairn` command, a start of the daemon, or its end takes far less, also on a loaded machine. */
const STORE_LIMIT_MS = 180_000;

/** `one` is served by the daemon, `two` by a process of its own. */
export type MountName = "one" | "two";

/** A command about the store itself that went wrong. */
export class StoreFailure extends Error {}

export class Rig {
  readonly #store: Store;
  readonly #ownReference: boolean;
  #second: SecondMount | null = null;
  #runs = 0;

  constructor(name: string) {
    this.#store = makeStore(name);
    fs.chmodSync(this.#store.directory, 0o755); // programs run as other users, too
    this.#ownReference = process.getuid?.() === 0;
  }

  /** Starts the store and mounts everything. Call `destroy` in any case. */
  async start(): Promise<void> {
    fs.mkdirSync(this.reference);
    if (this.#ownReference) await this.#makeReference();
    await this.startDaemon();
    this.#second = await mountAgain(this.#store, "two");
  }

  async #makeReference(): Promise<void> {
    const image = path.join(this.#store.directory, "reference.ext4");
    fs.writeFileSync(image, "");
    fs.truncateSync(image, REFERENCE_BYTES);
    for (const words of [
      ["mkfs.ext4", "-q", "-b", "4096", "-O", "ea_inode,large_dir", image],
      ["mount", "-o", "loop,nobarrier,noinit_itable", image, this.reference],
    ]) {
      const ran = await run(words[0], words.slice(1));
      if (ran.code !== 0) throw new Error(`${words.join(" ")}: exit code ${ran.code}: ${ran.stderr}`);
    }
  }

  get reference(): string {
    return path.join(this.#store.directory, "reference");
  }

  mount(name: MountName): string {
    return name === "one" ? this.#store.mount : path.join(this.#store.directory, "two");
  }

  /** What the daemon has printed since it was started. */
  get output(): string {
    return this.#store.output;
  }

  /** The name of a directory for a run. */
  nextDirectory(): string {
    return `run-${++this.#runs}`;
  }

  /** Makes a run's directory in both filesystems, open to every user. */
  async makeDirectory(name: string): Promise<void> {
    for (const parent of [this.mount("one"), this.reference]) {
      const ran = await run("mkdir", ["-m", "777", path.join(parent, name)]);
      if (ran.code !== 0) throw new StoreFailure(`mkdir ${name}: exit code ${ran.code}: ${ran.stderr}`);
    }
  }

  async removeDirectory(name: string): Promise<void> {
    for (const parent of [this.mount("one"), this.reference]) {
      const ran = await run("rm", ["-rf", path.join(parent, name)]);
      if (ran.code !== 0) throw new StoreFailure(`rm -rf ${name}: exit code ${ran.code}: ${ran.stderr}`);
    }
  }

  /** `cairn down` and `cairn up`. */
  async restart(): Promise<void> {
    await this.#succeeds("down");
    await this.startDaemon();
  }

  /** kill -9 of the daemon. */
  killDaemon(): Promise<void> {
    return this.#store.kill();
  }

  /** Starts the daemon, for the first time or again. */
  async startDaemon(): Promise<void> {
    const late = new AbortController();
    const limit = delay(STORE_LIMIT_MS, null, { signal: late.signal }).then(
      () => Promise.reject(new StoreFailure(`cairn up did not serve within ${STORE_LIMIT_MS / 1000} s`)),
      () => {},
    );
    const failed = (error: Error): never => {
      throw new StoreFailure(`cairn up: ${error.message}`);
    };
    await Promise.race([this.#store.start().catch(failed), limit]);
    late.abort();
  }

  /** kill -9 of the process of mount two, and a new mount at its place. */
  async killMount(): Promise<void> {
    if (this.#second) await dropMount(this.#second);
    this.#second = await mountAgain(this.#store, "two");
  }

  /** `cairn unmount` and `cairn mount` of mount two. */
  async remount(): Promise<void> {
    await this.#succeeds("unmount", this.mount("two"));
    this.#second = await mountAgain(this.#store, "two");
  }

  /** Lets the kernel forget the names and unused inodes of both mounts, with their pages. */
  async dropNames(): Promise<void> {
    if (process.getuid?.() !== 0) return;
    for (const name of ["one", "two"] as const) {
      const ran = await run("mount", ["-i", "-o", "remount", this.mount(name)]);
      if (ran.code !== 0) throw new StoreFailure(`mount -o remount, mount ${name}: exit code ${ran.code}: ${ran.stderr}`);
    }
  }

  /** Stops the process of a mount for a time that is shorter than its session's limit. */
  async stall(name: MountName, timeMs: number): Promise<void> {
    const pid = name === "one" ? this.#store.process?.pid : this.#second?.pid;
    if (pid === undefined) return;
    process.kill(pid, "SIGSTOP");
    await delay(timeMs);
    process.kill(pid, "SIGCONT");
  }

  /** `cairn fsck` must find nothing. */
  fsck(): Promise<void> {
    return this.#succeeds("fsck");
  }

  async #succeeds(...words: string[]): Promise<void> {
    const ran = await this.#store.cairn(...words);
    if (ran.code !== 0) throw new StoreFailure(`cairn ${words[0]}: exit code ${ran.code}: ${ran.stdout}${ran.stderr}`);
  }

  /** Ends everything and removes it, whatever state it is in. */
  async destroy(): Promise<void> {
    if (this.#second) await dropMount(this.#second);
    this.#second = null;
    if (this.#ownReference) spawnSync("umount", ["-l", this.reference]);
    await this.#store.destroy();
  }
}

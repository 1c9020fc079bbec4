// A store of its own, mounted by a daemon in a child process, for tests with ordinary programs. The daemon is never this
// process: a synchronous call on one's own mount would wait forever.
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { packageRoot } from "../posix/table.ts";

/** Creating six disks and mounting takes well under a second; a loaded machine may take many. */
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;
const POLL_MS = 20;

export interface MountedStore {
  /** The mountpoint. Every user can reach it. */
  readonly directory: string;
  /** The store's own directory: disks, table, log. */
  readonly data: string;
  /** A directory on an ordinary filesystem, removed with the rest. */
  readonly outside: string;
  /** Unmounts, ends the daemon in order and starts it again on the same store. */
  restart(): Promise<void>;
  /** Ends the daemon at once, as a crash does, and starts it again on the same store. */
  crash(): Promise<void>;
  /** Unmounts, ends the daemon and removes everything; fails if the daemon did not end in order. */
  stop(): Promise<void>;
}

async function isMounted(directory: string): Promise<boolean> {
  const mounts = await readFile("/proc/self/mountinfo", "latin1");
  return mounts.split("\n").some((line) => line.split(" ")[4] === directory);
}

class Daemon {
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  #output = "";
  #over = false;

  constructor(parameters: string[]) {
    this.#child = spawn(process.execPath, parameters, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on("data", (piece: Buffer) => (this.#output = (this.#output + piece.toString()).slice(-20_000)));
    }
    this.#ended = new Promise((resolve) => {
      this.#child.on("error", (error) => resolve(error.message));
      this.#child.on("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    void this.#ended.then(() => (this.#over = true));
  }

  async mounted(directory: string): Promise<void> {
    for (const end = performance.now() + START_LIMIT_MS; !(await isMounted(directory)); await delay(POLL_MS)) {
      if (this.#over) throw new Error(`the daemon ended (${await this.#ended}) before it mounted ${directory}:\n${this.#output}`);
      if (performance.now() > end) throw new Error(`${directory} was not mounted in ${START_LIMIT_MS} ms:\n${this.#output}`);
    }
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** null where it ended in order, else what went wrong. */
  async stop(): Promise<string | null> {
    this.#child.kill("SIGTERM");
    const limit = new AbortController();
    const late = delay(STOP_LIMIT_MS, "too late", { signal: limit.signal }).catch(() => "too late");
    const end = await Promise.race([this.#ended, late]);
    limit.abort();
    if (end === "exit code 0") return null;
    await this.kill();
    return `the daemon ended with ${end} after SIGTERM:\n${this.#output}`;
  }
}

function daemonParameters(data: string, directory: string): string[] {
  return [path.join(packageRoot(), "dist/admin/cairn.js"), "up", "--data", data, "--mount", directory];
}

/** Mounts a new store with six disks. Call `stop` in any case. */
export async function mountStore(): Promise<MountedStore> {
  const base = await mkdtemp(path.join(os.tmpdir(), "cairn-real-"));
  const [directory, data, outside] = ["mnt", "data", "outside"].map((name) => path.join(base, name));
  await mkdir(directory);
  await mkdir(outside);
  await chmod(base, 0o755);
  let daemon = new Daemon(daemonParameters(data, directory));
  const remove = async (): Promise<string | null> => {
    const problem = await daemon.stop();
    if (await isMounted(directory)) spawnSync("umount", ["-l", directory]);
    await rm(base, { recursive: true, force: true, maxRetries: 3 });
    return problem;
  };
  try {
    await daemon.mounted(directory);
  } catch (error) {
    await remove();
    throw error;
  }
  const again = async (): Promise<void> => {
    daemon = new Daemon(daemonParameters(data, directory));
    await daemon.mounted(directory);
  };
  return {
    directory,
    data,
    outside,
    async restart() {
      const problem = await daemon.stop();
      if (problem) throw new Error(problem);
      await again();
    },
    async crash() {
      await daemon.kill();
      spawnSync("umount", ["-l", directory]);
      await again();
    },
    async stop() {
      const problem = await remove();
      if (problem) throw new Error(problem);
    },
  };
}

/** A mounted store for one test, stopped when the test ends. */
export async function mountFor(t: TestContext): Promise<MountedStore> {
  const store = await mountStore();
  t.after(() => store.stop());
  return store;
}

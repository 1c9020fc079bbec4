// The daemon of one store: creation, start, the control API, the end. `cairn up` is its only caller.

import fs from "node:fs/promises";
import path from "node:path";
import { raiseOpenFiles } from "../native/files.ts";
import type { CleanerReport } from "../fs/cleaner.ts";
import type { DiskReport, MountReport, StatusReport, TaskReport, WhereReport } from "./api.ts";
import { type ApiServer, type Control, serveApi, type TaskRequest } from "./api-server.ts";
import { removeDaemon, socketPath, writeDaemon } from "./daemon-file.ts";
import { DiskTasks } from "./disk-tasks.ts";
import { createDisk } from "./disks.ts";
import { AdminError } from "./errors.ts";
import { lockStore } from "./lock.ts";
import { Mounts } from "./mounts.ts";
import { reportStatus, reportWhere } from "./reports.ts";
import { RunningStore } from "./running-store.ts";
import { listenForSessions, type SessionListener } from "./session-listener.ts";
import {
  checkEmptyForCreation,
  checkScheme,
  diskDirectory,
  newStore,
  readStore,
  type StoreDescription,
  writeStore,
} from "./store-file.ts";
import { version } from "./version.ts";

export const DEFAULT_SCHEME = "rs:4+2";
export const DEFAULT_DISKS = 6;

export interface StartOptions {
  /** Absolute paths. */
  data: string;
  mount: string;
  /** How many disk directories to make in the data directory; null for the default, or what the store has. */
  disks: number | null;
  /** Directories to use as disks instead. */
  diskPaths: string[] | null;
  scheme: string | null;
  allowOther: boolean;
}

type Trace = (text: string) => void;

export class Daemon implements Control {
  readonly stopped: Promise<void>;
  readonly #store: RunningStore;
  readonly #mounts: Mounts;
  readonly #tasks: DiskTasks;
  readonly #startedAt = new Date();
  readonly #unlock: () => Promise<void>;
  #api: ApiServer | null = null;
  #listener: SessionListener | null = null;
  #ending: Promise<void> | null = null;
  #resolveStopped!: () => void;
  #rejectStopped!: (error: unknown) => void;

  constructor(store: RunningStore, options: StartOptions, unlock: () => Promise<void>) {
    this.#store = store;
    this.#unlock = unlock;
    this.#tasks = new DiskTasks(store);
    this.#mounts = new Mounts(store, options.allowOther, () => this.stop());
    this.stopped = new Promise((resolve, reject) => {
      this.#resolveStopped = resolve;
      this.#rejectStopped = reject;
    });
  }

  /** Mounts, serves the API, and goes on with what an earlier daemon left unfinished. */
  async begin(mount: string): Promise<void> {
    const { data, trace } = this.#store;
    await this.#mounts.add(mount);
    const socket = socketPath(data, "control.sock");
    const sessions = socketPath(data, "session.sock");
    this.#listener = await listenForSessions(this.#store, sessions);
    this.#api = await serveApi(this, socket, trace);
    await writeDaemon(data, { pid: process.pid, socket, sessions, version, startedAt: this.#startedAt.toISOString() });
    this.#tasks.resume();
  }

  /** Begins the end, once: `stopped` resolves when all is flushed, unmounted and closed. */
  stop(): void {
    this.#ending ??= this.end().then(this.#resolveStopped, this.#rejectStopped);
  }

  async end(): Promise<void> {
    const { data } = this.#store;
    await this.#tasks.stop();
    await this.#mounts.removeAll();
    await this.#listener?.close();
    await this.#store.close();
    await this.#api?.close();
    await removeDaemon(data);
    for (const name of ["control.sock", "session.sock"] as const) await fs.rm(socketPath(data, name), { force: true });
    await this.#unlock();
  }

  status(): Promise<StatusReport> {
    return reportStatus(
      this.#store,
      this.#startedAt,
      [...this.#mounts.list(), ...(this.#listener?.list() ?? [])],
      this.#tasks.list(),
    );
  }

  where(inode: number): Promise<WhereReport> {
    return reportWhere(this.#store, inode);
  }

  unmount(directory: string): Promise<MountReport> {
    return this.#mounts.remove(directory);
  }

  addDisk(directory: string): Promise<DiskReport> {
    return this.#tasks.addDisk(directory);
  }

  pauseCleaner(paused: boolean): CleanerReport {
    const { cleaner } = this.#store.embedded;
    if (paused) cleaner.pause();
    else cleaner.resume();
    return cleaner.report();
  }

  startTask(request: TaskRequest): Promise<AsyncIterable<TaskReport>> {
    return this.#tasks.start(request);
  }

  followTask(id: number): AsyncIterable<TaskReport> {
    return this.#tasks.follow(id);
  }

  cancelTask(id: number): TaskReport {
    return this.#tasks.cancel(id);
  }
}

/** Opens or creates the store, mounts it and serves it. Throws AdminError; nothing runs then. */
export async function startDaemon(options: StartOptions, trace: Trace): Promise<{ daemon: Daemon; created: boolean }> {
  raiseOpenFiles();
  const found = await readStore(options.data);
  if (!found) await checkCreation(options);
  else checkSame(found, options);
  await makeDataDirectory(options.data);
  const unlock = await lockStore(options.data);
  let daemon: Daemon | null = null;
  try {
    const description = found ?? (await createStore(options));
    const store = await RunningStore.open(options.data, description, trace);
    daemon = new Daemon(store, options, unlock);
    await daemon.begin(options.mount);
    return { daemon, created: !found };
  } catch (error) {
    await (daemon ? daemon.end() : unlock()).catch((later: unknown) => trace(`stop: ${(later as Error).message}`));
    throw error;
  }
}

async function makeDataDirectory(data: string): Promise<void> {
  try {
    await fs.mkdir(data, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new AdminError("refused", `cannot make the data directory ${data}: ${(error as Error).message}`, { cause: error });
  }
}

function wantedDisks(options: StartOptions): string[] {
  return options.diskPaths ?? Array.from({ length: options.disks ?? DEFAULT_DISKS }, (_, index) => `disk-${index + 1}`);
}

async function checkCreation(options: StartOptions): Promise<void> {
  const paths = wantedDisks(options);
  const twice = paths.find((candidate, index) => paths.indexOf(candidate) !== index);
  if (twice) throw new AdminError("usage", `--disk ${twice} is given twice; each disk needs a directory of its own`);
  checkScheme(options.scheme ?? DEFAULT_SCHEME, paths.length);
  await checkEmptyForCreation(options.data);
}

async function createStore(options: StartOptions): Promise<StoreDescription> {
  const description = newStore(options.scheme ?? DEFAULT_SCHEME, wantedDisks(options), new Date());
  for (const disk of description.disks) await createDisk(diskDirectory(options.data, disk), description.uuid, disk.id);
  await fs.mkdir(path.join(options.data, "namespace"));
  await writeStore(options.data, description);
  return description;
}

/** Refuses options that contradict the store that is there. */
function checkSame(store: StoreDescription, options: StartOptions): void {
  if (options.scheme && options.scheme !== store.scheme) {
    throw new AdminError(
      "refused",
      `the store ${options.data} has scheme ${store.scheme}, not ${options.scheme}; leave --scheme out, or name another --data`,
    );
  }
  const disks = store.disks.filter((disk) => disk.state !== "removed");
  if (options.disks && options.disks !== disks.length) {
    throw new AdminError(
      "refused",
      `the store ${options.data} has ${disks.length} disks, not ${options.disks}; leave --disks out, and use \`cairn disk add\` or \`cairn disk remove\``,
    );
  }
  const paths = new Set(disks.map((disk) => diskDirectory(options.data, disk)));
  const unknown = options.diskPaths?.find((directory) => !paths.has(directory));
  if (unknown)
    throw new AdminError(
      "refused",
      `${unknown} is not a disk of the store ${options.data}; use \`cairn disk add ${unknown}\` while it runs`,
    );
}

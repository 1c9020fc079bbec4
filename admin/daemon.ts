// The daemon of one store: creation, start, the control API, the end. `cairn up` is its only caller.

import fs from "node:fs/promises";
import path from "node:path";
import { raiseOpenFiles } from "../native/files.ts";
import type { CleanerReport } from "../fs/cleaner.ts";
import type { DiskReport, MountReport, StatusReport, TaskReport, WhereReport } from "./api.ts";
import { type ApiServer, type Control, serveApi, type TaskRequest } from "./api-server.ts";
import { removeDaemon, writeDaemon } from "./daemon-file.ts";
import { DEFAULT_DISKS, DEFAULT_SCHEME, SESSION_TIME_LIMIT_MS } from "./defaults.ts";
import { DiskTasks } from "./disk-tasks.ts";
import { createDisk, removeNewDisk } from "./disks.ts";
import { AdminError } from "./errors.ts";
import { lockStore } from "./lock.ts";
import { Mounts } from "./mounts.ts";
import { closeToOthers } from "./private.ts";
import { socketPath } from "./private-socket.ts";
import { reportStatus, reportWhere } from "./reports.ts";
import { RunningStore } from "./running-store.ts";
import { listenForSessions, type SessionListener } from "./session-listener.ts";
import {
  checkEmptyForCreation,
  checkScheme,
  diskDirectory,
  newStore,
  readStore,
  STORE_FILE,
  type StoreDescription,
  writeStore,
} from "./store-file.ts";
import { version } from "./version.ts";

export interface StartOptions {
  /** Absolute paths. */
  data: string;
  mount: string;
  /** How many disk directories to make in the data directory; null for the default, or what the store has. */
  disks: number | null;
  /** Directories to use as disks instead. */
  diskPaths: string[] | null;
  scheme: string | null;
  /** What repair may read and write in a second; null for what the store has. */
  repairBytesPerSecond: number | null;
  /** How long a mount in another process may be silent; null for SESSION_TIME_LIMIT_MS. */
  sessionLimitMs: number | null;
  allowOther: boolean;
}

type Trace = (text: string) => void;

export class Daemon implements Control {
  readonly stopped: Promise<void>;
  /** What its owner should know about how the store was found. */
  readonly notices: readonly string[];
  readonly #store: RunningStore;
  readonly #mounts: Mounts;
  readonly #sessionLimitMs: number;
  readonly #tasks: DiskTasks;
  readonly #startedAt = new Date();
  readonly #unlock: () => Promise<void>;
  readonly #written: Promise<void>;
  #resolveWritten!: () => void;
  #rejectWritten!: (error: unknown) => void;
  #api: ApiServer | null = null;
  #listener: SessionListener | null = null;
  #ending: Promise<void> | null = null;
  #resolveStopped!: () => void;
  #rejectStopped!: (error: unknown) => void;

  constructor(store: RunningStore, options: StartOptions, notices: readonly string[], unlock: () => Promise<void>) {
    this.notices = notices;
    this.#store = store;
    this.#unlock = unlock;
    this.#sessionLimitMs = options.sessionLimitMs ?? SESSION_TIME_LIMIT_MS;
    this.#tasks = new DiskTasks(store);
    this.#mounts = new Mounts(store, options.allowOther, this.#sessionLimitMs, () => this.stop());
    this.#written = new Promise((resolve, reject) => {
      this.#resolveWritten = resolve;
      this.#rejectWritten = reject;
    });
    // Nobody may be asking: `stopped` has the same error.
    this.#written.catch(() => {});
    this.stopped = new Promise((resolve, reject) => {
      this.#resolveStopped = resolve;
      this.#rejectStopped = reject;
    });
  }

  /** Mounts, serves the API, and goes on with what an earlier daemon left unfinished. */
  async begin(mount: string): Promise<void> {
    const { data, trace } = this.#store;
    // Before the first mount, which waits for the mounts of before to say what they hold.
    this.#listener = await listenForSessions(this.#store, socketPath(data, "session.sock"), this.#sessionLimitMs);
    await this.#mounts.add(mount);
    this.#api = await serveApi(this, socketPath(data, "control.sock"), trace);
    await writeDaemon(data, { version, startedAt: this.#startedAt });
    this.#tasks.resume();
  }

  /** Begins the end, once: `stopped` resolves when all is flushed, unmounted and closed. */
  stop(): void {
    this.#ending ??= this.end().then(this.#resolveStopped, this.#rejectStopped);
  }

  /** As end, for a caller who is served by the API that it ends: resolves when all is written back and unmounted. */
  stopAndTell(): Promise<void> {
    this.stop();
    return this.#written;
  }

  async end(): Promise<void> {
    const { data } = this.#store;
    const [first] = await attemptAll([
      () => this.#tasks.stop(),
      () => this.#mounts.removeAll(),
      () => this.#listener?.close(),
      () => this.#store.close(),
    ]);
    const lost = first === undefined ? null : writingBackFailed(first);
    if (lost) this.#rejectWritten(lost);
    else this.#resolveWritten();
    const errors = await attemptAll([() => this.#api?.close(), () => removeDaemon(data), () => this.#unlock()]);
    if (lost ?? errors[0]) throw lost ?? errors[0];
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

/** Takes every step in turn, whatever became of those before it. Returns the errors. */
async function attemptAll(steps: readonly (() => Promise<unknown> | undefined)[]): Promise<unknown[]> {
  const errors: unknown[] = [];
  for (const step of steps) await Promise.resolve(step()).catch((error: unknown) => errors.push(error));
  return errors;
}

function writingBackFailed(cause: unknown): AdminError {
  return new AdminError(
    "degraded",
    `stopped, but not everything could be written back: ${(cause as Error).message}; what was written last and never synced may be missing`,
    { cause, document: cause instanceof AdminError ? cause.document : undefined },
  );
}

/** Opens or creates the store, mounts it and serves it. Throws AdminError; nothing runs then. */
export async function startDaemon(options: StartOptions, trace: Trace): Promise<{ daemon: Daemon; created: boolean }> {
  raiseOpenFiles();
  const found = await readStore(options.data);
  if (!found) await checkCreation(options);
  else checkSame(found, options);
  await makeDataDirectory(options.data);
  // Before the lock, which others could hold for good in an open directory.
  const notices = await closeAll([options.data], trace);
  const unlock = await lockStore(options.data);
  let daemon: Daemon | null = null;
  try {
    const description = found ? await withRepairRate(found, options) : await createStore(options);
    notices.push(
      ...(await closeAll(
        description.disks.map((disk) => diskDirectory(options.data, disk)),
        trace,
      )),
    );
    const store = await RunningStore.open(options.data, description, trace);
    daemon = new Daemon(store, options, found ? notices : [], unlock);
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

/** Takes the rights of other users away from those directories that are there; returns what is to be said of it. */
async function closeAll(directories: readonly string[], trace: Trace): Promise<string[]> {
  const notices: string[] = [];
  for (const directory of directories) {
    const notice = await closeToOthers(directory).catch(() => null); // a disk that is missing is told of when it is opened
    if (notice !== null) notices.push(notice);
  }
  for (const notice of notices) trace(`daemon: ${notice}`);
  return notices;
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

/** Makes disks and namespace, and store.json last. Where that fails it takes away again what it made, so that the next start begins anew. */
async function createStore(options: StartOptions): Promise<StoreDescription> {
  const description: StoreDescription = {
    ...newStore(options.scheme ?? DEFAULT_SCHEME, wantedDisks(options), new Date()),
    repairBytesPerSecond: options.repairBytesPerSecond ?? undefined,
  };
  const namespace = path.join(options.data, "namespace");
  const made: string[] = [];
  try {
    for (const disk of description.disks) {
      const directory = diskDirectory(options.data, disk);
      await createDisk(directory, description.uuid, disk.id);
      made.push(directory);
    }
    await fs.mkdir(namespace);
    await writeStore(options.data, description);
  } catch (error) {
    await Promise.all(made.map(removeNewDisk));
    await fs.rm(path.join(options.data, `${STORE_FILE}.new`), { force: true }).catch(() => {});
    await fs.rmdir(namespace).catch(() => {});
    if (error instanceof AdminError) throw error;
    throw new AdminError("refused", `cannot create a store in ${options.data}: ${(error as Error).message}`, { cause: error });
  }
  return description;
}

/** The store with the rate that was asked for, which it keeps. */
async function withRepairRate(store: StoreDescription, options: StartOptions): Promise<StoreDescription> {
  const { data, repairBytesPerSecond } = options;
  if (repairBytesPerSecond === null || repairBytesPerSecond === store.repairBytesPerSecond) return store;
  const description = { ...store, repairBytesPerSecond };
  await writeStore(data, description);
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

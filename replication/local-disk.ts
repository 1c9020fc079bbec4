// One disk of this process: its block store, its state, its error counters, and the requests under way on it.
//
// 1. A disk fails by itself when a store or sync fails for another reason than space, when a read error shows that its
//    directory or identity is gone, when too many reads in a row fail, or when it does not answer for ANSWER_MAX_MS.
//    A block that is missing or differs from its checksum does not fail its disk.
// 2. A failed disk stays failed: what it holds may be old. It comes back as a new disk, with a new id.
// 3. When a disk fails, the requests under way on it are rejected at once. What they still do in the background does not
//    matter for stores: the disk is never written or read again under its id. A read that the system finishes more than
//    ANSWER_MAX_MS late still writes the block's bytes into its buffer, which the caller may use for something else by
//    then; Linux gives up on a device long before, so this is accepted rather than copying every read.
import type { BlockSpace, Blocks } from "../storage/blocks.ts";
import type { Clock } from "../storage/clock.ts";
import type { DiskState, DiskStatus } from "./block-client.ts";
import { Gate } from "./gate.ts";
import type { DiskId } from "./stripe.ts";

export interface LocalDisk {
  id: DiskId;
  /** The disk's directory. */
  path: string;
  /** Null where it could not be opened: it is then failed, and `reason` says why. */
  blocks: (Blocks & { healthy?(): Promise<string | null> }) | null;
  state?: DiskState;
  reason?: string;
  /** Disks with the same text share one medium (one filesystem), and so its free space. */
  medium?: string;
  node?: string;
  zone?: string;
}

/** Requests on one disk at once, and in line behind them. */
export const DISK_REQUESTS_MAX = 64;
export const DISK_REQUESTS_WAITING_MAX = 8192;
/** A request that takes longer fails its disk. Linux itself gives a device 30 s (/sys/block/sda/device/timeout). */
export const ANSWER_MAX_MS = 30_000;
/** From here on readers prefer other disks. */
export const SLOW_MS = 500;
/** Reads that fail with I/O errors, one after another without a good one between, before the disk counts as failed. */
export const READ_ERRORS_IN_ROW_MAX = 16;
const SPACE_AGE_MAX_MS = 1000;
const NO_SPACE: BlockSpace = { totalBytes: 0, freeBytes: 0, blockBytes: 0, blocks: 0 };

export class DiskError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

type CodedError = Error & { code?: string };
type RequestKind = "read" | "write";

interface Request {
  action: string;
  startedMs: number;
  reject: (error: Error) => void;
}

export class DiskHolder {
  readonly disk: LocalDisk;
  readonly status: DiskStatus;
  readonly #clock: Clock;
  readonly #onFailed: (status: DiskStatus) => void;
  readonly #gate: Gate;
  readonly #requests = new Set<Request>();
  #cancelWatch: (() => void) | null = null;
  #readErrorsInRow = 0;
  #space: BlockSpace = NO_SPACE;
  #spaceAtMs = -Infinity;
  #asking: Promise<void> | null = null;

  constructor(disk: LocalDisk, clock: Clock, onFailed: (status: DiskStatus) => void) {
    this.disk = disk;
    this.#clock = clock;
    this.#onFailed = onFailed;
    this.#gate = new Gate(`disk ${disk.id} (${disk.path})`, DISK_REQUESTS_MAX, DISK_REQUESTS_WAITING_MAX);
    const state = disk.blocks === null ? "failed" : (disk.state ?? "active");
    const { id, path, reason, node, zone } = disk;
    this.status = { id, path, state, reason, node, zone, space: NO_SPACE, readErrors: 0, writeErrors: 0 };
  }

  /** Space of the disk's medium, as known; asks for it anew in the background where that is old. */
  get space(): BlockSpace {
    if (this.#clock.nowMs() - this.#spaceAtMs > SPACE_AGE_MAX_MS) void this.refreshSpace();
    return this.status.state === "failed" ? NO_SPACE : this.#space;
  }

  refreshSpace(): Promise<void> {
    this.#asking ??= this.#askSpace(false).finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** As refreshSpace, but of this moment. With `release` the disk first gives back what deleted blocks hold. Never rejects. */
  async measure(release: boolean): Promise<void> {
    if (release)
      await this.disk.blocks?.release?.().catch(() => {
        // It is as full as it is; what fails a disk shows in its writes.
      });
    // One that began before may be too old.
    if (this.#asking !== null) await this.#asking;
    this.#asking ??= this.#askSpace(true).finally(() => (this.#asking = null));
    await this.#asking;
  }

  async #askSpace(anew: boolean): Promise<void> {
    if (this.disk.blocks === null || this.status.state === "failed") return;
    const { blocks } = this.disk;
    const ask = async (): Promise<void> => {
      this.#space = await blocks.space(anew);
    };
    try {
      // One that has never told would count as full, and a full disk keeps the whole store from being written to.
      await ask().catch((error) => (this.#space === NO_SPACE ? ask() : Promise.reject(error)));
    } catch (error) {
      await this.examine();
      if (this.#space === NO_SPACE) this.fail(`its space cannot be told: ${(error as Error).message}`);
    } finally {
      this.#spaceAtMs = this.#clock.nowMs();
    }
  }

  write<T>(action: string, work: (blocks: Blocks) => Promise<T>): Promise<T> {
    return this.#request("write", action, work);
  }

  read<T>(action: string, work: (blocks: Blocks) => Promise<T>): Promise<T> {
    return this.#request("read", action, work);
  }

  /** Looks whether the disk is still there, and fails it where it is not. */
  async examine(): Promise<void> {
    const problem = await this.disk.blocks?.healthy?.().catch((error: Error) => error.message);
    if (typeof problem === "string") this.fail(problem);
  }

  fail(reason: string): void {
    if (this.status.state === "failed") return;
    this.status.state = "failed";
    this.status.reason = reason;
    this.status.slow = false;
    const error = this.#refusal();
    for (const request of [...this.#requests]) {
      this.#end(request);
      request.reject(error);
    }
    this.#cancelWatch?.();
    this.#cancelWatch = null;
    this.#onFailed(this.status);
  }

  stop(): void {
    this.#cancelWatch?.();
    this.#cancelWatch = null;
  }

  #writeFailed(action: string, error: CodedError): void {
    if (["ENOSPC", "EEXIST", "EBUSY", "EINVAL"].includes(error.code ?? "")) return;
    this.status.writeErrors++;
    this.fail(`${action}: ${error.message}`);
  }

  async #readFailed(error: CodedError): Promise<void> {
    if (error.code === "EBUSY") return;
    this.status.readErrors++;
    if (error.code !== "ENOENT" && error.code !== "EBADMSG" && ++this.#readErrorsInRow >= READ_ERRORS_IN_ROW_MAX) {
      this.fail(`${this.#readErrorsInRow} reads in a row failed, the last one: ${error.message}`);
    }
    if (error.code !== "EBADMSG") await this.examine();
  }

  #refusal(): DiskError {
    const { id, path, reason } = this.status;
    return new DiskError("EIO", `disk ${id} (${path}) has failed${reason === undefined ? "" : `: ${reason}`}`);
  }

  /** One promise where there is room: this is under every block that is read. */
  #request<T>(kind: RequestKind, action: string, work: (blocks: Blocks) => Promise<T>): Promise<T> {
    if (this.#gate.tryEnter()) return this.#perform(kind, action, work);
    return this.#gate.enter().then(() => this.#perform(kind, action, work));
  }

  #perform<T>(kind: RequestKind, action: string, work: (blocks: Blocks) => Promise<T>): Promise<T> {
    const { blocks } = this.disk;
    if (this.status.state === "failed" || blocks === null) {
      this.#gate.leave();
      return Promise.reject(this.#refusal());
    }
    return new Promise<T>((resolve, reject) => {
      const request: Request = { action, startedMs: this.#clock.nowMs(), reject };
      this.#requests.add(request);
      this.#cancelWatch ??= this.#clock.after(SLOW_MS, () => this.#watch());
      work(blocks).then(
        (value) => {
          this.#end(request);
          if (kind === "read") this.#readErrorsInRow = 0;
          resolve(value);
        },
        async (error: CodedError) => {
          this.#end(request);
          if (kind === "read") await this.#readFailed(error);
          else this.#writeFailed(action, error);
          reject(error);
        },
      );
    });
  }

  /** Once for each request: when it is done, or when its disk fails. */
  #end(request: Request): void {
    if (this.#requests.delete(request)) this.#gate.leave();
  }

  /** One timer for all requests: the oldest one tells whether the disk answers. */
  #watch(): void {
    this.#cancelWatch = null;
    const [oldest] = this.#requests;
    const waitedMs = oldest === undefined ? 0 : this.#clock.nowMs() - oldest.startedMs;
    this.status.slow = waitedMs >= SLOW_MS;
    if (waitedMs >= ANSWER_MAX_MS) this.fail(`${oldest.action} got no answer for ${Math.round(waitedMs / 1000)} s`);
    else if (this.#requests.size > 0) this.#cancelWatch = this.#clock.after(SLOW_MS, () => this.#watch());
  }
}

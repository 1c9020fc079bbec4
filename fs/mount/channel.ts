// A mounted filesystem's channel to the kernel: receives requests, calls handlers through the operation table, replies.
//
// Everything runs on the JavaScript thread. A request is received into a slot of the arena and decoded there. If the
// handler answers at once, the reply goes out before the next request is received, and the slot is used again. If it
// answers later, the slot is free again at once too, except for requests whose data lies in it (WRITE, READ, READDIR).
//
// 1. Every request is answered once: by its handler's result, by its error, or when its deadline has passed.
// 2. A slot is not used again before the handler that works in it has settled, answered or not.
//    A READ or WRITE that comes when none is left goes on in memory of its own: its pages may be what a recall waits for,
//    and the recall may be what the slots wait for.
// 3. No handler's failure reaches the event loop: it becomes an errno, and what is not an FsError is traced.
// 4. The mount is never touched by a synchronous call of this process.
import assert from "node:assert/strict";
import { MAX_REPLY_BUFFERS, fuseAddon } from "../../native/fuse.ts";
import type { FuseConnection } from "../../native/fuse.ts";
import { FsError, errno, errnoOf } from "../errno.ts";
import { Notifications } from "./channel-notifications.ts";
import { APART, bytesApart, SLOT_BODY_AT, SLOT_HEADER_AT, SLOT_REQUEST_AT, SLOT_REQUEST_BYTES, Slots } from "./channel-slots.ts";
import { startGuard } from "./guard.ts";
import { Looks } from "./look.ts";
import type { Handlers, KernelCaches, ReadReply } from "./handlers.ts";
import { MountError, attachMountpoint, detachMountpoint, setReadahead } from "./mountpoint.ts";
import type { Attachment, MountpointOptions } from "./mountpoint.ts";
import { operationByCode, operations } from "./operations.ts";
import type { Connection, Operation } from "./operations.ts";
import { ReplyBody, Request, arenaView } from "./operations-request.ts";
import type { ArenaView } from "./operations-request.ts";
import { FUSE_MAJOR, FUSE_OLDEST_MINOR, IN_HEADER_BYTES, IN_OPCODE, OUT_HEADER_BYTES, writeOutHeader } from "./protocol.ts";
import { negotiate, readInit, writeInit } from "./protocol-init.ts";
import type { Negotiated } from "./protocol-init.ts";

/** Requests received before other events get their turn. */
const REQUESTS_PER_TICK = 64;
const TICK_MS = 1000;
const INIT_TIMEOUT_MS = 10_000;
/** How long handlers that still work may take when the connection has ended. */
const SETTLE_TIMEOUT_MS = 30_000;
const BUSY_RETRY_MS = 100;
/** Waking the daemon takes 30 to 60 us where processors sleep; an fdatasync that a reply waits for takes some 100, and its thread's wake-ups as long. */
const VIGIL_MICROSECONDS = 250;
/** More than programs have reads and writes waiting for a lease at once: pages of a request that is not received stay locked unknown to us, and a recall waits for them. What is never used of their 1 MiB each takes no memory. */
const SLOTS = 128;
/** Memory of their own for READs and WRITEs that come when no slot is left: a recall must know of the pages that they hold. 512 of the kernel's usual 128 KiB; beyond that READs are parked, and a WRITE takes the last slot. */
const APART_BYTES_MAX = 64 * 1024 * 1024;
/** Requests that wait for a slot; with more of them receiving stops. The kernel sends at most 64 in the background and one for each waiting program. */
const PARKED_REQUESTS = 256;

export interface ChannelOptions extends MountpointOptions {
  /** Requests that may have data in the arena at the same time; each up to 1 MiB. */
  slots?: number;
  /** Memory for those that come when no slot is left. */
  apartBytes?: number;
  /** A request without an answer for so long gets ETIMEDOUT. Waiting for a lock has no deadline. */
  deadlineMs?: number;
  /** The connection is ended when the event loop does not turn for so long; 0: never. */
  stuckSeconds?: number;
  /** Notifications that may wait for their thread. */
  notificationLimit?: number;
  /** Set as root after mounting; 0 leaves the kernel's 128 KiB. */
  readAheadKib?: number;
  /** How long the event loop goes on turning after a request or reply rather than sleep; 0: not at all. */
  vigilMicroseconds?: number;
  /** st_blksize. */
  blockBytes?: number;
  /** How long unmount() waits for programs that use the mount before it takes it off lazily. */
  unmountWaitMs?: number;
}

export interface MountParameters {
  mountpoint: string;
  handlers: Handlers | ((caches: KernelCaches) => Handlers);
  options?: ChannelOptions;
  /** Receives one line for each thing that should not happen. */
  trace?: (line: string) => void;
  /** Milliseconds that only go forward. */
  clock?: () => number;
}

export type ClosedReason = "unmounted" | "aborted";

export interface ChannelStatistics {
  /** Requests received, and answered with an error, by operation name; only those that occurred. */
  requests: Record<string, { count: number; errors: number }>;
  pending: number;
  slots: number;
  freeSlots: number;
  expired: number;
  notifications: number;
}

export interface Mounted {
  /** Absolute, as in the mount table. */
  readonly mountpoint: string;
  readonly kernelCaches: KernelCaches;
  /** Resolves when the kernel is done with the filesystem and handlers.destroy() has ended; rejects if that failed. */
  readonly closed: Promise<ClosedReason>;
  /** Takes the mount off; lazily where it is still used after options.unmountWaitMs. Resolves with `closed`. */
  unmount(): Promise<void>;
  statistics(): ChannelStatistics;
}

interface Pending {
  request: Request;
  operation: Operation;
}

/** A READ, READDIR or READDIRPLUS that waits for a slot to answer in. */
interface Parked {
  bytes: Uint8Array;
  unique: number;
  receivedMs: number;
  interrupted: boolean;
}

const PARKABLE: ReadonlySet<number> = new Set(
  operations.filter((row) => row.holdsSlot && row.name !== "WRITE").map((row) => row.code),
);

/** Mounts a filesystem and serves it. Resolves when the kernel has agreed on the protocol; throws a MountError otherwise. */
export async function mountFilesystem(parameters: MountParameters): Promise<Mounted> {
  const attachment = await attachMountpoint(parameters.mountpoint, parameters.options);
  const channel = new Channel(attachment, parameters);
  await channel.initialized;
  const readAheadKib = parameters.options?.readAheadKib ?? 4096;
  if (readAheadKib > 0 && process.geteuid!() === 0) await setReadahead(attachment.deviceMinor, readAheadKib);
  return channel;
}

/** Resolves after so many ms or when the promise has settled, whichever is first. Leaves no timer behind. */
async function atMost(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([promise, late]).catch(() => {});
  clearTimeout(timer);
}

class Channel implements Mounted, Connection {
  readonly handlers: Handlers;
  readonly closed: Promise<ClosedReason>;
  readonly initialized: Promise<void>;
  /** The connection has ended; `closed` follows when the handlers are done. */
  readonly #lost: Promise<void>;
  #resolveLost!: () => void;
  extendedSetxattr = false;

  readonly #attachment: Attachment;
  readonly #options: Required<Pick<ChannelOptions, "deadlineMs" | "unmountWaitMs" | "blockBytes" | "apartBytes">>;
  readonly #trace: (line: string) => void;
  readonly #clock: () => number;
  readonly #connection: FuseConnection;
  readonly #arena: ArenaView;
  readonly #slots: Slots;
  readonly #scratch: ReplyBody;
  readonly #notifications = new Notifications();
  readonly #pending = new Map<number, Pending>();
  readonly #parked: Parked[] = [];
  /** Of requests in memory of their own. */
  #apartBytes = 0;
  readonly #counts = new Float64Array(operationByCode.length);
  readonly #errors = new Float64Array(operationByCode.length);
  readonly #tick: NodeJS.Timeout;
  readonly #endGuard: () => void;
  #negotiated: Negotiated | null = null;
  /** The slot that the next request is received into; -1: none was free. */
  #landing: number;
  #expired = 0;
  #ended = false;
  #settled: (() => void) | null = null;
  #resolveInitialized!: () => void;
  #rejectInitialized!: (error: Error) => void;
  #resolveClosed!: (reason: Promise<ClosedReason>) => void;
  #unmounting: Promise<void> | null = null;

  constructor(attachment: Attachment, parameters: MountParameters) {
    const options = parameters.options ?? {};
    this.#attachment = attachment;
    this.#options = {
      deadlineMs: options.deadlineMs ?? 120_000,
      unmountWaitMs: options.unmountWaitMs ?? 5000,
      blockBytes: options.blockBytes ?? 4096,
      apartBytes: options.apartBytes ?? APART_BYTES_MAX,
    };
    this.#trace = parameters.trace ?? (() => {});
    this.#clock = parameters.clock ?? (() => performance.now());
    assert((options.slots ?? 2) >= 2, `slots: ${options.slots}; one to receive into and one to work in are needed`);
    this.#slots = new Slots(options.slots ?? SLOTS);
    this.#landing = this.#slots.take();
    const arenaBytes = Slots.arenaBytes(this.#slots.count);
    const arena = new ArrayBuffer(arenaBytes);
    const abortFile = attachment.deviceMinor >= 0 ? `/sys/fs/fuse/connections/${attachment.deviceMinor}/abort` : "";
    const connection = fuseAddon().attach(
      attachment.descriptor, arena, () => this.#receiveAll(), (id, error) => this.#notifications.completed(id, error),
      attachment.mountpoint, abortFile, options.stuckSeconds ?? 60, options.notificationLimit ?? 1024,
    ); // prettier-ignore
    if (typeof connection === "number")
      throw new MountError("MOUNT_FAILED", `mount: ${attachment.mountpoint}: attaching failed with errno ${-connection}`);
    this.#connection = connection;
    this.#arena = arenaView(arena, connection.arenaStart, arenaBytes - connection.arenaStart);
    this.#scratch = new ReplyBody(this.#arena, SLOT_BODY_AT, this.#options.blockBytes);
    this.#lost = new Promise((resolve) => (this.#resolveLost = resolve));
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve));
    this.closed.catch(() => {}); // its owner is whoever reads `closed` or unmounts; nobody has to
    const initialized = new Promise<void>((resolve, reject) => {
      this.#resolveInitialized = resolve;
      this.#rejectInitialized = reject;
    });
    const timer = setTimeout(
      () => this.#refuseMount(`the kernel sent no INIT within ${INIT_TIMEOUT_MS / 1000} s`),
      INIT_TIMEOUT_MS,
    );
    this.initialized = initialized.finally(() => clearTimeout(timer));
    this.handlers = typeof parameters.handlers === "function" ? parameters.handlers(this.#notifications) : parameters.handlers;
    connection.setVigil(options.vigilMicroseconds ?? VIGIL_MICROSECONDS);
    this.#tick = setInterval(() => this.#everySecond(), TICK_MS).unref();
    this.#endGuard = startGuard(attachment, this.#trace);
    this.#connection.setPolling(1);
  }

  get mountpoint(): string {
    return this.#attachment.mountpoint;
  }

  get kernelCaches(): KernelCaches {
    return this.#notifications;
  }

  // ---- Receiving

  #receiveAll(): void {
    for (let i = 0; i < REQUESTS_PER_TICK && !this.#ended; i++) {
      if (this.#landing < 0) this.#landing = this.#slots.take();
      if (this.#landing < 0) {
        // Level-triggered polling would spin; releasing a slot turns it on again.
        this.#connection.setPolling(0);
        return;
      }
      const at = this.#slots.offset(this.#landing) + SLOT_REQUEST_AT;
      const length = this.#connection.receive(at, SLOT_REQUEST_BYTES);
      if (length > 0) this.#received(at, length);
      else if (length === -errno.EAGAIN) return;
      else if (length === -errno.EINTR || length === -errno.ENOENT)
        continue; // ENOENT: given up before it was received
      else return this.#end(length === -errno.ENODEV ? "unmounted" : "aborted", -length);
    }
  }

  #received(at: number, length: number): void {
    const words = this.#arena.words;
    if (length < IN_HEADER_BYTES || words[at >>> 2] !== length) {
      this.#trace(`fuse: the kernel sent ${length} bytes that are no request`);
      return;
    }
    // The last slot is for receiving: metadata, locks and interrupts are served while reads wait for a slot. Only a
    // WRITE, whose data is already in it, takes it.
    if (this.#slots.free === 0 && this.#dispatchApart(at, length)) return;
    const parks = this.#slots.free === 0 && this.#parked.length < PARKED_REQUESTS && PARKABLE.has(words[(at >>> 2) + IN_OPCODE]);
    if (parks) this.#park(at, length);
    else if (this.#dispatch(new Request(this.#arena, at, length, this.#landing))) this.#landing = this.#slots.take();
  }

  /** Goes on with a READ or WRITE outside of the arena. False: it is none, or too much is there already. */
  #dispatchApart(at: number, length: number): boolean {
    const bytes = bytesApart(this.#arena.words, at, length);
    if (bytes === 0 || this.#apartBytes + bytes > this.#options.apartBytes) return false;
    const arena = arenaView(new ArrayBuffer(bytes), 0, bytes);
    arena.bytes.set(this.#arena.bytes.subarray(at, at + length), SLOT_REQUEST_AT);
    this.#apartBytes += bytes;
    if (!this.#dispatch(new Request(arena, SLOT_REQUEST_AT, length, APART))) this.#apartBytes -= bytes;
    return true;
  }

  #park(at: number, length: number): void {
    const bytes = Buffer.from(this.#arena.bytes.subarray(at, at + length));
    const unique = new Request(this.#arena, at, length, -1).unique;
    this.#parked.push({ bytes, unique, receivedMs: this.#clock(), interrupted: false });
  }

  /** Decodes, calls, and replies if the answer is there at once. Returns whether the request goes on in its slot. */
  #dispatch(request: Request): boolean {
    const operation = operationByCode[request.opcode];
    if (operation === undefined) {
      this.#replyError(request, errno.ENOSYS);
      return false;
    }
    this.#counts[request.opcode]++;
    let result: unknown;
    try {
      if (request.bodyBytes < operation.bodyBytes) {
        throw new FsError("EINVAL", `${operation.name}: ${request.bodyBytes} bytes, ${operation.bodyBytes} needed`);
      }
      result = operation.call(request, this);
    } catch (error) {
      this.#fail(request, operation, error);
      return false;
    }
    if (result instanceof Promise) {
      this.#await(request, operation, result);
      return operation.holdsSlot === true;
    }
    this.#succeed(request, operation, result);
    return false;
  }

  #await(request: Request, operation: Operation, result: Promise<unknown>): void {
    request.receivedMs = this.#clock();
    const unique = request.unique;
    this.#pending.set(unique, { request, operation });
    result.then(
      (value) => {
        this.#settle(request, operation, unique, () => this.#succeed(request, operation, value));
      },
      (error: unknown) => {
        this.#settle(request, operation, unique, () => this.#fail(request, operation, error));
      },
    );
  }

  #settle(request: Request, operation: Operation, unique: number, finish: () => void): void {
    finish();
    this.#pending.delete(unique);
    if (request.slot === APART) this.#apartBytes -= request.bytes.length;
    else if (operation.holdsSlot) this.#releaseSlot(request.slot);
    if (this.#pending.size === 0) this.#settled?.();
  }

  #releaseSlot(slot: number): void {
    for (let parked = this.#parked.shift(); parked; parked = this.#parked.shift()) {
      const at = this.#slots.offset(slot) + SLOT_REQUEST_AT;
      this.#arena.bytes.set(parked.bytes, at);
      const request = new Request(this.#arena, at, parked.bytes.length, slot);
      request.interrupted = parked.interrupted;
      if (this.#dispatch(request)) return;
    }
    this.#slots.release(slot);
    if (this.#landing >= 0 || this.#ended) return;
    this.#landing = this.#slots.take();
    this.#connection.setPolling(1);
  }

  // ---- Replying

  #succeed(request: Request, operation: Operation, value: unknown): void {
    if (request.finished) return this.#undo(request, operation, value);
    request.finished = true;
    if (operation.silent) return;
    let result: number;
    try {
      result = operation.holdsSlot
        ? this.#replyFromSlot(request, operation, value)
        : this.#replyFromScratch(request, operation, value);
    } catch (error) {
      this.#undo(request, operation, value);
      request.finished = false;
      return this.#fail(request, operation, error);
    }
    if (result === 0) return;
    this.#undo(request, operation, value);
    if (result === -errno.ENOENT || this.#ended) return;
    this.#trace(`fuse: the kernel refused the reply to ${operation.name} with errno ${-result}`);
    this.#replyError(request, errno.EIO);
  }

  #replyFromScratch(request: Request, operation: Operation, value: unknown): number {
    const bodyBytes = operation.encode ? operation.encode(this.#scratch, value, request, this) : 0;
    writeOutHeader(
      this.#arena.words,
      SLOT_HEADER_AT >>> 2,
      OUT_HEADER_BYTES + bodyBytes,
      0,
      request.uniqueLow,
      request.uniqueHigh,
    );
    return this.#connection.reply(SLOT_HEADER_AT, OUT_HEADER_BYTES + bodyBytes);
  }

  #replyFromSlot(request: Request, operation: Operation, value: unknown): number {
    if (operation.name === "READ" && typeof value !== "number") return this.#replyBuffers(request, value as ReadReply);
    if (operation.name === "WRITE") return this.#replyFromScratch(request, operation, value);
    if (request.slot === APART) return this.#replyApart(request, operation, value);
    const at = this.#slots.offset(request.slot);
    const bodyBytes = operation.encode!(this.#scratch, value, request, this);
    const header = at + SLOT_HEADER_AT;
    writeOutHeader(this.#arena.words, header >>> 2, OUT_HEADER_BYTES + bodyBytes, 0, request.uniqueLow, request.uniqueHigh);
    return this.#connection.reply(header, OUT_HEADER_BYTES + bodyBytes);
  }

  #replyApart(request: Request, operation: Operation, value: unknown): number {
    const bodyBytes = operation.encode!(this.#scratch, value, request, this);
    return this.#replyBuffers(request, { buffers: bodyBytes === 0 ? [] : [request.slotData(bodyBytes)] });
  }

  /** Sends a read's own buffers without copying them. */
  #replyBuffers(request: Request, reply: ReadReply): number {
    try {
      const buffers = reply.buffers.length <= MAX_REPLY_BUFFERS ? reply.buffers : [Buffer.concat(reply.buffers)];
      let bytes = 0;
      for (const buffer of buffers) bytes += buffer.length;
      if (bytes > request.room) throw new Error(`read returned ${bytes} bytes where ${request.room} were asked for`);
      writeOutHeader(this.#arena.words, SLOT_HEADER_AT >>> 2, OUT_HEADER_BYTES + bytes, 0, request.uniqueLow, request.uniqueHigh);
      return this.#connection.replyBuffers(SLOT_HEADER_AT, OUT_HEADER_BYTES, buffers);
    } finally {
      reply.release?.();
    }
  }

  #replyError(request: Request, number: number): void {
    this.#replyErrorTo(request.uniqueLow, request.uniqueHigh, number);
  }

  #replyErrorTo(uniqueLow: number, uniqueHigh: number, number: number): void {
    writeOutHeader(this.#arena.words, SLOT_HEADER_AT >>> 2, OUT_HEADER_BYTES, number, uniqueLow, uniqueHigh);
    const result = this.#connection.reply(SLOT_HEADER_AT, OUT_HEADER_BYTES);
    if (result !== 0 && result !== -errno.ENOENT && !this.#ended)
      this.#trace(`fuse: an error reply was refused with errno ${-result}`);
  }

  #fail(request: Request, operation: Operation, error: unknown): void {
    if (request.finished) return;
    request.finished = true;
    this.#errors[request.opcode]++;
    if (!(error instanceof FsError)) this.#trace(`fuse: ${operation.name} of inode ${request.node} failed: ${traceOf(error)}`);
    // An INTERRUPT that finds no target is answered too: EAGAIN makes the kernel send it again if that still waits.
    if (operation.silent && operation.name !== "INTERRUPT") return;
    this.#replyError(request, errnoOf(error));
  }

  #undo(request: Request, operation: Operation, value: unknown): void {
    try {
      operation.undo?.(value, request, this);
    } catch (error) {
      this.#trace(`fuse: taking back a late ${operation.name} failed: ${traceOf(error)}`);
    }
  }

  // ---- What operations.ts needs of the connection

  slotBody(request: Request): ReplyBody {
    return new ReplyBody(this.#arena, request.slotBodyAt, this.#options.blockBytes);
  }

  initialize(request: Request): void {
    const init = readInit(request.words, request.at(0), request.bodyBytes >>> 2);
    if (init.major !== FUSE_MAJOR || init.minor < FUSE_OLDEST_MINOR) {
      this.#refuseMount(
        `the kernel speaks FUSE ${init.major}.${init.minor}; ${FUSE_MAJOR}.${FUSE_OLDEST_MINOR} (Linux 5.4) or newer is needed`,
      );
      throw new FsError("EINVAL");
    }
    this.#negotiated = negotiate(init);
    this.extendedSetxattr = this.#negotiated.extendedSetxattr;
    const looks = new Looks(this.#attachment, this.#trace);
    this.#notifications.start(this.#connection, this.#arena, this.#negotiated, looks);
    this.#resolveInitialized();
  }

  writeInitialized(body: ReplyBody): number {
    return writeInit(body.words, body.at >>> 2, this.#negotiated!);
  }

  interrupt(unique: number): void {
    const pending = this.#pending.get(unique);
    if (pending) return pending.request.interrupt();
    const parked = this.#parked.find((waiting) => waiting.unique === unique);
    if (!parked) throw new FsError("EAGAIN");
    parked.interrupted = true;
  }

  // ---- Deadlines

  #everySecond(): void {
    this.#connection.beat();
    const oldest = this.#clock() - this.#options.deadlineMs;
    for (const { request, operation } of this.#pending.values()) {
      if (request.receivedMs > oldest) break; // in order of arrival
      if (request.finished || operation.waits) continue;
      this.#expired++;
      this.#trace(
        `fuse: ${operation.name} of inode ${request.node} had no answer for ${this.#options.deadlineMs} ms; it gets ETIMEDOUT`,
      );
      this.#fail(request, operation, new FsError("ETIMEDOUT"));
      request.interrupt();
    }
    while (this.#parked.length > 0 && this.#parked[0].receivedMs <= oldest) this.#expireParked(this.#parked.shift()!);
    this.#checkSlots();
  }

  #expireParked(parked: Parked): void {
    this.#expired++;
    this.#trace(`fuse: request ${parked.unique} found no free slot for ${this.#options.deadlineMs} ms; it gets ETIMEDOUT`);
    this.#replyErrorTo(parked.unique >>> 0, Math.floor(parked.unique / 2 ** 32), errno.ETIMEDOUT);
  }

  /** Handlers that never settle keep their slots. With all of them gone nothing can be received, so the mount ends. */
  #checkSlots(): void {
    if (this.#landing >= 0) return;
    let lost = 0;
    for (const { request, operation } of this.#pending.values())
      if (request.finished && operation.holdsSlot && request.slot !== APART) lost++;
    if (lost < this.#slots.count) return;
    this.#trace(`fuse: all ${lost} slots are held by handlers past their deadline; the connection is ended`);
    this.#end("aborted", 0);
  }

  // ---- The end

  #refuseMount(why: string): void {
    this.#rejectInitialized(new MountError("OLD_KERNEL", `mount: ${this.mountpoint}: ${why}`));
    this.unmount().catch((error: unknown) => this.#trace(`fuse: unmounting ${this.mountpoint} failed: ${traceOf(error)}`));
  }

  async unmount(): Promise<void> {
    this.#unmounting ??= this.#unmount();
    return this.#unmounting;
  }

  async #unmount(): Promise<void> {
    const deadline = this.#clock() + this.#options.unmountWaitMs;
    let lazy = false;
    while (!this.#ended) {
      this.#connection.armWatchdog(Math.ceil(this.#options.unmountWaitMs / 1000) + 30);
      const result = await detachMountpoint(this.#attachment, lazy);
      if (result !== "busy") break;
      if (this.#clock() >= deadline) lazy = true;
      else await atMost(BUSY_RETRY_MS, this.#lost);
    }
    this.#connection.forgetMountpoint();
    this.#connection.armWatchdog(-1);
    // Open files keep the connection alive after a lazy unmount: they lose it when the wait is over.
    await atMost(lazy ? BUSY_RETRY_MS : this.#options.unmountWaitMs, this.#lost);
    if (!this.#ended) this.#end("aborted", 0);
    await this.closed;
  }

  #end(reason: ClosedReason, error: number): void {
    if (this.#ended) return;
    if (error !== 0 && error !== errno.ENODEV && error !== errno.ECONNABORTED)
      this.#trace(`fuse: reading requests failed with errno ${error}`);
    for (const { request } of this.#pending.values()) {
      if (!request.finished) this.#replyError(request, errno.ENOTCONN);
      request.interrupt();
    }
    this.#parked.length = 0;
    this.#ended = true;
    this.#rejectInitialized(new MountError("MOUNT_FAILED", `mount: ${this.mountpoint}: it was unmounted before it was ready`));
    clearInterval(this.#tick);
    // Forced off by the watchdog, it reads like any other unmount.
    const aborted = this.#connection.watchdogFired();
    this.#connection.close();
    this.#endGuard();
    this.#notifications.end();
    this.#resolveLost();
    this.#resolveClosed(this.#destroy(aborted ? "aborted" : reason));
  }

  async #destroy(reason: ClosedReason): Promise<ClosedReason> {
    const settled = this.#pending.size === 0 ? Promise.resolve() : new Promise<void>((resolve) => (this.#settled = resolve));
    await atMost(SETTLE_TIMEOUT_MS, settled);
    if (this.#pending.size > 0)
      this.#trace(`fuse: ${this.#pending.size} requests had not settled ${SETTLE_TIMEOUT_MS / 1000} s after the unmount`);
    // A mount that ended from outside by abort is still in the tree: it would answer ENOTCONN to everybody.
    if (reason === "aborted" && !this.#unmounting) await detachMountpoint(this.#attachment, true).catch(() => {});
    await this.handlers.destroy();
    return reason;
  }

  statistics(): ChannelStatistics {
    const requests: ChannelStatistics["requests"] = {};
    for (const { code, name } of operations) {
      if (this.#counts[code] > 0) requests[name] = { count: this.#counts[code], errors: this.#errors[code] };
    }
    return {
      requests,
      pending: this.#pending.size,
      slots: this.#slots.count,
      freeSlots: this.#slots.free + (this.#landing >= 0 ? 1 : 0),
      expired: this.#expired,
      notifications: this.#notifications.count,
    };
  }
}

function traceOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

// Requests and replies over a stream of frames, in both directions at once. Used on Unix sockets; the cluster's TLS
// sockets are streams too.
//
// Bounds: at most REQUESTS_MAX of this side's requests are in flight and further callers wait their turn; a request
// that may wait long by its nature (a lock) takes one of LONG_REQUESTS_MAX places of its own, so that those can never
// stop the others. The stream is always read: a reply must never wait behind a request. A side that sends more than
// RECEIVED_MAX at once breaks the protocol (twice what is in flight: cancelled ones may still be worked on).
// Every request has a deadline, after which it is refused here and cancelled there.

import type { Duplex } from "node:stream";
import { encodeFrame, type Frame, FrameDecoder, FrameError, PAYLOAD_MAX_BYTES } from "./frame.ts";

export const REQUESTS_MAX = 256;
export const LONG_REQUESTS_MAX = 4096;
const RECEIVED_MAX = 2 * (REQUESTS_MAX + LONG_REQUESTS_MAX);
/** Callers that wait for a place among the requests in flight. */
const WAITING_MAX = 100_000;

/** The other side refused, or did not answer in time. `code` is its word: an errno name, ETIMEDOUT, ECONNRESET. */
export class RequestError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Carries out the other side's request. What it throws goes back as a refusal with its `code`. */
export type RequestHandler = (name: string, message: Message, signal: AbortSignal) => Promise<Message>;

/** An encoded protobuf message, and raw bytes beside it. Both may share memory with what was received. */
export interface Message {
  body: Uint8Array;
  payload?: Uint8Array;
  /** Of a received request: see RequestOptions. */
  number?: number;
}

const NO_BYTES = new Uint8Array();

export interface ConnectionOptions {
  stream: Duplex;
  handle: RequestHandler;
  setTimer: (action: () => void, delayMs: number) => () => void;
  /** Called once, when the stream has ended for whatever reason. */
  closed?: (reason: Error) => void;
}

interface Waiting {
  name: string;
  resolve: (message: Message) => void;
  reject: (error: Error) => void;
  cancelTimer: () => void;
  long: boolean;
}

export interface RequestOptions {
  deadlineMs: number;
  signal?: AbortSignal;
  /** Given to the handler beside the message: for who must know a request that is sent again on another connection. */
  number?: number;
  /** It goes out although all places are taken: for the few by which a side shows that it is there. */
  urgent?: boolean;
  /** It may wait long by its nature. Refused with EAGAIN where all places for such are taken. */
  long?: boolean;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #decoder = new FrameDecoder();
  readonly #sent = new Map<number, Waiting>();
  readonly #received = new Map<number, AbortController>();
  readonly #queue: (() => void)[] = [];
  #nextId = 1;
  #long = 0;
  #failure: Error | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { stream } = options;
    stream.on("data", (chunk: Buffer) => this.#receive(chunk));
    stream.on("error", (error) => this.#fail(error));
    stream.on("close", () => this.#fail(new RequestError("ECONNRESET", "the connection was closed")));
  }

  /** Sends a request and resolves with the reply. Rejects with RequestError: the other side's refusal, ETIMEDOUT, EINTR (signal), EAGAIN or ECONNRESET. */
  async request(name: string, message: Message, options: RequestOptions): Promise<Message> {
    const { body, payload = NO_BYTES } = message;
    if (payload.length > PAYLOAD_MAX_BYTES)
      throw new RequestError("E2BIG", `request ${name} has ${payload.length} bytes; at most ${PAYLOAD_MAX_BYTES} are allowed`);
    const long = options.long ?? false;
    if (long && this.#long >= LONG_REQUESTS_MAX)
      throw new RequestError("EAGAIN", `${LONG_REQUESTS_MAX} requests like ${name} wait already`);
    while (!long && !options.urgent && this.#sent.size - this.#long >= REQUESTS_MAX && !this.#failure)
      await this.#place(name, options.deadlineMs);
    if (this.#failure) throw this.#failure;
    const { deadlineMs, signal } = options;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const giveUp = (code: string, message: string): void => {
        if (!this.#settle(id)) return;
        this.#send({ kind: "cancel", id, name: "", deadlineMs: 0, message: "", body: NO_BYTES, payload: NO_BYTES });
        reject(new RequestError(code, message));
      };
      const cancelTimer = this.#options.setTimer(
        () => giveUp("ETIMEDOUT", `no reply to ${name} within ${deadlineMs} ms`),
        deadlineMs,
      );
      this.#sent.set(id, { name, resolve, reject, cancelTimer, long });
      if (long) this.#long++;
      signal?.addEventListener("abort", () => giveUp("EINTR", `${name} was interrupted`), { once: true });
      this.#send({ kind: "request", id, name, deadlineMs, message: "", body, payload, number: options.number });
    });
  }

  /** Ends the connection; requests in flight are refused with ECONNRESET. */
  close(): void {
    this.#fail(new RequestError("ECONNRESET", "the connection was closed by this side"));
  }

  /** Waits for a place among the requests in flight, no longer than for the deadline. */
  #place(name: string, deadlineMs: number): Promise<void> {
    if (this.#queue.length >= WAITING_MAX)
      throw new RequestError("EAGAIN", `${WAITING_MAX} requests wait for this connection already`);
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        cancelTimer();
        resolve();
      };
      const cancelTimer = this.#options.setTimer(() => {
        this.#queue.splice(this.#queue.indexOf(wake), 1);
        reject(
          new RequestError("ETIMEDOUT", `${name}: not sent within ${deadlineMs} ms, ${REQUESTS_MAX} requests are in flight`),
        );
      }, deadlineMs);
      this.#queue.push(wake);
    });
  }

  #settle(id: number): Waiting | null {
    const waiting = this.#sent.get(id);
    if (!waiting) return null;
    this.#sent.delete(id);
    waiting.cancelTimer();
    if (waiting.long) this.#long--;
    else this.#queue.shift()?.();
    return waiting;
  }

  #send(frame: Frame): void {
    if (this.#failure) return;
    const pieces = encodeFrame(frame);
    const { stream } = this.#options;
    stream.cork();
    for (const piece of pieces) stream.write(piece);
    stream.uncork();
  }

  #receive(chunk: Buffer): void {
    let frames: Frame[];
    try {
      frames = this.#decoder.push(chunk);
    } catch (error) {
      this.#fail(error as Error);
      return;
    }
    for (const frame of frames) this.#take(frame);
  }

  #take(frame: Frame): void {
    if (frame.kind === "request") void this.#work(frame);
    else if (frame.kind === "cancel") this.#received.get(frame.id)?.abort();
    else {
      const waiting = this.#settle(frame.id);
      if (frame.kind === "reply") waiting?.resolve({ body: frame.body, payload: frame.payload });
      else waiting?.reject(new RequestError(frame.name, frame.message));
    }
  }

  async #work(frame: Frame): Promise<void> {
    if (this.#received.has(frame.id)) {
      this.#fail(new FrameError(`request id ${frame.id} is in use already`));
      return;
    }
    if (this.#received.size >= RECEIVED_MAX) {
      this.#fail(new FrameError(`the other side has more than ${RECEIVED_MAX} requests in flight`));
      return;
    }
    const abort = new AbortController();
    this.#received.set(frame.id, abort);
    const answer = { id: frame.id, deadlineMs: 0 };
    try {
      const { body, payload = NO_BYTES } = await this.#options.handle(
        frame.name,
        { body: frame.body, payload: frame.payload, number: frame.number },
        abort.signal,
      );
      this.#send({ ...answer, kind: "reply", name: "", message: "", body, payload });
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      this.#send({
        ...answer,
        kind: "refusal",
        name: typeof code === "string" ? code : "EIO",
        message: String(message).slice(0, 4096),
        body: NO_BYTES,
        payload: NO_BYTES,
      });
    } finally {
      this.#received.delete(frame.id);
    }
  }

  #fail(reason: Error): void {
    if (this.#failure) return;
    this.#failure = reason instanceof RequestError ? reason : new RequestError("ECONNRESET", reason.message, { cause: reason });
    for (const id of [...this.#sent.keys()]) this.#settle(id)?.reject(this.#failure);
    for (const abort of this.#received.values()) abort.abort();
    for (const wake of this.#queue.splice(0)) wake();
    this.#options.stream.destroy();
    this.#options.closed?.(reason);
  }
}

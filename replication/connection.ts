// Requests and replies over a stream of frames, in both directions at once. Used on Unix sockets; the cluster's TLS
// sockets are streams too.
//
// Bounds: each request in flight has a place, and there are kinds of places (Place) with a number each. Where all of a kind
// are taken, further callers wait in a line of that kind. So what waits for one thing never stops what that thing needs: a
// side that is asked to write something back does so although all its other requests wait for just that. At most
// PAYLOADS_MAX_BYTES are in flight; what is large waits for room in a line of its own. A side that sends more than RECEIVED_MAX
// requests at once, or more than RECEIVED_MAX_BYTES of them, breaks the protocol (twice what is in flight: cancelled ones
// may still be worked on).
// Every request has a deadline, which begins with the call, after which it is refused here and cancelled there.
//
// The stream is always read: a reply must never wait behind a request. So what bounds memory where the other side does not read
// is what is begun for it: above UNSENT_WAIT_BYTES that the system has not taken yet, new requests wait, and so do the
// other side's whose replies are large (`replyBytes`; those count as unsent from their begin). What is left are small replies
// and cancels; above UNSENT_MAX_BYTES the connection ends.

import type { Duplex } from "node:stream";
import { encodeFrame, type Frame, FrameDecoder, FrameError, PAYLOAD_MAX_BYTES } from "./frame.ts";

/**
 * What a request may wait for at the other side:
 * - "ordinary": for others to give something up, as most may.
 * - "read": for that, too, where it was overtaken; usually for nothing but the disks. Others may wait for it to be answered.
 * - "flush": for nothing but the disks and the log. What others wait for goes here.
 * - "long": for as long as it takes, by its nature (a lock). Refused with EAGAIN where all such places are taken.
 * - "urgent": for nothing. It needs no place: for the few by which a side shows that it is there.
 */
export type Place = "ordinary" | "read" | "flush" | "long" | "urgent";
type LinePlace = "ordinary" | "read" | "flush";

/** Places of each kind that has a line. */
export const REQUESTS_MAX = 256;
export const LONG_REQUESTS_MAX = 4096;
const LINE_PLACES: readonly LinePlace[] = ["ordinary", "read", "flush"];
export const RECEIVED_MAX = 2 * (LINE_PLACES.length * REQUESTS_MAX + LONG_REQUESTS_MAX);
/** Eight stripes in three copies of 4 MiB on their way to the disks; of rs:4+2 they take half. */
export const PAYLOADS_MAX_BYTES = 96 * 1024 * 1024;
/** Requests below this are not counted: the room that they take follows from their number. */
const COUNTED_FROM_BYTES = 64 * 1024;
/** Twice what is in flight; long requests are small. */
export const RECEIVED_MAX_BYTES = 2 * (PAYLOADS_MAX_BYTES + LINE_PLACES.length * REQUESTS_MAX * COUNTED_FROM_BYTES);
/** 20 ms of what a socket carries: more gains nothing while the other side reads. */
export const UNSENT_WAIT_BYTES = 32 * 1024 * 1024;
/** REQUESTS_MAX replies of a few hundred KiB on top of it. */
export const UNSENT_MAX_BYTES = 128 * 1024 * 1024;
/** Callers that wait in line. */
export const CALLERS_WAITING_MAX = 100_000;

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
  unanswered?: readonly number[];
  /** Of a reply: see Frame. */
  repeated?: boolean;
}

const NO_BYTES = new Uint8Array();

export interface ConnectionOptions {
  stream: Duplex;
  handle: RequestHandler;
  setTimer: (action: () => void, delayMs: number) => () => void;
  /** How many bytes the reply to a request has, where that is many; such a request is begun when there is room for its reply. What it throws is the refusal. */
  replyBytes?: (name: string, message: Message) => number;
  /** Called once, when the stream has ended for whatever reason. */
  closed?: (reason: Error) => void;
}

interface Waiting {
  name: string;
  resolve: (message: Message) => void;
  reject: (error: Error) => void;
  cancelTimer: () => void;
  place: Place;
  /** Its bytes, where they count. */
  countedBytes: number;
}

type Line = Map<number, { waiting: Waiting; frame: Frame }>;

/** Places of one kind, and the requests that wait for one, the oldest first; those that also wait for room apart. */
class Places {
  taken = 0;
  readonly line: Line = new Map();
  readonly largeLine: Line = new Map();

  lineOf(countedBytes: number): Line {
    return countedBytes > 0 ? this.largeLine : this.line;
  }
}

/** A request of the other side that waits for room for its reply. */
interface Held {
  bytes: number;
  begin: () => void;
}

export interface RequestOptions {
  deadlineMs: number;
  signal?: AbortSignal;
  /** Given to the handler beside the message: for who must know a request that is sent again on another connection. */
  number?: number;
  /** As in Frame. */
  unanswered?: readonly number[];
  /** Default "ordinary". */
  place?: Place;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #decoder = new FrameDecoder();
  readonly #sent = new Map<number, Waiting>();
  readonly #places: Readonly<Record<LinePlace, Places>> = { ordinary: new Places(), read: new Places(), flush: new Places() };
  readonly #received = new Map<number, AbortController>();
  readonly #held: Held[] = [];
  #nextId = 1;
  #long = 0;
  #countedBytes = 0;
  #receivedBytes = 0;
  /** Of large replies that are being made. */
  #promisedBytes = 0;
  #failure: Error | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { stream } = options;
    stream.on("data", (chunk: Buffer) => this.#receive(chunk));
    stream.on("drain", () => this.#drained());
    stream.on("error", (error) => this.#fail(error));
    stream.on("close", () => this.#fail(new RequestError("ECONNRESET", "the connection was closed")));
  }

  /** Sends a request and resolves with the reply. Rejects with RequestError: the other side's refusal, ETIMEDOUT, EINTR (signal), EAGAIN or ECONNRESET. */
  async request(name: string, message: Message, options: RequestOptions): Promise<Message> {
    const { body, payload = NO_BYTES } = message;
    if (payload.length > PAYLOAD_MAX_BYTES)
      throw new RequestError("E2BIG", `request ${name} has ${payload.length} bytes; at most ${PAYLOAD_MAX_BYTES} are allowed`);
    const { deadlineMs, signal, number, unanswered, place = "ordinary" } = options;
    if (place === "long" && this.#long >= LONG_REQUESTS_MAX)
      throw new RequestError("EAGAIN", `${LONG_REQUESTS_MAX} requests like ${name} wait already`);
    if (this.#failure) throw this.#failure;
    if (signal?.aborted) throw new RequestError("EINTR", `${name} was interrupted`);
    const bytes = body.length + payload.length;
    const countedBytes = bytes >= COUNTED_FROM_BYTES ? bytes : 0;
    const line = place === "long" || place === "urgent" ? null : this.#places[place].lineOf(countedBytes);
    const inLine = line !== null && (line.size > 0 || !this.#hasPlace(place as LinePlace, countedBytes));
    if (inLine && line.size >= CALLERS_WAITING_MAX)
      throw new RequestError("EAGAIN", `${CALLERS_WAITING_MAX} requests wait for this connection already`);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const late = (): void => this.#giveUp(id, "ETIMEDOUT", `no reply to ${name} within ${deadlineMs} ms`);
      const cancelTimer = this.#options.setTimer(late, deadlineMs);
      signal?.addEventListener("abort", () => this.#giveUp(id, "EINTR", `${name} was interrupted`), { once: true });
      const waiting: Waiting = { name, resolve, reject, cancelTimer, place, countedBytes };
      const frame: Frame = { kind: "request", id, name, deadlineMs, message: "", body, payload, number, unanswered };
      if (inLine) line.set(id, { waiting, frame });
      else this.#start(waiting, frame);
    });
  }

  /** Ends the connection; requests in flight are refused with ECONNRESET. */
  close(): void {
    this.#fail(new RequestError("ECONNRESET", "the connection was closed by this side"));
  }

  /** Whether one more request may be in flight. */
  #hasPlace(place: LinePlace, countedBytes: number): boolean {
    return (
      this.#places[place].taken < REQUESTS_MAX &&
      (countedBytes === 0 || this.#countedBytes + countedBytes <= PAYLOADS_MAX_BYTES) &&
      this.#options.stream.writableLength <= UNSENT_WAIT_BYTES
    );
  }

  /** Takes or gives back (-1) what the request takes of places and room. */
  #count({ place, countedBytes }: Waiting, by: 1 | -1): void {
    if (place === "long") this.#long += by;
    else if (place !== "urgent") this.#places[place].taken += by;
    this.#countedBytes += by * countedBytes;
  }

  #start(waiting: Waiting, frame: Frame): void {
    this.#sent.set(frame.id, waiting);
    this.#count(waiting, 1);
    try {
      this.#send(frame);
    } catch (error) {
      this.#settle(frame.id);
      waiting.reject(error as Error);
    }
  }

  #giveUp(id: number, code: string, message: string): void {
    for (const place of LINE_PLACES) {
      const { line, largeLine } = this.#places[place];
      const inLine = line.get(id) ?? largeLine.get(id);
      if (inLine === undefined) continue;
      line.delete(id);
      largeLine.delete(id);
      inLine.waiting.cancelTimer();
      inLine.waiting.reject(new RequestError(code, `${message}; it waited in line and was not sent`));
      this.#admit();
      return;
    }
    const waiting = this.#settle(id);
    if (waiting === null) return;
    this.#send({ kind: "cancel", id, name: "", deadlineMs: 0, message: "", body: NO_BYTES, payload: NO_BYTES });
    waiting.reject(new RequestError(code, message));
  }

  #settle(id: number): Waiting | null {
    const waiting = this.#sent.get(id);
    if (!waiting) return null;
    this.#sent.delete(id);
    waiting.cancelTimer();
    this.#count(waiting, -1);
    this.#admit();
    return waiting;
  }

  /** Sends what waits in line, as far as there is place. */
  #admit(): void {
    for (const place of LINE_PLACES) {
      const { line, largeLine } = this.#places[place];
      if (line.size > 0) this.#admitFrom(line, place);
      if (largeLine.size > 0) this.#admitFrom(largeLine, place);
    }
  }

  #admitFrom(line: Line, place: LinePlace): void {
    for (const [id, { waiting, frame }] of line) {
      if (this.#failure || !this.#hasPlace(place, waiting.countedBytes)) return;
      line.delete(id);
      this.#start(waiting, frame);
    }
  }

  /** The system has taken all that was written. */
  #drained(): void {
    this.#admit();
    this.#beginHeld();
  }

  #send(frame: Frame): void {
    if (this.#failure) return;
    const pieces = encodeFrame(frame);
    const { stream } = this.#options;
    stream.cork();
    for (const piece of pieces) stream.write(piece);
    stream.uncork();
    const unsent = stream.writableLength;
    if (unsent > UNSENT_MAX_BYTES)
      this.#fail(
        new RequestError(
          "ECONNRESET",
          `the other side does not read: ${unsent} bytes wait to be sent, at most ${UNSENT_MAX_BYTES} may`,
        ),
      );
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
      if (frame.kind === "reply") waiting?.resolve({ body: frame.body, payload: frame.payload, repeated: frame.repeated });
      else waiting?.reject(new RequestError(frame.name, frame.message));
    }
  }

  async #work(frame: Frame): Promise<void> {
    const { id, name, body, payload, number, unanswered } = frame;
    const bytes = body.length + payload.length;
    if (!this.#mayReceive(id, bytes)) return;
    const abort = new AbortController();
    this.#received.set(id, abort);
    this.#receivedBytes += bytes;
    let promised = 0;
    try {
      const message = { body, payload, number, unanswered };
      promised = Math.min(this.#options.replyBytes?.(name, message) ?? 0, UNSENT_WAIT_BYTES / 2);
      if (promised > 0 && !this.#takeRoom(promised)) {
        await new Promise<void>((begin) => this.#held.push({ bytes: promised, begin }));
        if (this.#failure || abort.signal.aborted) return;
      }
      const reply = await this.#options.handle(name, message, abort.signal);
      this.#send({
        kind: "reply",
        id,
        deadlineMs: 0,
        name: "",
        message: "",
        body: reply.body,
        payload: reply.payload ?? NO_BYTES,
        repeated: reply.repeated,
      });
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      const refusal = { name: typeof code === "string" ? code : "EIO", message: String(message).slice(0, 4096) };
      this.#send({ kind: "refusal", id, deadlineMs: 0, ...refusal, body: NO_BYTES, payload: NO_BYTES });
    } finally {
      this.#received.delete(id);
      this.#receivedBytes -= bytes;
      this.#promisedBytes -= promised;
      if (this.#held.length > 0) this.#beginHeld();
    }
  }

  /** Whether the other side keeps to the protocol with this request; ends the connection where not. */
  #mayReceive(id: number, bytes: number): boolean {
    const wrong = this.#received.has(id)
      ? `request id ${id} is in use already`
      : this.#received.size >= RECEIVED_MAX
        ? `the other side has more than ${RECEIVED_MAX} requests in flight`
        : this.#receivedBytes + bytes > RECEIVED_MAX_BYTES
          ? `the other side has more than ${RECEIVED_MAX_BYTES} bytes of requests in flight`
          : null;
    if (wrong !== null) this.#fail(new FrameError(wrong));
    return wrong === null;
  }

  #hasRoom(bytes: number): boolean {
    const before = this.#promisedBytes + this.#options.stream.writableLength;
    return before === 0 || before + bytes <= UNSENT_WAIT_BYTES;
  }

  /** Room for a reply, where there is some and nobody waits for it. */
  #takeRoom(bytes: number): boolean {
    if (this.#held.length > 0 || !this.#hasRoom(bytes)) return false;
    this.#promisedBytes += bytes;
    return true;
  }

  #beginHeld(): void {
    while (this.#held.length > 0 && (this.#failure || this.#hasRoom(this.#held[0].bytes))) {
      const { bytes, begin } = this.#held.shift()!;
      this.#promisedBytes += bytes;
      begin();
    }
  }

  #fail(reason: Error): void {
    if (this.#failure) return;
    this.#failure = reason instanceof RequestError ? reason : new RequestError("ECONNRESET", reason.message, { cause: reason });
    for (const id of [...this.#sent.keys()]) this.#settle(id)?.reject(this.#failure);
    for (const place of LINE_PLACES) {
      const { line, largeLine } = this.#places[place];
      for (const { waiting } of [...line.values(), ...largeLine.values()]) {
        waiting.cancelTimer();
        waiting.reject(this.#failure);
      }
      line.clear();
      largeLine.clear();
    }
    for (const abort of this.#received.values()) abort.abort();
    this.#beginHeld();
    this.#options.stream.destroy();
    this.#options.closed?.(reason);
  }
}

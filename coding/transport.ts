// Streams between stages: what a runner asks of a transport, and the one kind of stream that all transports here have, which
// lets a sender be ahead of its receiver by a window of pieces and no more. How long a piece or a signal takes is the
// transport's own affair (a Carry); with one that delivers at once this is the ideal transport.
import type { Piece } from "./arithmetic.ts";
import { CodingError } from "./code.ts";
import type { ProgramMode } from "./program.ts";

/** A stream of one run of a program. */
export interface StreamAddress {
  /** Names the run; streams of different runs never meet. */
  readonly run: string;
  /** The stream's number in the program. */
  readonly stream: number;
  readonly from: string;
  readonly to: string;
  readonly mode: ProgramMode;
}

/** The sender's end. A failure at the other end rejects `room`, now or when next asked. */
export interface StreamOutput<P> {
  /** Resolves when one more piece may be sent: in pull mode once the receiver has asked for it. */
  room(): Promise<void>;
  /** Only after room(). The piece is the transport's from now on. */
  send(piece: P): void;
  /** Tells the receiver that there is nothing more to come, and why. */
  fail(error: CodingError): void;
}

/** The receiver's end. */
export interface StreamInput<P> {
  /** In pull mode, asks for the first window of pieces. Once, before the first receive. */
  open(): void;
  /** The piece is the caller's. */
  receive(): Promise<P>;
  /** Tells the sender that nothing more is wanted, and why. */
  cancel(error: CodingError): void;
  /** After the last piece. */
  close(): void;
}

/** Both ends may be asked for in any order, each once. */
export interface Transport<P extends Piece> {
  output(address: StreamAddress): StreamOutput<P>;
  input(address: StreamAddress): StreamInput<P>;
}

/** Takes so many bytes (0: a signal) from a node to another and calls `deliver` on arrival. What one stream carries between two nodes arrives in order. */
export type Carry = (message: { from: string; to: string; bytes: number; stream: string }, deliver: () => void) => void;

/** Pieces that a sender may be ahead of its receiver, on each stream. */
export const WINDOW_PIECES = 4;

/** A transport within one process. Streams end with their runs: a finished or failed one takes no memory. */
export class ProcessTransport<P extends Piece> implements Transport<P> {
  readonly #carry: Carry;
  readonly #windowPieces: number;
  readonly #pipes = new Map<string, Pipe<P>>();

  /** carry: default, delivers at once. */
  constructor(carry: Carry = (_, deliver) => deliver(), windowPieces: number = WINDOW_PIECES) {
    if (!Number.isInteger(windowPieces) || windowPieces < 1) {
      throw new CodingError("INVALID_ARGUMENT", `transport: the window is ${windowPieces} pieces; it must be at least 1`);
    }
    this.#carry = carry;
    this.#windowPieces = windowPieces;
  }

  output(address: StreamAddress): StreamOutput<P> {
    return this.#pipe(address, "output");
  }

  input(address: StreamAddress): StreamInput<P> {
    return this.#pipe(address, "input");
  }

  /** Breaks every stream to and from a node, as when it dies or its network does. */
  sever(node: string): void {
    for (const pipe of this.#pipes.values()) {
      if (pipe.address.from !== node && pipe.address.to !== node) continue;
      pipe.break(new CodingError("HOP_FAILED", `node ${JSON.stringify(node)}: the connection to it was lost`));
    }
  }

  /** Each end is handed out once; then the stream is its ends' alone. It stays listed, to be severed, until it has ended and both are taken. */
  #pipe(address: StreamAddress, end: "output" | "input"): Pipe<P> {
    const key = `${address.run} ${address.stream}`;
    let pipe = this.#pipes.get(key);
    if (!pipe) {
      pipe = new Pipe<P>(address, this.#carry, this.#windowPieces, () => this.#pipes.delete(key));
      this.#pipes.set(key, pipe);
    }
    pipe.take(end);
    return pipe;
  }
}

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: CodingError): void;
}

class Pipe<P extends Piece> implements StreamOutput<P>, StreamInput<P> {
  readonly address: StreamAddress;
  readonly #carry: Carry;
  readonly #window: number;
  readonly #forget: () => void;
  #ended = false;
  readonly #name: string;
  readonly #taken = new Set<string>();
  // The sender's side.
  #credit: number;
  #sendFailure: CodingError | null = null;
  #sender: Waiter<void> | null = null;
  // The receiver's side. At most a window of pieces is here or on the way.
  readonly #arrived: P[] = [];
  #receiveFailure: CodingError | null = null;
  #receiver: Waiter<P> | null = null;

  constructor(address: StreamAddress, carry: Carry, window: number, forget: () => void) {
    this.address = address;
    this.#carry = carry;
    this.#window = window;
    this.#forget = forget;
    this.#name = `${address.run} ${address.stream}`;
    this.#credit = address.mode === "push" ? window : 0;
  }

  take(end: "output" | "input"): void {
    if (this.#taken.has(end))
      throw new CodingError("INVALID_ARGUMENT", `transport: the ${end} of stream ${this.#name} is taken twice`);
    this.#taken.add(end);
    if (this.#ended) this.close();
  }

  close(): void {
    this.#ended = true;
    if (this.#taken.size === 2) this.#forget();
  }

  open(): void {
    if (this.address.mode === "pull") this.#back(() => this.#grant(this.#window));
  }

  room(): Promise<void> {
    if (this.#sendFailure) return Promise.reject(this.#sendFailure);
    if (this.#credit > 0) return Promise.resolve();
    return new Promise((resolve, reject) => (this.#sender = { resolve, reject }));
  }

  send(piece: P): void {
    if (this.#sendFailure) return;
    if (this.#credit === 0) throw new CodingError("INVALID_ARGUMENT", `transport: stream ${this.#name} has no room for a piece`);
    this.#credit--;
    this.#forth(piece.length, () => this.#arrive(piece));
  }

  receive(): Promise<P> {
    const piece = this.#arrived.shift();
    if (piece) {
      this.#back(() => this.#grant(1));
      return Promise.resolve(piece);
    }
    if (this.#receiveFailure) return Promise.reject(this.#receiveFailure);
    return new Promise((resolve, reject) => (this.#receiver = { resolve, reject }));
  }

  fail(error: CodingError): void {
    this.#forth(0, () => this.#failReceiver(error));
    this.close();
  }

  cancel(error: CodingError): void {
    this.#back(() => this.#failSender(error));
    this.close();
  }

  break(error: CodingError): void {
    this.#failSender(error);
    this.#failReceiver(error);
    this.close();
  }

  #forth(bytes: number, deliver: () => void): void {
    this.#carry({ from: this.address.from, to: this.address.to, bytes, stream: this.#name }, deliver);
  }

  #back(deliver: () => void): void {
    this.#carry({ from: this.address.to, to: this.address.from, bytes: 0, stream: this.#name }, deliver);
  }

  #grant(pieces: number): void {
    this.#credit += pieces;
    const waiter = this.#sender;
    this.#sender = null;
    waiter?.resolve();
  }

  #arrive(piece: P): void {
    if (this.#receiveFailure) return;
    const waiter = this.#receiver;
    if (!waiter) {
      this.#arrived.push(piece);
      return;
    }
    this.#receiver = null;
    this.#back(() => this.#grant(1));
    waiter.resolve(piece);
  }

  #failSender(error: CodingError): void {
    this.#sendFailure ??= error;
    this.#sender?.reject(this.#sendFailure);
    this.#sender = null;
  }

  #failReceiver(error: CodingError): void {
    this.#receiveFailure ??= error;
    this.#arrived.length = 0;
    this.#receiver?.reject(this.#receiveFailure);
    this.#receiver = null;
  }
}

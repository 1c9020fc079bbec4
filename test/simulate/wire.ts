// A connection between two processes of a simulated machine: two streams that are each other's other end. What is sent
// takes its time, keeps its order, and waits where the receiver is stopped.

import { Duplex } from "node:stream";
import type { Random } from "../../storage/seeded-random.ts";
import type { ProcessClock } from "./clock.ts";

export class WireEnd extends Duplex {
  readonly #clock: ProcessClock;
  readonly #random: Random;
  #other: WireEnd | null = null;
  /** On its way to this end, oldest first; null: the other end is closed. */
  readonly #arriving: (Buffer | null)[] = [];

  constructor(clock: ProcessClock, random: Random) {
    super();
    this.#clock = clock;
    this.#random = random;
  }

  /** Two ends; the clocks are those of the processes that have them. */
  static pair(one: ProcessClock, other: ProcessClock, random: Random): [WireEnd, WireEnd] {
    const [left, right] = [new WireEnd(one, random), new WireEnd(other, random)];
    left.#other = right;
    right.#other = left;
    return [left, right];
  }

  /** Its process has died: the system closes its end, and nothing more happens here. */
  sever(): void {
    this.#send(null);
    this.#other = null;
  }

  /** The connection breaks, and this end finds out first: of what is on its way a first part arrives, or nothing. */
  break(): void {
    const other = this.#other;
    if (other !== null) other.#arriving.splice(Math.floor(this.#random() * (other.#arriving.length + 1)));
    this.destroy();
  }

  get other(): WireEnd | null {
    return this.#other;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send(Buffer.from(chunk));
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)));
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.sever();
    done(error);
  }

  #send(bytes: Buffer | null): void {
    const to = this.#other;
    if (to === null) return;
    to.#arriving.push(bytes);
    const delayMs = to.#random() < 0.7 ? 0 : 0.3 * to.#random();
    to.#clock.after(delayMs, () => to.#arrive());
  }

  #arrive(): void {
    const bytes = this.#arriving.shift();
    if (this.destroyed || bytes === undefined) return;
    if (bytes === null) this.destroy();
    else this.push(bytes);
  }
}

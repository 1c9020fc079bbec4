// A model of a cluster's network on a virtual clock: how long it takes to carry pieces between nodes whose network cards
// have so much bandwidth in and out. A piece leaves through its sender's card, then travels for the latency, passes the link
// where that is limited, and comes in through its receiver's card; each of these serves the streams that wait for it in
// turns, a piece at a time, as fair queueing (and, roughly, TCP) does. Signals take the latency only. What a node sends to
// itself takes no time. Processors and disks are taken to be infinitely fast.
import type { VirtualClock } from "./clock.ts";
import { CodingError } from "./code.ts";
import type { Carry } from "./transport.ts";

export interface ModelledNode {
  readonly inBytesPerSecond: number;
  readonly outBytesPerSecond: number;
  /** Added to whatever this node sends. */
  readonly latencyMs: number;
}

export interface ModelledLink {
  readonly bytesPerSecond: number;
  readonly latencyMs: number;
}

export class ModelledNetwork {
  /** For ProcessTransport. */
  readonly carry: Carry;
  /** Bytes that passed between different nodes. */
  carriedBytes = 0;
  readonly #clock: VirtualClock;
  readonly #nodes: ReadonlyMap<string, ModelledNode>;
  readonly #link: (from: string, to: string) => ModelledLink | null;
  readonly #ports = new Map<string, Port>();

  /** link: what limits two nodes besides their cards; default nothing. */
  constructor(
    clock: VirtualClock,
    nodes: ReadonlyMap<string, ModelledNode>,
    link: (from: string, to: string) => ModelledLink | null = () => null,
  ) {
    this.#clock = clock;
    this.#nodes = nodes;
    this.#link = link;
    this.carry = ({ from, to, bytes, stream }, deliver) => this.#carry(from, to, bytes, stream, deliver);
  }

  #carry(from: string, to: string, bytes: number, stream: string, deliver: () => void): void {
    if (from === to) return deliver();
    const sender = this.#node(from);
    const receiver = this.#node(to);
    const link = this.#link(from, to);
    const latencyMs = sender.latencyMs + (link?.latencyMs ?? 0);
    if (bytes === 0) return void this.#clock.after(latencyMs, deliver);
    this.carriedBytes += bytes;
    const arrive = () => this.#port(`in ${to}`, receiver.inBytesPerSecond).serve(stream, bytes, deliver);
    const travel = () => void this.#clock.after(latencyMs, arrive);
    const cross = link ? () => this.#port(`${from} ${to}`, link.bytesPerSecond).serve(stream, bytes, travel) : travel;
    this.#port(`out ${from}`, sender.outBytesPerSecond).serve(stream, bytes, cross);
  }

  #node(name: string): ModelledNode {
    const node = this.#nodes.get(name);
    if (node) return node;
    throw new CodingError(
      "INVALID_ARGUMENT",
      `modelled network: there is no node ${JSON.stringify(name)}; there are ${[...this.#nodes.keys()].join(", ")}`,
    );
  }

  #port(name: string, bytesPerSecond: number): Port {
    let port = this.#ports.get(name);
    if (!port) this.#ports.set(name, (port = new Port(this.#clock, bytesPerSecond)));
    return port;
  }
}

interface Waiting {
  bytes: number;
  served: () => void;
}

/** One direction of a card or a link: serves one piece at a time, the streams in turns. */
class Port {
  readonly #clock: VirtualClock;
  readonly #bytesPerSecond: number;
  /** In the order of their turns. A stream without pieces has no entry. Transports' windows bound what waits. */
  readonly #streams = new Map<string, Waiting[]>();
  #busy = false;

  constructor(clock: VirtualClock, bytesPerSecond: number) {
    if (!(bytesPerSecond > 0))
      throw new CodingError(
        "INVALID_ARGUMENT",
        `modelled network: a bandwidth of ${bytesPerSecond} bytes/s; it must be more than 0`,
      );
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  serve(stream: string, bytes: number, served: () => void): void {
    const queue = this.#streams.get(stream);
    if (queue) queue.push({ bytes, served });
    else this.#streams.set(stream, [{ bytes, served }]);
    if (!this.#busy) this.#serveNext();
  }

  #serveNext(): void {
    const next = this.#streams.entries().next();
    this.#busy = !next.done;
    if (next.done) return;
    const [stream, queue] = next.value;
    const { bytes, served } = queue.shift() as Waiting;
    this.#streams.delete(stream);
    if (queue.length > 0) this.#streams.set(stream, queue);
    this.#clock.after((bytes * 1000) / this.#bytesPerSecond, () => {
      served();
      this.#serveNext();
    });
  }
}

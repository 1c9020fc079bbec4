// How much more may be written: asked of the stripes from time to time, less what is still on its way to them, so that
// a writer hears of a full store at its write and not at a flush that nobody waits for.

import { FsError } from "../errno.ts";
import type { Stripes } from "../../replication/block-client.ts";
import type { Clock } from "../../storage/clock.ts";
import { SPACE_AGE_MAX_MS } from "./limits.ts";

export class Space {
  readonly #stripes: Stripes;
  readonly #clock: Clock;
  readonly #unstoredBytes: () => number;
  #askedAt = -Infinity;
  #freeBytes = 0;
  #takenSince = 0;

  constructor(stripes: Stripes, clock: Clock, unstoredBytes: () => number) {
    this.#stripes = stripes;
    this.#clock = clock;
    this.#unstoredBytes = unstoredBytes;
  }

  /** Takes note of so many bytes to be written. ENOSPC where they do not fit. */
  reserve(bytes: number): void {
    this.#takenSince += bytes;
    if (this.#takenSince > this.#freeBytes || this.#clock.nowMs() - this.#askedAt > SPACE_AGE_MAX_MS) this.#check(bytes);
  }

  #check(bytes: number): void {
    this.#askedAt = this.#clock.nowMs();
    this.#freeBytes = this.#stripes.space().freeBytes - this.#unstoredBytes();
    this.#takenSince = 0;
    if (bytes > this.#freeBytes) {
      throw new FsError("ENOSPC", `writing ${bytes} bytes: ${Math.max(0, this.#freeBytes)} bytes are free in the store`);
    }
    this.#takenSince = bytes;
  }
}

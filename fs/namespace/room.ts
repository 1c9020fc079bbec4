// How much more may be written: what the disks have free, less what is promised to reserved ranges (fallocate), less what
// is held for promises under way, less a reserve. See DESIGN.md, "Reserved ranges".

import { FsError } from "../errno.ts";
import type { Server } from "./server.ts";
import type { Transaction } from "./transaction.ts";

/** Left free for the namespace itself and for removing things. */
export const ROOM_RESERVE_BYTES = 1024 * 1024;
/** With so much room it is asked for again only after CHECKS_SAVED further records of some 300 bytes: asking all disks takes a tenth of the time of a make. */
const PLENTY_BYTES = 1024 * 1024 * 1024;
const CHECKS_SAVED = 256;
/** A promised byte is counted with a sixteenth more: what headers and padding of blocks take beside the data (DESIGN.md has the arithmetic). */
const PROMISE_OVERHEAD = 16;

/** What is kept free for so many promised bytes. */
export function chargeOf(promisedBytes: number): number {
  return promisedBytes + Math.ceil(promisedBytes / PROMISE_OVERHEAD);
}

/** Room set aside for a promise that is made in several transactions. To be ended. */
export class Hold {
  readonly #room: Room;
  #bytes: number;

  constructor(room: Room, bytes: number) {
    this.#room = room;
    this.#bytes = bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** So much of it is counted as promised now. */
  spend(bytes: number): void {
    const spent = Math.min(bytes, this.#bytes);
    this.#bytes -= spent;
    this.#room.heldBytes -= spent;
  }

  end(): void {
    this.spend(this.#bytes);
  }
}

export class Room {
  readonly #server: Server;
  /** Records that may still be made without asking how much room there is. */
  #checksSaved = 0;
  /** The sum of all holds. */
  heldBytes = 0;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Of the store, in bytes of data. What is promised counts as taken. */
  space(): { totalBytes: number; freeBytes: number } {
    const { totalBytes, freeBytes } = this.#server.hooks?.space() ?? { totalBytes: 0, freeBytes: 0 };
    return { totalBytes, freeBytes: Math.max(0, freeBytes - chargeOf(this.#server.state.promisedBytes)) };
  }

  /** What nobody has a right to. */
  get #freeBytes(): number {
    const { hooks, state } = this.#server;
    if (hooks === undefined) return Infinity;
    return hooks.space().freeBytes - ROOM_RESERVE_BYTES - chargeOf(state.promisedBytes + this.heldBytes);
  }

  /** For a record: ENOSPC where not even the reserve is there. Promised bytes are on the disks, so they keep nobody from making files. */
  checkRecord(): void {
    if (this.#checksSaved > 0) {
      this.#checksSaved--;
      return;
    }
    const space = this.#server.hooks?.space();
    this.#checksSaved = space === undefined || space.freeBytes > PLENTY_BYTES ? CHECKS_SAVED : 0;
    if (space === undefined || space.freeBytes >= ROOM_RESERVE_BYTES) return;
    throw new FsError("ENOSPC", `${space.freeBytes} of ${space.totalBytes} bytes are free, ${ROOM_RESERVE_BYTES} are wanted`);
  }

  /** Sets room aside for so many bytes. ENOSPC. */
  async hold(bytes: number): Promise<Hold> {
    this.#check(bytes);
    this.heldBytes += bytes;
    return new Hold(this, bytes);
  }

  /** ENOSPC where what the transaction promises is neither held nor free. */
  checkPromise(tx: Transaction, hold: Hold | null): void {
    const { promisedBytes } = tx;
    if (promisedBytes <= 0) return;
    this.#check(promisedBytes - Math.min(promisedBytes, hold?.bytes ?? 0));
    if (hold !== null) tx.afterwards(() => hold.spend(promisedBytes));
  }

  #check(bytes: number): void {
    if (bytes === 0 || chargeOf(bytes) <= this.#freeBytes) return;
    throw new FsError(
      "ENOSPC",
      `reserving ${bytes} bytes: ${Math.max(0, Math.floor(this.#freeBytes))} are free and not promised, ${chargeOf(bytes)} are wanted`,
    );
  }
}

// How much more this mount may write: granted by the server, so that what several mounts were told adds up to what is
// there, and a writer hears of a full store at its write and not at a flush that nobody waits for.
//
// 1. A write takes its bytes before it is made. What is taken and not stored yet is said with every request, and counts
//    as taken at the server, until it is stored and the disks show it.
// 2. Nobody is told ENOSPC before the server has released what is deleted, and this mount has stored what it has.

import { FsError } from "../errno.ts";
import type { Session } from "../messages.ts";
import type { Stripes } from "../../replication/block-client.ts";
import { GRANT_KEPT_BYTES, GRANT_WANTED_BYTES } from "./limits.ts";
import type { Schemes } from "./write-buffer.ts";

export interface SpaceParts {
  session: Pick<Session, "call">;
  /** Taken, and not on the disks yet. */
  unstoredBytes(): number;
  /** Tells the server of everything that this mount has let go of. */
  sendForgets(): Promise<void>;
  /** Resolves when all that is unstored now is stored, or could not be. */
  store(): Promise<void>;
  /** Learns anew how much space each disk has. */
  measure(): Promise<void>;
}

export class Space {
  readonly #parts: SpaceParts;
  /** Granted and not taken. Below 0 where the kernel wrote pages back. */
  #grantedBytes = 0;
  /** A further grant is asked for below this. */
  #lowBytes = 0;
  /** What the server counts for this mount, at most. */
  #claimedBytes = 0;
  #asking: Promise<void> | null = null;
  #isUsed = false;
  /** Taken by writes that wait for a buffer. */
  waitingBytes = 0;
  /** So little is free that small pieces are coded as large ones are: copies of them take more than they were counted as. */
  scarce = false;

  constructor(parts: SpaceParts) {
    this.#parts = parts;
  }

  /** Takes so many bytes to be written; false where they are not granted: see obtain. */
  take(bytes: number): boolean {
    if (bytes > this.#grantedBytes) return false;
    this.#spend(bytes);
    return true;
  }

  /** As take, for pages that the kernel writes back: no program is there to be told. */
  takeAnyway(bytes: number): void {
    this.#spend(bytes);
  }

  #spend(bytes: number): void {
    this.#grantedBytes -= bytes;
    this.#isUsed = true;
    if (this.#grantedBytes < this.#lowBytes && this.#asking === null) this.#ask(0).catch(() => {});
  }

  /** Asks for at least so many bytes: granted to whoever takes them first when it resolves. ENOSPC where they are not there. */
  async obtain(bytes: number): Promise<void> {
    if (bytes > this.#grantedBytes) await this.#parts.sendForgets();
    for (let stored = false; bytes > this.#grantedBytes;) {
      // Another asks already, perhaps for less.
      if (this.#asking !== null) {
        await this.#asking;
        continue;
      }
      await this.#ask(bytes - this.#grantedBytes);
      if (bytes <= this.#grantedBytes) return;
      // What is unstored is counted twice while it is being stored.
      if (stored || this.#parts.unstoredBytes() === 0) throw this.#refusal(bytes);
      await this.#parts.store();
      stored = true;
    }
  }

  #refusal(bytes: number): FsError {
    return new FsError("ENOSPC", `writing ${bytes} bytes: the store has no room for them`);
  }

  /** Asks for what the first writes need, so that they need not wait. */
  async fill(): Promise<void> {
    // Who writes asks again.
    await this.#ask(0).catch(() => {});
  }

  /** The disks were full for so many bytes that had been taken: has what is deleted released. */
  async makeRoom(): Promise<void> {
    await this.#parts.sendForgets();
    while (this.#asking !== null) await this.#asking;
    await this.#ask(0, true);
    await this.#parts.measure();
  }

  /** Gives back what is not taken, so that others (or a reservation) have it. */
  async giveBack(): Promise<void> {
    while (this.#asking !== null) await this.#asking;
    this.#grantedBytes = Math.min(0, this.#grantedBytes);
    this.#lowBytes = 0;
    await this.#ask(0, false, 0);
  }

  /** Lazy work: where little is free, or nothing is written any more, the server is told what is stored by now, and gets back what is not needed. */
  async tick(): Promise<void> {
    const idle = !this.#isUsed;
    this.#isUsed = false;
    if (this.#asking !== null || this.#claimedBytes === 0 || !(idle || this.scarce)) return;
    if (idle) this.#grantedBytes = Math.min(this.#grantedBytes, GRANT_KEPT_BYTES);
    this.#lowBytes = Math.min(this.#lowBytes, this.#grantedBytes);
    if (this.#claimedBytes > this.#grantedBytes + this.#unstoredBytes) await this.#ask(0, false, 0);
    // Others may have filled the store meanwhile: the next write asks how it is.
    if (idle) this.#lowBytes = Infinity;
  }

  /** The session that it was granted to is over. */
  reset(): void {
    this.#grantedBytes = this.#lowBytes = this.#claimedBytes = 0;
  }

  get #unstoredBytes(): number {
    return this.#parts.unstoredBytes() + this.waitingBytes;
  }

  #ask(neededBytes: number, release = false, mostBytes = GRANT_WANTED_BYTES): Promise<void> {
    const asking = this.#request(neededBytes, release, mostBytes).finally(() => {
      if (this.#asking === waited) this.#asking = null;
    });
    // Who waits for it asks again where it failed.
    const waited = asking.catch(() => {});
    this.#asking = waited;
    return asking;
  }

  async #request(neededBytes: number, release: boolean, mostBytes: number): Promise<void> {
    const heldBytes = Math.max(0, this.#grantedBytes);
    const unstoredBytes = this.#unstoredBytes;
    const wantedBytes = Math.max(0, mostBytes - heldBytes);
    const request = { heldBytes, unstoredBytes, neededBytes, wantedBytes, release };
    const { grantedBytes, scarce } = await this.#parts.session.call("space", request);
    this.#grantedBytes += grantedBytes;
    this.#claimedBytes = heldBytes + unstoredBytes + grantedBytes;
    this.#lowBytes = Math.floor(Math.max(0, this.#grantedBytes) / 2);
    this.scarce = scarce;
  }
}

/** Where the disks are full, what is deleted is released, and the stripe is written once more. */
export function makingRoom(stripes: Stripes, space: Space): Pick<Stripes, "write" | "sync" | "remove"> {
  return {
    write: (id, scheme, data) =>
      stripes.write(id, scheme, data).catch(async (error: unknown) => {
        if ((error as { code?: string } | null)?.code !== "ENOSPC") throw error;
        await space.makeRoom();
        return stripes.write(id, scheme, data);
      }),
    sync: () => stripes.sync(),
    remove: (removed) => stripes.remove(removed),
  };
}

/** Small pieces are coded, not copied, where little is free. */
export function sparing(schemes: Schemes, space: Space): Schemes {
  return {
    full: schemes.full,
    get small() {
      return space.scarce ? schemes.full : schemes.small;
    },
  };
}

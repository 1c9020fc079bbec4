// Byte-range locks (fcntl(2)) and whole-file locks (flock(2)) of all sessions. In memory: they end with their session. One
// that outlives the server says what it held (restore). Requests that wait are granted in the order in which they came;
// those that do not wait and come again take turns (turns.ts).

import type { Clock } from "../../storage/clock.ts";
import { FsError } from "../errno.ts";
import type { ByteLock, HeldLock } from "../messages.ts";
import type { InodeId, SessionId } from "../types.ts";
import { Turns } from "./turns.ts";

/** Locks held and asked for on one inode; what would make more of them gets ENOLCK, also an unlock that would cut one in two. */
export const LOCKS_PER_INODE_MAX = 100_000;
/** Requests that wait, of all sessions. */
export const LOCKS_WAITING_MAX = 100_000;

/** The kernel's owner is 16 digits. */
export const OWNER_CHARACTERS_MAX = 64;

/** The maxima, unless a test says so. */
export interface LockLimits {
  perInode?: number;
  waiting?: number;
}

interface Held extends ByteLock {
  session: SessionId;
}

interface Waiting {
  session: SessionId;
  ticket: number;
  inode: InodeId;
  lock: ByteLock;
  grant: () => void;
  refuse: (error: FsError) => void;
}

/** A request that waits for the end of another session's turn before it is looked at. */
interface Early {
  inode: InodeId;
  lock: ByteLock;
  refuse: (error: FsError) => void;
}

interface FileLocks {
  held: Held[];
  waiting: Waiting[];
}

/** What comes from another process may be anything. EINVAL. */
function check({ kind, type, start, end, owner }: ByteLock): void {
  const named = (kind === "posix" || kind === "flock") && (type === "read" || type === "write" || type === "unlock");
  const ranged = Number.isSafeInteger(start) && start >= 0 && end >= start;
  if (!named || !ranged || owner.length > OWNER_CHARACTERS_MAX)
    throw new FsError(
      "EINVAL",
      `a lock of kind ${kind.slice(0, 20)}, type ${type.slice(0, 20)}, from ${start} to ${end}, of an owner of ${owner.length} characters`,
    );
}

/** A lock's owner over all sessions. */
function ownerKey(session: SessionId, lock: ByteLock): string {
  return `${session}/${lock.kind}/${lock.owner}`;
}

function sameOwner(held: Held, session: SessionId, lock: ByteLock): boolean {
  return held.session === session && held.owner === lock.owner && held.kind === lock.kind;
}

function conflicts(held: Held, session: SessionId, lock: ByteLock): boolean {
  if (held.kind !== lock.kind || sameOwner(held, session, lock)) return false;
  if (held.type === "read" && lock.type === "read") return false;
  return held.start <= lock.end && lock.start <= held.end;
}

export class Locks {
  readonly #files = new Map<InodeId, FileLocks>();
  readonly #tickets = new Map<string, Waiting>();
  /** Of requests that wait, by ticket. */
  readonly #early = new Map<string, Early>();
  readonly #turns: Record<ByteLock["kind"], Turns>;
  readonly #perInode: number;
  readonly #waiting: number;

  constructor(clock: Clock, { perInode = LOCKS_PER_INODE_MAX, waiting = LOCKS_WAITING_MAX }: LockLimits = {}) {
    this.#perInode = perInode;
    this.#waiting = waiting;
    this.#turns = { posix: new Turns(clock), flock: new Turns(clock) };
  }

  /** Takes, changes or (type unlock) gives up a lock. Resolves when it is held. EAGAIN, EDEADLK, EINTR (cancelled), ENOLCK. Without `wait` it may take as long as another session's turn. */
  async lock(session: SessionId, inode: InodeId, lock: ByteLock, wait: boolean, ticket: number): Promise<void> {
    check(lock);
    if (lock.type !== "unlock" && wait && this.#isEarly(session, inode, lock))
      await this.#untilTurn(session, inode, lock, ticket);
    const file = this.#file(inode);
    this.#requireRoom(inode, file, session, lock);
    if (lock.type === "unlock") {
      this.#set(inode, file, session, lock);
      return;
    }
    if (this.#tickets.size >= this.#waiting)
      throw new FsError("ENOLCK", `${this.#tickets.size} requests wait for locks; at most ${this.#waiting} may`);
    if (!wait) return this.#tryInTurn(session, inode, lock);
    if (!file.held.some((held) => conflicts(held, session, lock))) {
      this.#turns[lock.kind].served(inode, session, lock.type === "write");
      this.#set(inode, file, session, lock);
      return;
    }
    // flock(2) that changes its kind gives the old lock up first.
    if (lock.kind === "flock") this.#set(inode, file, session, { ...lock, type: "unlock" });
    if (lock.kind === "posix" && this.#wouldDeadlock(session, inode, lock)) throw new FsError("EDEADLK");
    await this.#wait(file, session, inode, lock, ticket);
  }

  /** ENOLCK where there would be more locks on the inode than may be. */
  #requireRoom(inode: InodeId, file: FileLocks, session: SessionId, lock: ByteLock): void {
    const count = file.held.length + file.waiting.length;
    // An unlock, and a lock of the other type, may leave two of the one that they lie in.
    if (count < this.#perInode - 1) return;
    const cuts = file.held.some((held) => sameOwner(held, session, lock) && held.type !== lock.type && held.start < lock.start && held.end > lock.end); // prettier-ignore
    if (count + (lock.type === "unlock" ? 0 : 1) + (cuts ? 1 : 0) <= this.#perInode) return;
    this.#forgetEmpty(inode, file);
    throw new FsError("ENOLCK", `${count} locks are held and asked for on inode ${inode}; at most ${this.#perInode} may`);
  }

  /** Another session's turn, and the owner holds nothing that anybody could wait for. */
  #isEarly(session: SessionId, inode: InodeId, lock: ByteLock): boolean {
    if (!this.#turns[lock.kind].isOthers(inode, session)) return false;
    return !(this.#files.get(inode)?.held.some((held) => sameOwner(held, session, lock)) ?? false);
  }

  /** EINTR where it is cancelled meanwhile, ESTALE where its session ends. */
  #untilTurn(session: SessionId, inode: InodeId, lock: ByteLock, ticket: number): Promise<void> {
    const key = `${session}/${ticket}`;
    return new Promise((resolve, reject) => {
      const over = (settle: () => void) => (): void => {
        if (this.#early.delete(key)) settle();
      };
      const refuse = (error: FsError): void => over(() => reject(error))();
      this.#early.set(key, { inode, lock, refuse });
      this.#turns[lock.kind].keepWaiting(inode, { session, go: over(resolve), refuse });
    });
  }

  #tryInTurn(session: SessionId, inode: InodeId, lock: ByteLock): Promise<void> | void {
    const turns = this.#turns[lock.kind];
    if (!this.#isEarly(session, inode, lock)) return this.#try(session, inode, lock);
    return new Promise((resolve, reject) => {
      const go = (): void => {
        try {
          resolve(this.#try(session, inode, lock));
        } catch (error) {
          reject(error as Error);
        }
      };
      turns.keepWaiting(inode, { session, go, refuse: reject });
    });
  }

  /** Takes the lock now. EAGAIN. */
  #try(session: SessionId, inode: InodeId, lock: ByteLock): void {
    const file = this.#file(inode);
    const blocking = file.held.filter((held) => conflicts(held, session, lock));
    if (blocking.length === 0) {
      this.#turns[lock.kind].served(inode, session, lock.type === "write");
      this.#set(inode, file, session, lock);
      return;
    }
    if (lock.kind === "flock") this.#set(inode, file, session, { ...lock, type: "unlock" });
    this.#forgetEmpty(inode, file);
    // Who has something to write with already is served next anyway: nobody else gets what it lacks.
    const inside = file.held.some((held) => held.type === "write" && sameOwner(held, session, lock));
    if (!inside && blocking.some((held) => held.session !== session)) this.#turns[lock.kind].refused(inode, session);
    throw new FsError("EAGAIN");
  }

  #file(inode: InodeId): FileLocks {
    let file = this.#files.get(inode);
    if (file === undefined) this.#files.set(inode, (file = { held: [], waiting: [] }));
    return file;
  }

  #wait(file: FileLocks, session: SessionId, inode: InodeId, lock: ByteLock, ticket: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { session, ticket, inode, lock, grant: resolve, refuse: reject };
      file.waiting.push(waiting);
      this.#tickets.set(`${session}/${ticket}`, waiting);
    });
  }

  /** Whether some owner that the lock would wait for waits, over any number of others, for this owner. */
  #wouldDeadlock(session: SessionId, inode: InodeId, lock: ByteLock): boolean {
    const self = ownerKey(session, lock);
    const waits = new Map<string, Waiting[]>();
    for (const waiting of this.#tickets.values()) {
      const key = ownerKey(waiting.session, waiting.lock);
      waits.set(key, [...(waits.get(key) ?? []), waiting]);
    }
    const seen = new Set<string>();
    const pending = this.#blockers(session, inode, lock);
    while (pending.length > 0) {
      const owner = pending.pop()!;
      if (owner === self) return true;
      if (seen.has(owner)) continue;
      seen.add(owner);
      for (const waiting of waits.get(owner) ?? []) pending.push(...this.#blockers(waiting.session, waiting.inode, waiting.lock));
    }
    return false;
  }

  #blockers(session: SessionId, inode: InodeId, lock: ByteLock): string[] {
    const held = this.#files.get(inode)?.held ?? [];
    return held.filter((other) => conflicts(other, session, lock)).map((other) => ownerKey(other.session, other));
  }

  /** Makes the owner's range be of the lock's type: splits what it cuts, joins neighbours of one type. */
  #set(inode: InodeId, file: FileLocks, session: SessionId, lock: ByteLock): void {
    const kept: Held[] = [];
    const added: Held = { ...lock, session };
    for (const held of file.held) {
      if (!sameOwner(held, session, lock) || held.end + 1 < lock.start || held.start > lock.end + 1) {
        kept.push(held);
        continue;
      }
      if (held.type === lock.type) {
        added.start = Math.min(added.start, held.start);
        added.end = Math.max(added.end, held.end);
        continue;
      }
      if (held.start < lock.start) kept.push({ ...held, end: Math.min(held.end, lock.start - 1) });
      if (held.end > lock.end) kept.push({ ...held, start: Math.max(held.start, lock.end + 1) });
    }
    if (lock.type !== "unlock") kept.push(added);
    file.held = kept.sort((a, b) => a.start - b.start);
    this.#grantWaiting(inode, file);
    if (lock.type === "unlock" && !file.held.some((held) => held.session === session && held.kind === lock.kind))
      this.#turns[lock.kind].left(inode, session);
  }

  #grantWaiting(inode: InodeId, file: FileLocks): void {
    for (let index = 0; index < file.waiting.length;) {
      const waiting = file.waiting[index];
      if (file.held.some((held) => conflicts(held, waiting.session, waiting.lock))) {
        index++;
        continue;
      }
      file.waiting.splice(index, 1);
      this.#tickets.delete(`${waiting.session}/${waiting.ticket}`);
      waiting.grant();
      this.#turns[waiting.lock.kind].served(inode, waiting.session, waiting.lock.type === "write");
      this.#set(inode, file, waiting.session, waiting.lock);
      return;
    }
    this.#forgetEmpty(inode, file);
  }

  #forgetEmpty(inode: InodeId, file: FileLocks): void {
    if (file.held.length === 0 && file.waiting.length === 0 && this.#files.get(inode) === file) this.#files.delete(inode);
  }

  cancel(session: SessionId, ticket: number): void {
    this.#early.get(`${session}/${ticket}`)?.refuse(new FsError("EINTR"));
    const waiting = this.#tickets.get(`${session}/${ticket}`);
    if (waiting !== undefined) this.#withdraw(waiting, new FsError("EINTR"));
  }

  #withdraw(waiting: Waiting, error: FsError): void {
    const file = this.#file(waiting.inode);
    file.waiting = file.waiting.filter((other) => other !== waiting);
    this.#tickets.delete(`${waiting.session}/${waiting.ticket}`);
    waiting.refuse(error);
    this.#forgetEmpty(waiting.inode, file);
  }

  test(session: SessionId, inode: InodeId, lock: ByteLock): ByteLock | null {
    const found = this.#files.get(inode)?.held.find((held) => conflicts(held, session, lock));
    if (found === undefined) return null;
    const { kind, type, start, end, owner, pid } = found;
    return { kind, type, start, end, owner, pid };
  }

  releaseOwner(session: SessionId, inode: InodeId, kind: "posix" | "flock", owner: string): void {
    for (const [key, early] of this.#early) {
      const isIts = early.inode === inode && early.lock.kind === kind && early.lock.owner === owner;
      if (isIts && key.startsWith(`${session}/`)) early.refuse(new FsError("EINTR"));
    }
    const file = this.#files.get(inode);
    if (file === undefined) return;
    for (const waiting of file.waiting.filter(
      (other) => other.session === session && other.lock.owner === owner && other.lock.kind === kind,
    )) {
      this.#withdraw(waiting, new FsError("EINTR"));
    }
    this.#set(inode, file, session, { kind, type: "unlock", start: 0, end: Infinity, owner, pid: 0 });
  }

  /** Takes (or, type unlock, gives up) a lock that was granted elsewhere. EINVAL, ENOLCK. */
  restore(session: SessionId, inode: InodeId, lock: ByteLock): void {
    check(lock);
    const file = this.#file(inode);
    this.#requireRoom(inode, file, session, lock);
    this.#set(inode, file, session, lock);
  }

  /** All locks that are held. */
  *held(): Generator<HeldLock> {
    for (const [inode, { held }] of this.#files)
      for (const { kind, type, start, end, owner, pid } of held) yield { inode, lock: { kind, type, start, end, owner, pid } };
  }

  /** The inodes on which a session holds locks. */
  lockedBy(session: SessionId): Set<InodeId> {
    const locked = new Set<InodeId>();
    for (const [inode, { held }] of this.#files) if (held.some((lock) => lock.session === session)) locked.add(inode);
    return locked;
  }

  /** Everything that a session holds or waits for. */
  releaseSession(session: SessionId): void {
    const over = new FsError("ESTALE", "the session is over");
    for (const waiting of [...this.#tickets.values()]) if (waiting.session === session) this.#withdraw(waiting, over);
    for (const [inode, file] of [...this.#files]) {
      const before = file.held.length;
      file.held = file.held.filter((held) => held.session !== session);
      if (file.held.length !== before) this.#grantWaiting(inode, file);
    }
    for (const turns of Object.values(this.#turns)) turns.releaseSession(session, over);
  }
}

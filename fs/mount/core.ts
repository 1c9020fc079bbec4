// What the parts of one mount share. Only references; the parts are in files of their own.

import { FsError } from "../errno.ts";
import type { DatedClock } from "../clock.ts";
import type { LeaseMode, OperationName, Reply, Request, Session, TimeStamp } from "../messages.ts";
import type { InodeId } from "../types.ts";
import type { Stripes } from "../../replication/block-client.ts";
import { OPERATION_RULES } from "../operation-rules.ts";
import { doubt, isDoubtful } from "./doubt.ts";
import type { BufferPool } from "./buffers.ts";
import type { FileState } from "./file-state.ts";
import type { Flusher } from "./flush.ts";
import type { Fragments } from "./fragments.ts";
import type { Handles } from "./handles.ts";
import type { KernelCaches } from "./handlers.ts";
import type { Inodes } from "./inodes.ts";
import type { Listings } from "./listings.ts";
import type { Marks } from "./marks.ts";
import type { Losses } from "./losses.ts";
import type { Releases } from "./releases.ts";
import type { Places } from "./places.ts";
import type { ReadAhead } from "./read-ahead.ts";
import type { Space } from "./space.ts";
import type { Told } from "./told.ts";
import type { WriteBuffer } from "./write-buffer.ts";
import type { Writers } from "./writers.ts";

export interface Core {
  readonly session: Session;
  readonly stripes: Stripes;
  readonly clock: DatedClock;
  /** Null until the channel is there (and always in tests without a kernel). */
  caches: KernelCaches | null;
  readonly inodes: Inodes;
  readonly handles: Handles;
  readonly pool: BufferPool;
  readonly write: WriteBuffer;
  readonly flusher: Flusher;
  readonly readAhead: ReadAhead;
  readonly fragments: Fragments;
  readonly space: Space;
  readonly losses: Losses;
  readonly writers: Writers;
  readonly accessTimes: boolean;
  readonly trace: (text: string) => void;
  /** Which replies may be kept. */
  readonly marks: Marks;
  /** Goes up with every change made here and every recall: directory pages fetched before may show old attributes. */
  changes: number;
  /** Access times to be sent. */
  readonly accessed: Map<InodeId, TimeStamp>;
  /** Owners of posix locks taken here, by inode: only their close has locks to release. */
  readonly lockOwners: Map<InodeId, Set<string>>;
  readonly flockOwners: Set<string>;
  readonly releases: Releases;
  /** The thread whose request a handler begins with: to be read before anything is awaited. */
  asking: number;
  /** When the kernel was told of inodes' attributes. */
  readonly told: Told;
  /** Under which names the kernel has directories. */
  readonly places: Places;
  /** Directories that were listed, and whose listings the kernel is not to keep. */
  readonly listings: Listings;
  /** What the kernel still caches of an earlier session, and since which renewal that has been dropped step by step. */
  readonly wrongInKernel: Map<InodeId, number>;
  /** The session is over: every operation is refused. */
  expired: boolean;
}

export function call<Name extends OperationName>(core: Core, operation: Name, request: Request<Name>): Promise<Reply<Name>> {
  if (core.expired)
    return Promise.reject(new FsError("EIO", `${operation}: this mount's session is over; unmount and mount again`));
  const reply = core.session.call(operation, request);
  return OPERATION_RULES[operation].once ? reply.catch((error: unknown) => undecided(core, request, error)) : reply;
}

function undecided(core: Core, request: Request<OperationName>, error: unknown): never {
  if (isDoubtful(error)) doubt(core, request);
  throw error;
}

/** As call(), but a reply that is there at once is returned at once. */
export function callNow<Name extends OperationName>(
  core: Core,
  operation: Name,
  request: Request<Name>,
): Reply<Name> | Promise<Reply<Name>> {
  const { session } = core;
  return core.expired || session.callNow === undefined ? call(core, operation, request) : session.callNow(operation, request);
}

/** What `use` makes of the result, now or when it comes. */
export function after<T, U>(result: T | Promise<T>, use: (value: T) => U | Promise<U>): U | Promise<U> {
  return result instanceof Promise ? result.then(use) : use(result);
}

/** Resolves when the file is held at least so. Whatever was known of it before may be old only if the lease was lost, and then was dropped. */
export async function acquire(core: Core, file: FileState, mode: LeaseMode): Promise<void> {
  file.acquiring++;
  try {
    await acquireHeld(core, file, mode);
  } finally {
    file.acquiring--;
  }
}

async function acquireHeld(core: Core, file: FileState, mode: LeaseMode): Promise<void> {
  for (;;) {
    const { session } = core.marks;
    const { attributes } = await call(core, "acquire", { inode: file.inode, mode });
    // The namespace grants before it sends a recall, or after it has the answer, and replies keep their order: what comes
    // while no recall is under way is held, unless another session has begun meanwhile.
    if (file.recall === null && session === core.marks.session) {
      core.inodes.granted(file.inode, mode);
      core.inodes.learned(attributes);
      return;
    }
    await file.recall;
  }
}

/** Runs the action after all earlier ones of this file: truncations, copies, recalls. */
export function inTurn<T>(file: FileState, action: () => Promise<T>): Promise<T> {
  const before = file.tail;
  const result = before === null ? action() : before.then(action);
  const tail = result.then(
    () => {},
    () => {},
  );
  file.tail = tail;
  void tail.then(() => {
    if (file.tail === tail) file.tail = null;
  });
  return result;
}

/** Everything written to the file is with the namespace when this resolves (not yet durable). Throws the error that a flush left at the file. */
export async function flushFile(core: Core, file: FileState): Promise<void> {
  if (file.dirty) {
    core.write.sealFile(file);
    if (file.sizeDirty || (file.timesDirty && file.units.length === 0)) core.write.sealAttributes(file);
    await core.flusher.settle([file]);
  }
  throwKeptError(core, file);
}

/** Throws what went wrong in the background, once. */
export function throwKeptError(core: Core, file: FileState): void {
  const { error, lockLost } = file;
  if (error === null && !lockLost) return;
  file.error = null;
  file.lockLost = false;
  core.losses.told(file.inode);
  if (error === null) throw new FsError("EIO", `inode ${file.inode}: the session was over, and a lock with it (EIO)`);
  throw new FsError(error, `inode ${file.inode}: written data could not be stored (${error})`);
}

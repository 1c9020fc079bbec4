// A step bound to what it needs, and what the kinds of steps share in finding that.

import type { ByteString, InodeId } from "../../fs/types.ts";
import type { Content } from "./content.ts";
import type { Outcome } from "./judge.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import type { WantedLock } from "./lock-kinds.ts";
import type { Model } from "./model.ts";
import type { Step } from "./steps.ts";

const NAMES = 7;

/** A step with what it needs at hand: what the program has open, which inodes its paths led to. */
export interface Bound {
  text: string;
  /** `mark` gives the number of the event at hand. */
  run(mark: () => number): Promise<unknown>;
  /** When the program was interrupted: an operation that it ended (EINTR) counts from then on. */
  interruptedAt?(): number | undefined;
  apply(model: Model, outcome: Outcome | null): boolean;
  /** The file whose content it changes, and how. */
  changes?: ContentEffect;
  /** It makes everything durable that ended before it began; with an inode, that file's content as well. */
  sync?: { inode: InodeId | null };
  /** The file whose bytes it gives. */
  reads?: InodeId;
  range?: { offset: number; length: number };
  /** As apply, but the bytes may end earlier. */
  applyCut?(model: Model, outcome: Outcome | null): boolean;
  /** As apply, where another mount may have lost what it had not written back, and its locks. */
  applyLost?(model: Model, outcome: Outcome | null): boolean;
  /** The file that it closes; close(2) gives errors of what was written before. */
  closes?: InodeId;
  /** The lock that it asks for. */
  locks?: { inode: InodeId; wait: boolean; held: WantedLock };
  /** One request gives them, so that they are of one moment even while the file grows. */
  exact?: boolean;
  /** Where neither content nor names tell in which order overlapping changes were made: what does. */
  look?: Bound;
  /** The directory whose names it gives. */
  lists?: InodeId;
}

export interface ContentEffect {
  inode: InodeId;
  change(content: Content): Content;
  /** Of a write: where it begins (null: at the end) and how long it is. A power cut may leave its first part only. */
  written?: { at: number | null; length: number };
}

export interface Context {
  kernel: Kernel;
  model: Model;
  slots: (File | null)[];
  /** Open files that steps of this round use. */
  inUse: Set<File>;
  /** Open files whose locks steps of this round ask for. */
  locking: Set<File>;
  /** Steps of this round that wait for locks, on all mounts. */
  waiting: { count: number };
  /** How long programs wait for a lock, where it is not their own choice. */
  patienceMs: number | undefined;
  /** Nothing else goes on in this round. */
  alone: boolean;
  /** Walks to the inode, which has a name, and keeps it in use until the round ends. */
  reach(inode: InodeId): Promise<InodeId>;
  /** Inodes that the store has and the model does not: what operations made whose end nobody saw. */
  strangers(parent: InodeId, name: ByteString): InodeId;
  agree(inode: InodeId): Promise<void>;
}

export type Kind = (context: Context, step: Step) => Promise<Bound | null> | Bound | null;

/** Outcome as expected: a value (compared by `same`), or one of the refusals that the state gives reason for. */
export function answers(outcome: Outcome | null, refusals: readonly string[], done: (value: unknown) => boolean): boolean {
  if (outcome !== null && "error" in outcome) return refusals.includes(outcome.error);
  if (refusals.length > 0) return outcome === null;
  return done(outcome === null ? undefined : outcome.value);
}

export function nameOf(number: number): ByteString {
  return `n${number % NAMES}` as ByteString;
}

export async function directoryOf({ model, reach }: Context, number: number): Promise<InodeId> {
  const directories = model.named().filter(({ type }) => type === "directory");
  return reach(directories[number % directories.length].inode);
}

export async function inodeOf({ model, reach }: Context, number: number, types: readonly string[]): Promise<InodeId | null> {
  const inodes = model.named().filter(({ type }) => types.includes(type));
  return inodes.length === 0 ? null : reach(inodes[number % inodes.length].inode);
}

export function openAt({ slots, inUse }: Context, number: number): File | null {
  const open = slots.filter((file) => file !== null && file.handle >= 0);
  if (open.length === 0) return null;
  const file = open[number % open.length]!;
  inUse.add(file);
  return file;
}

export function done(_model: Model, outcome: Outcome | null): boolean {
  return answers(outcome, [], () => true);
}

// How each operation of a session runs: the one table of it. The mount's side of a session in another process
// (remote-session.ts), the numbered requests of such sessions (namespace/answers.ts) and all calls (namespace/calls.ts) go
// by it, so that an operation does not run one way here and another way there.

import type { BlockOperation } from "../replication/block-messages.ts";
import type { Place } from "../replication/connection.ts";
import type { OperationName } from "./messages.ts";
import type { EntryKind } from "./namespace/entry.ts";

export interface OperationRule {
  /** It changes something. So a durable session numbers it, and its reply is stored in the log entry of the change: sent twice, it is done once. */
  readonly once: boolean;
  /** What its log entry says it came from; "none" where it changes nothing. */
  readonly entry: EntryKind;
  /** One transaction over the table; several, one a piece of the file, where the range is long; or none. */
  readonly runs: "transaction" | "pieces" | "directly";
  /** The log is durable up to its entry before it is answered. Everything else is durable with the next sync. */
  readonly synced: boolean;
  /** It means the same under another session: it may be sent again where the one that it was asked under is over. */
  readonly renewable: boolean;
  /** The mount comes to know the inode of the reply's attributes by it: one that perhaps nobody else knows. */
  readonly learns: boolean;
  /** Its place in a connection. "flush": what a mount may need to answer a recall, and what never waits for one. "long" only where the request says that it waits; "flush" also where it says that recalls wait for it (`held`). */
  readonly place: Place;
}

const USUAL = { runs: "transaction", synced: false, learns: false, place: "ordinary" } as const;

function asks(special: Partial<OperationRule> = {}): OperationRule {
  return { ...USUAL, once: false, entry: "none", renewable: true, ...special };
}

/** What is said about the session itself: about what it holds, and about nothing else. */
function ofSession(place: Place): OperationRule {
  return { ...USUAL, once: false, entry: "none", runs: "directly", renewable: false, place };
}

function changes(entry: EntryKind, special: Partial<OperationRule> = {}): OperationRule {
  return { ...USUAL, once: true, entry, renewable: false, ...special };
}

export const OPERATION_RULES: Readonly<Record<OperationName, OperationRule>> = {
  lookup: asks(),
  parent: asks(),
  getAttributes: asks(),
  readLink: asks(),
  list: asks(),
  getXattr: asks(),
  listXattrs: asks(),
  // Asked under a lease: a recall may wait for pages that are being read.
  extents: asks({ place: "read" }),
  acquire: asks(),
  statistics: asks({ runs: "directly" }),
  testLock: asks({ runs: "directly" }),
  sync: asks({ runs: "directly", place: "flush" }),
  setAttributes: changes("setAttributes"),
  make: changes("make", { learns: true }),
  makeUnnamed: changes("makeUnnamed", { learns: true }),
  link: changes("link", { learns: true }),
  unlink: changes("unlink"),
  rename: changes("rename"),
  setXattr: changes("setXattr"),
  removeXattr: changes("removeXattr"),
  // Of what is held exclusively; access times of other files wait for nobody.
  commit: changes("commit", { place: "flush" }),
  reshape: changes("reshape", { runs: "pieces" }),
  share: changes("share"),
  // Numbers that a power cut takes back would be given out again, to blocks other than those that lie on the disks under
  // them: so they are durable before anyone uses them.
  reserveStripes: changes("reserveStripes", { synced: true, place: "flush" }),
  lock: ofSession("long"),
  cancelLock: ofSession("flush"),
  releaseLocks: ofSession("flush"),
  writing: ofSession("flush"),
  forget: ofSession("flush"),
  space: ofSession("flush"),
};

/** Requests about blocks wait for disks alone, and everything that is flushed needs them. */
export const BLOCK_PLACE: Place = "flush";

export interface BlockRule {
  /** As in OperationRule: stripe numbers belong to the session that reserved them. */
  readonly renewable: boolean;
}

export const BLOCK_RULES: Readonly<Record<BlockOperation, BlockRule>> = {
  "block.disks": { renewable: true },
  "block.store": { renewable: false },
  "block.sync": { renewable: true },
  "block.retrieve": { renewable: true },
  "block.delete": { renewable: false },
  "block.list": { renewable: true },
  "block.verify": { renewable: true },
  "block.locate": { renewable: true },
};

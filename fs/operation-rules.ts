// How each operation of a session runs: the one table of it. The mount's side of a session in another process
// (remote-session.ts), the numbered requests of such sessions (namespace/answers.ts) and all calls (namespace/calls.ts) go
// by it, so that an operation does not run one way here and another way there.

import type { BlockOperation } from "../replication/block-messages.ts";
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
}

function asks(runs: OperationRule["runs"] = "transaction"): OperationRule {
  return { once: false, entry: "none", runs, synced: false, renewable: true };
}

/** What is said about the session itself: about what it holds, and about nothing else. */
function ofSession(): OperationRule {
  return { once: false, entry: "none", runs: "directly", synced: false, renewable: false };
}

function changes(entry: EntryKind, special: Partial<OperationRule> = {}): OperationRule {
  return { once: true, entry, runs: "transaction", synced: false, renewable: false, ...special };
}

export const OPERATION_RULES: Readonly<Record<OperationName, OperationRule>> = {
  lookup: asks(),
  parent: asks(),
  getAttributes: asks(),
  readLink: asks(),
  list: asks(),
  getXattr: asks(),
  listXattrs: asks(),
  extents: asks(),
  acquire: asks(),
  statistics: asks("directly"),
  testLock: asks("directly"),
  sync: asks("directly"),
  setAttributes: changes("setAttributes"),
  make: changes("make"),
  makeUnnamed: changes("makeUnnamed"),
  link: changes("link"),
  unlink: changes("unlink"),
  rename: changes("rename"),
  setXattr: changes("setXattr"),
  removeXattr: changes("removeXattr"),
  commit: changes("commit"),
  reshape: changes("reshape", { runs: "pieces" }),
  share: changes("share"),
  // Numbers that a power cut takes back would be given out again, to blocks other than those that lie on the disks under
  // them: so they are durable before anyone uses them.
  reserveStripes: changes("reserveStripes", { synced: true }),
  lock: ofSession(),
  cancelLock: ofSession(),
  releaseLocks: ofSession(),
  forget: ofSession(),
};

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

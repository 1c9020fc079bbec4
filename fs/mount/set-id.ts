// What a file loses when its data or its owner changes: set-user-id, set-group-id and file capabilities. With
// FUSE_HANDLE_KILLPRIV_V2 the kernel leaves that to the filesystem, and says by a flag that the caller may not keep the bits (it lacks
// CAP_FSETID). It says nothing of groups, and nothing at all with FALLOCATE and COPY_FILE_RANGE.
//
// The rules are those of Linux's own filesystems (fs/attr.c, setattr_should_drop_suidgid; security/commoncap.c):
// 1. A change of data by one without CAP_FSETID takes set-user-id, and set-group-id where the group may execute.
// 2. Where the group may not execute, set-group-id goes if the caller is no member of the file's group.
// 3. A change of data by anybody takes file capabilities.
// What a shared mapping writes changes none of it.

import { readFileSync, readlinkSync } from "node:fs";
import type { AttributeChange } from "../messages.ts";
import { S_ISGID, S_ISUID } from "../types.ts";
import type { Attributes } from "../types.ts";
import type { Caller } from "./handlers.ts";

const GROUP_EXECUTE = 0o10;
const CAP_FSETID = 1n << 4n;

/** What the caller's change of the file's data takes, or null. `kill`: the caller may not keep set-id bits; null where the kernel did not say. */
export function lostByData(caller: Caller, attributes: Attributes, kill: boolean | null): AttributeChange | null {
  const { mode, hasCapability } = attributes;
  const bits = mode & (S_ISUID | S_ISGID);
  if (bits === 0 && !hasCapability) return null;
  const change: AttributeChange = hasCapability ? { clearCapability: true } : {};
  if (bits !== 0 && (kill ?? !mayKeepSetId(caller))) {
    if ((mode & S_ISUID) !== 0 || (mode & GROUP_EXECUTE) !== 0) change.clearSetId = true;
    if (losesGroup(caller, attributes)) change.clearSetId = change.clearSetGroupId = true;
  }
  return change.clearSetId || change.clearCapability ? change : null;
}

/** What a new owner or group takes besides what chown(2) always takes. */
export function lostByOwner(caller: Caller, attributes: Attributes): AttributeChange {
  return losesGroup(caller, attributes) && !mayKeepSetId(caller) ? { clearSetId: true, clearSetGroupId: true } : {};
}

/** Set-group-id where the group may not execute, and the caller is no member of it. */
function losesGroup(caller: Caller, { mode, gid }: Attributes): boolean {
  return (
    (mode & (S_ISGID | GROUP_EXECUTE)) === S_ISGID && caller.gid !== gid && !(statusOf(caller)?.groups.includes(gid) ?? false)
  );
}

/** Capabilities count where the process is in our user namespace; of another, or where nothing is known, only the uid does. */
function mayKeepSetId(caller: Caller): boolean {
  const status = statusOf(caller);
  if (status === null) return caller.uid === 0;
  return (status.capabilities & CAP_FSETID) !== 0n && inOurNamespace(caller.pid);
}

function inOurNamespace(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync("/proc/self/ns/user");
  } catch {
    return false;
  }
}

interface Status {
  groups: number[];
  capabilities: bigint;
}

/** The calling thread as /proc shows it. Null where it cannot be read, or shows another: the thread has ended. Asked only for files with set-id bits. */
function statusOf({ pid, uid, gid }: Caller): Status | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return null;
  }
  const numbers = (field: string): string[] => new RegExp(`^${field}:\\s*(.*)$`, "m").exec(text)?.[1].trim().split(/\s+/) ?? [];
  // The last of each is the one that files are reached with.
  if (Number(numbers("Uid")[3]) !== uid || Number(numbers("Gid")[3]) !== gid) return null;
  return { groups: numbers("Groups").map(Number), capabilities: BigInt(`0x${numbers("CapEff")[0] ?? "0"}`) };
}

// What the control API says: the JSON shapes that the daemon sends and the `cairn` command shows. Types only.

import type { CleanerReport } from "../fs/cleaner.ts";

export interface DiskReport {
  id: number;
  path: string;
  /** `draining` is being emptied for removal; `failed` is lost or unreadable; `replaced` is being rebuilt elsewhere. */
  state: "active" | "draining" | "failed" | "replaced";
  reason: string | null;
  totalBytes: number;
  freeBytes: number;
  blocks: number;
  blockBytes: number;
  /** Files of its segments folder; null where the disk has failed. */
  segments: number | null;
  readErrors: number;
  writeErrors: number;
}

export interface MountCountsReport {
  /** Requests whose data lies in the channel's memory. */
  slotsInUse: number;
  openFiles: number;
  openDirectories: number;
  /** Write buffers, of 4 MiB each. */
  buffersLent: number;
}

export interface MountReport {
  path: string;
  session: number;
  /** The process that serves it: the daemon's own, or another. */
  pid: number;
  requests: number;
  /** What is open and in use at the moment; null for a mount of another process. */
  counts: MountCountsReport | null;
}

export interface TaskReport {
  id: number;
  kind: "scrub" | "fsck" | "clean" | "remove-disk" | "replace-disk";
  title: string;
  state: "running" | "done" | "failed" | "cancelled";
  done: number;
  total: number;
  unit: "bytes" | "stripes" | "blocks";
  startedAt: string;
  endedAt: string | null;
  error: string | null;
  /** What the task found and did, by name. */
  counts: Record<string, number>;
  /** The first few findings, as lines for people. */
  findings: string[];
  /** Of `fsck`: the first PROBLEMS_MAX (tasks.ts) problems, for programs; `counts` has their numbers. */
  problems?: ProblemReport[];
  /** Of `fsck`: files that lost bytes. */
  lostFiles?: LostFileReport[];
}

/** Something that `cairn fsck` found. Kinds and fields may be added; what there is keeps its name and meaning. */
export interface ProblemReport {
  /** DESIGN.md has all of them. */
  kind: string;
  /** For people. */
  text: string;
  repaired: boolean;
  /** What it is about; null where it is about none. */
  inode: number | null;
  stripe: number | null;
  block: number | null;
  disk: number | null;
}

export interface LostFileReport {
  inode: number;
  /** From the root of the filesystem on; none where the file was removed and is still open. */
  paths: string[];
  /** Bytes that cannot be read; none where the file as a whole, or an unknown part of it, is lost. */
  ranges: { offset: number; length: number }[];
}

export interface StatusReport {
  store: { data: string; uuid: string; format: number; scheme: string; createdAt: string; repairBytesPerSecond: number };
  daemon: {
    pid: number;
    version: string;
    startedAt: string;
    residentBytes: number;
    heapBytes: number;
    bufferBytes: number;
    buffersLent: number;
  };
  /** `healthy`: everything is fully redundant. `degraded`: all data is there, with less redundancy than the scheme says. `damaged`: some data cannot be read. */
  health: "healthy" | "degraded" | "damaged";
  problems: string[];
  mounts: MountReport[];
  disks: DiskReport[];
  /** `reservedBytes` are promised to files (fallocate) and not written yet: they do not count as free. */
  space: { totalBytes: number; freeBytes: number; reservedBytes: number };
  inodes: number;
  stripes: { total: number; degraded: number; unreadable: number };
  tasks: TaskReport[];
  /** What gives the space of overwritten and deleted data back. */
  cleaner: CleanerReport;
}

export interface BlockReport {
  index: number;
  disk: number;
  state: "good" | "missing" | "failed-disk";
  /** File and offset of the block's first byte; null where the block is not there. */
  file: string | null;
  offset: number | null;
  bytes: number;
}

export interface ExtentReport {
  offset: number;
  length: number;
  kind: "stripe" | "inline" | "unwritten";
  stripe: number | null;
  stripeOffset: number | null;
  scheme: string | null;
  blocks: BlockReport[];
}

export interface WhereReport {
  inode: number;
  size: number;
  extents: ExtentReport[];
}

export interface ErrorReport {
  error: { code: "usage" | "refused" | "unavailable" | "degraded" | "internal"; message: string };
}

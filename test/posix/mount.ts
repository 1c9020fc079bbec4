// The case table on a real mount, served by a process of its own.
import test from "node:test";
import { mountFor } from "../real/mounted.ts";
import { directoryTarget } from "./directory.ts";
import { packageRoot, runTable } from "./table.ts";

/** Not there: `collapse`, which the kernel's FUSE refuses, and `space`, since the disks are shared with whatever else runs. */
const ALWAYS = [
  "dot-links",
  "tmpfile",
  "exec",
  "atime",
  "mmap-times",
  "deadlock",
  "ofd-locks",
  "txtbsy",
  "large-xattr",
  "large-files",
];
/** fusermount3 mounts with nosuid and nodev. */
const FOR_ROOT = ["suid-exec", "devices"];

test("the POSIX case table, on a real mount", async (t) => {
  const store = await mountFor(t);
  const offers = process.getuid?.() === 0 ? [...ALWAYS, ...FOR_ROOT] : ALWAYS;
  await runTable(t, directoryTarget(packageRoot(), store.directory, offers));
});

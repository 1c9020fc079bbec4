// Which process a number meant: numbers are given again, a process together with its start is not.

import fs from "node:fs/promises";

/** When the process was started, in the kernel's count (field 22 of /proc/PID/stat); null where there is none, or a zombie. */
export async function startOf(pid: number): Promise<string | null> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? null : fields[19];
  } catch {
    return null;
  }
}

/** A directory as the kernel knows it, whatever its path: a copy of it is another one. Null where there is none. */
export async function directoryOf(directory: string): Promise<string | null> {
  try {
    const { dev, ino } = await fs.stat(directory, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return null;
  }
}

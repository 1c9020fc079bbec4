// A process beside each mount that ends the connection when this one is killed (native/guard/guard.cc says why the kernel may not).

import { spawn } from "node:child_process";
import { programPath } from "../../native/load.ts";
import type { Attachment } from "./mountpoint.ts";

/** Starts it. Returns what ends it; it also ends with this process. Without it a mount works all the same. */
export function startGuard({ mountpoint, deviceMinor }: Attachment, trace: (line: string) => void): () => void {
  if (deviceMinor < 0) return () => {};
  const words = [mountpoint, String(deviceMinor), String(process.pid), `/sys/fs/fuse/connections/${deviceMinor}/abort`];
  const child = spawn(programPath("cairn-guard"), words, { cwd: "/", env: {}, stdio: "ignore", detached: true });
  child.on("error", (error) => trace(`mount: ${mountpoint} has no guard: ${error.message}`));
  child.unref();
  return () => void child.kill("SIGKILL");
}

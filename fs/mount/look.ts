// Has the kernel look a directory up by its path below a mount, in a process of its own (native/look/look.cc says why).

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { programPath } from "../../native/load.ts";
import type { ByteString } from "../types.ts";
import { LOOKS_MAX, LOOK_MAX_MS } from "./limits.ts";
import type { Attachment } from "./mountpoint.ts";

export class Looks {
  readonly #attachment: Pick<Attachment, "mountpoint" | "deviceMinor">;
  readonly #trace: (line: string) => void;
  readonly #running = new Set<ChildProcess>();

  constructor(attachment: Pick<Attachment, "mountpoint" | "deviceMinor">, trace: (line: string) => void) {
    this.#attachment = attachment;
    this.#trace = trace;
  }

  get running(): number {
    return this.#running.size;
  }

  /** False: too many looks are under way, it is not there any more, or it takes too long. */
  lookUp(names: readonly ByteString[]): Promise<boolean> {
    const { mountpoint, deviceMinor } = this.#attachment;
    if (deviceMinor < 0 || this.#running.size >= LOOKS_MAX) return Promise.resolve(false);
    const words = [mountpoint, String(deviceMinor), ...names.map((name) => Buffer.from(name, "latin1").toString("hex"))];
    const child = spawn(programPath("cairn-look"), words, { cwd: "/", env: {}, stdio: "ignore" });
    this.#running.add(child);
    const timer = setTimeout(() => child.kill("SIGKILL"), LOOK_MAX_MS);
    return new Promise((resolve) => {
      const ended = (found: boolean): void => {
        clearTimeout(timer);
        this.#running.delete(child);
        resolve(found);
      };
      child.on("exit", (code) => ended(code === 0));
      child.on("error", (error) => {
        this.#trace(`mount: ${mountpoint}: looking up a moved directory: ${error.message}`);
        ended(false);
      });
    });
  }

  end(): void {
    for (const child of this.#running) child.kill("SIGKILL");
  }
}

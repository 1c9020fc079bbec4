// POSIX record locks (fcntl F_SETLKW), which Node has no call for: a perl process holds them and is told by lines.
// Its locks are those of a process of its own, so each lane needs one.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";

/** struct flock of fcntl(2) on 64-bit Linux: type, whence, 4 bytes of padding, start, length, pid; F_SETLKW is 7. */
const PROGRAM = `$| = 1; open(F, '+<', $ARGV[0]) or die "open: $!"; print "ready\\n";
while (<STDIN>) { my ($t, $s, $l) = split; fcntl(F, 7, pack('s s x4 q q i x4', $t, 0, $s, $l, 0)) or die "fcntl: $!"; print "ok\\n" }`;

const TYPES = { read: 0, write: 1, unlock: 2 };

export class RangeLock {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #waiting: { resolve: () => void; reject: (error: Error) => void } | null = null;

  private constructor(file: string) {
    this.#child = spawn("perl", ["-e", PROGRAM, file], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdout.on("data", () => this.#waiting?.resolve());
    this.#child.stdin.on("error", () => {}); // `exit` tells
    this.#child.once("exit", (code, signal) =>
      this.#waiting?.reject(new Error(`the process that holds locks ended with ${signal ?? code}`)),
    );
  }

  /** The file must be there. */
  static async open(file: string): Promise<RangeLock> {
    const lock = new RangeLock(file);
    await lock.#answer();
    return lock;
  }

  /** Waits until the range is locked so, or unlocked. One at a time. */
  async set(type: keyof typeof TYPES, start: number, length: number): Promise<void> {
    const answer = this.#answer();
    this.#child.stdin.write(`${TYPES[type]} ${start} ${length}\n`);
    await answer;
  }

  /** Ends the process; its locks go with it. */
  close(): void {
    this.#child.kill("SIGKILL");
  }

  #answer(): Promise<void> {
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }
}

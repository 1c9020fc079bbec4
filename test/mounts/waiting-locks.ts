// Programs that wait for locks (F_SETLKW) on two mounts: one that locks and unlocks all the time keeps nobody out.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test, { after, before } from "node:test";
import { useTwoMounts } from "../fixture/second-mount.ts";
import { run, shell } from "../fixture/store.ts";

/** Locks that the other program must get. In turns they take a second. */
const LOCKS = 50;
/** Of a program that never gets them. */
const HANG_MS = 60_000;

/** Locks, works for 5 ms and unlocks until the file STOP is there, or COUNT times; asks again after 20 ms where it is not to wait. Prints how often it had the lock. */
const PROGRAM = `
import fcntl, os, sys, time
path, stop, count, waits = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "waits"
file = os.open(path, os.O_RDWR)
had = 0
print("ready", flush=True)
while had < count and not os.path.exists(stop):
    try: fcntl.lockf(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        time.sleep(0.020)
        continue
    had += 1
    time.sleep(0.005)
    fcntl.lockf(file, fcntl.LOCK_UN)
print(had)
`;

const { store, one, two } = useTwoMounts("waiting-locks", { before, after });
const mounts = [one, two];

for (const [greedy, patient] of [
  [0, 1],
  [1, 0],
] as const)
  // prettier-ignore
  for (const how of ["waits", "asks again"])
    test(`beside one that locks all the time on mount ${greedy}, one on mount ${patient} that ${how} has its turn`, async () => {
      const name = `${greedy}-${how}`;
      const stop = path.join(store.directory, `stop-${name}`);
      await shell(`: > "${path.join(mounts[greedy], name)}"`);
      const first = spawn("python3", ["-c", PROGRAM, path.join(mounts[greedy], name), stop, "1000000000", "waits"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      try {
        await new Promise((resolve) => first.stdout.once("data", resolve));
        const words = ["-c", PROGRAM, path.join(mounts[patient], name), stop, String(LOCKS), how];
        const ran = await run("python3", words, { timeoutMs: HANG_MS });
        assert.equal(ran.stdout.split("\n")[1], String(LOCKS), ran.stderr);
      } finally {
        const ended = new Promise((resolve) => first.once("exit", resolve));
        fs.writeFileSync(stop, "");
        await ended;
      }
    });

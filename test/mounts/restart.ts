// A mount in a process of its own, and a daemon that is killed or stopped and started again: programs see a pause.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test, { after, before } from "node:test";
import type { StatusReport } from "../../admin/api.ts";
import { makeStore, run, shell, type Store } from "../fixture/store.ts";

let store: Store;
let two: string;

before(async () => {
  store = makeStore("restart");
  await store.start();
  two = path.join(store.directory, "two");
  const ran = await store.cairn("mount", two);
  assert.equal(ran.code, 0, ran.stderr);
});

after(async () => {
  await run("umount", ["-l", two]);
  await store.destroy();
});

const script = (text: string, timeoutMs = 60_000): Promise<string> => shell(text, { env: { A: store.mount, B: two }, timeoutMs });

/** A program that goes on over the restart: writes without sync, makes and renames names, holds locks and an unnamed file. */
const worker = `
import fcntl,os,sys
os.chdir(sys.argv[1]); os.mkdir("work"); os.chdir("work")
out=open("out","wb",buffering=0); out.write(b"before")
gone=open("gone","w+b",buffering=0); gone.write(b"still here"); os.unlink("gone")
locked=open("locked","w+b"); fcntl.lockf(locked,fcntl.LOCK_EX)
print("ready",flush=True)
for i in range(600):
    os.mkdir("d%d"%i); os.rename("d%d"%i,"e%d"%i)
    out.write(b"%08d"%i)
    if i%3==0: os.rmdir("e%d"%i)
gone.seek(0); assert gone.read()==b"still here", "the unnamed file"
fcntl.lockf(locked,fcntl.LOCK_UN)
os.fsync(out.fileno()); out.close(); gone.close()
print("done",flush=True)
`;

async function restartUnderWork(end: () => Promise<unknown>): Promise<void> {
  const child = spawn("python3", ["-c", worker, two], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await new Promise<void>((resolve) =>
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes("ready")) resolve();
    }),
  );
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.ok(!output.includes("done"), "it works still");
  await end();
  await store.start();
  await assert.rejects(shell(`exec 9<>"${store.mount}/work/locked"; python3 -c 'import fcntl; fcntl.lockf(9,fcntl.LOCK_EX|fcntl.LOCK_NB)'`, {}), /Errno 11/); // prettier-ignore
  assert.equal(await exited, 0, errors);
  const expected = Buffer.concat([
    Buffer.from("before"),
    ...Array.from({ length: 600 }, (_, index) => Buffer.from(String(index).padStart(8, "0"))),
  ]);
  assert.deepEqual(fs.readFileSync(path.join(store.mount, "work/out")), expected);
  await script(
    `test $(ls -d $A/work/e* | wc -l) = 400; test -z "$(ls -d $A/work/d* 2>/dev/null)"; rm -r $A/work; ! test -e $B/work`,
  );
}

test("the daemon is killed and started again: a program on the other mount goes on, and nothing of it is lost", async () => {
  await restartUnderWork(() => store.kill());
  const { mounts } = await store.json<StatusReport>("status");
  assert.deepEqual(mounts.map((mount) => mount.path).sort(), [store.mount, two].sort()); // prettier-ignore
});

test("the daemon is stopped and started again: so does it", () => restartUnderWork(() => store.stop()));

/** Parts of the same few pages, written and read through both mounts: threads of the daemon wait in the kernel for page locks most of the time. */
const contender = `
import os,random,sys,threading,time
def work():
    while True:
        try:
            f=os.open(sys.argv[1],os.O_RDWR)
            try:
                while True:
                    at=random.randrange(40)*1000
                    os.pwrite(f,b"x"*300,at) if random.random()<.5 else os.pread(f,300,at)
            finally: os.close(f)
        except OSError: time.sleep(.01)
for _ in range(4): threading.Thread(target=work,daemon=True).start()
print("ready",flush=True); time.sleep(60)
`;

test("a daemon that is killed while both mounts write parts of the same pages can be started again, at once", async () => {
  await script("head -c 40000 /dev/zero > $A/contended");
  const programs = [store.mount, two].map((mount) =>
    spawn("python3", ["-c", contender, path.join(mount, "contended")], { stdio: ["ignore", "pipe", "inherit"] }),
  );
  try {
    await Promise.all(programs.map((program) => new Promise((resolve) => program.stdout.once("data", resolve))));
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await store.kill();
      await store.start();
    }
    await script("head -c 40000 $B/contended | wc -c | grep -qx 40000");
  } finally {
    for (const program of programs) program.kill("SIGKILL");
  }
  const checked = await store.cairn("fsck");
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
});

test("what was written and not synced before a kill reaches the store, also in stripes", async () => {
  await script(
    `head -c 9000000 /dev/urandom > ${store.directory}/big; cp ${store.directory}/big $B/big; printf small > $B/small`,
  );
  await store.kill();
  await store.start();
  await script(`cmp ${store.directory}/big $B/big; cmp ${store.directory}/big $A/big; test "$(cat $A/small)" = small`);
  const checked = await store.cairn("fsck");
  assert.equal(checked.code, 0, checked.stdout + checked.stderr);
});

test("a mount whose session the server has ended says EIO once for what it lost and to writes that hung, overwrites nothing, and goes on", async () => {
  const { mounts } = await store.json<StatusReport>("status");
  const { pid } = mounts.find((mount) => mount.path === two)!;
  await script(`for file in fenced hung-1 hung-2; do printf old > $B/$file; sync $B/$file; done`);
  // Of these the mount holds, when it is stopped, an exclusive lease, and a shared one. They are written to before: at a first write the
  // kernel asks for security.capability, and what hangs would be that.
  const hung = ["hung-1", "hung-2"].map(async (file) => {
    const child = spawn("python3", ["-u", "-c", `
import os,sys
f=os.open(sys.argv[1],os.O_RDWR); os.write(f,b"old"); os.fsync(f); print("open"); sys.stdin.readline()
try: os.write(f,b"hung"); print("written")
except OSError as error: print(error.errno)
else: os.fsync(f)`, path.join(two, file)], { stdio: ["pipe", "pipe", "inherit"] }); // prettier-ignore
    const said = { child, text: "", ended: new Promise((resolve) => child.once("close", resolve)) };
    await new Promise<void>((resolve) =>
      child.stdout.on("data", (chunk: Buffer) => {
        said.text += chunk.toString();
        resolve();
      }),
    );
    return said;
  });
  const writes = await Promise.all(hung);
  await script(`cat $A/hung-2`);
  // Last, for what is written goes on its way by itself after some seconds.
  const writer = spawn("python3", ["-u", "-c", `
import os,sys
f=os.open(sys.argv[1],os.O_WRONLY); os.write(f,b"lost"); print("written"); sys.stdin.readline()
def code(action):
    try: action(); return 0
    except OSError as error: return error.errno
print(code(lambda: os.fsync(f)), code(lambda: os.fsync(f)))`, path.join(two, "fenced")], { stdio: ["pipe", "pipe", "inherit"] }); // prettier-ignore
  await new Promise((resolve) => writer.stdout.once("data", resolve));
  process.kill(pid, "SIGSTOP");
  for (const { child } of writes) child.stdin.end("go\n");
  await script(`for file in fenced hung-1 hung-2; do printf new > $A/$file; test "$(cat $A/$file)" = new; done`);
  process.kill(pid, "SIGCONT");
  for (const said of writes) {
    await said.ended;
    assert.equal(said.text, "open\n5\n");
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  writer.stdin.end("go\n");
  let said = "";
  for await (const chunk of writer.stdout) said += String(chunk);
  assert.equal(said.trim(), "5 0");
  await script(
    `for file in fenced hung-1 hung-2; do test "$(cat $A/$file)" = new; test "$(cat $B/$file)" = new; done; printf again > $B/fenced; test "$(cat $A/fenced)" = again`,
  );
});

// The channel on a real mount. The daemon is another process, and every program that touches the mount runs under a time
// limit, so a bug here is a failed test and not a hung one.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { waitsInKernel } from "../../fixture/in-kernel.ts";
import type { ChannelOptions, ChannelStatistics } from "../../../fs/mount/channel.ts";

const SERVER = fileURLToPath(new URL("./channel-server.js", import.meta.url));
const STEP_SECONDS = 15;

interface Output {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end, killed after STEP_SECONDS. */
async function run(program: string, parameters: string[], cwd = "/"): Promise<Output> {
  const child = spawn("timeout", ["-s", "KILL", String(STEP_SECONDS), program, ...parameters], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (piece: Buffer) => (output.stdout += piece.toString("latin1")));
  child.stderr.on("data", (piece: Buffer) => (output.stderr += piece.toString("latin1")));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...output };
}

async function shell(script: string, directory: string): Promise<string> {
  const { code, stdout, stderr } = await run("bash", ["-ec", `cd ${JSON.stringify(directory)}; ${script}`]);
  assert.equal(code, 0, `${script}\nexit code ${code}\n${stdout}${stderr}`);
  return stdout;
}

async function python(script: string, directory: string): Promise<string> {
  const { code, stdout, stderr } = await run("python3", ["-c", `import os\nos.chdir(${JSON.stringify(directory)})\n${script}`]);
  assert.equal(code, 0, `exit code ${code}\n${stdout}${stderr}`);
  return stdout;
}

class Daemon {
  readonly directory: string;
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
  stderr = "";
  #lines: AsyncIterator<string>;

  constructor(directory: string, options: ChannelOptions) {
    this.directory = directory;
    this.process = spawn(process.execPath, [SERVER, directory, JSON.stringify(options)], { stdio: ["pipe", "pipe", "pipe"] });
    this.process.stderr!.on("data", (piece: Buffer) => (this.stderr += piece));
    this.exited = once(this.process, "exit").then(([code]) => code as number | null);
    this.#lines = createInterface({ input: this.process.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    return ((await this.#lines.next()).value as string | undefined) ?? `the daemon ended: ${this.stderr}`;
  }

  async ask(...command: unknown[]): Promise<unknown> {
    this.process.stdin!.write(`${JSON.stringify(command)}\n`);
    const line = await this.line();
    assert.ok(!line.startsWith("the daemon"), line);
    return JSON.parse(line);
  }

  async statistics(): Promise<ChannelStatistics> {
    return (await this.ask("statistics")) as ChannelStatistics;
  }

  async isMounted(): Promise<boolean> {
    return (await readFile("/proc/self/mountinfo", "utf8")).includes(` ${this.directory} `);
  }
}

async function withDaemon(options: ChannelOptions, body: (daemon: Daemon, directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "cairn-channel-"));
  const daemon = new Daemon(directory, options);
  try {
    assert.equal(await daemon.line(), "ready");
    await body(daemon, directory);
  } finally {
    if (daemon.process.exitCode === null) daemon.process.kill("SIGKILL");
    await daemon.exited;
    await run("bash", ["-c", `umount -l ${directory} 2>/dev/null || fusermount3 -uzq ${directory} 2>/dev/null`]);
    await rm(directory, { recursive: true });
  }
}

test("files, directories and links work, and a clean unmount ends the daemon with 0", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell(
      "echo hello > a; mkdir d; mv a d/b; ln -s d/b link; ln d/b hard; cat link hard; rm link; ls -1 d",
      directory,
    ).then((out) => assert.equal(out, "hello\nhello\nb\n"));
    assert.equal(await shell("stat -c '%h %s %a' d/b; echo more >> hard; stat -c '%s' d/b", directory), "2 6 644\n11\n");
    await shell("umask 027; mkfifo p; mkdir e; : > f; stat -c '%a %F' p e f | tr '\\n' ';'", directory).then((out) =>
      assert.equal(out, "640 fifo;750 directory;640 regular empty file;"),
    );
    await shell(
      "head -c 3000001 /dev/urandom > r; cp r s; cmp r s; truncate -s 1000000 s; cmp -n 1000000 r s; stat -c %s s",
      directory,
    );
    daemon.process.kill("SIGTERM");
    assert.equal(await daemon.exited, 0, daemon.stderr);
    assert.equal(await daemon.isMounted(), false);
    assert.equal(daemon.stderr, "");
  }));

test("a directory of 10,000 names lists each of them once, with readdir and with readdirplus", () =>
  withDaemon({}, async (daemon, directory) => {
    await python("for i in range(10000): open('file-%d' % i, 'w').close()", directory);
    assert.equal(
      await shell("ls -f | grep -c file-; ls -l | grep -c file-; ls | sort | uniq -d | wc -l", directory),
      "10000\n10000\n0\n",
    );
    const { requests } = await daemon.statistics();
    assert.equal(requests.CREATE.count, 10000);
    assert.ok(requests.READDIRPLUS.count >= 1, "the first listing asks for attributes too");
  }));

test("names of any bytes and of 255 bytes pass unchanged; 256 bytes are refused", () =>
  withDaemon({}, async (_daemon, directory) => {
    await python(
      `
names = [bytes([b]) for b in range(1, 256) if chr(b) not in './'] + [b'x' * n for n in range(2, 256)] + [b'\\xff' * 255]
for name in names: open(name, 'wb').write(name)
assert sorted(os.listdir(b'.')) == sorted(names)
for name in names: assert open(name, 'rb').read() == name
try: open(b'y' * 256, 'wb'); assert False
except OSError as e: assert e.errno == 36, e
`,
      directory,
    );
  }));

test("a shared mapping and read(2) see the same bytes", () =>
  withDaemon({}, async (_daemon, directory) => {
    await python(
      `
import mmap
f = open('m', 'w+b'); f.truncate(1 << 20)
m = mmap.mmap(f.fileno(), 1 << 20)
m[5000:5005] = b'hello'; m.flush()
assert os.pread(f.fileno(), 5, 5000) == b'hello'
os.pwrite(f.fileno(), b'world', 9000)
assert m[9000:9005] == b'world'
g = os.open('m', os.O_RDWR | os.O_DIRECT)
d = mmap.mmap(-1, 4096); os.preadv(g, [d], 4096)
assert d[904:909] == b'hello', d[904:909]
`,
      directory,
    );
  }));

test("locks of two programs exclude each other, a waiting one is granted on unlock, and a signal interrupts it", () =>
  withDaemon({}, async (_daemon, directory) => {
    await python(
      `
import fcntl, signal, time
a = open('l', 'w+')
fcntl.lockf(a, fcntl.LOCK_EX, 100, 0)
def child(body):
    pid = os.fork()
    if pid == 0:
        try: body(); os._exit(0)
        except BaseException as e: os.write(2, repr(e).encode()); os._exit(1)
    return pid
def refused():
    b = open('l', 'r+')
    fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 100)
    try: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 99); os._exit(2)
    except BlockingIOError: pass
assert os.waitpid(child(refused), 0)[1] == 0
class Alarm(Exception): pass
def interrupted():
    def on(*_): raise Alarm()
    signal.signal(signal.SIGALRM, on); signal.setitimer(signal.ITIMER_REAL, 0.2)
    b = open('l', 'r+')
    try: fcntl.lockf(b, fcntl.LOCK_EX, 100, 0); os._exit(3)
    except Alarm: pass
assert os.waitpid(child(interrupted), 0)[1] == 0
waiter = child(lambda: fcntl.lockf(open('l', 'r+'), fcntl.LOCK_EX, 100, 0))
killed = child(lambda: fcntl.flock(open('k', 'w'), fcntl.LOCK_EX))
os.waitpid(killed, 0)
time.sleep(0.2)
assert os.waitpid(waiter, os.WNOHANG) == (0, 0)
fcntl.lockf(a, fcntl.LOCK_UN, 100, 0)
assert os.waitpid(waiter, 0)[1] == 0
f = open('k', 'w'); fcntl.flock(f, fcntl.LOCK_EX)
blocked = child(lambda: fcntl.flock(open('k'), fcntl.LOCK_EX))
time.sleep(0.2); os.kill(blocked, 9)
assert os.waitpid(blocked, 0)[1] == 9
f.close(); g = open('k'); fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
`,
      directory,
    );
  }));

test("extended attributes answer size queries and ERANGE", () =>
  withDaemon({}, async (_daemon, directory) => {
    await python(
      `
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
open('x', 'w').close()
os.setxattr('x', 'user.a', b'v' * 60000); os.setxattr('x', 'user.empty', b'')
assert os.getxattr('x', 'user.a') == b'v' * 60000 and os.getxattr('x', 'user.empty') == b''
assert sorted(os.listxattr('x')) == ['user.a', 'user.empty']
assert libc.getxattr(b'x', b'user.a', None, 0) == 60000
small = ctypes.create_string_buffer(10)
assert libc.getxattr(b'x', b'user.a', small, 10) == -1 and ctypes.get_errno() == 34
assert libc.listxattr(b'x', small, 10) == -1 and ctypes.get_errno() == 34
for error, call in ((17, lambda: os.setxattr('x', 'user.a', b'', os.XATTR_CREATE)), (61, lambda: os.setxattr('x', 'user.b', b'', os.XATTR_REPLACE)), (61, lambda: os.removexattr('x', 'user.b'))):
    try: call(); assert False
    except OSError as e: assert e.errno == error, e
`,
      directory,
    );
  }));

test("a handler's bug becomes EIO and a line of trace, and the mount goes on", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("for f in rejects overlong fine; do echo text > $f; done", directory);
    await daemon.ask("invalidateInode", 2, 0, 0);
    await daemon.ask("invalidateInode", 3, 0, 0);
    await shell(
      "sync; for f in rejects overlong; do mv $f $f-1; done; for f in rejects-1 overlong-1; do stat $f; done",
      directory,
    );
    await daemon.ask("invalidateEntry", 1, "rejects-1");
    await daemon.ask("invalidateEntry", 1, "overlong-1");
    const outputs = await shell("for f in lookup-throws rejects-1 overlong-1; do cat $f 2>&1 || true; done; cat fine", directory);
    assert.equal(outputs.match(/Input\/output error/g)?.length, 3, outputs);
    assert.ok(outputs.endsWith("text\n"));
    assert.match(daemon.stderr, /LOOKUP of inode 1 failed: TypeError: a bug in a handler/);
    assert.match(daemon.stderr, /READ of inode 2 failed: RangeError: another bug/);
    assert.match(daemon.stderr, /READ of inode 3 failed: Error: read returned \d+ bytes where \d+ were asked for/);
  }));

test("a request without an answer gets ETIMEDOUT at its deadline", () =>
  withDaemon({ deadlineMs: 500 }, async (daemon, directory) => {
    await shell("echo text > f; mv f hangs; ls hangs", directory);
    await daemon.ask("invalidateEntry", 1, "hangs");
    await daemon.ask("invalidateInode", 2, 0, 0);
    assert.match(await shell("cat hangs 2>&1 || true", directory), /timed out/);
    assert.match(daemon.stderr, /READ of inode 2 had no answer for 500 ms/);
    assert.ok((await daemon.statistics()).expired >= 1);
  }));

test("a program that waits for a read dies when it is killed", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("echo text > f; mv f waits", directory);
    await daemon.ask("invalidateEntry", 1, "waits");
    await daemon.ask("invalidateInode", 2, 0, 0);
    await shell("dd if=waits iflag=direct status=none & p=$!; sleep 0.3; kill -9 $p; wait $p || true", directory);
    const { pending, slots, freeSlots } = await daemon.statistics();
    assert.deepEqual([pending, freeSlots], [0, slots]);
  }));

test("more slow reads than slots are all answered, and meanwhile the rest is served", () =>
  withDaemon({ slots: 3, apartBytes: 600_000 }, async (daemon, directory) => {
    await shell("for i in $(seq 12); do head -c 300000 /dev/zero | tr '\\0' $((i % 10)) > f$i; mv f$i slow$i; done", directory);
    for (let inode = 2; inode < 14; inode++) {
      await daemon.ask("invalidateEntry", 1, `slow${inode - 1}`);
      await daemon.ask("invalidateInode", inode, 0, 0);
    }
    await shell(
      "for i in $(seq 12); do (head -c 300000 /dev/zero | tr '\\0' $((i % 10)) | cmp - slow$i || touch bad) & done; mkdir quick; wait; [ ! -e bad ]",
      directory,
    );
    assert.deepEqual(((s) => [s.pending, s.freeSlots])(await daemon.statistics()), [0, 3]);
  }));

test("reads and writes that come when all slots wait go on without one", () =>
  withDaemon({ slots: 2 }, async (daemon, directory) => {
    await shell("for i in 1 2 3 4; do echo text > f$i; mv f$i waits$i; done; seq 100000 > f5; mv f5 slow5", directory);
    for (const [index, name] of ["waits1", "waits2", "waits3", "waits4", "slow5"].entries()) {
      await daemon.ask("invalidateEntry", 1, name);
      await daemon.ask("invalidateInode", index + 2, 0, 0);
    }
    const end = "while [ ! -e end ]; do sleep 0.1; done; kill -9 $(jobs -p); wait || true";
    const waiting = shell(`for i in 1 2 3 4; do dd if=waits$i iflag=direct 2>/dev/null & done; ${end}`, directory);
    while ((await daemon.statistics()).pending < 4) await new Promise((resolve) => setTimeout(resolve, 10));
    await shell("seq 100000 | cmp - slow5; seq 50000 > new; : > empty; cat empty; seq 50000 | cmp - new; mkdir end", directory);
    await waiting;
    const { pending, freeSlots, expired } = await daemon.statistics();
    assert.deepEqual([pending, freeSlots, expired], [0, 2, 0]);
  }));

test("handlers that never settle cost their slots, not the mount: reads without one time out, the rest goes on", () =>
  withDaemon({ slots: 2, apartBytes: 0, deadlineMs: 500 }, async (daemon, directory) => {
    await shell("for i in 1 2 3; do echo text > f$i; mv f$i hangs$i; done", directory);
    for (let inode = 2; inode < 5; inode++) {
      await daemon.ask("invalidateEntry", 1, `hangs${inode - 1}`);
      await daemon.ask("invalidateInode", inode, 0, 0);
    }
    const outputs = await shell(
      "for i in 1 2 3; do cat hangs$i 2>&1 & done; mkdir d; echo new > d/f; wait; stat -c %s d/f",
      directory,
    );
    assert.equal(outputs.match(/timed out/g)?.length, 3, outputs);
    assert.ok(outputs.endsWith("4\n"), outputs);
    assert.match(daemon.stderr, /found no free slot for 500 ms/);
    assert.equal((await daemon.statistics()).freeSlots, 1);
  }));

test("a read's own buffers are sent as they lie, also more than one system call takes, and released once", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("head -c 1000000 /dev/urandom > f; sha256sum < f > sum; mv f buffers", directory);
    await daemon.ask("invalidateEntry", 1, "buffers");
    await daemon.ask("invalidateInode", 2, 0, 0);
    await shell(
      "sha256sum < buffers | cmp - sum; dd if=buffers iflag=direct bs=1M status=none | sha256sum | cmp - sum",
      directory,
    );
    const [made, released] = (await daemon.ask("released")) as [number, number];
    assert.ok(made > 0);
    assert.equal(released, made);
  }));

test("invalidated data, attributes and names are asked for again", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("printf old > f; cat f; ls -l f; ls nothing 2>/dev/null || true", directory);
    await daemon.ask("write", 2, "new");
    assert.equal(await shell("cat f", directory), "old");
    await daemon.ask("write", 2, "newer");
    await daemon.ask("invalidateInode", 2, 0, 0);
    assert.equal(await shell("cat f; stat -c ' %s' f", directory), "newer 5\n");

    const lookups = async (): Promise<number> => (await daemon.statistics()).requests.LOOKUP.count;
    const before = await lookups();
    await shell("stat f; stat nothing || true", directory);
    assert.equal(await lookups(), before, "both names are cached");
    await daemon.ask("invalidateEntry", 1, "f");
    await daemon.ask("invalidateEntry", 1, "nothing");
    await shell("stat f; stat nothing || true", directory);
    assert.equal(await lookups(), before + 2);
    await daemon.ask("incrementEpoch");
    await shell("stat f; stat nothing || true", directory);
    assert.equal(await lookups(), before + 4);
    await daemon.ask("notifyDelete", 1, 2, "f");
    await daemon.ask("invalidateInode", 999_999, 0, 0);
    await daemon.ask("invalidateEntry", 1, "was-never-here");
    await shell("cat f", directory);
  }));

test("more notifications than the queue holds are all sent", () =>
  withDaemon({ notificationLimit: 8 }, async (daemon) => {
    await daemon.ask("invalidateMany", 2000);
    assert.equal((await daemon.statistics()).notifications, 2000);
  }));

test("invalidating an inode with an unanswered read of it blocks neither the daemon nor other programs", () =>
  withDaemon({ deadlineMs: 2000 }, async (daemon, directory) => {
    await shell("head -c 20000 /dev/zero > f; mv f waits", directory);
    await daemon.ask("invalidateEntry", 1, "waits");
    await daemon.ask("invalidateInode", 2, 0, 0);
    const reader = run("bash", ["-c", `cat ${directory}/waits & p=$!; sleep 1; kill -9 $p; wait $p`]);
    await shell("sleep 0.3", "/");
    const invalidated = daemon.ask("invalidateInode", 2, 0, 0);
    await shell("mkdir other; ls other", directory);
    await reader;
    assert.equal(await invalidated, true);
  }));

test("a daemon that is killed while it drops a locked page is gone at once, and programs are told so", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("head -c 20000 /dev/zero > f; mv f waits", directory);
    await daemon.ask("invalidateEntry", 1, "waits");
    await daemon.ask("invalidateInode", 2, 0, 0);
    const reader = run("cat", [`${directory}/waits`]);
    await shell("sleep 0.3", "/");
    void daemon.ask("invalidateInode", 2, 0, 0).catch(() => {});
    await waitsInKernel(daemon.process.pid!, "folio_lock");
    daemon.process.kill("SIGKILL");
    await daemon.exited;
    assert.match((await reader).stderr, /Software caused connection abort|Transport endpoint is not connected/);
    assert.match((await run("ls", [directory])).stderr, /Transport endpoint is not connected/);
  }));

test("a killed daemon's mount is replaced by the next one", () =>
  withDaemon({}, async (daemon, directory) => {
    daemon.process.kill("SIGKILL");
    await daemon.exited;
    assert.match((await run("ls", [directory])).stderr, /Transport endpoint is not connected/);
    const second = new Daemon(directory, {});
    assert.equal(await second.line(), "ready");
    await shell("echo back > f; cat f", directory);
    second.process.kill("SIGTERM");
    assert.equal(await second.exited, 0, second.stderr);
    assert.equal(await second.isMounted(), false, "and nothing is left beneath it");
  }));

test("a mount in use is unmounted lazily after the wait", () =>
  withDaemon({ unmountWaitMs: 500 }, async (daemon, directory) => {
    const user = spawn("sleep", ["30"], { cwd: directory });
    try {
      await once(user, "spawn");
      daemon.process.kill("SIGTERM");
      assert.equal(await daemon.exited, 0, daemon.stderr);
      assert.equal(await daemon.isMounted(), false);
    } finally {
      user.kill("SIGKILL");
    }
  }));

test("umount from outside ends the daemon with 0", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("echo a > f", directory);
    assert.equal((await run("umount", [directory])).code, 0);
    assert.equal(await daemon.line(), '"unmounted"');
    assert.equal(await daemon.exited, 0, daemon.stderr);
  }));

test("a daemon that exits without unmounting leaves no dead mount behind", () =>
  withDaemon({}, async (daemon, directory) => {
    await shell("echo a > f", directory);
    daemon.process.stdin!.write('["exit"]\n');
    assert.equal(await daemon.exited, 3);
    assert.equal(await daemon.isMounted(), false);
  }));

test("a daemon stuck on its own mount is freed by the watchdog", () =>
  withDaemon({ stuckSeconds: 2 }, async (daemon) => {
    assert.match(String(await daemon.ask("touchOwnMount")), /ECONNABORTED|ENOTCONN/);
    assert.equal(await daemon.line(), '"aborted"');
    await daemon.exited;
    assert.equal(await daemon.isMounted(), false);
    assert.match(daemon.stderr, /the event loop does not answer/);
  }));

test("fusermount3 mounts and unmounts as well", () =>
  withDaemon({ method: "fusermount" }, async (daemon, directory) => {
    assert.equal(await shell("echo a > f; cat f; mkdir d; ls", directory), "a\nd\nf\n");
    daemon.process.kill("SIGTERM");
    assert.equal(await daemon.exited, 0, daemon.stderr);
    assert.equal(await daemon.isMounted(), false);
  }));

// What can be wrong with a mountpoint, each with its own code and a text that says what to do. Where root is not needed to
// make it happen, no mount is made.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { fuseAddon } from "../../../native/fuse.ts";
import {
  MountError,
  attachMountpoint,
  cleanStaleMount,
  detachMountpoint,
  findMount,
  parseMountTable,
} from "../../../fs/mount/mountpoint.ts";
import type { MountErrorCode, MountpointOptions } from "../../../fs/mount/mountpoint.ts";

const MEMORY_MOUNT = fileURLToPath(new URL("../../../bench/memory-mount.js", import.meta.url));

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "cairn-mountpoint-"));
  try {
    await body(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function refuses(mountpoint: string, options: MountpointOptions, code: MountErrorCode, text: RegExp): Promise<void> {
  await assert.rejects(attachMountpoint(mountpoint, options), (error) => {
    assert.ok(error instanceof MountError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });
}

test("a missing mountpoint, or one below a missing directory, is named with the command that makes it", () =>
  withDirectory(async (directory) => {
    await refuses(`${directory}/none`, {}, "MISSING", /none does not exist; create it with `mkdir -p /);
    await refuses(`${directory}/none/deeper`, {}, "MISSING", /deeper does not exist/);
  }));

test("a file is refused as a mountpoint", () =>
  withDirectory(async (directory) => {
    await writeFile(`${directory}/file`, "");
    await refuses(`${directory}/file`, {}, "NOT_A_DIRECTORY", /file is not a directory/);
  }));

test("a mountpoint with files in it is refused unless that is allowed", () =>
  withDirectory(async (directory) => {
    await writeFile(`${directory}/precious`, "");
    await refuses(directory, {}, "NOT_EMPTY", /is not empty \(1 entries, one is "precious"\)/);
    await refuses(directory, { allowNonEmpty: true, method: "mount", devicePath: "/dev/none" }, "NO_DEVICE", /\/dev\/none/);
  }));

test("a missing device and one without permission are told apart", () =>
  withDirectory(async (directory) => {
    const empty = `${directory}/empty`;
    await mkdir(empty);
    await refuses(
      empty,
      { method: "mount", devicePath: `${directory}/fuse` },
      "NO_DEVICE",
      /fuse is not there \(ENOENT\); load the kernel module with `modprobe fuse`/,
    );
    await refuses(empty, { method: "mount", devicePath: directory }, "DEVICE_PERMISSION", /may not be opened .*chmod 666/);
  }));

test("without fusermount3 an ordinary user is told how to install it", () =>
  withDirectory(async (directory) => {
    await refuses(
      directory,
      { method: "fusermount", fusermountPath: `${directory}/fusermount3` },
      "NO_FUSERMOUNT",
      /apt-get install fuse3/,
    );
  }));

test("what fusermount3 complains of becomes the error", () =>
  withDirectory(async (directory) => {
    const program = async (text: string): Promise<MountpointOptions> => {
      const fusermountPath = `${directory}/fusermount3`;
      await writeFile(fusermountPath, `#!/bin/sh\necho "fusermount3: ${text}" >&2\nexit 1\n`);
      await chmod(fusermountPath, 0o755);
      return { method: "fusermount", fusermountPath };
    };
    const empty = `${directory}/empty`;
    await mkdir(empty);
    await refuses(empty, await program("failed to open /dev/fuse: Permission denied"), "DEVICE_PERMISSION", /EACCES/);
    await refuses(empty, await program("fuse device not found, try 'modprobe fuse' first"), "NO_DEVICE", /modprobe fuse/);
    await refuses(empty, await program("user has no write access to mountpoint /x"), "MOUNT_PERMISSION", /no write access/);
    await refuses(
      empty,
      await program("too many FUSE filesystems mounted; mount_max=N can be set"),
      "MOUNT_FAILED",
      /too many FUSE/,
    );
    await writeFile(`${directory}/fusermount3`, "#!/bin/sh\nexit 0\n");
    await refuses(
      empty,
      { method: "fusermount", fusermountPath: `${directory}/fusermount3` },
      "MOUNT_FAILED",
      /sent no descriptor/,
    );
  }));

/** Runs a memory mount to its end as an ordinary user: this one, or nobody where this is root. */
async function mountAsOrdinaryUser(directory: string): Promise<{ code: number | null; output: string }> {
  const isRoot = process.geteuid!() === 0;
  const [program, ...first] = isRoot
    ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", process.execPath]
    : [process.execPath];
  const child = spawn("timeout", ["-s", "KILL", "15", program, ...first, MEMORY_MOUNT, directory], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (output += piece));
  child.stdout.once("data", () => child.kill("SIGTERM")); // "ready": timeout passes the signal on
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

test("an ordinary user mounts through fusermount3, or is told what is in the way", () =>
  withDirectory(async (directory) => {
    if (process.geteuid!() === 0) await chmod(directory, 0o777);
    const { code, output } = await mountAsOrdinaryUser(directory);
    if (code === 0) assert.match(output, /^ready\nunmounted\n$/);
    else
      assert.match(
        output,
        /mount: \/dev\/fuse (may not be opened|is not there)|apt-get install fuse3|Permission denied|Cannot find module|EACCES/,
      );
    assert.equal(await findMount(directory), undefined);
  }));

test("a living mount is busy, a dead one is cleaned up, and a symbolic link to a directory is followed", () =>
  withDirectory(async (directory) => {
    const [mountpoint, link] = [`${directory}/with space`, `${directory}/link`];
    await mkdir(mountpoint);
    await symlink(mountpoint, link);
    const daemon = spawn(process.execPath, [MEMORY_MOUNT, link], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(daemon, "exit");
    try {
      await once(daemon.stdout, "data");
      assert.equal((await findMount(mountpoint))?.source, "cairn-memory");
      await refuses(mountpoint, {}, "BUSY", /already has cairn-memory \(fuse\.cairn\) mounted; unmount it first/);
      assert.equal(await cleanStaleMount(directory), false);
      daemon.kill("SIGKILL");
      await exited;
      assert.equal(await cleanStaleMount(mountpoint), true);
      assert.equal(await findMount(mountpoint), undefined);
      assert.equal(await cleanStaleMount(mountpoint), false);
    } finally {
      daemon.kill("SIGKILL");
      await exited;
      await cleanStaleMount(mountpoint);
    }
  }));

test("detaching what is not mounted says so", () =>
  withDirectory(async (directory) => {
    for (const method of ["mount", "fusermount"] as const) {
      if (method === "mount" && process.geteuid!() !== 0) continue;
      const attachment = { mountpoint: directory, descriptor: -1, method, fusermountPath: "fusermount3", deviceMinor: -1 };
      assert.equal(await detachMountpoint(attachment, false), "gone");
    }
  }));

test("other users are let in by an ordinary user only where fuse.conf permits it", () =>
  withDirectory(async (directory) => {
    const script = `
      const { attachMountpoint } = await import(${JSON.stringify(new URL("../../../fs/mount/mountpoint.js", import.meta.url).href)});
      process.geteuid = () => 1000;
      await attachMountpoint(${JSON.stringify(directory)}, { allowOther: true, method: "fusermount", configurationPath: "/dev/null" }).catch((error) => console.log(error.code, error.message));`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (piece: Buffer) => (output += piece));
    await once(child, "close");
    assert.match(output, /MOUNT_PERMISSION .*user_allow_other/);
  }));

test("the mount table's escapes and optional fields are understood", () => {
  const text =
    "36 35 0:31 / /mnt/with\\040space rw,nosuid shared:2 master:1 - fuse.cairn cairn rw,user_id=0\n25 1 254:0 / / rw - ext4 /dev/vda rw\n";
  assert.deepEqual(parseMountTable(text), [
    { mountpoint: "/mnt/with space", type: "fuse.cairn", source: "cairn", deviceMajor: 0, deviceMinor: 31 },
    { mountpoint: "/", type: "ext4", source: "/dev/vda", deviceMajor: 254, deviceMinor: 0 },
  ]);
});

test("errors of the addon's calls come back as negative numbers", () => {
  const addon = fuseAddon();
  assert.equal(addon.openDevice("/nonexistent/fuse"), -2);
  assert.equal(addon.receiveDescriptor(-1), -9);
  assert.equal(addon.mount("none", "/nonexistent", "no-such-type", 0, "") < 0, true);
});

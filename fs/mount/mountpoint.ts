// Attaching a /dev/fuse descriptor to a directory and taking it off again: mount(2) as root, fusermount3 otherwise. All
// that can be wrong with a mountpoint is found and named here, and a mount left behind by a killed daemon is cleaned up.
//
// The mountpoint is only touched through the thread pool and with a time limit: it may be a mount that does not answer.
import { spawn } from "node:child_process";
import { readFile, readdir, realpath, stat, statfs, writeFile } from "node:fs/promises";
import path from "node:path";
import { MNT_DETACH, MS_NODEV, MS_NOSUID, UMOUNT_NOFOLLOW, fuseAddon } from "../../native/fuse.ts";
import { errno } from "../errno.ts";

export const FILESYSTEM_TYPE = "fuse.cairn";
/** How long a look at a mountpoint may take before it counts as hung. */
const LOOK_TIMEOUT_MS = 3000;
/** How long fusermount3 may take. */
const FUSERMOUNT_TIMEOUT_MS = 20_000;

export type MountErrorCode =
  | "MISSING" | "NOT_A_DIRECTORY" | "NOT_EMPTY" | "BUSY" | "HUNG" | "NO_DEVICE" | "DEVICE_PERMISSION" | "NO_FUSERMOUNT" | "MOUNT_PERMISSION"
  | "MOUNT_FAILED" | "UNMOUNT_FAILED" | "OLD_KERNEL"; // prettier-ignore

/** Mounting or unmounting failed; the message says what to do. */
export class MountError extends Error {
  readonly code: MountErrorCode;
  constructor(code: MountErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface MountpointOptions {
  /** The mount's source, as `mount` and `df` show it. */
  source?: string;
  /** Mount over a directory that has files. */
  allowNonEmpty?: boolean;
  /** Let other users in. As root on by default; otherwise only where /etc/fuse.conf says user_allow_other. */
  allowOther?: boolean;
  /** mount(2) or fusermount3; by default mount(2) where the process is root. */
  method?: "mount" | "fusermount";
  devicePath?: string;
  fusermountPath?: string;
  configurationPath?: string;
  mountTablePath?: string;
}

export interface Attachment {
  /** Absolute, without symbolic links. */
  mountpoint: string;
  descriptor: number;
  method: "mount" | "fusermount";
  fusermountPath: string;
  /** The device's minor number: names the connection in fusectl and the readahead setting in /sys/class/bdi. */
  deviceMinor: number;
}

export interface MountTableEntry {
  mountpoint: string;
  type: string;
  source: string;
  deviceMajor: number;
  deviceMinor: number;
}

/** Parses /proc/self/mountinfo (proc(5)); octal escapes are undone. */
export function parseMountTable(text: string): MountTableEntry[] {
  const unescape = (field: string): string =>
    field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return text.split("\n").filter(Boolean).map((line) => {
    const [before, after] = line.split(" - ");
    const fields = before.split(" ");
    const [type, source] = after.split(" ");
    const [deviceMajor, deviceMinor] = fields[2].split(":").map(Number);
    return { mountpoint: unescape(fields[4]), type, source: unescape(source), deviceMajor, deviceMinor };
  }); // prettier-ignore
}

/** The mount that a path shows (the last one made there), or undefined. */
export async function findMount(
  mountpoint: string,
  mountTablePath = "/proc/self/mountinfo",
): Promise<MountTableEntry | undefined> {
  const bytes = Buffer.from(mountpoint).toString("latin1");
  return parseMountTable(await readFile(mountTablePath, "latin1")).findLast((entry) => entry.mountpoint === bytes);
}

async function within<T>(timeoutMs: number, promise: Promise<T>, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), timeoutMs);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

function errnoName(number: number): string {
  const found = Object.entries(errno).find(([, value]) => value === number);
  return found ? found[0] : `errno ${number}`;
}

/** The path as the mount table will show it. The last component is not looked into: it may be a dead mount. */
async function resolvePath(mountpoint: string): Promise<string> {
  const absolute = path.resolve(mountpoint);
  const parent = await within(LOOK_TIMEOUT_MS, realpath(path.dirname(absolute)), () => hung(absolute)).catch((error) => {
    if (codeOf(error) !== "ENOENT") throw error;
    throw new MountError("MISSING", `mount: ${absolute} does not exist; create it with \`mkdir -p ${absolute}\``);
  });
  return path.join(parent, path.basename(absolute));
}

function hung(mountpoint: string): MountError {
  return new MountError(
    "HUNG",
    `mount: ${mountpoint} does not answer within ${LOOK_TIMEOUT_MS / 1000} s; it may be a hung mount: \`umount -l ${mountpoint}\``,
  );
}

/**
 * Takes away a mount whose daemon is gone ("Transport endpoint is not connected"). Returns whether there was one.
 * Throws BUSY where a living filesystem is mounted there.
 */
export async function cleanStaleMount(mountpoint: string, options: MountpointOptions = {}): Promise<boolean> {
  const target = await resolvePath(mountpoint);
  let cleaned = false;
  for (;;) {
    const found = await findMount(target, options.mountTablePath);
    if (!found) return cleaned;
    // statfs, because stat may be answered from the kernel's cache where nobody is there any more.
    const living = await within(LOOK_TIMEOUT_MS, statfs(target), () => hung(target)).then(
      () => true,
      (error) => {
        if (codeOf(error) === "ENOTCONN" || codeOf(error) === "ECONNABORTED") return false;
        if (codeOf(error) === "EACCES" || codeOf(error) === "EPERM") return true;
        throw error;
      },
    );
    if (living) {
      throw new MountError(
        "BUSY",
        `mount: ${target} already has ${found.source} (${found.type}) mounted; unmount it first: \`umount ${target}\``,
      );
    }
    await detach(target, options);
    cleaned = true;
  }
}

async function detach(target: string, options: MountpointOptions): Promise<void> {
  if (methodOf(options) === "mount") {
    const error = await unmountCall(target, MNT_DETACH | UMOUNT_NOFOLLOW);
    if (error && error !== errno.EINVAL) throw unmountFailed(target, errnoName(error));
    return;
  }
  const result = await runFusermount(fusermountOf(options), ["-u", "-z", "-q", "--", target]);
  if (result.code !== 0) throw unmountFailed(target, result.output);
}

/** Takes the mount off the tree, whoever uses it and whether or not it is served. */
export async function forceUnmount(mountpoint: string, options: MountpointOptions = {}): Promise<void> {
  await detach(await resolvePath(mountpoint), options);
}

function unmountFailed(target: string, why: string): MountError {
  return new MountError("UNMOUNT_FAILED", `unmount: ${target}: ${why}`);
}

function unmountCall(target: string, flags: number): Promise<number> {
  return new Promise((resolve) => fuseAddon().unmount(target, flags, resolve));
}

function methodOf(options: MountpointOptions): "mount" | "fusermount" {
  return options.method ?? (process.geteuid!() === 0 ? "mount" : "fusermount");
}

function fusermountOf(options: MountpointOptions): string {
  return options.fusermountPath ?? "fusermount3";
}

async function checkDirectory(target: string, options: MountpointOptions): Promise<number> {
  const found = await within(LOOK_TIMEOUT_MS, stat(target), () => hung(target)).catch((error) => {
    if (codeOf(error) !== "ENOENT") throw error;
    throw new MountError("MISSING", `mount: ${target} does not exist; create it with \`mkdir -p ${target}\``);
  });
  if (!found.isDirectory()) throw new MountError("NOT_A_DIRECTORY", `mount: ${target} is not a directory`);
  if (!options.allowNonEmpty) {
    const names = await within(LOOK_TIMEOUT_MS, readdir(target), () => hung(target));
    if (names.length > 0) {
      throw new MountError(
        "NOT_EMPTY",
        `mount: ${target} is not empty (${names.length} entries, one is ${JSON.stringify(names[0])}); mount on an empty directory`,
      );
    }
  }
  return found.mode;
}

function deviceError(device: string, error: number): MountError {
  const name = errnoName(error);
  if (error === errno.ENOENT || error === errno.ENXIO || error === errno.ENODEV) {
    return new MountError(
      "NO_DEVICE",
      `mount: ${device} is not there (${name}); load the kernel module with \`modprobe fuse\`, or give the container --device ${device}`,
    );
  }
  return new MountError(
    "DEVICE_PERMISSION",
    `mount: ${device} may not be opened for reading and writing (${name}); as root: \`chmod 666 ${device}\`, or run as root`,
  );
}

async function othersAllowed(options: MountpointOptions, method: "mount" | "fusermount"): Promise<boolean> {
  if (process.geteuid!() === 0) return options.allowOther ?? true;
  if (options.allowOther === false) return false;
  const text = await readFile(options.configurationPath ?? "/etc/fuse.conf", "utf8").catch(() => "");
  const permitted = method === "mount" || /^\s*user_allow_other\s*$/m.test(text);
  if (options.allowOther && !permitted) {
    throw new MountError(
      "MOUNT_PERMISSION",
      "mount: other users are only let in where /etc/fuse.conf has the line user_allow_other",
    );
  }
  return permitted;
}

/**
 * Mounts a new /dev/fuse descriptor on a directory. A stale mount there is taken away first. Refuses, with a
 * MountError, a mountpoint that is missing, no directory, not empty or already mounted. The kernel's INIT request is
 * waiting in the descriptor when this resolves.
 */
export async function attachMountpoint(mountpoint: string, options: MountpointOptions = {}): Promise<Attachment> {
  await cleanStaleMount(mountpoint, options);
  const target = await resolvePath(mountpoint);
  const mode = await checkDirectory(target, options);
  const real = await realpath(target);
  if (real !== target) return attachMountpoint(real, options);
  const method = methodOf(options);
  const allowOther = await othersAllowed(options, method);
  const descriptor =
    method === "mount"
      ? mountDirectly(target, mode, allowOther, options)
      : await mountThroughFusermount(target, allowOther, options);
  const entry = await findMount(target, options.mountTablePath);
  return { mountpoint: target, descriptor, method, fusermountPath: fusermountOf(options), deviceMinor: entry?.deviceMinor ?? -1 };
}

function mountDirectly(target: string, mode: number, allowOther: boolean, options: MountpointOptions): number {
  const addon = fuseAddon();
  const device = options.devicePath ?? "/dev/fuse";
  const descriptor = addon.openDevice(device);
  if (descriptor < 0) throw deviceError(device, -descriptor);
  const data = [
    `fd=${descriptor}`,
    `rootmode=${(mode & 0o170000).toString(8)}`,
    `user_id=${process.geteuid!()}`,
    `group_id=${process.getegid!()}`,
    "default_permissions",
  ];
  if (allowOther) data.push("allow_other");
  // Root decides what its own store holds: device nodes and set-user-id programs work. Others get neither.
  const flags = process.geteuid!() === 0 ? 0 : MS_NOSUID | MS_NODEV;
  const error = addon.mount(options.source ?? "cairn", target, FILESYSTEM_TYPE, flags, data.join(","));
  if (error === 0) return descriptor;
  addon.closeDescriptor(descriptor);
  const name = errnoName(-error);
  if (-error === errno.EPERM)
    throw new MountError(
      "MOUNT_PERMISSION",
      `mount: ${target}: not permitted (${name}); mount(2) needs CAP_SYS_ADMIN, which this container may lack`,
    );
  if (-error === errno.ENODEV)
    throw new MountError("NO_DEVICE", `mount: ${target}: this kernel has no FUSE (${name}); load it with \`modprobe fuse\``);
  if (-error === errno.EINVAL)
    throw new MountError(
      "NO_DEVICE",
      `mount: ${target}: refused (${name}); ${device} is not the FUSE device, or not this system's`,
    );
  throw new MountError("MOUNT_FAILED", `mount: ${target}: mount(2) failed with ${name}`);
}

interface ProgramResult {
  code: number | null;
  output: string;
}

function runFusermount(program: string, parameters: string[], socket?: number): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, {
      stdio: socket === undefined ? ["ignore", "pipe", "pipe"] : ["ignore", "pipe", "pipe", socket],
      env: { ...process.env, ...(socket === undefined ? {} : { _FUSE_COMMFD: "3" }), LC_ALL: "C" },
    });
    const timer = setTimeout(() => child.kill(), FUSERMOUNT_TIMEOUT_MS);
    let output = "";
    for (const stream of [child.stdout!, child.stderr!])
      stream.on("data", (piece: Buffer) => (output = (output + piece).slice(-4096)));
    child.on("error", (error) => {
      clearTimeout(timer);
      const missing = codeOf(error) === "ENOENT";
      reject(
        missing
          ? new MountError(
              "NO_FUSERMOUNT",
              `mount: ${program} was not found; an ordinary user needs it to mount: \`apt-get install fuse3\``,
              { cause: error },
            )
          : error,
      );
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, output: output.trim() });
    });
  });
}

function fusermountError(target: string, output: string): MountError {
  if (/device not found|try 'modprobe fuse'/.test(output)) return deviceError("/dev/fuse", errno.ENOENT);
  if (/failed to open \/dev\/fuse: Permission denied/.test(output)) return deviceError("/dev/fuse", errno.EACCES);
  if (/user_allow_other|no write access|not permitted|Permission denied|owner of/.test(output))
    return new MountError("MOUNT_PERMISSION", `mount: ${target}: ${output}`);
  return new MountError("MOUNT_FAILED", `mount: ${target}: ${output || "fusermount3 failed without a word"}`);
}

async function mountThroughFusermount(target: string, allowOther: boolean, options: MountpointOptions): Promise<number> {
  const addon = fuseAddon();
  const pair = addon.socketPair();
  if (typeof pair === "number")
    throw new MountError("MOUNT_FAILED", `mount: ${target}: socketpair failed with ${errnoName(-pair)}`);
  const [ours, theirs] = pair;
  try {
    const settings = [
      "default_permissions",
      `fsname=${options.source ?? "cairn"}`,
      "subtype=cairn",
      ...(allowOther ? ["allow_other"] : []),
    ];
    const result = await runFusermount(fusermountOf(options), ["-o", settings.join(","), "--", target], theirs);
    if (result.code !== 0) throw fusermountError(target, result.output);
    const descriptor = addon.receiveDescriptor(ours);
    if (descriptor < 0)
      throw new MountError("MOUNT_FAILED", `mount: ${target}: fusermount3 sent no descriptor (${errnoName(-descriptor)})`);
    return descriptor;
  } finally {
    addon.closeDescriptor(ours);
    addon.closeDescriptor(theirs);
  }
}

/** Takes the mount off the tree. "busy": programs use it (not with `lazy`); "gone": nothing was mounted. */
export async function detachMountpoint(attachment: Attachment, lazy: boolean): Promise<"done" | "busy" | "gone"> {
  const { mountpoint } = attachment;
  if (attachment.method === "mount") {
    const error = await unmountCall(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));
    if (error === errno.EBUSY) return "busy";
    if (error === errno.EINVAL || error === errno.ENOENT) return "gone";
    if (error) throw unmountFailed(mountpoint, errnoName(error));
    return "done";
  }
  const result = await runFusermount(attachment.fusermountPath, ["-u", ...(lazy ? ["-z"] : []), "--", mountpoint]);
  if (result.code === 0) return "done";
  if (/busy/i.test(result.output)) return "busy";
  if (/not found in|not mounted|Invalid argument/.test(result.output)) return "gone";
  throw unmountFailed(mountpoint, result.output);
}

/** Raises the mount's readahead from the kernel's 128 KiB. Needs root; returns whether it was set. */
export async function setReadahead(deviceMinor: number, kibibytes: number): Promise<boolean> {
  return writeFile(`/sys/class/bdi/0:${deviceMinor}/read_ahead_kb`, String(kibibytes)).then(
    () => true,
    () => false,
  );
}

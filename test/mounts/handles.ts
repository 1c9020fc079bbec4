// File handles (name_to_handle_at(2), open_by_handle_at(2)), by which an NFS server names files: good for a file's life,
// whatever the kernel has forgotten, on every mount of the store, and after the mount was made again.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";
import { eventually } from "../fixture/eventually.ts";
import { dropMount, mountAgain, useTwoMounts } from "../fixture/second-mount.ts";
import { shell } from "../fixture/store.ts";

const { store, one, two } = useTwoMounts("handles", { before, after });
const needsRoot = { skip: process.getuid!() === 0 ? false : "open_by_handle_at(2) and dropping caches need root" };

/** `handle FILE` prints its handle; `open MOUNT HANDLE` prints the path of what it names, or the error, and the first bytes of a file. */
const PROGRAM = String.raw`
import ctypes, errno, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]
def failed():
    print(errno.errorcode[ctypes.get_errno()]); sys.exit()
if sys.argv[1] == "handle":
    handle, mount = Handle(128), ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(sys.argv[2]), ctypes.byref(handle), ctypes.byref(mount), 0) < 0: failed()
    print(f"{handle.type}:{bytes(handle.data[:handle.bytes]).hex()}")
else:
    kind, data = sys.argv[3].split(":")
    data = bytes.fromhex(data)
    handle = Handle(len(data), int(kind)); handle.data[:len(data)] = data
    mount = os.open(sys.argv[2], os.O_RDONLY)
    fd = libc.open_by_handle_at(mount, ctypes.byref(handle), os.O_RDONLY)
    if fd < 0: failed()
    place = os.readlink(f"/proc/self/fd/{fd}")
    print(place, os.listdir(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else os.read(fd, 100).decode())
`;

const python = async (...words: string[]): Promise<string> => {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  return (await shell(`python3 -c "$PROGRAM" ${quoted}`, { env: { PROGRAM } })).trim();
};
const handleOf = (file: string): Promise<string> => python("handle", file);
const open = (mount: string, handle: string): Promise<string> => python("open", mount, handle);
const dropCaches = (): Promise<string> => shell("echo 2 > /proc/sys/vm/drop_caches");

test("a handle names its file after the kernel has forgotten it, under whatever name, on every mount", needsRoot, async () => {
  await shell(`mkdir -p "${one}/a/b"; echo contents > "${one}/a/b/file"`);
  const file = await handleOf(`${one}/a/b/file`);
  const directory = await handleOf(`${one}/a/b`);
  assert.equal(await handleOf(`${two}/a/b/file`), file, "the same on each mount");
  await dropCaches();
  assert.equal(await open(one, directory), `${one}/a/b ['file']`);
  await dropCaches();
  assert.match(await open(one, file), /contents$/);
  assert.match(await open(two, file), /contents$/);
  await shell(`mv "${two}/a/b" "${two}/c"; mv "${two}/c/file" "${two}/c/other"; echo more >> "${two}/c/other"`);
  await dropCaches();
  assert.equal(await open(one, directory), `${one}/c ['other']`);
  assert.match(await open(one, file), /contents\nmore$/);
});

test("a handle outlives its mount and the daemon", needsRoot, async () => {
  await shell(`mkdir -p "${two}/e/f"; echo kept > "${two}/e/f/file"`);
  const [file, directory] = [await handleOf(`${two}/e/f/file`), await handleOf(`${two}/e/f`)];
  assert.equal((await store.cairn("unmount", two)).code, 0);
  await mountAgain(store, "two");
  assert.equal(await open(two, directory), `${two}/e/f ['file']`);
  assert.match(await open(two, file), / kept$/);
  await store.kill();
  await store.start();
  assert.equal(await open(one, directory), `${one}/e/f ['file']`);
  assert.match(await open(one, file), /kept$/);
});

test("a handle of what was removed is stale, also when its number's neighbours were made since", needsRoot, async () => {
  await shell(`mkdir "${one}/g"; echo gone > "${one}/g/file"`);
  const [file, directory] = [await handleOf(`${one}/g/file`), await handleOf(`${one}/g`)];
  await shell(`rm -r "${two}/g"; mkdir "${two}/g"; for i in $(seq 50); do echo $i > "${two}/g/$i"; done`);
  await dropCaches();
  // The namespace hears a moment later what a kernel has forgotten.
  for (const mount of [one, two])
    for (const handle of [file, directory]) await eventually("it is gone", async () => (await open(mount, handle)) === "ESTALE");
});

test("a file without a name is reached by its handle as long as another mount has it open", needsRoot, async () => {
  await shell(`echo unlinked > "${one}/h"`);
  const handle = await handleOf(`${one}/h`);
  const third = await mountAgain(store, "third");
  try {
    const script = `exec 3< "${one}/h"; rm "${two}/h"; python3 -c "$PROGRAM" open "${third.path}" '${handle}'; cat <&3; exec 3<&-`;
    assert.match(await shell(script, { env: { PROGRAM } }), / unlinked\n\nunlinked\n$/);
    await dropCaches();
    await eventually("it is gone", async () => (await open(third.path, handle)) === "ESTALE");
  } finally {
    await dropMount(third);
  }
});

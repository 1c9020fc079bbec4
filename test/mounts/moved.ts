// rename(2) through one mount of directories that the other has moved, while programs of the first have files open in them:
// Linux keeps the old name of such a directory, and cannot change it inside of rename(2) (fs/mount/places.ts).

import test, { after, before } from "node:test";
import { useTwoMounts } from "../fixture/second-mount.ts";
import { shell } from "../fixture/store.ts";

const { one, two } = useTwoMounts("moved", { before, after });

/** Each test's script has a directory of its own on both mounts (`one`, `two`), and what it needs of renameat2(2). */
const BEGIN = String.raw`
import ctypes, errno, os, subprocess, sys, threading, time
one, two = (os.path.join(mount, sys.argv[1]) for mount in (os.environ["ONE"], os.environ["TWO"]))
libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
def rename(source, target, flags=0, source_at=-100, target_at=-100):
    if libc.renameat2(source_at, os.fsencode(source), target_at, os.fsencode(target), flags) == 0: return "done"
    return errno.errorcode[ctypes.get_errno()]
def expect(what, wanted): assert what == wanted, f"{what!r} in place of {wanted!r}"
def directories(*names):
    for name in names: os.mkdir(f"{one}/{name}")
def opened(name):
    os.stat(f"{two}/{os.path.dirname(name)}")
    return open(f"{two}/{name}", "w")
def written(file, names):
    file.seek(0); file.write("here"); file.flush()
    for mount in one, two: expect(open(f"{mount}/{names}").read(), "here")
os.mkdir(one)
`;

let count = 0;
const script = async (text: string): Promise<void> => {
  await shell(`python3 -c "$PROGRAM" test-${++count}`, { env: { PROGRAM: BEGIN + text, ONE: one, TWO: two } });
};

test("to a third place", () =>
  script(String.raw`
for turn in range(5):
    directories(f"a{turn}", f"b{turn}", f"c{turn}")
    file = opened(f"c{turn}/file")
    expect(rename(f"{one}/c{turn}", f"{one}/b{turn}/d"), "done")
    expect(rename(f"{two}/b{turn}/d", f"{two}/a{turn}/d"), "done")
    written(file, f"a{turn}/d/file")
    expect(rename(f"{one}/a{turn}/d", f"{one}/c{turn}"), "done")
    expect(rename(f"{two}/c{turn}", f"{two}/b{turn}/e"), "done")
    expect(os.listdir(f"{one}/b{turn}"), ["e"])
`));

test("a file onto it is EISDIR, a directory onto it ENOTEMPTY, and what must not replace it EEXIST", () =>
  script(String.raw`
directories("a", "b")
open(f"{two}/a/file", "w"); os.mkdir(f"{two}/a/directory")
for source, flags, error in ("file", 0, "EISDIR"), ("directory", 0, "ENOTEMPTY"), ("file", NOREPLACE, "EEXIST"):
    directories("c")
    file = opened("c/file")
    expect(rename(f"{one}/c", f"{one}/b/d"), "done")
    expect(rename(f"{two}/a/{source}", f"{two}/b/d", flags), error)
    written(file, "b/d/file")
    expect(rename(f"{one}/b/d", f"{one}/{error}"), "done")
`));

test("exchanged for a file or a directory", () =>
  script(String.raw`
directories("a", "b")
open(f"{two}/a/file", "w"); os.mkdir(f"{two}/a/directory")
for other in "file", "directory":
    directories("c")
    file = opened("c/file")
    expect(rename(f"{one}/c", f"{one}/b/d"), "done")
    expect(rename(f"{two}/b/d", f"{two}/a/{other}", EXCHANGE), "done")
    written(file, f"a/{other}/file")
    expect(rename(f"{two}/a/{other}", f"{one}/x"), "EXDEV")
    os.rename(f"{two}/b/d", f"{two}/was {other}"); os.rename(f"{two}/a/{other}", f"{two}/moved {other}")
`));

test("exchanged by the other mount", () =>
  script(String.raw`
directories("a", "x", "y", "y/z")
first, second = opened("x/first"), opened("y/z/second")
expect(rename(f"{one}/x", f"{one}/y/z", EXCHANGE), "done")
expect(rename(f"{two}/y/z", f"{two}/a/z"), "done")
expect(rename(f"{two}/x", f"{two}/a/x"), "done")
written(first, "a/z/first"); written(second, "a/x/second")
`));

test("removed by the other mount while a program is in it, and another made in its place", () =>
  script(String.raw`
directories("a", "c")
inside = subprocess.Popen(["sleep", "60"], cwd=f"{two}/c")
for turn in range(5):
    os.rmdir(f"{one}/c")
    expect(rename(f"{two}/c", f"{two}/a/c"), "ENOENT")
    directories("c")
    expect(rename(f"{two}/c", f"{two}/a/{turn}"), "done")
    directories("c")
    expect(os.listdir(f"{two}/a/{turn}"), [])
inside.kill(); inside.wait()
`));

test("at names of any bytes, in the working directory, deep below", () =>
  script(String.raw`
name = os.fsdecode(b"\xff\xfe \n'")
directories("a", "b", f"b/{name}", f"b/{name}/b", "c", "e")
file = opened("c/file")
expect(rename(f"{one}/c", f"{one}/b/{name}/b/{name}"), "done")
expect(rename(f"{two}/b/{name}/b/{name}", f"{two}/a/{name}"), "done")
written(file, f"a/{name}/file")
expect(rename(f"{one}/a/{name}", f"{one}/b/d"), "done")
os.chdir(f"{two}/b")
expect(rename("d", "../e/d"), "done")
written(file, "e/d/file")
`));

test("by open directories, where rename(2) asks for no other name: ESTALE, until the directory was looked up for it", () =>
  script(String.raw`
directories("a", "b", "c")
file = opened("c/file")
a, b = (os.open(f"{two}/{name}", os.O_PATH) for name in "ab")
expect(rename(f"{one}/c", f"{one}/b/d"), "done")
for turn in range(1000):
    result = rename("d", "d", 0, b, a)
    if result != "ESTALE": break
    time.sleep(0.01)
expect(result, "done")
written(file, "a/d/file")
`));

test("two of them in one rename(2): ESTALE, until each was looked up for it", () =>
  script(String.raw`
directories("a", "b", "c", "x", "y")
first, second = opened("c/first"), opened("x/second")
expect(rename(f"{one}/c", f"{one}/b/d"), "done")
expect(rename(f"{one}/x", f"{one}/y/z"), "done")
for turn in range(1000):
    result = rename(f"{two}/b/d", f"{two}/y/z", EXCHANGE)
    if result != "ESTALE": break
    time.sleep(0.01)
expect(result, "done")
written(first, "y/z/first"); written(second, "b/d/second")
`));

test("while other threads rename and look up at the same places", () =>
  script(String.raw`
directories("a", "b", "busy", "busy/x", "busy/y")
over = False
def rename_others():
    turn = 0
    while not over:
        turn += 1; os.mkdir(f"{two}/busy/x/{turn}"); os.rename(f"{two}/busy/x/{turn}", f"{two}/busy/y/{turn}"); os.rmdir(f"{two}/busy/y/{turn}")
def look():
    while not over:
        for name in "a/d", "b/d", "c": os.path.exists(f"{two}/{name}")
threads = [threading.Thread(target=work) for work in (rename_others, look)]
for thread in threads: thread.start()
try:
    directories("c")
    file = opened("c/file")
    for turn in range(5):
        expect(rename(f"{one}/c", f"{one}/b/d"), "done")
        expect(rename(f"{two}/b/d", f"{two}/a/d"), "done")
        expect(rename(f"{one}/a/d", f"{one}/c"), "done")
    written(file, "c/file")
finally:
    over = True
    for thread in threads: thread.join()
`));

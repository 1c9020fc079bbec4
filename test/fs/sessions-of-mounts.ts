// Mounts without a kernel, whose sessions go through frames to a server that is killed and started again: what the parts
// do together when a reply is lost, and when many programs of two mounts wait for each other's files.

import assert from "node:assert/strict";
import test, { after } from "node:test";
import type { HeldLease, LeaseMode, SessionEvents } from "../../fs/messages.ts";
import { Mount } from "../../fs/mount/mount.ts";
import type { EntryKind } from "../../fs/namespace/entry.ts";
import type { Server } from "../../fs/namespace/server.ts";
import { OPERATION_RULES } from "../../fs/operation-rules.ts";
import { UNANSWERED_MAX } from "../../fs/request-numbers.ts";
import { ROOT_INODE, type SessionId } from "../../fs/types.ts";
import { REQUESTS_MAX } from "../../replication/connection.ts";
import { Machine } from "./machine.ts";
import { caller, MemoryStripes } from "./mount/doubles.ts";
import { attributes, createFile, openFile, type OpenFile, read, sync, truncate, write } from "./mount/program.ts";
import { name, problems } from "./namespace/memory-log.ts";

const schemes = { full: "copies:1", small: "copies:1" };
const LEVELS: Record<LeaseMode, number> = { known: 1, shared: 2, exclusive: 3 };

const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

interface Mounted {
  mount: Mount;
  held: () => HeldLease[];
  session: () => SessionId;
}

async function mountOn(machine: Machine): Promise<Mounted> {
  let events!: SessionEvents;
  const mount = await Mount.open({
    openSession: (given) => machine.open((events = given)),
    stripes: new MemoryStripes(),
    schemes,
    clock: machine.clock,
  });
  return { mount, held: () => [...events.held!()], session: () => mount.session.id };
}

/** Leases that a mount believes to hold, and the server does not know of. */
function unfounded(machine: Machine, { held, session }: Mounted): string[] {
  const sessions = [...(machine.namespace as Server).leases.sessions()];
  const { holds } = sessions.find(({ id }) => id === session())!;
  return held()
    .filter(({ inode, mode }) => LEVELS[mode] > (holds.get(inode) ?? 0))
    .map(({ inode, mode }) => `inode ${inode} ${mode}, at the server ${holds.get(inode)}`);
}

interface Scene {
  mount: Mount;
  /** A file with 16 KiB, open, and others. */
  file: OpenFile;
  other: OpenFile;
}

/** What a program does by which the operation is asked for, and what must be so afterwards. */
interface Change {
  kind: EntryKind;
  act: (scene: Scene) => Promise<unknown> | unknown;
  check?: (scene: Scene) => Promise<void>;
}

const CHANGES: Record<string, Change> = {
  setAttributes: {
    kind: "setAttributes",
    act: ({ mount, file }) => mount.setattr(caller, file.inode, { mode: 0o600 }),
    check: async ({ file }) => assert.equal((await attributes(file)).mode & 0o777, 0o600),
  },
  truncate: {
    kind: "setAttributes",
    act: ({ file }) => truncate(file, 4096),
    check: async ({ file }) => assert.equal((await attributes(file)).size, 4096),
  },
  make: {
    kind: "make",
    act: async ({ mount }) => {
      const made = await createFile(mount, "made");
      await write(made, 0, Buffer.from("written"));
      assert.equal(Buffer.from(await read(made, 0, 100)).toString(), "written");
    },
  },
  mkdir: { kind: "make", act: ({ mount }) => mount.mkdir(caller, ROOT_INODE, name("directory"), 0o755, 0) },
  makeUnnamed: {
    kind: "makeUnnamed",
    act: async ({ mount }) => {
      const { entry, opened } = await mount.tmpfile(caller, ROOT_INODE, 0o600, 2, 0);
      const made = { mount, inode: entry.attributes.inode, handle: opened.handle };
      await write(made, 0, Buffer.from("written"));
      await sync(made);
      assert.equal((await attributes(made)).size, 7);
    },
  },
  link: {
    kind: "link",
    act: ({ mount, file }) => mount.link(caller, file.inode, ROOT_INODE, name("link")),
    check: async ({ file }) => assert.equal((await attributes(file)).linkCount, 2),
  },
  unlink: {
    kind: "unlink",
    act: ({ mount }) => mount.unlink(caller, ROOT_INODE, name("file")),
    check: async ({ file }) => assert.equal((await attributes(file)).linkCount, 0),
  },
  rename: {
    kind: "rename",
    act: ({ mount }) => mount.rename(caller, ROOT_INODE, name("file"), ROOT_INODE, name("other"), 0),
    check: async ({ other }) => assert.equal((await attributes(other)).linkCount, 0),
  },
  exchange: { kind: "rename", act: ({ mount }) => mount.rename(caller, ROOT_INODE, name("file"), ROOT_INODE, name("other"), 2) },
  setXattr: { kind: "setXattr", act: ({ mount, file }) => mount.setxattr(caller, file.inode, name("user.b"), Buffer.from("2"), 1, false) }, // prettier-ignore
  removeXattr: { kind: "removeXattr", act: ({ mount, file }) => mount.removexattr(caller, file.inode, name("user.a")) },
  reserveStripes: { kind: "reserveStripes", act: ({ mount }) => mount.session.call("reserveStripes", { count: 4 }) },
  commit: {
    kind: "commit",
    act: async ({ file }) => {
      await write(file, 0, Buffer.from("new"));
      await sync(file);
    },
    check: async ({ file }) => assert.equal(Buffer.from(await read(file, 0, 3)).toString(), "new"),
  },
  collapse: {
    kind: "reshape",
    act: ({ mount, file }) => mount.fallocate(caller, file.inode, file.handle, 0, 4096, 8),
    check: async ({ file }) => assert.equal((await attributes(file)).size, 3 * 4096),
  },
  insert: {
    kind: "reshape",
    act: ({ mount, file }) => mount.fallocate(caller, file.inode, file.handle, 0, 4096, 32),
    check: async ({ file }) => assert.equal((await attributes(file)).size, 5 * 4096),
  },
  punch: { kind: "reshape", act: ({ mount, file }) => mount.fallocate(caller, file.inode, file.handle, 0, 4096, 3) },
  share: {
    kind: "share",
    act: ({ mount, file, other }) =>
      mount.copyFileRange(caller, file.inode, file.handle, 0, other.inode, other.handle, 0, 8192, 0),
    check: async ({ other }) => assert.equal((await attributes(other)).size, 8192),
  },
};

test("the changes below are all that there are", () => {
  const once = Object.values(OPERATION_RULES).filter((rule) => rule.once).map(({ entry }) => entry); // prettier-ignore
  assert.deepEqual([...new Set(Object.values(CHANGES).map(({ kind }) => kind))].sort(), once.sort());
});

for (const [what, { kind, act, check }] of Object.entries(CHANGES))
  test(`${what} is done once where the server is killed between its log entry and the reply, and the mount believes to hold no more than the server knows`, async () => {
    const machine = new Machine();
    await machine.start();
    const one = await mountOn(machine);
    const { mount } = one;
    const file = await createFile(mount, "file");
    const other = await createFile(mount, "other");
    await write(file, 0, new Uint8Array(4 * 4096).fill(1));
    await mount.setxattr(caller, file.inode, name("user.a"), Buffer.from("1"), 0, false);
    await sync(file);
    const session = one.session();
    const before = machine.entries(kind);
    let kills = 0;
    let restarted: Promise<void> | null = null;
    machine.onEntry = (appended) => {
      if (appended !== kind || kills++ > 0) return;
      machine.kill();
      restarted = new Promise((resolve) => setImmediate(() => resolve(machine.start())));
    };
    const scene = { mount, file, other };
    await act(scene);
    await restarted!;
    assert.equal(machine.entries(kind), before + 1);
    assert.deepEqual(unfounded(machine, one), []);
    await check?.(scene);
    assert.deepEqual(unfounded(machine, one), []);
    // Whatever another wants of these files, the mount gives it up: nobody waits for nobody.
    const local = await machine.namespace.openSession({ recall: async () => {}, expired: () => {} });
    for (const { inode } of one.held()) await local.call("setAttributes", { inode, change: { mode: 0o700 } });
    assert.equal(one.session(), session, "the session has gone on");
    while (await machine.namespace.tick());
    assert.deepEqual(await problems(machine.namespace), []);
    await mount.destroy();
  });

interface Two {
  machine: Machine;
  mounts: readonly [Mounted, Mounted];
  /** What each has written and the other wants to see. */
  files: readonly [OpenFile, OpenFile];
  /** The same files as the other has them open. */
  elsewhere: readonly [OpenFile, OpenFile];
}

const WRITTEN_BYTES = 600_000;

async function twoDirtyMounts(): Promise<Two> {
  const machine = new Machine();
  await machine.start();
  const [one, two] = [await mountOn(machine), await mountOn(machine)];
  const files = [await createFile(one.mount, "x"), await createFile(two.mount, "y")] as const;
  const elsewhere = [await openFile(two.mount, "x"), await openFile(one.mount, "y")] as const;
  for (const file of files) await write(file, 0, new Uint8Array(WRITTEN_BYTES).fill(1));
  return { machine, mounts: [one, two], files, elsewhere };
}

async function allIsWell({ machine, mounts, files }: Two, sessions: SessionId[]): Promise<void> {
  assert.deepEqual(mounts.map(({ session }) => session()), sessions); // prettier-ignore
  for (const mounted of mounts) assert.deepEqual(unfounded(machine, mounted), []);
  for (const file of files) await sync(file);
  assert.deepEqual(await problems(machine.namespace), []);
  for (const { mount } of mounts) await mount.destroy();
}

for (const programs of [100, REQUESTS_MAX + 74, 1000])
  test(
    `${programs} programs of each of two mounts that look at the other's dirty file are all answered`,
    { timeout: 60_000 },
    async () => {
      const two = await twoDirtyMounts();
      const sessions = two.mounts.map(({ session }) => session());
      const looks = two.elsewhere.flatMap((file) => Array.from({ length: programs }, () => attributes(file)));
      for (const { size } of await Promise.all(looks)) assert.equal(size, WRITTEN_BYTES);
      await allIsWell(two, sessions);
    },
  );

test("dirty files are emptied while hundreds of programs of each mount wait for the other's", { timeout: 60_000 }, async () => {
  const two = await twoDirtyMounts();
  const sessions = two.mounts.map(({ session }) => session());
  const looks = two.elsewhere.flatMap((file) => Array.from({ length: REQUESTS_MAX + 74 }, () => attributes(file)));
  const cuts = two.files.map((file) => truncate(file, 0));
  await Promise.all([...looks, ...cuts]);
  for (const file of two.elsewhere) assert.equal((await attributes(file)).size, 0);
  await allIsWell(two, sessions);
});

test(
  "a commit that a recall needs waits for no number, however many changes wait for the other mount",
  { timeout: 60_000 },
  async () => {
    const two = await twoDirtyMounts();
    const sessions = two.mounts.map(({ session }) => session());
    const changes = two.elsewhere.flatMap((file) =>
      Array.from({ length: UNANSWERED_MAX + 50 }, () => file.mount.setattr(caller, file.inode, { mode: 0o600 })),
    );
    const made = two.mounts.flatMap(({ mount }, index) =>
      Array.from({ length: 50 }, (_, count) => mount.mknod(caller, ROOT_INODE, name(`made-${index}-${count}`), 0o100644, 0, 0)),
    );
    await Promise.all([...changes, ...made]);
    for (const file of two.elsewhere) assert.equal((await attributes(file)).mode & 0o777, 0o600);
    await allIsWell(two, sessions);
  },
);

test("more recalls of one mount than may be in flight are all answered", { timeout: 60_000 }, async () => {
  const machine = new Machine();
  await machine.start();
  const one = await mountOn(machine);
  const files: OpenFile[] = [];
  for (let count = 0; count < 2 * REQUESTS_MAX + 50; count++) {
    const file = await createFile(one.mount, `file-${count}`);
    await write(file, 0, Buffer.from("written"));
    files.push(file);
  }
  const session = one.session();
  const local = await machine.namespace.openSession({ recall: async () => {}, expired: () => {} });
  const looks = files.map(({ inode }) => local.call("getAttributes", { inode }));
  for (const { attributes: seen } of await Promise.all(looks)) assert.equal(seen.size, 7);
  assert.equal(one.session(), session);
  assert.deepEqual(unfounded(machine, one), []);
  await one.mount.destroy();
});

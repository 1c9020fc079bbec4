// What other users may do with a store's directories and sockets: nothing.

import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { closeToOthers } from "../../admin/private.ts";
import { connectPrivately, listenPrivately } from "../../admin/private-socket.ts";
import { eventually } from "../fixture/eventually.ts";
import { makeStore, run, shell, withStore } from "../fixture/store.ts";

const asRoot = process.getuid!() === 0;
const needsRoot = { skip: asRoot ? false : "another user's commands need root" };
const AS_NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/** What the expression over the module prints, evaluated as another user: the module is loaded before, since the checkout may lie where others may not look. */
async function printedByNobody(module: string, expression: string): Promise<string> {
  const address = JSON.stringify(new URL(`../../admin/${module}.js`, import.meta.url).href);
  const code = `import(${address}).then(async (module) => {
    process.setgroups([]); process.setgid(65534); process.setuid(65534);
    console.log(await ${expression});
  }).catch((error) => console.log(error.code, error.message))`;
  return (await run(process.execPath, ["-e", code])).stdout;
}

/** Files and directories below the store's that others have any right to. */
const openBelow = (directory: string): Promise<string> => shell(`find "${directory}" -perm /077 ! -type l`);

test("a new store in directories that were there, open to all, is its owner's alone", () =>
  withStore("private-new", async (store) => {
    const disks = ["a", "b", "c"].map((name) => path.join(store.directory, name));
    for (const directory of [store.data, ...disks]) fs.mkdirSync(directory, { mode: 0o755 });
    await store.start("--scheme", "copies:3", ...disks.flatMap((disk) => ["--disk", disk]));
    await shell(`head -c 3000000 /dev/urandom > "${store.mount}/a"; sync "${store.mount}/a"`);
    for (const directory of [store.data, ...disks]) assert.equal(await openBelow(directory), "");
    assert.equal(await store.stop(), 0);
    for (const directory of [store.data, ...disks]) assert.equal(await openBelow(directory), "");
  }));

test("a store found open is closed, with all that is in it, and its owner is told", () =>
  withStore("private-found", async (store) => {
    await store.start();
    await shell(`head -c 3000000 /dev/urandom > "${store.mount}/a"`);
    assert.equal(await store.stop(), 0);
    const outside = path.join(store.directory, "outside");
    fs.writeFileSync(outside, "", { mode: 0o644 });
    fs.symlinkSync(outside, path.join(store.data, "link"));
    await shell(`chmod -R go+rX "${store.data}"; chmod 644 "${outside}"`);
    await store.start();
    assert.match(store.output, /warning {2}\S+\/data was open to other users \(mode 755\): it is closed now/);
    assert.equal(await openBelow(store.data), "");
    assert.equal(fs.statSync(outside).mode & 0o777, 0o644, "what a link leads to is not the store's");
    assert.equal(await store.stop(), 0);
    await store.start();
    assert.doesNotMatch(store.output, /warning/);
  }));

test("a directory that is another's is named, and left as it is", needsRoot, async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cairn-private-"));
  try {
    fs.chmodSync(directory, 0o755);
    await shell(`chmod a+x "$(dirname "${directory}")"`);
    assert.match(
      await printedByNobody("private", `module.closeToOthers(${JSON.stringify(directory)})`),
      /was open to other users \(mode 755\) and cannot be closed: EPERM.*user 0, its owner, has to/,
    );
    assert.equal(fs.statSync(directory).mode & 0o777, 0o755);
    assert.match((await closeToOthers(directory)) ?? "", /it is closed now/);
    assert.equal(await closeToOthers(directory), null);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});

test("a data directory whose path is longer than a socket's address: sockets lie in it all the same", () =>
  withStore("private-long", async (store) => {
    const long = makeStore("long", { directory: path.join(store.directory, "d".repeat(100), "e".repeat(100)) });
    fs.mkdirSync(long.directory, { recursive: true });
    try {
      await long.start();
      assert.equal((await long.cairn("status")).code, 0);
      const second = path.join(long.directory, "second");
      assert.equal((await long.cairn("mount", second)).code, 0);
      await shell(`echo one > "${long.mount}/a"; cat "${second}/a"`);
      for (const name of ["control.sock", "session.sock"])
        assert.equal(fs.statSync(path.join(long.data, name)).mode & 0o777, 0o600, name);
      await long.kill();
      await long.start();
      assert.equal(await shell(`cat "${second}/a"`), "one\n");
      assert.equal((await long.cairn("unmount", second)).code, 0);
      assert.equal(await long.stop(), 0);
      assert.deepEqual(fs.readdirSync(long.data).filter((name) => name.endsWith(".sock")), []); // prettier-ignore
    } finally {
      await long.destroy();
    }
  }));

test("each end of a socket knows the user at the other, and goes away from a third", needsRoot, async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cairn-peer-"));
  const socket = path.join(directory, "control.sock");
  const answers: string[] = [];
  const server = http.createServer((request, response) => {
    answers.push(request.url!);
    response.end("ok");
  });
  try {
    const removeSocket = await listenPrivately(server, socket);
    assert.equal(fs.statSync(socket).mode & 0o777, 0o600);
    (await connectPrivately(socket)).destroy();
    // As if the directory had been open: another user reaches the socket, and is not answered.
    fs.chmodSync(directory, 0o755);
    fs.chmodSync(socket, 0o666);
    const curl = `require("node:http").get({ socketPath: ${JSON.stringify(socket)}, path: "/v1/status" }, (r) => console.log("answered", r.statusCode)).on("error", (e) => console.log(e.code))`;
    assert.match((await run("setpriv", [...AS_NOBODY, process.execPath, "-e", curl])).stdout, /^(ECONNRESET|EPIPE)\n$/);
    assert.equal((await run(process.execPath, ["-e", curl])).stdout, "answered 200\n");
    assert.deepEqual(answers, ["/v1/status"]);
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await removeSocket();
    assert.deepEqual(fs.readdirSync(directory), []);
    // And the other way: somebody else listens where the daemon should.
    fs.chmodSync(directory, 0o777);
    const listen = `require("node:net").createServer(() => {}).listen(${JSON.stringify(socket)}, () => console.log("listens")); setTimeout(() => process.exit(), 10_000)`;
    const impostor = run("setpriv", [...AS_NOBODY, process.execPath, "-e", listen]);
    const refusal = async (): Promise<Error> => connectPrivately(socket).then(() => assert.fail("it connects"), (error: Error) => error); // prettier-ignore
    await eventually("it listens", async () => !/ENOENT|ECONNREFUSED/.test((await refusal()).message));
    await assert.rejects(connectPrivately(socket), /user 65534 answers at .*control.sock, and the store belongs to user 0/);
    await impostor;
  } finally {
    server.close();
    fs.rmSync(directory, { recursive: true });
  }
});

test("a user who may not look into the store is told so, and not that no daemon serves it", needsRoot, () =>
  withStore("private-denied", async (store) => {
    await store.start();
    fs.chmodSync(store.directory, 0o755);
    assert.match(
      await printedByNobody("client", `module.callDaemon(${JSON.stringify(store.data)}, "GET", "/v1/status")`),
      /^refused cannot read .*daemon\.json: permission denied; only the store's owner and root may use the store/,
    );
  }),
);

test("nobody listens: an error that names the socket, at once", async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "cairn-peer-"));
  try {
    await assert.rejects(connectPrivately(path.join(directory, "control.sock")), /ENOENT.*control\.sock/);
    const server = net.createServer();
    const removeSocket = await listenPrivately(server, path.join(directory, "control.sock"));
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await removeSocket();
    await assert.rejects(connectPrivately(path.join(directory, "control.sock")), /ENOENT/);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});

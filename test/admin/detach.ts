// `cairn up --detach`: the process that waits for the daemon, and what becomes of the daemon when it does not wait any more.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import type { StatusReport } from "../../admin/api.ts";
import { eventually } from "../fixture/eventually.ts";
import { shell, type Store, withStore } from "../fixture/store.ts";

const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../cairn.cjs");

/** Starts `cairn up --detach` and sends the signal as soon as the daemon has begun to make its store. Resolves with how the launcher ended. */
async function launchAndSignal(store: Store, signal: NodeJS.Signals): Promise<number | null> {
  const words = [program, "up", "--detach", "--data", store.data, "--mount", store.mount];
  const launcher = spawn(process.execPath, words, { stdio: "ignore" });
  const ended = new Promise<number | null>((resolve) => launcher.once("exit", (code) => resolve(code)));
  await eventually("the daemon has begun", async () => fs.existsSync(path.join(store.data, "lock")));
  launcher.kill(signal);
  return ended;
}

test("the launcher is killed while the daemon starts: the daemon serves all the same", () =>
  withStore("detach-kill", async (store) => {
    await launchAndSignal(store, "SIGKILL");
    await eventually("it serves", async () => (await store.cairn("status")).code === 0);
    assert.equal((await store.json<StatusReport>("status")).health, "healthy");
    await shell(`echo served > "${store.mount}/a"`);
    assert.equal((await store.cairn("down")).code, 0);
    assert.equal(fs.existsSync(path.join(store.data, "daemon.json")), false);
  }));

test("the launcher is interrupted while the daemon starts: the daemon ends, and leaves nothing in the way", () =>
  withStore("detach-interrupt", async (store) => {
    assert.equal(await launchAndSignal(store, "SIGINT"), 130);
    assert.equal((await store.cairn("status")).code, 3);
    assert.equal(await shell(`grep -c " ${store.mount} " /proc/self/mounts || true`), "0\n");
    await store.start();
    assert.equal((await store.json<StatusReport>("status")).health, "healthy");
  }));

test("a path that is no path is the asker's fault", () =>
  withStore("api-path", async (store) => {
    await store.start();
    const socket = path.join(store.data, "control.sock");
    const ask = (target: string): Promise<string> =>
      shell(`printf 'GET ${target} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read())
answer = b""
while part := s.recv(65536): answer += part
print(answer.decode())' "${socket}"`);
    for (const target of ["//", "//host/v1/status", "*", "http://[/"]) assert.match(await ask(target), /^HTTP\/1.1 400 .*"code":"usage".*should begin with one \//s, target); // prettier-ignore
    assert.match(await ask("/nothing"), /^HTTP\/1.1 404 /);
    assert.match(await ask("/v1/status"), /^HTTP\/1.1 200 /);
  }));

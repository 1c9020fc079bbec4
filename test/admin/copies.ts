// A copy of a data directory is another store: what is said to it does not reach the original's daemon and mounts.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import type { StatusReport } from "../../admin/api.ts";
import { readDaemon } from "../../admin/daemon-file.ts";
import { registeredMounts } from "../../admin/mount-register.ts";
import { makeStore, shell, withStore } from "../fixture/store.ts";

test("commands about a copy of a running store find no daemon, and leave the original's alone", () =>
  withStore("copies", async (store) => {
    await store.start();
    const second = path.join(store.directory, "second");
    assert.equal((await store.cairn("mount", second)).code, 0);
    assert.equal((await registeredMounts(store.data)).length, 1);
    for (const how of ["cp -a", "cp -al"]) {
      const copy = makeStore("copy", { directory: path.join(store.directory, how.replace(" ", "")) });
      fs.mkdirSync(copy.directory);
      await shell(`${how} "${store.data}" "${copy.data}"`);
      assert.equal(await readDaemon(copy.data), null, how);
      assert.deepEqual(await registeredMounts(copy.data), [], how);
      for (const words of [["down"], ["status"], ["down", "--all"]]) {
        const ran = await copy.cairn(...words);
        assert.equal(ran.code, 3, `${how}: ${words.join(" ")}: ${ran.stdout}`);
        assert.match(ran.stderr, /no daemon serves the store/);
      }
      assert.equal((await copy.cairn("unmount", second)).code, 1, how);
      assert.equal((await store.json<StatusReport>("status")).mounts.length, 2, how);
    }
    assert.equal((await store.cairn("unmount", second)).code, 0);
  }));

test("down names the mounts that go on waiting; with --all they end, too, and what they wrote is kept", () =>
  withStore("down-mounts", async (store) => {
    await store.start();
    const second = path.join(store.directory, "second");
    assert.equal((await store.cairn("mount", second)).code, 0);
    const [{ pid }] = await registeredMounts(store.data);
    const down = await store.cairn("down");
    assert.equal(down.code, 0, down.stderr);
    assert.equal(
      down.stdout,
      `stopped\n${second} (process ${pid}) is still mounted and waits for the daemon; \`cairn unmount ${second}\` ends it\n`,
    );
    await store.start();
    await shell(`echo kept > "${second}/a"`);
    const all = await store.json<{ stopped: number; mounts: unknown[] }>("down", "--all");
    assert.deepEqual(all.mounts, []);
    assert.equal(await shell(`grep -c " ${second} " /proc/self/mounts || true`), "0\n");
    await store.start();
    assert.equal(await shell(`cat "${store.mount}/a"`), "kept\n");
  }));

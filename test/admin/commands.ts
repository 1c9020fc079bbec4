// What every command has in common, and what signals do.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { StatusReport, WhereReport } from "../../admin/api.ts";
import { type Ran, run, shell, withStore } from "../fixture/store.ts";

const program = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../cairn.cjs");
/** The compiled program itself: without a look at each call whether it is built. */
const compiled = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../admin/cairn.js");
const cairn = (words: readonly string[]): Promise<Ran> => run(process.execPath, [compiled, ...words]);

/** The names of subcommands that a help text lists. */
function commandsIn(help: string): string[] {
  const section = help.split("\nCommands:\n")[1]?.split("\n\n")[0] ?? "";
  return [...section.matchAll(/^ {2}([a-z]+)/gm)].map((match) => match[1]).filter((name) => name !== "help");
}

/** Every command, as the words that call it. */
async function allCommands(words: string[] = []): Promise<{ words: string[]; help: string }[]> {
  const ran = await cairn([...words, "--help"]);
  assert.equal(ran.code, 0, `cairn ${words.join(" ")} --help: ${ran.stderr}`);
  const children = await Promise.all(commandsIn(ran.stdout).map((name) => allCommands([...words, name])));
  return [{ words, help: ran.stdout }, ...children.flat()];
}

test("every command has help with examples; without a daemon it exits with 3, errors are JSON where asked for", () =>
  withStore("commands-all", async (store) => {
    const commands = await allCommands();
    assert.ok(commands.length >= 16, commands.map(({ words }) => words.join(" ")).join(", "));
    for (const { words, help } of commands) {
      assert.match(help, /\nExamples:\n {2}\$ cairn/, words.join(" "));
      const leaf = commandsIn(help).length === 0;
      if (leaf) assert.match(help, /--json/, words.join(" "));
      if (!leaf) continue;
      // These need no daemon; unmount ends mounts of one that is gone (unmount.ts).
      if (["up", "code", "unmount"].includes(words[0])) continue;
      const operands = /Usage: cairn [a-z ]*\[options\] ?(.*)/.exec(help)![1].match(/<[a-z]+>/g) ?? [];
      const alone = await cairn([...words, ...operands.map(() => "1"), "--data", store.data, "--json"]);
      assert.equal(alone.code, 3, `${words.join(" ")}: ${alone.stderr}`);
      assert.equal((JSON.parse(alone.stdout) as { error: { code: string } }).error.code, "unavailable");
      assert.match(alone.stderr, /cairn up/);
    }
  }));

test("misuse exits with 2, and is JSON where that was asked for", async () => {
  const wrong = ["status --no-such-option", "disk remove", "no-such-command", "up --session-limit 0.5", "unmount x --wait soon"];
  for (const words of wrong.map((line) => line.split(" "))) {
    const ran = await cairn([...words, "--json"]);
    assert.equal(ran.code, 2, words.join(" "));
    assert.equal((JSON.parse(ran.stdout) as { error: { code: string } }).error.code, "usage");
    assert.notEqual(ran.stderr, "");
  }
});

test("where: a file in stripes, one in the table, a hole, a directory, a symlink, a missing file, a file elsewhere", () =>
  withStore("commands-where", async (store) => {
    await store.start();
    const at = (name: string): string => path.join(store.mount, name);
    await shell(
      `cd "${store.mount}" && head -c 300000 /dev/urandom > large && sync large && echo x > small && sync small && truncate -s 1M hole && : > empty && mkdir dir && ln -s small link && mkfifo fifo`,
    );
    const extents = async (name: string): Promise<string[]> =>
      (await store.json<WhereReport>("where", at(name))).extents.map(({ kind }) => kind);
    assert.deepEqual(await extents("large"), ["stripe"]);
    assert.deepEqual(await extents("small"), ["inline"]);
    for (const name of ["hole", "empty", "dir", "link", "fifo"]) {
      const ran = await store.cairn("where", at(name));
      assert.ok(ran.code === 0 || ran.code === 1, name);
      if (ran.code === 0) assert.match(ran.stdout, /no extents/, name);
      else assert.match(ran.stderr, /directory|symlink|symbolic link|not a (regular )?file/i, name);
    }
    const missing = await store.cairn("where", at("missing"));
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /missing.*ENOENT|ENOENT.*missing/);
    const elsewhere = await store.cairn("where", "/etc/passwd");
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.stderr, /not on a mount of this store/);
  }));

test("--json of a task: lines of progress, and a summary as the last, also where something remains wrong or nothing was begun", () =>
  withStore("commands-lines", async (store) => {
    await store.start();
    await shell(`head -c 20000000 /dev/urandom > "${store.mount}/a" && sync "${store.mount}/a"`);
    type Line = { type: string; state: string; counts: Record<string, number>; error: { code: string; message: string } | null };
    const lines = async (words: string[], code: number): Promise<Line[]> => {
      const ran = await store.cairn(...words, "--json");
      assert.equal(ran.code, code, ran.stderr);
      return ran.stdout.trim().split("\n").map((line) => JSON.parse(line) as Line); // prettier-ignore
    };
    for (const words of [["scrub"], ["fsck"], ["clean"]]) {
      const said = await lines(words, 0);
      const last = said.pop()!;
      assert.deepEqual([last.type, last.state, last.error], ["summary", "done", null]);
      for (const { type, state } of said) assert.deepEqual([type, state], ["progress", "running"]);
    }
    fs.rmSync(path.join(store.data, "disk-2"), { recursive: true });
    await store.json<StatusReport>("status");
    const degraded = (await lines(["scrub", "--verify-only"], 4)).at(-1)!;
    assert.equal(degraded.type, "summary");
    assert.equal(degraded.error?.code, "degraded");
    assert.ok(degraded.counts.unrepaired > 0);
    assert.equal((await lines(["disk", "remove", "99"], 1)).at(-1)!.error?.code, "refused");
    assert.equal((await lines(["disk", "replace", "2"], 0)).at(-1)!.type, "summary");
  }));

test("Ctrl-C on a scrub leaves it to the daemon and says so", () =>
  withStore("commands-detach", async (store) => {
    await store.start();
    await shell(`head -c 60000000 /dev/urandom > "${store.mount}/a" && sync "${store.mount}/a"`);
    const scrub = spawn(process.execPath, [program, "scrub", "--repair-rate", "3M", "--data", store.data], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let text = "";
    const ended = new Promise<number | null>((resolve) => scrub.once("exit", resolve));
    await new Promise<void>((resolve) =>
      scrub.stderr.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        resolve();
      }),
    );
    scrub.kill("SIGINT");
    assert.equal(await ended, 130);
    assert.match(text, /scrub goes on in the daemon.*cairn status/);
    const { tasks } = await store.json<StatusReport>("status");
    assert.deepEqual(tasks.map(({ kind, state }) => `${kind} ${state}`), ["scrub running"]); // prettier-ignore
    assert.equal(await store.stop(), 0);
  }));

test("Ctrl-C on `cairn up` flushes and exits with 0 while a program has its directory and an open file in the mount", () =>
  withStore("commands-busy", async (store) => {
    await store.start();
    const holder = spawn("/bin/bash", ["-c", `cd "${store.mount}" && exec 5> open && echo written >&5 && echo ready && exec sleep 60`], {
      stdio: ["ignore", "pipe", "ignore"],
    }); // prettier-ignore
    try {
      await new Promise((resolve) => holder.stdout.once("data", resolve));
      assert.equal(await store.stop(), 0);
    } finally {
      holder.kill("SIGKILL");
    }
    assert.deepEqual(fs.readdirSync(store.mount), []);
    await store.start();
    assert.equal(await shell(`cat "${store.mount}/open"`), "written\n");
  }));

test("`cairn down` while a program writes: it ends, and what the program had written before is there", () =>
  withStore("commands-writing", async (store) => {
    await store.start();
    const writer = spawn("/bin/bash", ["-c", `cd "${store.mount}" && echo first > first && exec dd if=/dev/zero of=big bs=64k count=100000`], {
      stdio: "ignore",
    }); // prettier-ignore
    const ended = new Promise((resolve) => writer.once("exit", resolve));
    await sleep(300);
    const down = await store.cairn("down");
    assert.equal(down.code, 0, down.stderr);
    writer.kill("SIGKILL");
    await ended;
    await store.start();
    assert.equal(await shell(`cat "${store.mount}/first"`), "first\n");
  }));

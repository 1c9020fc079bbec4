import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { mountFor } from "./mounted.ts";
import { lacking } from "../fixture/lacking.ts";
import { shell } from "./programs.ts";
import { assertSameLines, checksums, makeSourceTree } from "./source-tree.ts";

/** Nothing of the user's own settings. */
const ENVIRONMENT = {
  GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null", GIT_AUTHOR_NAME: "Test", GIT_AUTHOR_EMAIL: "test@localhost",
  GIT_COMMITTER_NAME: "Test", GIT_COMMITTER_EMAIL: "test@localhost", GIT_TERMINAL_PROMPT: "0",
}; // prettier-ignore

const skip = lacking("git");

/** A repository of some commits of a real tree, on an ordinary filesystem. */
async function makeRepository(directory: string): Promise<void> {
  await makeSourceTree(directory);
  const script = `
    git init -q -b main; git add -A; git commit -qm first
    echo more >> package.json; rm script; git mv deep shallow; git add -A; git commit -qm second
    git checkout -qb side; echo side > side; git add side; git commit -qm side
    git checkout -q main; echo main > main; git add main; git commit -qm main`;
  await shell(script, directory, ENVIRONMENT);
}

test("git clones a repository to the mount, finds it clean, whole and packs it", { skip }, async (t) => {
  const store = await mountFor(t);
  const original = path.join(store.outside, "original");
  await makeRepository(original);
  const git = (script: string, directory: string): Promise<string> =>
    shell(script, path.join(store.directory, directory), ENVIRONMENT);
  await git(`git clone -q --no-local '${original}' clone`, ".");
  assert.equal(await git("git status --porcelain", "clone"), "");
  assert.equal(await git("git log --format=%H", "clone"), await shell("git log --format=%H", original, ENVIRONMENT));
  await git("git fsck --full --strict", "clone");
  await git("git gc -q --prune=now", "clone");
  await git("git fsck --full", "clone");
  assert.equal(await git("git status --porcelain", "clone"), "");
  await git("git clone -q clone second", ".");
  assert.equal(await git("git status --porcelain", "second"), "");
  const without = async (directory: string): Promise<string> => (await checksums(directory)).replace(/.* \.\/\.git\/.*\n/g, "");
  assertSameLines(await without(path.join(store.directory, "second")), await without(original));
});

test("git commits, branches, merges, rebases and stashes on the mount", { skip }, async (t) => {
  const store = await mountFor(t);
  const script = `
    git init -q -b main work; cd work
    for i in 1 2 3 4 5; do echo "line $i" >> file; git add file; git commit -qm "commit $i"; done
    git checkout -qb topic HEAD~2; echo topic > topic; git add topic; git commit -qm topic
    git rebase -q main
    git checkout -q main; git merge -q --no-ff topic -m merge
    echo dirty >> file; git stash -q; git status --porcelain; git stash pop -q; git checkout -q file
    git worktree add -q ../tree topic; git -C ../tree log -1 --format=%s
    git log --oneline | wc -l; git fsck --full --no-dangling; cat file | wc -l`;
  const lines = (await shell(script, store.directory, ENVIRONMENT)).trim().split("\n");
  assert.deepEqual(lines, ["topic", "7", "5"]);
});

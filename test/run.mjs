// Runs the compiled tests and prints one last line of the real counts: `N passed, N failed` (and skipped ones).
//   npm test                      everything
//   npm test -- posix fs/mount    the files whose path contains one of the words
// Every test gets a temp directory below one of this run's own; what is still mounted or running there at the end is
// removed and counts as a failure.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
/** As many files at once as a small machine has cores. */
const CONCURRENCY = 2;
/** A test file that takes longer hangs: the slowest take about a minute. */
const FILE_LIMIT_MS = 300_000;

/** Compiled files that define tests (support modules do not import node:test) and whose source is still there. */
function testFiles(words) {
  const directory = path.join(root, "dist/test");
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js") && existsSync(path.join(root, "test", name.replace(/\.js$/, ".ts"))))
    .filter((name) => words.length === 0 || words.some((word) => `test/${name}`.includes(word.replace(/\.ts$/, ""))))
    .map((name) => path.join(directory, name))
    .filter((file) => /from "node:test"/.test(readFileSync(file, "utf8")))
    .sort();
}

function runFiles(files, temporary) {
  const results = path.join(temporary, "results.tap");
  const parameters = [
    "--enable-source-maps", "--test", `--test-concurrency=${CONCURRENCY}`, `--test-timeout=${FILE_LIMIT_MS}`,
    "--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=tap", `--test-reporter-destination=${results}`,
  ]; // prettier-ignore
  const environment = { ...process.env, TMPDIR: temporary, CAIRN_TEST_RUN: temporary };
  const child = spawn(process.execPath, [...parameters, ...files], {
    cwd: root,
    env: environment,
    stdio: ["ignore", "inherit", "inherit"],
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => child.kill(signal));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, counts: countsOf(results) })));
}

function countsOf(results) {
  const text = existsSync(results) ? readFileSync(results, "utf8") : "";
  const count = (name) => Number(new RegExp(`^# ${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  return {
    complete: /^# pass \d+$/m.test(text),
    passed: count("pass"),
    failed: count("fail") + count("cancelled"),
    skipped: count("skipped") + count("todo"),
  };
}

/** Mountpoints below the run's directory, deepest first. */
function leftMounts(temporary) {
  const points = readFileSync("/proc/self/mountinfo", "latin1")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "");
  return points.filter((point) => point.startsWith(`${temporary}/`)).sort().reverse(); // prettier-ignore
}

/** Processes that carry this run's mark in their environment. */
function leftProcesses(temporary) {
  const mark = `CAIRN_TEST_RUN=${temporary}\0`;
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark);
    } catch {
      return false; // gone, or another user's
    }
  });
}

function describe(pid) {
  try {
    return `${pid} (${readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim() || readlinkSync(`/proc/${pid}/exe`)})`;
  } catch {
    return pid;
  }
}

/** Ends and unmounts what is left; gives a line for each. */
function removeLeftovers(temporary) {
  const left = [];
  for (const pid of leftProcesses(temporary)) {
    left.push(`process ${describe(pid)} was still running`);
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // it ended meanwhile
    }
  }
  for (const point of leftMounts(temporary)) {
    left.push(`${point} was still mounted`);
    if (spawnSync("umount", ["-l", point]).status !== 0) spawnSync("fusermount3", ["-u", "-z", point]);
  }
  return left;
}

const files = testFiles(process.argv.slice(2));
if (files.length === 0) {
  console.error(`npm test: no test file below dist/test matches ${process.argv.slice(2).join(" ") || "anything"}`);
  process.exit(1);
}
const temporary = mkdtempSync(path.join(os.tmpdir(), "cairn-test-"));
chmodSync(temporary, 0o755); // cases run as other users, too
const { code, counts } = await runFiles(files, temporary);
const left = removeLeftovers(temporary);
for (const line of left) console.log(`left over: ${line}`);
rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
const unfinished = counts.complete ? 0 : 1;
if (unfinished) console.log(`the test runner ended without counts (exit code ${code})`);
const failed = counts.failed + left.length + unfinished;
console.log(`${counts.passed} passed, ${failed} failed${counts.skipped ? `, ${counts.skipped} skipped` : ""}`);
process.exit(failed || code ? 1 : 0);

// Running ordinary programs in tests, and having them at all.
import { execFile, spawnSync } from "node:child_process";

/** A program that takes longer hangs. */
const PROGRAM_LIMIT_MS = 120_000;
const OUTPUT_BYTES = 64 * 1024 * 1024;

/** Debian's packages of the programs that a plain installation may lack. Installed by root only, in this one place. */
const PACKAGES: Record<string, string> = {
  sqlite3: "sqlite3",
  rsync: "rsync",
  getfacl: "acl",
  setfacl: "acl",
  getfattr: "attr",
  setfattr: "attr",
  git: "git",
  gcc: "gcc",
};

/** Runs a script with bash, ending at the first command that fails; gives its output. The error has all that it said. */
export function shell(script: string, directory: string, environment: Record<string, string> = {}): Promise<string> {
  const options = {
    cwd: directory,
    env: { ...process.env, LC_ALL: "C", ...environment },
    timeout: PROGRAM_LIMIT_MS,
    killSignal: "SIGKILL" as const,
    maxBuffer: OUTPUT_BYTES,
  };
  return new Promise((resolve, reject) => {
    execFile("bash", ["-euo", "pipefail", "-c", script], options, (error, output, complaints) => {
      if (!error) return resolve(output);
      const end = error.killed ? `was ended after ${PROGRAM_LIMIT_MS / 1000} s` : `exit code ${error.code}`;
      const failure = new Error(`${script.trim()}\n${end}\n${output.slice(-4000)}${complaints.slice(-4000)}`);
      failure.stack = failure.message;
      reject(failure);
    });
  });
}

function has(program: string): boolean {
  return spawnSync("bash", ["-c", `command -v ${program}`]).status === 0;
}

/** False where all programs are there (root installs what lacks), else the reason to skip a test. */
export function lacking(...programs: string[]): string | false {
  const absent = programs.filter((program) => !has(program));
  if (absent.length === 0) return false;
  const names = [...new Set(absent.map((program) => PACKAGES[program] ?? program))];
  if (process.getuid?.() === 0) {
    spawnSync("apt-get", ["install", "-y", "--no-install-recommends", ...names], { timeout: PROGRAM_LIMIT_MS, stdio: "ignore" });
  }
  return absent.every(has) ? false : `${absent.join(", ")} missing: apt-get install ${names.join(" ")}`;
}

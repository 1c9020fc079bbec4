// Running ordinary programs in tests.
import { execFile } from "node:child_process";

/** A program that takes longer hangs. */
const PROGRAM_LIMIT_MS = 120_000;
const OUTPUT_BYTES = 64 * 1024 * 1024;

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

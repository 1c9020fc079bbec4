// Starts the ISA-L comparison program: compiled on demand into a temporary folder, ended and removed by close().
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

export interface IsalCase {
  operation: "encode" | "rebuild" | "crc";
  k: number;
  m: number;
  blockBytes: number;
  poolBytes: number;
  milliseconds: number;
}

export interface Isal {
  /** GB/s of data in. */
  measure(isalCase: IsalCase): Promise<number>;
  close(): void;
}

function sourceFile(): string | null {
  const here = path.dirname(fileURLToPath(import.meta.url)); // dist/bench/isal
  const file = path.resolve(here, "../../../bench/isal/comparison.cc");
  return existsSync(file) ? file : null;
}

/** Null, and the reason on stderr, where there is no libisal, no compiler or no source. */
export function startIsal(): Isal | null {
  const source = sourceFile();
  if (!source) return null;
  const directory = mkdtempSync(path.join(os.tmpdir(), "cairn-isal-"));
  const close = () => rmSync(directory, { recursive: true, force: true });
  const program = path.join(directory, "comparison");
  const compiled = spawnSync("g++", ["-O2", "-std=c++20", "-o", program, source, "-lisal"], { encoding: "utf8" });
  if (compiled.status !== 0) {
    const reason = (compiled.stderr ?? String(compiled.error)).trim().split("\n")[0];
    process.stderr.write(`ISA-L is left out: ${reason} (Debian: apt-get install libisal-dev)\n`);
    close();
    return null;
  }
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async measure({ operation, k, m, blockBytes, poolBytes, milliseconds }) {
      child.stdin.write(`${[operation, k, m, blockBytes, poolBytes, milliseconds].join(" ")}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`ISA-L comparison: the program ended during ${operation} ${k}+${m} of ${blockBytes} bytes`);
      return Number(value);
    },
    close() {
      child.stdin.end();
      child.kill();
      close();
    },
  };
}

// The native probe as a Performer: compiles test/posix/native once into build/, starts one process per process of a
// case, and speaks its line protocol.
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from "node:fs";
import path from "node:path";
import type { Performer } from "./run-case.ts";

function encodeWord(word: string): string {
  if (word === "") return "%";
  return word.replace(/[^!-$&-~]/g, (char) => `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function decodeWord(word: string): string {
  if (word === "%") return "";
  return word.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/** The probe's program, compiled if its sources changed. `root` is the package's root. Throws the compiler's words. */
export function compileProbe(root: string): string {
  const directory = path.join(root, "test/posix/native");
  const sources = readdirSync(directory).sort();
  const hash = createHash("sha256");
  for (const name of sources) hash.update(name).update(readFileSync(path.join(directory, name)));
  const program = path.join(root, "build/probe", `probe-${hash.digest("hex").slice(0, 16)}`);
  if (existsSync(program)) return program;
  mkdirSync(path.dirname(program), { recursive: true });
  const files = sources.filter((name) => name.endsWith(".cc")).map((name) => path.join(directory, name));
  const partial = `${program}.${process.pid}`;
  const parameters = [
    "-std=c++20",
    "-O1",
    "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64",
    "-static-libstdc++",
    "-static-libgcc",
    "-o",
    partial,
    ...files,
  ];
  const result = spawnSync("g++", parameters, { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`compile the syscall probe: g++ failed: ${result.error?.message ?? result.stderr}`);
  renameSync(partial, program);
  return program;
}

export class Probe implements Performer {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #gone: Promise<void>;
  readonly #waiting: { resolve: (words: string[]) => void; reject: (error: Error) => void }[] = [];
  #received = "";

  constructor(program: string, directory: string) {
    this.#child = spawn(program, [], { cwd: directory, stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stdout.setEncoding("latin1");
    this.#child.stdout.on("data", (text: string) => this.#take(text));
    this.#child.stdin.on("error", () => {});
    this.#gone = new Promise((resolve) => {
      this.#child.on("error", (error) => (this.#fail(error), resolve()));
      this.#child.on("close", (code, signal) => (this.#fail(new Error(`the probe ended (${signal ?? code})`)), resolve()));
    });
  }

  perform(words: string[]): Promise<string[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(words.map(encodeWord).join(" ") + "\n", "latin1");
    });
  }

  interrupt(): void {
    this.#child.kill("SIGUSR1");
  }

  kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    return this.#gone;
  }

  end(): Promise<void> {
    this.#child.stdin.end();
    return this.#gone;
  }

  #take(text: string): void {
    this.#received += text;
    if (!text.includes("\n")) return;
    const lines = this.#received.split("\n");
    this.#received = lines.pop()!;
    for (const line of lines) this.#waiting.shift()?.resolve(line.split(" ").map(decodeWord));
  }

  #fail(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

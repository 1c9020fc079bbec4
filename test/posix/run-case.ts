// Runs one case on a target: a directory of a real filesystem (test/posix/directory.ts) or Handlers called without a
// kernel (test/posix/handlers-target.ts). Throws an error that names the step where the reply differs.
import { setTimeout as delay } from "node:timers/promises";
import type { Case, Expectation, Step } from "./script.ts";
import { fillIn } from "./script.ts";

/** One process of a case. */
export interface Performer {
  /** Performs one command; the reply's words. */
  perform(words: string[]): Promise<string[]>;
  /** A signal whose handler does nothing. */
  interrupt(): void;
  /** Ends it at once, as SIGKILL does; resolves when it is gone. */
  kill(): Promise<void>;
  /** Ends it in order; resolves when it is gone. */
  end(): Promise<void>;
}

export interface Target {
  /** Which `needs` words it satisfies. */
  offers: ReadonlySet<string>;
  /** Prepares an empty directory for one case. */
  begin(): Promise<CaseRoom>;
}

export interface CaseRoom {
  process(name: string): Promise<Performer>;
  /** Removes everything. */
  end(): Promise<void>;
}

const ERROR = /^(E[A-Z0-9]{2,15}|SIGBUS|SIGSEGV)$/;
/** How long a blocking command must stay unanswered to count as blocked. */
const BLOCKED_MS = 100;
/** A command that takes longer hangs. */
const COMMAND_LIMIT_MS = 30_000;

/** Whole numbers, and seconds with up to nine decimals, as one comparable number. */
function measure(word: string): bigint {
  const match = /^(-?\d+)(?:\.(\d{1,9}))?$/.exec(word);
  if (!match) throw new Error(`"${word}" is not a number`);
  return BigInt(match[1]) * 1_000_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
}

function meets(reply: string[], { kind }: Expectation, wanted: string[]): boolean {
  const text = reply.join(" ");
  if (kind === "is") return text === wanted.join(" ");
  if (ERROR.test(text) && kind !== "one-of") return false;
  if (kind === "not") return text !== wanted.join(" ");
  if (kind === "one-of") return wanted.includes(text);
  const [left, right] = [measure(text), measure(wanted[0])];
  if (kind === "above") return left > right;
  if (kind === "below") return left < right;
  return kind === "at-least" ? left >= right : left <= right;
}

function shown(text: string): string {
  const safe = text.replace(/[^ -~]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return safe.length > 200 ? `${safe.slice(0, 200)}... (${text.length} bytes)` : safe;
}

class CaseRun {
  readonly #case: Case;
  readonly #room: CaseRoom;
  readonly #variables = new Map<string, string>();
  readonly #performers = new Map<string, Promise<Performer>>();
  readonly #background = new Map<string, Promise<string[]>>();

  constructor(which: Case, room: CaseRoom) {
    this.#case = which;
    this.#room = room;
  }

  async run(): Promise<void> {
    try {
      for (const step of this.#case.steps) await this.#step(step);
    } finally {
      for (const performer of this.#performers.values()) await (await performer).kill();
    }
  }

  #performer(name: string): Promise<Performer> {
    let performer = this.#performers.get(name);
    if (!performer) this.#performers.set(name, (performer = this.#room.process(name)));
    return performer;
  }

  async #step(step: Step): Promise<void> {
    const words = step.words.map((word) => fillIn(word, this.#variables));
    const reply = await this.#reply(step, words);
    if (reply) this.#check(step, reply);
  }

  /** null where there is nothing to check. */
  async #reply(step: Step, words: string[]): Promise<string[] | null> {
    const [command, name] = words;
    if (command === "kill" || command === "end") {
      const performer = await this.#performer(name);
      await (command === "kill" ? performer.kill() : performer.end());
      this.#performers.delete(name);
      return null;
    }
    if (command === "interrupt") return ((await this.#performer(name)).interrupt(), null);
    if (command === "wait") return this.#limited(this.#background.get(name)!, step);
    if (command === "blocked")
      return [await Promise.race([this.#background.get(name)!.then(() => "no"), delay(BLOCKED_MS, "yes")])];
    const performer = await this.#performer(step.process);
    const answer = performer.perform(words);
    if (!step.background) return this.#limited(answer, step);
    answer.catch(() => {});
    this.#background.set(step.process, answer);
    return null;
  }

  async #limited(answer: Promise<string[]>, step: Step): Promise<string[]> {
    const timer = new AbortController();
    const limit = delay(COMMAND_LIMIT_MS, null, { signal: timer.signal }).catch(() => null);
    try {
      const reply = await Promise.race([answer, limit]);
      if (!reply) throw this.#error(step, `no answer in ${COMMAND_LIMIT_MS / 1000} s`);
      return reply;
    } finally {
      timer.abort();
    }
  }

  #check(step: Step, reply: string[]): void {
    const text = reply.join(" ");
    const wanted = step.expectation?.words.map((word) => fillIn(word, this.#variables)) ?? [];
    if (reply[0] === "script-error") throw this.#error(step, text);
    if (step.expectation?.kind === "let") {
      if (ERROR.test(text) || reply.length !== wanted.length) throw this.#error(step, `gave ${shown(text)}`);
      for (const [index, name] of wanted.entries()) this.#variables.set(name, reply[index]);
    } else if (!step.expectation) {
      if (ERROR.test(text) || (step.words[0] === "blocked" && text === "no")) throw this.#error(step, `gave ${shown(text)}`);
    } else if (!meets(reply, step.expectation, wanted)) {
      const kind = step.expectation.kind === "is" ? "" : `${step.expectation.kind} `;
      throw this.#error(step, `gave ${shown(text)}, expected ${kind}${shown(wanted.join(" "))}`);
    }
  }

  #error(step: Step, what: string): Error {
    const error = new Error(`${this.#case.group}.cases:${step.line}: ${shown(step.text)}: ${what}`);
    error.stack = error.message;
    return error;
  }
}

/** The needs of a case that the target lacks; empty where it can run. */
export function missing(which: Case, target: Target): string[] {
  return [...which.needs].filter((need) => !target.offers.has(need));
}

/** Runs a case in a room of its own; resolves if every step replied as expected. */
export async function runCase(which: Case, target: Target): Promise<void> {
  const room = await target.begin();
  try {
    await new CaseRun(which, room).run();
  } finally {
    await room.end();
  }
}

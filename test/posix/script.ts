// The language of the case table: text files in test/posix/cases, described in test/posix/README.md. Parsing only.
//
//   case SENTENCE
//     needs WORD...                         what a target must offer for this case (kernel, root, ...)
//     [PROCESS:] COMMAND WORD... [&] [-> EXPECTATION]
//
// All bytes are latin1: one char is one byte.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

export interface Expectation {
  kind: "is" | "not" | "let" | "above" | "below" | "at-least" | "at-most" | "one-of";
  words: string[];
}

export interface Step {
  line: number;
  text: string;
  process: string;
  words: string[];
  background: boolean;
  /** null: anything but an error. */
  expectation: Expectation | null;
}

export interface Case {
  group: string;
  file: string;
  line: number;
  name: string;
  needs: ReadonlySet<string>;
  steps: Step[];
}

const KINDS = new Set(["not", "let", "above", "below", "at-least", "at-most", "one-of"]);
const ESCAPES: Record<string, string> = { n: "\n", t: "\t", "0": "\0", "\\": "\\", '"': '"' };

/** Splits at spaces; a quoted part keeps them. Quotes and escapes stay in the words: `$name` is filled in before they are read. */
function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') quoted = !quoted;
    if (char === "\\" && quoted) {
      word += char + text[++at];
    } else if (char === " " && !quoted) {
      if (word) words.push(word);
      word = "";
    } else word += char;
  }
  if (quoted) throw new Error(`case table: a quote is not closed in: ${text}`);
  if (word) words.push(word);
  return words;
}

function countOf(text: string): number {
  const unit = { K: 1024, M: 1024 * 1024 }[text.at(-1)!] ?? 1;
  return parseInt(text, 10) * unit;
}

/** A word with `$name` replaced, `{text*count}` repeated, quotes and escapes read. */
export function fillIn(word: string, variables: ReadonlyMap<string, string>): string {
  let result = "";
  let rest = word;
  let quoted = false;
  while (rest) {
    const variable = /^\$([a-z][a-z0-9]*)/.exec(rest);
    const repeated = /^\{((?:[^}*\\]|\\.)*)\*(\d+[KM]?)\}/.exec(rest);
    if (variable && !quoted) {
      const value = variables.get(variable[1]);
      if (value === undefined) throw new Error(`case table: $${variable[1]} was never set`);
      result += value;
      rest = rest.slice(variable[0].length);
    } else if (repeated && !quoted) {
      result += fillIn(`"${repeated[1]}"`, variables).repeat(countOf(repeated[2]));
      rest = rest.slice(repeated[0].length);
    } else if (rest[0] === '"') {
      quoted = !quoted;
      rest = rest.slice(1);
    } else if (rest[0] === "\\" && quoted) {
      const hex = /^\\x([0-9a-f]{2})/.exec(rest);
      result += hex ? String.fromCharCode(parseInt(hex[1], 16)) : (ESCAPES[rest[1]] ?? rest[1]);
      rest = rest.slice(hex ? 4 : 2);
    } else {
      result += rest[0];
      rest = rest.slice(1);
    }
  }
  return result;
}

function parseExpectation(text: string): Expectation {
  const words = splitWords(text);
  const kind = KINDS.has(words[0]) ? (words.shift() as Expectation["kind"]) : "is";
  return { kind, words };
}

export function parseStep(text: string, line: number): Step {
  const arrow = text.indexOf(" -> ");
  const expectation = arrow < 0 ? null : parseExpectation(text.slice(arrow + 4));
  let words = splitWords(arrow < 0 ? text : text.slice(0, arrow));
  const process = words[0].endsWith(":") ? words.shift()!.slice(0, -1) : "main";
  const background = words.at(-1) === "&";
  if (background) words = words.slice(0, -1);
  return { line, text, process, words, background, expectation };
}

/** The identities that a case may use without saying who they are; each needs root. */
export const PEOPLE: Record<string, string[]> = {
  alice: ["2001", "2001", "2100"],
  bob: ["2002", "2002", "2100"],
  carol: ["2003", "2003"],
};

function parseFile(file: string): Case[] {
  const cases: Case[] = [];
  const group = path.basename(file, ".cases");
  const lines = readFileSync(file, "latin1").split("\n");
  for (const [index, raw] of lines.entries()) {
    const text = raw.trim();
    const line = index + 1;
    if (!text || text.startsWith("#")) continue;
    if (text.startsWith("case ")) {
      cases.push({ group, file, line, name: text.slice(5), needs: new Set(), steps: [] });
      continue;
    }
    const current = cases.at(-1);
    if (!current) throw new Error(`${file}:${line}: a step before the first case`);
    if (text.startsWith("needs ")) for (const word of text.split(" ").slice(1)) (current.needs as Set<string>).add(word);
    else current.steps.push(parseStep(text, line));
  }
  for (const each of cases) {
    if (each.steps.some((step) => step.process in PEOPLE)) (each.needs as Set<string>).add("root");
  }
  return cases;
}

/** All cases below a directory, in the order of file names. Two cases of one group with the same name are refused. */
export function loadCases(directory: string): Case[] {
  const files = readdirSync(directory).filter((name) => name.endsWith(".cases"));
  const cases = files.sort().flatMap((name) => parseFile(path.join(directory, name)));
  const names = new Set<string>();
  for (const each of cases) {
    const key = `${each.group}: ${each.name}`;
    if (names.has(key)) throw new Error(`${each.file}:${each.line}: the name "${each.name}" is used twice`);
    names.add(key);
  }
  return cases;
}

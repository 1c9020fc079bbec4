// Schemes as text: `copies:3`, `rs:4+2`, `rapidraid:11+5`. The text is what a stripe's record holds, so a spelling, once accepted, keeps
// its meaning forever, and each code has exactly one spelling (the one that its `scheme` prints).
import { CodingError } from "./code.ts";
import type { Code } from "./code.ts";
import { Copies } from "./copies.ts";
import { rapidRaid } from "./rapidraid.ts";
import { ReedSolomon } from "./reed-solomon.ts";

/** One row for each kind of scheme: the form of what follows the colon, and the code that its numbers make. */
interface SchemeKind {
  form: RegExp;
  spelling: string;
  create(...numbers: number[]): Code;
}

/** A whole number without leading zeros. */
const ONE_NUMBER = /^([1-9]\d{0,3})$/;
const TWO_NUMBERS = /^([1-9]\d{0,3})\+([1-9]\d{0,3})$/;

const KINDS: Record<string, SchemeKind> = {
  copies: { form: ONE_NUMBER, spelling: "copies:R, as copies:3", create: (copies) => new Copies(copies) },
  rs: { form: TWO_NUMBERS, spelling: "rs:K+M, as rs:4+2", create: (data, parity) => new ReedSolomon(data, parity) },
  rapidraid: { form: TWO_NUMBERS, spelling: "rapidraid:K+M, as rapidraid:11+5", create: rapidRaid },
};

/** Codes kept for their texts; a store uses a handful. */
const CACHED_CODES_MAX = 64;
const cache = new Map<string, Code>();

/** The code of a scheme's text; the same object for the same text. Throws CodingError INVALID_SCHEME, which says what the text should be. */
export function parseScheme(text: string): Code {
  let code = cache.get(text);
  if (code) return code;
  code = create(text);
  if (cache.size >= CACHED_CODES_MAX) cache.delete(cache.keys().next().value as string);
  cache.set(text, code);
  return code;
}

function create(text: string): Code {
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  const kind = Object.hasOwn(KINDS, name) ? KINDS[name] : undefined;
  if (!kind) {
    const spellings = Object.values(KINDS).map(({ spelling }) => spelling);
    throw new CodingError("INVALID_SCHEME", `scheme "${text}" is of no known kind; it must be one of: ${spellings.join("; ")}`);
  }
  const match = colon < 0 ? null : kind.form.exec(text.slice(colon + 1));
  if (!match) throw new CodingError("INVALID_SCHEME", `scheme "${text}" is not well formed; it must be ${kind.spelling}`);
  return kind.create(...match.slice(1).map(Number));
}

// Parses amounts that people give on the command line, and the option that many commands have.

import { InvalidArgumentError, Option } from "commander";

const SUFFIXES: Record<string, number> = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** A busy machine does nothing at all for half a second now and then. */
const SECONDS_MIN = 1;
const SECONDS_MAX = 3600;

/** "50M" -> 52428800. */
export function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const value = match ? Math.round(Number(match[1]) * SUFFIXES[match[2].toLowerCase()]) : 0;
  if (!match || value < 1)
    throw new InvalidArgumentError(`it is "${text}" and should be a number of bytes like 1000000, 64K, 50M or 1G`);
  return value;
}

/** --repair-rate of a command that starts one task. */
export function repairRateOption(): Option {
  const text =
    "let this task read and write at most this many bytes a second (suffixes K, M, G; default: what `cairn up` was given)";
  return new Option("--repair-rate <bytes>", text).argParser(parseRate);
}

/** A count of at least one. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1024)
    throw new InvalidArgumentError(`it is "${text}" and should be a whole number from 1 to 1024`);
  return value;
}

/** "2.5" -> 2500: seconds, in ms. */
export function parseSeconds(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= SECONDS_MIN && value <= SECONDS_MAX))
    throw new InvalidArgumentError(`it is "${text}" and should be a number of seconds from ${SECONDS_MIN} to ${SECONDS_MAX}`);
  return Math.round(value * 1000);
}

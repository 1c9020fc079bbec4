// `cairn code`: what a redundancy scheme survives and costs, and the search for RapidRAID coefficients. Needs no store.

import { Command, InvalidArgumentError } from "commander";
import { CodingError } from "../coding/code.ts";
import type { Code } from "../coding/code.ts";
import { lossCounts, lossProbability } from "../coding/loss.ts";
import type { LossCount } from "../coding/loss.ts";
import { RapidRaid } from "../coding/rapidraid.ts";
import { searchRapidRaid } from "../coding/rapidraid-search.ts";
import type { RapidRaidSearchResult } from "../coding/rapidraid-search.ts";
import { encodeCosts, repairCosts } from "../coding/scheme-costs.ts";
import type { EncodeCosts, RepairCosts } from "../coding/scheme-costs.ts";
import { parseScheme } from "../coding/scheme.ts";
import type { Traffic } from "../coding/traffic.ts";

/** Probabilities of a node being unavailable that losses are told for. */
const UNAVAILABILITIES = [0.001, 0.01, 0.05] as const;
const BLOCK_BYTES = 2 ** 20;
const USAGE_EXIT_CODE = 2;
/** Of more rows the text leaves out those of losses that are always survived; JSON has all. */
const LOSS_ROWS_SHOWN_MAX = 16;

/** The `code` subcommand, to be added to the program. A scheme that is none sets exit code 2. */
export function codeCommand(): Command {
  const code = new Command("code").description(
    "what redundancy schemes survive and cost, and the search for RapidRAID coefficients",
  );
  code.addCommand(infoCommand());
  code.addCommand(searchCommand());
  return code.addHelpText(
    "after",
    "\nExamples:\n  $ cairn code info rs:4+2\n  $ cairn code info rapidraid:11+5 --json\n  $ cairn code search rapidraid:8+8 --seed 7\n\nExit codes: 0 done, 2 usage or no such scheme",
  );
}

function infoCommand(): Command {
  return new Command("info")
    .description("blocks, storage, survivable losses and network costs of a scheme")
    .argument("<scheme>", "copies:R, rs:K+M or rapidraid:K+M")
    .option("--block-bytes <bytes>", "size of a block, for bytes moved", parseBlockBytes, BLOCK_BYTES)
    .option("--json", "print one JSON document instead of text")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cairn code info copies:3\n  $ cairn code info rs:11+5 --block-bytes 67108864\n  $ cairn code info rapidraid:11+5 --json",
    )
    .action((scheme: string, options: { blockBytes: number; json?: boolean }) =>
      report(options, () => describe(parseScheme(scheme), options.blockBytes), infoText),
    );
}

function searchCommand(): Command {
  return new Command("search")
    .description("find RapidRAID coefficients, and prove by rank which losses they survive")
    .argument("<scheme>", "rapidraid:K+M with 1 <= M <= K")
    .option("--seed <number>", "the same seed finds the same coefficients", parseSeed, 1)
    .option("--json", "print one JSON document instead of text")
    .addHelpText(
      "after",
      "\nExamples:\n  $ cairn code search rapidraid:11+5\n  $ cairn code search rapidraid:8+8 --seed 7 --json",
    )
    .action((scheme: string, options: { seed: number; json?: boolean }) =>
      report(options, () => ({ scheme, seed: options.seed, ...search(scheme, options.seed) }), searchText),
    );
}

function parseBlockBytes(text: string): number {
  const bytes = Number(text);
  if (Number.isInteger(bytes) && bytes >= 2 && bytes <= 2 ** 40 && bytes % 2 === 0) return bytes;
  throw new InvalidArgumentError("It must be an even number of bytes, 2..2^40.");
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && seed < 2 ** 32) return seed;
  throw new InvalidArgumentError("It must be a whole number 0..4294967295.");
}

/** Prints what was asked for, or why it cannot be had. */
function report<T>(options: { json?: boolean }, make: () => T, text: (result: T) => string): void {
  let result: T;
  try {
    result = make();
  } catch (error) {
    if (!(error instanceof CodingError)) throw error;
    if (options.json) process.stdout.write(`${JSON.stringify({ error: { code: error.code, message: error.message } })}\n`);
    process.stderr.write(`cairn: ${error.message}\n`);
    process.exitCode = USAGE_EXIT_CODE;
    return;
  }
  process.stdout.write(options.json ? `${JSON.stringify(result, null, 2)}\n` : `${text(result)}\n`);
}

export interface CodeInfo {
  scheme: string;
  dataBlocks: number;
  parityBlocks: number;
  totalBlocks: number;
  systematic: boolean;
  /** Of the coefficients: 8 for GF(2^8), 16 for GF(2^16). */
  fieldBits: 8 | 16;
  storageFactor: number;
  guaranteedLosses: number;
  losses: LossCount[];
  lossProbability: { unavailability: number; probability: number }[];
  blockBytes: number;
  encode: EncodeCosts;
  repair: RepairCosts | null;
}

function describe(code: Code, blockBytes: number): CodeInfo {
  const { scheme, dataBlocks, totalBlocks, systematic, storageFactor, guaranteedLosses } = code;
  const losses = lossCounts(code);
  return {
    scheme,
    dataBlocks,
    parityBlocks: totalBlocks - dataBlocks,
    totalBlocks,
    systematic,
    fieldBits: code instanceof RapidRaid ? code.coefficients.bits : 8,
    storageFactor,
    guaranteedLosses,
    losses,
    lossProbability: UNAVAILABILITIES.map((unavailability) => ({
      unavailability,
      probability: lossProbability(code, losses, unavailability),
    })),
    blockBytes,
    encode: encodeCosts(code, blockBytes),
    repair: repairCosts(code, blockBytes),
  };
}

function infoText(info: CodeInfo): string {
  const { scheme, dataBlocks, parityBlocks, totalBlocks, systematic, fieldBits, blockBytes, encode, repair } = info;
  const kind = systematic ? "data readable without decoding" : "reading always decodes";
  const shownFrom = info.losses.length > LOSS_ROWS_SHOWN_MAX ? Math.max(0, info.guaranteedLosses - 1) : 0;
  const lines = [
    `scheme           ${scheme} (${kind}; GF(2^${fieldBits}))`,
    `blocks           ${totalBlocks}: any ${dataBlocks} hold the data's amount, ${parityBlocks} more are redundant`,
    `storage          ${Number(info.storageFactor.toFixed(4))} bytes for each byte of data`,
    `survives         ${info.guaranteedLosses === 0 ? "no loss" : `any ${info.guaranteedLosses} losses`}`,
    "",
    ...table(["lost blocks", "ways", "fatal", ""], info.losses.slice(shownFrom).map(lossRow)),
    "",
    ...table(
      ["node unavailable", "data unavailable"],
      info.lossProbability.map(({ unavailability, probability }) => [`${unavailability * 100} %`, percent(probability)]),
    ),
    "",
    `moved over the network, in blocks of ${blockBytes} bytes`,
    ...table(
      ["", "in all", "busiest in", "busiest out"],
      [
        [`encode, ${encode.classical.scheme} at one node`, ...inBlocks(encode.classical, blockBytes)],
        [systematic ? "encode, along a chain" : "encode, pipelined", ...inBlocks(encode.pipelined, blockBytes)],
        ...(repair
          ? [
              ["repair of one block, at one node", ...inBlocks(repair.classical, blockBytes)],
              ["repair of one block, pipelined", ...inBlocks(repair.pipelined, blockBytes)],
            ]
          : []),
      ],
    ),
  ];
  if (repair && repair.fewestBlocksRead < repair.mostBlocksRead) {
    lines.push(
      `repairs read ${repair.fewestBlocksRead} to ${repair.mostBlocksRead} blocks, depending on which is lost; shown is the most`,
    );
  }
  return lines.join("\n");
}

function percent(probability: number): string {
  const value = probability * 100;
  return `${value >= 0.001 ? value.toPrecision(3) : value.toExponential(2)} %`;
}

function lossRow({ losses, sets, undecodable, examined, sampled, fatal }: LossCount): string[] {
  const some = fatal && fatal.length > 0 && fatal.length <= 3 ? fatal.map((set) => `{${set.join(", ")}}`).join(" ") : "";
  const count = sampled ? `${undecodable} of ${examined} sampled` : `${undecodable}`;
  return [`${losses}`, sets < 1e15 ? `${sets}` : sets.toExponential(2), count, some];
}

function inBlocks(traffic: Traffic, blockBytes: number): string[] {
  return [traffic.movedBytes, traffic.mostInBytes, traffic.mostOutBytes].map((bytes) => `${bytes / blockBytes}`);
}

function search(scheme: string, seed: number): RapidRaidSearchResult {
  const match = /^rapidraid:([1-9]\d{0,3})\+([1-9]\d{0,3})$/.exec(scheme);
  if (!match)
    throw new CodingError(
      "INVALID_SCHEME",
      `scheme "${scheme}" has no coefficients to search; it must be rapidraid:K+M, as rapidraid:11+5`,
    );
  const [dataBlocks, parityBlocks] = match.slice(1).map(Number);
  return searchRapidRaid(dataBlocks, dataBlocks + parityBlocks, { seed });
}

function searchText(found: { scheme: string; seed: number } & RapidRaidSearchResult): string {
  const { coefficients, undecodable, natural, sets, examined, sampled, listed, draws } = found;
  const which = sampled ? `a sample of ${examined} of the ${sets.toPrecision(6)}` : `all ${sets}`;
  const verdict =
    undecodable === natural
      ? `no coefficients have fewer${sampled ? " in this sample" : ""}`
      : `${natural} at least, whatever the coefficients; another seed may find fewer`;
  return [
    `scheme       ${found.scheme} over GF(2^${coefficients.bits}), seed ${found.seed}, ${draws} draws`,
    `undecodable  ${undecodable} of ${which} sets of ${coefficients.dataBlocks} blocks (${verdict})`,
    ...(listed && listed.length > 0 && listed.length <= 25 ? listed.map((set) => `             {${set.join(", ")}}`) : []),
    `xi           ${coefficients.xi.join(", ")}`,
    `psi          ${coefficients.psi.join(", ")}`,
  ].join("\n");
}

/** Columns aligned by spaces, the first to the left and numbers to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const lines = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join("  ")
      .trimEnd(),
  );
}

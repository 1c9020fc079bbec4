// `npm run bench -- archival [--json] [--svg FILE] [--seeds N]`: archiving with RapidRAID (16,11) against classical
// Reed-Solomon, on a modelled network of 1 Gbit/s cards and 64 MiB blocks. Takes some 40 s; times are the model's and do not
// depend on this machine.
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { compareArchival } from "../coding/archival-scenarios.ts";
import type { ArchivalCase, ArchivalComparison, Placement } from "../coding/archival-scenarios.ts";
import { barPlot } from "./svg-plot.ts";

interface Row extends ArchivalComparison {
  name: string;
  placement: Placement;
  congestedNodes: number;
  /** Of the ratios of random placements. */
  ratios: number[];
}

const NODES = 16;
const CONGESTED = [0, 4, 8, 12, NODES];
const SEEDS = 3;
const KINDS = [
  { name: "1 object", placement: "single", congested: CONGESTED, fetchAll: false },
  { name: "16 objects", placement: "random", congested: CONGESTED, fetchAll: false },
  { name: "16, rotation, all fetched", placement: "rotation", congested: [0, NODES], fetchAll: true },
  { name: "16, rotation", placement: "rotation", congested: [0, NODES], fetchAll: false },
] as const;
/** In the folder of what is built, which version control leaves out. */
const SVG_FILE = "build/archival.svg";

export async function run({ json, parameters }: { json: boolean; parameters: readonly string[] }): Promise<void> {
  const options = { svg: { type: "string", default: SVG_FILE }, seeds: { type: "string", default: `${SEEDS}` } } as const;
  const { values } = parseArgs({ args: [...parameters], options });
  const seeds = Number(values.seeds);
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > 100)
    throw new Error(`bench archival: --seeds is ${values.seeds}; it must be 1..100`);
  const rows: Row[] = [];
  for (const { placement, name, congested, fetchAll } of KINDS) {
    for (const congestedNodes of congested) rows.push(await rowOf(name, { placement, congestedNodes, fetchAll }, seeds));
  }
  mkdirSync(path.dirname(values.svg), { recursive: true });
  writeFileSync(values.svg, plot(rows));
  process.stdout.write(json ? `${JSON.stringify(rows, null, 2)}\n` : `${table(rows, seeds)}\nPlot written to ${values.svg}\n`);
}

async function rowOf(name: string, situation: ArchivalCase, seeds: number): Promise<Row> {
  const runs: ArchivalComparison[] = [];
  for (let seed = 1; seed <= (situation.placement === "random" ? seeds : 1); seed++)
    runs.push(await compareArchival({ ...situation, seed }));
  const mean = (value: (run: ArchivalComparison) => number) => runs.reduce((sum, run) => sum + value(run), 0) / runs.length;
  const classicalSeconds = mean((run) => run.classicalSeconds);
  const pipelinedSeconds = mean((run) => run.pipelinedSeconds);
  const ratios = runs.map(({ ratio }) => ratio);
  const { placement, congestedNodes } = situation;
  return {
    name,
    placement,
    congestedNodes,
    classicalSeconds,
    pipelinedSeconds,
    ratio: pipelinedSeconds / classicalSeconds,
    ratios,
  };
}

function table(rows: readonly Row[], seeds: number): string {
  const cells = rows.map((row) => [
    row.name,
    `${(row.congestedNodes / NODES) * 100} %`,
    row.classicalSeconds.toFixed(2),
    row.pipelinedSeconds.toFixed(2),
    row.ratio.toFixed(3),
    row.ratios.length > 1 ? `${Math.min(...row.ratios).toFixed(3)}..${Math.max(...row.ratios).toFixed(3)}` : "",
  ]);
  const lines = [["objects", "congested", "classical s", "pipelined s", "ratio", "range"], ...cells];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const text = lines.map((line) =>
    line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join("  "),
  );
  return [
    "Archiving with RapidRAID (16,11) against classical Reed-Solomon 11+5: 64 MiB blocks, 16 nodes, 1 Gbit/s cards (model)",
    "congested: nodes with half the bandwidth and 100 ms latency. ratio: pipelined to classical.",
    `16 objects: at once, each node encoding one, random placement, mean of ${seeds}. rotation: the placement best for classical;`,
    "all fetched: the encoder reads all k parts over the network, as the paper counts; elsewhere it reads those that it holds at home.",
    "In rotation a pipeline moves 15 blocks through each card, classical encoding 14, or 15 with all fetched: hence 15/14 = 1.07 and 1.00.",
    "",
    ...text.map((line) => line.trimEnd()),
  ].join("\n");
}

function plot(rows: readonly Row[]): string {
  return barPlot({
    title: "Archiving: RapidRAID (16,11) against classical 11+5, 64 MiB blocks, 1 Gbit/s",
    axis: "seconds until all objects are archived",
    series: [
      { name: "classical, one node encodes", color: "#c0504d" },
      { name: "RapidRAID, pipelined", color: "#4f81bd" },
    ],
    groups: rows
      .filter(({ placement }) => placement !== "rotation")
      .map((row) => ({
        name: `${row.name}\n${(row.congestedNodes / NODES) * 100} % slow`,
        values: [row.classicalSeconds, row.pipelinedSeconds],
      })),
  });
}

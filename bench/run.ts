// `npm run bench -- NAME ...`: runs one benchmark. Each is a file of this folder with an exported run(options).
export interface BenchOptions {
  /** Print one JSON document instead of a table. */
  json: boolean;
  /** What else was said on the command line. */
  parameters: string[];
}

interface Bench {
  run(options: BenchOptions): Promise<void> | void;
}

/** One row for each benchmark, loaded when it is asked for. */
const BENCHES: Record<string, { about: string; load: () => Promise<Bench> }> = {
  workload: {
    about: "the filesystem workload on a local directory, on a mount and in memory (the default)",
    load: () => import("./workload.ts"),
  },
  real: {
    about: "50,000 small files and one of 8 GiB: written, read back and compared, beside the local filesystem",
    load: () => import("./real.ts"),
  },
  kill: {
    about: "kills the daemon under load, --rounds N times, and checks what is there afterwards",
    load: () => import("./kill.ts"),
  },
  mounts: {
    about: "two mounts of one store used hard at once: SQLite, names, one file, appends; one of them stopped, killed",
    load: () => import("./mounts.ts"),
  },
  cleaner: {
    about: "what the disks hold for live data after random overwrites and removals, before and after the cleaner",
    load: () => import("./cleaner.ts"),
  },
  rot: {
    about:
      "changes bits and deletes segment files of two disks under load, --rounds N times; reads must be right, scrub must mend",
    load: () => import("./rot.ts"),
  },
  simulate: {
    about: "the whole store, two mounts and power cuts simulated in one process, until a million operations were judged",
    load: () => import("./simulate.ts"),
  },
  power: { about: "power cuts in every part, with thousands of seeds", load: () => import("./power.ts") },
  archival: {
    about: "archiving with RapidRAID against classical encoding, on a modelled network; writes an SVG plot",
    load: () => import("./archival.ts"),
  },
  soak: { about: "mixed load for half an hour: memory, latency and counts should stay flat", load: () => import("./soak.ts") },
  leases: { about: "CPU time that leases cost a mount that is alone", load: () => import("./leases.ts") },
  memory: {
    about: "the daemon's memory with a million files, 8 GiB written and read, 100,000 files open",
    load: () => import("./memory-bound.ts"),
  },
  coding: { about: "field kernels, Reed-Solomon and CRC32C, beside memcpy and ISA-L", load: () => import("./coding.ts") },
};

const words = process.argv.slice(2);
const [name, ...parameters] =
  words.length === 0 || (words[0].startsWith("-") && words[0] !== "--help") ? ["workload", ...words] : words;
const bench = name !== undefined && Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
if (bench) {
  const { run } = await bench.load();
  await run({ json: parameters.includes("--json"), parameters: parameters.filter((parameter) => parameter !== "--json") });
} else {
  const rows = Object.entries(BENCHES).map(([known, { about }]) => `  ${known.padEnd(12)} ${about}\n`);
  process.stderr.write(`usage: npm run bench -- NAME [--json]\n${rows.join("")}`);
  process.exitCode = name === "--help" ? 0 : 2;
}

// Measures Reed-Solomon and CRC32C as the product calls them (through N-API), beside memcpy and, where it is installed,
// ISA-L (a C++ program). Rounds of both alternate, and the best of each is shown, so that a busy machine hits both.
import { fieldWith } from "../coding/field.ts";
import { ReedSolomon } from "../coding/reed-solomon.ts";
import { availableKernels, kernels } from "../native/kernels.ts";
import type { Kernels } from "../native/kernels.ts";
import { startIsal } from "./isal/isal.ts";
import type { Isal, IsalCase } from "./isal/isal.ts";
import type { BenchOptions } from "./run.ts";

/** What memory cases go through in turn: eight times a usual third-level cache. */
const MEMORY_POOL_BYTES = 256 * 1024 * 1024;
const ROUNDS = 40;
const ROUND_MS = 3;
const CODES: readonly [k: number, m: number][] = [
  [4, 2],
  [8, 3],
  [11, 5],
];

interface Row {
  operation: string;
  blockBytes: number;
  from: "cache" | "memory";
  cairn: number;
  isal: number | null;
  ratio: number | null;
  /** The ratio aimed at; null where none is. */
  target: number | null;
}

/** A measurable thing: call(set) works on the set-th blocks of the pool. */
interface Subject {
  operation: string;
  isalCase: Omit<IsalCase, "milliseconds">;
  bytesPerCall: number;
  sets: number;
  target: number | null;
  call(set: number): void;
}

/** Where the next round goes on in the pool: one that began anew would find in the caches what the last one began with. */
const positions = new WeakMap<Subject, number>();

/** GB/s. */
function measure(subject: Subject, milliseconds: number): number {
  const until = performance.now() + milliseconds;
  const begin = performance.now();
  let set = positions.get(subject) ?? 0;
  let calls = 0;
  let now = begin;
  while (now < until) {
    for (let repeat = 0; repeat < 16; repeat++) {
      subject.call(set);
      set = set + 1 < subject.sets ? set + 1 : 0;
    }
    calls += 16;
    now = performance.now();
  }
  positions.set(subject, set);
  return (calls * subject.bytesPerCall) / (now - begin) / 1e6;
}

async function compare(subject: Subject, isal: Isal | null): Promise<Row> {
  let [best, bestIsal] = [0, 0];
  measure(subject, ROUND_MS / 2);
  for (let round = 0; round < ROUNDS; round++) {
    best = Math.max(best, measure(subject, ROUND_MS));
    if (isal) bestIsal = Math.max(bestIsal, await isal.measure({ ...subject.isalCase, milliseconds: ROUND_MS }));
  }
  const { blockBytes, poolBytes } = subject.isalCase;
  const from = poolBytes > 0 ? "memory" : "cache";
  const [isalRate, ratio] = isal ? [bestIsal, best / bestIsal] : [null, null];
  return { operation: subject.operation, blockBytes, from, cairn: best, isal: isalRate, ratio, target: subject.target };
}

/** Sets of `count` blocks cut from the pool: one in the cache, or as many as memory cases need. */
function cut(pool: Uint8Array, count: number, blockBytes: number, poolBytes: number): Uint8Array[][] {
  const sets = Math.max(1, Math.floor(poolBytes / (count * blockBytes)));
  return Array.from({ length: sets }, (_, set) =>
    Array.from({ length: count }, (_unused, block) =>
      pool.subarray((set * count + block) * blockBytes, (set * count + block + 1) * blockBytes),
    ),
  );
}

function reedSolomonSubjects(
  pool: Uint8Array,
  chosen: Kernels,
  k: number,
  m: number,
  blockBytes: number,
  poolBytes: number,
): Subject[] {
  const code = new ReedSolomon(
    k,
    m,
    fieldWith(8, () => chosen),
  );
  const target = poolBytes > 0 ? 0.9 : 1.5;
  const subject = (operation: string, isalOperation: "encode" | "rebuild", targets: number, calls: (() => void)[]): Subject => ({
    operation: `${operation} rs:${k}+${m}`,
    isalCase: { operation: isalOperation, k, m: targets, blockBytes, poolBytes },
    bytesPerCall: k * blockBytes,
    sets: calls.length,
    target,
    call: (set) => calls[set](),
  });
  const rebuild = (lost: number): Subject => {
    const wanted = Array.from({ length: lost }, (_, block) => block);
    const calls = cut(pool, k + lost, blockBytes, poolBytes).map((blocks) => {
      const present = new Map(blocks.slice(0, k).map((block, index) => [lost + index, block]));
      const into = blocks.slice(k);
      return () => code.reconstruct(present, wanted, into);
    });
    return subject(`reconstruct ${lost} of`, "rebuild", lost, calls);
  };
  const encodes = cut(pool, k + m, blockBytes, poolBytes).map((blocks) => {
    const [data, parity] = [blocks.slice(0, k), blocks.slice(k)];
    return () => code.encode(data, parity);
  });
  return [subject("encode", "encode", m, encodes), rebuild(m), rebuild(1)];
}

function crcSubject(pool: Uint8Array, chosen: Kernels, blockBytes: number, poolBytes: number): Subject {
  const blocks = cut(pool, 1, blockBytes, poolBytes);
  return {
    operation: "crc32c",
    isalCase: { operation: "crc", k: 1, m: 0, blockBytes, poolBytes },
    bytesPerCall: blockBytes,
    sets: blocks.length,
    target: 1,
    call: (set) => void chosen.crc32c(blocks[set][0], 0),
  };
}

/** The checksums of all 4 KiB pieces of a block in one call, as the block store makes them, against ISA-L on 4 KiB. */
function crcPiecesSubject(pool: Uint8Array, chosen: Kernels): Subject {
  const [pieceBytes, pieces] = [4 * 1024, 8];
  const block = pool.subarray(0, pieceBytes * pieces);
  const into = new Uint32Array(pieces);
  return {
    operation: "crc32cPieces",
    isalCase: { operation: "crc", k: 1, m: 0, blockBytes: pieceBytes, poolBytes: 0 },
    bytesPerCall: block.length,
    sets: 1,
    target: 1,
    call: () => chosen.crc32cPieces(block, pieceBytes, into),
  };
}

/** Uint8Array.set; there is nothing of ISA-L's to compare with. */
function memcpyRow(pool: Uint8Array, blockBytes: number, poolBytes: number): Row {
  const sets = cut(pool, 2, blockBytes, poolBytes);
  const isalCase: Subject["isalCase"] = { operation: "crc", k: 1, m: 0, blockBytes, poolBytes };
  const call = (set: number) => sets[set][1].set(sets[set][0]);
  const subject: Subject = { operation: "memcpy", isalCase, bytesPerCall: blockBytes, sets: sets.length, target: null, call };
  const rates = Array.from({ length: ROUNDS }, () => measure(subject, ROUND_MS));
  const from = poolBytes > 0 ? "memory" : "cache";
  return { operation: "memcpy", blockBytes, from, cairn: Math.max(...rates), isal: null, ratio: null, target: null };
}

/** Every variant's encode on one shape, without ISA-L. */
function variantRows(pool: Uint8Array): Row[] {
  return availableKernels().flatMap((variant) =>
    ([8, 16] as const).map((bits) => {
      const [blocks] = cut(pool, 6, 64 * 1024, 0);
      const coefficients = Uint16Array.from({ length: 8 }, (_, index) => 2 + index);
      const call = () => variant.encode(bits, coefficients, blocks.slice(0, 4), blocks.slice(4));
      const isalCase: Subject["isalCase"] = { operation: "encode", k: 4, m: 2, blockBytes: 64 * 1024, poolBytes: 0 };
      const subject: Subject = { operation: "", isalCase, bytesPerCall: 4 * 64 * 1024, sets: 1, target: null, call };
      const cairn = Math.max(measure(subject, ROUND_MS), measure(subject, ROUND_MS));
      const operation = `4 to 2, GF(2^${bits}), ${variant.variant}`;
      return { operation, blockBytes: 64 * 1024, from: "cache" as const, cairn, isal: null, ratio: null, target: null };
    }),
  );
}

function print(rows: readonly Row[]): void {
  const cell = (value: number | null, digits: number) => (value === null ? "-" : value.toFixed(digits)).padStart(8);
  process.stdout.write(
    `${"GB/s of data in".padEnd(32)}${"block".padStart(10)} ${"from".padEnd(6)}   Cairn   ISA-L   ratio  target\n`,
  );
  for (const row of rows) {
    const size = `${row.blockBytes / 1024} KiB`.padStart(10);
    const verdict = row.ratio === null || row.target === null ? "" : row.ratio >= row.target ? "  reached" : "  MISSED";
    const figures = `${cell(row.cairn, 1)}${cell(row.isal, 1)}${cell(row.ratio, 2)}${cell(row.target, 1)}`;
    process.stdout.write(`${row.operation.padEnd(32)}${size} ${row.from.padEnd(6)}${figures}${verdict}\n`);
  }
}

/** parameters: `--variant=NAME` measures another variant than the chosen one, `--only=TEXT` the operations whose name has it. */
export async function run(options: BenchOptions): Promise<void> {
  const value = (name: string) =>
    options.parameters.find((parameter) => parameter.startsWith(`--${name}=`))?.slice(name.length + 3);
  const chosen = availableKernels().find(({ variant }) => variant === value("variant")) ?? kernels();
  const only = value("only") ?? "";
  const pool = new Uint8Array(MEMORY_POOL_BYTES).fill(0x5a);
  const isal = startIsal();
  const shapes: [blockBytes: number, poolBytes: number][] = [
    [16 * 1024, 0],
    [64 * 1024, 0],
    [128 * 1024, 0],
    [1024 * 1024, MEMORY_POOL_BYTES],
  ];
  const subjects = [
    ...CODES.flatMap(([k, m]) =>
      shapes.flatMap(([block, poolBytes]) => reedSolomonSubjects(pool, chosen, k, m, block, poolBytes)),
    ),
    crcPiecesSubject(pool, chosen),
    ...[[4 * 1024, 0] as const, ...shapes].map(([block, poolBytes]) => crcSubject(pool, chosen, block, poolBytes)),
  ];
  const rows: Row[] = [];
  try {
    for (const subject of subjects) if (subject.operation.includes(only)) rows.push(await compare(subject, isal));
    if (only === "") for (const [blockBytes, poolBytes] of shapes) rows.push(memcpyRow(pool, blockBytes, poolBytes));
    if (only === "") rows.push(...variantRows(pool));
  } finally {
    isal?.close();
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ variant: chosen.variant, rows }, null, 2)}\n`);
  else print(rows);
}

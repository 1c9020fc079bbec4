// Where RapidRAID keeps the parts of an object before it is coded, and the linear map that its pipeline computes
// (Pamies-Juarez, Datta, Oggier: "RapidRAID", INFOCOM 2013, arXiv 1207.6744, sections 4 and 5).
//
// An object of k parts lies as two replicas on n nodes, k < n <= 2k: part i of replica 1 on node i, part j of replica 2
// on node n-k+j. The nodes in the middle hold two parts, the others one. Node i receives x (node 0: zero), keeps
// c_i = x + sum(xi * part) and sends on x' = x + sum(psi * part), with one pair (psi, xi) for each part that it holds.
import { CodingError } from "./code.ts";
import type { Field, Matrix } from "./field.ts";
import { matrixOf } from "./matrix.ts";

/** The pairs of all nodes in a row: node after node, on a node the part of replica 1 before that of replica 2. */
export interface RapidRaidCoefficients {
  readonly dataBlocks: number;
  readonly totalBlocks: number;
  /** The field that they are elements of. */
  readonly bits: 8 | 16;
  /** 2k numbers that are not 0. */
  readonly xi: readonly number[];
  /** 2k-1 numbers that are not 0: the last node sends nothing on. */
  readonly psi: readonly number[];
}

export const RAPIDRAID_BLOCKS_MAX = 64;

/** What one node does with a part that it holds. psi is 0 on the last node. */
export interface HeldPart {
  readonly part: number;
  readonly xi: number;
  readonly psi: number;
}

/** Throws CodingError INVALID_SCHEME unless k < n <= 2k and n is at most RAPIDRAID_BLOCKS_MAX. */
export function checkRapidRaidShape(dataBlocks: number, totalBlocks: number): void {
  const whole = Number.isInteger(dataBlocks) && Number.isInteger(totalBlocks);
  if (whole && dataBlocks >= 1 && dataBlocks < totalBlocks && totalBlocks <= Math.min(2 * dataBlocks, RAPIDRAID_BLOCKS_MAX))
    return;
  throw new CodingError(
    "INVALID_SCHEME",
    `rapidraid:${dataBlocks}+${totalBlocks - dataBlocks}: two replicas of ${dataBlocks} parts cover at most ${2 * dataBlocks} nodes; ` +
      `K+M needs 1 <= M <= K and K + M <= ${RAPIDRAID_BLOCKS_MAX}`,
  );
}

/** The parts that each of the n nodes holds: part numbers, replica 1 first. */
export function partsHeld(dataBlocks: number, totalBlocks: number): number[][] {
  return Array.from({ length: totalBlocks }, (_, node) =>
    [node, node - (totalBlocks - dataBlocks)].filter((part) => part >= 0 && part < dataBlocks),
  );
}

/** As partsHeld, each part with its coefficients. Throws CodingError INVALID_ARGUMENT for coefficients of the wrong number or range. */
export function partsWithCoefficients(coefficients: RapidRaidCoefficients): HeldPart[][] {
  const { dataBlocks, totalBlocks, bits, xi, psi } = coefficients;
  checkRapidRaidShape(dataBlocks, totalBlocks);
  checkList("xi", xi, 2 * dataBlocks, bits);
  checkList("psi", psi, 2 * dataBlocks - 1, bits);
  let at = 0;
  return partsHeld(dataBlocks, totalBlocks).map((parts) => parts.map((part) => ({ part, xi: xi[at], psi: psi[at++] ?? 0 })));
}

function checkList(name: string, list: readonly number[], length: number, bits: number): void {
  if (list.length !== length) {
    throw new CodingError("INVALID_ARGUMENT", `rapidraid: ${list.length} coefficients ${name} given; it must be ${length}`);
  }
  const bad = list.findIndex((value) => !Number.isInteger(value) || value < 1 || value >= 1 << bits);
  if (bad < 0) return;
  throw new CodingError(
    "INVALID_ARGUMENT",
    `rapidraid: coefficient ${name}[${bad}] is ${list[bad]}; it must be 1..${(1 << bits) - 1}`,
  );
}

/** The n x k matrix of the code: blocks = matrix * parts. */
export function rapidRaidMatrix(field: Field, coefficients: RapidRaidCoefficients): Matrix {
  const { dataBlocks, totalBlocks } = coefficients;
  const result = matrixOf(totalBlocks, dataBlocks);
  const passed = new Uint16Array(dataBlocks);
  partsWithCoefficients(coefficients).forEach((parts, node) => {
    const row = result.values.subarray(node * dataBlocks, (node + 1) * dataBlocks);
    row.set(passed);
    for (const { part, xi, psi } of parts) {
      row[part] = field.add(row[part], xi);
      passed[part] = field.add(passed[part], psi);
    }
  });
  return result;
}

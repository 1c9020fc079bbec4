// Coding programs as data: what nodes compute over streams of blocks. The instructions are those of ClusterDFS (LOAD, WRITE,
// COPY, IADD, MULT, MULADD, PUSH, POP). This file says what a program is; program-validation.ts what a good one is,
// program-codec.ts its two written forms, runner.ts what running one does, compile-*.ts make them.
//
// A program is a list of stages, each run by one node (a node may run several). All streams of a program have one length and
// move in pieces; a stage runs its whole instruction list once for each piece. Registers hold one piece and are empty at
// the start of each round. A stage's outputs are registers whose pieces leave at the end of each round, each output
// LOADed by exactly one other stage. A queue is a stream between two stages of one node: PUSHed by one, POPped by the other.
// Blocks are named within the node that runs the stage. What is WRITEn becomes a block only when all stages have ended well.
import { CodingError } from "./code.ts";

export const PROGRAM_VERSION = 1;

/** pull: a stage computes when the next one asks it to; the last stages begin. push: a stage sends as it can; the first ones begin. */
export type ProgramMode = "pull" | "push";

export interface Program {
  readonly version: typeof PROGRAM_VERSION;
  readonly mode: ProgramMode;
  /** Bytes of every stream. */
  readonly streamBytes: number;
  /** Bytes of a piece; the last one may be shorter. */
  readonly pieceBytes: number;
  readonly stages: readonly Stage[];
}

export interface Stage {
  /** Unique within the program. */
  readonly name: string;
  /** The node that runs it. */
  readonly node: string;
  /** Coefficients are elements of GF(2^field). */
  readonly field: 8 | 16;
  readonly registers: number;
  readonly outputs: readonly number[];
  readonly instructions: readonly Instruction[];
}

export type Instruction =
  /** to = the piece of a block, whose stream begins at the offset. */
  | { readonly operation: "LOAD"; readonly to: number; readonly block: string; readonly offset: number }
  /** to = the next piece of another stage's output. */
  | { readonly operation: "LOAD"; readonly to: number; readonly stage: string; readonly output: number }
  /** The piece of a new block, whose stream begins at the offset, = from. */
  | { readonly operation: "WRITE"; readonly from: number; readonly block: string; readonly offset: number }
  /** to = from. */
  | { readonly operation: "COPY"; readonly to: number; readonly from: number }
  /** to += from. */
  | { readonly operation: "IADD"; readonly to: number; readonly from: number }
  /** to = coefficient * from. */
  | { readonly operation: "MULT"; readonly to: number; readonly coefficient: number; readonly from: number }
  /** to += coefficient * from. */
  | { readonly operation: "MULADD"; readonly to: number; readonly coefficient: number; readonly from: number }
  /** The queue's next piece = from. */
  | { readonly operation: "PUSH"; readonly from: number; readonly queue: string }
  /** to = the queue's next piece. */
  | { readonly operation: "POP"; readonly to: number; readonly queue: string };

export type Operation = Instruction["operation"];
export const OPERATIONS: readonly Operation[] = ["LOAD", "WRITE", "COPY", "IADD", "MULT", "MULADD", "PUSH", "POP"];

/** Bounds that a program is refused above, so that a node can run any that it accepts. */
export const PROGRAM_LIMITS = {
  stages: 1024,
  /** rs:128+128 at one node needs 128 * 129 + 256. */
  instructions: 65_536,
  registers: 1024,
  nameBytes: 255,
  /** 16 TiB: no block is larger. */
  streamBytes: 2 ** 44,
  pieceBytes: 16 * 2 ** 20,
  /** Of one stage: registers times piece. */
  registerBytes: 256 * 2 ** 20,
  /** Of a written form. */
  encodedBytes: 16 * 2 ** 20,
} as const;

/** Where in a program something is wrong or went wrong, as errors say it. instruction: its number from 0. */
export function placeOf(stage: Stage, instruction?: number): string {
  const place = `stage ${JSON.stringify(stage.name)} on node ${JSON.stringify(stage.node)}`;
  if (instruction === undefined) return place;
  const { operation } = stage.instructions[instruction];
  return `${place}, instruction ${instruction} (${operation})`;
}

export function invalidProgram(message: string, cause?: unknown): CodingError {
  return new CodingError("INVALID_PROGRAM", `program: ${message}`, { cause });
}

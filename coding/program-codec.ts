// The two written forms of a program: protobuf (between nodes) and JSON (for people and tests). Both decode only into
// programs that linkProgram accepts; anything else is refused with CodingError INVALID_PROGRAM.
import protobuf from "protobufjs";
import { PROGRAM_LIMITS, PROGRAM_VERSION, OPERATIONS, invalidProgram } from "./program.ts";
import type { Instruction, Program, Stage } from "./program.ts";
import { linkProgram } from "./program-validation.ts";

/** Field numbers never change their meaning; unknown fields are passed over, so what changes a program's meaning takes a new version. */
export const PROGRAM_PROTO = `
syntax = "proto3";
message Program {
  uint32 version = 1;
  uint32 mode = 2;          // 0 pull, 1 push
  uint64 stream_bytes = 3;
  uint32 piece_bytes = 4;
  repeated Stage stages = 5;
}
message Stage {
  string name = 1;
  string node = 2;
  uint32 field = 3;         // 8 or 16
  uint32 registers = 4;
  repeated uint32 outputs = 5;
  repeated Instruction instructions = 6;
}
message Instruction {
  uint32 operation = 1;     // 0 LOAD, 1 WRITE, 2 COPY, 3 IADD, 4 MULT, 5 MULADD, 6 PUSH, 7 POP
  uint32 to = 2;
  uint32 from = 3;
  uint32 coefficient = 4;
  string block = 5;         // LOAD of a block, WRITE
  uint64 offset = 6;
  string stage = 7;         // LOAD of a stage's output
  uint32 output = 8;
  string queue = 9;         // PUSH, POP
}
`;

const programType = protobuf.parse(PROGRAM_PROTO).root.lookupType("Program");
const MODES = ["pull", "push"] as const;

/** The fields of each operation, besides `operation`; LOAD has two forms. */
const FIELDS = {
  LOAD_BLOCK: ["to", "block", "offset"],
  LOAD_STAGE: ["to", "stage", "output"],
  WRITE: ["from", "block", "offset"],
  COPY: ["to", "from"],
  IADD: ["to", "from"],
  MULT: ["to", "coefficient", "from"],
  MULADD: ["to", "coefficient", "from"],
  PUSH: ["from", "queue"],
  POP: ["to", "queue"],
} as const;
const NAMES = new Set(["block", "stage", "queue"]);
const MAY_BE_LEFT_OUT = new Set(["offset"]);

/** Throws CodingError INVALID_PROGRAM for a program that is not good. */
export function encodeProgram(program: Program): Uint8Array {
  linkProgram(program);
  const stages = program.stages.map((stage) => ({
    ...stage,
    instructions: stage.instructions.map((instruction) => ({
      ...instruction,
      operation: OPERATIONS.indexOf(instruction.operation),
    })),
  }));
  return programType.encode({ ...program, mode: MODES.indexOf(program.mode), stages }).finish();
}

/** Throws CodingError INVALID_PROGRAM for bytes that are not a good program. */
export function decodeProgram(bytes: Uint8Array): Program {
  checkEncodedBytes(bytes.length);
  let plain: Record<string, unknown>;
  try {
    plain = programType.toObject(programType.decode(bytes), { longs: Number, defaults: true, arrays: true });
  } catch (error) {
    throw invalidProgram(`its ${bytes.length} bytes are not a protobuf message: ${(error as Error).message}`, error);
  }
  const mode = MODES[plain.mode as number] ?? plain.mode;
  const stages = (plain.stages as (Stage & { instructions: Record<string, unknown>[] })[]).map((stage) => ({
    ...stage,
    instructions: stage.instructions.map((instruction) => instructionOf(instruction)),
  }));
  return accepted({ ...plain, mode, stages } as unknown as Program);
}

/** A protobuf instruction with only the fields that its operation has. */
function instructionOf(plain: Record<string, unknown>): Instruction {
  const operation = OPERATIONS[plain.operation as number];
  if (operation === undefined) return { operation: plain.operation } as unknown as Instruction;
  const instruction: Record<string, unknown> = { operation };
  for (const field of fieldsOf(operation, plain.stage !== "")) instruction[field] = plain[field];
  return instruction as unknown as Instruction;
}

function fieldsOf(operation: Instruction["operation"], loadsStage: boolean): readonly string[] {
  if (operation !== "LOAD") return FIELDS[operation];
  return loadsStage ? FIELDS.LOAD_STAGE : FIELDS.LOAD_BLOCK;
}

function checkEncodedBytes(length: number): void {
  if (length <= PROGRAM_LIMITS.encodedBytes) return;
  throw invalidProgram(`it takes ${length} bytes; at most ${PROGRAM_LIMITS.encodedBytes} are accepted`);
}

function accepted(program: Program): Program {
  linkProgram(program);
  return program;
}

/** One line for each instruction, so that programs can be compared as text. */
export function printProgram(program: Program): string {
  linkProgram(program);
  const stages = program.stages.map(({ instructions, ...head }) => {
    const lines = instructions.map((instruction) => `      ${JSON.stringify(instruction)}`);
    return `    ${JSON.stringify(head).slice(0, -1)},"instructions":[\n${lines.join(",\n")}]}`;
  });
  const { stages: _, ...head } = program;
  return `${JSON.stringify(head).slice(0, -1)},"stages":[\n${stages.join(",\n")}]}\n`;
}

/** Throws CodingError INVALID_PROGRAM for text that is not a good program; unknown keys are refused too. */
export function parseProgram(text: string): Program {
  checkEncodedBytes(text.length);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidProgram(`it is not JSON: ${(error as Error).message}`, error);
  }
  const head = objectOf("it", value, ["version", "mode", "streamBytes", "pieceBytes", "stages"]);
  checkNumbers("it", head, ["version", "streamBytes", "pieceBytes"]);
  if (head.version !== PROGRAM_VERSION)
    throw invalidProgram(`its version is ${head.version}; this build runs version ${PROGRAM_VERSION}`);
  const stages = listOf("stages", head.stages).map(parseStage);
  return accepted({ ...head, stages } as unknown as Program);
}

function parseStage(value: unknown, number: number): Stage {
  const place = `stage ${number}`;
  const stage = objectOf(place, value, ["name", "node", "field", "registers", "outputs", "instructions"]);
  checkNumbers(place, stage, ["field", "registers"]);
  const outputs = listOf(`${place}: outputs`, stage.outputs);
  const instructions = listOf(`${place}: instructions`, stage.instructions);
  return {
    ...stage,
    outputs,
    instructions: instructions.map((each, at) => parseInstruction(`${place}, instruction ${at}`, each)),
  } as unknown as Stage;
}

function parseInstruction(place: string, value: unknown): Instruction {
  const operation = isObject(value) ? value.operation : undefined;
  if (!OPERATIONS.includes(operation as Instruction["operation"])) {
    throw invalidProgram(
      `${place}: operation ${JSON.stringify(operation) ?? "missing"}; it must be one of ${OPERATIONS.join(", ")}`,
    );
  }
  const fields = fieldsOf(operation as Instruction["operation"], Object.hasOwn(value as object, "stage"));
  const instruction = objectOf(place, value, ["operation", ...fields]);
  if (fields.includes("offset")) instruction.offset ??= 0;
  checkNumbers(
    place,
    instruction,
    fields.filter((field) => !NAMES.has(field)),
  );
  return instruction as unknown as Instruction;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A copy of an object that has these keys and no others. */
function objectOf(place: string, value: unknown, keys: readonly string[]): Record<string, unknown> {
  if (!isObject(value)) throw invalidProgram(`${place} must be an object with ${keys.join(", ")}`);
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined)
    throw invalidProgram(`${place} has ${JSON.stringify(unknown.slice(0, 80))}; it may have ${keys.join(", ")}`);
  const missing = keys.find((key) => !Object.hasOwn(value, key) && !MAY_BE_LEFT_OUT.has(key));
  if (missing !== undefined) throw invalidProgram(`${place} has no ${JSON.stringify(missing)}`);
  return { ...value };
}

function listOf(place: string, value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw invalidProgram(`${place} must be a list`);
}

function checkNumbers(place: string, value: Record<string, unknown>, keys: readonly string[]): void {
  const bad = keys.find((key) => typeof value[key] !== "number");
  if (bad !== undefined) throw invalidProgram(`${place}: ${bad} is ${JSON.stringify(value[bad])}; it must be a number`);
}

// Refuses programs that could not run to a good end, and links those that can: which stage's stream goes where.
import { PROGRAM_LIMITS, PROGRAM_VERSION, OPERATIONS, invalidProgram, placeOf } from "./program.ts";
import type { Instruction, Program, Stage } from "./program.ts";

/** One stream between two stages: an output and the LOAD of it, or a queue's PUSH and POP. */
export interface ProgramStream {
  /** Its place in LinkedProgram.streams. */
  readonly index: number;
  readonly from: number;
  readonly to: number;
  /** Set for an output: its place in the stage's outputs. */
  readonly output?: number;
  readonly queue?: string;
}

export interface LinkedStage {
  readonly stage: Stage;
  /** For each output, its stream. */
  readonly outputs: readonly ProgramStream[];
  /** For each instruction LOAD of a stage, PUSH or POP, its stream. */
  readonly streams: ReadonlyMap<number, ProgramStream>;
  /** The most stages one after another that must have run before this one; and that must run after it. */
  readonly depth: number;
  readonly height: number;
}

/** A program that was found good. */
export interface LinkedProgram {
  readonly program: Program;
  readonly stages: readonly LinkedStage[];
  readonly streams: readonly ProgramStream[];
  /** The most stages one after another. */
  readonly levels: number;
  /** Bytes of each block written, by node and name. */
  readonly written: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

const NAME = /^[!-~]+$/;

/** Throws CodingError INVALID_PROGRAM, naming the stage, the node and the instruction's number from 0. Cost: linear in the program. */
export function linkProgram(program: Program): LinkedProgram {
  checkHead(program);
  const stageNumbers = new Map<string, number>();
  program.stages.forEach((stage, number) => {
    checkStage(program, stage);
    if (stageNumbers.has(stage.name))
      throw invalidProgram(`there are two stages ${JSON.stringify(stage.name)}; names must differ`);
    stageNumbers.set(stage.name, number);
  });
  const written = checkBlocks(program);
  const streams = [...outputStreams(program, stageNumbers), ...queueStreams(program)].map((stream, index) => ({
    ...stream,
    index,
  }));
  const order = sortStages(program, streams);
  const stages = linkStages(program, streams, order);
  const levels = stages.reduce((most, { depth }) => Math.max(most, depth + 1), 1);
  return { program, stages, streams, levels, written };
}

function checkInteger(what: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw invalidProgram(`${what} is ${value}; it must be ${least}..${most}`);
}

function checkName(what: string, name: string): void {
  if (typeof name === "string" && name.length <= PROGRAM_LIMITS.nameBytes && NAME.test(name)) return;
  throw invalidProgram(
    `${what} is ${JSON.stringify(String(name).slice(0, 80))}; it must be 1..${PROGRAM_LIMITS.nameBytes} visible ASCII characters`,
  );
}

function checkHead(program: Program): void {
  const { version, mode, streamBytes, pieceBytes, stages } = program;
  if (version !== PROGRAM_VERSION) throw invalidProgram(`its version is ${version}; this build runs version ${PROGRAM_VERSION}`);
  if (mode !== "pull" && mode !== "push") throw invalidProgram(`its mode is ${JSON.stringify(mode)}; it must be pull or push`);
  checkInteger("streamBytes", streamBytes, 1, PROGRAM_LIMITS.streamBytes);
  checkInteger("pieceBytes", pieceBytes, 1, PROGRAM_LIMITS.pieceBytes);
  checkInteger("the number of stages", stages.length, 1, PROGRAM_LIMITS.stages);
}

function checkStage(program: Program, stage: Stage): void {
  checkName("a stage's name", stage.name);
  checkName(`the node of stage ${JSON.stringify(stage.name)}`, stage.node);
  const place = placeOf(stage);
  if (stage.field !== 8 && stage.field !== 16) throw invalidProgram(`${place}: its field is ${stage.field}; it must be 8 or 16`);
  if (stage.field === 16 && (program.streamBytes % 2 !== 0 || program.pieceBytes % 2 !== 0)) {
    throw invalidProgram(
      `${place}: over GF(2^16) streams and pieces must be even; they are ${program.streamBytes} and ${program.pieceBytes} bytes`,
    );
  }
  checkInteger(`${place}: the number of registers`, stage.registers, 1, PROGRAM_LIMITS.registers);
  const registerBytes = stage.registers * Math.min(program.pieceBytes, program.streamBytes);
  checkInteger(`${place}: the bytes of its registers`, registerBytes, 1, PROGRAM_LIMITS.registerBytes);
  checkInteger(`${place}: the number of outputs`, stage.outputs.length, 0, PROGRAM_LIMITS.registers);
  checkInteger(`${place}: the number of instructions`, stage.instructions.length, 1, PROGRAM_LIMITS.instructions);
  const filled = new Set<number>();
  stage.instructions.forEach((instruction, number) => checkInstruction(stage, instruction, number, filled));
  stage.outputs.forEach((register, output) => {
    checkInteger(`${place}: the register of output ${output}`, register, 0, stage.registers - 1);
    if (!filled.has(register))
      throw invalidProgram(`${place}: output ${output} is register ${register}, which no instruction fills`);
  });
  if (stage.outputs.length === 0 && !stage.instructions.some(({ operation }) => operation === "WRITE" || operation === "PUSH")) {
    throw invalidProgram(`${place}: it has no output, WRITE or PUSH and so does nothing`);
  }
}

/** filled: the registers that hold a piece at this point; updated. */
function checkInstruction(stage: Stage, instruction: Instruction, number: number, filled: Set<number>): void {
  if (!OPERATIONS.includes(instruction.operation)) {
    throw invalidProgram(`${placeOf(stage)}, instruction ${number}: unknown operation ${JSON.stringify(instruction.operation)}`);
  }
  const place = placeOf(stage, number);
  const checkRegister = (what: string, register: number, mustBeFilled: boolean) => {
    checkInteger(`${place}: register "${what}"`, register, 0, stage.registers - 1);
    if (mustBeFilled && !filled.has(register)) {
      throw invalidProgram(`${place}: register "${what}" is ${register}, which nothing has filled before`);
    }
  };
  if ("from" in instruction) checkRegister("from", instruction.from, true);
  if ("to" in instruction) {
    checkRegister("to", instruction.to, instruction.operation === "IADD" || instruction.operation === "MULADD");
    filled.add(instruction.to);
  }
  if ("coefficient" in instruction) checkInteger(`${place}: the coefficient`, instruction.coefficient, 0, 2 ** stage.field - 1);
  if ("block" in instruction) {
    checkName(`${place}: the block's name`, instruction.block);
    checkInteger(`${place}: the offset`, instruction.offset, 0, PROGRAM_LIMITS.streamBytes);
  } else if ("stage" in instruction) {
    checkName(`${place}: the stage's name`, instruction.stage);
    checkInteger(`${place}: the output`, instruction.output, 0, PROGRAM_LIMITS.registers - 1);
  } else if ("queue" in instruction) checkName(`${place}: the queue's name`, instruction.queue);
  if ((instruction.operation === "IADD" || instruction.operation === "MULADD") && instruction.to === instruction.from) {
    throw invalidProgram(`${place}: registers "to" and "from" are both ${instruction.to}; they must differ`);
  }
}

/** Written blocks have no gap and no overlap, and are not read. */
function checkBlocks(program: Program): Map<string, Map<string, number>> {
  const offsets = new Map<string, Map<string, { offset: number; place: string }[]>>();
  const each = (action: (stage: Stage, instruction: Instruction & { block: string; offset: number }, place: string) => void) => {
    for (const stage of program.stages) {
      stage.instructions.forEach((instruction, number) => {
        if ("block" in instruction) action(stage, instruction, placeOf(stage, number));
      });
    }
  };
  each((stage, { operation, block, offset }, place) => {
    if (operation !== "WRITE") return;
    let blocks = offsets.get(stage.node);
    if (!blocks) offsets.set(stage.node, (blocks = new Map()));
    const writes = blocks.get(block);
    if (writes) writes.push({ offset, place });
    else blocks.set(block, [{ offset, place }]);
  });
  each((stage, { operation, block }, place) => {
    if (operation !== "LOAD" || !offsets.get(stage.node)?.has(block)) return;
    throw invalidProgram(`${place}: block ${JSON.stringify(block)} is both read and written`);
  });
  const written = new Map<string, Map<string, number>>();
  for (const [node, blocks] of offsets) {
    const lengths = new Map<string, number>();
    for (const [block, writes] of blocks) lengths.set(block, checkCoverage(program, block, writes));
    written.set(node, lengths);
  }
  return written;
}

function checkCoverage(program: Program, block: string, writes: { offset: number; place: string }[]): number {
  let end = 0;
  for (const { offset, place } of writes.sort((a, b) => a.offset - b.offset)) {
    if (offset !== end) {
      const wrong = offset < end ? "is written twice" : "is not written";
      throw invalidProgram(
        `${place}: block ${JSON.stringify(block)} ${wrong} from offset ${Math.min(offset, end)} to ${Math.max(offset, end)}`,
      );
    }
    end += program.streamBytes;
  }
  return end;
}

type UnnumberedStream = Omit<ProgramStream, "index">;

function outputStreams(program: Program, stageNumbers: ReadonlyMap<string, number>): UnnumberedStream[] {
  const loaded = new Map<string, UnnumberedStream>();
  program.stages.forEach((stage, to) => {
    stage.instructions.forEach((instruction, number) => {
      if (!("stage" in instruction)) return;
      const place = placeOf(stage, number);
      const from = stageNumbers.get(instruction.stage);
      if (from === undefined) throw invalidProgram(`${place}: there is no stage ${JSON.stringify(instruction.stage)}`);
      const { outputs } = program.stages[from];
      if (instruction.output >= outputs.length) {
        throw invalidProgram(
          `${place}: stage ${JSON.stringify(instruction.stage)} has ${outputs.length} outputs and no output ${instruction.output}`,
        );
      }
      const key = `${from}:${instruction.output}`;
      if (loaded.has(key))
        throw invalidProgram(
          `${place}: output ${instruction.output} of stage ${JSON.stringify(instruction.stage)} is loaded twice`,
        );
      loaded.set(key, { from, to, output: instruction.output });
    });
  });
  program.stages.forEach((stage, from) => {
    const unused = stage.outputs.findIndex((_, output) => !loaded.has(`${from}:${output}`));
    if (unused >= 0) throw invalidProgram(`${placeOf(stage)}: output ${unused} is loaded by no stage`);
  });
  return [...loaded.values()];
}

function queueStreams(program: Program): UnnumberedStream[] {
  const ends = {
    PUSH: new Map<string, { stage: number; place: string }>(),
    POP: new Map<string, { stage: number; place: string }>(),
  };
  program.stages.forEach((stage, number) => {
    stage.instructions.forEach((instruction, at) => {
      if (!("queue" in instruction)) return;
      const key = `${stage.node} ${instruction.queue}`;
      const place = placeOf(stage, at);
      if (ends[instruction.operation].has(key)) {
        throw invalidProgram(
          `${place}: queue ${JSON.stringify(instruction.queue)} has two instructions ${instruction.operation} on this node`,
        );
      }
      ends[instruction.operation].set(key, { stage: number, place });
    });
  });
  for (const [operation, other] of [
    ["PUSH", "POP"],
    ["POP", "PUSH"],
  ] as const) {
    for (const [key, { place }] of ends[operation]) {
      if (!ends[other].has(key))
        throw invalidProgram(`${place}: no stage on this node has a ${other} for queue ${JSON.stringify(key.split(" ")[1])}`);
    }
  }
  return [...ends.PUSH].map(([key, { stage }]) => ({
    from: stage,
    to: ends.POP.get(key)?.stage as number,
    queue: key.split(" ")[1],
  }));
}

/** Stage numbers so that each comes after those it takes streams from. */
function sortStages(program: Program, streams: readonly ProgramStream[]): number[] {
  const waitingFor = program.stages.map(() => 0);
  for (const { to } of streams) waitingFor[to]++;
  const followers = followersOf(program, streams);
  const order = [...waitingFor.keys()].filter((stage) => waitingFor[stage] === 0);
  // The list grows while it is walked.
  for (const stage of order) {
    for (const next of followers[stage]) if (--waitingFor[next] === 0) order.push(next);
  }
  if (order.length === program.stages.length) return order;
  const left = program.stages.filter((_, number) => waitingFor[number] > 0).slice(0, 8);
  throw invalidProgram(
    `${placeOf(left[0])}: stages wait for each other in a cycle, among ${left.map(({ name }) => JSON.stringify(name)).join(", ")}`,
  );
}

function followersOf(program: Program, streams: readonly ProgramStream[]): number[][] {
  const followers: number[][] = program.stages.map(() => []);
  for (const { from, to } of streams) followers[from].push(to);
  return followers;
}

function linkStages(program: Program, streams: readonly ProgramStream[], order: readonly number[]): LinkedStage[] {
  const followers = followersOf(program, streams);
  const depth = program.stages.map(() => 0);
  const height = program.stages.map(() => 0);
  for (const stage of order) for (const next of followers[stage]) depth[next] = Math.max(depth[next], depth[stage] + 1);
  for (const stage of [...order].reverse())
    for (const next of followers[stage]) height[stage] = Math.max(height[stage], height[next] + 1);
  const byOutput = new Map<string, ProgramStream>();
  const byQueue = new Map<string, ProgramStream>();
  for (const stream of streams) {
    if (stream.queue === undefined) byOutput.set(`${stream.from}:${stream.output}`, stream);
    else byQueue.set(`${program.stages[stream.from].node} ${stream.queue}`, stream);
  }
  const numbers = new Map(program.stages.map(({ name }, number) => [name, number]));
  return program.stages.map((stage, number) => {
    const used = new Map<number, ProgramStream>();
    stage.instructions.forEach((instruction, at) => {
      if ("stage" in instruction)
        used.set(at, byOutput.get(`${numbers.get(instruction.stage)}:${instruction.output}`) as ProgramStream);
      if ("queue" in instruction) used.set(at, byQueue.get(`${stage.node} ${instruction.queue}`) as ProgramStream);
    });
    const outputs = stage.outputs.map((_, output) => byOutput.get(`${number}:${output}`) as ProgramStream);
    return { stage, outputs, streams: used, depth: depth[number], height: height[number] };
  });
}

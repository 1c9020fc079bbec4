// Runs one stage: its instruction list once for each piece. One wait at a time, each under a deadline that a single timer
// watches, so waiting costs no timer of its own.
//
// Deadlines are graded so that the first to pass names the hop that is stuck, and not one that waits for it: a stage's own
// reads and writes get `stallMs`; waiting for a predecessor gets up to twice that, longer the further down the stage is;
// waiting for a successor up to three times, longer the further up.
import type { Arithmetic, Piece } from "./arithmetic.ts";
import type { BlockStore, BlockWriter } from "./block-store.ts";
import type { Clock } from "./clock.ts";
import { CodingError } from "./code.ts";
import { placeOf } from "./program.ts";
import type { Instruction, Program } from "./program.ts";
import type { LinkedProgram, LinkedStage, ProgramStream } from "./program-validation.ts";
import type { StreamInput, StreamOutput } from "./transport.ts";

export interface StageEnvironment<P extends Piece> {
  readonly arithmetic: Arithmetic<P>;
  readonly blocks: BlockStore<P>;
  readonly clock: Clock;
  readonly stallMs: number;
  /** The writer of a block of this node, made when first asked for. */
  writer(block: string): Promise<BlockWriter<P>>;
  output(stream: ProgramStream): StreamOutput<P>;
  input(stream: ProgramStream): StreamInput<P>;
}

interface Wait {
  since: number;
  limitMs: number;
  stalled: () => string;
  reject: (error: CodingError) => void;
}

export class StageRunner<P extends Piece> {
  readonly #linked: LinkedStage;
  readonly #program: Program;
  readonly #all: LinkedProgram;
  readonly #environment: StageEnvironment<P>;
  /** By stream number. */
  readonly #inputs = new Map<number, StreamInput<P>>();
  readonly #outputs = new Map<number, StreamOutput<P>>();
  readonly #registers: (P | null)[];
  /** Full-length pieces to be filled again; at most one for each register. */
  readonly #spare: P[] = [];
  #wait: Wait | null = null;
  #failure: CodingError | null = null;
  #cancelTimer: () => void = () => undefined;

  /** Takes its ends of all streams. */
  constructor(all: LinkedProgram, number: number, environment: StageEnvironment<P>) {
    this.#all = all;
    this.#program = all.program;
    this.#linked = all.stages[number];
    this.#environment = environment;
    this.#registers = Array.from({ length: this.#linked.stage.registers }, () => null);
    for (const stream of all.streams) {
      if (stream.from === number) this.#outputs.set(stream.index, environment.output(stream));
      if (stream.to === number) this.#inputs.set(stream.index, environment.input(stream));
    }
  }

  /** Resolves when all pieces are through; what was written is not committed then. Rejects with a CodingError that names the hop. */
  async run(): Promise<void> {
    this.#watch(this.#environment.stallMs);
    try {
      await this.#runPieces();
      for (const input of this.#inputs.values()) input.close();
    } catch (error) {
      const failure = isNamedHop(error) ? error : hopFailed(placeOf(this.#linked.stage), error);
      this.#failure ??= failure;
      for (const input of this.#inputs.values()) input.cancel(failure);
      for (const output of this.#outputs.values()) output.fail(failure);
      throw failure;
    } finally {
      this.#cancelTimer();
    }
  }

  /** Ends the stage for a reason that lies elsewhere. */
  abort(error: CodingError): void {
    this.#failure ??= error;
    this.#wait?.reject(this.#failure);
  }

  async #runPieces(): Promise<void> {
    const { streamBytes, pieceBytes } = this.#program;
    let opened = false;
    for (let start = 0; start < streamBytes; start += pieceBytes) {
      const length = Math.min(pieceBytes, streamBytes - start);
      await this.#awaitRoom();
      if (!opened) for (const input of this.#inputs.values()) input.open();
      opened = true;
      for (let number = 0; number < this.#linked.stage.instructions.length; number++) {
        const pending = this.#execute(number, start, length);
        if (pending) await pending;
      }
      this.#sendOutputs(length);
      this.#reuseRegisters();
    }
  }

  async #awaitRoom(): Promise<void> {
    for (const [index, output] of this.#outputs) await this.#guard(output.room(), this.#successorWait(index));
  }

  #execute(number: number, start: number, length: number): Promise<void> | void {
    const instruction = this.#linked.stage.instructions[number];
    switch (instruction.operation) {
      case "LOAD":
        return "block" in instruction
          ? this.#loadBlock(number, instruction, start, length)
          : this.#receive(number, instruction.to, length);
      case "POP":
        return this.#receive(number, instruction.to, length);
      case "WRITE":
        return this.#write(number, instruction, start);
      case "PUSH":
        return this.#outputOf(this.#linked.streams.get(number)).send(this.#copyOf(this.#held(instruction.from), length));
      default:
        this.#compute(instruction, length);
    }
  }

  #compute(instruction: Extract<Instruction, { to: number; from: number }>, length: number): void {
    const { arithmetic } = this.#environment;
    const { field } = this.#linked.stage;
    const from = this.#held(instruction.from);
    const to = (this.#registers[instruction.to] ??= this.#take(length));
    if (instruction.operation === "IADD") arithmetic.add(to, from);
    else if (instruction.operation === "MULT") arithmetic.multiply(field, to, instruction.coefficient, from);
    else if (instruction.operation === "MULADD") arithmetic.multiplyAdd(field, to, instruction.coefficient, from);
    else if (to !== from) arithmetic.copy(to, from);
  }

  async #loadBlock(
    number: number,
    { block, offset, to }: { block: string; offset: number; to: number },
    start: number,
    length: number,
  ): Promise<void> {
    const reading = this.#own(number, () => `reading ${length} bytes at ${offset + start} of block ${JSON.stringify(block)}`);
    const piece = await this.#guard(this.#environment.blocks.read(block, offset + start, length), reading);
    if (piece.length !== length) {
      throw hopFailed(reading.failed(), `${piece.length} bytes were read; the program needs ${length}`);
    }
    this.#fill(to, piece);
  }

  async #receive(number: number, to: number, length: number): Promise<void> {
    const stream = this.#linked.streams.get(number) as ProgramStream;
    const input = this.#inputs.get(stream.index) as StreamInput<P>;
    const wait = this.#predecessorWait(number, stream);
    const piece = await this.#guard(input.receive(), wait);
    if (piece.length !== length)
      throw hopFailed(wait.failed(), `a piece of ${piece.length} bytes came; the program needs ${length}`);
    this.#fill(to, piece);
  }

  async #write(
    number: number,
    { block, offset, from }: { block: string; offset: number; from: number },
    start: number,
  ): Promise<void> {
    const writing = this.#own(number, () => `writing at ${offset + start} of block ${JSON.stringify(block)}`);
    const writer = await this.#guard(this.#environment.writer(block), writing);
    await this.#guard(writer.write(offset + start, this.#held(from)), writing);
  }

  /** The last output of a register takes its piece, earlier ones take copies. */
  #sendOutputs(length: number): void {
    const { outputs } = this.#linked.stage;
    outputs.forEach((register, output) => {
      const last = outputs.lastIndexOf(register) === output;
      const piece = last ? this.#held(register) : this.#copyOf(this.#held(register), length);
      this.#outputOf(this.#linked.outputs[output]).send(piece);
      if (last) this.#registers[register] = null;
    });
  }

  #outputOf(stream: ProgramStream | undefined): StreamOutput<P> {
    return this.#outputs.get((stream as ProgramStream).index) as StreamOutput<P>;
  }

  #held(register: number): P {
    const piece = this.#registers[register];
    if (!piece) throw new Error(`${placeOf(this.#linked.stage)}: register ${register} is empty, which validation rules out`);
    return piece;
  }

  #fill(register: number, piece: P): void {
    const earlier = this.#registers[register];
    if (earlier) this.#keepSpare(earlier);
    this.#registers[register] = piece;
  }

  #take(length: number): P {
    return (length === this.#program.pieceBytes && this.#spare.pop()) || this.#environment.arithmetic.allocate(length);
  }

  #copyOf(piece: P, length: number): P {
    const copy = this.#take(length);
    this.#environment.arithmetic.copy(copy, piece);
    return copy;
  }

  #reuseRegisters(): void {
    this.#registers.forEach((piece, register) => {
      if (piece) this.#keepSpare(piece);
      this.#registers[register] = null;
    });
  }

  #keepSpare(piece: P): void {
    if (piece.length === this.#program.pieceBytes && this.#spare.length < this.#registers.length) this.#spare.push(piece);
  }

  // Waiting.

  // The texts are made only when something has gone wrong: a stage waits several times for each piece.

  #own(number: number, action: () => string): Waiting {
    const { stallMs } = this.#environment;
    const what = () => `${placeOf(this.#linked.stage, number)}: ${action()}`;
    return {
      limitMs: stallMs,
      stalled: () => `${what()} took longer than ${stallMs} ms`,
      failed: what,
    };
  }

  #predecessorWait(number: number, stream: ProgramStream): Waiting {
    const { depth, stage } = this.#linked;
    const limitMs = this.#environment.stallMs * (1 + depth / this.#all.levels);
    const hop = () => placeOf(this.#all.stages[stream.from].stage);
    return {
      limitMs,
      stalled: () => `${hop()}: it sent nothing to ${placeOf(stage, number)} for ${Math.round(limitMs)} ms`,
      failed: () => `${hop()}: its stream to ${placeOf(stage, number)} failed`,
    };
  }

  #successorWait(index: number): Waiting {
    const { height, stage } = this.#linked;
    const limitMs = this.#environment.stallMs * (2 + height / this.#all.levels);
    const hop = () => placeOf(this.#all.stages[this.#all.streams[index].to].stage);
    return {
      limitMs,
      stalled: () => `${hop()}: it took nothing from ${placeOf(stage)} for ${Math.round(limitMs)} ms`,
      failed: () => `${hop()}: the stream to it from ${placeOf(stage)} failed`,
    };
  }

  /** Waits for a promise until it settles, the stage is aborted, or the deadline passes. */
  #guard<T>(promise: Promise<T>, waiting: Waiting): Promise<T> {
    if (this.#failure) {
      promise.catch(() => undefined);
      return Promise.reject(this.#failure);
    }
    return new Promise<T>((resolve, reject) => {
      const since = this.#environment.clock.now();
      this.#wait = { since, limitMs: waiting.limitMs, stalled: waiting.stalled, reject };
      promise.then(
        (value) => {
          this.#wait = null;
          resolve(value);
        },
        (error: unknown) => {
          this.#wait = null;
          // What another hop says of itself goes on unchanged; what a store or a transport says gets the hop's name.
          reject(isNamedHop(error) ? error : hopFailed(waiting.failed(), error));
        },
      );
    });
  }

  #watch(afterMs: number): void {
    this.#cancelTimer = this.#environment.clock.after(afterMs, () => {
      const wait = this.#wait;
      const left = wait ? wait.since + wait.limitMs - this.#environment.clock.now() : this.#environment.stallMs;
      if (wait && left <= 0) this.abort(new CodingError("HOP_STALLED", wait.stalled()));
      else this.#watch(Math.max(left, 1));
    });
  }
}

/** A wait's deadline, and what to say where it passes or the wait fails. */
interface Waiting {
  limitMs: number;
  stalled: () => string;
  failed: () => string;
}

function hopFailed(place: string, cause: unknown): CodingError {
  return new CodingError("HOP_FAILED", `${place}: ${(cause as Error)?.message ?? cause}`, { cause });
}

/** Whether an error already says where something went wrong; transports too name the node in such errors. */
function isNamedHop(error: unknown): error is CodingError {
  return error instanceof CodingError && (error.code === "HOP_FAILED" || error.code === "HOP_STALLED");
}

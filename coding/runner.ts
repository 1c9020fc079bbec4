// Runs programs: one NodeRunner for each node, connected by a transport, and runProgram, which sees to it that all of a
// program's blocks become visible or none. Streams are read and written in pieces: a stage holds at most two pieces for each
// register, and each stream a window of them (transport.ts), so memory is bounded whatever the blocks' size, and a slow
// stage slows down those before it.
//
// Order: every stage runs to its end; only when all have does any node commit; where one fails, all are stopped and abort
// what they wrote. Where a commit fails, those that were made are taken back as far as the nodes can be reached.
import type { Arithmetic, Piece } from "./arithmetic.ts";
import type { BlockStore, BlockWriter } from "./block-store.ts";
import type { Clock } from "./clock.ts";
import { CodingError } from "./code.ts";
import type { Program } from "./program.ts";
import { linkProgram } from "./program-validation.ts";
import type { LinkedProgram } from "./program-validation.ts";
import { StageRunner } from "./stage-runner.ts";
import type { StreamAddress, Transport } from "./transport.ts";

/** The longest that a read, a write or a hop may make no progress. */
export const STALL_MS = 10_000;

export interface NodeRunnerOptions<P extends Piece> {
  readonly node: string;
  readonly blocks: BlockStore<P>;
  readonly transport: Transport<P>;
  readonly arithmetic: Arithmetic<P>;
  readonly clock: Clock;
  readonly stallMs?: number;
}

export class NodeRunner<P extends Piece> {
  readonly node: string;
  readonly #options: NodeRunnerOptions<P>;

  constructor(options: NodeRunnerOptions<P>) {
    this.node = options.node;
    this.#options = options;
  }

  /** Begins this node's stages of a program. run: names the run, the same on all nodes. */
  start(program: LinkedProgram, run: string): NodeRun<P> {
    return new NodeRun(program, run, this.#options);
  }
}

/** One node's share in a run. */
export class NodeRun<P extends Piece> {
  /** Resolves when all stages here are through, and what they wrote waits for commit; rejects with the first failure. */
  readonly done: Promise<void>;
  readonly #options: NodeRunnerOptions<P>;
  readonly #stages: StageRunner<P>[] = [];
  readonly #writers = new Map<string, Promise<BlockWriter<P>>>();
  readonly #settled: Promise<unknown>;

  constructor(program: LinkedProgram, run: string, options: NodeRunnerOptions<P>) {
    this.#options = options;
    const { transport, node, stallMs = STALL_MS } = options;
    const address = ({ index, from, to }: { index: number; from: number; to: number }): StreamAddress => ({
      run,
      stream: index,
      from: program.stages[from].stage.node,
      to: program.stages[to].stage.node,
      mode: program.program.mode,
    });
    const environment = {
      ...options,
      stallMs,
      writer: (block: string) => this.#writer(block, program.written.get(node)?.get(block) as number),
      output: (stream: LinkedProgram["streams"][number]) => transport.output(address(stream)),
      input: (stream: LinkedProgram["streams"][number]) => transport.input(address(stream)),
    };
    program.stages.forEach(({ stage }, number) => {
      if (stage.node === node) this.#stages.push(new StageRunner(program, number, environment));
    });
    const running = this.#stages.map((stage) => stage.run());
    this.#settled = Promise.allSettled(running);
    this.done = Promise.all(running).then(() => undefined);
    // The owner of the failure is whoever awaits done; this keeps the process from dying before it does.
    this.done.catch(() => undefined);
  }

  #writer(block: string, bytes: number): Promise<BlockWriter<P>> {
    let writer = this.#writers.get(block);
    if (!writer) {
      writer = this.#options.blocks.create(block, bytes);
      writer.catch(() => undefined);
      this.#writers.set(block, writer);
    }
    return writer;
  }

  /** Makes what was written seen. After done. Rejects with a CodingError that names node and block. */
  async commit(): Promise<void> {
    for (const [block, writer] of this.#writers) {
      await this.#limited(`committing block ${JSON.stringify(block)}`, async () => (await writer).commit());
    }
  }

  /** Stops all stages and takes back what they wrote, committed or not. Failures to do so are given in the result, as nothing more can be done about them here. */
  async abort(reason: CodingError): Promise<CodingError[]> {
    for (const stage of this.#stages) stage.abort(reason);
    await this.#settled;
    const failures: CodingError[] = [];
    for (const [block, writer] of this.#writers) {
      const abort = async () => (await writer.catch(() => null))?.abort();
      await this.#limited(`aborting block ${JSON.stringify(block)}`, abort).catch((error: CodingError) => failures.push(error));
    }
    return failures;
  }

  async #limited(action: string, work: () => Promise<unknown>): Promise<void> {
    const { clock, node, stallMs = STALL_MS } = this.#options;
    const place = `node ${JSON.stringify(node)}: ${action}`;
    let cancel: () => void = () => undefined;
    const deadline = new Promise<never>((_, reject) => {
      cancel = clock.after(stallMs, () => reject(new CodingError("HOP_STALLED", `${place} took longer than ${stallMs} ms`)));
    });
    try {
      await Promise.race([work(), deadline]);
    } catch (error) {
      if (error instanceof CodingError && error.code === "HOP_STALLED") throw error;
      throw new CodingError("HOP_FAILED", `${place}: ${(error as Error)?.message ?? error}`, { cause: error });
    } finally {
      cancel();
    }
  }
}

/** Waits for all, also where one fails, so that nothing is being committed when it is taken back. */
async function allOrFirstFailure(work: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

let runs = 0;

/**
 * Runs a program on nodes of this process. Resolves when all that it writes is committed. Rejects with CodingError
 * INVALID_PROGRAM; INVALID_ARGUMENT where a node has no runner; HOP_FAILED or HOP_STALLED, naming the stage and node where it
 * began; nothing is left committed then, unless the error says so.
 */
export async function runProgram<P extends Piece>(program: Program, runners: ReadonlyMap<string, NodeRunner<P>>): Promise<void> {
  const linked = linkProgram(program);
  const nodes = [...new Set(program.stages.map(({ node }) => node))];
  const missing = nodes.find((node) => !runners.has(node));
  if (missing !== undefined) throw new CodingError("INVALID_ARGUMENT", `program: no runner for node ${JSON.stringify(missing)}`);
  const run = `run-${++runs}`;
  const started: NodeRun<P>[] = [];
  try {
    for (const node of nodes) started.push((runners.get(node) as NodeRunner<P>).start(linked, run));
    await Promise.all(started.map(({ done }) => done));
    await allOrFirstFailure(started.map((node) => node.commit()));
  } catch (error) {
    const failure = error as CodingError;
    const left = (await Promise.all(started.map((node) => node.abort(failure)))).flat();
    if (left.length === 0) throw failure;
    const unfinished = left.map(({ message }) => message).join("; ");
    throw new CodingError(failure.code, `${failure.message}; and taking back what was written failed: ${unfinished}`, {
      cause: failure,
    });
  }
}

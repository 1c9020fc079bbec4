// Runs rounds of steps on a world and compares everything with the model.

import type { InodeId } from "../../fs/types.ts";
import { ROOT_INODE } from "../../fs/types.ts";
import { seededRandom } from "../../storage/seeded-random.ts";
import { checkBeliefs } from "./beliefs.ts";
import type { Context } from "./bound.ts";
import { burst } from "./bursts.ts";
import { evict } from "./evictions.ts";
import { ERAS_MAX } from "./history.ts";
import type { Kernel } from "./kernel.ts";
import { KINDS } from "./operations.ts";
import { checkRemains } from "./remains.ts";
import { Scene } from "./scene.ts";
import { EVENTS, isMishap, type Round, type Step } from "./steps.ts";
import { type RunnerCounts, Violation } from "./story.ts";
import { cutPower, killMount, restart } from "./survival.ts";
import { type BoundStep, together } from "./together.ts";
import { World } from "./world.ts";

/** Calls to the log and the table within which a fault comes, and rounds of operations that follow until the power goes. */
const LOG_FAULT_CALLS_MAX = 60;
const FAILING_ROUNDS = 6;

/** Back by an hour, forward by a minute, as NTP does it at a boot; a day; a little. */
const DATE_JUMPS_MS = [-3_600_000, 60_000, 86_400_000, -1_500];
/** Expiry of sessions is looked at within this. */
const DATE_LOOKED_AT_MS = 1_000;

/** While a mount stands still, programs wait for locks until its session is over for certain. */
const STANDSTILL_PATIENCE_MS = 40_000;

export class Runner {
  readonly #scene: Scene;
  readonly #seed: number;

  private constructor(world: World, seed: number) {
    this.#scene = new Scene(world);
    this.#seed = seed;
  }

  static async run(seed: number, rounds: Iterable<Round>, onRound: (runner: Runner) => void = () => {}): Promise<Runner> {
    const world = await World.create(seed);
    const runner = new Runner(world, seed);
    const scene = runner.#scene;
    try {
      await scene.start();
      for (const round of rounds) {
        await runner.#round(round);
        onRound(runner);
      }
      await (scene.failing > 0 ? cutPower(scene, []) : restart(scene));
    } catch (error) {
      const violation = error instanceof Violation ? error : new Violation((error as Error).stack ?? String(error));
      const trace = [...scene.story.lines, "trace of the store:", ...world.trace.slice(-25)].join("\n");
      throw new Violation(`${violation.message}\n${trace}`, violation.kind, scene.counts);
    } finally {
      world.halt();
    }
    return runner;
  }

  get story(): string[] {
    return this.#scene.story.lines;
  }

  get counts(): RunnerCounts {
    return this.#scene.counts;
  }

  get simulatedMs(): number {
    return this.#scene.world.clock.nowMs;
  }

  async #round(round: Round): Promise<void> {
    const { world, history } = this.#scene;
    world.random = seededRandom(this.#seed * 7919 + round.id);
    const [first] = round.steps;
    if (first === undefined) return;
    if (this.#scene.failing > 0) return this.#failingRound(round);
    if (first.kind === "stop") return restart(this.#scene);
    if (first.kind === "clean") return world.beginCleaning();
    if (first.kind === "lose" || first.kind === "rot" || first.kind === "heal" || first.kind === "fault")
      return this.#disaster(first);
    if (first.kind === "kill") return killMount(this.#scene, first.mount);
    if (first.kind === "logFault") return this.#failLog(first);
    if (first.kind === "quiesce") return checkRemains(this.#scene);
    if (first.kind === "date") await this.#setDate(first);
    else if (first.kind === "evict") await evict(this.#scene, first);
    else if (first.kind === "burst") await burst(this.#scene, first);
    else await this.#operations(round);
    await checkBeliefs(this.#scene);
    if (history.length > ERAS_MAX) await this.#scene.syncAll();
  }

  async #operations(round: Round): Promise<void> {
    if (isMishap(round)) await this.#scene.settleFull();
    const { bound, unpin } = await this.#bind(round);
    if (bound.length > 0 || round.cutAfterMs !== undefined) await together(this.#scene, bound, round);
    unpin();
  }

  /** Only the date changes: no session ends for it, nothing is fresh for longer. */
  async #setDate({ numbers }: Step): Promise<void> {
    const { world, counts, story } = this.#scene;
    const byMs = DATE_JUMPS_MS[numbers[0] % DATE_JUMPS_MS.length];
    counts.dateJumps++;
    story.tell(() => `the date is set ${byMs / 1000} s ${byMs < 0 ? "back" : "forward"}`);
    world.clock.dateAheadMs += byMs;
    const clock = world.clock.machine();
    await this.#scene.drive(clock.sleep(numbers[1] % DATE_LOOKED_AT_MS));
    clock.end();
  }

  /** The disk of the log and the table will fail. */
  #failLog({ numbers }: Step): void {
    const scene = this.#scene;
    const call = 1 + (numbers[0] % LOG_FAULT_CALLS_MAX);
    scene.counts.logFaults++;
    scene.failing = FAILING_ROUNDS;
    scene.story.tell(() => `call ${call} of the disk of log and table will fail`);
    scene.world.faultSystem(call);
  }

  /** Nothing but operations; the power goes when one was refused, or in the end. */
  async #failingRound(round: Round): Promise<void> {
    const scene = this.#scene;
    const cuts = scene.counts.cuts;
    try {
      if (!EVENTS.has(round.steps[0].kind))
        await this.#operations({ id: round.id, steps: round.steps, cutAfterMs: round.cutAfterMs });
    } catch (error) {
      // A walk to what the operations need.
      if ((error as { code?: string }).code !== "EIO" || !scene.world.up) throw error;
      return cutPower(scene, []);
    }
    if (scene.counts.cuts === cuts && --scene.failing === 0) await cutPower(scene, []);
  }

  /** Finds what each step needs; that stays in use until `unpin`. */
  async #bind(round: Round): Promise<{ bound: BoundStep[]; unpin: () => void }> {
    const { world } = this.#scene;
    const { steps, standstill } = round;
    const alone = steps.length === 1 && !isMishap(round);
    const shared = { alone, waiting: { count: 0 }, patienceMs: standstill === undefined ? undefined : STANDSTILL_PATIENCE_MS };
    const contexts = world.kernels.map((_, mount) => this.#context(mount, shared));
    const pinned: [Kernel, InodeId][] = [];
    const bound: BoundStep[] = [];
    for (const step of steps) {
      const { context, pins } = contexts[step.mount];
      const made = await this.#scene.drive(Promise.resolve(KINDS[step.kind](context, step)));
      for (const inode of pins.splice(0)) pinned.push([context.kernel, inode]);
      if (made !== null && made !== undefined) bound.push({ bound: made, step });
    }
    const unpin = (): void => {
      if (world.up) for (const [kernel, inode] of pinned) kernel.unpin(inode);
    };
    return { bound, unpin };
  }

  #context(mount: number, shared: Pick<Context, "alone" | "waiting" | "patienceMs">): { context: Context; pins: InodeId[] } {
    const scene = this.#scene;
    const kernel = scene.world.kernels[mount];
    const pins: InodeId[] = [];
    const reach = async (inode: InodeId): Promise<InodeId> => {
      await this.#reach(kernel, inode);
      kernel.pin(inode);
      pins.push(inode);
      return inode;
    };
    const context: Context = {
      kernel,
      model: scene.model,
      slots: scene.slots[mount],
      inUse: new Set(),
      locking: new Set(),
      ...shared,
      reach,
      strangers: (parent, name) => scene.stranger(parent, name),
      agree: (inode) => this.#agree(inode),
    };
    return { context, pins };
  }

  /** Walks from the root; every name must be as the model has it. */
  async #reach(kernel: Kernel, inode: InodeId): Promise<void> {
    const { model } = this.#scene;
    const { path } = model.named().find((one) => one.inode === inode)!;
    let at = ROOT_INODE;
    for (const name of path) {
      const found = await kernel.find(at, name);
      const expected = model.entry(at, name)!;
      if (found !== expected)
        throw new Violation(`walk to inode ${inode}, ${path.join("/")}: ${name} in ${at} is ${found}, should be ${expected}`);
      at = found;
    }
  }

  async #agree(inode: InodeId): Promise<void> {
    const [a, b] = this.#scene.world.kernels;
    await this.#reach(a, inode);
    await this.#reach(b, inode);
    const { atimeSeconds: _, atimeNanoseconds: __, allocatedBytes: ___, ...one } = await a.attributes(inode);
    const { atimeSeconds: _1, atimeNanoseconds: _2, allocatedBytes: _3, ...other } = await b.attributes(inode);
    if (JSON.stringify(one) !== JSON.stringify(other))
      throw new Violation(`the mounts differ about ${inode}: ${JSON.stringify(one)} and ${JSON.stringify(other)}`);
  }

  async #disaster(step: Step): Promise<void> {
    const { world, counts, story } = this.#scene;
    if (step.kind === "heal") {
      await this.#scene.settleFull();
      const problems = (await this.#scene.drive(world.heal()))!;
      if (problems.length > 0) throw new Violation(`what was lost could not be mended:\n${problems.slice(0, 10).join("\n")}`);
      counts.healed++;
      story.tell(() => "healed");
      return;
    }
    if (step.kind === "fault") {
      const { text, full } = world.faultDisk(step.numbers[0], step.numbers[1]);
      counts.faults++;
      this.#scene.full ||= full;
      story.tell(() => text);
      return;
    }
    const what = step.kind === "lose" ? world.loseDisk(step.numbers[0]) : world.rot(step.numbers[0]);
    counts.lost++;
    story.tell(() => what);
  }
}

// What the parts of a run share: the world, the model beside it, what may be lost, what programs have open; and how
// simulated time passes.

import type { ByteString, InodeId } from "../../fs/types.ts";
import type { Bound } from "./bound.ts";
import { type ContentChange, History } from "./history.ts";
import type { Ran } from "./judge.ts";
import type { File } from "./kernel-core.ts";
import { Model, type Node } from "./model.ts";
import type { Step } from "./steps.ts";
import { describe, noCounts, Story, Violation } from "./story.ts";
import type { World } from "./world.ts";

/** Nothing takes so long, in simulated time: a disk that does not answer is given up after 30 s, a session after 10 or 20 s. */
const ROUND_LIMIT_MS = 200_000;
/** Writes that failed are tried again each second. */
const SPACE_BACK_MS = 2_500;
/** Files that the programs of one mount have open at once. */
export const SLOTS = 6;

/** An operation as it ran. */
export interface RanBound extends Ran {
  bound: Bound;
  /** null: it only looked, to be sure. */
  step: Step | null;
  /** In simulated time. */
  beganMs: number;
  endedMs: number;
  /** What it was told, where a disk failed: it may be done or not. */
  excused?: string;
}

export class Scene {
  readonly world: World;
  readonly model = new Model();
  readonly history = new History();
  readonly counts = noCounts();
  readonly story = new Story();
  /** What each mount's programs have open. */
  slots: (File | null)[][] = [];
  events = 0;
  /** A disk of blocks refuses space, or will: programs may be told ENOSPC, and what was written is kept and tried again. */
  full = false;
  /** Rounds until the power goes, where the disk of the log and the table fails: programs may be told EIO. 0: it works. */
  failing = 0;
  /** Of each mount, how often another session has come in the place of one that was over, as far as there was a reason. */
  renewals: number[] = [];
  /** Of each mount, files that lost something with its sessions: where no program has them open, nobody is told before the mount ends. */
  lossy: Set<InodeId>[] = [];
  /** While what was found is compared: inodes that the model does not know yet, and all that is there. */
  unknown: ReadonlyMap<InodeId, Node> | null = null;
  found: ReadonlyMap<InodeId, Node> = new Map();

  constructor(world: World) {
    this.world = world;
  }

  /** Boots the machine; nothing is open. */
  async start(): Promise<void> {
    this.full = false;
    this.failing = 0;
    await this.drive(this.world.start());
    for (const kernel of this.world.kernels) await this.drive(kernel.learnRoot());
    this.slots = this.world.kernels.map(() => Array<File | null>(SLOTS).fill(null));
    this.renewals = this.world.kernels.map(() => 0);
    this.lossy = this.world.kernels.map(() => new Set<InodeId>());
  }

  /** Lets time pass until `problem` finds none any more. It is a violation where it still does after so long. */
  async within(limitMs: number, lookMs: number, problem: () => Promise<string | null>): Promise<void> {
    const clock = this.world.clock.machine();
    const giveUpAtMs = clock.nowMs() + limitMs;
    for (;;) {
      const found = await this.drive(problem());
      if (found === null || found === undefined) break;
      if (clock.nowMs() > giveUpAtMs) throw new Violation(found);
      await this.drive(clock.sleep(lookMs));
    }
    clock.end();
  }

  /** Lets time pass until the promise is settled, or up to that time. */
  async drive<T>(promise: Promise<T>, untilMs = Infinity): Promise<T | undefined> {
    const { clock } = this.world;
    let settled = false;
    const end = (): void => void (settled = true);
    promise.then(end, end);
    const limitMs = clock.nowMs + ROUND_LIMIT_MS;
    // A turn of the event loop for what needs no time.
    await new Promise((resolve) => setImmediate(resolve));
    while (!settled) {
      if (clock.nowMs > untilMs) return undefined;
      if (!(await clock.step())) throw new Violation("nothing can go on any more");
      this.events++;
      if (clock.nowMs > limitMs) throw new Violation(`not over after ${ROUND_LIMIT_MS} ms`);
    }
    return promise;
  }

  /** Runs one operation and notes what came of it. */
  async run(one: RanBound): Promise<void> {
    const { clock } = this.world;
    one.began = ++this.events;
    one.beganMs = clock.nowMs;
    try {
      one.outcome = { value: await one.bound.run(() => ++this.events) };
    } catch (error) {
      const { code } = error as { code?: string };
      if (error instanceof Violation || typeof code !== "string") throw error;
      one.outcome = { error: code };
      if (code === "EINTR") one.began = one.bound.interruptedAt?.() ?? one.began;
      if (one.step !== null) this.counts.refused++;
    }
    one.ended = ++this.events;
    one.endedMs = clock.nowMs;
    if (one.step === null) this.counts.probes++;
    else this.counts.operations++;
  }

  note(ran: readonly RanBound[]): void {
    for (const { text, outcome, step, began, ended, excused } of ran) {
      const told = (): string => (excused === undefined ? describe(outcome) : `${excused}, perhaps done`);
      this.story.tell(() => `  [${began}-${ended}] ${step?.id ?? "probe"} mount ${step?.mount}: ${text} -> ${told()}`);
    }
    this.story.tell(() => "");
  }

  /** What failed because of a disk has no known outcome. Whether there was any. */
  excuse(ran: readonly RanBound[]): boolean {
    let any = false;
    for (const one of ran) {
      const error = one.outcome !== null && "error" in one.outcome ? one.outcome.error : null;
      if (error === null || !this.excuses(error)) continue;
      Object.assign(one, { excused: error, outcome: null, maybe: true });
      any = true;
    }
    return any;
  }

  excuses(error: string): boolean {
    return (error === "ENOSPC" && this.full) || (error === "EIO" && this.failing > 0);
  }

  /** The disks have space again. What failed is tried again within a second; each open file may say once that it had. */
  async settleFull(): Promise<void> {
    if (!this.full) return;
    this.world.clearFull();
    const clock = this.world.clock.machine();
    await this.drive(clock.sleep(SPACE_BACK_MS));
    for (const [mount, kernel] of this.world.kernels.entries()) {
      for (const file of this.slots[mount]) {
        if (file === null) continue;
        const first = await this.drive(kernel.sync(file).then(() => null, (error: { code?: string }) => error)); // prettier-ignore
        if (first !== null && first !== undefined && first.code !== "ENOSPC") throw first;
        await this.drive(kernel.sync(file));
      }
    }
    clock.end();
    this.full = false;
  }

  /** Everything that both mounts have is durable. */
  async syncAll(): Promise<void> {
    await this.settleFull();
    for (const kernel of this.world.kernels) await this.drive(kernel.syncAll());
    this.history.restart();
  }

  sweep(): void {
    this.model.sweep(new Set(this.slots.flat().flatMap((file) => (file === null ? [] : [file.inode]))));
  }

  /** An inode that the store has and the model does not. */
  stranger(parent: InodeId, name: ByteString): InodeId {
    const unknown = this.unknown ?? new Map<InodeId, Node>();
    const there = this.found.get(parent)?.entries.get(name);
    if (there !== undefined && unknown.has(there)) return there;
    return [...unknown.keys()].find((inode) => this.model.get(inode) === undefined) ?? ((2 ** 40 + ++this.events) as InodeId);
  }
}

export function ranOf(bound: Bound, step: Step | null): RanBound {
  return {
    text: bound.text, began: 0, ended: Infinity, beganMs: 0, endedMs: Infinity, outcome: null, bound, step, apply: bound.apply,
  }; // prettier-ignore
}

/** Those that changed, or may have changed, a file's content. A copy of nothing did not. */
export function changesOf(ran: readonly RanBound[]): ContentChange[] {
  const changes = ran.filter(
    ({ bound, outcome }) => bound.changes !== undefined && (outcome === null || ("value" in outcome && outcome.value !== 0)),
  );
  return changes.map((one) => Object.assign(one, { changes: one.bound.changes!, mount: one.step!.mount }));
}

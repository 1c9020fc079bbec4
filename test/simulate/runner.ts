// Runs rounds of steps on a world and compares everything with the model.

import type { ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE, S_IFDIR, S_IFLNK, S_IFMT } from "../../fs/types.ts";
import { seededRandom } from "../../storage/seeded-random.ts";
import type { Bound, Context } from "./bound.ts";
import { contentOf } from "./content.ts";
import { bindRead } from "./data-kinds.ts";
import { ERAS_MAX, type ContentChange, History } from "./history.ts";
import { explain, type Outcome, type Ran } from "./judge.ts";
import type { Kernel } from "./kernel.ts";
import type { File } from "./kernel-core.ts";
import { Model, newNode, type Node, type Nodes, treeDifference } from "./model.ts";
import { bindStat, KINDS } from "./operations.ts";
import { bindFind } from "./name-kinds.ts";
import type { Round, Step } from "./steps.ts";
import { World } from "./world.ts";

/** Nothing takes so long, in simulated time: a disk that does not answer is given up after 30 s, a session after 20 s. */
const ROUND_LIMIT_MS = 200_000;

/** What a run did: operations judged, those of them that were refused, what was looked at to be sure, disasters. */
export interface RunnerCounts {
  operations: number;
  refused: number;
  probes: number;
  cuts: number;
  restarts: number;
  lost: number;
  healed: number;
  killed: number;
}

export class Violation extends Error {
  /** A few words, the same for violations that look alike. */
  readonly kind: string;
  /** What was done before it. */
  readonly counts: Partial<RunnerCounts>;

  constructor(message: string, kind = kindOf(message), counts: Partial<RunnerCounts> = {}) {
    super(message);
    this.kind = kind;
    this.counts = counts;
  }
}

/** The first line, without what differs from seed to seed. */
function kindOf(message: string): string {
  const [line] = message.split("\n");
  return line
    .replace(/\d+/g, "N")
    .replace(/\{.*|"[^"]*"/g, "...")
    .slice(0, 80);
}

interface RanBound extends Ran {
  bound: Bound;
  step: Step | null;
}

/** Lines of the story that a violation shows, where CAIRN_STORY does not say it. */
const STORY_LINES = 40;
/** Files that the programs of one mount have open at once. */
const SLOTS = 6;

export class Runner {
  readonly #world: World;
  readonly #seed: number;
  readonly #model = new Model();
  readonly #history = new History();
  #slots: (File | null)[][] = [];
  #events = 0;
  #unknown: Map<InodeId, Node> | null = null;
  readonly counts: RunnerCounts = { operations: 0, refused: 0, probes: 0, cuts: 0, restarts: 0, lost: 0, healed: 0, killed: 0 };
  /** What was done, the last of it. Put into words when it is asked for: that takes its time. */
  readonly #story: (() => string)[] = [];
  readonly #storyLines = Number(process.env.CAIRN_STORY ?? STORY_LINES);

  private constructor(world: World, seed: number) {
    this.#world = world;
    this.#seed = seed;
  }

  static async run(seed: number, rounds: Iterable<Round>, onRound: (runner: Runner) => void = () => {}): Promise<Runner> {
    const world = await World.create(seed);
    const runner = new Runner(world, seed);
    try {
      await runner.#start();
      for (const round of rounds) {
        await runner.#round(round);
        onRound(runner);
      }
      await runner.#restart();
    } catch (error) {
      const violation = error instanceof Violation ? error : new Violation((error as Error).stack ?? String(error));
      const trace = [...runner.story, "trace of the store:", ...world.trace.slice(-25)].join("\n");
      throw new Violation(`${violation.message}\n${trace}`, violation.kind, runner.counts);
    } finally {
      world.halt();
    }
    return runner;
  }

  get story(): string[] {
    return this.#story.slice(-this.#storyLines).map((line) => line());
  }

  #tell(line: () => string): void {
    this.#story.push(line);
    if (this.#story.length > 2 * this.#storyLines) this.#story.splice(0, this.#storyLines);
  }

  get simulatedMs(): number {
    return this.#world.clock.nowMs;
  }

  async #start(): Promise<void> {
    await this.#drive(this.#world.start());
    for (const kernel of this.#world.kernels) await this.#drive(kernel.learnRoot());
    this.#slots = this.#world.kernels.map(() => Array<File | null>(SLOTS).fill(null));
  }

  /** Lets time pass until the promise is settled. */
  async #drive<T>(promise: Promise<T>, untilMs = Infinity): Promise<T | undefined> {
    let settled = false;
    const end = (): void => void (settled = true);
    promise.then(end, end);
    const limitMs = this.#world.clock.nowMs + ROUND_LIMIT_MS;
    // A turn of the event loop for what needs no time.
    await new Promise((resolve) => setImmediate(resolve));
    while (!settled) {
      if (this.#world.clock.nowMs > untilMs) return undefined;
      if (!(await this.#world.clock.step())) throw new Violation("nothing can go on any more");
      this.#events++;
      if (this.#world.clock.nowMs > limitMs) throw new Violation(`not over after ${ROUND_LIMIT_MS} ms`);
    }
    return promise;
  }

  async #round(round: Round): Promise<void> {
    this.#world.random = seededRandom(this.#seed * 7919 + round.id);
    const [first] = round.steps;
    if (first === undefined) return;
    if (first.kind === "stop") return this.#restart();
    if (first.kind === "clean") return this.#world.beginCleaning();
    if (first.kind === "lose" || first.kind === "rot" || first.kind === "heal") return this.#disaster(first);
    if (first.kind === "kill") return this.#kill(first.mount);
    const contexts = this.#world.kernels.map((_, mount) => this.#context(mount, round.steps.length === 1));
    const pinned: [Kernel, InodeId][] = [];
    const bound: { bound: Bound; step: Step }[] = [];
    for (const step of round.steps) {
      const { context, pins } = contexts[step.mount];
      const made = await this.#drive(Promise.resolve(KINDS[step.kind](context, step)));
      for (const inode of pins.splice(0)) pinned.push([context.kernel, inode]);
      if (made !== null && made !== undefined) bound.push({ bound: made, step });
    }
    if (bound.length > 0) await this.#together(bound, round.cutAfterMs);
    else if (round.cutAfterMs !== undefined) await this.#cut([]);
    if (this.#world.up) for (const [kernel, inode] of pinned) kernel.unpin(inode);
    if (this.#history.length > ERAS_MAX) await this.#syncAll();
  }

  #context(mount: number, alone: boolean): { context: Context; pins: InodeId[] } {
    const kernel = this.#world.kernels[mount];
    const pins: InodeId[] = [];
    const reach = async (inode: InodeId): Promise<InodeId> => {
      await this.#reach(kernel, inode);
      kernel.pin(inode);
      pins.push(inode);
      return inode;
    };
    const context: Context = {
      kernel,
      model: this.#model,
      slots: this.#slots[mount],
      inUse: new Set(),
      alone,
      reach,
      strangers: (parent, name) => this.#stranger(parent, name),
      agree: (inode) => this.#agree(inode),
    };
    return { context, pins };
  }

  /** Walks from the root; every name must be as the model has it. */
  async #reach(kernel: Kernel, inode: InodeId): Promise<void> {
    const { path } = this.#model.named().find((one) => one.inode === inode)!;
    let at = ROOT_INODE;
    for (const name of path) {
      const found = await kernel.find(at, name);
      const expected = this.#model.entry(at, name)!;
      if (found !== expected)
        throw new Violation(`walk to inode ${inode}, ${path.join("/")}: ${name} in ${at} is ${found}, should be ${expected}`);
      at = found;
    }
  }

  async #agree(inode: InodeId): Promise<void> {
    const [a, b] = this.#world.kernels;
    await this.#reach(a, inode);
    await this.#reach(b, inode);
    const { atimeSeconds: _, atimeNanoseconds: __, allocatedBytes: ___, ...one } = await a.attributes(inode);
    const { atimeSeconds: _1, atimeNanoseconds: _2, allocatedBytes: _3, ...other } = await b.attributes(inode);
    if (JSON.stringify(one) !== JSON.stringify(other))
      throw new Violation(`the mounts differ about ${inode}: ${JSON.stringify(one)} and ${JSON.stringify(other)}`);
  }

  // ---- Operations that overlap

  async #together(steps: readonly { bound: Bound; step: Step }[], cutAfterMs: number | undefined): Promise<void> {
    const ran: RanBound[] = steps.map(({ bound, step }) => ({
      text: bound.text,
      began: 0,
      ended: Infinity,
      outcome: null,
      bound,
      step,
      apply: this.#promised(bound, steps),
    }));
    const clock = this.#world.clock.machine();
    const running = ran.map(async (one) => {
      if (ran.length > 1) await clock.sleep(one.step!.delayMs);
      await this.#runOne(one);
    });
    const untilMs = cutAfterMs === undefined ? Infinity : this.#world.clock.nowMs + cutAfterMs;
    await this.#drive(Promise.all(running), untilMs);
    clock.end();
    if (cutAfterMs !== undefined) {
      this.#note(ran);
      return this.#cut(ran);
    }
    const probes = ran.length > 1 ? await this.#probe(ran) : [];
    this.#note(ran);
    this.#settle(ran, probes);
  }

  /** What an answer must fit. Linux reads a file's size and its pages one after another: where both change meanwhile, a read may give new bytes up to the old end; where another mount appends, what it gives is nobody's promise. */
  #promised(bound: Bound, steps: readonly { bound: Bound }[]): Bound["apply"] {
    if (bound.reads === undefined || bound.exact === true) return bound.apply;
    const size = this.#model.get(bound.reads)?.content.size ?? 0;
    let { apply } = bound;
    for (const { bound: other } of steps) {
      if (other.changes?.inode !== bound.reads) continue;
      const { written } = other.changes;
      if (written?.at == null) return () => true;
      if (written.at + written.length > size) apply = bound.applyCut ?? apply;
    }
    return apply;
  }

  async #runOne(one: RanBound): Promise<void> {
    one.began = ++this.#events;
    try {
      one.outcome = { value: await one.bound.run() };
    } catch (error) {
      const { code } = error as { code?: string };
      if (error instanceof Violation || typeof code !== "string") throw error;
      one.outcome = { error: code };
      if (one.step !== null) this.counts.refused++;
    }
    one.ended = ++this.#events;
    if (one.step === null) this.counts.probes++;
    else this.counts.operations++;
  }

  #note(ran: readonly RanBound[]): void {
    for (const { text, outcome, step, began, ended } of ran)
      this.#tell(() => `  [${began}-${ended}] ${step?.id ?? "probe"} mount ${step?.mount}: ${text} -> ${describe(outcome)}`);
    this.#tell(() => "");
  }

  /** Looks at what the operations touched, so that there is no doubt about the state after them. */
  async #probe(ran: readonly RanBound[]): Promise<RanBound[]> {
    const probes: (Bound & { mount?: number })[] = [];
    const touched = new Set(ran.flatMap(({ bound }) => (bound.changes === undefined ? [] : [bound.changes.inode])));
    const mount = this.#world.random() < 0.5 ? 0 : 1;
    const kernel = this.#world.kernels[mount];
    for (const inode of touched) {
      const file = this.#slots.flat().find((open) => open !== null && open.inode === inode);
      if (file === undefined || file === null) continue;
      const holder = this.#slots[0].includes(file) ? 0 : 1;
      const owner = this.#world.kernels[holder];
      for (const bound of [bindStat(owner, inode), bindRead(owner, file, 0, 2 ** 24)]) probes.push({ ...bound, mount: holder });
    }
    for (const { bound, step } of ran) if (bound.look !== undefined) probes.push({ ...bound.look, mount: step!.mount });
    for (const { text } of ran) {
      for (const [, parent, name] of text.matchAll(/(\d+)\/(n\d)/g)) {
        const inode = Number(parent) as InodeId;
        if (kernel.knows(inode)) probes.push(bindFind(kernel, inode, name as ByteString));
      }
    }
    const looked: RanBound[] = [];
    for (const bound of probes) {
      const one: RanBound = {
        text: `${bound.text} (${bound.mount ?? mount})`,
        began: 0,
        ended: Infinity,
        outcome: null,
        bound,
        step: null,
        apply: bound.apply,
      };
      await this.#drive(this.#runOne(one));
      looked.push(one);
    }
    return looked;
  }

  #settle(ran: readonly RanBound[], probes: readonly RanBound[]): void {
    const before = this.#model.snapshot();
    const seen = (): boolean => probes.every((probe) => probe.apply(this.#model, probe.outcome));
    if (!explain(this.#model, ran, seen)) {
      this.#note(probes);
      const { lines, first } = this.#contradictions(ran, probes);
      const answers = ran.map(({ text, outcome }) => `  ${text} -> ${describe(outcome)}`);
      const message = ["no order of these explains what they answered:", ...answers, ...lines].join("\n");
      throw new Violation(message, `${ran.length > 1 ? "overlapping" : "alone"}: ${first}`);
    }
    this.#checkListings(before, ran);
    this.#model.settle();
    this.#history.add(before, ran, changesOf(ran));
    const syncs = ran.filter(({ bound, outcome }) => bound.sync !== undefined && outcome !== null && "value" in outcome);
    if (syncs.length > 0) {
      const files = syncs.flatMap(({ bound, step }) =>
        bound.sync!.inode === null ? [] : [{ inode: bound.sync!.inode, mount: step!.mount }],
      );
      this.#history.synced(files);
    }
    this.#sweep();
  }

  #sweep(): void {
    this.#model.sweep(new Set(this.#slots.flat().flatMap((file) => (file === null ? [] : [file.inode]))));
  }

  /** A listing beside changes has every name that was there all the time, and none that never was. */
  #checkListings(before: Nodes, ran: readonly RanBound[]): void {
    const texts = ran.map(({ text }) => text).join("\n");
    for (const { bound, outcome } of ran) {
      if (bound.lists === undefined || outcome === null || !("value" in outcome)) continue;
      const found = outcome.value as ReadonlyMap<ByteString, InodeId>;
      const [then, now] = [before.get(bound.lists)?.entries, this.#model.get(bound.lists)?.entries];
      for (const name of new Set([...found.keys(), ...(then?.keys() ?? []), ...(now?.keys() ?? [])])) {
        if (texts.includes(`${bound.lists}/${name}`)) continue;
        if (found.get(name) !== then?.get(name) || found.get(name) !== now?.get(name))
          throw new Violation(`${bound.text}: ${name} is ${found.get(name)}, was ${then?.get(name)} all the time`);
      }
    }
  }

  /** What does not fit if all happened in the order in which it ended. */
  #contradictions(ran: readonly RanBound[], probes: readonly RanBound[]): { lines: string[]; first: string } {
    const lines: string[] = [];
    let first = "no order fits";
    for (const one of [...ran].sort((a, b) => a.ended - b.ended).concat(probes)) {
      const expected = this.#expected(one);
      if (one.apply(this.#model, one.outcome)) continue;
      if (lines.length === 0) first = `${one.text.split(" ")[0]} answers ${kindOf(describe(one.outcome).split(",")[0])}`;
      lines.push(`in the order of their ends, ${one.text} -> ${describe(one.outcome)} does not fit: the model has ${expected}`);
    }
    return { lines, first };
  }

  #expected({ bound, outcome }: RanBound): string {
    const inode = bound.changes?.inode ?? bound.reads;
    if (inode === undefined)
      return JSON.stringify([...this.#model.nodes].map(([id, { entries, links }]) => [id, links, [...entries]]));
    const { size, pages } = this.#model.get(inode)!.content;
    const found = outcome !== null && "value" in outcome ? outcome.value : null;
    const match = /read \d+ at (\d+)/.exec(bound.text);
    if (!(found instanceof Uint8Array) || match === null) return `${size} bytes`;
    const from = Number(match[1]);
    const at = found.findIndex(
      (byte, index) => byte !== (pages[Math.floor((from + index) / 4096)]?.[(from + index) % 4096] ?? 0),
    );
    return `${size} bytes, read ${found.length}, first difference at ${at < 0 ? "none" : from + at}`;
  }

  // ---- Power cuts and disks

  async #syncAll(): Promise<void> {
    for (const kernel of this.#world.kernels) await this.#drive(kernel.syncAll());
    this.#history.restart();
  }

  async #cut(ran: readonly RanBound[]): Promise<void> {
    this.counts.cuts++;
    const atMs = this.#world.clock.nowMs;
    this.#tell(() => `the power goes at ${atMs.toFixed(3)} ms`);
    this.#world.cutPower();
    const before = this.#model.snapshot();
    this.#history.add(before, ran, changesOf(ran));
    await this.#boot(before, ran);
  }

  /** Ends everything in order, and starts it again. */
  async #restart(): Promise<void> {
    this.counts.restarts++;
    this.#tell(() => "stopped and started again");
    await this.#drive(this.#world.stop());
    this.#history.restart();
    await this.#boot(this.#model.snapshot(), []);
  }

  async #boot(before: ReturnType<Model["snapshot"]>, ran: readonly Ran[]): Promise<void> {
    await this.#start();
    const problems = (await this.#drive(this.#world.check()))!;
    if (problems.length > 0) throw new Violation(`the namespace contradicts itself:\n${problems.slice(0, 10).join("\n")}`);
    const found = new Map<InodeId, Node>();
    await this.#drive(this.#walk(this.#world.kernels[Math.floor(this.#world.random() * 2)], found));
    this.#unknown = new Map([...found].filter(([inode]) => !before.has(inode)));
    const wrong = this.#history.treeProblem(before, found);
    this.#unknown = null;
    if (wrong !== null) {
      const under = ran.map(({ text }) => `  under way: ${text}`);
      throw new Violation([`after the restart the tree is none that was there: ${wrong}`, ...under].join("\n"));
    }
    for (const [inode, node] of found) {
      if (node.type !== "file") continue;
      const problem = this.#history.contentProblem(inode, before.get(inode)?.content, node.content);
      if (problem !== null) throw new Violation(`after the restart ${problem}`);
    }
    this.#model.load(found);
    this.#history.restart();
  }

  #stranger(parent: InodeId, name: ByteString): InodeId {
    const unknown = this.#unknown ?? new Map<InodeId, Node>();
    for (const [inode] of unknown) if (this.#foundEntry(parent, name) === inode) return inode;
    return [...unknown.keys()].find((inode) => this.#model.get(inode) === undefined) ?? ((2 ** 40 + ++this.#events) as InodeId);
  }

  #found: ReadonlyMap<InodeId, Node> = new Map();
  #foundEntry(parent: InodeId, name: ByteString): InodeId | undefined {
    return this.#found.get(parent)?.entries.get(name);
  }

  /** Reads the whole tree through a mount. */
  async #walk(kernel: Kernel, found: Map<InodeId, Node>): Promise<void> {
    this.#found = found;
    const visit = async (inode: InodeId): Promise<void> => {
      const { mode, linkCount } = await kernel.attributes(inode);
      const type = (mode & S_IFMT) === S_IFDIR ? "directory" : (mode & S_IFMT) === S_IFLNK ? "symlink" : "file";
      const node = { ...newNode(type), mode: mode & 0o7777, links: linkCount, xattrs: await kernel.xattrs(inode) };
      found.set(inode, node);
      if (type === "symlink") found.set(inode, { ...node, target: await kernel.readLink(inode) });
      if (type !== "directory") return;
      const entries = await kernel.list(inode, true);
      found.set(inode, { ...node, entries });
      for (const [name, child] of entries) {
        const looked = await kernel.find(inode, name);
        if (looked !== child) throw new Violation(`${name} in ${inode} is listed as ${child} and looked up as ${looked}`);
        if (found.has(child)) continue;
        await visit(child);
        if (found.get(child)!.type === "file")
          found.set(child, { ...found.get(child)!, content: await kernel.contents(inode, name) });
      }
    };
    await visit(ROOT_INODE);
  }

  /** A mount dies. The other one finds all names as they were, and the files with all that was synced or that it wrote itself. */
  async #kill(dead: number): Promise<void> {
    this.counts.killed++;
    this.#tell(() => `mount ${dead} is killed`);
    const owners = new Set(this.#slots[dead].map((file) => file?.owner));
    await this.#drive(this.#world.killMount(dead));
    await this.#drive(this.#world.kernels[dead].learnRoot());
    this.#slots[dead] = Array<File | null>(SLOTS).fill(null);
    for (const [inode, { locks }] of this.#model.nodes)
      if (locks.length > 0) this.#model.set(inode, { locks: locks.filter(({ owner }) => !owners.has(owner)) });
    this.#sweep();
    this.#history.killed(1 - dead);
    await this.#survey(1 - dead);
    await this.#syncAll();
  }

  /** Takes what the mount finds for what is there, where it may be. */
  async #survey(mount: number): Promise<void> {
    const kernel = this.#world.kernels[mount];
    const found = new Map<InodeId, Node>();
    await this.#drive(this.#walk(kernel, found));
    const wrong = treeDifference(this.#model.nodes, found);
    if (wrong !== null) throw new Violation(`after a mount was killed the tree differs: ${wrong}`);
    const contents = new Map(
      [...found].filter(([, { type }]) => type === "file").map(([inode, { content }]) => [inode, content]),
    );
    for (const file of this.#slots[mount]) {
      if (file === null || contents.has(file.inode)) continue;
      contents.set(file.inode, contentOf((await this.#drive(kernel.data.read(file, 0, 2 ** 26)))!));
    }
    for (const [inode, content] of contents) {
      const problem = this.#history.contentProblem(inode, this.#model.get(inode)!.content, content);
      if (problem !== null) throw new Violation(`after a mount was killed ${problem}`);
      this.#model.set(inode, { content });
    }
    this.#model.settle();
  }

  async #disaster(step: Step): Promise<void> {
    if (step.kind === "heal") {
      const problems = (await this.#drive(this.#world.heal()))!;
      if (problems.length > 0) throw new Violation(`what was lost could not be mended:\n${problems.slice(0, 10).join("\n")}`);
      this.counts.healed++;
      this.#tell(() => "healed");
      return;
    }
    const what = step.kind === "lose" ? this.#world.loseDisk(step.numbers[0]) : this.#world.rot(step.numbers[0]);
    this.counts.lost++;
    this.#tell(() => what);
  }
}

function changesOf(ran: readonly RanBound[]): ContentChange[] {
  const changes = ran.filter(({ bound, outcome }) => bound.changes !== undefined && (outcome === null || "value" in outcome));
  return changes.map((one) => Object.assign(one, { changes: one.bound.changes!, mount: one.step!.mount }));
}

/** Where bytes are that are not zeros. */
function rangesOf(bytes: Uint8Array): string {
  const ranges: string[] = [];
  for (let at = 0; at < bytes.length && ranges.length < 12;) {
    while (at < bytes.length && bytes[at] === 0) at++;
    const start = at;
    // Single zeros are part of most data.
    while (at < bytes.length && bytes.subarray(at, at + 16).some((byte) => byte !== 0)) at++;
    if (at > start) ranges.push(`[${start}, ${at})`);
  }
  return ranges.join(" ") || "all zeros";
}

function describe(outcome: Outcome | null): string {
  if (outcome === null) return "nobody knows";
  if ("error" in outcome) return outcome.error;
  const { value } = outcome;
  if (value instanceof Uint8Array) return `${value.length} bytes, ${rangesOf(value)}`;
  if (value instanceof Map) return JSON.stringify([...value]);
  return JSON.stringify(value) ?? "done";
}

// What the generator knows while it makes steps: programs, what they probably have open, names, and numbers worth trying.

export type Random = (below: number) => number;

/** What the place can do. */
export interface Offers {
  /** Programs may run as other users. */
  readonly root: boolean;
  /** Extended attributes of 64 KiB. */
  readonly largeXattrs: boolean;
}

export interface StepKind {
  readonly name: string;
  readonly weight: number;
  /** In each run with its weight as it is. */
  readonly always?: boolean;
  make(scene: Scene): string[];
}

export interface OpenFile {
  readonly program: string;
  /** How steps name the descriptor. */
  readonly name: string;
  readonly path: string;
  readonly direct: boolean;
  /** Opened in a way that refuses directories. */
  readonly regular: boolean;
}

export const KIB = 1024;
export const MIB = 1024 * 1024;

const PROGRAMS = ["one-1", "one-2", "two-1", "two-2"];
const OTHER_USERS = ["one-alice", "two-alice", "two-bob"];
const DIRECTORIES = ["d0", "d1", "d0/d0", "d0/d1", "d1/d0", "d0/d0/d0", "d1/d0/d0", "d1/d0/d0/d0", "d1/d0/d0/d0/d0"];
const NAMES = ["f0", "f1", "f2", "f3", "f4", "f5", "l{n*254}", '"\\xff\\xfe"', "d0", "d1"];
const DESCRIPTORS = 5;
/** Borders: pages, what rides in the log, what is given to the kernel, requests, stripes, 32 bits. */
const BORDERS = [0, 512, 4 * KIB, 8 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB];
const FAR_BORDERS = [2 ** 31, 2 ** 32, 2 ** 40];
const AROUND = [0, 0, -1, 1, -4096, 4096, -100, 100, -4000, 4000];

export class Scene {
  readonly random: Random;
  readonly offers: Offers;
  readonly #files: OpenFile[] = [];
  /** Paths that probably are there. */
  readonly #made: string[] = [];
  /** Of this run: how far out offsets go, and how long writes are. */
  readonly #far: boolean;
  readonly #small: boolean;
  readonly #names: readonly string[];
  readonly #directories: readonly string[];
  #mappings: { program: string; name: string }[] = [];
  #tags = 0;
  #unique = 0;

  constructor(random: Random, offers: Offers) {
    this.random = random;
    this.offers = offers;
    this.#far = this.chance(4);
    this.#small = this.chance(3);
    this.#names = NAMES.slice(0, 1 + random(NAMES.length));
    this.#directories = DIRECTORIES.slice(0, 2 + random(DIRECTORIES.length - 1));
  }

  /** The first steps of a run. */
  begin(): string[] {
    return this.#directories.map((directory) => `one-1: mkdir ${directory} 777`);
  }

  chance(of: number): boolean {
    return this.random(of) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.random(list.length)];
  }

  program(): string {
    return this.offers.root && this.chance(12) ? this.pick(OTHER_USERS) : this.pick(PROGRAMS);
  }

  directory(): string {
    return this.chance(3) ? "." : this.pick(this.#directories);
  }

  path(): string {
    const directory = this.directory();
    const name = this.pick(this.#names);
    return directory === "." ? name : `${directory}/${name}`;
  }

  /** A path where something probably is; now and then any. */
  likelyPath(): string {
    return this.#made.length > 0 && !this.chance(6) ? this.pick(this.#made) : this.path();
  }

  /** Something is made at this path. */
  made(path: string): string {
    if (!this.#made.includes(path)) this.#made.push(path);
    return path;
  }

  isMade(path: string): boolean {
    return this.#made.includes(path);
  }

  /** A directory is moved away, with all below it. */
  movedAway(directory: string): string {
    for (const path of this.#made.filter((made) => made.startsWith(`${directory}/`))) this.gone(path);
    return directory;
  }

  /** The path's name is taken away. */
  gone(path: string): string {
    const at = this.#made.indexOf(path);
    if (at >= 0) this.#made.splice(at, 1);
    return path;
  }

  /** A number that no other write of the run has. */
  tag(): number {
    return ++this.#tags;
  }

  /** A name that no other step uses. */
  newName(): string {
    return `u${++this.#unique}`;
  }

  offset(): number {
    if (this.chance(4)) return this.random(this.#small ? 300 : 200_000);
    const border = this.#far && this.chance(3) ? this.pick(FAR_BORDERS) : this.pick(this.#small ? BORDERS.slice(0, 5) : BORDERS);
    return Math.max(0, border + this.pick(AROUND) + (this.chance(3) ? this.random(64) : 0));
  }

  length(): number {
    const kind = this.random(this.#small ? 5 : 9);
    if (kind < 3) return 1 + this.random(200);
    if (kind === 3) return 4095 + this.random(3);
    if (kind < 6) return 1 + this.random(20_000);
    if (kind === 6) return this.pick([65_535, 65_536, 65_537, 4096, 8192]);
    return kind === 7 ? 1 + this.random(400_000) : this.pick([MIB, MIB + 1, MIB - 1, 2 * MIB + 17]);
  }

  /**
   * The next descriptor of a program, and a step that closes what it was. Those for O_DIRECT have names of their own: what is
   * done with them is aligned, also where steps are left out.
   */
  descriptor(program: string, direct = false): { name: string; before: string[] } {
    const name = `${direct ? "direct" : "x"}${this.random(DESCRIPTORS)}`;
    return { name, before: this.close(program, name) };
  }

  close(program: string, name: string): string[] {
    const at = this.#files.findIndex((file) => file.program === program && file.name === name);
    if (at < 0) return [];
    this.#files.splice(at, 1);
    return [`${program}: close ${name}`];
  }

  opened(file: OpenFile): void {
    this.#files.push(file);
  }

  mapped(program: string, name: string): void {
    this.unmapped(program, name);
    this.#mappings.push({ program, name });
  }

  unmapped(program: string, name: string): void {
    this.#mappings = this.#mappings.filter((mapping) => mapping.program !== program || mapping.name !== name);
  }

  /** Something that is mapped. */
  mapping(): { program: string; name: string } | null {
    return this.#mappings.length === 0 ? null : this.pick(this.#mappings);
  }

  /** Programs of a mount have ended. */
  ended(mount: string): void {
    this.#mappings = this.#mappings.filter(({ program }) => !program.startsWith(mount));
    const left = this.#files.filter(({ program }) => !program.startsWith(mount));
    this.#files.splice(0, this.#files.length, ...left);
  }

  file(): OpenFile | null {
    return this.#files.length === 0 ? null : this.pick(this.#files);
  }

  /** Another open file of the same program, or the same. */
  companion({ program }: OpenFile): OpenFile {
    return this.pick(this.#files.filter((file) => file.program === program));
  }

  /** Programs of both mounts, for steps that go on at once. */
  programs(count: number): string[] {
    const list = [...PROGRAMS];
    while (list.length > count) list.splice(this.random(list.length), 1);
    return list;
  }
}

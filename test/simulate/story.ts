// What a run says of itself: the story of what was done, and a violation with it.

import type { Outcome } from "./judge.ts";

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
  daemonsKilled: number;
  /** Kills and cuts between the log entry of an operation and its reply, connections that were cut beside, hellos said again. */
  strikes: number;
  connectionsCut: number;
  hellosRepeated: number;
  /** Times that hundreds of programs asked at once. */
  bursts: number;
  /** Times that files were evicted while they were recalled, and that the date was set. */
  evictions: number;
  dateJumps: number;
  /** Mounts that were stopped, and sessions that were over when they went on. */
  stopped: number;
  fenced: number;
  /** Calls to disks of blocks that were to fail, and to the disk of the log and the table. */
  faults: number;
  logFaults: number;
  /** It was waited until nothing was under way, and looked for what must not remain. */
  quiesced: number;
}

export function noCounts(): RunnerCounts {
  return {
    operations: 0,
    refused: 0,
    probes: 0,
    cuts: 0,
    restarts: 0,
    lost: 0,
    healed: 0,
    killed: 0,
    daemonsKilled: 0,
    strikes: 0,
    connectionsCut: 0,
    hellosRepeated: 0,
    bursts: 0,
    evictions: 0,
    dateJumps: 0,
    stopped: 0,
    fenced: 0,
    faults: 0,
    logFaults: 0,
    quiesced: 0,
  };
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
export function kindOf(message: string): string {
  const [line] = message.split("\n");
  return line
    .replace(/\d+/g, "N")
    .replace(/\{.*|"[^"]*"/g, "...")
    .slice(0, 80);
}

/** Lines of the story that a violation shows, where CAIRN_STORY does not say it. */
const STORY_LINES = 40;

/** What was done, the last of it. Put into words when it is asked for: that takes its time. */
export class Story {
  readonly #lines: (() => string)[] = [];
  readonly #kept = Number(process.env.CAIRN_STORY ?? STORY_LINES);

  get lines(): string[] {
    return this.#lines.slice(-this.#kept).map((line) => line());
  }

  tell(line: () => string): void {
    this.#lines.push(line);
    if (this.#lines.length > 2 * this.#kept) this.#lines.splice(0, this.#kept);
  }
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

export function describe(outcome: Outcome | null): string {
  if (outcome === null) return "nobody knows";
  if ("error" in outcome) return outcome.error;
  const { value } = outcome;
  if (value instanceof Uint8Array) return `${value.length} bytes, ${rangesOf(value)}`;
  if (value instanceof Map) return JSON.stringify([...value]);
  return JSON.stringify(value) ?? "done";
}

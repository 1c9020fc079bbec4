// The kinds of steps on locks: byte ranges (fcntl) and whole files (flock), with and without waiting.

import { answers, type Bound, type Context, openAt } from "./bound.ts";
import type { File } from "./kernel-core.ts";
import type { HeldLock, Model } from "./model.ts";
import type { Step } from "./steps.ts";

/** A program that waits is interrupted after so long: never before another session's turn is over, which may keep it waiting for a lock that is free (fs/namespace/turns.ts, 120 ms). */
const PATIENCE_MIN_MS = 140;
const PATIENCE_MAX_MS = 200;

export function lock(context: Context, { numbers }: Step, wait: boolean): Bound | null {
  const file = choose(context, numbers);
  if (file === null || context.locking.has(file)) return null;
  const flock = numbers[4] % 3 === 0;
  const kind = flock ? "flock" : "posix";
  const type = (wait ? (["read", "write", "write"] as const) : (["read", "write", "unlock"] as const))[numbers[1] % 3];
  const start = flock ? 0 : numbers[2] % 10;
  const end = flock || numbers[3] % 5 === 0 ? Infinity : start + (numbers[3] % 10);
  const holdsFlock = context.model.get(file.inode)!.locks.some((one) => one.owner === file.owner && one.kind === "flock");
  // It gives the old lock up first and may wait then: two steps, not one.
  if (wait && flock && holdsFlock) return null;
  context.locking.add(file);
  if (wait) context.waiting.count++;
  const request = { type, start, end, pid: 1, flock };
  let interruptedAt: number | undefined;
  const ms = context.patienceMs ?? PATIENCE_MIN_MS + (PATIENCE_MAX_MS - PATIENCE_MIN_MS) * ((numbers[5] % 1000) / 1000);
  return {
    text: `${wait ? "wait for" : "take"} ${type} ${kind} lock [${start}, ${end}] of ${file.inode} by ${file.owner}`,
    run: async (mark) => {
      if (!wait) return context.kernel.locks.set(file, request);
      return context.kernel.locks.wait(file, request, { ms, interrupted: () => void (interruptedAt = mark()) });
    },
    interruptedAt: () => interruptedAt,
    locks: { inode: file.inode, wait, held: { kind, owner: file.owner, type, start, end } },
    applyLost: () => true,
    apply: (model, outcome) => {
      const { locks } = model.get(file.inode)!;
      const taken = type !== "unlock" && locks.some((one) => conflicts(one, { kind, owner: file.owner, type, start, end }));
      const refusals = wait ? ["EINTR"] : ["EAGAIN"];
      if (wait && !flock && context.waiting.count > 1 && holdsAny(model, file.owner)) refusals.push("EDEADLK");
      // One that fails to change the kind of a flock has lost it.
      const dropped = flock ? without(locks, kind, file.owner, 0, Infinity) : locks;
      if (taken && outcome !== null && dropped.length < locks.length) model.set(file.inode, { locks: dropped });
      return answers(outcome, taken ? refusals : [], () => {
        const rest = without(locks, kind, file.owner, start, end);
        const added = type === "unlock" ? rest : [...rest, { kind, owner: file.owner, type, start, end } as HeldLock];
        model.set(file.inode, { locks: added });
        return true;
      });
    },
  };
}

export function testLock(context: Context, { numbers }: Step): Bound | null {
  const file = choose(context, numbers);
  if (file === null) return null;
  const type = (["read", "write"] as const)[numbers[1] % 2];
  const [start, end] = [numbers[2] % 10, (numbers[2] % 10) + (numbers[3] % 10)];
  return {
    text: `test ${type} lock [${start}, ${end}] of ${file.inode} by ${file.owner}`,
    run: async () => (await context.kernel.locks.test(file, { type, start, end, pid: 1, flock: false })).type !== "unlock",
    applyLost: () => true,
    apply: (model, outcome) => {
      const wanted: WantedLock = { kind: "posix", owner: file.owner, type, start, end };
      const taken = model.get(file.inode)!.locks.some((one) => conflicts(one, wanted));
      return answers(outcome, [], (value) => value === undefined || value === taken);
    },
  };
}

function choose(context: Context, numbers: readonly number[]): File | null {
  return contended(context, numbers) ?? openAt(context, numbers[0]);
}

/** Half of the time an open file of which somebody holds a lock, where there is one: steps with the same first number meet at the same file. */
export function contended({ model, slots, inUse }: Context, numbers: readonly number[]): File | null {
  if (numbers[5] % 2 === 0) return null;
  const locked = [...model.nodes].filter(([, { locks }]) => locks.length > 0).map(([inode]) => inode);
  const inode = locked[numbers[0] % locked.length];
  const open = slots.filter((file) => file !== null && file.handle >= 0 && file.inode === inode);
  const file = open[numbers[2] % open.length] ?? null;
  if (file !== null) inUse.add(file);
  return file;
}

export interface WantedLock extends Omit<HeldLock, "type"> {
  type: "read" | "write" | "unlock";
}

export function conflicts(held: HeldLock, wanted: WantedLock): boolean {
  if (held.kind !== wanted.kind || held.owner === wanted.owner) return false;
  return held.start <= wanted.end && held.end >= wanted.start && (wanted.type === "write" || held.type === "write");
}

function holdsAny(model: Model, owner: string): boolean {
  for (const { locks } of model.nodes.values()) if (locks.some((one) => one.owner === owner && one.kind === "posix")) return true;
  return false;
}

function without(locks: readonly HeldLock[], kind: HeldLock["kind"], owner: string, start: number, end: number): HeldLock[] {
  return locks.flatMap((held) => {
    if (held.owner !== owner || held.kind !== kind) return [held];
    const parts = [
      { ...held, end: Math.min(held.end, start - 1) },
      { ...held, start: Math.max(held.start, end + 1) },
    ];
    return parts.filter((part) => part.start <= part.end && part.start < Infinity);
  });
}

// A mount's process is stopped (SIGSTOP) while operations are under way, and goes on later. The other mount is held up at
// most until the session of the stopped one is over. Where that came about: what the stopped mount had not made durable may be
// lost, and its locks; it overwrites nothing afterwards; and each of its open files that lost something says so, once.

import type { MachineClock } from "./clock.ts";
import type { File } from "./kernel-core.ts";
import { judgeLoss } from "./loss.ts";
import type { RanBound, Scene } from "./scene.ts";
import type { StandstillPlan } from "./steps.ts";
import { Violation } from "./story.ts";
import { SESSION_LIMIT_MS } from "./world.ts";

/** Beyond the time limit: how often it is looked at (twice, 250 ms apart), and what an operation takes by itself. */
const DELAY_MAX_MS = SESSION_LIMIT_MS + 3_000;
/** A mount that goes on learns of the end of its session so soon. */
const RENEWED_MAX_MS = 5_000;
/** What the mount would still write back by its age comes meanwhile. */
const QUIET_MS = 6_000;
/** What happens to a process while operations are under way. */
export interface Mishap {
  /** Resolves when it is over. */
  over: Promise<void>;
  /** The mount whose process dies, and when: what it had under way is never answered. */
  death?: { mount: number; died: Promise<void> };
  /** The round's operations are over. */
  operationsOver?(): void;
  /** False: nothing was lost, and the operations are to be judged as ever. */
  judge(ran: readonly RanBound[]): Promise<boolean>;
}

export function beginStandstill(scene: Scene, { mount, afterMs, forMs }: StandstillPlan, clock: MachineClock): Mishap {
  const { world } = scene;
  if (!world.isRemote(mount)) return { over: Promise.resolve(), judge: async () => false };
  const sinceMs = world.clock.nowMs;
  const renewals = world.renewals(mount);
  const open = openFiles(scene, mount);
  let backMs = Infinity;
  const stand = async (): Promise<void> => {
    await clock.sleep(afterMs);
    world.stopMount(mount);
    await clock.sleep(forMs);
    world.continueMount(mount);
    backMs = world.clock.nowMs;
    scene.counts.stopped++;
    scene.story.tell(() => `mount ${mount} was stopped for ${forMs.toFixed(3)} ms`);
  };
  const judge = async (ran: readonly RanBound[]): Promise<boolean> => {
    checkDelays(ran, 1 - mount);
    const endedMs = world.sessionEndedMs(mount, sinceMs);
    if (endedMs === null && world.renewals(mount) === renewals) return false;
    scene.counts.fenced++;
    scene.story.tell(
      () => `the session of mount ${mount} was ended at ${endedMs?.toFixed(3)} ms, it went on at ${backMs.toFixed(3)}`,
    );
    if (endedMs === null) throw new Violation(`mount ${mount} took up another session although its own was not over`);
    await scene.drive(hasRenewed(scene, mount, renewals));
    scene.renewals[mount] = world.renewals(mount);
    await judgeLoss(scene, ran, { mount, endedMs, backMs, open });
    return true;
  };
  return { over: stand(), judge };
}

/** What the programs of a mount have open. */
export function openFiles({ slots }: Scene, mount: number): File[] {
  return slots[mount].filter((file) => file !== null && file.handle >= 0) as File[];
}

/** Who waited for a lock until a signal came may have waited for a program that holds it: the judgement of locks says whether it did. */
function checkDelays(ran: readonly RanBound[], other: number): void {
  for (const { step, bound, beganMs, endedMs, text } of ran)
    if (step!.mount === other && endedMs - beganMs > DELAY_MAX_MS && bound.interruptedAt?.() === undefined)
      throw new Violation(`${text} on the other mount took ${Math.round(endedMs - beganMs)} ms while a mount was stopped`);
}

async function hasRenewed(scene: Scene, mount: number, before: number): Promise<void> {
  const { world } = scene;
  const clock = world.clock.machine();
  const limitMs = world.clock.nowMs + RENEWED_MAX_MS;
  while (world.renewals(mount) === before) {
    if (world.clock.nowMs > limitMs) throw new Violation(`mount ${mount} did not take up another session`);
    await clock.sleep(20);
  }
  await clock.sleep(QUIET_MS);
  clock.end();
}

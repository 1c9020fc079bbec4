// Aimed at one operation: when the namespace has done it and its log entry is written, and before the reply is sent, the daemon is
// killed, or the mount's connection is cut. The mount sends the request again, and must not find it done twice, nor be left with
// what only it knows of. Also what mounts do when they come back: one says hello again before another has come back at all.

import type { MachineClock } from "./clock.ts";
import type { Scene } from "./scene.ts";
import type { Mishap } from "./standstill.ts";
import type { HelloPlan, StrikePlan } from "./steps.ts";

/** Forgets are sent twice a second, commits of what nobody syncs after four; no longer is waited for the operation. */
const AIM_PATIENCE_MS = 700;

export function beginStrike(scene: Scene, plan: StrikePlan, clock: MachineClock): Mishap {
  const { world, counts, story } = scene;
  const { operation, nth, forMs } = plan;
  const kill = !plan.cut && world.allRemote;
  const past = gate();
  let restarted: Promise<void> | null = null;
  const strike = (mount: number): void => {
    counts.strikes++;
    story.tell(
      () =>
        `${operation} of mount ${mount} is done; before its reply is sent the ${kill ? "daemon is killed" : "connection is cut"}`,
    );
    past.open();
    if (kill) restarted = restart(scene, undefined, forMs, clock);
    else world.cutConnection(mount);
  };
  world.aim({ operation, left: nth, strike });
  const over = async (): Promise<void> => {
    await past.opened;
    world.aim(null);
    await restarted;
  };
  return {
    over: over(),
    operationsOver: () => void clock.after(AIM_PATIENCE_MS, past.open),
    judge: async () => false,
  };
}

/** Kills the daemon now, and starts it again. */
export async function restart(scene: Scene, hello: HelloPlan | undefined, forMs: number, clock: MachineClock): Promise<void> {
  const { world, counts, story } = scene;
  counts.daemonsKilled++;
  story.tell(() => `the daemon is killed, and started again after ${forMs.toFixed(3)} ms`);
  world.killDaemon();
  if (hello !== undefined) {
    const { mount, times, lateMs } = hello;
    world.refuse(1 - mount, forMs + lateMs);
    world.repeatHello(mount, times);
    story.tell(() => `mount ${mount} will say hello ${times} times more, mount ${1 - mount} is ${lateMs.toFixed(3)} ms late`);
  }
  await clock.sleep(forMs);
  await world.restartDaemon();
  if (hello !== undefined) counts.hellosRepeated += hello.times;
}

/** The connections of mounts that are processes of their own are cut, at moments of a round. */
export function beginCuts(scene: Scene, cuts: readonly { mount: number; afterMs: number }[], clock: MachineClock): Mishap {
  const { world, counts, story } = scene;
  const cut = async ({ mount, afterMs }: { mount: number; afterMs: number }): Promise<void> => {
    if (!world.isRemote(mount)) return;
    await clock.sleep(afterMs);
    counts.connectionsCut++;
    story.tell(() => `the connection of mount ${mount} is cut`);
    world.cutConnection(mount);
  };
  return { over: Promise.all(cuts.map(cut)).then(() => {}), judge: async () => false };
}

function gate(): { open: () => void; opened: Promise<void> } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

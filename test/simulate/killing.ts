// A mount's process, or the whole daemon, is killed (SIGKILL) while operations are under way. A mount takes with it what only it
// had; a daemon that is started again takes nothing from mounts that are processes of their own: to them it is a pause.

import type { MachineClock } from "./clock.ts";
import type { File } from "./kernel-core.ts";
import { judgeLoss } from "./loss.ts";
import { type Scene, SLOTS } from "./scene.ts";
import { type Mishap, openFiles } from "./standstill.ts";
import type { KillPlan } from "./steps.ts";

export function beginKilling(scene: Scene, plan: KillPlan, clock: MachineClock): Mishap {
  const { world } = scene;
  const remote = world.kernels.every((_, mount) => world.isRemote(mount));
  return plan.daemon && remote ? killDaemon(scene, plan, clock) : killMount(scene, plan, clock);
}

function killDaemon(scene: Scene, { afterMs, forMs }: KillPlan, clock: MachineClock): Mishap {
  const { world, counts, story } = scene;
  const kill = async (): Promise<void> => {
    await clock.sleep(afterMs);
    counts.daemonsKilled++;
    story.tell(() => `the daemon is killed, and started again after ${forMs.toFixed(3)} ms`);
    world.killDaemon();
    await clock.sleep(forMs);
    await world.restartDaemon();
  };
  return { over: kill(), judge: async () => false };
}

function killMount(scene: Scene, { mount, afterMs }: KillPlan, clock: MachineClock): Mishap {
  const { world, counts, story } = scene;
  const open = openFiles(scene, mount);
  let endedMs = Infinity;
  const died = clock.sleep(afterMs).then(() => {
    counts.killed++;
    endedMs = world.clock.nowMs;
    story.tell(() => `mount ${mount} is killed at ${endedMs.toFixed(3)} ms`);
  });
  const over = died.then(() => world.killMount(mount));
  return {
    over,
    death: { mount, died },
    judge: async (ran) => {
      await scene.drive(world.kernels[mount].learnRoot());
      scene.slots[mount] = Array<File | null>(SLOTS).fill(null);
      await judgeLoss(scene, ran, { mount, endedMs, backMs: Infinity, open });
      return true;
    },
  };
}

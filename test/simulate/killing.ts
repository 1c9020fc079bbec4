// A mount's process, or the whole daemon, is killed (SIGKILL) while operations are under way. A mount takes with it what only it
// had; a daemon that is started again takes nothing from mounts that are processes of their own: to them it is a pause.

import type { MachineClock } from "./clock.ts";
import type { File } from "./kernel-core.ts";
import { judgeLoss } from "./loss.ts";
import { type Scene, SLOTS } from "./scene.ts";
import { type Mishap, openFiles } from "./standstill.ts";
import type { KillPlan } from "./steps.ts";
import { restart } from "./strikes.ts";

export function beginKilling(scene: Scene, plan: KillPlan, clock: MachineClock): Mishap {
  const { world } = scene;
  return plan.daemon && world.allRemote ? killDaemon(scene, plan, clock) : killMount(scene, plan, clock);
}

function killDaemon(scene: Scene, { afterMs, forMs, hello }: KillPlan, clock: MachineClock): Mishap {
  const over = clock.sleep(afterMs).then(() => restart(scene, hello, forMs, clock));
  return { over, judge: async () => false };
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
      scene.renewals[mount] = 0;
      scene.lossy[mount].clear();
      scene.slots[mount] = Array<File | null>(SLOTS).fill(null);
      await judgeLoss(scene, ran, { mount, endedMs, backMs: Infinity, open });
      return true;
    },
  };
}

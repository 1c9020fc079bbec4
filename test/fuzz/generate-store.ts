// What is done to the store itself between the steps of programs.

import type { Scene, StepKind } from "./scene.ts";

function life(command: string, mount: "one" | "two"): (scene: Scene) => string[] {
  return (scene) => {
    scene.ended(mount);
    return [`store: ${command}`, ...(scene.chance(3) ? ["store: compare"] : [])];
  };
}

export const STORE_KINDS: readonly StepKind[] = [
  { name: "restart", weight: 0.06, make: life("restart", "one") },
  { name: "kill-daemon", weight: 0.06, make: life("kill-daemon", "one") },
  { name: "kill-mount", weight: 0.06, make: life("kill-mount", "two") },
  { name: "remount", weight: 0.06, make: life("remount", "two") },
  { name: "drop-names", weight: 0.3, make: () => ["store: drop-names"] },
  { name: "stall", weight: 0.05, make: (scene) => [`store: stall ${scene.pick(["one", "two"])} ${200 + scene.random(1500)}`] },
  { name: "compare", weight: 0.2, make: () => ["store: compare"] },
];

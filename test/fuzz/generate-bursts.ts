// Steps of several programs at once, each on files of its own, so that the outcome of each file is known.

import type { Scene, StepKind } from "./scene.ts";

/** One program's part: what opens its files, what it does with them while the others work, and a look afterwards. */
interface Part {
  before: string[];
  during: string[];
  after: string[];
}

function filesOf(
  scene: Scene,
  program: string,
  count: number,
  flags: string,
): { names: string[]; paths: string[]; before: string[] } {
  const paths = Array.from({ length: count }, () => scene.newName());
  const names = paths.map((path) => `b${path}`);
  return { names, paths, before: paths.map((path, index) => `${program}: open ${names[index]} ${path} ${flags} 644`) };
}

/** Thousands of small appends to a few files in turn. */
function appends(scene: Scene, program: string): Part {
  const { names, paths, before } = filesOf(scene, program, 1 + scene.random(4), "WRONLY|CREAT|APPEND");
  const count = scene.pick([100, 3000, 12_000, 12_000, 80_000]) / names.length;
  const bytes = scene.pick([1, 4, 4, 17, 100]);
  return {
    before,
    during: [`${program}: appends ${Math.ceil(count)} ${bytes} ${scene.tag()} ${names.join(" ")}`],
    after: [
      ...paths.map((path) => `${scene.pick(["one-1", "two-1"])}: look ${path}`),
      ...names.map((name) => `${program}: close ${name}`),
    ],
  };
}

/** A few bytes at every step of a file, or of some in turn. */
function strided(scene: Scene, program: string): Part {
  const { names, paths, before } = filesOf(scene, program, 1 + scene.random(2), "RDWR|CREAT");
  const step = scene.pick([8, 8, 100, 4096, 5000]);
  const count = scene.pick([500, 5000, step < 1000 ? 20_000 : 2000]);
  const start = scene.offset();
  return {
    before,
    during: [`${program}: strided ${start} ${step} ${Math.min(4, step)} ${count} ${scene.tag()} ${names.join(" ")}`],
    after: [
      ...paths.map((path) => `${scene.pick(["one-1", "two-1"])}: look ${path}`),
      ...names.map((name) => `${program}: close ${name}`),
    ],
  };
}

/** Small writes at random places. */
function scattered(scene: Scene, program: string): Part {
  const { names, paths, before } = filesOf(scene, program, 1, "RDWR|CREAT");
  const span = scene.pick([5000, 100_000, 3_000_000, 30_000_000]);
  return {
    before,
    during: [
      `${program}: scattered ${scene.pick([200, 2000, 6000])} ${scene.pick([8, 512, 5000])} ${span} ${scene.tag()} ${names[0]}`,
      ...(scene.chance(2) ? [`${program}: fsync ${names[0]}`] : []),
    ],
    after: [
      `${scene.pick(["one-1", "two-1"])}: look ${paths[0]}`,
      `${program}: unlink ${paths[0]}`,
      `${program}: close ${names[0]}`,
    ],
  };
}

/** Many small files, or many changes of names, in a directory of its own. */
function manyFiles(scene: Scene, program: string): Part {
  const directory = scene.newName();
  const count = scene.pick([50, 300, 1500]);
  const act = scene.chance(2)
    ? `small-files ${directory} ${count} ${scene.pick([0, 10, 4000, 4097, 70_000])} ${scene.tag()}`
    : `churn ${directory} ${count}`;
  return {
    before: [`${program}: mkdir ${directory} 755`],
    during: [`${program}: ${act}`],
    after: [
      `${scene.pick(["one-2", "two-2"])}: tree ${directory}`,
      `${scene.pick(["one-1", "two-1"])}: remove-tree ${directory}`,
    ],
  };
}

/** Everything that one program wrote, copied to a new file and read by the others. */
function largeFile(scene: Scene, program: string): Part {
  const { names, paths, before } = filesOf(scene, program, 1, scene.chance(3) ? "RDWR|CREAT|DIRECT" : "RDWR|CREAT");
  const during = Array.from(
    { length: 3 + scene.random(10) },
    (_, index) => `${program}: fill ${names[0]} ${index * 1048576} 1048576 ${scene.tag()}`,
  );
  return { before, during, after: [`${scene.pick(["one-2", "two-2"])}: look ${paths[0]}`, `${program}: close ${names[0]}`] };
}

function burst(scene: Scene, meanwhile: readonly string[]): string[] {
  const programs = scene.programs(1 + scene.random(4));
  const parts = programs.map((program) =>
    scene.pick([appends, appends, strided, scattered, manyFiles, largeFile])(scene, program),
  );
  return [
    ...parts.flatMap(({ before }) => before),
    ...parts.flatMap(({ during }) => during.map((step) => `${step} &`)),
    ...meanwhile,
    ...parts.flatMap(({ after }) => after),
  ];
}

/** A directory that some change and others list. */
function listed(scene: Scene): string[] {
  const directory = scene.newName();
  const count = scene.pick([10, 600, 2000]);
  const [maker, ...others] = scene.programs(2 + scene.random(3));
  return [
    `${maker}: mkdir ${directory} 755`,
    `${maker}: make-many ${directory} ${count}`,
    `${maker}: watch-names ${directory} ${count} ${scene.pick([5, 30])} &`,
    ...others.map((program, index) => `${program}: churn ${directory} ${scene.pick([100, 400])} p${index} &`),
    `${maker}: names ${directory}`,
    `${scene.pick(["one-1", "two-1"])}: remove-tree ${directory}`,
  ];
}

function restartUnder(scene: Scene): string[] {
  const event = scene.pick(["kill-daemon", "kill-daemon", "restart", "stall two 1500", "stall one 1500"]);
  const steps = burst(scene, [`store: ${event}`]);
  if (!event.startsWith("stall")) scene.ended("one");
  return steps;
}

export const BURST_KINDS: readonly StepKind[] = [
  { name: "burst", weight: 0.5, make: (scene) => burst(scene, []) },
  { name: "listed", weight: 0.15, make: listed },
  { name: "restart-under-burst", weight: 0.06, make: restartUnder },
];

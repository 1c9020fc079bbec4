// Steps about bytes of open files.

import { KIB, MIB, type OpenFile, type Scene, type StepKind } from "./scene.ts";

const FLAGS = ["RDWR|CREAT", "RDWR|CREAT", "RDWR|CREAT", "WRONLY|CREAT", "RDONLY", "RDWR", "RDWR|CREAT|TRUNC", "RDWR|CREAT|EXCL", "WRONLY|CREAT|APPEND", "RDWR|APPEND", "RDWR|CREAT|DIRECT", "RDWR|CREAT|SYNC", "RDONLY|NOFOLLOW", "WRONLY|TRUNC"]; // prettier-ignore
const MODES = ["644", "600", "666", "4755", "2755", "2745", "6777", "444", "0"];
const SHIFTS = ["KEEP_SIZE", "0", "PUNCH_HOLE|KEEP_SIZE", "ZERO_RANGE", "ZERO_RANGE|KEEP_SIZE"];
const DIRECT_BYTES = 4096;

function open(scene: Scene): string[] {
  const program = scene.program();
  const flags = scene.pick(FLAGS);
  const path = flags.includes("EXCL") || (flags.includes("CREAT") && scene.chance(2)) ? scene.path() : scene.likelyPath();
  const direct = flags.includes("DIRECT");
  const { name, before } = scene.descriptor(program, direct);
  const fresh = !scene.isMade(path);
  if (flags.includes("CREAT")) scene.made(path);
  if (flags.includes("EXCL") ? fresh : scene.isMade(path))
    scene.opened({ program, name, path, direct, regular: !flags.startsWith("RDONLY") });
  // NONBLOCK: the path may be a fifo's.
  return [...before, `${program}: open ${name} ${path} ${flags}|NONBLOCK ${scene.chance(3) ? scene.pick(MODES) : "666"}`];
}

function openUnnamed(scene: Scene): string[] {
  const program = scene.program();
  const { name, before } = scene.descriptor(program);
  const path = scene.path();
  scene.opened({ program, name, path, direct: false, regular: true });
  const steps = [
    `${program}: open ${name} ${scene.directory()} TMPFILE|RDWR 640`,
    `${program}: fill ${name} 0 ${scene.length()} ${scene.tag()}`,
  ];
  return [...before, ...steps, ...(scene.chance(2) ? [`${program}: link-descriptor ${name} ${scene.made(path)}`] : [])];
}

/** Steps of an open file; where none is, one is opened. */
function withFile(make: (scene: Scene, file: OpenFile) => string[]): (scene: Scene) => string[] {
  return (scene) => {
    const file = scene.file();
    return file === null ? open(scene) : make(scene, file);
  };
}

function place(scene: Scene, { direct }: OpenFile): string {
  const [offset, length] = [scene.offset(), scene.length()];
  if (!direct) return `${offset} ${length}`;
  return `${Math.floor(offset / DIRECT_BYTES) * DIRECT_BYTES} ${Math.ceil(length / DIRECT_BYTES) * DIRECT_BYTES}`;
}

const fill = withFile((scene, file) => [`${file.program}: fill ${file.name} ${place(scene, file)} ${scene.tag()}`]);

const fillOn = withFile((scene, { program, name, direct }) =>
  direct
    ? [`${program}: fill ${name} - 8192 ${scene.tag()}`]
    : Array.from(
        { length: 1 + scene.random(4) },
        () => `${program}: fill ${name} - ${scene.chance(2) ? 4 : scene.length()} ${scene.tag()}`,
      ),
);

/** Two files, or one through two descriptors, get a few bytes in turn. */
const inTurn = withFile((scene, file) => {
  const other = scene.file() ?? file;
  const bytes = 1 + scene.random(40);
  if (file.direct || other.direct) return [];
  return Array.from({ length: 2 + scene.random(8) }, () => [file, other])
    .flat()
    .map(({ program, name }) => `${program}: fill ${name} - ${bytes} ${scene.tag()}`);
});

const digest = withFile((scene, file) => {
  const all = scene.chance(2) && !file.direct;
  return [`${file.program}: digest ${file.name} ${all ? `0 ${16 * MIB}` : place(scene, file)}${scene.chance(4) ? " 4096" : ""}`];
});

const seek = withFile((scene, { program, name, direct }) =>
  direct
    ? [`${program}: seek ${name} ${4096 * scene.random(50)} SET`]
    : [`${program}: seek ${name} ${scene.pick([`${scene.offset()} SET`, `${scene.random(9000)} CUR`, "0 END", "-5 CUR"])}`],
);

const truncate = withFile((scene, { program, name, path }) => {
  const size = scene.chance(4) ? 0 : scene.offset();
  return [scene.chance(2) ? `${program}: ftruncate ${name} ${size}` : `${program}: truncate ${path} ${size}`];
});

const allocate = withFile((scene, { program, name }) => [
  `${program}: fallocate ${name} ${scene.pick(SHIFTS)} ${scene.offset()} ${scene.length()}`,
]);

const copy = withFile((scene, file) => {
  const to = scene.companion(file);
  if (file.direct || to.direct) return [];
  return [`${file.program}: copy ${file.name} ${scene.offset()} ${to.name} ${scene.offset()} ${scene.length()}`];
});

const fsync = withFile((scene, { program, name }) => [`${program}: ${scene.pick(["fsync", "fdatasync", "drop-pages"])} ${name}`]);

const status = withFile((scene, { program, name, regular }) => [
  `${program}: fstat ${name} type mode links uid gid${regular ? " size" : ""}`,
]);

const close = withFile((scene, { program, name }) => scene.close(program, name));

/** A mapping is used at once, and some time later by its name. */
const map = withFile((scene, { program, name, regular }) => {
  if (!regular) return [];
  const length = scene.pick([4096, 8192, 64 * KIB, 70_000, MIB]);
  const mapping = `m${scene.random(3)}`;
  const kind = scene.chance(5) ? "PRIVATE" : "SHARED";
  const steps = [`${program}: map ${mapping} ${name} ${length} ${kind}`, `${program}: mdigest ${mapping} 0 4096`];
  for (let i = scene.random(4); i > 0; i--)
    steps.push(`${program}: mfill ${mapping} ${scene.random(length)} ${scene.length()} ${scene.tag()}`);
  if (!scene.chance(3)) return [...steps, `${program}: unmap ${mapping}`];
  scene.mapped(program, mapping);
  return steps;
});

function useMapping(scene: Scene): string[] {
  const used = scene.mapping();
  if (used === null) return map(scene);
  const { program, name } = used;
  if (scene.chance(4)) {
    scene.unmapped(program, name);
    return [`${program}: unmap ${name}`];
  }
  return scene.chance(2)
    ? [`${program}: mdigest ${name} 0 ${scene.length()}`]
    : [`${program}: mfill ${name} ${scene.random(64 * KIB)} ${scene.length()} ${scene.tag()}`];
}

const lock = withFile((scene, { program, name }) => {
  const range = `${scene.random(200)} ${scene.random(100)}`;
  return [
    scene.pick([
      `${program}: lock ${name} ${scene.pick(["R", "W", "U"])} ${range}`,
      `${program}: lock-test ${name} ${scene.pick(["R", "W"])} ${range}`,
      `${program}: flock ${name} ${scene.pick(["SH|NB", "EX|NB", "UN"])}`,
      `${program}: ofd-lock ${name} ${scene.pick(["R", "W", "U"])} ${range}`,
    ]),
  ];
});

export const DATA_KINDS: readonly StepKind[] = [
  { name: "open", weight: 14, always: true, make: open },
  { name: "fill", weight: 16, always: true, make: fill },
  { name: "digest", weight: 12, always: true, make: digest },
  { name: "unnamed", weight: 2, make: openUnnamed },
  { name: "fill-on", weight: 8, make: fillOn },
  { name: "in-turn", weight: 5, make: inTurn },
  { name: "seek", weight: 3, make: seek },
  { name: "truncate", weight: 6, make: truncate },
  { name: "allocate", weight: 6, make: allocate },
  { name: "copy", weight: 5, make: copy },
  { name: "fsync", weight: 4, make: fsync },
  { name: "status", weight: 6, make: status },
  { name: "close", weight: 4, make: close },
  { name: "map", weight: 4, make: map },
  { name: "use-mapping", weight: 4, make: useMapping },
  { name: "lock", weight: 3, make: lock },
];

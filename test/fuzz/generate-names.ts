// Steps about names and attributes.

import type { Scene, StepKind } from "./scene.ts";

const MODES = ["644", "600", "777", "755", "4755", "2755", "2745", "1777", "6777", "0", "444"];
const ATTRIBUTES = ["user.a", "user.b", "user.c", "user.{long*48}", "trusted.t", "security.s"];
const TIMES = ["1000000000.5", "0", "1", "omit", "now", "4102444800.123456789", "-5.25", "2147483648"];
const ACLS = [
  "access u::rw-,u:2001:r--,g::r--,m::rw-,o::---",
  "access u::rwx,g::r-x,o::r-x",
  "default u::rwx,u:2001:rwx,g::r-x,m::rwx,o::r-x",
  "default u::rwx,g::---,o::---",
];

const one = (make: (scene: Scene, path: string) => string) => (scene: Scene) => [
  `${scene.program()}: ${make(scene, scene.likelyPath())}`,
];

const rename = one((scene, path) => {
  const flags = scene.pick(["", "", "", " NOREPLACE", " EXCHANGE", " EXCHANGE"]);
  const to = scene.made(scene.chance(2) ? scene.likelyPath() : scene.path());
  if (!flags.includes("EXCHANGE") && to !== path) scene.gone(path);
  return flags ? `rename2 ${path} ${to}${flags}` : `rename ${path} ${to}`;
});

function renameDirectory(scene: Scene): string[] {
  const [from, to] = [scene.directory(), scene.chance(2) ? scene.directory() : scene.made(scene.path())];
  scene.movedAway(from);
  const program = scene.program();
  // Others go on at the old path, in a new directory.
  return [
    `${program}: ${scene.chance(3) ? `rename2 ${from} ${to} EXCHANGE` : `rename ${from} ${to}`}`,
    `one-1: mkdir ${from} 777`,
  ];
}

/** From a name to another and back, with a look by each mount between. */
function renameAndLook(scene: Scene): string[] {
  const [from, to] = [scene.likelyPath(), scene.path()];
  scene.gone(from);
  scene.made(to);
  return [
    `${scene.program()}: look ${from}`,
    `${scene.program()}: rename ${from} ${to}`,
    `one-1: look ${to}`,
    `two-1: look ${to}`,
    `${scene.program()}: look ${from}`,
  ];
}

/** What moves times: two looks with a few other steps between. */
function times(scene: Scene): string[] {
  const path = scene.chance(3) ? scene.directory() : scene.likelyPath();
  return [`${scene.program()}: times ${path}`];
}

const attribute = one((scene, path) => {
  const name = scene.pick(ATTRIBUTES);
  const bytes = scene.pick([0, 1, 100, 1000, ...(scene.offers.largeXattrs ? [4096, 5000, 65_535, 65_536] : [])]);
  return scene.pick([
    `fill-xattr ${path} ${name} ${bytes} ${scene.tag()}`,
    `fill-xattr ${path} user.n${scene.random(30)} ${bytes} ${scene.tag()}`,
    `setxattr ${path} ${name} v${scene.tag()} ${scene.pick(["CREATE", "REPLACE"])}`,
    `removexattr ${path} ${name}`,
    `getxattr-size ${path} ${name}`,
    `listxattr ${path}`,
  ]);
});

const acl = one((scene, path) => {
  const where = scene.chance(2) ? scene.directory() : path;
  return scene.chance(2) ? `setacl ${where} ${scene.pick(ACLS)}` : `getacl ${where} ${scene.pick(["access", "default"])}`;
});

/** A directory of many entries, listed while its entries go and come. */
function manyNames(scene: Scene): string[] {
  const directory = scene.newName();
  const count = scene.pick([10, 100, 600, 3000]);
  const [first, second] = [scene.program(), scene.pick(["one-1", "two-1"])];
  return [
    `one-1: mkdir ${directory} 777`,
    `two-1: make-many ${directory} ${count}`,
    `${scene.pick(["one-1", "two-2"])}: rename-while-listing ${directory}`,
    `${first}: count ${directory}`,
    ...(scene.chance(2) ? [`${second}: add-while-listing ${directory} ${count}`] : []),
    ...(scene.chance(2) ? [`${scene.pick(["one-2", "two-2"])}: remove-while-listing ${directory}`] : []),
    `${second}: names ${directory}`,
    `two-1: remove-tree ${directory}`,
  ];
}

export const NAME_KINDS: readonly StepKind[] = [
  { name: "look", weight: 14, always: true, make: one((_, path) => `look ${path}`) },
  { name: "names", weight: 5, make: (scene) => [`${scene.program()}: ${scene.pick(["names", "types", "inodes-agree"])} ${scene.directory()}`] },
  { name: "rename", weight: 7, make: rename },
  { name: "rename-directory", weight: 2, make: renameDirectory },
  { name: "rename-and-look", weight: 3, make: renameAndLook },
  { name: "unlink", weight: 5, make: one((scene, path) => `unlink ${scene.gone(path)}`) },
  { name: "link", weight: 4, make: one((scene, path) => `link ${path} ${scene.made(scene.path())}`) },
  { name: "symlink", weight: 2, make: one((scene, path) => `symlink ${scene.pick(["f0", "../f1", "d0", path, "{x*3000}"])} ${scene.made(scene.path())}`) },
  { name: "readlink", weight: 1, make: one((_, path) => `readlink ${path}`) },
  { name: "mkdir", weight: 4, make: (scene) => [`${scene.program()}: mkdir ${scene.chance(2) ? scene.directory() : scene.path()} ${scene.pick(MODES)}`] },
  { name: "rmdir", weight: 2, make: (scene) => [`${scene.program()}: rmdir ${scene.chance(2) ? scene.directory() : scene.path()}`] },
  { name: "mknod", weight: 1, make: one((scene) => `mknod ${scene.path()} fifo 644`) },
  { name: "chmod", weight: 4, make: one((scene, path) => `chmod ${scene.chance(4) ? scene.directory() : path} ${scene.pick(MODES)}`) },
  { name: "chown", weight: 2, make: one((scene, path) => `${scene.pick(["chown", "lchown"])} ${path} ${scene.pick([0, 2001, 2002])} ${scene.pick([0, 2001, 2100])}`) },
  { name: "utimens", weight: 4, make: one((scene, path) => `${scene.pick(["utimens", "lutimens"])} ${path} ${scene.pick(TIMES)} ${scene.pick(TIMES)}`) },
  { name: "times", weight: 8, make: times },
  { name: "attribute", weight: 6, make: attribute },
  { name: "acl", weight: 2, make: acl },
  { name: "many-names", weight: 0.3, make: manyNames },
]; // prettier-ignore

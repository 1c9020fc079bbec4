import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import { mountFor } from "./mounted.ts";
import { lacking } from "../fixture/lacking.ts";
import { shell } from "./programs.ts";

test(
  "a C program is compiled in several steps with make and runs from the mount",
  { skip: lacking("gcc", "make") },
  async (t) => {
    const store = await mountFor(t);
    const files = {
      "main.c": '#include <stdio.h>\n#include "sum.h"\nint main(void){printf("%d\\n",sum(40,2));return 0;}\n',
      "sum.c": '#include "sum.h"\nint sum(int a,int b){return a+b;}\n',
      "sum.h": "int sum(int a, int b);\n",
      Makefile:
        "program: main.o libsum.so\n\tgcc -o $@ main.o -L. -lsum -Wl,-rpath,'$$ORIGIN'\nlibsum.so: sum.c\n\tgcc -fPIC -shared -o $@ sum.c\n%.o: %.c sum.h\n\tgcc -c -o $@ $<\n",
    };
    for (const [name, text] of Object.entries(files)) await writeFile(path.join(store.directory, name), text);
    await shell("make -j2", store.directory);
    assert.equal(await shell("./program", store.directory), "42\n");
    assert.match(await shell("make", store.directory), /up to date/);
    await shell("sed -i 's/a+b/a-b/' sum.c; make", store.directory);
    assert.equal(await shell("./program", store.directory), "38\n");
  },
);

test("a script with an interpreter line runs from the mount", async (t) => {
  const store = await mountFor(t);
  await shell("printf '#!/bin/sh\\necho $0 $1\\n' > script; chmod 755 script", store.directory);
  assert.equal(await shell("./script word", store.directory), "./script word\n");
});

test("npm ci installs a project with local dependencies on the mount, twice", async (t) => {
  const store = await mountFor(t);
  const project = path.join(store.directory, "project");
  const dependencies: Record<string, string> = {};
  await shell("mkdir -p project/parts", store.directory);
  for (let i = 0; i < 12; i++) {
    const part = path.join(project, `parts/part-${i}`);
    await shell(
      `mkdir -p '${part}/lib'; for j in 1 2 3 4 5 6 7 8; do echo "module.exports = ${i} * $j;" > '${part}/lib/'$j.js; done`,
      "/",
    );
    const manifest = { name: `part-${i}`, version: "1.0.0", main: "lib/2.js", bin: { [`part-${i}`]: "lib/1.js" } };
    await writeFile(path.join(part, "package.json"), JSON.stringify(manifest));
    dependencies[`part-${i}`] = `file:parts/part-${i}`;
  }
  await writeFile(path.join(project, "package.json"), JSON.stringify({ name: "project", version: "1.0.0", dependencies }));
  const environment = {
    npm_config_cache: path.join(store.directory, "cache"),
    npm_config_offline: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
  };
  await shell("npm install --install-links --package-lock-only", project, environment);
  for (let round = 0; round < 2; round++) {
    await shell("npm ci --install-links", project, environment);
    const sum = "let s = 0; for (let i = 0; i < 12; i++) s += require('part-' + i); console.log(s)";
    assert.equal(await shell(`node -e "${sum}"`, project), "132\n");
    assert.equal(await shell("ls node_modules/.bin | wc -l; find node_modules -name '*.js' | wc -l", project), "12\n96\n");
  }
});

test("a program's memory-mapped file and its plain reads agree under python and dd", { skip: lacking("python3") }, async (t) => {
  const store = await mountFor(t);
  const program = `
import mmap, os
f = os.open("data", os.O_RDWR | os.O_CREAT)
os.ftruncate(f, 1 << 20)
m = mmap.mmap(f, 1 << 20)
for i in range(0, 1 << 20, 4096):
    m[i:i+8] = b"%08d" % (i // 4096)
m.flush()
for i in range(0, 1 << 20, 4096):
    assert os.pread(f, 8, i) == b"%08d" % (i // 4096), i
os.pwrite(f, b"changed!", 8192)
assert m[8192:8200] == b"changed!"
print("agree")
`;
  await writeFile(path.join(store.directory, "program.py"), program);
  assert.equal(
    await shell("python3 program.py; dd if=data bs=8 count=1 skip=1024 status=none", store.directory),
    "agree\nchanged!",
  );
});

// `node dist/bench/memory-mount.js DIRECTORY [--timeout-ms N] [--method mount|fusermount] [--deadline-ms N]`: mounts the in-memory filesystem, prints
// "ready", unmounts on SIGTERM or SIGINT, and ends when it was unmounted from outside.
import { parseArgs } from "node:util";
import { mountFilesystem } from "../fs/mount/channel.ts";
import { MemoryFilesystem } from "./memory-filesystem.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "timeout-ms": { type: "string", default: "3600000" },
    method: { type: "string" },
    "unmount-wait-ms": { type: "string", default: "5000" },
    statistics: { type: "boolean", default: false },
  },
});
const timeoutMs = Number(values["timeout-ms"]);
try {
  const mounted = await mountFilesystem({
    mountpoint: positionals[0],
    handlers: new MemoryFilesystem({ entryTimeoutMs: timeoutMs, attributeTimeoutMs: timeoutMs }),
    options: {
      source: "cairn-memory",
      method: values.method as "mount" | undefined,
      unmountWaitMs: Number(values["unmount-wait-ms"]),
    },
    trace: (line) => console.error(line),
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void mounted.unmount());
  console.log("ready");
  const reason = await mounted.closed;
  if (values.statistics) console.error(JSON.stringify(mounted.statistics()));
  console.log(reason);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

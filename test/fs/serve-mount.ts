// The process behind a mount in tests: opens a real store, mounts it, says "ready", and on SIGTERM unmounts and ends.
// usage: node serve-mount.js DATA MOUNTPOINT [MOUNTPOINT2]

import { mountFilesystem } from "../../fs/mount/channel.ts";
import type { Mounted } from "../../fs/mount/channel.ts";
import { allocateAligned } from "../../native/files.ts";
import { openRealStore } from "./real-store.ts";

const trace = (line: string): void => void process.stderr.write(`${line}\n`);
const [data, ...mountpoints] = process.argv.slice(2);
const real = await openRealStore(data, trace);
const mounted: Mounted[] = [];
for (const mountpoint of mountpoints) {
  const mount = await real.store.openMount({ allocate: allocateAligned });
  mounted.push(await mountFilesystem({ mountpoint, handlers: (caches) => (mount.attach(caches), mount), trace }));
}
process.on("SIGTERM", () => void stop());
process.stdout.write("ready\n");

async function stop(): Promise<void> {
  for (const one of mounted) await one.unmount();
  await real.close();
  process.stdout.write("stopped\n");
  process.exit(0);
}

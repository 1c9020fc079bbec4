// Which disks a stripe's blocks go to: distinct ones, spread over zones before nodes before disks, and among equals by
// chance weighted with free space, so that fuller disks get less. Pure: randomness is an argument.
import type { DiskStatus } from "./block-client.ts";
import type { DiskId } from "./stripe.ts";

export interface PlacementOptions {
  disks: readonly DiskStatus[];
  /** Disks that are wanted. */
  count: number;
  /** Bytes that each must have free. */
  blockBytes: number;
  /** Disks that hold other blocks of the stripe already, or were found wanting. */
  except?: ReadonlySet<DiskId>;
  random: () => number;
}

/** Up to `count` disks, best first; fewer where there are not so many. */
export function choosePlaces({ disks, count, blockBytes, except, random }: PlacementOptions): DiskId[] {
  const zones = new Map<string, number>();
  const nodes = new Map<string, number>();
  for (const disk of disks) if (except?.has(disk.id)) take(disk, zones, nodes);
  const candidates = disks
    .filter((disk) => disk.state === "active" && disk.space.freeBytes >= blockBytes && !except?.has(disk.id))
    // Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): sort by random^(1/weight).
    .map((disk) => ({ disk, key: Math.log(random() || Number.MIN_VALUE) / disk.space.freeBytes }))
    .sort((a, b) => b.key - a.key)
    .map(({ disk }) => disk);
  const chosen: DiskId[] = [];
  while (chosen.length < count && candidates.length > 0) {
    const [disk] = candidates.splice(leastUsed(candidates, zones, nodes), 1);
    take(disk, zones, nodes);
    chosen.push(disk.id);
  }
  return chosen;
}

function take(disk: DiskStatus, zones: Map<string, number>, nodes: Map<string, number>): void {
  zones.set(zoneOf(disk), (zones.get(zoneOf(disk)) ?? 0) + 1);
  nodes.set(nodeOf(disk), (nodes.get(nodeOf(disk)) ?? 0) + 1);
}

function leastUsed(disks: readonly DiskStatus[], zones: ReadonlyMap<string, number>, nodes: ReadonlyMap<string, number>): number {
  let best = 0;
  let bestUse = Infinity;
  disks.forEach((disk, position) => {
    // Fewer than 65536 blocks of a stripe can be on one node (a code has at most 256).
    const use = (zones.get(zoneOf(disk)) ?? 0) * 65536 + (nodes.get(nodeOf(disk)) ?? 0);
    if (use < bestUse) {
      best = position;
      bestUse = use;
    }
  });
  return best;
}

function zoneOf(disk: DiskStatus): string {
  return disk.zone ?? "";
}

function nodeOf(disk: DiskStatus): string {
  return `${zoneOf(disk)}/${disk.node ?? ""}`;
}

/**
 * Data bytes that fit on disks with these free bytes, k data blocks and n blocks a stripe, each on another disk: the
 * largest t with sum(min(free, t)) >= n * t holds t bytes of each block number, so k * t of data.
 */
export function dataThatFits(free: readonly number[], k: number, n: number): number {
  let low = 0;
  let high = Math.floor(free.reduce((sum, bytes) => sum + bytes, 0) / n) + 1;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (free.reduce((sum, bytes) => sum + Math.min(bytes, middle), 0) >= n * middle) low = middle;
    else high = middle;
  }
  return low * k;
}

// The namespace as repair, drains and `cairn where` see it: stripes, where their blocks lie, and changing that.

import type { DiskId } from "../../replication/stripe.ts";
import type { InodeId, StripeId } from "../types.ts";
import type { Extent } from "../messages.ts";
import { after, id8, idFrom, TAG_DISK, TAG_EXTENT, TAG_STRIPE } from "./keys.ts";
import { RecordDamaged } from "./bytes.ts";
import type { ScannedRecord } from "./overlay.ts";
import type { Server } from "./server.ts";
import { decodeExtent, decodeStripe, openValue, type StripeRecord } from "./records.ts";
import type { Transaction } from "./transaction.ts";

/** Stripes in one step of a walk. */
const PAGE_RECORDS = 1024;

export interface ExtentPlace {
  inode: InodeId;
  offset: number;
}

export interface StripeDirectory {
  get(id: StripeId): Promise<StripeRecord | null>;
  /** Those of the stripes that there are. */
  getAll(ids: readonly StripeId[]): Promise<StripeRecord[]>;
  /** Blocks of this stripe may lie on disks without a record: a session has reserved its number, or they are about to be removed. */
  isReserved(id: StripeId): boolean;
  /** Stripes with ids above `after` in order, at most `limit` (up to 1024). Fewer than `limit` means the end. Damaged records are passed over: the check names them. */
  list(after: StripeId | 0, limit: number): Promise<StripeRecord[]>;
  /** As list, of those with a block on this disk. */
  listByDisk(disk: DiskId, after: StripeId | 0, limit: number): Promise<StripeRecord[]>;
  /** Says where the stripe's blocks are from now on, if they are still where the caller thought (`expected`) and the stripe is alive; false otherwise. */
  replaceDisks(id: StripeId, expected: readonly DiskId[], disks: readonly DiskId[]): Promise<boolean>;
  /** A step of a walk over all extents of all files, in order of inode and offset, after the one given: at most `limit` (up to 1024) are looked at; `next` continues, null at the end. For finding what lies in a stripe. Extents cut off by a truncate still under way are among them. */
  extents(
    after: ExtentPlace | null,
    limit: number,
  ): Promise<{ extents: { inode: InodeId; extent: Extent }[]; next: ExtentPlace | null }>;
  /** Stripes with ids above `after`, among the next `limit` looked at, of whose data less than `share` (0..1) is live; `next` continues, 0 at the end. */
  sparse(after: StripeId | 0, limit: number, share: number): Promise<{ stripes: StripeRecord[]; next: StripeId | 0 }>;
}

export function stripeDirectory(server: Server): StripeDirectory {
  return {
    extents: (place, limit) => extents(server, place, limit),
    get: async (id) => (await get(server, [id]))[0] ?? null,
    getAll: (ids) => get(server, ids),
    isReserved: (id) => server.identities.isReservedByAny(id) || server.ticks.isToBeSwept(id),
    list: (afterId, limit) => list(server, afterId, limit),
    listByDisk: async (disk, afterId, limit) => get(server, await listIds(server, TAG_DISK + id8(disk).slice(4), afterId, limit)),
    replaceDisks: (id, expected, disks) => server.transact("replace-disks", null, (tx) => replaceDisks(tx, id, expected, disks)),
    sparse: async (afterId, limit, share) => {
      const stripes = await list(server, afterId, limit);
      const next = stripes.length < Math.min(limit, PAGE_RECORDS) ? 0 : stripes[stripes.length - 1].id;
      return { stripes: stripes.filter((stripe) => stripe.live > 0 && stripe.live < stripe.dataBytes * share), next };
    },
  };
}

async function get(server: Server, ids: readonly StripeId[]): Promise<StripeRecord[]> {
  return server.transact("none", null, (tx) => {
    tx.wantStripes(ids);
    return ids.map((id) => tx.stripe(id)).filter((stripe) => stripe !== null);
  });
}

/** The first `limit` records with ids above `afterId`; deletes in memory may thin a page of the table out, so it looks further. */
async function scanIds<T>(
  { overlay }: Server,
  prefix: string,
  afterId: number,
  limit: number,
  read: (record: ScannedRecord) => T,
): Promise<T[]> {
  const wanted = Math.min(limit, PAGE_RECORDS);
  const found: T[] = [];
  const to = after(prefix);
  for (let from = prefix + id8(afterId + 1); found.length < wanted && from < to;)
    from = await overlay.scan(from, to, wanted, (records, bound) => {
      for (const record of records) found.push(read(record));
      return bound;
    });
  return found.slice(0, wanted);
}

function listIds(server: Server, prefix: string, afterId: number, limit: number): Promise<StripeId[]> {
  return scanIds(server, prefix, afterId, limit, ({ key }) => idFrom(key, prefix.length) as StripeId);
}

async function list(server: Server, afterId: StripeId | 0, limit: number): Promise<StripeRecord[]> {
  const wanted = Math.min(limit, PAGE_RECORDS);
  const found: StripeRecord[] = [];
  for (let last: number = afterId; ;) {
    const page: (StripeRecord | StripeId)[] = await scanIds(server, TAG_STRIPE, last, wanted - found.length, readStripe);
    for (const stripe of page) if (typeof stripe === "object") found.push(stripe);
    const end = page.at(-1);
    if (end === undefined || found.length === wanted) return found;
    last = typeof end === "object" ? end.id : end;
  }
}

/** The stripe, or only its number where the record is damaged. */
function readStripe({ key, value }: ScannedRecord): StripeRecord | StripeId {
  const id = idFrom(key, 1) as StripeId;
  try {
    return decodeStripe(openValue(key, value), id);
  } catch (error) {
    if (error instanceof RecordDamaged) return id;
    throw error;
  }
}

function extents({ overlay }: Server, place: ExtentPlace | null, limit: number): ReturnType<StripeDirectory["extents"]> {
  const from = place === null ? TAG_EXTENT : `${TAG_EXTENT}${id8(place.inode)}${id8(place.offset + 1)}`;
  const to = after(TAG_EXTENT);
  return overlay.scan(from, to, Math.min(limit, PAGE_RECORDS), (records, bound) => {
    const found = records.map(({ key, value }) => {
      const offset = idFrom(key, 9);
      return { inode: idFrom(key, 1) as InodeId, extent: decodeExtent(openValue(key, value), offset) };
    });
    // The bound is a whole key and a zero byte more: everything up to that key was looked at.
    const next = bound === to ? null : { inode: idFrom(bound, 1) as InodeId, offset: idFrom(bound, 9) };
    return { extents: found, next };
  });
}

function replaceDisks(tx: Transaction, id: StripeId, expected: readonly DiskId[], disks: readonly DiskId[]): boolean {
  const stripe = tx.stripe(id);
  if (stripe === null || stripe.live === 0) return false;
  if (stripe.disks.length !== disks.length || stripe.disks.some((disk, index) => disk !== expected[index])) return false;
  if (disks.some((disk, index) => disk !== expected[index])) tx.editStripe({ ...stripe, disks: [...disks] });
  return true;
}

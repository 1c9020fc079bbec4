// The part of the check about directories: names, their order, and where they lead. Each name is in the table twice (`n`
// by name, `o` by cookie), written by the same entries, so that what one of the two lost is mended from the other. The two
// are compared by sums over checksums, so that memory does not grow with a directory; one by one only where these differ.

import { type ByteString, type InodeId, S_IFDIR, S_IFMT } from "../types.ts";
import { checksumText, RecordDamaged, type Slice } from "./bytes.ts";
import { type Found, nextPage, type Problem, visitSafely, walk, walkRange } from "./check-walk.ts";
import { isDirectoryRow, type SeenInodes } from "./check-inodes.ts";
import { after, describeKey, idFrom, TAG_NAME, TAG_ORDER } from "./keys.ts";
import { ENTRY_OVERHEAD_BYTES } from "./names.ts";
import type { OverlaySnapshot } from "./overlay.ts";
import { decodeName, decodeOrder, type NameEntry, openValue } from "./records.ts";

/** Names walked before their directories' orders are: short ranges of the table are slow. */
const NAMES_PER_STEP = 16 * 1024;
/** Entries of orders kept until all names are counted. */
const LEFTOVERS_MAX = 10_000;
/** Names of directories without a record kept until all names were seen. */
const TO_LOST_MAX = 10_000;
/** Sums stay exact below this. */
const SUM_LIMIT = 2 ** 48;

interface Named {
  inode: InodeId;
  type: number;
  name: ByteString;
}

interface Leftover extends Named {
  directory: InodeId;
  cookie: number;
}

export class NameCheck {
  readonly #overlay: OverlaySnapshot;
  readonly #inodes: SeenInodes;
  /** What the names of each directory add up to whose order is yet to be walked, by its id as in keys. */
  readonly #sums = new Map<string, number>();
  /** Entries of orders that no name belongs to. */
  readonly #leftovers: Leftover[] = [];
  /** Names of directories that have no record. */
  readonly #toLost: { key: string; directory: InodeId; inode: InodeId; name: ByteString }[] = [];

  constructor(overlay: OverlaySnapshot, inodes: SeenInodes) {
    this.#overlay = overlay;
    this.#inodes = inodes;
  }

  /** Names, and the orders of their directories as soon as all names of a directory were seen. */
  async *run(): AsyncGenerator<Problem> {
    const to = after(TAG_NAME);
    let orderFrom = TAG_ORDER;
    let walked = 0;
    for (let from = TAG_NAME; from < to;) {
      const page = await nextPage(this.#overlay, from, to);
      from = page.bound;
      for (const { key, value } of page.records) yield* visitSafely(key, value, () => this.#name(key, value));
      walked += page.records.length;
      if (walked < NAMES_PER_STEP && from < to) continue;
      walked = 0;
      // The last directory's names may go on in the next page.
      const orderTo = from < to ? TAG_ORDER + page.records.at(-1)!.key.slice(1, 9) : after(TAG_ORDER);
      yield* this.#orders(orderFrom, orderTo);
      orderFrom = orderTo;
    }
    yield* this.#lostDirectories();
    for (const leftover of this.#leftovers) yield* this.#leftover(leftover);
  }

  /** Where names and order do not add up to the same, they are compared one by one. */
  async *#orders(from: string, to: string): AsyncGenerator<Problem> {
    const sums = new Map<string, number>();
    yield* walkRange(this.#overlay, from, to, (key, value) => addOrder(sums, key, value));
    for (const id of new Set([...this.#sums.keys(), ...sums.keys()])) {
      if (TAG_ORDER + id >= to) continue;
      if (this.#sums.get(id) !== sums.get(id)) yield* this.#compare(id);
      this.#sums.delete(id);
    }
  }

  async *#compare(id: string): AsyncGenerator<Problem> {
    const directory = idFrom(id) as InodeId;
    const names = new Map<number, Named>();
    yield* walk(this.#overlay, TAG_NAME + id, (key, value) => keepName(names, key, value));
    yield* walk(this.#overlay, TAG_ORDER + id, (key, value) => this.#ordered(names, key, value));
    const above = this.#inodes.find(directory);
    if (above === undefined || !isDirectoryRow(above)) return;
    for (const [cookie, { name }] of names)
      yield {
        kind: "entry",
        text: `${JSON.stringify(name)} of directory ${directory} is missing in the directory's order (cookie ${cookie})`,
        inode: directory,
        mending: { kind: "order", directory, name, cookie },
      };
  }

  *#name(key: string, value: Slice): Found {
    const entry = decodeName(openValue(key, value));
    const directory = idFrom(key, 1) as InodeId;
    const name = key.slice(9) as ByteString;
    add(this.#sums, key, entry.inode, entry.type, entry.cookie, name);
    const above = this.#inodes.find(directory);
    if (above === undefined && !this.#inodes.damaged.has(directory))
      return yield* this.#inLostDirectory(key, directory, entry, name);
    if (above === undefined) this.#countName(entry);
    else if (isDirectoryRow(above)) {
      above.rows.entryBytes[above.row] += name.length + ENTRY_OVERHEAD_BYTES;
      yield* this.#leads(key, directory, entry, name);
    } else
      yield {
        kind: "entry",
        text: `${describeKey(key)}: that is no directory`,
        inode: directory,
        mending: { kind: "dangling", directory, name },
      };
  }

  /** Said once, of the directory (lostDirectories). */
  *#inLostDirectory(key: string, directory: InodeId, entry: NameEntry, name: ByteString): Found {
    this.#countName(entry);
    const isDirectory = entry.type === S_IFDIR;
    if (!this.#inodes.addLostName(directory, name.length + ENTRY_OVERHEAD_BYTES, entry.cookie, isDirectory))
      yield { kind: "entry", text: `${describeKey(key)}: the directory does not exist`, inode: directory };
    else if (isDirectory && this.#isLost(entry.inode)) this.#toLost.push({ key, directory, inode: entry.inode, name });
  }

  #isLost(inode: InodeId): boolean {
    return this.#inodes.find(inode) === undefined && !this.#inodes.damaged.has(inode) && this.#toLost.length < TO_LOST_MAX;
  }

  #countName({ inode: id, type }: NameEntry): void {
    const inode = this.#inodes.find(id);
    const lost = type === S_IFDIR ? undefined : this.#inodes.lost.get(id);
    if (inode !== undefined) inode.rows.names[inode.row]++;
    else if (lost !== undefined) lost.names++;
  }

  /** Whether there is what the name leads to, and it is what the name says. */
  *#leads(key: string, directory: InodeId, entry: NameEntry, name: ByteString): Found {
    const inode = this.#inodes.find(entry.inode);
    if (inode === undefined) return yield* this.#leadsNowhere(key, directory, entry, name);
    const { rows, row } = inode;
    rows.names[row]++;
    if ((rows.mode[row] & S_IFMT) !== entry.type)
      yield {
        kind: "entry",
        text: `${describeKey(key)} says type ${entry.type.toString(8)}, inode ${entry.inode} has mode ${rows.mode[row].toString(8)}`,
        inode: entry.inode,
        mending: { kind: "type", directory, name },
      };
    if (!isDirectoryRow(inode)) return;
    const above = this.#inodes.find(directory)!;
    above.rows.subdirectories[above.row]++;
    if (rows.parent[row] !== directory)
      yield {
        kind: "links",
        text: `directory ${entry.inode} says its parent is ${rows.parent[row]}; its name is in ${directory}`,
        inode: entry.inode,
        mending: { kind: "parent", inode: entry.inode, directory, name },
      };
  }

  *#leadsNowhere(key: string, directory: InodeId, { inode, type }: NameEntry, name: ByteString): Found {
    const lost = this.#inodes.lost.get(inode);
    if (lost !== undefined && type !== S_IFDIR) {
      // Said once, of the inode.
      lost.names++;
      return;
    }
    const above = this.#inodes.find(directory)!;
    if (this.#inodes.damaged.has(inode)) {
      // Said of the inode.
      if (type === S_IFDIR) above.rows.subdirectories[above.row]++;
      return;
    }
    if (type === S_IFDIR && this.#isLost(inode)) {
      // Its names may come yet.
      this.#toLost.push({ key, directory, inode, name });
      return;
    }
    yield this.#dangling(key, directory, inode, name);
  }

  #dangling(key: string, directory: InodeId, inode: InodeId, name: ByteString): Problem {
    const text = `${describeKey(key)} leads to inode ${inode}, which does not exist`;
    return { kind: "entry", text, inode, mending: { kind: "dangling", directory, name } };
  }

  /** Directories without a record that have names in them, and names of directories that have neither. */
  *#lostDirectories(): Found {
    for (const { key, directory, inode, name } of this.#toLost) {
      const lost = this.#inodes.lostDirectories.get(inode);
      const above = this.#inodes.find(directory);
      if (lost === undefined || lost.parent !== null) {
        yield this.#dangling(key, directory, inode, name);
        continue;
      }
      lost.parent = directory;
      // That of a lost one has counted it.
      if (above !== undefined) above.rows.subdirectories[above.row]++;
    }
    for (const [inode, { names, entryBytes, subdirectories, lastCookie, parent }] of this.#inodes.lostDirectories)
      yield {
        kind: "entry",
        text: `directory ${inode} does not exist and has ${names} names`,
        inode,
        mending: { kind: "lostDirectory", inode, size: entryBytes, subdirectories, nextCookie: lastCookie + 1, parent },
      };
  }

  *#ordered(names: Map<number, Named>, key: string, value: Slice): Found {
    const ordered = orderOf(key, value);
    if (ordered === null) return;
    const { inode, type, name } = ordered;
    const directory = idFrom(key, 1) as InodeId;
    const cookie = idFrom(key, 9);
    const named = names.get(cookie);
    names.delete(cookie);
    if (named !== undefined && named.inode === inode && named.type === type && named.name === name) return;
    if (named === undefined && this.#leftovers.length < LEFTOVERS_MAX) {
      this.#leftovers.push({ directory, cookie, inode, type, name });
      return;
    }
    const says = named === undefined ? "nothing" : `${JSON.stringify(named.name)} is inode ${named.inode}`;
    yield {
      kind: "entry",
      text: `${describeKey(key)} says ${JSON.stringify(name)} is inode ${inode}; the name's record says ${says}`,
      inode: directory,
      mending: named === undefined ? undefined : { kind: "order", directory, name: named.name, cookie },
    };
  }

  /** An entry of an order without a name: the name was lost where its inode's link count says that one is missing. */
  *#leftover({ directory, cookie, inode, type, name }: Leftover): Found {
    const above = this.#inodes.find(directory);
    const seen = this.#inodes.find(inode);
    const text = `the order of directory ${directory} has ${JSON.stringify(name)}, inode ${inode} (cookie ${cookie}), and no name's record has`;
    const isLost =
      above !== undefined &&
      isDirectoryRow(above) &&
      seen !== undefined &&
      (seen.rows.mode[seen.row] & S_IFMT) === type &&
      (isDirectoryRow(seen) ? seen.rows.names[seen.row] === 0 : seen.rows.names[seen.row] < seen.rows.linkCount[seen.row]) &&
      seen.rows.linkCount[seen.row] > 0;
    if (this.#inodes.damaged.has(inode) || this.#inodes.damaged.has(directory)) {
      yield { kind: "entry", text, inode: directory };
      return;
    }
    if (!isLost) {
      yield { kind: "entry", text, inode: directory, mending: { kind: "leftover", directory, cookie } };
      return;
    }
    // Counted as it will be, so that nothing that follows from it is a problem of its own.
    seen.rows.names[seen.row]++;
    above.rows.entryBytes[above.row] += name.length + ENTRY_OVERHEAD_BYTES;
    if (isDirectoryRow(seen)) above.rows.subdirectories[above.row]++;
    yield { kind: "entry", text, inode: directory, mending: { kind: "name", directory, name, inode, type, cookie } };
  }
}

function add(sums: Map<string, number>, key: string, inode: InodeId, type: number, cookie: number, name: ByteString): void {
  const id = key.slice(1, 9);
  const mark = checksumText(`${inode}/${type}/${cookie}/${name}`);
  sums.set(id, ((sums.get(id) ?? 0) + mark) % SUM_LIMIT);
}

function* addOrder(sums: Map<string, number>, key: string, value: Slice): Found {
  const { inode, type, name } = decodeOrder(openValue(key, value));
  add(sums, key, inode, type, idFrom(key, 9), name);
}

/** Damaged records were reported by the first walk. */
function* keepName(names: Map<number, Named>, key: string, value: Slice): Found {
  try {
    const { inode, type, cookie } = decodeName(openValue(key, value));
    names.set(cookie, { inode, type, name: key.slice(9) as ByteString });
  } catch (error) {
    if (!(error instanceof RecordDamaged)) throw error;
  }
}

function orderOf(key: string, value: Slice): Named | null {
  try {
    return decodeOrder(openValue(key, value));
  } catch (error) {
    if (error instanceof RecordDamaged) return null;
    throw error;
  }
}

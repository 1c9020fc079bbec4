// The extended attributes of one inode in memory, with their sums: a change costs the same however many there are.

import type { ByteString } from "../types.ts";

export interface Xattrs {
  readonly size: number;
  /** Of all names, each with a terminating zero, as listxattr(2) gives them. */
  readonly nameBytes: number;
  readonly valueBytes: number;
  get(name: ByteString): Uint8Array | undefined;
  has(name: ByteString): boolean;
  keys(): Iterable<ByteString>;
}

/** As committed. Only the commit of a transaction changes it. */
export class StoredXattrs implements Xattrs {
  readonly #values = new Map<ByteString, Uint8Array>();
  nameBytes = 0;
  valueBytes = 0;

  get size(): number {
    return this.#values.size;
  }

  get(name: ByteString): Uint8Array | undefined {
    return this.#values.get(name);
  }

  has(name: ByteString): boolean {
    return this.#values.has(name);
  }

  keys(): Iterable<ByteString> {
    return this.#values.keys();
  }

  set(name: ByteString, value: Uint8Array | null): void {
    const before = this.#values.get(name);
    this.nameBytes += (value === null ? 0 : name.length + 1) - (before === undefined ? 0 : name.length + 1);
    this.valueBytes += (value?.length ?? 0) - (before?.length ?? 0);
    if (value === null) this.#values.delete(name);
    else this.#values.set(name, value);
  }
}

/** What a transaction makes of them. */
export class ChangedXattrs implements Xattrs {
  readonly base: StoredXattrs;
  readonly changes = new Map<ByteString, Uint8Array | null>();
  size: number;
  nameBytes: number;
  valueBytes: number;

  constructor(base: StoredXattrs) {
    this.base = base;
    this.size = base.size;
    this.nameBytes = base.nameBytes;
    this.valueBytes = base.valueBytes;
  }

  get(name: ByteString): Uint8Array | undefined {
    const change = this.changes.get(name);
    return change === undefined ? this.base.get(name) : (change ?? undefined);
  }

  has(name: ByteString): boolean {
    return this.get(name) !== undefined;
  }

  *keys(): Generator<ByteString> {
    for (const name of this.base.keys()) if (this.changes.get(name) !== null) yield name;
    for (const [name, value] of this.changes) if (value !== null && !this.base.has(name)) yield name;
  }

  set(name: ByteString, value: Uint8Array | null): void {
    const before = this.get(name);
    const more = (value === null ? 0 : 1) - (before === undefined ? 0 : 1);
    this.size += more;
    this.nameBytes += more * (name.length + 1);
    this.valueBytes += (value?.length ?? 0) - (before?.length ?? 0);
    this.changes.set(name, value);
  }

  /** The base as it is afterwards. */
  applied(): StoredXattrs {
    for (const [name, value] of this.changes) this.base.set(name, value);
    return this.base;
  }
}

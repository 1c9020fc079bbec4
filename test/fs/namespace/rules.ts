// POSIX rules of the namespace as transcripts: a command, and after "->" what it gives ("ok" where nothing is said).
//
//   make PATH [MODE] [uid=N] [gid=N] [umask=N]   mkdir, symlink PATH TARGET, node PATH MODE DEVICE, open PATH (not exclusive)
//   link OLD NEW, unlink PATH, rmdir PATH, rename OLD NEW [noreplace|exchange]
//   chmod, chown PATH UID GID, truncate PATH SIZE, write PATH OFFSET TEXT, clear PATH (set-id bits)
//   set PATH NAME VALUE [create|replace], remove PATH NAME, get PATH NAME, names PATH, acl PATH access|default ENTRIES
//   stat PATH FIELD..., list PATH, read PATH, punch|zero|allocate|collapse|insert PATH OFFSET LENGTH [keep]
//   share FROM OFFSET TO OFFSET LENGTH, tick, wait SECONDS
import assert from "node:assert/strict";
import test from "node:test";
import type { Attributes, ByteString, InodeId } from "../../../fs/types.ts";
import { S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from "../../../fs/types.ts";
import { decodeAcl, encodeAcl } from "../../../fs/namespace/acl.ts";
import { name, openStore, problems, type TestStore } from "./memory-log.ts";

const LONG = "n".repeat(255);

const CASES: Record<string, string> = {
  "a name is made once": `
    make /f ; make /f -> EEXIST ; mkdir /f -> EEXIST ; symlink /f x -> EEXIST ; open /f -> existing ; open /g -> created
    make /missing/f -> ENOENT ; make /f/x -> ENOTDIR ; mkdir /d ; open /d -> EEXIST`,
  "names have 1 to 255 bytes of any encoding": `
    make /${LONG} ; make /${LONG}n -> ENAMETOOLONG ; stat /${LONG}n links -> ENAMETOOLONG ; rename /${LONG} /${LONG}n -> ENAMETOOLONG
    make /ÿ\u0001 ; stat /ÿ\u0001 links -> 1 ; mkdir /. -> EINVAL ; link /ÿ\u0001 /.. -> EINVAL`,
  "umask and mode make the permissions": `
    make /f 666 umask=27 ; stat /f mode -> 640 ; mkdir /d 1777 umask=22 ; stat /d mode -> 1755 ; make /s 6755 ; stat /s mode -> 6755
    symlink /l target umask=77 ; stat /l mode size -> 777 6`,
  "a directory counts its subdirectories": `
    stat / links -> 2 ; mkdir /a ; mkdir /b ; stat / links -> 4 ; make /f ; stat / links -> 4 ; stat /a links -> 2
    rename /a /b/a ; stat / links -> 3 ; stat /b links -> 3 ; rmdir /b/a ; stat /b links -> 2 ; rmdir /b ; stat / links -> 2`,
  "set-group-id of a directory goes to what is made in it": `
    mkdir /d 2775 gid=50 ; make /d/f 644 uid=1 gid=9 ; stat /d/f uid gid mode -> 1 50 644 ; mkdir /d/e 755 gid=9 ; stat /d/e gid mode -> 50 2755
    make /plain 644 gid=9 ; stat /plain gid -> 9`,
  links: `
    make /f ; link /f /g ; stat /f links -> 2 ; link /f /g -> EEXIST ; mkdir /d ; link /d /e -> EPERM ; link /f /d/f ; stat /f links -> 3
    unlink /f ; unlink /g ; stat /d/f links -> 1 ; link /d/f /missing/x -> ENOENT ; link /d/f /d/f/x -> ENOTDIR ; symlink /l x ; link /l /m ; stat /m links -> 2`,
  removing: `
    unlink /f -> ENOENT ; make /f ; rmdir /f -> ENOTDIR ; unlink /f ; mkdir /d ; unlink /d -> EISDIR ; make /d/f ; rmdir /d -> ENOTEMPTY
    unlink /d/f ; rmdir /d ; rmdir /d -> ENOENT ; unlink /f/x -> ENOENT ; list / -> `,
  "renaming over something": `
    make /f ; make /g ; mkdir /d ; mkdir /e ; make /e/x
    rename /f /d -> EISDIR ; rename /d /f -> ENOTDIR ; rename /d /e -> ENOTEMPTY ; rename /f /g ; list / -> g d e ; rename /e /d ; list / -> g d ; list /d -> x
    rename /missing /x -> ENOENT ; rename /g /missing/x -> ENOENT ; rename /g /g/x -> ENOTDIR ; stat / links -> 3`,
  "renaming to another name of the same file does nothing": `
    make /f ; link /f /g ; rename /f /g ; list / -> f g ; stat /f links -> 2 ; rename /f /f ; rename /f /g exchange ; list / -> f g`,
  "a directory does not move into itself": `
    mkdir /a ; mkdir /a/b ; mkdir /a/b/c ; rename /a /a/x -> EINVAL ; rename /a /a/b/c/x -> EINVAL ; rename /a /a/b -> EINVAL ; rename /a/b/c /a -> ENOTEMPTY
    make /f ; rename /f /a/b exchange ; stat /a/b type -> file ; list /f -> c ; rename /f /f/c exchange -> EINVAL ; rename /f/c /f exchange -> EINVAL`,
  "noreplace and exchange": `
    make /f ; mkdir /d ; rename /f /d noreplace -> EEXIST ; rename /f /g noreplace ; rename /g /x exchange -> ENOENT ; mkdir /e ; rename /g /e/g
    rename /e/g /d exchange ; stat /e links -> 3 ; stat / links -> 3 ; stat /d type -> file ; stat /e/g type -> directory`,
  "times of both directories and of the inode follow a change": `
    mkdir /a ; mkdir /b ; make /a/f ; wait 5 ; link /a/f /b/f ; stat /b mtime ctime -> 5 5 ; stat /a mtime -> 0 ; stat /a/f ctime mtime -> 5 0
    wait 5 ; rename /a/f /b/g ; stat /a mtime ctime -> 10 10 ; stat /b mtime -> 10 ; stat /b/g ctime mtime -> 10 0
    wait 5 ; unlink /b/f ; stat /b mtime -> 15 ; stat /b/g ctime links -> 15 1 ; wait 5 ; chmod /b/g 600 ; stat /b/g ctime mtime -> 20 0
    wait 5 ; truncate /b/g 10 ; stat /b/g ctime mtime atime -> 25 25 0 ; wait 5 ; write /b/g 0 x ; stat /b/g mtime -> 30`,
  "chmod, chown and clearing of set-id bits": `
    make /f 6755 ; chown /f 1 2 ; stat /f mode uid gid -> 755 1 2 ; chmod /f 6745 ; chown /f 3 4 ; stat /f mode -> 2745 ; chmod /f 6755 ; clear /f ; stat /f mode -> 755
    mkdir /d 6755 ; chown /d 1 1 ; stat /d mode -> 6755 ; chmod /d 17777 ; stat /d mode type -> 7777 directory`,
  sizes: `
    make /f ; truncate /f 1000 ; stat /f size allocated -> 1000 0 ; write /f 0 hello ; stat /f size allocated -> 1000 5 ; truncate /f 2 ; truncate /f 4 ; read /f -> he..
    mkdir /d ; truncate /d 0 -> EISDIR ; symlink /l x ; truncate /l 0 -> EINVAL ; truncate /f 4503599627370497 -> EFBIG ; truncate /f 4503599627370496 ; truncate /f -1 -> EINVAL`,
  "writing replaces what was there": `
    make /f ; write /f 0 aaaaaaaa ; write /f 2 bbb ; read /f -> aabbbaaa ; write /f 7 cccc ; read /f -> aabbbaacccc ; write /f 12 d ; read /f -> aabbbaacccc.d
    write /f 0 eeeeeeeeeeeeee ; read /f -> eeeeeeeeeeeeee ; stat /f allocated -> 14 ; truncate /f 3 ; read /f -> eee ; stat /f allocated -> 3 ; write /d 0 x -> ENOENT`,
  "punch, zero and allocate": `
    make /f ; write /f 0 abcdefgh ; punch /f 2 3 keep ; read /f -> ab...fgh ; stat /f size allocated -> 8 5 ; zero /f 0 1 keep ; read /f -> .b...fgh ; stat /f allocated -> 4096
    allocate /f 6 10 keep ; stat /f size allocated -> 8 4096 ; allocate /f 6 10 ; stat /f size -> 16 ; read /f -> .b...fgh........ ; truncate /f 16 ; punch /f 0 100 keep ; stat /f size allocated -> 16 0
    allocate /f 0 0 -> EINVAL ; allocate /f 4503599627370495 10 -> EFBIG ; mkdir /d ; allocate /d 0 1 -> EISDIR`,
  "reserved space beyond the end reads as zeros when the file grows, and goes with a truncate": `
    make /f ; write /f 0 ab ; allocate /f 0 10 keep ; stat /f size allocated -> 2 4096 ; truncate /f 4 ; read /f -> ab.. ; stat /f allocated -> 4096 ; truncate /f 4 ; stat /f allocated -> 4`,
  "collapse and insert": `
    make /f ; write /f 0 x ; write /f 4096 y ; write /f 8192 z ; collapse /f 4096 4096 ; stat /f size -> 4097 ; collapse /f 0 4096 ; read /f -> z ; insert /f 0 4096 ; stat /f size allocated -> 4097 1
    collapse /f 0 8192 -> EINVAL ; collapse /f 1 4096 -> EINVAL ; insert /f 8192 4096 -> EINVAL ; insert /f 0 4095 -> EINVAL ; collapse /f 0 4096 ; read /f -> z`,
  sharing: `
    make /f ; make /g ; write /f 0 abcdef ; share /f 1 /g 0 3 -> 3 ; read /g -> bcd ; share /f 4 /g 5 100 -> 2 ; read /g -> bcd..ef ; share /f 0 /f 6 6 -> 6 ; read /f -> abcdefabcdef
    share /f 0 /f 3 6 -> EINVAL ; share /f 100 /g 0 5 -> 0 ; write /g 0 X ; read /f -> abcdefabcdef ; mkdir /d ; share /d 0 /g 0 1 -> EISDIR`,
  attributes: `
    make /f ; set /f user.a one ; get /f user.a -> one ; get /f user.b -> null ; names /f -> user.a ; set /f user.a two create -> EEXIST ; set /f user.b x replace -> ENODATA ; set /f user.a two replace
    get /f user.a -> two ; remove /f user.b -> ENODATA ; remove /f user.a ; names /f -> ; remove /f user.a -> ENODATA ; set /f user.empty  ; names /f -> user.empty
    symlink /l x ; set /l user.a x -> EPERM ; set /l trusted.a x ; node /p fifo ; set /p user.a x -> EPERM ; set /f user.${"n".repeat(251)} x -> ERANGE ; wait 3 ; set /f user.t x ; stat /f ctime mtime -> 3 0`,
  "an access ACL and the mode are one": `
    make /f 640 ; acl /f access u:6,u7:4,g:4,m:5,o:0 ; stat /f mode -> 650 ; get /f acl -> u:6,u7:4,g:4,m:5,o:0 ; chmod /f 741 ; get /f acl -> u:7,u7:4,g:4,m:4,o:1 ; acl /f access u:6,g:2,o:1 ; stat /f mode -> 621 ; get /f acl -> null
    acl /f access u:6,u7:4,g:4,o:0 -> EINVAL ; acl /f access g:4,u:6,o:0 -> EINVAL ; acl /f access u:6,o:0 -> EINVAL ; acl /f access u:8,g:0,o:0 -> EINVAL ; symlink /l x ; acl /l access u:6,g:4,o:0 -> EOPNOTSUPP`,
  "a default ACL is inherited and takes the umask's place": `
    mkdir /d ; acl /d default u:7,u7:6,g:5,m:7,o:0 ; make /d/f 666 umask=77 ; stat /d/f mode -> 660 ; get /d/f acl -> u:6,u7:6,g:5,m:6,o:0 ; mkdir /d/e 777 umask=77 ; stat /d/e mode -> 770 ; get /d/e default -> u:7,u7:6,g:5,m:7,o:0
    acl /d default u:7,g:5,o:0 ; make /d/g 666 umask=77 ; stat /d/g mode -> 640 ; get /d/g acl -> null ; make /f ; acl /f default u:7,g:5,o:0 -> EACCES ; acl /d default  ; make /d/h 666 umask=22 ; stat /d/h mode -> 644`,
  "special files": `node /p fifo ; stat /p type size -> fifo 0 ; node /b block 2049 ; stat /b type device -> block 2049 ; write /p 0 x -> EINVAL ; truncate /p 0 -> EINVAL`,
  "symbolic links": `symlink /l some/where ; readlink /l -> some/where ; make /f ; readlink /f -> EINVAL ; symlink /m ${"t".repeat(4095)} ; symlink /n ${"t".repeat(4096)} -> ENAMETOOLONG`,
};

const TYPES: Record<number, string> = {
  [S_IFREG]: "file",
  [S_IFDIR]: "directory",
  [S_IFLNK]: "link",
  [S_IFIFO]: "fifo",
  [S_IFBLK]: "block",
};
const TAGS: Record<string, number> = { u: 1, U: 2, g: 4, m: 16, o: 32 };

class Transcript {
  readonly store: TestStore;
  readonly start: number;

  constructor(store: TestStore) {
    this.store = store;
    this.start = store.clock.dateMs() / 1000;
  }

  async find(path: string): Promise<InodeId> {
    let at = this.store.root;
    for (const part of path.split("/").filter((part) => part !== "")) {
      const { attributes } = await this.store.session.call("lookup", { parent: at, name: part as ByteString });
      if (attributes === null) throw Object.assign(new Error(path), { code: "ENOENT" });
      at = attributes.inode;
    }
    return at;
  }

  async place(path: string): Promise<{ parent: InodeId; name: ByteString }> {
    const cut = path.lastIndexOf("/");
    return { parent: await this.find(path.slice(0, cut)), name: path.slice(cut + 1) as ByteString };
  }

  async run(line: string): Promise<string> {
    const [command, ...words] = line.split(" ");
    try {
      return String((await COMMANDS[command](this, words)) ?? "ok");
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === undefined || code === "EIO") throw error;
      return code;
    }
  }

  field(attributes: Attributes, field: string): string | number {
    const seconds = (value: number): number => value - this.start;
    switch (field) {
      case "mode": return (attributes.mode & 0o7777).toString(8); // prettier-ignore
      case "type": return TYPES[attributes.mode & 0o170000]; // prettier-ignore
      case "links": return attributes.linkCount; // prettier-ignore
      case "allocated": return attributes.allocatedBytes; // prettier-ignore
      case "ctime": return seconds(attributes.ctimeSeconds); // prettier-ignore
      case "mtime": return seconds(attributes.mtimeSeconds); // prettier-ignore
      case "atime": return seconds(attributes.atimeSeconds); // prettier-ignore
      default: return attributes[field as "uid"]; // prettier-ignore
    }
  }

  async make(path: string, mode: number, words: string[], more: object = {}): Promise<{ created: boolean }> {
    const options = Object.fromEntries(words.filter((word) => word.includes("=")).map((word) => word.split("=")));
    const request = {
      mode,
      umask: parseInt(options.umask ?? "0", 8),
      uid: Number(options.uid ?? 0),
      gid: Number(options.gid ?? 0),
      exclusive: true,
      ...more,
    };
    return this.store.session.call("make", { ...(await this.place(path)), ...request });
  }

  async change(path: string, change: object): Promise<void> {
    await this.store.session.call("setAttributes", { inode: await this.find(path), change });
  }

  async reshape(
    kind: "punch" | "zero" | "allocate" | "collapse" | "insert",
    [path, offset, length, keep]: string[],
  ): Promise<void> {
    await this.store.session.call("reshape", {
      inode: await this.find(path),
      kind,
      offset: Number(offset),
      length: Number(length),
      keepSize: keep === "keep",
    });
  }
}

function aclOf(text: string): Uint8Array {
  if (text === "" || text === undefined) return new Uint8Array(0);
  return encodeAcl(
    text.split(",").map((entry) => {
      const [who, permissions] = entry.split(":");
      const named = who.length > 1;
      return {
        tag: TAGS[named ? who[0].toUpperCase() : who],
        permissions: Number(permissions),
        id: named ? Number(who.slice(1)) : 0,
      };
    }),
  );
}

function aclText(bytes: Uint8Array): string {
  const letters: Record<number, string> = { 1: "u", 2: "u", 4: "g", 16: "m", 32: "o" };
  return decodeAcl(bytes)
    .map(({ tag, permissions, id }) => `${letters[tag]}${tag === 2 ? id : ""}:${permissions}`)
    .join(",");
}

const ACL_NAMES: Record<string, string> = { acl: "system.posix_acl_access", default: "system.posix_acl_default" };

const COMMANDS: Record<string, (at: Transcript, words: string[]) => Promise<unknown>> = {
  make: async (at, [path, ...words]) =>
    void (await at.make(path, S_IFREG | parseInt(/^[0-7]+$/.test(words[0] ?? "") ? words[0] : "644", 8), words)),
  mkdir: async (at, [path, ...words]) =>
    void (await at.make(path, S_IFDIR | parseInt(/^[0-7]+$/.test(words[0] ?? "") ? words[0] : "755", 8), words)),
  symlink: async (at, [path, target, ...words]) => void (await at.make(path, S_IFLNK | 0o777, words, { target })),
  node: async (at, [path, kind, device]) =>
    void (await at.make(path, (kind === "fifo" ? S_IFIFO : S_IFBLK) | 0o644, [], { device: Number(device ?? 0) })),
  open: async (at, [path]) => ((await at.make(path, S_IFREG | 0o644, [], { exclusive: false })).created ? "created" : "existing"),
  link: async (at, [from, to]) =>
    void (await at.store.session.call("link", { inode: await at.find(from), ...(await at.place(to)) })),
  unlink: async (at, [path]) => void (await at.store.session.call("unlink", { ...(await at.place(path)), directory: false })),
  rmdir: async (at, [path]) => void (await at.store.session.call("unlink", { ...(await at.place(path)), directory: true })),
  rename: async (at, [from, to, how]) => {
    const source = await at.place(from);
    const target = await at.place(to);
    await at.store.session.call("rename", {
      ...source,
      newParent: target.parent,
      newName: target.name,
      noReplace: how === "noreplace",
      exchange: how === "exchange",
    });
  },
  chmod: (at, [path, mode]) => at.change(path, { mode: parseInt(mode, 8) }),
  chown: (at, [path, uid, gid]) => at.change(path, { uid: Number(uid), gid: Number(gid) }),
  clear: (at, [path]) => at.change(path, { clearSetId: true }),
  truncate: (at, [path, size]) => at.change(path, { size: Number(size) }),
  write: async (at, [path, offset, text]) => {
    const extents = [{ offset: Number(offset), length: text.length, inline: Buffer.from(text) }];
    await at.store.session.call("commit", { files: [{ inode: await at.find(path), extents }], stripes: [] });
  },
  read: async (at, [path]) => {
    const inode = await at.find(path);
    const { attributes } = await at.store.session.call("getAttributes", { inode });
    const bytes = Buffer.alloc(attributes.size, ".");
    const { extents } = await at.store.session.call("extents", { inode, from: 0, to: attributes.size, limit: 1000 });
    for (const { offset, inline } of extents)
      if (inline !== undefined) bytes.set(inline.subarray(0, attributes.size - offset), offset);
    return bytes.toString();
  },
  set: async (at, [path, attribute, value, how]) => {
    await at.store.session.call("setXattr", {
      inode: await at.find(path),
      name: name(attribute),
      value: Buffer.from(value),
      create: how === "create",
      replace: how === "replace",
      clearSetGroupId: false,
    });
  },
  acl: async (at, [path, kind, entries]) => {
    const attribute = name(ACL_NAMES[kind === "access" ? "acl" : kind]);
    await at.store.session.call("setXattr", {
      inode: await at.find(path),
      name: attribute,
      value: aclOf(entries),
      create: false,
      replace: false,
      clearSetGroupId: false,
    });
  },
  get: async (at, [path, attribute]) => {
    const { value } = await at.store.session.call("getXattr", {
      inode: await at.find(path),
      name: name(ACL_NAMES[attribute] ?? attribute),
    });
    return value === null ? "null" : attribute in ACL_NAMES ? aclText(value) : Buffer.from(value).toString();
  },
  names: async (at, [path]) => (await at.store.session.call("listXattrs", { inode: await at.find(path) })).names.join(" "),
  remove: async (at, [path, attribute]) =>
    void (await at.store.session.call("removeXattr", { inode: await at.find(path), name: name(attribute) })),
  stat: async (at, [path, ...fields]) => {
    const { attributes } = await at.store.session.call("getAttributes", { inode: await at.find(path) });
    return fields.map((field) => at.field(attributes, field)).join(" ");
  },
  list: async (at, [path]) => {
    const { entries } = await at.store.session.call("list", {
      inode: await at.find(path),
      after: 0,
      limit: 1000,
      attributes: false,
    });
    return entries.map((entry) => entry.name).join(" ");
  },
  readlink: async (at, [path]) => (await at.store.session.call("readLink", { inode: await at.find(path) })).target,
  punch: (at, words) => at.reshape("punch", words),
  zero: (at, words) => at.reshape("zero", words),
  allocate: (at, words) => at.reshape("allocate", words),
  collapse: (at, words) => at.reshape("collapse", words),
  insert: (at, words) => at.reshape("insert", words),
  share: async (at, [from, fromOffset, to, toOffset, length]) => {
    const request = {
      from: await at.find(from),
      fromOffset: Number(fromOffset),
      to: await at.find(to),
      toOffset: Number(toOffset),
      length: Number(length),
    };
    return (await at.store.session.call("share", request)).copied;
  },
  wait: async (at, [seconds]) => at.store.clock.advance(Number(seconds) * 1000),
};

for (const [title, text] of Object.entries(CASES)) {
  test(title, async () => {
    const store = await openStore();
    const transcript = new Transcript(store);
    for (const line of text
      .split(/ ;(?= )|\n/)
      .map((line) => line.replace(/^ +/, ""))
      .filter((line) => line !== "")) {
      const [command, expected] = line.split(/ -> ?/);
      assert.equal(await transcript.run(command), expected ?? "ok", line.slice(0, 200));
    }
    assert.deepEqual(await problems(store.namespace), []);
  });
}

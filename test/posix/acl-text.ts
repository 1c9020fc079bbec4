// POSIX ACLs between the table's text (`u::rw-,u:2001:r--,...`) and the kernel's bytes: a version word of 2, then
// for each entry a 16-bit tag, 16-bit permissions and a 32-bit id (include/uapi/linux/posix_acl_xattr.h).

const NO_ID = 0xffffffff;
const TAGS: Record<string, [number, number]> = { u: [0x01, 0x02], g: [0x04, 0x08], m: [0x10, 0x10], o: [0x20, 0x20] };

export function aclBytes(text: string): Uint8Array {
  const entries = text.split(",");
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(2);
  for (const [index, entry] of entries.entries()) {
    const [tag, id, rights] = entry.split(":");
    const bits = (rights.includes("r") ? 4 : 0) | (rights.includes("w") ? 2 : 0) | (rights.includes("x") ? 1 : 0);
    bytes.writeUInt16LE(TAGS[tag][id ? 1 : 0], 4 + 8 * index);
    bytes.writeUInt16LE(bits, 6 + 8 * index);
    bytes.writeUInt32LE(id ? Number(id) : NO_ID, 8 + 8 * index);
  }
  return Uint8Array.from(bytes);
}

export function aclText(bytes: Buffer): string {
  const entries: string[] = [];
  for (let at = 4; at + 8 <= bytes.length; at += 8) {
    const tag = bytes.readUInt16LE(at);
    const bits = bytes.readUInt16LE(at + 2);
    const name = Object.keys(TAGS).find((key) => TAGS[key].includes(tag));
    const named = tag === 0x02 || tag === 0x08;
    entries.push(
      `${name}:${named ? bytes.readUInt32LE(at + 4) : ""}:${bits & 4 ? "r" : "-"}${bits & 2 ? "w" : "-"}${bits & 1 ? "x" : "-"}`,
    );
  }
  return entries.join(",");
}

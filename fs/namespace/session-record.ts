// What the table keeps of a durable session (key `t`).

import type { ByteReader, ByteWriter } from "./bytes.ts";

const SESSION_FORMAT = 1;

export interface SessionRecord {
  /** The server has ended it. Its mount may not know yet, and trust what it caches until the limit is over. */
  over: boolean;
  /** The time limit that its mount was told; of one that is over, how much of it was left then. */
  limitMs: number;
  /** Whose it is: text for NamespaceOptions.awaits. */
  owner: string;
}

export function encodeSession(writer: ByteWriter, { over, limitMs, owner }: SessionRecord): void {
  writer.byte(SESSION_FORMAT);
  writer.byte(over ? 1 : 0);
  writer.varint(Math.ceil(limitMs));
  writer.raw(Buffer.from(owner));
}

export function decodeSession(reader: ByteReader): SessionRecord {
  const format = reader.byte();
  if (format !== SESSION_FORMAT) reader.fail(`its format is ${format}, this version reads ${SESSION_FORMAT}`);
  const over = reader.byte();
  if (over > 1) reader.fail(`it is ${over}; it should be 0, going on, or 1, over`);
  const limitMs = reader.varint();
  const owner = Buffer.from(reader.raw(reader.end - reader.at)).toString();
  return { over: over === 1, limitMs, owner };
}

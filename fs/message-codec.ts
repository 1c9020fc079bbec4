// Turns the messages of fs/messages.ts into protobuf bytes and back (fs/message-schema.ts is the format).
//
// What differs between the two forms, by field: byte strings (one char a byte) are bytes; a time "now" is a flag; a
// lock to the end has no end; null is absence. Decoded byte fields share memory with the bytes decoded from.

import protobuf from "protobufjs";
import type { OperationName, Reply, Request } from "./messages.ts";
import { messageSchema, operationMessages } from "./message-schema.ts";

protobuf.util.Long = null as never;
protobuf.configure();

const root = protobuf.parse(messageSchema, { keepCase: true }).root;

/** Fields that are ByteString in fs/messages.ts and bytes on the wire. */
const BYTE_STRING_FIELDS = new Set(["name", "newName", "target", "names"]);
const TIME_FIELDS = new Set(["atime", "mtime", "ctime"]);
/** Replies in which absence of these means null, not undefined. */
const NULLABLE: Partial<Record<string, string>> = {
  lookup: "attributes",
  rename: "replaced",
  getXattr: "value",
  testLock: "conflict",
};

type Fields = Record<string, unknown>;

function outward(value: unknown, field: string): unknown {
  if (typeof value === "string")
    return BYTE_STRING_FIELDS.has(field)
      ? Buffer.from(value, "latin1")
      : value === "now" && TIME_FIELDS.has(field)
        ? { now: true }
        : value;
  if (Array.isArray(value)) return value.map((item) => outward(item, field));
  if (value === Infinity && field === "end") return undefined;
  if (value === null || typeof value !== "object" || value instanceof Uint8Array) return value ?? undefined;
  return outwardFields(value as Fields);
}

function outwardFields(fields: Fields): Fields {
  const result: Fields = {};
  for (const key in fields) {
    const value = outward(fields[key], key);
    if (value !== undefined) result[key] = value;
  }
  return result;
}

function inward(value: unknown, field: string): unknown {
  if (value instanceof Uint8Array)
    return BYTE_STRING_FIELDS.has(field) ? Buffer.from(value.buffer, value.byteOffset, value.length).toString("latin1") : value;
  if (Array.isArray(value)) return value.map((item) => inward(item, field));
  if (value === null || typeof value !== "object") return value;
  const fields = value as Fields;
  if (TIME_FIELDS.has(field) && fields.now) return "now";
  if (TIME_FIELDS.has(field)) return { seconds: fields.seconds, nanoseconds: fields.nanoseconds };
  for (const key in fields) fields[key] = inward(fields[key], key);
  if ("kind" in fields && "owner" in fields && "type" in fields && !("end" in fields)) fields.end = Infinity;
  return fields;
}

const typeOf = (name: string): protobuf.Type => root.lookupType(name);

/** Bytes of a message by its name in the schema. */
export function encodeMessage(name: string, fields: object): Uint8Array {
  return typeOf(name)
    .encode(outwardFields(fields as Fields))
    .finish();
}

/** The message, or an error with code EPROTO that names it. */
export function decodeMessage<T>(name: string, bytes: Uint8Array): T {
  try {
    const type = typeOf(name);
    return inward(type.toObject(type.decode(bytes), { defaults: true, arrays: true }), "") as T;
  } catch (error) {
    throw Object.assign(
      new Error(`message ${name} of ${bytes.length} bytes cannot be decoded: ${(error as Error).message}`, { cause: error }),
      { code: "EPROTO" },
    );
  }
}

export function isOperation(name: string): name is OperationName {
  return Object.hasOwn(operationMessages, name);
}

export function encodeRequest<Name extends OperationName>(operation: Name, request: Request<Name>): Uint8Array {
  return encodeMessage(operationMessages[operation][0], request);
}

export function decodeRequest<Name extends OperationName>(operation: Name, bytes: Uint8Array): Request<Name> {
  return decodeMessage(operationMessages[operation][0], bytes);
}

export function encodeReply<Name extends OperationName>(operation: Name, reply: Reply<Name>): Uint8Array {
  return encodeMessage(operationMessages[operation][1], reply);
}

export function decodeReply<Name extends OperationName>(operation: Name, bytes: Uint8Array): Reply<Name> {
  const reply = decodeMessage<Fields>(operationMessages[operation][1], bytes);
  const nullable = NULLABLE[operation];
  if (nullable && !(nullable in reply)) reply[nullable] = null;
  return reply as unknown as Reply<Name>;
}

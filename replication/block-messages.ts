// What block clients and block servers say to each other, over replication/connection.ts. Bytes of blocks travel as a
// frame's payload, never inside the message. Field numbers are fixed for good.

import protobuf from "protobufjs";

protobuf.util.Long = null as never;
protobuf.configure();

const root = protobuf.parse(
  `syntax = "proto3";
   message Block { uint64 stripe = 1; uint32 index = 2; }
   message BlockInfo { uint64 stripe = 1; uint32 index = 2; uint32 bytes = 3; string file = 4; uint64 offset = 5; }
   message Space { uint64 totalBytes = 1; uint64 freeBytes = 2; uint64 blockBytes = 3; uint64 blocks = 4; }
   message Disk { uint32 id = 1; string path = 2; string state = 3; optional string reason = 4; Space space = 5; uint64 readErrors = 6; uint64 writeErrors = 7; }
   message DiskRequest { uint32 disk = 1; }
   message BlockRequest { uint32 disk = 1; Block block = 2; }
   message RetrieveRequest { uint32 disk = 1; Block block = 2; uint32 offset = 3; uint32 length = 4; }
   message DeleteRequest { uint32 disk = 1; repeated Block blocks = 2; }
   message ListRequest { uint32 disk = 1; optional Block after = 2; uint32 limit = 3; }
   message ListReply { repeated BlockInfo blocks = 1; }
   message LocateReply { optional BlockInfo block = 1; }
   message VerifyReply { string state = 1; }
   message DisksReply { repeated Disk disks = 1; }
   message Empty {}`,
  { keepCase: true },
).root;

/** operation -> names of its request's and its reply's message. */
export const blockOperations = {
  "block.disks": ["Empty", "DisksReply"],
  "block.store": ["BlockRequest", "Empty"],
  "block.sync": ["DiskRequest", "Empty"],
  "block.retrieve": ["RetrieveRequest", "Empty"],
  "block.delete": ["DeleteRequest", "Empty"],
  "block.list": ["ListRequest", "ListReply"],
  "block.verify": ["BlockRequest", "VerifyReply"],
  "block.locate": ["BlockRequest", "LocateReply"],
} as const;

export type BlockOperation = keyof typeof blockOperations;

export function isBlockOperation(name: string): name is BlockOperation {
  return Object.hasOwn(blockOperations, name);
}

function encode(type: string, fields: object): Uint8Array {
  return root.lookupType(type).encode(fields).finish();
}

function decode<T>(type: string, bytes: Uint8Array): T {
  const message = root.lookupType(type);
  try {
    return message.toObject(message.decode(bytes), { defaults: true, arrays: true }) as T;
  } catch (error) {
    throw Object.assign(
      new Error(`block message ${type} of ${bytes.length} bytes cannot be decoded: ${(error as Error).message}`, {
        cause: error,
      }),
      { code: "EPROTO" },
    );
  }
}

export const encodeBlockRequest = (operation: BlockOperation, fields: object): Uint8Array =>
  encode(blockOperations[operation][0], fields);
export const decodeBlockRequest = <T>(operation: BlockOperation, bytes: Uint8Array): T =>
  decode<T>(blockOperations[operation][0], bytes);
export const encodeBlockReply = (operation: BlockOperation, fields: object): Uint8Array =>
  encode(blockOperations[operation][1], fields);
export const decodeBlockReply = <T>(operation: BlockOperation, bytes: Uint8Array): T =>
  decode<T>(blockOperations[operation][1], bytes);

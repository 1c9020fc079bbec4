// Serves a BlockClient to the other side of a connection.

import { BLOCK_MAX_BYTES, type BlockId } from "../storage/blocks.ts";
import type { BlockClient } from "./block-client.ts";
import { type BlockOperation, decodeBlockRequest, encodeBlockReply } from "./block-messages.ts";
import type { Message } from "./connection.ts";
import type { DiskId } from "./stripe.ts";

/** Entries of one LIST reply. */
export const LIST_MAX = 4096;

interface Fields {
  disk: DiskId;
  block: BlockId;
  offset: number;
  length: number;
  blocks: BlockId[];
  after?: BlockId;
  limit: number;
}

function refuse(code: string, message: string): never {
  throw Object.assign(new Error(message), { code });
}

/** How many bytes of payload the reply to a request has. Throws EPROTO. */
export function blockReplyBytes(operation: string, message: Message): number {
  if (operation !== "block.retrieve") return 0;
  return Math.min(decodeBlockRequest<Fields>(operation, message.body).length, BLOCK_MAX_BYTES);
}

/** Carries out one request of a block client on the other side. Throws with the block store's codes, or EPROTO. */
export async function serveBlocks(blocks: BlockClient, operation: BlockOperation, message: Message): Promise<Message> {
  const fields = decodeBlockRequest<Fields>(operation, message.body);
  const { disk, block } = fields;
  const reply = (result: object = {}, payload?: Uint8Array): Message => ({ body: encodeBlockReply(operation, result), payload });
  if ("block" in fields && !fields.block) refuse("EPROTO", `${operation} names no block`);
  switch (operation) {
    case "block.disks":
      return reply({ disks: blocks.disks() });
    case "block.store": {
      const bytes = message.payload?.length ?? 0;
      if (bytes === 0 || bytes > BLOCK_MAX_BYTES)
        refuse("EPROTO", `a block of ${bytes} bytes cannot be stored; it should be 1 to ${BLOCK_MAX_BYTES}`);
      await blocks.store(disk, block, message.payload!);
      return reply();
    }
    case "block.sync":
      await blocks.sync(disk);
      return reply();
    case "block.retrieve": {
      if (fields.length > BLOCK_MAX_BYTES)
        refuse("EPROTO", `${fields.length} bytes of a block were asked for; at most ${BLOCK_MAX_BYTES} are there`);
      const into = new Uint8Array(fields.length);
      await blocks.retrieve(disk, block, fields.offset, into);
      return reply({}, into);
    }
    case "block.delete":
      await blocks.delete(disk, fields.blocks);
      return reply();
    case "block.list":
      return reply({ blocks: await blocks.list(disk, fields.after ?? null, Math.min(fields.limit, LIST_MAX)) });
    case "block.verify":
      return reply({ state: await blocks.verify(disk, block) });
    case "block.locate":
      return reply({ block: (await blocks.locate(disk, block)) ?? undefined });
  }
}

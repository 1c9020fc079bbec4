// A BlockClient whose disks are on the other side of a connection (replication/block-server.ts).
//
// Disk states are a copy, refreshed every REFRESH_MS and at open. Bytes are never at hand without waiting, so
// retrieveNow is always false. Every request has a deadline.

import type { BlockId, BlockInfo } from "../storage/blocks.ts";
import type { BlockClient, DiskStatus } from "./block-client.ts";
import { type BlockOperation, decodeBlockReply, encodeBlockRequest } from "./block-messages.ts";
import type { Message, RequestOptions } from "./connection.ts";
import type { DiskId } from "./stripe.ts";

/** A block server that takes longer than this for one block counts as failed for that request. */
const DEADLINE_MS = 30_000;
const REFRESH_MS = 1_000;

/** What is needed of a connection. */
export interface Requester {
  request(name: string, message: Message, options: RequestOptions): Promise<Message>;
}

export class RemoteBlocks implements BlockClient {
  readonly #requester: Requester;
  readonly #now: () => number;
  #disks: DiskStatus[] = [];
  #refreshedAt = -Infinity;

  private constructor(requester: Requester, now: () => number) {
    this.#requester = requester;
    this.#now = now;
  }

  /** Asks for the disks first, so that disks() is right from the start. */
  static async open(requester: Requester, now: () => number): Promise<RemoteBlocks> {
    const blocks = new RemoteBlocks(requester, now);
    await blocks.#refresh();
    return blocks;
  }

  disks(): readonly DiskStatus[] {
    if (this.#now() - this.#refreshedAt > REFRESH_MS) {
      this.#refreshedAt = this.#now();
      // The old states serve meanwhile; a connection that is gone shows in every other request.
      this.#refresh().catch(() => {});
    }
    return this.#disks;
  }

  async store(disk: DiskId, id: BlockId, bytes: Uint8Array): Promise<void> {
    await this.#ask("block.store", { disk, block: id }, bytes);
  }

  async sync(disk: DiskId): Promise<void> {
    await this.#ask("block.sync", { disk });
  }

  async retrieve(disk: DiskId, id: BlockId, offset: number, into: Uint8Array): Promise<void> {
    const { payload } = await this.#ask("block.retrieve", { disk, block: id, offset, length: into.length });
    if (payload?.length !== into.length)
      throw Object.assign(
        new Error(
          `disk ${disk} sent ${payload?.length ?? 0} bytes of block ${id.stripe}.${id.index}; it should be ${into.length}`,
        ),
        { code: "EIO" },
      );
    into.set(payload);
  }

  retrieveNow(): boolean {
    return false;
  }

  async delete(disk: DiskId, ids: readonly BlockId[]): Promise<void> {
    await this.#ask("block.delete", { disk, blocks: ids });
  }

  async list(disk: DiskId, after: BlockId | null, limit: number): Promise<BlockInfo[]> {
    const { body } = await this.#ask("block.list", { disk, after: after ?? undefined, limit });
    return decodeBlockReply<{ blocks: BlockInfo[] }>("block.list", body).blocks;
  }

  async verify(disk: DiskId, id: BlockId): Promise<"good" | "missing" | "damaged"> {
    const { body } = await this.#ask("block.verify", { disk, block: id });
    return decodeBlockReply<{ state: "good" | "missing" | "damaged" }>("block.verify", body).state;
  }

  async locate(disk: DiskId, id: BlockId): Promise<BlockInfo | null> {
    const { body } = await this.#ask("block.locate", { disk, block: id });
    return decodeBlockReply<{ block?: BlockInfo }>("block.locate", body).block ?? null;
  }

  /** The other side measures when room is asked for. */
  async measure(): Promise<void> {
    await this.#refresh().catch(() => {});
  }

  async #refresh(): Promise<void> {
    const { body } = await this.#ask("block.disks", {});
    this.#disks = decodeBlockReply<{ disks: DiskStatus[] }>("block.disks", body).disks;
    this.#refreshedAt = this.#now();
  }

  #ask(operation: BlockOperation, fields: object, payload?: Uint8Array): Promise<Message> {
    return this.#requester.request(
      operation,
      { body: encodeBlockRequest(operation, fields), payload },
      { deadlineMs: DEADLINE_MS },
    );
  }
}

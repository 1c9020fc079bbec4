// A mount's session with a namespace in another process, and the blocks behind it, over one connection.

import type { Duplex } from "node:stream";
import type { BlockClient } from "../replication/block-client.ts";
import { Connection, type Message } from "../replication/connection.ts";
import { RemoteBlocks } from "../replication/remote-blocks.ts";
import type { Clock } from "./clock.ts";
import { FsError, type ErrnoName, errno } from "./errno.ts";
import { decodeMessage, decodeReply, encodeMessage, encodeRequest } from "./message-codec.ts";
import type { LeaseMode, OperationName, Reply, Request, Session, SessionEvents } from "./messages.ts";
import { SESSION_PROTOCOL_VERSION } from "./session-server.ts";
import type { ByteString, InodeId, SessionId } from "./types.ts";

/** A namespace that does not answer within this counts as gone for the request: the program gets ETIMEDOUT. */
const DEADLINE_MS = 60_000;
/** A waiting lock has no deadline of its own; this is the longest timer there is. */
const LOCK_DEADLINE_MS = 2 ** 31 - 1;
/** Heard of this often within its time limit, a session survives two lost turns. */
const PINGS_PER_LIMIT = 3;

interface RecallMessage {
  inode: InodeId;
  mode: LeaseMode;
  names: ByteString[];
  allNames: boolean;
}

/** What the server and the network refuse with, as a program will see it. */
function refusal(error: unknown): FsError {
  const { code, message } = error as { code?: string; message: string };
  if (code === "ECONNRESET" || code === "EPROTO") return new FsError("ENOTCONN", message, { cause: error });
  return new FsError(code !== undefined && code in errno ? (code as ErrnoName) : "EIO", message, { cause: error });
}

export interface RemoteSessionOptions {
  stream: Duplex;
  /** Shown in the daemon's status. */
  mountpoint: string;
  pid: number;
  clock: Clock;
  events: SessionEvents;
}

export class RemoteSession implements Session {
  readonly id: SessionId;
  readonly blocks: BlockClient;
  /** Scheme of new full stripes. */
  readonly scheme: string;
  readonly #connection: Connection;
  readonly #cancelPings: () => void;

  private constructor(id: SessionId, scheme: string, blocks: BlockClient, connection: Connection, cancelPings: () => void) {
    this.id = id;
    this.scheme = scheme;
    this.blocks = blocks;
    this.#connection = connection;
    this.#cancelPings = cancelPings;
  }

  /** Says hello and learns the disks. Rejects with FsError where the daemon refuses or does not answer. */
  static async open({ stream, mountpoint, pid, clock, events }: RemoteSessionOptions): Promise<RemoteSession> {
    let cancelPings = (): void => {};
    let over = false;
    const connection = new Connection({
      stream,
      handle: (request, message) => answerRecall(events, request, message),
      setTimer: (action, delayMs) => clock.after(delayMs, action),
      closed: () => {
        over = true;
        cancelPings();
        events.expired();
      },
    });
    try {
      const hello = encodeMessage("Hello", { version: SESSION_PROTOCOL_VERSION, mountpoint, pid });
      const { body } = await connection.request("hello", { body: hello }, { deadlineMs: DEADLINE_MS });
      const { session, timeLimitMs, scheme } = decodeMessage<{ session: SessionId; timeLimitMs: number; scheme: string }>(
        "Welcome",
        body,
      );
      const ping = (): void => {
        if (over) return;
        connection
          .request("ping", { body: encodeMessage("Empty", {}) }, { deadlineMs: timeLimitMs })
          .catch(() => connection.close());
        cancelPings = clock.after(timeLimitMs / PINGS_PER_LIMIT, ping);
      };
      ping();
      const blocks = await RemoteBlocks.open(connection, () => clock.now());
      return new RemoteSession(session, scheme, blocks, connection, () => cancelPings());
    } catch (error) {
      connection.close();
      throw refusal(error);
    }
  }

  async call<Name extends OperationName>(operation: Name, request: Request<Name>): Promise<Reply<Name>> {
    const waits = operation === "lock" && (request as Request<"lock">).wait;
    let message: Message;
    try {
      message = await this.#connection.request(
        operation,
        { body: encodeRequest(operation, request) },
        { deadlineMs: waits ? LOCK_DEADLINE_MS : DEADLINE_MS, long: waits },
      );
    } catch (error) {
      throw refusal(error);
    }
    return decodeReply(operation, message.body);
  }

  async close(): Promise<void> {
    this.#cancelPings();
    this.#connection.close();
  }
}

async function answerRecall(events: SessionEvents, request: string, message: Message): Promise<Message> {
  if (request === "moved") {
    events.moved?.(decodeMessage<{ inodes: InodeId[] }>("ForgetRequest", message.body).inodes);
    return { body: encodeMessage("Empty", {}) };
  }
  if (request !== "recall") throw new FsError("ENOSYS", `there is no request ${request}`);
  const { inode, mode, names, allNames } = decodeMessage<RecallMessage>("Recall", message.body);
  await events.recall(inode, mode, allNames ? undefined : names);
  return { body: encodeMessage("Empty", {}) };
}

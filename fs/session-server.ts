// Serves one mount of another process: its session with the namespace, and the blocks, over one connection.
//
// The session ends with the connection, or when nothing was heard for its time limit (the namespace watches that): a
// stopped process then finds every later request refused, so it cannot overwrite what others did meanwhile. Blocks
// that it stores are harmless: only a commit makes them part of a file.

import type { Duplex } from "node:stream";
import type { BlockClient } from "../replication/block-client.ts";
import { isBlockOperation } from "../replication/block-messages.ts";
import { serveBlocks } from "../replication/block-server.ts";
import { Connection, type Message } from "../replication/connection.ts";
import type { Clock } from "./clock.ts";
import { FsError } from "./errno.ts";
import { decodeMessage, decodeRequest, encodeMessage, encodeReply, isOperation } from "./message-codec.ts";
import type { LeaseMode, Session, SessionEvents } from "./messages.ts";
import type { ByteString, InodeId } from "./types.ts";

/** Goes up when the messages change in a way that an older side cannot speak. */
export const SESSION_PROTOCOL_VERSION = 1;

/** A session whose life the namespace watches. */
export interface HeardSession extends Session {
  /** Something was heard of the mount. Every call says so by itself. */
  heard(): void;
}

export interface SessionServerOptions {
  stream: Duplex;
  /** Opens a session with the namespace that expires when nothing is heard of it for timeLimitMs. */
  openSession: (events: SessionEvents, mountpoint: string, pid: number) => Promise<HeardSession>;
  /** Scheme of new full stripes. */
  scheme: string;
  blocks: BlockClient;
  clock: Clock;
  /** The session's time limit. */
  timeLimitMs: number;
  trace: (text: string) => void;
  /** Called for each request. */
  heard?: () => void;
  /** Called once, when the session is over. */
  closed?: () => void;
}

interface Hello {
  version: number;
  mountpoint: string;
  pid: number;
}

class SessionServer {
  readonly #options: SessionServerOptions;
  readonly #connection: Connection;
  #session: HeardSession | null = null;
  #over = false;

  constructor(options: SessionServerOptions) {
    this.#options = options;
    const { stream, clock, timeLimitMs } = options;
    this.#connection = new Connection({
      stream,
      handle: (name, message) => this.#handle(name, message),
      setTimer: (action, delayMs) => clock.after(delayMs, action),
      closed: (reason) => void this.#end(reason.message),
    });
    clock.after(timeLimitMs, () => {
      if (!this.#session) this.#connection.close();
    });
  }

  close(): void {
    this.#connection.close();
  }

  async #end(reason: string): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    if (this.#session) {
      this.#options.trace(`session ${this.#session.id}: over: ${reason}`);
      await this.#session
        .close()
        .catch((error: unknown) => this.#options.trace(`session ${this.#session?.id}: close: ${(error as Error).message}`));
    }
    this.#options.closed?.();
  }

  async #handle(name: string, message: Message): Promise<Message> {
    if (this.#over) throw new FsError("ESTALE", "this session is over");
    this.#session?.heard();
    this.#options.heard?.();
    if (name === "hello") return this.#hello(decodeMessage<Hello>("Hello", message.body));
    if (name === "ping") return { body: encodeMessage("Empty", {}) };
    if (!this.#session) throw new FsError("EINVAL", `${name} was asked before hello`);
    if (isBlockOperation(name)) return serveBlocks(this.#options.blocks, name, message);
    if (!isOperation(name)) throw new FsError("ENOSYS", `there is no operation ${name}`);
    const reply = await this.#session.call(name, decodeRequest(name, message.body));
    return { body: encodeReply(name, reply) };
  }

  async #hello({ version, mountpoint, pid }: Hello): Promise<Message> {
    if (version !== SESSION_PROTOCOL_VERSION)
      throw new FsError(
        "EINVAL",
        `the mount speaks version ${version} of the session protocol; this daemon speaks ${SESSION_PROTOCOL_VERSION}`,
      );
    if (this.#session) throw new FsError("EINVAL", "hello was said already");
    this.#session = await this.#options.openSession(
      {
        recall: (inode, mode, names) => this.#recall(inode, mode, names),
        moved: (inodes) => this.#moved(inodes),
        expired: () => this.#connection.close(),
      },
      mountpoint,
      pid,
    );
    return {
      body: encodeMessage("Welcome", {
        session: this.#session.id,
        timeLimitMs: this.#options.timeLimitMs,
        scheme: this.#options.scheme,
      }),
    };
  }

  #moved(inodes: readonly InodeId[]): void {
    const body = encodeMessage("ForgetRequest", { inodes });
    this.#connection.request("moved", { body }, { deadlineMs: this.#options.timeLimitMs }).catch(() => {});
  }

  /** Resolves when the mount has done it, or when its session is over and there is nothing left to give back. */
  async #recall(inode: InodeId, mode: LeaseMode, names?: readonly ByteString[]): Promise<void> {
    const body = encodeMessage("Recall", { inode, mode, names: names ?? [], allNames: names === undefined });
    try {
      await this.#connection.request("recall", { body }, { deadlineMs: this.#options.timeLimitMs });
    } catch (error) {
      await this.#end(`recall of inode ${inode}: ${(error as Error).message}`);
      this.#connection.close();
    }
  }
}

/** Begins to serve the connection. `close` ends the session and the connection. */
export function serveSession(options: SessionServerOptions): { close(): void } {
  return new SessionServer(options);
}

// Requests that may come twice: a durable session numbers them, and the same number gets the same reply, also from the
// server after a restart.

import { FsError } from "../errno.ts";
import type { OperationName, Reply, Request } from "../messages.ts";
import { OPERATION_RULES } from "../operation-rules.ts";
import type { Recording } from "./calls.ts";
import { id8, TAG_ANSWER } from "./keys.ts";
import type { Server } from "./server.ts";
import type { ServerSession } from "./sessions.ts";
import type { Transaction } from "./transaction.ts";

/** What is kept of a reply. */
function storedAnswer(name: OperationName, reply: unknown): unknown {
  return name === "commit" ? { gone: (reply as Reply<"commit">).gone } : reply;
}

export class Answers {
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Carries the request out, or replies as it did when it had this number before. */
  async call<Name extends OperationName>(
    session: ServerSession,
    number: number,
    name: Name,
    request: Request<Name>,
  ): Promise<Reply<Name>> {
    const stored = session.answers.get(number);
    if (stored !== undefined) return this.#answerAgain(session, name, request, await stored) as Promise<Reply<Name>>;
    this.#take(session, number, name);
    const recording = session.durable && OPERATION_RULES[name]?.once ? this.#recording(session, number, name) : undefined;
    const reply = this.#server.calls.call(session, name, request, recording);
    session.answers.set(number, reply);
    // What failed has changed nothing: asked again, it is tried again.
    reply.then(
      (done) => name === "commit" && session.answers.set(number, Promise.resolve(storedAnswer(name, done))),
      () => session.answers.delete(number),
    );
    this.#dropAnswers(session, number);
    return reply;
  }

  /** A number whose reply is not kept any more may have been done: it must not be done again. */
  #take(session: ServerSession, number: number, name: OperationName): void {
    const kept = this.#server.limits.answersPerSession;
    if (number <= session.newestNumber - kept)
      throw new FsError(
        "EIO",
        `${name}: request ${number} of session ${session.id} comes after number ${session.newestNumber}, and replies to the last ${kept} are kept; it may be done or not`,
      );
    session.newestNumber = Math.max(session.newestNumber, number);
  }

  /** A commit's attributes are looked up again: there may be thousands, and they need not be those of then. */
  async #answerAgain(session: ServerSession, name: OperationName, request: unknown, stored: unknown): Promise<unknown> {
    // The log outlived the server's process; the machine's next power cut it need not outlive.
    if (OPERATION_RULES[name].synced) await this.#server.sync();
    if (name !== "commit" || (stored as Reply<"commit">).attributes !== undefined) return stored;
    const { files } = request as Request<"commit">;
    const attributes = await this.#server.transact("none", session, (tx) => {
      tx.wantInodes(files.map(({ inode }) => inode));
      return files.flatMap(({ inode }) => tx.find(inode)?.attributes() ?? []);
    });
    return { ...(stored as object), attributes };
  }

  /** The reply goes into the state together with what it replies to, and so does how far a request in pieces has come. */
  #recording(session: ServerSession, number: number, name: OperationName): Recording {
    return {
      doneTo: session.doneTo.get(number) ?? null,
      done: (tx, reply) => {
        this.#store(tx, session, number, storedAnswer(name, reply));
        tx.afterwards(() => session.doneTo.delete(number));
      },
      goesOn: (tx, from) => {
        this.#store(tx, session, number, { doneTo: from });
        tx.afterwards(() => session.doneTo.set(number, from));
      },
    };
  }

  #store(tx: Transaction, session: ServerSession, number: number, answer: unknown): void {
    const prefix = TAG_ANSWER + id8(session.id);
    const text = Buffer.from(JSON.stringify(answer));
    tx.raw(prefix, id8(number), (writer) => writer.raw(text));
    const old = this.#outdated(session, number);
    for (const kept of old) tx.raw(prefix, id8(kept), null);
    tx.afterwards(() => {
      for (const kept of old) session.storedAnswers.delete(kept);
      session.storedAnswers.add(number);
    });
  }

  /** Numbers of stored replies that need not be kept beside this one. Not each number has one: what failed stored none. */
  #outdated(session: ServerSession, number: number): number[] {
    const old: number[] = [];
    for (const kept of session.storedAnswers) {
      if (kept > number - this.#server.limits.answersPerSession) break;
      old.push(kept);
    }
    return old;
  }

  #dropAnswers(session: ServerSession, number: number): void {
    const old = number - this.#server.limits.answersPerSession;
    for (const kept of session.answers.keys()) {
      if (kept > old) break;
      session.answers.delete(kept);
    }
  }
}

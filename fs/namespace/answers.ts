// Requests that may come twice: a durable session numbers them, and the same number gets the same reply, also from the
// server after a restart.
//
// 1. The reply to a number is kept until the session says that it has come: each request names those before it whose
//    replies have not. So what is kept is bounded by how many a session may have unanswered (`limits.unanswered`): twice as
//    many and KEPT_BEYOND.
// 2. What was stored is told as repeated. It grants nothing: a mount may have heard of a recall since, or the server may
//    have been started again and have forgotten its leases. But the inode that the mount comes to know by it stays known.
// 3. A request whose asker is gone (its connection broke) is not attempted any more. Sent again, it is a new attempt.

import { FsError } from "../errno.ts";
import type { OperationName, Reply, Request } from "../messages.ts";
import { countInRuns, inRuns, type NumberRuns, runsOf } from "../number-runs.ts";
import { OPERATION_RULES } from "../operation-rules.ts";
import type { Attributes } from "../types.ts";
import type { Recording } from "./calls.ts";
import { id8, TAG_ANSWER } from "./keys.ts";
import { KNOWN } from "./leases.ts";
import type { Answered, NumberedOptions } from "./namespace.ts";
import type { Server } from "./server.ts";
import type { ServerSession } from "./sessions.ts";
import type { Transaction } from "./transaction.ts";
import { GivenUp } from "./transactions.ts";

/** Replies that have come are dropped many at a time: so many may be kept beyond twice those that have not. */
export const KEPT_BEYOND = 16;

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
    { unanswered = [], signal }: NumberedOptions = {},
  ): Promise<Answered<Name>> {
    this.#take(session, number, name, unanswered);
    for (let kept = session.answers.get(number); kept !== undefined; kept = session.answers.get(number)) {
      try {
        const stored = await kept;
        return { reply: (await this.#answerAgain(session, name, request, stored)) as Reply<Name>, repeated: true };
      } catch (error) {
        // It was under way for a connection that broke.
        if (!(error instanceof GivenUp)) throw error;
      }
    }
    if (signal?.aborted) throw new GivenUp(OPERATION_RULES[name].entry);
    const recording =
      session.durable && OPERATION_RULES[name].once ? this.#recording(session, number, name, unanswered) : undefined;
    const reply = this.#server.calls.call(session, name, request, { recording, signal });
    this.#keep(session, number, name, reply);
    return { reply: await reply, repeated: false };
  }

  #keep(session: ServerSession, number: number, name: OperationName, reply: Promise<unknown>): void {
    const { answers } = session;
    answers.set(number, reply);
    const put = (kept: Promise<unknown> | null): void => {
      // The session may have said meanwhile that it does not wait for it any more.
      if (answers.get(number) !== reply) return;
      if (kept === null) answers.delete(number);
      else answers.set(number, kept);
    };
    reply.then(
      (done) => name === "commit" && put(Promise.resolve(storedAnswer(name, done))),
      // What failed has changed nothing, but for pieces that are done: asked again, it is tried again.
      () => put(null),
    );
  }

  /** Drops what has been answered. EIO where this number has: it may be done, and must not be done again. */
  #take(session: ServerSession, number: number, name: OperationName, unanswered: NumberRuns): void {
    const most = this.#server.limits.unanswered;
    const count = countInRuns(unanswered);
    if (count >= most)
      throw new FsError(
        "EINVAL",
        `${name}: ${count + 1} requests of session ${session.id} are not answered; at most ${most} may be`,
      );
    if (number > session.newestNumber) {
      session.newestNumber = number;
      session.unanswered = unanswered;
    } else if (number < session.newestNumber && !inRuns(session.unanswered, number))
      throw new FsError(
        "EIO",
        `${name}: request ${number} of session ${session.id} was answered before request ${session.newestNumber} was sent; it is not done again`,
      );
    if (session.answers.size <= 2 * count + KEPT_BEYOND) return;
    for (const kept of answeredOf(session.answers.keys(), number, unanswered)) session.answers.delete(kept);
    for (const kept of answeredOf(session.doneTo.keys(), number, unanswered)) session.doneTo.delete(kept);
  }

  /** After a restart, from a session that has come back: it waits for the replies to these numbers and to no others. By those of `learning` it comes to know an inode. */
  async reclaim(session: ServerSession, unanswered: readonly number[], learning: readonly number[]): Promise<void> {
    const most = this.#server.limits.unanswered;
    if (unanswered.length > most)
      throw new FsError(
        "EINVAL",
        `${unanswered.length} requests of session ${session.id} are not answered; at most ${most} may be`,
      );
    const runs = runsOf(unanswered);
    countInRuns(runs);
    for (const kept of answeredOf(session.answers.keys(), Infinity, runs)) session.answers.delete(kept);
    for (const kept of answeredOf(session.doneTo.keys(), Infinity, runs)) session.doneTo.delete(kept);
    session.newestNumber = Math.max(session.newestNumber, ...unanswered);
    session.unanswered = runs;
    for (const number of learning) {
      const stored = session.answers.get(number);
      if (stored !== undefined) this.#known(session, await stored);
    }
  }

  /** The mount will know the inode; until it says so itself, nothing else keeps it. */
  #known(session: ServerSession, reply: unknown): void {
    const { attributes } = reply as { attributes?: Attributes };
    if (attributes !== undefined && !session.ended) this.#server.leases.grant(session, attributes.inode, KNOWN);
  }

  /** With attributes as they are now: those of then would undo, at the mount, what it has heard since. A commit's were not even kept, for there may be thousands. */
  async #answerAgain(session: ServerSession, name: OperationName, request: unknown, stored: unknown): Promise<unknown> {
    const rule = OPERATION_RULES[name];
    // The log outlived the server's process; the machine's next power cut it need not outlive.
    if (rule.synced) await this.#server.sync();
    if (rule.learns) this.#known(session, stored);
    if (name !== "commit") return this.#server.transact("none", session, (tx) => withAttributesOfNow(tx, stored as object));
    const { files } = request as Request<"commit">;
    const attributes = await this.#server.transact("none", session, (tx) => {
      tx.wantInodes(files.map(({ inode }) => inode));
      return files.flatMap(({ inode }) => tx.find(inode)?.attributes() ?? []);
    });
    return { ...(stored as object), attributes };
  }

  /** The reply goes into the state together with what it replies to, and so does how far a request in pieces has come. */
  #recording(session: ServerSession, number: number, name: OperationName, unanswered: NumberRuns): Recording {
    return {
      doneTo: session.doneTo.get(number) ?? null,
      done: (tx, reply) => {
        this.#store(tx, session, number, storedAnswer(name, reply), unanswered);
        tx.afterwards(() => session.doneTo.delete(number));
      },
      goesOn: (tx, from) => {
        this.#store(tx, session, number, { doneTo: from }, unanswered);
        tx.afterwards(() => session.doneTo.set(number, from));
      },
    };
  }

  #store(tx: Transaction, session: ServerSession, number: number, answer: unknown, unanswered: NumberRuns): void {
    const prefix = TAG_ANSWER + id8(session.id);
    const text = Buffer.from(JSON.stringify(answer));
    tx.raw(prefix, id8(number), (writer) => writer.raw(text));
    const { storedAnswers } = session;
    const many = storedAnswers.size > 2 * countInRuns(unanswered) + KEPT_BEYOND;
    const answered = many ? answeredOf(storedAnswers, number, unanswered) : [];
    for (const kept of answered) tx.raw(prefix, id8(kept), null);
    tx.afterwards(() => {
      for (const kept of answered) session.storedAnswers.delete(kept);
      session.storedAnswers.add(number);
    });
  }
}

/** Those of the numbers kept that have been answered, as a request with `number` says. */
function answeredOf(kept: Iterable<number>, number: number, unanswered: NumberRuns): number[] {
  const answered: number[] = [];
  for (const one of kept) if (one < number && !inRuns(unanswered, one)) answered.push(one);
  return answered;
}

const ATTRIBUTES_FIELDS = ["attributes", "parent", "moved", "replaced", "newParent"] as const;

function withAttributesOfNow(tx: Transaction, stored: object): object {
  const reply: Record<string, unknown> = { ...stored };
  for (const field of ATTRIBUTES_FIELDS) {
    const before = reply[field] as Attributes | null | undefined;
    if (before !== undefined && before !== null) reply[field] = tx.find(before.inode)?.attributes() ?? before;
  }
  return reply;
}

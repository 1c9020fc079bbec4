// Errors of the command and the API, and the exit codes that stand for them.

import fs from "node:fs/promises";
import path from "node:path";

/** `usage`: the words are wrong. `refused`: not possible as things are. `unavailable`: no daemon serves the store. `degraded`: done, but data or redundancy is lost. */
export type AdminErrorCode = "usage" | "refused" | "unavailable" | "degraded" | "internal";

/** A refusal for a person: what was asked, what is in the way, what to do. Shown without a stack. */
export class AdminError extends Error {
  readonly code: AdminErrorCode;
  /** What --json says beside the error. */
  readonly document: object | undefined;
  constructor(code: AdminErrorCode, message: string, options?: ErrorOptions & { document?: object }) {
    super(message, options);
    this.code = code;
    this.document = options?.document;
  }
}

/** Why a command that needs the store's daemon cannot be carried out. */
export async function noDaemon(data: string): Promise<AdminError> {
  const store = path.resolve(data);
  const isStore = await fs.stat(path.join(store, "store.json")).then(() => true, () => false); // prettier-ignore
  const what = isStore ? `no daemon serves the store ${store}` : `there is no store in ${store}`;
  return new AdminError(
    "unavailable",
    `${what}; ${isStore ? "start" : "make"} one with \`cairn up --data ${data}\`, or name another store with --data`,
  );
}

/** 0 success; 1 refused or failed; 2 usage; 3 no daemon; 4 done, with damage that remains. */
export const exitCodes: Record<AdminErrorCode, number> = { internal: 1, refused: 1, usage: 2, unavailable: 3, degraded: 4 };

export function exitCodeOf(error: unknown): number {
  return error instanceof AdminError ? exitCodes[error.code] : 1;
}

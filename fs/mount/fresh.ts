// Nothing is answered while the server may have ended the session for its silence: what is cached may be old, what is held
// may be another's. Here, in one place, for all that the kernel asks: each request waits until the namespace was heard of
// again (Session.contact; EIO after a minute). fs/DESIGN.md, "While the daemon is away".

import { FsError } from "../errno.ts";
import type { Core } from "./core.ts";
import type { Handlers, Result } from "./handlers.ts";

/**
 * "answers": goes on under whatever session there is then.
 * "changes": as a change that was under way, it gets EIO where the session was lost meanwhile: it was made under locks and
 * leases that others were told are gone.
 * "at once": waits for nothing, says nothing that could be old.
 */
type Rule = "answers" | "changes" | "at once";

/** Whoever adds an operation says what it does: none can be left out. */
export const FRESHNESS: Readonly<Record<keyof Handlers, Rule>> = {
  lookup: "answers",
  getattr: "answers",
  readlink: "answers",
  open: "answers",
  read: "answers",
  opendir: "answers",
  readdir: "answers",
  statfs: "answers",
  getxattr: "answers",
  listxattr: "answers",
  getlk: "answers",
  lseek: "answers",
  fsync: "answers",
  fsyncdir: "answers",
  syncfs: "answers",
  setattr: "changes",
  symlink: "changes",
  mknod: "changes",
  mkdir: "changes",
  unlink: "changes",
  rmdir: "changes",
  rename: "changes",
  link: "changes",
  create: "changes",
  tmpfile: "changes",
  write: "changes",
  setxattr: "changes",
  removexattr: "changes",
  setlk: "changes",
  fallocate: "changes",
  copyFileRange: "changes",
  forget: "at once",
  flush: "at once",
  release: "at once",
  releasedir: "at once",
  destroy: "at once",
};

type Method = (...args: never[]) => unknown;

/** Puts the rule before each method of the handlers. */
export function askFreshness(handlers: Handlers, core: Core): void {
  for (const [name, rule] of Object.entries(FRESHNESS) as [keyof Handlers, Rule][]) {
    if (rule === "at once") continue;
    const method = (handlers[name] as Method).bind(handlers);
    const { session } = core;
    const guarded: Method = (...args) => {
      if (session.fresh !== false || isWriteback(name, args)) return method(...args);
      return whenFresh(core, rule, () => method(...args));
    };
    (handlers as unknown as Record<string, Method>)[name] = guarded;
  }
}

/** The kernel may send pages back before it can drop them: they are written under the lease, or lost with it. */
function isWriteback(name: keyof Handlers, args: readonly unknown[]): boolean {
  return name === "write" && (args as Parameters<Handlers["write"]>)[7];
}

/** A READ or WRITE that waits here holds pages, and a recall waits for them: but no longer than the namespace, which recalls, takes to answer a ping. */
async function whenFresh<T>(core: Core, rule: Rule, go: () => Result<T>): Promise<T> {
  const { session } = core.marks;
  await core.session.contact!();
  if (rule === "changes" && session !== core.marks.session)
    throw new FsError("EIO", "the session was lost while this change waited for the namespace; it is not made");
  return go();
}

// Handlers called without a kernel as a target for the case table. Cases that say `needs kernel` are not for it.
import { FsError } from "../../fs/errno.ts";
import type { Caller, Handlers } from "../../fs/mount/handlers.ts";
import type { ByteString, InodeId } from "../../fs/types.ts";
import { ROOT_INODE, S_IFDIR } from "../../fs/types.ts";
import type { State } from "./handlers-commands.ts";
import { closeAll, commands } from "./handlers-commands.ts";
import { Walker, listDirectory } from "./handlers-walk.ts";
import type { CaseRoom, Performer, Target } from "./run-case.ts";
import { PEOPLE } from "./script.ts";

/** Root may do everything here, so "root" is offered to everyone. */
const ALWAYS = ["root"];

function callerOf(name: string): Caller {
  const person = PEOPLE[name];
  const [uid, gid] = person ? person.map(Number) : [0, 0];
  return { uid, gid, pid: process.pid, signal: new AbortController().signal };
}

class HandlersProcess implements Performer {
  readonly #state: State;

  constructor(walker: Walker, directory: InodeId, name: string) {
    this.#state = { walker, caller: callerOf(name), directory, umask: 0o022, files: new Map(), listings: new Map() };
  }

  async perform([name, ...words]: string[]): Promise<string[]> {
    const command = commands[name];
    if (!command) return ["script-error", `the in-memory interpreter has no command ${name}; does the case need a kernel?`];
    try {
      const reply = await command(this.#state, ...words);
      return reply === undefined ? ["ok"] : Array.isArray(reply) ? reply : [String(reply)];
    } catch (error) {
      if (error instanceof FsError) return [error.code];
      throw error;
    }
  }

  interrupt(): void {}

  kill(): Promise<void> {
    return closeAll(this.#state);
  }

  end(): Promise<void> {
    return closeAll(this.#state);
  }
}

async function removeBelow(walker: Walker, caller: Caller, directory: InodeId): Promise<void> {
  for (const item of await listDirectory(walker, caller, directory)) {
    if (item.type === S_IFDIR >>> 12) {
      await removeBelow(walker, caller, item.inode);
      await walker.handlers.rmdir(caller, directory, item.name);
    } else await walker.handlers.unlink(caller, directory, item.name);
  }
}

/** `offers`: what the filesystem can do beside the ordinary. */
export function handlersTarget(handlers: Handlers, offers: readonly string[]): Target {
  const root = callerOf("main");
  let count = 0;
  return {
    offers: new Set([...ALWAYS, ...offers]),
    async begin(): Promise<CaseRoom> {
      const walker = new Walker(handlers);
      const name = `case-${++count}` as ByteString;
      const { inode } = walker.refer((await handlers.mkdir(root, ROOT_INODE, name, 0o755, 0)).attributes);
      return {
        process: (process) => Promise.resolve(new HandlersProcess(walker, inode, process)),
        async end() {
          await removeBelow(walker, root, inode);
          await handlers.rmdir(root, ROOT_INODE, name);
          walker.forgetAll();
        },
      };
    },
  };
}

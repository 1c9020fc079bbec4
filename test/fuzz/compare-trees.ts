// Compares a run's directory as both mounts and ext4 show it: names, types, modes, link counts, owners, sizes, contents,
// extended attributes, times that somebody set, and which names are links of one file.

import fs from "node:fs";
import path from "node:path";
import type { Probe } from "../posix/probe.ts";
import type { Rig } from "./rig.ts";
import { NoAnswer } from "./twin.ts";

const ENTRIES_SHOWN = 6;
const PIECE_BYTES = 1 << 20;
/** Looked through for the first byte that differs. */
const LOOKED_MAX_BYTES = 1 << 28;

interface Place {
  readonly rig: Rig;
  readonly program: string;
  readonly directory: string;
}

/** null where all agree. */
export async function compareTrees(
  { rig, program, directory }: Place,
  begin: (program: string, directory: string) => Probe,
): Promise<string | null> {
  const tree = async (parent: string): Promise<string[]> => {
    const probe = begin(program, path.join(parent, directory));
    try {
      return await probe.perform(["tree", "."]);
    } catch (error) {
      throw new NoAnswer(`tree below ${parent}: ${(error as Error).message}`);
    } finally {
      await probe.kill();
    }
  };
  const wanted = await tree(rig.reference);
  for (const mount of ["one", "two"] as const) {
    const differing = differences(await tree(rig.mount(mount)), wanted);
    if (differing.length === 0) continue;
    const lines = differing
      .slice(0, ENTRIES_SHOWN)
      .map(({ here, there }) => `  mount: ${here ?? "nothing"}\n  ext4:  ${there ?? "nothing"}`);
    const first = await firstByte(path.join(rig.mount(mount), directory), path.join(rig.reference, directory), differing[0]);
    return `mount ${mount} differs from ext4 in ${differing.length} entries:\n${lines.join("\n")}${first}`;
  }
  return null;
}

interface Differing {
  here: string | undefined;
  there: string | undefined;
}

function differences(here: readonly string[], there: readonly string[]): Differing[] {
  const byPath = (words: readonly string[]): Map<string, string> => new Map(words.map((word) => [word.split("|")[0], word]));
  const [left, right] = [byPath(here), byPath(there)];
  const paths = new Set([...left.keys(), ...right.keys()]);
  return [...paths]
    .map((entry) => ({ here: left.get(entry), there: right.get(entry) }))
    .filter((pair) => pair.here !== pair.there);
}

/** The first byte that differs, in words, where both are files of different contents that can be read. */
async function firstByte(here: string, there: string, { here: left, there: right }: Differing): Promise<string> {
  if (!left?.includes("|file|") || !right?.includes("|file|") || left.includes("%")) return "";
  const name = left.split("|")[0];
  const files: fs.promises.FileHandle[] = [];
  const piece = async (file: fs.promises.FileHandle, at: number): Promise<Buffer> => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(PIECE_BYTES), 0, PIECE_BYTES, at);
    return buffer.subarray(0, bytesRead);
  };
  try {
    for (const parent of [here, there]) files.push(await fs.promises.open(path.join(parent, name), "r"));
    for (let at = 0; at < LOOKED_MAX_BYTES; at += PIECE_BYTES) {
      const [a, b] = [await piece(files[0], at), await piece(files[1], at)];
      const differs = a.findIndex((byte, index) => byte !== b[index]);
      if (differs >= 0) return `\n  the first byte that differs: ${at + differs} is ${a[differs]}, on ext4 ${b[differs]}`;
      if (a.length === 0 || a.length !== b.length) break;
    }
  } catch {
    // The difference is told without it.
  } finally {
    for (const file of files) await file.close();
  }
  return "";
}

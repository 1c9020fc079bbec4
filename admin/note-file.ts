// Small JSON files by which processes of one store find each other. Checked by hand: zod, which checks store.json, takes as
// long to load as all else that most commands do (70 ms of processor time).

import fs from "node:fs/promises";
import { AdminError } from "./errors.ts";

/** `count` is a whole number from 1 on, `name` a text that is not empty. */
export type FieldType = "count" | "name" | "text";

type ValueOf<Type extends FieldType> = Type extends "count" ? number : string;
export type Note<Types extends Record<string, FieldType>> = { [Name in keyof Types]: ValueOf<Types[Name]> };

/** The file's object, with these fields alone; null where there is no such file, or it holds anything else. Rejects with AdminError where this user may not read it. */
export async function readNote<Types extends Record<string, FieldType>>(file: string, types: Types): Promise<Note<Types> | null> {
  let value: unknown;
  try {
    value = JSON.parse(await fs.readFile(file, "utf8"));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EACCES" && code !== "EPERM") return null;
    throw new AdminError("refused", `cannot read ${file}: permission denied; only the store's owner and root may use the store`, {
      cause: error,
    });
  }
  if (typeof value !== "object" || value === null) return null;
  const note: Record<string, unknown> = {};
  for (const [name, type] of Object.entries(types)) {
    const field: unknown = (value as Record<string, unknown>)[name];
    if (!isOf(field, type)) return null;
    note[name] = field;
  }
  return note as Note<Types>;
}

function isOf(value: unknown, type: FieldType): boolean {
  if (type === "count") return Number.isSafeInteger(value) && (value as number) > 0;
  return typeof value === "string" && (type === "text" || value.length > 0);
}

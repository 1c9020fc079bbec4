// The second mount's process is killed (SIGKILL) under load: its locks are released, and what it had fsynced is there, whole.

import fs from "node:fs/promises";
import path from "node:path";
import { spawn } from "node:child_process";
import { run, shell } from "../../test/fixture/store.ts";
import { dropMount, mountAgain } from "../../test/fixture/second-mount.ts";
import type { Figures, Part, PartContext } from "./part.ts";
import { RangeLock } from "./range-lock.ts";
import { Ledger, readRecord, ShortWriteError, versionsIn, writeRecord } from "./records.ts";
import { isErrno, OPERATION_LIMIT_MS, type Work } from "./work.ts";

const ROUNDS = 5;
const LOAD_MS_MIN = 1500;
const LOAD_MS_SPREAD = 3000;
const RECORDS = 8;
/** Rows of the ledger: those of records, then these. In its columns stand what was begun and what was fsynced. */
const LOG_ROW = RECORDS;
const FILES_ROW = RECORDS + 1;
const LOG_BYTES_MAX = 20_000;
const SYNC_EVERY = 5;

const logBytes = (from: number, length: number): Buffer => {
  const bytes = Buffer.alloc(length);
  for (let index = 0; index < length; index++) bytes[index] = (from + index) * 31 + ((from + index) >> 8) * 7;
  return bytes;
};
const fileBytes = (number: number): Buffer => Buffer.alloc(number % 3000, number % 251);

interface Parameters {
  directory: string;
  ledger: string;
}

/** Works until its mount is gone. */
export async function killedLoadProgram({ directory, ledger: name }: Parameters, work: Work): Promise<object> {
  const ledger = new Ledger(name);
  const records = async (): Promise<void> => {
    const file = await fs.open(path.join(directory, "records"), "r+");
    for (let version = 2; !work.ended; version++) {
      for (let record = 0; record < RECORDS; record++) {
        ledger.set("begun", record, version);
        await writeRecord(file, record, version);
      }
      if (version % SYNC_EVERY !== 0) continue;
      await file.sync();
      for (let record = 0; record < RECORDS; record++) ledger.set("acknowledged", record, version);
    }
  };
  const log = async (): Promise<void> => {
    const file = await fs.open(path.join(directory, "log"), "a");
    for (let [count, end] = [1, 0]; !work.ended; count++) {
      const length = 1 + ((count * 7919) % LOG_BYTES_MAX);
      ledger.set("begun", LOG_ROW, end + length);
      await file.write(logBytes(end, length));
      end += length;
      if (count % SYNC_EVERY !== 0) continue;
      await file.sync();
      ledger.set("acknowledged", LOG_ROW, end);
    }
  };
  const files = async (): Promise<void> => {
    for (let number = 1; !work.ended; number++) {
      ledger.set("begun", FILES_ROW, number);
      const file = await fs.open(path.join(directory, `file-${number}`), "w");
      await file.write(fileBytes(number));
      if (number % SYNC_EVERY === 0) await file.sync();
      await file.close();
      if (number % SYNC_EVERY === 0) ledger.set("acknowledged", FILES_ROW, number);
    }
  };
  const untilGone = async (lane: () => Promise<void>): Promise<void> => {
    try {
      await lane();
    } catch (error) {
      // Of a write that the kernel had to send in several requests, a first part may have got through.
      if (!isErrno(error, "ENOTCONN", "ECONNABORTED", "EIO") && !(error instanceof ShortWriteError)) throw error;
    }
  };
  await work.lanes([records, log, files].map((lane) => () => untilGone(lane)));
  return {};
}

async function checkLog(directory: string, ledger: Ledger, work: Work): Promise<void> {
  const bytes = await work.timed("read of the log", () => fs.readFile(path.join(directory, "log")));
  const [durable, begun] = [ledger.get("acknowledged", LOG_ROW), ledger.get("begun", LOG_ROW)];
  if (bytes.length < durable || bytes.length > begun)
    work.violation(`the log has ${bytes.length} B, ${durable} were synced, ${begun} begun`);
  const right = logBytes(0, bytes.length);
  // Beyond what was synced, bytes may be lost, but none may be there that were never written.
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === right[at] || (at >= durable && bytes[at] === 0)) continue;
    return work.violation(`the log has a byte that was never written at ${at}; ${durable} were synced, ${begun} begun`);
  }
}

async function checkRecords(directory: string, ledger: Ledger, work: Work): Promise<void> {
  const file = await fs.open(path.join(directory, "records"), "r");
  for (let record = 0; record < RECORDS; record++) {
    const [durable, begun] = [ledger.get("acknowledged", record), ledger.get("begun", record)];
    const { min, max } = versionsIn(record, await work.timed("read of a record", () => readRecord(file, record)));
    if (min < durable || max > begun)
      work.violation(`record ${record} has versions ${min} to ${max}; ${durable} was synced, ${begun} begun`);
  }
  await file.close();
}

async function checkFiles(directory: string, ledger: Ledger, work: Work): Promise<void> {
  const durable = ledger.get("acknowledged", FILES_ROW);
  const names = new Set(await work.timed("list", () => fs.readdir(directory)));
  for (let number = 1; number <= ledger.get("begun", FILES_ROW); number++) {
    if (!names.has(`file-${number}`)) {
      if (number <= durable) work.violation(`file-${number} is gone; names up to ${durable} were synced`);
      continue;
    }
    const bytes = await work.timed("read of a file", () => fs.readFile(path.join(directory, `file-${number}`)));
    const right = fileBytes(number);
    if (!right.subarray(0, bytes.length).equals(bytes)) work.violation(`file-${number} has bytes that were never written to it`);
    if (number % SYNC_EVERY === 0 && number <= durable && bytes.length !== right.length)
      work.violation(`file-${number} was synced and has ${bytes.length} of ${right.length} B`);
  }
}

export async function verifyKilledProgram({ directory, ledger: name }: Parameters, work: Work): Promise<object> {
  const ledger = new Ledger(name);
  await work.lanes([checkLog, checkRecords, checkFiles].map((check) => () => check(directory, ledger, work)));
  return {};
}

/** Both kinds of locks, through the mount that is killed. Returns what ends their holders. */
async function holdLocks(directory: string): Promise<() => void> {
  const range = await RangeLock.open(path.join(directory, "range-lock"));
  await range.set("write", 0, 100);
  const whole = spawn("flock", ["-F", path.join(directory, "whole-lock"), "sleep", "600"], { stdio: "ignore" });
  return () => {
    range.close();
    whole.kill("SIGKILL");
  };
}

/** How long it takes to get both locks through the other mount, in milliseconds. */
async function takeLocks(directory: string, violation: (text: string) => void): Promise<number> {
  const begin = performance.now();
  const flocked = await run("flock", [path.join(directory, "whole-lock"), "true"], { timeoutMs: OPERATION_LIMIT_MS });
  if (flocked.code !== 0) violation(`the flock of a killed mount was not released: ${flocked.stderr}`);
  const range = await RangeLock.open(path.join(directory, "range-lock"));
  const timer = setTimeout(() => range.close(), OPERATION_LIMIT_MS);
  try {
    await range.set("write", 0, 100);
  } catch (error) {
    violation(`the fcntl lock of a killed mount was not released: ${String(error)}`);
  }
  clearTimeout(timer);
  range.close();
  return performance.now() - begin;
}

interface Round {
  locksMs: number;
  synced: number;
  written: number;
}

async function round({ store, one, second, start, violation }: PartContext, number: number): Promise<Round> {
  const third = await mountAgain(store, `killed-${number}`);
  const ledger = path.join(store.directory, `ledger-${number}`);
  const [ours, theirs] = [one, third.path].map((mount) => path.join(mount, `killed-${number}`));
  let releaseLocks = (): void => {};
  try {
    await shell(`mkdir ${ours}; : > ${ours}/range-lock; : > ${ours}/whole-lock; : > ${ours}/log; : > ${ledger}`);
    // All 48 records of version 1; this round has its own versions of the first 8.
    await start("fill", { file: path.join(ours, "records"), ledger: `${ledger}-fill` }).result;
    releaseLocks = await holdLocks(theirs);
    const load = start("load of the killed mount", { directory: theirs, ledger }, 60);
    await new Promise((resolve) => setTimeout(resolve, LOAD_MS_MIN + Math.random() * LOAD_MS_SPREAD));
    process.kill(third.pid, "SIGKILL");
    const locksMs = await takeLocks(ours, violation);
    load.stop();
    await load.result;
    for (const mount of [one, second.path])
      await start("check after the kill", { directory: path.join(mount, `killed-${number}`), ledger }).result;
    const rows = new Ledger(ledger);
    const synced = rows.get("acknowledged", FILES_ROW);
    if (synced === 0) violation("the load synced nothing before its mount was killed");
    return { locksMs, synced, written: rows.get("begun", FILES_ROW) };
  } finally {
    releaseLocks();
    await dropMount(third);
  }
}

export const killedPart: Part = {
  name: "killed",
  about: "the second mount is killed under load",
  endsSessions: true,
  async run(context) {
    const rounds: Round[] = [];
    for (let number = 1; number <= ROUNDS; number++) rounds.push(await round(context, number));
    const sum = (of: (round: Round) => number): number => rounds.reduce((total, round) => total + of(round), 0);
    return {
      rounds: rounds.length,
      "files synced": sum(({ synced }) => synced),
      "files written": sum(({ written }) => written),
      "longest until both locks, ms": Math.round(Math.max(...rounds.map(({ locksMs }) => locksMs))),
    } satisfies Figures;
  },
};

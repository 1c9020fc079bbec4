// Speaks the control API of a store's daemon: HTTP with JSON over the Unix socket DATA/control.sock.

import http from "node:http";
import path from "node:path";
import type { ErrorReport, TaskReport } from "./api.ts";
import { readDaemon } from "./daemon-file.ts";
import { AdminError, noDaemon } from "./errors.ts";
import { connectPrivately, socketPath } from "./private-socket.ts";

/** A single answer must come within this; tasks answer with a stream, each line of which must. */
const ANSWER_TIMEOUT_MS = 60_000;
/** No answer of the daemon's is larger: 64 MiB is half a million extents of `cairn where`. */
const ANSWER_MAX_BYTES = 64 * 1024 * 1024;

async function open(data: string, method: string, target: string, body?: unknown): Promise<http.IncomingMessage> {
  const daemon = await readDaemon(data);
  if (!daemon) throw await noDaemon(data);
  const silent = (error: Error): AdminError =>
    error instanceof AdminError
      ? error
      : new AdminError("unavailable", `the daemon of ${path.resolve(data)} (process ${daemon.pid}) does not answer: ${error.message}`, { cause: error }); // prettier-ignore
  const stream = await connectPrivately(socketPath(data, "control.sock")).catch((error: Error) => {
    throw silent(error);
  });
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const request = http.request(
      { createConnection: () => stream, method, path: target, headers, timeout: ANSWER_TIMEOUT_MS },
      resolve,
    );
    request.on("timeout", () => request.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`)));
    request.on("error", (error) => reject(silent(error)));
    request.end(text);
  });
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_MAX_BYTES)
      throw new AdminError("internal", `the daemon's answer is longer than ${ANSWER_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function refuse(response: http.IncomingMessage): Promise<never> {
  const text = await readText(response);
  let report: ErrorReport;
  try {
    report = JSON.parse(text) as ErrorReport;
  } catch (error) {
    throw new AdminError("internal", `the daemon answered ${response.statusCode}: ${text.slice(0, 200)}`, { cause: error });
  }
  throw new AdminError(report.error.code, report.error.message);
}

/** One request, one JSON answer. Rejects with AdminError. */
export async function callDaemon<T>(data: string, method: "GET" | "POST" | "DELETE", target: string, body?: unknown): Promise<T> {
  const response = await open(data, method, target, body);
  if (response.statusCode !== 200) await refuse(response);
  return JSON.parse(await readText(response)) as T;
}

/** Starts or follows a task: its state now and after each change, until it has ended. */
export async function* followTask(
  data: string,
  method: "GET" | "POST",
  target: string,
  body?: unknown,
): AsyncIterable<TaskReport> {
  const response = await open(data, method, target, body);
  if (response.statusCode !== 200) await refuse(response);
  let rest = "";
  response.setEncoding("utf8");
  for await (const chunk of response as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (line) yield JSON.parse(line) as TaskReport;
  }
}

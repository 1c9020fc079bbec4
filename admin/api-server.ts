// The control API's server: HTTP on a Unix socket that only the store's owner may open. Routes only; the work is the
// daemon's (admin/daemon.ts).

import http from "node:http";
import { z } from "zod";
import type { CleanerReport } from "../fs/cleaner.ts";
import type { DiskReport, ErrorReport, MountReport, StatusReport, TaskReport, WhereReport } from "./api.ts";
import { AdminError } from "./errors.ts";
import { listenPrivately } from "./private-socket.ts";

/** No request of the command's is larger. */
export const BODY_MAX_BYTES = 64 * 1024;
/** At the end, answers on their way get this long. */
const LAST_ANSWERS_MS = 100;

/** What the API asks of the daemon. */
export interface Control {
  status(): Promise<StatusReport>;
  where(inode: number): Promise<WhereReport>;
  unmount(path: string): Promise<MountReport>;
  addDisk(path: string): Promise<DiskReport>;
  /** Stops cleaning in the background, or begins it again. */
  pauseCleaner(paused: boolean): CleanerReport;
  startTask(request: TaskRequest): Promise<AsyncIterable<TaskReport>>;
  followTask(id: number): AsyncIterable<TaskReport>;
  cancelTask(id: number): TaskReport;
  /** Ends the daemon; resolves when all is written back. */
  stopAndTell(): Promise<void>;
}

const pathBody = z.strictObject({ path: z.string().startsWith("/") });
const cleanerBody = z.strictObject({ paused: z.boolean() });
/** null: as the store has it. */
const bytesPerSecond = z.number().positive().nullable();
const taskBody = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("scrub"), verifyOnly: z.boolean(), repairBytesPerSecond: bytesPerSecond }),
  z.strictObject({ kind: z.literal("clean"), rateBytesPerSecond: bytesPerSecond }),
  z.strictObject({ kind: z.literal("fsck"), verify: z.boolean(), repair: z.boolean() }),
  z.strictObject({ kind: z.literal("remove-disk"), disk: z.string().min(1), repairBytesPerSecond: bytesPerSecond }),
  z.strictObject({
    kind: z.literal("replace-disk"),
    disk: z.string().min(1),
    path: z.string().startsWith("/").nullable(),
    repairBytesPerSecond: bytesPerSecond,
  }),
]);
export type TaskRequest = z.infer<typeof taskBody>;

async function readBody<T>(request: http.IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_MAX_BYTES) throw new AdminError("usage", `the request is longer than ${BODY_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    throw new AdminError("usage", `the request's body is not JSON: ${(error as Error).message}`, { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new AdminError("usage", `the request's body is not as it should be: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function numberOf(text: string | null, name: string): number {
  const value = Number(text);
  if (text === null || !Number.isSafeInteger(value) || value < 1)
    throw new AdminError("usage", `${name} is "${text}" and should be a positive whole number`);
  return value;
}

function send(response: http.ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

async function sendReports(response: http.ServerResponse, reports: AsyncIterable<TaskReport>): Promise<void> {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  for await (const report of reports) {
    if (response.destroyed) return;
    response.write(`${JSON.stringify(report)}\n`);
  }
  response.end();
}

/** The request's path and query: `//` begins the name of a host elsewhere. */
function urlOf(target: string): URL {
  if (!/^\/(?!\/)/.test(target))
    throw new AdminError(
      "usage",
      `the request's path is ${JSON.stringify(target)} and should begin with one /, such as /v1/status`,
    );
  return new URL(target, "http://localhost");
}

async function route(control: Control, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const url = urlOf(request.url ?? "");
  const taskId = /^\/v1\/tasks\/(\d+)$/.exec(url.pathname)?.[1] ?? null;
  switch (`${request.method} ${taskId ? "/v1/tasks/ID" : url.pathname}`) {
    case "GET /v1/status":
      return send(response, 200, await control.status());
    case "GET /v1/where":
      return send(response, 200, await control.where(numberOf(url.searchParams.get("inode"), "inode")));
    case "DELETE /v1/mounts":
      return send(response, 200, await control.unmount(url.searchParams.get("path") ?? ""));
    case "POST /v1/disks":
      return send(response, 200, await control.addDisk((await readBody(request, pathBody)).path));
    case "POST /v1/cleaner":
      return send(response, 200, control.pauseCleaner((await readBody(request, cleanerBody)).paused));
    case "POST /v1/tasks":
      return sendReports(response, await control.startTask(await readBody(request, taskBody)));
    case "GET /v1/tasks/ID":
      return sendReports(response, control.followTask(numberOf(taskId, "task")));
    case "DELETE /v1/tasks/ID":
      return send(response, 200, control.cancelTask(numberOf(taskId, "task")));
    case "POST /v1/stop":
      await control.stopAndTell();
      return send(response, 200, {});
    default:
      return send(response, 404, {
        error: { code: "usage", message: `there is no ${request.method} ${url.pathname}` },
      } satisfies ErrorReport);
  }
}

const HTTP_STATUS: Record<AdminError["code"], number> = {
  usage: 400,
  refused: 409,
  unavailable: 503,
  degraded: 409,
  internal: 500,
};

export interface ApiServer {
  close(): Promise<void>;
}

/** Serves the control API on the socket; a leftover socket file is replaced. */
export async function serveApi(control: Control, socket: string, trace: (text: string) => void): Promise<ApiServer> {
  const server = http.createServer((request, response) => {
    route(control, request, response).catch((error: unknown) => {
      const code = error instanceof AdminError ? error.code : "internal";
      if (code === "internal") trace(`api: ${request.method} ${request.url}: ${(error as Error).stack ?? error}`);
      if (response.headersSent) response.destroy();
      else send(response, HTTP_STATUS[code], { error: { code, message: (error as Error).message } } satisfies ErrorReport);
    });
  });
  const removeSocket = await listenPrivately(server, socket);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => void removeSocket().then(resolve, resolve));
        server.closeIdleConnections();
        // The answer to the request that ended the daemon is on its way; followers of tasks are not waited for.
        setTimeout(() => server.closeAllConnections(), LAST_ANSWERS_MS);
      }),
  };
}

// What a mount says in one breath: frames that the server reads in one chunk.

import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import test from "node:test";
import { Marks } from "../../fs/mount/marks.ts";
import type { RemoteSession } from "../../fs/remote-session.ts";
import type { InodeId } from "../../fs/types.ts";
import { Machine } from "./machine.ts";
import { name } from "./namespace/memory-log.ts";

const ROOT = 1 as InodeId;
const owned = { mode: 0o100644, umask: 0, uid: 0, gid: 0, exclusive: true };

/** Keeps what is written to the stream, and delivers it in one chunk. */
function keepBack(stream: Duplex): () => void {
  const write = stream._write.bind(stream);
  const kept: Buffer[] = [];
  stream._write = (chunk: Buffer, _encoding, done) => {
    kept.push(chunk);
    done();
  };
  return () => {
    stream._write = write;
    write(Buffer.concat(kept), "buffer" as BufferEncoding, () => {});
  };
}

test("what a mount asks after it has answered a recall finds the recall answered, also where both are read at once", async () => {
  const machine = new Machine();
  await machine.start();
  const streams: Duplex[] = [];
  const connect = async (): Promise<Duplex> => {
    const stream = await machine.connect();
    streams.push(stream);
    return stream;
  };
  const marks = new Marks();
  let inode = 0 as InodeId;
  let a!: RemoteSession;
  let asked: (answer: Promise<{ mode: number; believed: boolean }>) => void;
  const answer = new Promise<{ mode: number; believed: boolean }>((resolve) => (asked = resolve));
  const ask = async (): Promise<{ mode: number; believed: boolean }> => {
    const mark = marks.take();
    const { attributes } = await a.call("getAttributes", { inode });
    return { mode: attributes.mode & 0o777, believed: marks.isCurrent(mark) };
  };
  const recall = async (): Promise<void> => {
    const deliver = keepBack(streams[0]);
    marks.recallBegins();
    // As the mount does (mount/coherence.ts): the recall is over when its answer has been sent.
    setImmediate(() => {
      marks.recallEnds();
      asked(ask());
      setImmediate(deliver);
    });
  };
  a = await machine.open({ recall }, connect);
  const b = await machine.open();
  inode = (await b.call("make", { ...owned, parent: ROOT, name: name("file") })).attributes.inode;
  await b.call("acquire", { inode, mode: "known" });
  await a.call("acquire", { inode, mode: "shared" });
  await b.call("setAttributes", { inode, change: { mode: 0o600 } });
  assert.deepEqual(await answer, { mode: 0o600, believed: true });
  await a.close();
  await b.close();
  await machine.namespace.close();
});

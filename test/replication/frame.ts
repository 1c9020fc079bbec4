import assert from "node:assert/strict";
import test from "node:test";
import { encodeFrame, type Frame, FrameDecoder, FrameError, PAYLOAD_MAX_BYTES } from "../../replication/frame.ts";

const frame = (over: Partial<Frame> = {}): Frame => ({
  kind: "request",
  id: 7,
  name: "lookup",
  deadlineMs: 1000,
  message: "",
  body: Buffer.from([9]),
  payload: Buffer.from("abc"),
  ...over,
});
const bytesOf = (value: Frame): Buffer => Buffer.concat(encodeFrame(value));

test("a request's golden bytes", () => {
  assert.equal(
    bytesOf(frame()).toString("hex"),
    "1b000000" + "01" + "01" + "0000" + "10000000" + "0807" + "12066c6f6f6b7570" + "18e807" + "2a0109" + "616263",
  );
});

test("golden bytes of a numbered request, and of a repeated reply", () => {
  const numbered = frame({ number: 300, unanswered: [1, 298], payload: new Uint8Array() });
  assert.equal(
    bytesOf(numbered).toString("hex"),
    "20000000" + "01" + "01" + "0000" + "18000000" + "0807" + "12066c6f6f6b7570" + "18e807" + "2a0109" + "30ac02" + "3a0301aa02",
  );
  const repeated = frame({ kind: "reply", name: "", deadlineMs: 0, repeated: true, payload: new Uint8Array() });
  assert.equal(bytesOf(repeated).toString("hex"), "0f000000" + "01" + "02" + "0000" + "07000000" + "0807" + "2a0109" + "4001");
  const [back, reply] = new FrameDecoder().push(Buffer.concat([numbered, repeated].map(bytesOf)));
  assert.deepEqual([back.number, [...back.unanswered!], back.repeated], [300, [1, 298], false]);
  assert.deepEqual([reply.number, [...reply.unanswered!], reply.repeated], [0, [], true]);
});

test("frames cut at every place come out whole and in order", () => {
  const stream = Buffer.concat(
    [
      frame(),
      frame({ kind: "reply", name: "", payload: new Uint8Array() }),
      frame({ kind: "refusal", name: "ENOENT", message: "no such name" }),
    ].map(bytesOf),
  );
  for (let cut = 0; cut <= stream.length; cut++) {
    const decoder = new FrameDecoder();
    const frames = [...decoder.push(stream.subarray(0, cut)), ...decoder.push(stream.subarray(cut))];
    assert.deepEqual(frames.map((decoded) => decoded.kind), ["request", "reply", "refusal"]); // prettier-ignore
    assert.equal(Buffer.from(frames[0].payload).toString(), "abc");
    assert.equal(frames[2].message, "no such name");
    assert.equal(decoder.pendingBytes, 0);
  }
});

test("a wrong version, kind or length is refused by name", () => {
  const broken = (change: (bytes: Buffer) => void): (() => void) => {
    const bytes = bytesOf(frame());
    change(bytes);
    return () => void new FrameDecoder().push(bytes);
  };
  assert.throws(broken((bytes) => (bytes[4] = 9)), /version is 9/); // prettier-ignore
  assert.throws(broken((bytes) => (bytes[5] = 0)), /kind is 0/); // prettier-ignore
  assert.throws(broken((bytes) => bytes.writeUInt32LE(9, 0)), /less than its header/); // prettier-ignore
  assert.throws(broken((bytes) => bytes.writeUInt32LE(0xffffffff, 0)), /at most 8388608/); // prettier-ignore
});

test("a payload over the limit is refused before it is sent", () => {
  assert.throws(() => encodeFrame(frame({ payload: new Uint8Array(PAYLOAD_MAX_BYTES + 1) })), FrameError);
});

test("random and mutated bytes give frames or a FrameError, never anything else, and hold bounded memory", () => {
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 20000; round++) {
    const bytes = Buffer.concat([bytesOf(frame()), bytesOf(frame({ id: round }))]);
    for (let flips = random(4); flips >= 0; flips--) bytes[random(bytes.length)] = random(256);
    const decoder = new FrameDecoder();
    try {
      decoder.push(bytes);
      assert.ok(decoder.pendingBytes <= bytes.length);
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error));
    }
  }
});

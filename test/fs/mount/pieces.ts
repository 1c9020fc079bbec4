import assert from "node:assert/strict";
import test from "node:test";
import { BUFFERED, Piece, Pieces, STRIPED } from "../../../fs/mount/pieces.ts";
import { seededRandom } from "../../../storage/seeded-random.ts";

const BYTES = 64;

/** What a list of pieces says of every byte: which put it came from and the place in its source. */
function bytesOf(pieces: Pieces, names: ReadonlyMap<object, number>): (string | null)[] {
  const bytes = new Array<string | null>(BYTES).fill(null);
  let end = 0;
  for (const piece of pieces.all()) {
    assert(
      piece.start >= end && piece.end > piece.start,
      `a piece at ${piece.start} to ${piece.end} after one that ends at ${end}`,
    );
    end = piece.end;
    for (let at = piece.start; at < piece.end; at++)
      bytes[at] = `${names.get(piece.source as object)}:${piece.sourceOffset + at - piece.start}`;
  }
  return bytes;
}

test("Pieces put, removed and filled at random say of every byte what an array of bytes says", () => {
  const random = seededRandom(7);
  for (let round = 0; round < 200; round++) {
    const pieces = new Pieces();
    const names = new Map<object, number>();
    const model = new Array<string | null>(BYTES).fill(null);
    for (let step = 0; step < 40; step++) {
      const start = Math.floor(random() * (BYTES - 1));
      const end = start + 1 + Math.floor(random() * Math.min(12, BYTES - start));
      const source = new Uint8Array(0);
      names.set(source, step);
      const kind = random();
      if (kind < 0.15) pieces.remove(start, end);
      else if (kind < 0.3) pieces.fill(new Piece(start, end, STRIPED, source, 100, null));
      else pieces.put(new Piece(start, end, STRIPED, source, 100, null));
      for (let at = start; at < end; at++) {
        if (kind < 0.15) model[at] = null;
        else if (kind >= 0.3 || model[at] === null) model[at] = `${step}:${100 + at - start}`;
      }
      assert.deepEqual(bytesOf(pieces, names), model, `round ${round}, step ${step}`);
    }
  }
});

test("thousands of Pieces, in many parts, say the same; their number is right, and the first after an offset is found", () => {
  const random = seededRandom(8);
  const size = 30_000;
  const pieces = new Pieces();
  const model = new Array<number>(size).fill(-1);
  const pinned = new Array<boolean>(size).fill(false);
  const source = new Uint8Array(0);
  for (let step = 0; step < 20_000; step++) {
    const start = Math.floor(random() * (size - 1));
    const kind = random();
    const most = kind < 0.002 ? 8000 : kind < 0.01 ? 300 : 3;
    const end = Math.min(size, start + 1 + Math.floor(random() * most));
    const isPinned = random() < 0.5;
    const make = (): Piece => new Piece(start, end, isPinned ? BUFFERED : STRIPED, source, step * size, null);
    if (kind < 0.1) pieces.remove(start, end);
    else if (kind < 0.3) pieces.fill(make());
    else pieces.put(make());
    for (let at = start; at < end; at++) {
      if (kind < 0.1) model[at] = -1;
      else if (kind >= 0.3 || model[at] === -1) [model[at], pinned[at]] = [step * size + at - start, isPinned];
    }
    if (step === 12_000) {
      const gone = pieces.all().filter((piece) => !piece.pinned && piece.end > 5000 && piece.start < 25_000);
      assert.ok(gone.length > 1000);
      for (const piece of gone) model.fill(-1, piece.start, piece.end);
      pieces.dropCleanIn(5000, 25_000);
    }
    if (step === 15_000) {
      pieces.dropClean();
      for (let at = 0; at < size; at++) if (!pinned[at]) model[at] = -1;
    }
    if (step % 1000 !== 999) continue;
    const all = pieces.all();
    assert.equal(pieces.count, all.length);
    assert.equal(pieces.last, all.at(-1));
    const found = new Array<number>(size).fill(-1);
    for (const piece of all) for (let at = piece.start; at < piece.end; at++) found[at] = piece.sourceOffset + at - piece.start;
    assert.deepEqual(found, model);
    for (let look = 0; look < 50; look++) {
      const offset = Math.floor(random() * size);
      assert.equal(
        pieces.after(offset),
        all.find((piece) => piece.end > offset),
      );
    }
  }
  assert.ok(pieces.count > 2048, `${pieces.count} pieces are no test of many parts`);
});

test("Pieces within ranges are found once each and in the file's order, however the ranges overlap", () => {
  const random = seededRandom(11);
  const pieces = new Pieces();
  for (let at = 0; at < 4096; at++) pieces.put(new Piece(at * 2, at * 2 + 2, at % 3 === 0 ? BUFFERED : STRIPED, null, 0, null));
  for (let round = 0; round < 200; round++) {
    const ranges = Array.from({ length: 1 + Math.floor(random() * (round % 2 === 0 ? 5 : 900)) }, () => ({
      start: Math.floor(random() * 8192),
      length: 1 + Math.floor(random() * 20),
    }));
    const wanted = (piece: Piece): boolean =>
      piece.kind === BUFFERED && ranges.some(({ start, length }) => piece.start < start + length && piece.end > start);
    // The predicate of a caller says the same of pieces outside the ranges: a long list of ranges becomes one walk.
    assert.deepEqual(pieces.within(ranges, wanted), pieces.all().filter(wanted));
  }
});

test("Of too many pieces the half that came first goes, whatever its place in the file, and none that is pinned", () => {
  const pieces = new Pieces();
  const source = new Uint8Array(0);
  for (const start of [70, 10, 50, 30]) pieces.fill(new Piece(start, start + 10, STRIPED, source, 0, null));
  pieces.put(new Piece(0, 5, BUFFERED, null, 0, null));
  // Cut in two: both parts are as old as the whole.
  pieces.remove(74, 76);
  pieces.fill(new Piece(90, 95, STRIPED, source, 0, null));
  pieces.dropOldest();
  assert.deepEqual(
    pieces.all().map(({ start }) => start),
    [0, 30, 50, 90],
  );
  pieces.dropOldest();
  pieces.dropOldest();
  pieces.dropOldest();
  assert.deepEqual(
    pieces.all().map(({ start }) => start),
    [0],
  );
});

// The block index of a real disk: RocksDB in the disk's folder index/.
import path from "node:path";
import type { Directory } from "./directory.ts";
import { RocksTable } from "./rocks-table.ts";
import type { IndexStore } from "./segment-recovery.ts";

const INDEX_FOLDER = "index";
/** An index of 64-piece entries grows by 300 bytes a block; two of these are in memory per disk. */
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;

/** For a Directory that is a real one: RocksDB does its own I/O on the path. */
export function rocksIndexStore(directory: Directory): IndexStore {
  return {
    open: () => RocksTable.open(path.join(directory.path, INDEX_FOLDER), { writeBufferBytes: WRITE_BUFFER_BYTES }),
    reset: () => directory.remove(INDEX_FOLDER),
  };
}

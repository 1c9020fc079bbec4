// Every named maximum of the sources is in a table here: with the test that reaches and passes it, with the reason why
// nobody can pass it or nothing is lost beyond it, or, as a debt, without a test.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const PARTS = ["admin", "fs", "native", "replication", "storage"];
/** A constant whose name has the word MAX or LIMIT, declared by itself. */
const DECLARATION = /^\s*(?:export |static )*(?:const|constexpr \w+) ([A-Z0-9_]*(?:MAX|LIMIT)[A-Z0-9_]*)\b/gm;

/** The test's file below test/, and after ": " words of it where it does not name the constant. */
const TESTED: Record<string, Record<string, string>> = {
  "fs/mount/channel.ts": { APART_BYTES_MAX: "fs/mount/channel.ts: apartBytes" },
  "admin/api-server.ts": { BODY_MAX_BYTES: "admin/maxima.ts" },
  "admin/session-listener.ts": { CONNECTIONS_MAX: "admin/maxima.ts" },
  "admin/tasks.ts": { ENDED_TASKS_MAX: "admin/maxima.ts" },
  "fs/mount/inodes.ts": { LIMITS: "fs/mount/inodes.ts: IDLE_FILES_MAX" },
  "fs/mount/limits.ts": {
    BUFFER_RANGES_MAX: "fs/mount/layout.ts: more ranges than a commit takes go in several",
    LEARN_ROUNDS_MAX: "fs/mount/maxima.ts",
    RECALL_RETRY_MAX_MS: "fs/mount/coherence.ts: what the disks refuse for longer is given up to a mount that writes",
    ACCESS_TIMES_BATCH_MAX: "fs/mount/maxima.ts",
    ATTRIBUTES_MAX: "fs/mount/maxima.ts",
    COPY_MAX_BYTES: "fs/mount/maxima.ts",
    FORGET_BATCH_MAX: "fs/mount/maxima.ts",
    LISTED_DIRECTORIES_MAX: "fs/mount/maxima.ts",
    READ_ATTEMPTS_MAX: "fs/mount/maxima.ts",
    TAIL_ROUNDS_MAX: "fs/mount/maxima.ts",
    TOLD_INODES_MAX: "fs/mount/maxima.ts",
    UNCOMMITTED_PIECES_MAX: "fs/mount/maxima.ts",
    UNKNOWN_PAUSE_MAX_MS: "fs/mount/maxima.ts",
    RELEASES_MAX: "fs/lock-releases.ts: limit: 3",
    CLEAN_PIECES_PER_FILE_MAX: "fs/mount/maxima.ts",
    BUFFER_FILES_MAX: "fs/mount/layout.ts",
    BUFFER_PIECES_MAX: "fs/mount/layout.ts",
    CLEAN_PIECES_MAX: "fs/mount/inodes.ts",
    COMMIT_BYTES_MAX: "fs/mount/flush.ts",
    COMMIT_FILES_MAX: "fs/mount/layout.ts",
    COMMIT_RANGES_MAX: "fs/mount/layout.ts",
    FORGOTTEN_INODES_MAX: "fs/mount/inodes.ts",
    FRAGMENT_BUFFERS_MAX: "fs/mount/fragments.ts",
    FRAGMENT_MAX_BYTES: "fs/mount/fragments.ts",
    FRAGMENT_RANGE_MAX_BYTES: "fs/mount/fragments.ts",
    FRAGMENT_READS_MAX: "fs/mount/fragments.ts",
    GIVEN_FILE_MAX_BYTES: "fs/mount/give-pages.ts",
    IDLE_FILES_MAX: "fs/mount/inodes.ts",
    INLINE_FILE_MAX_BYTES: "fs/mount/data.ts",
    LOOKS_MAX: "fs/mount/places.ts",
    LOOK_WAIT_MAX_MS: "fs/mount/places.ts",
    MOVED_THREADS_MAX: "fs/mount/places.ts",
    PLACES_MAX: "fs/mount/places.ts",
    PLACE_DEPTH_MAX: "fs/mount/places.ts",
    LOSSES_MAX: "fs/mount/flush.ts",
    RUN_GAP_MAX_BYTES: "fs/mount/layout.ts",
    UNCOMMITTED_INLINE_MAX_BYTES: "fs/mount/flush.ts",
    WALK_STEP_MAX_BYTES: "fs/mount/read-ahead.ts",
    WRITE_BUFFERS_MAX: "fs/mount/data.ts: buffersTaken <= 32",
    WRITING_BATCH_MAX: "fs/mount/writers.ts",
  },
  "fs/mount/mount.ts": { PATH_MAX_BYTES: "fs/mount/maxima.ts" },
  "fs/mount/operations.ts": { SYMLINK_MAX_BYTES: 'fs/mount/operations.ts: "x".repeat(4096)], "ENAMETOOLONG"' },
  "fs/namespace/calls.ts": { RESERVE_MAX: "fs/namespace/maxima.ts", WRITING_MAX: "fs/namespace/maxima.ts" },
  "fs/namespace/entry.ts": { ENTRY_MAX_BYTES: "fs/namespace/scattered.ts" },
  "fs/namespace/files.ts": {
    COMMIT_EXTENTS_MAX: "fs/namespace/maxima.ts",
    COMMIT_FILES_MAX: "fs/namespace/maxima.ts",
    EXTENTS_LIMIT_MAX: "fs/namespace/maxima.ts",
    INLINE_MAX_BYTES: "fs/namespace/maxima.ts",
    SHIFT_EXTENTS_MAX: "fs/namespace/maxima.ts",
    SHIFT_WINDOWS_MAX: "fs/namespace/maxima.ts",
  },
  "fs/namespace/locks.ts": {
    LOCKS_PER_INODE_MAX: "fs/namespace/maxima.ts",
    LOCKS_WAITING_MAX: "fs/namespace/maxima.ts",
    OWNER_CHARACTERS_MAX: "fs/namespace/maxima.ts",
  },
  "fs/namespace/lost-and-found.ts": { NAMES_TRIED_MAX: "fs/namespace/maxima.ts" },
  "fs/namespace/names.ts": {
    LIST_LIMIT_MAX: "fs/namespace/maxima.ts",
    TARGET_MAX_BYTES: "fs/namespace/rules.ts: 4096)} -> ENAMETOOLONG",
  },
  "fs/namespace/read-ahead.ts": { READ_AHEAD_MAX: "fs/namespace/read-ahead.ts" },
  "fs/namespace/turns.ts": {
    TURNS_MAX: "fs/namespace/maxima.ts",
    KEPT_WAITING_MAX: "fs/namespace/maxima.ts",
    TURN_MAX_MS: "fs/namespace/turns.ts: and for 120 at most after many refusals",
  },
  "fs/namespace/xattrs.ts": {
    NAMES_MAX_BYTES: "fs/namespace/maxima.ts",
    INODE_XATTRS_MAX_BYTES: 'fs/namespace/limits.ts: set("user.last", 65536), { code: "ENOSPC" }',
  },
  "fs/request-numbers.ts": { NUMBERS_WAITING_MAX: "fs/request-numbers.ts", UNANSWERED_MAX: "fs/request-numbers.ts" },
  "fs/session-link.ts": { LINK_WAITING_MAX: "fs/session-link.ts", PAUSE_MAX_MS: "fs/session-link.ts" },
  "fs/session-server.ts": { MOUNTPOINT_CHARACTERS_MAX: "fs/session-server.ts", RECLAIM_MAX: "fs/session-server.ts" },
  "fs/types.ts": {
    TIME_MAX_SECONDS: "fs/namespace/maxima.ts",
    FILE_MAX_BYTES: "fs/namespace/rules.ts: truncate /f 4503599627370497 -> EFBIG ; truncate /f 4503599627370496",
    LINK_MAX: "fs/namespace/limits.ts: a file has at most 65000 names",
    NAME_MAX_BYTES: "fs/namespace/rules.ts: names have 1 to 255 bytes of any encoding",
    XATTR_NAME_MAX_BYTES: "fs/namespace/rules.ts: repeat(251)} x -> ERANGE",
    XATTR_VALUE_MAX_BYTES: 'fs/namespace/limits.ts: set("user.large", 65537), { code: "E2BIG" }',
  },
  "replication/block-server.ts": { LIST_MAX: "replication/maxima.ts" },
  "replication/connection.ts": {
    CALLERS_WAITING_MAX: "replication/maxima.ts",
    RECEIVED_MAX: "replication/maxima.ts",
    RECEIVED_MAX_BYTES: "replication/maxima.ts",
    LONG_REQUESTS_MAX: "replication/connection.ts",
    PAYLOADS_MAX_BYTES: "replication/back-pressure.ts",
    REQUESTS_MAX: "replication/connection.ts",
    UNSENT_MAX_BYTES: "replication/back-pressure.ts",
  },
  "replication/frame.ts": { HEADER_MAX_BYTES: "replication/maxima.ts", PAYLOAD_MAX_BYTES: "replication/frame.ts" },
  "replication/local-blocks.ts": { MEASURE_MAX_MS: "replication/maxima.ts" },
  "replication/local-disk.ts": {
    DISK_REQUESTS_MAX: "replication/maxima.ts",
    DISK_REQUESTS_WAITING_MAX: "replication/maxima.ts",
    READ_ERRORS_IN_ROW_MAX: "replication/maxima.ts",
    ANSWER_MAX_MS: "replication/stripes.ts: a disk that does not answer is passed by readers after a while and failed in the end",
  },
  "replication/stripe-reader.ts": { DECODES_MAX: "replication/maxima.ts", DECODES_WAITING_MAX: "replication/maxima.ts" },
  "replication/stripe-writer.ts": {
    UNSYNCED_MAX: "replication/maxima.ts",
    WRITES_MAX: "replication/maxima.ts",
    WRITES_WAITING_MAX: "replication/maxima.ts",
  },
  "replication/stripe.ts": { STRIPE_DATA_MAX_BYTES: "fs/namespace/maxima.ts" },
  "storage/aligned-pool.ts": { WAITING_MAX_DEFAULT: "storage/aligned-pool.ts: waitingMax: 2" },
  "storage/blocks.ts": { BLOCK_MAX_BYTES: "storage/segment-blocks.ts: new Uint8Array(4 * 1024 * 1024 + 1)), { code:" },
  "storage/disk-identity.ts": { IDENTITY_MAX_BYTES: "storage/maxima.ts" },
  "storage/log-format.ts": { ENTRY_MAX_BYTES: "storage/maxima.ts" },
  "storage/segment-files.ts": { OPEN_FILES_MAX: "storage/maxima.ts" },
};

const STEP = "how much is done in one step; the next step goes on behind it";
const KEPT = "how much is kept in memory for speed; what is not kept is read or made again";
const TIME = "how old a figure may be, or how long a pause may be, for speed; nothing is refused";
const SHOWN = "how much is shown to people; what is counted is counted in full";
const KERNEL = "the kernel's protocol fixes it";

/** Nobody is refused, and nothing is lost, beyond these. */
const NO_LIMIT: Record<string, Record<string, string>> = {
  "admin/code-command.ts": { LOSS_ROWS_SHOWN_MAX: SHOWN },
  "admin/detach.ts": { TRACE_SHOWN_MAX: SHOWN },
  "admin/private-socket.ts": { ADDRESS_MAX_BYTES: KERNEL },
  "admin/rate.ts": { SECONDS_MAX: SHOWN },
  "admin/tasks.ts": { FINDINGS_MAX: SHOWN, PROBLEMS_MAX: SHOWN },
  "admin/defaults.ts": { SESSION_TIME_LIMIT_MS: "a default of --session-limit, whose end is tested in fs/session-life.ts" },
  "fs/cleaner-choice.ts": { USE_MAX: "a threshold of what is worth rewriting", CHOSEN_MAX: STEP },
  "fs/inline-mover.ts": { FILES_MAX: KEPT },
  "fs/mount/fragments.ts": { GRAINS_PER_STRIPE_MAX: "follows from STRIPE_DATA_MAX_BYTES" },
  "fs/mount/limits.ts": {
    ACCESS_TIME_AGE_MAX_MS: "relatime's rule: what is older is renewed",
    DIRTY_AGE_MAX_MS: "when what was written is sent, although nobody asks",
    INLINE_FLUSH_MAX_BYTES: "a threshold: what is larger goes to a stripe",
    INLINE_RANGE_MAX_BYTES: "a threshold: what is larger goes to a stripe",
    STORES_IN_FLIGHT_MAX: "how many stripes are stored beside each other; the others wait in their buffers",
    OWN_BUFFERS_MAX: "a threshold: further writers share a buffer",
    UNCOMMITTED_STRIPES_MAX: "a threshold: from here on a commit is asked for",
    WALK_READ_MAX_BYTES: "a threshold of reading ahead",
    READ_BUFFERS_MAX: KEPT,
    WALKS_MAX: KEPT,
  },
  "fs/mount/losses.ts": { NAMED_MAX: SHOWN },
  "fs/mount/pieces.ts": { CHUNK_MAX: "how a list is cut into arrays" },
  "fs/mount/protocol-init.ts": { FUSE_MAX_PAGES: KERNEL, MAX_PAGES: KERNEL, MAX_BACKGROUND: KERNEL, MAX_WRITE_BYTES: KERNEL },
  "fs/mount/statfs.ts": { FIGURE_MAX: "the range of a 32-bit figure that old programs read" },
  "fs/namespace/directory.ts": { CURSORS_MAX: KEPT },
  "fs/namespace/inline-count.ts": { NOTES_MAX: KEPT },
  "fs/namespace/leases.ts": { HEARD_LIMITS: "a factor of the session's limit, tested in fs/namespace/sessions.ts" },
  "fs/namespace/namespace.ts": { DEFAULT_LIMITS: "a record of defaults; tests make each of them small (limits: {...})" },
  "fs/namespace/read-ahead.ts": { WALKS_MAX: KEPT },
  "fs/namespace/relocation.ts": { WINDOWS_MAX: STEP },
  "fs/namespace/resumption.ts": { RECLAIM_LIMITS: "a factor of the session's limit, tested in fs/session-life.ts" },
  "fs/namespace/room.ts": {
    MEASURED_AGE_MAX_MS: TIME,
    SCARCE_BYTES_MAX: "a threshold from which on space is counted more exactly",
  },
  "fs/namespace/server.ts": { NEXT_EXTENT_RECORDS_MAX: STEP },
  "fs/namespace/sessions.ts": { DEFAULT_SESSION_LIMIT_MS: "a default, whose end is tested in fs/namespace/sessions.ts" },
  "fs/namespace/state.ts": {
    DIRECTORY_NAMES_MAX: KEPT,
    EXTENTS_AHEAD_MAX: KEPT,
    NAMES_AHEAD_MAX: KEPT,
    PAGES_MAX: KEPT,
    RECORDS_MAX: KEPT,
  },
  "fs/namespace/ticks.ts": { REST_MAX_MS: TIME, WINDOWS_WHOLE_MAX: STEP, FOUND_AT_START_MAX: STEP },
  "fs/remote-session.ts": { PINGS_PER_LIMIT: "how often a mount is heard of" },
  "fs/session-link.ts": { BACKOFF_MAX_MS: TIME },
  "fs/warm-up.ts": { ROUNDS_MAX: "how long code is made warm before anybody is served" },
  "native/fuse.ts": { MAX_REPLY_BUFFERS: "how many parts a reply may have; the mount's replies have three at most" },
  "native/fuse/notifier.cc": { THREADS_MAX: "how many notifications run beside each other; the others wait" },
  "replication/audit.ts": { SUSPECTS_MAX: STEP },
  "replication/find-stripe.ts": { BLOCKS_MAX: "more than any scheme has, twice" },
  "replication/local-blocks.ts": { STATUS_AGE_MAX_MS: TIME },
  "replication/local-disk.ts": { SPACE_AGE_MAX_MS: TIME },
  "storage/block-index.ts": { BATCH_CHANGES_MAX: STEP, KEYS_MAX: STEP },
  "storage/record-buffer.ts": { CHUNKS_KEPT_MAX: KEPT },
  "storage/rocks-table.ts": { OPEN_FILES_MAX: KEPT },
  "storage/segment-blocks.ts": { RESERVE_BYTES_MAX: "a threshold: what a disk keeps free for itself", SPACE_AGE_MAX_MS: TIME },
  "storage/segment-format.ts": {
    BLOCK_PIECES_MAX: "follows from BLOCK_MAX_BYTES",
    RECORD_HEADER_MAX_BYTES: "follows from BLOCK_MAX_BYTES",
  },
  "storage/segment-writer.ts": { BATCH_BYTES_MAX: STEP, BATCH_RECORDS_MAX: STEP, GROW_MAX_BYTES: STEP },
};

/** No test reaches and passes these. A new maximum does not belong here. */
const withoutTest: readonly string[] = [
  "admin/client.ts ANSWER_MAX_BYTES",
  "admin/fsck-task.ts LOST_MAX",
  "admin/fsck-task.ts PASSES_MAX",
  "admin/reports.ts EXTENTS_MAX",
  "fs/mount/limits.ts LOOK_MAX_MS",
  "fs/mount/limits.ts RECALL_PASS_MAX_MS",
  "fs/mount/limits.ts RECALL_ROUNDS_MAX",
  "fs/mount/limits.ts ROOM_ROUNDS_MAX",
  "fs/namespace/check-inodes.ts LOST_MAX",
  "fs/namespace/check-names.ts LEFTOVERS_MAX",
  "fs/namespace/check-names.ts SUM_LIMIT",
  "fs/namespace/check-names.ts TO_LOST_MAX",
  "fs/namespace/check-stripes.ts MISPLACED_MAX",
  "fs/namespace/check.ts PROBLEMS_MAX",
  "fs/namespace/lost-and-found.ts DEPTH_MAX",
  "fs/namespace/lost-files.ts DEPTH_MAX",
  "fs/namespace/lost-files.ts LOST_FILES_MAX",
  "fs/namespace/lost-files.ts PATHS_MAX",
  "fs/namespace/lost-files.ts RANGES_MAX",
  "fs/namespace/mend-extents.ts WINDOWS_MAX",
  "fs/namespace/overlay.ts RETIRED_MAX",
  "fs/namespace/overlay.ts SNAPSHOT_ATTEMPTS_MAX",
  "fs/namespace/relocation.ts MOVES_MAX",
  "fs/namespace/resumption.ts SESSIONS_FOUND_MAX",
  "fs/namespace/room.ts MAKE_ROOM_MAX_MS",
  "fs/namespace/state.ts SCAN_MAX",
  "fs/namespace/transactions.ts ATTEMPTS_MAX",
  "storage/block-changes.ts PENDING_CHANGES_MAX",
  "storage/segment-blocks.ts LARGE_WRITES_MAX",
];
const WITHOUT_TEST = 29;

function sourcesBelow(part: string): string[] {
  return readdirSync(path.join(root, part), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(ts|cc|h)$/.test(name))
    .map((name) => path.join(part, name));
}

function declared(): string[] {
  const found: string[] = [];
  for (const file of PARTS.flatMap(sourcesBelow)) {
    const text = readFileSync(path.join(root, file), "utf8");
    for (const [, name] of text.matchAll(DECLARATION)) found.push(`${file} ${name}`);
  }
  return found.sort();
}

const rowsOf = (table: Record<string, Record<string, string>>): [string, string][] =>
  Object.entries(table).flatMap(([file, rows]) => Object.entries(rows).map(([name, text]): [string, string] => [`${file} ${name}`, text])); // prettier-ignore

test("every named maximum is in one of the tables, once, and the tables name no others", () => {
  const listed = [...rowsOf(TESTED), ...rowsOf(NO_LIMIT)].map(([name]) => name).concat(withoutTest);
  const present = declared();
  assert.ok(present.length > 100, `only ${present.length} maxima were found: the search is wrong`);
  assert.deepEqual(present.filter((name) => !listed.includes(name)), [], "maxima that no table has"); // prettier-ignore
  assert.deepEqual(listed.filter((name) => !present.includes(name)), [], "rows whose constant is gone"); // prettier-ignore
  assert.deepEqual(listed.filter((name, at) => listed.indexOf(name) !== at), [], "rows that are there twice"); // prettier-ignore
});

test("the test that a maximum's row names is there and speaks of it", () => {
  for (const [row, value] of rowsOf(TESTED)) {
    const [file, ...words] = value.split(": ");
    const place = path.join(root, "test", file);
    assert.ok(existsSync(place), `${row}: test/${file} is not there`);
    const word = words.length > 0 ? words.join(": ") : row.split(" ")[1];
    assert.ok(readFileSync(place, "utf8").includes(word), `${row}: test/${file} does not have "${word}"`);
  }
});

test("the maxima without a test become fewer only", () => {
  assert.equal(withoutTest.length, WITHOUT_TEST, "write the number of rows that are left into WITHOUT_TEST");
});

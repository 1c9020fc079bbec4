// Every maximum and threshold of the mount, with the arithmetic behind it.

/** How long the kernel may use names and attributes that a lease covers. A recall takes them back at any time, so this only bounds the harm of a lost one. */
export const LEASED_TIMEOUT_MS = 3_600_000;

/**
 * The same for attributes in the answers to SETATTR, LINK and the CREATE of a file that is there already. The kernel takes
 * those of a look-up only if no invalidation came since it asked; these it takes in any case (fuse_do_setattr and
 * fuse_iget with version 0 in fs/fuse/dir.c), so an invalidation that overtakes the answer would be lost.
 */
export const UNCHECKED_TIMEOUT_MS = 0;

/** 4 MiB: one buffer becomes one stripe at most. */
export const STRIPE_BUFFER_BYTES = 4 * 1024 * 1024;
/** 32 x 4 MiB = 128 MiB of written data that is not on disks yet. */
export const WRITE_BUFFERS_MAX = 32;
/** Buffers that single files fill by themselves (sequential writers); further writers share one. Leaves 16 for those being stored. */
export const OWN_BUFFERS_MAX = 12;
/** A write of this size, or a run of adjacent writes as long, gets the file a buffer of its own, so that its stripes hold nothing else. */
export const OWN_BUFFER_FROM_BYTES = 1024 * 1024;
/** Stripes being stored at once: enough to overlap coding with six disks' writes. */
export const STORES_IN_FLIGHT_MAX = 4;
/** Pieces of files that are not committed, over all files: 128 MiB in 4 KiB pages are 32,768; this bounds writers of a few bytes each. */
export const UNCOMMITTED_PIECES_MAX = 65_536;
/** Inline bytes that wait for a commit, over all files; writers wait for one while there is more. Two commits' worth. */
export const UNCOMMITTED_INLINE_MAX_BYTES = 8 * 1024 * 1024;
/** Files whose lost bytes are listed one by one when a mount ends; those of further ones are only counted. */
export const LOSSES_MAX = 4096;
/** Ranges in one commit request, so that one transaction stays small. No unit has more (BUFFER_PIECES_MAX), and the namespace takes 65,536 extents: where parts overlap, two ranges become three extents at most. */
export const COMMIT_RANGES_MAX = 8192;
/** Files in one commit request. No unit has more (BUFFER_FILES_MAX). */
export const COMMIT_FILES_MAX = 4096;
/** One commit request, as estimated: with what the log adds it stays below a frame's header (8 MiB) and a log entry (15 MiB). A unit has at most 64 KiB inline, 8192 x 64 bytes of ranges and 4096 x 256 bytes of files. */
export const COMMIT_BYTES_MAX = 4 * 1024 * 1024;
/** What a range takes in a request and in the log, besides its bytes. */
export const COMMIT_RANGE_BYTES = 64;
/** ... a file, with its inode's record and its attributes in the reply. */
export const COMMIT_FILE_BYTES = 256;
/** Stored stripes that wait for a commit while nobody asks for one (64 MiB of data). */
export const UNCOMMITTED_STRIPES_MAX = 16;

/** Ranges up to this ride in the log and live in the table. */
export const INLINE_RANGE_MAX_BYTES = 4096;
/** ... if the whole flush has at most this much, so that bulk data does not go through the log. */
export const INLINE_FLUSH_MAX_BYTES = 64 * 1024;
/** What one file may have in the table; beyond it each flush makes a stripe. The namespace moves it to stripes at a quarter of this (limits.inlineFileBytes), so it is reached only where that cannot keep up, or fails. */
export const INLINE_FILE_MAX_BYTES = 8 * 1024 * 1024;
/** A range counts as this much at least: what its record costs. */
export const INLINE_RANGE_MIN_BYTES = 1024;
/** Pieces in an open buffer. At this many its bytes are laid out by file (2 ms), which joins those that are neighbours in a file. */
export const BUFFER_PIECES_MAX = 8192;
/** Ranges of files in a buffer: one with so many left when it is laid out is sealed although it is not full. So a unit never has more than BUFFER_PIECES_MAX. */
export const BUFFER_RANGES_MAX = BUFFER_PIECES_MAX / 2;
/** Files in a buffer; more are flushed although it is not full. */
export const BUFFER_FILES_MAX = 4096;
/** Zeros between two ranges of a file that are stored with them: less than what an extent's record costs in the log, the table and memory. */
export const RUN_GAP_MAX_BYTES = 128;
/** A sealed buffer with less than this share of live bytes is packed together before it is stored. */
export const LIVE_SHARE_MIN = 0.75;
/** Flushes with less than this become a stripe of copies: six blocks of 64 KiB and their six index entries cost more than three copies. */
export const CODED_FROM_BYTES = 256 * 1024;

/** Written data is on its way to the disks after this long. */
export const DIRTY_AGE_MAX_MS = 4000;
/** How often age is looked at, and lazy work (forgets, access times) sent. */
export const TICK_MS = 500;
/** A flush that failed is tried again after this long. */
export const FLUSH_RETRY_MS = 1000;
/** How long recalls try again what the disks refuse, since they began to: well within a session's time limit. */
export const RECALL_RETRY_MAX_MS = 4000;
/** Bytes that the mount asks to be granted ahead: twice its write buffers. */
export const GRANT_WANTED_BYTES = 256 * 1024 * 1024;
/** What a mount keeps of them while it writes nothing: so that the next write need not wait. */
export const GRANT_KEPT_BYTES = 1024 * 1024;
/** Requests for the extents of one write's range (1 MiB: 256 blocks, in several runs of extents where many writers are at it). */
export const LEARN_ROUNDS_MAX = 64;
/** Attempts of one write to be admitted with room: others may take what was granted for it. */
export const ROOM_ROUNDS_MAX = 1024;

/** Stripe numbers asked for at once. */
export const STRIPE_RESERVATION = 256;

/** Files without open handles whose extents and attributes stay known here. */
export const IDLE_FILES_MAX = 4096;
/** Clean pieces one file may keep; above it the older half is dropped when the next request asks for some. One request may bring as many more as its range has. */
export const CLEAN_PIECES_PER_FILE_MAX = 16_384;
/** Clean pieces over all files (about 100 bytes each). */
export const CLEAN_PIECES_MAX = 131_072;
/** Attributes kept of inodes that are not open (about 300 bytes each). */
export const ATTRIBUTES_MAX = 16_384;
/** Extents asked for at once: few at random places, more in a sequential read. */
export const EXTENTS_RANDOM = 64;
export const EXTENTS_SEQUENTIAL = 1024;

/** Stripe-sized buffers for reading ahead: 8 x 4 MiB. */
export const READ_BUFFERS_MAX = 8;
/** A sequential read of this much starts reading ahead whole stripes. */
export const READ_AHEAD_FROM_BYTES = 256 * 1024;
/** Stripes ahead of the reader. */
export const READ_AHEAD_STRIPES = 2;
/** So many small reads through a stripe, each at most so far behind the one before, have it fetched whole: from then on they cost a copy each. */
export const WALK_READS_MIN = 3;
export const WALK_STEP_MAX_BYTES = 256 * 1024;
/** Larger reads are worth a request to the disks each. */
export const WALK_READ_MAX_BYTES = 128 * 1024;
/** A small stripe is read block by block out of the page cache. */
export const WALK_STRIPE_MIN_BYTES = 256 * 1024;
/** Walks through stripes that go on beside each other. */
export const WALKS_MAX = 16;
/** A read from the disks is tried again with fresh extents this often (a stripe may be replaced while it is read). */
export const READ_ATTEMPTS_MAX = 3;

/** A read of at least so many small pieces that are not at hand has them fetched together. Fewer are read one by one. */
export const FRAGMENTS_MIN = 16;
/** Larger pieces are worth a read each. */
export const FRAGMENT_MAX_BYTES = 32 * 1024;
/** What is fetched of stripes for them: what has a checksum of its own. */
export const GRAIN_BYTES = 16 * 1024;
/** Buffers for grains: 4 x 4 MiB, so that two readers have what they read and what comes next. */
export const FRAGMENT_BUFFERS_MAX = 4;
/** As much of a file as one buffer holds where its bytes fill their grains. */
export const FRAGMENT_RANGE_MAX_BYTES = STRIPE_BUFFER_BYTES;
/** Reads of grains under way for one buffer. */
export const FRAGMENT_READS_MAX = 32;
/** Extents asked for at once for them: as many pieces of 512 bytes as the range can have, half of what a file may keep. */
export const EXTENTS_FRAGMENTED = 8192;

/** Files up to this are given to the kernel when they are opened. A copy of 64 KiB takes some 10 us, a request 10 and more. */
export const GIVEN_FILE_MAX_BYTES = 64 * 1024;

/** Entries of a directory fetched at once. */
export const DIRECTORY_PAGE_ENTRIES = 512;
/** Of so many inodes it is known when they were forgotten last: more than are forgotten while a request is under way, but for one that hangs. */
export const FORGOTTEN_INODES_MAX = 65_536;
/** Inodes in one forget request, and forgets kept back before one is sent at once. */
export const FORGET_BATCH_MAX = 1024;
/** Files of one request that says that they are not open for writing any more. */
export const WRITING_BATCH_MAX = 1024;
/** Files whose access times are sent in one request. */
export const ACCESS_TIMES_BATCH_MAX = 1024;
/** relatime: an access time older than this is renewed. */
export const ACCESS_TIME_AGE_MAX_MS = 24 * 3600 * 1000;
/** One copy_file_range call shares at most this, so that one transaction stays small; programs call again. */
export const COPY_MAX_BYTES = 256 * 1024 * 1024;

/** A recall that waits for pages looks this often whether a request came that holds some. */
export const RECALL_GATE_MS = 3;
/** A recall is answered though pages were not dropped when they have been locked for so long by something that is not known to wait. */
export const RECALL_PASS_MAX_MS = 1000;
/** A program that was told of a size that another mount changed takes the answer within this time, a stopped machine aside. */
export const CHANGED_SIZE_TOLD_MS = 30;
/** A program that was told of attributes takes the answer within this time, a stopped machine aside. */
export const TOLD_MS = 30;
/** Of so many inodes it is known when the kernel was told of them: more than programs ask for in that time. */
export const TOLD_INODES_MAX = 8192;
/** Directories of which it is known under which name the kernel has them (about 150 bytes each); at least of half as many. */
export const PLACES_MAX = 65_536;
/** Directories above one another in the path of one that is looked up: a path of PATH_MAX bytes has at most twice as many. */
export const PLACE_DEPTH_MAX = 1024;
/** Threads of which it is known that they were told of a moved directory: more than are in rename(2) at once. */
export const MOVED_THREADS_MAX = 1024;
/** A rename(2) that could not take a directory's new name tries again within this time. */
export const MOVED_TOLD_MS = 1000;
/** Processes that look up moved directories at once: each takes some milliseconds. */
export const LOOKS_MAX = 4;
/** Such a process is ended when it takes longer. It tries for half a second (native/look/look.cc); the rest is for a slow namespace. */
export const LOOK_MAX_MS = 10_000;
/** ... and a program's rename(2) waits so long for it: two programs that hold locks which the other's look needs must not wait for ever. */
export const LOOK_WAIT_MAX_MS = 5000;
/** Directories of which it is known when the kernel was given a part: more than are listed in that time. */
export const LISTED_DIRECTORIES_MAX = 8192;
/** A write that comes so soon after a recall may have been in the kernel's pages before it. */
export const RECALL_FRESH_MS = 100;
/** The kernel is told again of an inode that it does not know yet, after pauses of 1, 2, 4 ms up to this: a program that was answered runs within far less. */
export const UNKNOWN_PAUSE_MAX_MS = 32;
/** Rounds of invalidation in one recall. */
export const RECALL_ROUNDS_MAX = 64;

/** How long a recall waits for the rest of an append that may have been cut (one through the page cache that ended with a page, one of more than 1020 KiB): the kernel sends it within microseconds, a stopped machine aside. */
export const APPEND_GOES_ON_MS = 50;

/** A last page that is read again and again is dropped this often before a direct write behind it. */
export const TAIL_ROUNDS_MAX = 64;
/** Owners of locks that are gone, of which the namespace has not heard: from here on no new locks are asked for. */
export const RELEASES_MAX = 16_384;
/** How often the namespace is told again of those. */
export const RELEASE_AGAIN_MS = 1000;

// The shared log: the total order of changes to the namespace (architecture.md). storage/local-log.ts is the embedded
// one; an etcd log will be the cluster's. An entry is bytes here; fs/namespace/entry.ts says what is in them.

/** Position in the log. The first entry of a new log has index 1. */
export type LogIndex = number & { readonly brand: "LogIndex" };

export interface Log {
  /** Takes the entry's place in the order, at once. The bytes are owned by the log from here on. Throws if sealed or failed. Waits for nothing: watch `pendingBytes`. */
  append(entry: Uint8Array): LogIndex;
  /** Resolves when every entry up to and including index is durable. Many callers share one fdatasync (group commit). Rejects for good once an append could not be written. */
  sync(index: LogIndex): Promise<void>;
  /** Entries from `from` to the tail, in order. Throws a LogCorrupt error that names file and offset at a damaged entry which is not the torn end. */
  read(from: LogIndex): AsyncIterable<{ index: LogIndex; entry: Uint8Array }>;
  /** Index of the last entry, first-1 in an empty log. */
  tail(): LogIndex;
  /** Index of the oldest entry kept; tail()+1 in an empty log. */
  first(): LogIndex;
  /** Bytes appended and not yet written. Callers wait (with `drained`) while it is over their bound. */
  readonly pendingBytes: number;
  drained(): Promise<void>;
  /** Drops entries below the index; durable copies of what they say must exist elsewhere. */
  trim(below: LogIndex): Promise<void>;
  /** Ends this log for good: further appends throw. Durable when it resolves. */
  seal(): Promise<LogIndex>;
  close(): Promise<void>;
}

/** The log's files contradict themselves in a way that no crash explains: bytes changed or a file is missing. Nothing was changed by finding out. */
export class LogCorrupt extends Error {
  readonly code = "ECORRUPT";
  readonly file: string;
  readonly offset: number;
  constructor(file: string, offset: number, what: string) {
    super(`read log file ${file} at offset ${offset}: ${what}`);
    this.file = file;
    this.offset = offset;
  }
}

/** An append could not be made durable. With code ENOSPC the log goes on by itself once there is space; with any other it has failed for good and must be opened again. */
export class LogFailed extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** An append to a log that was ended by seal() or close(). */
export class LogSealed extends Error {
  readonly code = "ESEALED";
}

// What the fuse addon offers (native/fuse/*.cc), typed. It moves bytes between /dev/fuse and an arena; opcodes, options
// and order of calls are fs/mount/'s. Numbers below zero are negated errnos.
import { loadAddon } from "./load.ts";

/** One connection to the kernel. All methods are for the JavaScript thread. */
export interface FuseConnection {
  /** Offset of the arena's first page boundary in its ArrayBuffer; offsets below count from it. */
  readonly arenaStart: number;
  /** Whether onReadable is called while a request waits. Off at first. */
  setPolling(on: 0 | 1): number;
  /** Reads one request to `offset`. Returns its bytes or a negated errno: EAGAIN none is waiting, ENODEV unmounted, ECONNABORTED aborted. */
  receive(offset: number, length: number): number;
  /** Writes one reply, header included. ENOENT: the kernel no longer waits for it. */
  reply(offset: number, length: number): number;
  /** Writes one reply: its header from the arena, then `buffers` (at most MAX_REPLY_BUFFERS) from where they lie. */
  replyBuffers(offset: number, length: number, buffers: readonly Uint8Array[]): number;
  /** Gives a notification to the notifier's thread; onNotified(id, errno) follows. EAGAIN: its queue is full. The message is copied. */
  notify(id: number, message: Uint8Array): number;
  /** After a request or a reply the event loop goes on turning for so long rather than sleep, where that pays (native/fuse/vigil.h). 0, as at first: it sleeps. */
  setVigil(microseconds: number): void;
  /** Tells the watchdog that the event loop is alive. */
  beat(): void;
  /** Ends the connection after so many seconds (0: now), from the watchdog's thread; -1: not at all. */
  armWatchdog(seconds: number): void;
  /** Whether the watchdog has ended the connection. */
  watchdogFired(): boolean;
  /** The mount is off the tree: neither the watchdog nor an exit touch its path any more. */
  forgetMountpoint(): void;
  /** Stops polling and both threads and closes the descriptor, which ends the connection if it still stands. No callback follows. */
  close(): void;
}

export interface FuseAddon {
  openDevice(path: string): number;
  closeDescriptor(descriptor: number): number;
  mount(source: string, target: string, type: string, flags: number, data: string): number;
  /** umount2(2) on a thread of the pool. */
  unmount(target: string, flags: number, callback: (error: number) => void): void;
  socketPair(): [number, number] | number;
  /** A descriptor sent with SCM_RIGHTS to this socket. Does not wait. */
  receiveDescriptor(socket: number): number;
  /** Takes the descriptor. abortFile: fusectl's file for this connection, or "". */
  attach(
    descriptor: number, arena: ArrayBuffer, onReadable: () => void, onNotified: (id: number, error: number) => void,
    mountpoint: string, abortFile: string, stuckSeconds: number, notificationLimit: number,
  ): FuseConnection | number; // prettier-ignore
}

export const MAX_REPLY_BUFFERS = 512;
export const PAGE_BYTES = 4096;

// sys/mount.h
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MNT_FORCE = 1;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

let addon: FuseAddon | undefined;

/** The addon, loaded on first use. */
export function fuseAddon(): FuseAddon {
  return (addon ??= loadAddon<FuseAddon>("fuse"));
}

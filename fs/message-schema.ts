// fs/messages.ts as protobuf, for sessions over a socket: `Operation` -> message OperationRequest and OperationReply,
// fields in camel case on both sides. Field numbers are fixed for good; new fields get new numbers.
//
// Byte strings (names, targets) are `bytes`; a missing number field stays absent through `optional`.

export const messageSchema = `
syntax = "proto3";

message Attributes {
  uint64 inode = 1; uint32 mode = 2; uint32 linkCount = 3; uint32 uid = 4; uint32 gid = 5; uint32 device = 6; uint64 size = 7; uint64 allocatedBytes = 8;
  sint64 atimeSeconds = 9; uint32 atimeNanoseconds = 10; sint64 mtimeSeconds = 11; uint32 mtimeNanoseconds = 12; sint64 ctimeSeconds = 13; uint32 ctimeNanoseconds = 14;
  optional bool hasCapability = 15;
}
message TimeStamp { sint64 seconds = 1; uint32 nanoseconds = 2; bool now = 3; }
message AttributeChange {
  optional uint32 mode = 1; optional uint32 uid = 2; optional uint32 gid = 3; optional uint64 size = 4;
  optional TimeStamp atime = 5; optional TimeStamp mtime = 6; optional TimeStamp ctime = 7; optional bool clearSetId = 8;
  optional bool clearSetGroupId = 9; optional bool clearCapability = 10;
}
message Extent { uint64 offset = 1; uint64 length = 2; optional uint64 stripe = 3; optional uint32 stripeOffset = 4; optional bytes inline = 5; }
message Stripe { uint64 id = 1; string scheme = 2; uint32 dataBytes = 3; uint32 blockBytes = 4; repeated uint32 disks = 5; }
message FileCommit { uint64 inode = 1; repeated Extent extents = 2; optional uint64 sizeAtLeast = 3; optional AttributeChange change = 4; }
message ByteLock { string kind = 1; string type = 2; uint64 start = 3; optional uint64 end = 4; string owner = 5; uint32 pid = 6; }
message DirectoryEntry { bytes name = 1; uint64 inode = 2; uint32 type = 3; uint64 cookie = 4; optional Attributes attributes = 5; }
message Empty {}
message Inode { uint64 inode = 1; }
message InodeAttributes { optional Attributes attributes = 1; }

message LookupRequest { uint64 parent = 1; bytes name = 2; }
message SetAttributesRequest { uint64 inode = 1; AttributeChange change = 2; }
message MakeRequest { uint64 parent = 1; bytes name = 2; uint32 mode = 3; uint32 umask = 4; uint32 uid = 5; uint32 gid = 6; optional uint32 device = 7; optional bytes target = 8; bool exclusive = 9; }
message MakeReply { Attributes attributes = 1; bool created = 2; Attributes parent = 3; }
message MakeUnnamedRequest { uint64 parent = 1; uint32 mode = 2; uint32 umask = 3; uint32 uid = 4; uint32 gid = 5; }
message LinkRequest { uint64 inode = 1; uint64 parent = 2; bytes name = 3; }
message ChangedReply { Attributes attributes = 1; Attributes parent = 2; optional bool knownElsewhere = 3; }
message UnlinkRequest { uint64 parent = 1; bytes name = 2; bool directory = 3; }
message RenameRequest { uint64 parent = 1; bytes name = 2; uint64 newParent = 3; bytes newName = 4; bool noReplace = 5; bool exchange = 6; }
message RenameReply { Attributes moved = 1; optional Attributes replaced = 2; Attributes parent = 3; Attributes newParent = 4; optional bool knownElsewhere = 5; }
message ReadLinkReply { bytes target = 1; }
message ListRequest { uint64 inode = 1; uint64 after = 2; uint32 limit = 3; bool attributes = 4; }
message ListReply { repeated DirectoryEntry entries = 1; uint64 newestCookie = 2; }
message XattrName { uint64 inode = 1; bytes name = 2; }
message GetXattrReply { optional bytes value = 1; }
message SetXattrRequest { uint64 inode = 1; bytes name = 2; bytes value = 3; bool create = 4; bool replace = 5; bool clearSetGroupId = 6; }
message ListXattrsReply { repeated bytes names = 1; }
message ExtentsRequest { uint64 inode = 1; uint64 from = 2; uint64 to = 3; uint32 limit = 4; }
message ExtentsReply { repeated Extent extents = 1; repeated Stripe stripes = 2; uint64 end = 3; }
message ReserveStripesRequest { uint32 count = 1; }
message ReserveStripesReply { uint64 first = 1; }
message CommitRequest { repeated FileCommit files = 1; repeated Stripe stripes = 2; }
message CommitReply { repeated Attributes attributes = 1; repeated uint64 gone = 2; }
message ReshapeRequest { uint64 inode = 1; string kind = 2; uint64 offset = 3; uint64 length = 4; bool keepSize = 5; }
message ShareRequest { uint64 from = 1; uint64 fromOffset = 2; uint64 to = 3; uint64 toOffset = 4; uint64 length = 5; }
message ShareReply { uint64 copied = 1; Attributes attributes = 2; }
message StatisticsReply { uint64 totalBytes = 1; uint64 freeBytes = 2; uint64 inodes = 3; }
message SpaceRequest { uint64 heldBytes = 1; uint64 unstoredBytes = 2; uint64 neededBytes = 3; uint64 wantedBytes = 4; bool release = 5; }
message SpaceReply { uint64 grantedBytes = 1; bool scarce = 2; }
message LockRequest { uint64 inode = 1; ByteLock lock = 2; bool wait = 3; uint64 ticket = 4; }
message CancelLockRequest { uint64 ticket = 1; }
message TestLockRequest { uint64 inode = 1; ByteLock lock = 2; }
message TestLockReply { optional ByteLock conflict = 1; }
message ReleaseLocksRequest { uint64 inode = 1; string kind = 2; string owner = 3; }
message AcquireRequest { uint64 inode = 1; string mode = 2; }
message ForgetRequest { repeated uint64 inodes = 1; }
message WritingRequest { repeated uint64 inodes = 1; bool open = 2; }

message Hello { uint32 version = 1; string mountpoint = 2; uint32 pid = 3; uint64 session = 4; string store = 5; }
message Welcome { uint64 session = 1; uint32 timeLimitMs = 2; string scheme = 3; string store = 4; bool reclaim = 5; }
message HeldLock { uint64 inode = 1; ByteLock lock = 2; }
message Reclaim { repeated uint64 known = 1; repeated uint64 shared = 2; repeated uint64 exclusive = 3; repeated HeldLock locks = 4; bool last = 5; repeated uint64 unanswered = 6; repeated uint64 learning = 7; repeated uint64 writing = 8; }
message Recall { uint64 inode = 1; string mode = 2; repeated bytes names = 3; bool allNames = 4; }
`;

/** operation -> names of its request's and its reply's message. */
export const operationMessages = {
  lookup: ["LookupRequest", "InodeAttributes"],
  parent: ["Inode", "InodeAttributes"],
  getAttributes: ["Inode", "InodeAttributes"],
  setAttributes: ["SetAttributesRequest", "InodeAttributes"],
  make: ["MakeRequest", "MakeReply"],
  makeUnnamed: ["MakeUnnamedRequest", "InodeAttributes"],
  link: ["LinkRequest", "ChangedReply"],
  unlink: ["UnlinkRequest", "ChangedReply"],
  rename: ["RenameRequest", "RenameReply"],
  readLink: ["Inode", "ReadLinkReply"],
  list: ["ListRequest", "ListReply"],
  getXattr: ["XattrName", "GetXattrReply"],
  setXattr: ["SetXattrRequest", "InodeAttributes"],
  listXattrs: ["Inode", "ListXattrsReply"],
  removeXattr: ["XattrName", "InodeAttributes"],
  extents: ["ExtentsRequest", "ExtentsReply"],
  reserveStripes: ["ReserveStripesRequest", "ReserveStripesReply"],
  commit: ["CommitRequest", "CommitReply"],
  reshape: ["ReshapeRequest", "InodeAttributes"],
  share: ["ShareRequest", "ShareReply"],
  sync: ["Empty", "Empty"],
  space: ["SpaceRequest", "SpaceReply"],
  statistics: ["Empty", "StatisticsReply"],
  lock: ["LockRequest", "Empty"],
  cancelLock: ["CancelLockRequest", "Empty"],
  testLock: ["TestLockRequest", "TestLockReply"],
  releaseLocks: ["ReleaseLocksRequest", "Empty"],
  acquire: ["AcquireRequest", "InodeAttributes"],
  writing: ["WritingRequest", "Empty"],
  forget: ["ForgetRequest", "Empty"],
} as const;

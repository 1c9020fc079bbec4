// The N-API face of the file operations. Operations that may wait run on libuv's pool and resolve a promise with a
// number: a value >= 0 or a negative errno. JavaScript builds the errors (native/files.ts).
// A write with a sync goes to a thread that waits awake for the next one (awake-thread.h), to the pool where that is busy.
// A job keeps a reference to the buffers it works on until it has resolved.
#include <cstdlib>
#include <fcntl.h>
#include <node_api.h>
#include <string>
#include <sys/mman.h>
#include <vector>

#include "awake-thread.h"
#include "operations.h"

namespace {

enum class Kind { open, close, read, write, write_and_sync, sync, allocate, truncate };

struct Job {
  Kind kind;
  int fd = -1;
  int flags = 0;
  int64_t position = 0;
  int64_t length = 0;
  std::string path;
  std::vector<iovec> vectors;
  int64_t result = 0;
  napi_ref held = nullptr;
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
};

napi_value refuse(napi_env env, const char* text) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", text);
  return nullptr;
}

int64_t perform(Job& job) {
  switch (job.kind) {
    case Kind::open: return files::open_file(job.path.c_str(), job.flags, 0600);
    case Kind::close: return files::close_file(job.fd);
    case Kind::read: return files::read_at(job.fd, job.vectors[0].iov_base, job.vectors[0].iov_len, job.position);
    case Kind::write: return files::write_at(job.fd, job.vectors.data(), job.vectors.size(), job.position, false);
    case Kind::write_and_sync: return files::write_at(job.fd, job.vectors.data(), job.vectors.size(), job.position, true);
    case Kind::sync: return files::sync_data(job.fd);
    case Kind::allocate: return files::allocate(job.fd, job.flags, job.position, job.length);
    case Kind::truncate: return files::truncate_file(job.fd, job.length);
  }
  return -1;
}

void execute(napi_env, void* data) {
  Job& job = *static_cast<Job*>(data);
  job.result = perform(job);
}

void execute_awake(void* data) { execute(nullptr, data); }

void complete(napi_env env, napi_status, void* data) {
  Job* job = static_cast<Job*>(data);
  napi_value result;
  napi_create_int64(env, job->result, &result);
  napi_resolve_deferred(env, job->deferred, result);
  if (job->held) napi_delete_reference(env, job->held);
  if (job->work) napi_delete_async_work(env, job->work);
  delete job;
}

void complete_awake(napi_env env, void* data) { complete(env, napi_ok, data); }

napi_value name_of_work(napi_env env) {
  napi_value name;
  napi_create_string_latin1(env, "cairn:files", NAPI_AUTO_LENGTH, &name);
  return name;
}

napi_value start(napi_env env, Job* job) {
  napi_value promise;
  napi_create_promise(env, &job->deferred, &promise);
  if (job->kind == Kind::write_and_sync && files::AwakeThread::of(env).submit(env, job)) return promise;
  napi_create_async_work(env, nullptr, name_of_work(env), execute, complete, job, &job->work);
  napi_queue_async_work(env, job->work);
  return promise;
}

/** The arguments of a call, as numbers: 0 where one is missing. */
struct Arguments {
  napi_env env;
  napi_value values[4] = {};
  Arguments(napi_env environment, napi_callback_info info) : env(environment) {
    size_t count = 4;
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  int64_t number(int index) const {
    int64_t value = 0;
    napi_get_value_int64(env, values[index], &value);
    return value;
  }
};

bool bytes_of(napi_env env, napi_value value, iovec* into) {
  bool typed = false;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return false;
  napi_typedarray_type type;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) return false;
  if (type != napi_uint8_array) return false;
  *into = iovec{data, length};
  return true;
}

napi_value open_file(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  size_t length = 0;
  if (napi_get_value_string_utf8(env, arguments.values[0], nullptr, 0, &length) != napi_ok) return refuse(env, "open: path must be a string");
  Job* job = new Job{Kind::open};
  job->path.resize(length);
  napi_get_value_string_utf8(env, arguments.values[0], job->path.data(), length + 1, &length);
  job->flags = static_cast<int>(arguments.number(1));
  return start(env, job);
}

template <Kind kind>
napi_value with_descriptor(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Job* job = new Job{kind, static_cast<int>(arguments.number(0))};
  return start(env, job);
}

napi_value read_file(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  iovec vector;
  if (!bytes_of(env, arguments.values[1], &vector)) return refuse(env, "read: buffer must be a Uint8Array");
  Job* job = new Job{Kind::read, static_cast<int>(arguments.number(0))};
  job->vectors.push_back(vector);
  job->position = arguments.number(2);
  napi_create_reference(env, arguments.values[1], 1, &job->held);
  return start(env, job);
}

napi_value read_now(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  iovec vector;
  if (!bytes_of(env, arguments.values[1], &vector)) return refuse(env, "readNow: buffer must be a Uint8Array");
  napi_value result;
  napi_create_int64(env, files::read_now(static_cast<int>(arguments.number(0)), vector.iov_base, vector.iov_len, arguments.number(2)), &result);
  return result;
}

/** (fd, array of Uint8Array that nobody changes until the promise resolves, position) */
template <Kind kind>
napi_value write_file(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  uint32_t count = 0;
  if (napi_get_array_length(env, arguments.values[1], &count) != napi_ok) return refuse(env, "write: buffers must be an array");
  Job* job = new Job{kind, static_cast<int>(arguments.number(0))};
  job->vectors.resize(count);
  for (uint32_t index = 0; index < count; index++) {
    napi_value element;
    if (napi_get_element(env, arguments.values[1], index, &element) != napi_ok || !bytes_of(env, element, &job->vectors[index])) {
      delete job;
      return refuse(env, "write: every buffer must be a Uint8Array");
    }
  }
  job->position = arguments.number(2);
  napi_create_reference(env, arguments.values[1], 1, &job->held);
  return start(env, job);
}

napi_value allocate(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Job* job = new Job{Kind::allocate, static_cast<int>(arguments.number(0))};
  job->flags = static_cast<int>(arguments.number(1));
  job->position = arguments.number(2);
  job->length = arguments.number(3);
  return start(env, job);
}

napi_value truncate_file(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Job* job = new Job{Kind::truncate, static_cast<int>(arguments.number(0))};
  job->length = arguments.number(1);
  return start(env, job);
}

template <int64_t (*call)(int)>
napi_value at_once(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  napi_value result;
  napi_create_int64(env, call(static_cast<int>(arguments.number(0))), &result);
  return result;
}

int64_t raise_open_files(int) { return files::raise_open_files(); }

void free_memory(napi_env, void* data, void*) { std::free(data); }

/** allocateMemory(bytes): an ArrayBuffer of zeros that begins on a page. From 2 MiB on in huge pages where there are any:
    a fault for each 4 KiB, and pinning each for O_DIRECT, costs more than the copying that aligned buffers save. */
napi_value allocate_memory(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  int64_t bytes = arguments.number(0);
  void* memory = nullptr;
  const int64_t huge = 2 * 1024 * 1024;
  if (bytes <= 0 || posix_memalign(&memory, bytes >= huge ? huge : 4096, bytes) != 0) {
    napi_throw_error(env, "ENOMEM", "allocateMemory: no memory of this size");
    return nullptr;
  }
  if (bytes >= huge) madvise(memory, bytes, MADV_HUGEPAGE);
  __builtin_memset(memory, 0, bytes);
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, memory, bytes, free_memory, nullptr, &buffer) == napi_ok) return buffer;
  std::free(memory);
  napi_throw_error(env, "ENOMEM", "allocateMemory: the buffer could not be made");
  return nullptr;
}

void expose(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

}  // namespace

NAPI_MODULE_INIT() {
  files::AwakeThread::attach(env, execute_awake, complete_awake);
  expose(env, exports, "open", open_file);
  expose(env, exports, "close", with_descriptor<Kind::close>);
  expose(env, exports, "read", read_file);
  expose(env, exports, "readNow", read_now);
  expose(env, exports, "write", write_file<Kind::write>);
  expose(env, exports, "writeAndSync", write_file<Kind::write_and_sync>);
  expose(env, exports, "sync", with_descriptor<Kind::sync>);
  expose(env, exports, "allocate", allocate);
  expose(env, exports, "truncate", truncate_file);
  expose(env, exports, "size", at_once<files::file_size>);
  expose(env, exports, "lock", at_once<files::lock_exclusive>);
  expose(env, exports, "peerUser", at_once<files::peer_user>);
  expose(env, exports, "raiseOpenFiles", at_once<raise_open_files>);
  expose(env, exports, "limitArenas", at_once<files::limit_arenas>);
  expose(env, exports, "allocateMemory", allocate_memory);
  return exports;
}

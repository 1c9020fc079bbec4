// The N-API module of this addon: hands checked jobs to kernels, on this thread or on the thread pool. Functions take
// the number of a variant first; native/kernels.ts gives them their names and defaults.
#include <node_api.h>

#include "job.h"
#include "kernels.h"

namespace {

using namespace cairn;

constexpr size_t parametersMax = 6;

struct Call {
  napi_value parameters[parametersMax];
  Call(napi_env env, napi_callback_info info) {
    size_t count = parametersMax;  // those not given become undefined
    napi_get_cb_info(env, info, &count, parameters, nullptr, nullptr);
  }
};

napi_value variantNames(napi_env env, napi_callback_info) {
  napi_value result, value;
  napi_create_array(env, &result);
  for (size_t index = 0; index < variantCount; index++) {
    if (variants[index].supported()) {
      napi_create_string_utf8(env, variants[index].name, NAPI_AUTO_LENGTH, &value);
    } else {
      napi_get_null(env, &value);
    }
    napi_set_element(env, result, static_cast<uint32_t>(index), value);
  }
  return result;
}

/** As many as a job of rs:11+5 has: rather read them all again than let each small job fill up more. */
constexpr size_t usualParameters = encodeParameters + 16;

/** The parameters of a job, whose number is not fixed; 8 KiB, on the stack. */
struct EncodeCall {
  size_t count = encodeParameters + jobBuffersMax;
  napi_value parameters[encodeParameters + jobBuffersMax];
  EncodeCall(napi_env env, napi_callback_info info) {
    // count becomes the number given, which may be more than there is room for, and readEncodeJob refuses that. Node-API
    // fills up missing ones with undefined, all of them: so room for many is shown only where many were given.
    size_t room = count;
    count = usualParameters;
    napi_get_cb_info(env, info, &count, parameters, nullptr, nullptr);
    if (count <= usualParameters) return;
    size_t wanted = count < room ? count : room;
    napi_get_cb_info(env, info, &wanted, parameters, nullptr, nullptr);
  }
};

napi_value encode(napi_env env, napi_callback_info info) {
  EncodeCall call(env, info);
  thread_local OwnedJob job;  // its lists are allocated once
  job.clear();
  if (readEncodeJob(env, call.parameters, call.count, &job)) job.run();
  return nullptr;
}

napi_value multiply(napi_env env, napi_callback_info info) {
  Call call(env, info);
  thread_local OwnedJob job;
  job.clear();
  if (readMultiplyJob(env, call.parameters, &job)) job.run();
  return nullptr;
}

/** A job on the thread pool. `buffers` keeps the JavaScript buffers alive; they are a list of our own, which nobody changes. */
struct Work {
  OwnedJob job;
  napi_ref buffers = nullptr;
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
};

void execute(napi_env, void* data) { static_cast<Work*>(data)->job.run(); }

void complete(napi_env env, napi_status status, void* data) {
  Work* work = static_cast<Work*>(data);
  napi_value undefined, text, error;
  if (status == napi_ok) {
    napi_get_undefined(env, &undefined);
    napi_resolve_deferred(env, work->deferred, undefined);
  } else {
    napi_create_string_utf8(env, "encode: the job was cancelled", NAPI_AUTO_LENGTH, &text);
    napi_create_error(env, nullptr, text, &error);
    napi_reject_deferred(env, work->deferred, error);
  }
  napi_delete_reference(env, work->buffers);
  napi_delete_async_work(env, work->work);
  delete work;
}

napi_value encodeAsync(napi_env env, napi_callback_info info) {
  EncodeCall call(env, info);
  Work* work = new Work;
  if (!readEncodeJob(env, call.parameters, call.count, &work->job)) {
    delete work;
    return nullptr;
  }
  napi_value buffers, name, promise;
  napi_create_array(env, &buffers);
  for (size_t index = encodeParameters; index < call.count; index++) {
    napi_set_element(env, buffers, static_cast<uint32_t>(index - encodeParameters), call.parameters[index]);
  }
  napi_create_reference(env, buffers, 1, &work->buffers);
  napi_create_promise(env, &work->deferred, &promise);
  napi_create_string_utf8(env, "cairn-encode", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, execute, complete, work, &work->work);
  napi_queue_async_work(env, work->work);
  return promise;
}

/** crc32c(variant, bytes, seed) */
napi_value crc32c(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const KernelVariant* variant;
  uint8_t* bytes = nullptr;
  size_t length = 0;
  uint32_t seed = 0;
  if (!readVariant(env, call.parameters[0], &variant)) return nullptr;
  if (!readBytes(env, "crc32c", "the argument", call.parameters[1], &bytes, &length)) return nullptr;
  napi_get_value_uint32(env, call.parameters[2], &seed);
  napi_value result;
  napi_create_uint32(env, variant->crc32c(seed, bytes, length), &result);
  return result;
}

/** crc32cPieces(variant, bytes, pieceBytes, into: Uint32Array) */
napi_value crc32cPieces(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const KernelVariant* variant;
  uint8_t* bytes = nullptr;
  size_t length = 0, count = 0;
  int64_t pieceBytes = 0;
  napi_typedarray_type type;
  void* data;
  if (!readVariant(env, call.parameters[0], &variant)) return nullptr;
  if (!readBytes(env, "crc32cPieces", "the argument", call.parameters[1], &bytes, &length)) return nullptr;
  napi_get_value_int64(env, call.parameters[2], &pieceBytes);
  if (pieceBytes < 1) {
    refuse(env, "crc32cPieces: a piece of %lld bytes; it must be at least 1", static_cast<long long>(pieceBytes));
    return nullptr;
  }
  if (napi_get_typedarray_info(env, call.parameters[3], &type, &count, &data, nullptr, nullptr) != napi_ok || type != napi_uint32_array) {
    refuseType(env, "crc32cPieces: into is not a Uint32Array");
    return nullptr;
  }
  size_t piece = static_cast<size_t>(pieceBytes);
  size_t pieces = length / piece + (length % piece != 0);
  if (count < pieces) {
    refuse(env, "crc32cPieces: into holds %zu checksums; %zu pieces need as many", count, pieces);
    return nullptr;
  }
  uint32_t* into = static_cast<uint32_t*>(data);
  for (size_t index = 0; index < pieces; index++) {
    size_t begin = index * piece;
    into[index] = variant->crc32c(0, bytes + begin, length - begin < piece ? length - begin : piece);
  }
  return nullptr;
}

/** crc32cCombine(a, b, lengthB) */
napi_value combine(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint32_t a = 0, b = 0;
  int64_t lengthB = 0;
  napi_get_value_uint32(env, call.parameters[0], &a);
  napi_get_value_uint32(env, call.parameters[1], &b);
  napi_get_value_int64(env, call.parameters[2], &lengthB);
  napi_value result;
  napi_create_uint32(env, crc32cCombine(a, b, static_cast<uint64_t>(lengthB)), &result);
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback callback;
  } functions[] = {{"variantNames", variantNames}, {"encode", encode}, {"encodeAsync", encodeAsync}, {"multiply", multiply},
                   {"crc32c", crc32c}, {"crc32cPieces", crc32cPieces}, {"crc32cCombine", combine}};
  for (const auto& function : functions) {
    napi_value value;
    napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback, nullptr, &value);
    napi_set_named_property(env, exports, function.name, value);
  }
  return exports;
}

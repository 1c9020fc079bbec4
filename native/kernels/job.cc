// Reads and checks field jobs. See job.h.
#include "job.h"

#include <cstdarg>
#include <cstdio>

namespace {

using namespace cairn;

bool throwWith(napi_status (*thrower)(napi_env, const char*, const char*), napi_env env, const char* format, va_list values) {
  char text[256];
  vsnprintf(text, sizeof text, format, values);
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) thrower(env, nullptr, text);
  return false;
}

bool overlap(const uint8_t* a, const uint8_t* b, size_t length) { return a < b + length && b < a + length; }

bool readBits(napi_env env, const char* operation, napi_value value, int* bits) {
  int32_t number = 0;
  napi_get_value_int32(env, value, &number);
  if (number != 8 && number != 16) return refuse(env, "%s: there is no field of %d bits; it must be 8 or 16", operation, number);
  *bits = number;
  return true;
}

bool checkLength(napi_env env, const char* operation, int bits, size_t length) {
  if (bits == 8 || length % 2 == 0) return true;
  return refuse(env, "%s: a buffer has %zu bytes; over GF(2^16) it must be a whole number of 2-byte words", operation, length);
}

bool checkCoefficient(napi_env env, const char* operation, int bits, double value) {
  if (value >= 0 && value < (1 << bits) && value == static_cast<uint32_t>(value)) return true;
  return refuse(env, "%s: coefficient %g is not an element of GF(2^%d); it must be 0..%d", operation, value, bits, (1 << bits) - 1);
}

/** Appends the buffers; all must have `length` bytes, which the first one sets where it is SIZE_MAX. */
template <typename Pointer>
bool readBuffers(napi_env env, const char* name, const napi_value* values, size_t count, std::vector<Pointer>* buffers, size_t* length) {
  for (size_t index = 0; index < count; index++) {
    uint8_t* bytes = nullptr;
    size_t bytesLength = 0;
    if (!readBytes(env, "encode", name, values[index], &bytes, &bytesLength)) return false;
    if (*length == SIZE_MAX) *length = bytesLength;
    if (bytesLength != *length) {
      return refuse(env, "encode: a buffer has %zu bytes, another %zu; they must be of one length", bytesLength, *length);
    }
    buffers->push_back(bytes);
  }
  return true;
}

bool readCoefficients(napi_env env, napi_value value, OwnedJob* owned) {
  napi_typedarray_type type;
  size_t count;
  void* values;
  if (napi_get_typedarray_info(env, value, &type, &count, &values, nullptr, nullptr) != napi_ok || type != napi_uint16_array) {
    return refuseType(env, "encode: the coefficients are not a Uint16Array");
  }
  size_t required = owned->sources.size() * owned->targets.size();
  if (count != required) {
    return refuse(env, "encode: %zu coefficients for %zu sources and %zu targets; it must be %zu", count, owned->sources.size(),
                  owned->targets.size(), required);
  }
  const uint16_t* first = static_cast<const uint16_t*>(values);
  owned->coefficients.assign(first, first + count);
  if (owned->job.bits == 16) return true;
  for (uint16_t coefficient : owned->coefficients) {
    if (coefficient > 255) return checkCoefficient(env, "encode", 8, coefficient);
  }
  return true;
}

bool checkOverlaps(napi_env env, const OwnedJob& owned, size_t length) {
  for (size_t index = 0; index < owned.targets.size(); index++) {
    bool overlaps = false;
    for (const uint8_t* source : owned.sources) overlaps |= overlap(owned.targets[index], source, length);
    for (size_t other = index + 1; other < owned.targets.size(); other++) overlaps |= overlap(owned.targets[index], owned.targets[other], length);
    if (overlaps) return refuse(env, "encode: target %zu overlaps another buffer; it must not", index);
  }
  return true;
}

void pointJob(OwnedJob* owned, size_t length, bool accumulate) {
  FieldJob& job = owned->job;
  job.rows = owned->targets.size();
  job.columns = owned->sources.size();
  job.coefficients = owned->coefficients.data();
  job.sources = owned->sources.data();
  job.targets = owned->targets.data();
  job.length = length;
  job.accumulate = accumulate;
}

}  // namespace

bool cairn::refuse(napi_env env, const char* format, ...) {
  va_list values;
  va_start(values, format);
  throwWith(napi_throw_range_error, env, format, values);
  va_end(values);
  return false;
}

bool cairn::refuseType(napi_env env, const char* format, ...) {
  va_list values;
  va_start(values, format);
  throwWith(napi_throw_type_error, env, format, values);
  va_end(values);
  return false;
}

bool cairn::readVariant(napi_env env, napi_value value, const KernelVariant** variant) {
  uint32_t number = UINT32_MAX;
  napi_get_value_uint32(env, value, &number);
  if (number >= variantCount || !variants[number].supported()) return refuse(env, "kernels: there is no variant %u here", number);
  *variant = &variants[number];
  return true;
}

bool cairn::readBytes(napi_env env, const char* operation, const char* name, napi_value value, uint8_t** bytes, size_t* length) {
  napi_typedarray_type type;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, length, &data, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    return refuseType(env, "%s: %s is not a Uint8Array", operation, name);
  }
  *bytes = static_cast<uint8_t*>(data);
  return true;
}

bool cairn::readEncodeJob(napi_env env, const napi_value* parameters, size_t count, OwnedJob* owned) {
  size_t length = SIZE_MAX;
  uint32_t targetCount = 0;
  if (!readVariant(env, parameters[0], &owned->variant) || !readBits(env, "encode", parameters[1], &owned->job.bits)) return false;
  napi_get_value_uint32(env, parameters[3], &targetCount);
  size_t buffers = count < encodeParameters ? 0 : count - encodeParameters;
  if (buffers > jobBuffersMax) return refuse(env, "encode: %zu buffers in one job; it must be at most %zu", buffers, jobBuffersMax);
  if (targetCount > buffers) return refuse(env, "encode: %u targets, but only %zu buffers", targetCount, buffers);
  const napi_value* targets = parameters + encodeParameters;
  if (!readBuffers(env, "a target", targets, targetCount, &owned->targets, &length)) return false;
  if (!readBuffers(env, "a source", targets + targetCount, buffers - targetCount, &owned->sources, &length)) return false;
  if (length == SIZE_MAX) length = 0;
  if (!readCoefficients(env, parameters[2], owned) || !checkLength(env, "encode", owned->job.bits, length)) return false;
  if (!checkOverlaps(env, *owned, length)) return false;
  pointJob(owned, length, false);
  return true;
}

bool cairn::readMultiplyJob(napi_env env, const napi_value* parameters, OwnedJob* owned) {
  bool accumulate = false;
  napi_get_value_bool(env, parameters[5], &accumulate);
  const char* operation = accumulate ? "multiplyAddInto" : "multiplyInto";
  uint8_t *target = nullptr, *source = nullptr;
  size_t length = 0, sourceLength = 0;
  double coefficient = -1;
  if (!readVariant(env, parameters[0], &owned->variant) || !readBits(env, operation, parameters[1], &owned->job.bits)) return false;
  if (!readBytes(env, operation, "the target", parameters[2], &target, &length)) return false;
  if (!readBytes(env, operation, "the source", parameters[3], &source, &sourceLength)) return false;
  if (!checkLength(env, operation, owned->job.bits, length)) return false;
  if (sourceLength != length) {
    return refuse(env, "%s: the source has %zu bytes, the target %zu; they must be of one length", operation, sourceLength, length);
  }
  bool inPlace = target == source && !accumulate;
  if (!inPlace && overlap(target, source, length)) return refuse(env, "%s: target and source overlap; they must not", operation);
  napi_get_value_double(env, parameters[4], &coefficient);
  if (!checkCoefficient(env, operation, owned->job.bits, coefficient)) return false;
  owned->coefficients.assign(1, static_cast<uint16_t>(coefficient));
  owned->sources.assign(1, source);
  owned->targets.assign(1, target);
  pointJob(owned, length, accumulate);
  return true;
}

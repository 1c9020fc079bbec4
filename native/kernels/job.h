// A field job as JavaScript gives it: arrays of buffers and coefficients, checked before any byte is written.
#pragma once

#include <node_api.h>

#include <vector>

#include "kernels.h"

namespace cairn {

/** Owns the pointer lists that a FieldJob refers to; not the bytes, which their JavaScript buffers own. */
struct OwnedJob {
  const KernelVariant* variant = nullptr;
  std::vector<uint16_t> coefficients;
  std::vector<const uint8_t*> sources;
  std::vector<uint8_t*> targets;
  FieldJob job{};

  /** Ready to be read again; keeps the memory of its lists. */
  void clear() {
    coefficients.clear();
    sources.clear();
    targets.clear();
  }

  void run() const { variant->run(job); }
};

/** Throws in JavaScript (RangeError, or TypeError for values of a wrong type) and returns false. */
bool refuse(napi_env env, const char* format, ...) __attribute__((format(printf, 2, 3)));
bool refuseType(napi_env env, const char* format, ...) __attribute__((format(printf, 2, 3)));

/** The variant of this number in `variants`. */
bool readVariant(napi_env env, napi_value value, const KernelVariant** variant);
bool readBytes(napi_env env, const char* operation, const char* name, napi_value value, uint8_t** bytes, size_t* length);

/** Buffers of a job: an argument each, as reading an argument costs a third of reading an array's element. */
constexpr size_t jobBuffersMax = 1024;
constexpr size_t encodeParameters = 4;

/** encode(variant, bits, coefficients: Uint16Array, targetCount, ...targets: Uint8Array[], ...sources: Uint8Array[]) */
bool readEncodeJob(napi_env env, const napi_value* parameters, size_t count, OwnedJob* job);

/** multiply(variant, bits, target, source, coefficient, accumulate): a job of one row and one column. */
bool readMultiplyJob(napi_env env, const napi_value* parameters, OwnedJob* job);

}  // namespace cairn

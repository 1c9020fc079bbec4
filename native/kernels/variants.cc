// Which kernels there are and which this processor and operating system can run. __builtin_cpu_supports knows by
// XGETBV whether the system saves the wide registers, and says no to AVX and AVX-512 where it does not.
#include "kernels.h"

namespace {

using namespace cairn;

bool always() { return true; }

#if defined(__x86_64__)
bool hasSsse3() {
  return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}
bool hasAvx2() { return __builtin_cpu_supports("avx2") && hasSsse3(); }
bool hasGfni() {
  return hasAvx2() && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("gfni") && __builtin_cpu_supports("vpclmulqdq");
}
#endif

}  // namespace

const KernelVariant cairn::variants[] = {
#if defined(__x86_64__)
    {"gfni", hasGfni, runGfni, crc32cVpclmul},
    {"avx2", hasAvx2, runAvx2, crc32cSse42},
    {"ssse3", hasSsse3, runSsse3, crc32cSse42},
#endif
    {"portable", always, runPortable, crc32cPortable},
};
const size_t cairn::variantCount = sizeof(variants) / sizeof(variants[0]);

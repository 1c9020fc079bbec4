// Measures ISA-L for bench/coding.ts, which compiles and starts this program where libisal is installed. Not a part of
// the product. Reads one case a line from stdin, "OPERATION K M BLOCK_BYTES POOL_BYTES MILLISECONDS", where OPERATION is
// encode, rebuild (M data blocks from K others) or crc (K = 1, M = 0); answers each with GB/s of data in.
// Blocks are cut from one pool; POOL_BYTES of it are gone through in turn, so a large one comes from memory. Every case goes on
// where the one before ended: one that began anew would find in the caches what the warm-up or the last case has read.
#include <isa-l.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <vector>

static double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

static const size_t poolMax = size_t{256} << 20;

/** The rows that make `m` targets: of a parity, or of the first m data blocks out of those that remain. */
static std::vector<unsigned char> coefficients(int k, int m, bool rebuild) {
  std::vector<unsigned char> all((k + m) * k), used(k * k), inverse(k * k);
  gf_gen_cauchy1_matrix(all.data(), k + m, k);
  if (!rebuild) return {all.begin() + k * k, all.end()};
  memcpy(used.data(), all.data() + m * k, k * k);
  gf_invert_matrix(used.data(), inverse.data(), k);
  return {inverse.begin(), inverse.begin() + m * k};
}

int main() {
  auto* pool = static_cast<unsigned char*>(mmap(nullptr, poolMax, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (pool == MAP_FAILED) return 1;
  memset(pool, 0x5a, poolMax);
  char operation[16];
  int k, m, blockBytes, milliseconds;
  size_t poolBytes;
  size_t position = 0;
  while (scanf("%15s %d %d %d %zu %d", operation, &k, &m, &blockBytes, &poolBytes, &milliseconds) == 6) {
    std::vector<unsigned char> tables(32 * k * (m > 0 ? m : 1));
    bool crc = strcmp(operation, "crc") == 0;
    if (!crc) ec_init_tables(k, m, coefficients(k, m, strcmp(operation, "rebuild") == 0).data(), tables.data());
    size_t setBytes = static_cast<size_t>(k + m) * static_cast<size_t>(blockBytes);
    size_t sets = poolBytes / setBytes > 0 ? poolBytes / setBytes : 1;
    std::vector<unsigned char*> blocks(k + m);
    volatile unsigned int sink = 0;
    size_t calls = 0;
    double begin = 0, end = 0;
    for (int phase = 0; phase < 2; phase++) {  // the first warms up
      calls = 0;
      begin = end = seconds();
      double until = begin + milliseconds * (phase == 0 ? 0.0002 : 0.001);
      while (end < until) {
        for (int repeat = 0; repeat < 16; repeat++, calls++, position++) {
          unsigned char* from = pool + position % sets * setBytes;
          if (crc) {
            sink = crc32_iscsi(from, blockBytes, sink);
          } else {
            for (int block = 0; block < k + m; block++) blocks[block] = from + static_cast<size_t>(block) * blockBytes;
            ec_encode_data(blockBytes, k, m, tables.data(), blocks.data(), blocks.data() + k);
          }
        }
        end = seconds();
      }
    }
    printf("%.3f\n", static_cast<double>(calls) * k * blockBytes / (end - begin) / 1e9);
    fflush(stdout);
  }
  return 0;
}

// The kernel for byte shuffles, written once for vectors of 16 (SSSE3) and 32 bytes (AVX2): a product is looked up
// nibble by nibble in tables of 16 bytes. Included after the target pragma by field_ssse3.cc and field_avx2.cc, which
// define the type Vector; everything here is local to the including file.

namespace {

using namespace cairn;

/** Sums of 4 rows x 2 vectors are 8 of the 16 registers; nibbles, tables and a mask take the others. */
constexpr size_t rowsAtOnce = 4;
constexpr int vectorsAtOnce = 2;

constexpr std::array<NibbleTables8, 256> nibbleTables8 = makeAllNibbleTables8();

struct Nibbles {
  Vector low;
  Vector high;
  explicit Nibbles(Vector bytes) : low(bytes & Vector::all(0x0f)), high(bytes.shiftRight4() & Vector::all(0x0f)) {}
};

/** A unit is what one product is computed over: one vector of bytes. */
struct Field8 {
  using Tables = const NibbleTables8*;
  static Tables make(uint32_t coefficient) { return &nibbleTables8[coefficient]; }
  static constexpr size_t unitBytes = Vector::bytes;
  struct Sum {
    Vector bytes = Vector::all(0);
    void store(uint8_t* to) const { bytes.store(to); }
  };
  struct Source {
    Vector bytes;
    Nibbles nibbles;
    explicit Source(const uint8_t* from) : bytes(Vector::load(from)), nibbles(bytes) {}
  };
  static Sum load(const uint8_t* from) { return {Vector::load(from)}; }
  static void add(Sum& sum, const Source& source) { sum.bytes = sum.bytes ^ source.bytes; }
  static void multiplyAdd(Sum& sum, const Source& source, Tables tables) {
    sum.bytes = sum.bytes ^ Vector::table(tables->product[0]).lookup(source.nibbles.low);
    sum.bytes = sum.bytes ^ Vector::table(tables->product[1]).lookup(source.nibbles.high);
  }
};

/** A unit is two vectors: words are sorted into one of low and one of high bytes. Sums stay sorted until stored. */
struct Field16 {
  using Tables = NibbleTables16;
  static Tables make(uint32_t coefficient) { return makeNibbleTables16(coefficient); }
  static constexpr size_t unitBytes = 2 * Vector::bytes;
  struct Sum {
    Vector low = Vector::all(0);
    Vector high = Vector::all(0);
    void store(uint8_t* to) const {
      low.interleaveLow(high).store(to);
      low.interleaveHigh(high).store(to + Vector::bytes);
    }
  };
  static Sum load(const uint8_t* from) {
    Vector first = Vector::load(from).sortWords();
    Vector second = Vector::load(from + Vector::bytes).sortWords();
    return {first.lowHalves(second), first.highHalves(second)};
  }
  struct Source {
    Sum bytes;
    Nibbles low;
    Nibbles high;
    explicit Source(const uint8_t* from) : bytes(load(from)), low(bytes.low), high(bytes.high) {}
  };
  static void add(Sum& sum, const Source& source) {
    sum.low = sum.low ^ source.bytes.low;
    sum.high = sum.high ^ source.bytes.high;
  }
  static Vector product(const Source& source, const uint8_t (*tables)[16]) {
    return Vector::table(tables[0]).lookup(source.low.low) ^ Vector::table(tables[1]).lookup(source.low.high) ^
           Vector::table(tables[2]).lookup(source.high.low) ^ Vector::table(tables[3]).lookup(source.high.high);
  }
  static void multiplyAdd(Sum& sum, const Source& source, const Tables& tables) {
    sum.low = sum.low ^ product(source, tables.product[0]);
    sum.high = sum.high ^ product(source, tables.product[1]);
  }
};

/** Computes Units units of Rows targets. FirstIsXor: row 0 has only ones. */
template <typename Field, size_t Rows, int Units, bool FirstIsXor>
inline __attribute__((always_inline)) void step(const Part& part, const typename Field::Tables* tables, const uint8_t* const* sources,
                                                uint8_t* const* targets, size_t at) {
  typename Field::Sum sums[Rows][Units];
  if (part.accumulate) {
    for (size_t row = 0; row < Rows; row++) {
      for (int unit = 0; unit < Units; unit++) sums[row][unit] = Field::load(targets[row] + at + unit * Field::unitBytes);
    }
  }
  for (size_t column = 0; column < part.columns; column++) {
    for (int unit = 0; unit < Units; unit++) {
      typename Field::Source source(sources[column] + at + unit * Field::unitBytes);
      for (size_t row = 0; row < Rows; row++) {
        if (FirstIsXor && row == 0) {
          Field::add(sums[0][unit], source);
        } else {
          Field::multiplyAdd(sums[row][unit], source, tables[column * Rows + row]);
        }
      }
    }
  }
  for (size_t row = 0; row < Rows; row++) {
    for (int unit = 0; unit < Units; unit++) sums[row][unit].store(targets[row] + at + unit * Field::unitBytes);
  }
}

/** The bytes after the last whole unit: in copies padded to a unit. */
template <typename Field, size_t Rows, bool FirstIsXor>
void lastStep(const Part& part, const typename Field::Tables* tables, const uint8_t* const* sources, uint8_t* const* targets, size_t at) {
  uint8_t sourceUnits[chunkColumns][Field::unitBytes];
  uint8_t targetUnits[Rows][Field::unitBytes];
  const uint8_t* sourcePointers[chunkColumns];
  uint8_t* targetPointers[Rows];
  size_t rest = part.end - at;
  for (size_t column = 0; column < part.columns; column++) {
    memset(sourceUnits[column], 0, Field::unitBytes);
    memcpy(sourceUnits[column], sources[column] + at, rest);
    sourcePointers[column] = sourceUnits[column];
  }
  for (size_t row = 0; row < Rows; row++) {
    memset(targetUnits[row], 0, Field::unitBytes);
    memcpy(targetUnits[row], targets[row] + at, rest);
    targetPointers[row] = targetUnits[row];
  }
  step<Field, Rows, 1, FirstIsXor>(part, tables, sourcePointers, targetPointers, 0);
  for (size_t row = 0; row < Rows; row++) memcpy(targets[row] + at, targetUnits[row], rest);
}

template <typename Field, size_t Rows, bool FirstIsXor>
void runRows(const Part& part, const typename Field::Tables* tables) {
  const uint8_t* sources[chunkColumns];
  uint8_t* targets[Rows];
  for (size_t column = 0; column < part.columns; column++) sources[column] = part.source(column);
  for (size_t row = 0; row < Rows; row++) targets[row] = part.target(row);
  size_t at = part.begin;
  constexpr size_t stepBytes = vectorsAtOnce * Field::unitBytes;
  for (; part.end - at >= stepBytes; at += stepBytes) step<Field, Rows, vectorsAtOnce, FirstIsXor>(part, tables, sources, targets, at);
  for (; part.end - at >= Field::unitBytes; at += Field::unitBytes) step<Field, Rows, 1, FirstIsXor>(part, tables, sources, targets, at);
  if (at < part.end) lastStep<Field, Rows, FirstIsXor>(part, tables, sources, targets, at);
}

template <typename Field, size_t Rows>
void runCount(const Part& part) {
  typename Field::Tables tables[Rows * chunkColumns];
  for (size_t column = 0; column < part.columns; column++) {
    for (size_t row = 0; row < Rows; row++) tables[column * Rows + row] = Field::make(part.coefficient(row, column));
  }
  if (part.rowOfOnes(0)) {
    runRows<Field, Rows, true>(part, tables);
  } else {
    runRows<Field, Rows, false>(part, tables);
  }
}

template <typename Field>
void runPart(const Part& part) {
  using Run = void (*)(const Part&);
  static constexpr Run byRows[rowsAtOnce] = {runCount<Field, 1>, runCount<Field, 2>, runCount<Field, 3>, runCount<Field, 4>};
  byRows[part.rows - 1](part);
}

void runJob(const FieldJob& job) { runInParts(job, rowsAtOnce, chunkColumns, job.bits == 8 ? runPart<Field8> : runPart<Field16>); }

}  // namespace

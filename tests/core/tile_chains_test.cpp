// Cheap operations in one pass: the bits of the same operations one after another.
#include <random>
#include <rewind/core/simd/tile_kernels.hpp>

#include "core/tile_support.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// A chain of random operations on a [rows, columns] space, then a store or the sum of each row. With `apart`, each value between is stored
/// as well: then somebody reads it, and it is made alone.
struct ChainTest {
  std::mt19937_64 bits;
  Index rows, columns;
  DType dtype;
  Builder builder;
  std::vector<Buffer> buffers;
  std::vector<TileOperand> operands;
  bool sum;

  ChainTest(unsigned seed, Index r, Index c, DType d, bool apart) : bits(seed), rows(r), columns(c), dtype(d), builder(d) {
    buffers.reserve(32);
    const int length = 2 + pick(2 * simd::Chain::most);
    sum = pick(3) == 0;
    std::vector<int> between;
    const bool in_place = !sum && pick(2) == 0;
    const int first = in_place ? load_of(columns, 1, false) : load();
    int x = first;
    for (int k = 0; k < length; ++k) {
      const int y = pick(6) == 0 ? first : load();
      switch (pick(5)) {
        case 0: x = builder.apply<op::Add>(x, y); break;
        case 1: x = builder.apply<op::Subtract>(x, y); break;
        case 2: x = builder.apply<op::Subtract>(y, x); break;
        case 3: x = builder.apply<op::Multiply>(y, x); break;
        case 4: x = builder.apply<op::Square>(x); break;
      }
      x = pick(4) ? x : builder.apply<op::Tanh>(x);  // keeps numbers finite, and ends a chain
      between.push_back(x);
    }
    if (apart)
      for (int v : between) builder.store(v, memory(columns, 1));
    if (sum)
      builder.store(builder.reduce(Kind::sum, x), memory(1, 0));
    else
      builder.store(x, in_place ? 0 : memory(columns, 1));
  }

  int pick(int n) { return static_cast<int>(bits() % static_cast<unsigned>(n)); }
  int memory(Index row, Index column) {
    buffers.push_back(random_buffer(dtype, static_cast<std::size_t>(rows * columns), static_cast<unsigned>(buffers.size())));
    operands.push_back(operand(buffers.back(), {row, column}));
    return builder.operand(dtype);
  }
  int load_of(Index row, Index column, bool narrow) { return builder.load(memory(row, column), narrow); }
  /// Of elements, of one value a row, of one row, of one value, or narrow.
  int load() {
    switch (pick(6)) {
      case 0: return load_of(1, 0, false);
      case 1: return load_of(0, 1, false);
      case 2: return load_of(0, 0, false);
      case 3: return load_of(1, 0, true);
      default: return load_of(columns, 1, false);
    }
  }
  /// What the last store wrote.
  std::vector<std::byte> run(Isa isa) {
    Tile(builder.program, isa).run({rows, columns}, operands.data(), false);
    const auto& written = buffers[static_cast<std::size_t>(builder.program.code.back().operand)];
    return {written.bytes.begin(), written.bytes.begin() + (sum ? rows : rows * columns) * size_of(dtype)};
  }
};

}  // namespace

TEST_CASE("tile: chains of cheap operations have the bits of the operations one after another") {
  int compared = 0;
  for_isas([&](Isa isa) {
    unsigned seed = 0;
    for (DType dtype : {DType::f32, DType::f64})
      for (Index columns : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 128, 129, 250, 255, 256, 257, 300, 1100, 5000})
        for (Index rows : {1, 5}) {
          for (int k = 0; k < 6; ++k, ++seed) {
            const auto together = ChainTest(seed, rows, columns, dtype, false).run(isa);
            const auto apart = ChainTest(seed, rows, columns, dtype, true).run(isa);
            ++compared;
            CHECK_MESSAGE(together == apart, std::string(name(isa)) << " seed " << seed << ", " << rows << " x " << columns);
          }
        }
  });
  CHECK(compared >= 552);
}

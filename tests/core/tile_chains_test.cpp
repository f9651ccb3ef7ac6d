// Cheap operations in one pass: the bits of the same operations one after another. Programs that run again, bound as before.
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

TEST_CASE("tile: what a program was bound to is used again only where all is as it was") {
  Builder b(DType::f32);
  const int x = b.load(b.operand(DType::f32)), y = b.apply<op::Tanh>(b.apply<op::Add>(x, b.load(b.operand(DType::f32))));
  b.store(y, b.operand(DType::f32));
  b.store(b.apply<op::Add>(b.apply<op::Multiply>(x, y), x), b.operand(DType::f32));
  std::mt19937_64 bits(5);
  auto pick = [&](Index n) { return static_cast<Index>(bits() % static_cast<std::uint64_t>(n)); };
  for_isas([&](Isa isa) {
    Tile kept(b.program, isa);
    for (int k = 0; k < 300; ++k) {
      const Index rows = 1 + pick(3), columns = 15 + pick(3), row = columns + pick(2), begin = pick(rows),
                  end = begin + 1 + pick(rows - begin);
      const bool aliased = pick(3) == 0, shared = pick(3) == 0, one = pick(3) == 0;
      auto results = [&](Tile& tile) {
        std::vector<Buffer> buffers;
        for (unsigned o = 0; o < 4; ++o) buffers.push_back(random_buffer(DType::f32, 60, o));
        TileOperand operands[] = {operand(buffers[0], {row, 1}), operand(buffers[1], {shared ? 0 : row, one ? 0 : 1}),
                                  operand(buffers[aliased ? 0 : 2], {row, 1}), operand(buffers[3], {row, 1})};
        tile.run({rows, columns}, operands, begin, end);
        std::vector<std::byte> all;
        for (const auto& buffer : buffers) all.insert(all.end(), buffer.bytes.begin(), buffer.bytes.end());
        return all;
      };
      Tile fresh(b.program, isa);
      CHECK_MESSAGE(results(kept) == results(fresh), std::string(name(isa)) << " run " << k);
    }
  });
}

// Cheap operations in one pass: the bits of the same operations one after another. Programs that run again, bound as before.
#include <cmath>
#include <limits>
#include <random>
#include <rewind/core/simd/tile_kernels.hpp>

#include "core/tile_support.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// A program of random cheap operations on a [rows, columns] space: values that are read once, twice and more often, narrow ones, row sums
/// and totals. With `apart`, each value is stored as well: then somebody else reads it, and each operation is done alone.
struct ChainTest {
  std::mt19937_64 bits;
  Index rows, columns;
  DType dtype;
  Builder builder;
  std::vector<Buffer> buffers;
  std::vector<Operand> operands;
  std::vector<int> full, narrow;           ///< values to read
  std::vector<std::pair<int, bool>> made;  ///< what was computed: value, narrow
  struct Result {
    int operand;
    Index count;
    int total_of = -1;  ///< operand, where `apart` stored what is added to this one
  };
  std::vector<Result> results;

  ChainTest(unsigned seed, Index r, Index c, DType d, bool apart) : bits(seed), rows(r), columns(c), dtype(d), builder(d) {
    buffers.reserve(2000);
    const bool in_place = pick(3) == 0;
    for (int k = 0; k < 3; ++k) full.push_back(k == 0 && in_place ? load_of(columns, 1, false) : load());
    narrow.push_back(load_of(1, 0, true));
    const int length = 2 + pick(30);
    for (int k = 0; k < length; ++k) {
      if (pick(8) == 0) {
        narrow.push_back(builder.reduce(Kind::sum, read(full)));
        made.push_back({narrow.back(), true});
        continue;
      }
      if (pick(12) == 0) {
        full.push_back(tree(1 + pick(5)));
        continue;
      }
      const bool one = pick(5) == 0;
      auto& values = one ? narrow : full;
      const int x = read(values);
      const int y = one ? read(narrow) : pick(4) == 0 ? read(narrow) : pick(3) == 0 ? load() : read(full);
      values.push_back(apply(x, y, one));
      made.push_back({values.back(), one});
    }
    for (auto [value, one] : made)
      if (apart) builder.store(value, memory(one ? 1 : columns, one ? 0 : 1));
    for (int k = pick(3); k > 0; --k) {
      const int x = read(full), stored = apart ? memory(columns, 1) : -1;
      if (apart) builder.store(x, stored);
      const int to = memory(0, 1);
      builder.add({.kind = Kind::total, .a = x, .operand = to});
      results.push_back({to, columns, stored});
    }
    const int y = full.back();
    const int sum = pick(2) ? builder.reduce(Kind::sum, y) : -1;
    if (sum >= 0) {
      results.push_back({memory(1, 0), rows});
      builder.store(sum, results.back().operand);
    }
    results.push_back({in_place ? 0 : memory(columns, 1), rows * columns});
    builder.store(y, results.back().operand);
  }

  int pick(int n) { return static_cast<int>(bits() % static_cast<unsigned>(n)); }
  /// One of the values, rather one of the last.
  int read(const std::vector<int>& values) {
    const int n = static_cast<int>(values.size());
    return values[static_cast<std::size_t>(pick(2) ? n - 1 : pick(n))];
  }
  int apply(int x, int y, bool one) {
    switch (pick(10)) {
      case 0: return builder.apply<op::Add>(x, y, -1, one);
      case 1: return builder.apply<op::Subtract>(x, y, -1, one);
      case 2: return builder.apply<op::Subtract>(y, x, -1, one);
      case 3: return builder.apply<op::Multiply>(y, x, -1, one);
      case 4: return builder.apply<op::Square>(builder.apply<op::Tanh>(x, -1, -1, one), -1, -1, one);
      case 5: return builder.apply<op::Negate>(x, -1, -1, one);
      case 6: return builder.apply<op::Divide>(x, y, -1, one);
      case 7: return builder.apply<op::Divide>(y, x, -1, one);
      case 8: return builder.apply<op::Sqrt>(builder.apply<op::Square>(x, -1, -1, one), -1, -1, one);
      default: return builder.apply<op::Tanh>(x, -1, -1, one);  // keeps numbers finite, and ends a chain
    }
  }
  /// Values that are read once each, down to `depth` operations.
  int tree(int depth) {
    if (depth == 0) return pick(3) ? load() : read(full);
    const int x = tree(pick(4) ? depth - 1 : 0), y = tree(pick(4) ? depth - 1 : 0);
    const int kind = pick(3);
    made.push_back({kind == 0   ? builder.apply<op::Subtract>(x, y)
                    : kind == 1 ? builder.apply<op::Divide>(x, y)
                                : builder.apply<op::Multiply>(x, y),
                    false});
    return made.back().first;
  }
  int memory(Index row, Index column) {
    buffers.push_back(random_buffer(dtype, static_cast<std::size_t>(rows * columns), static_cast<unsigned>(row + 3 * column)));
    operands.push_back(operand(buffers.back(), {row, column}));
    return builder.operand(dtype);
  }
  int load_of(Index row, Index column, bool one) { return builder.load(memory(row, column), one); }
  /// Of elements, of one value a row, of one row, of one value.
  int load() {
    switch (pick(6)) {
      case 0: return load_of(1, 0, false);
      case 1: return load_of(0, 1, false);
      case 2: return load_of(0, 0, false);
      default: return load_of(columns, 1, false);
    }
  }
  /// What it wrote, one result after the other; totals where `apart` are added up here.
  std::vector<std::byte> run(Isa isa) {
    std::vector<Buffer> before = buffers;
    Machine(builder.program, isa).run({rows, columns}, operands.data(), false);
    std::vector<std::byte> all;
    for (const auto& result : results) {
      auto& written = buffers[static_cast<std::size_t>(result.operand)];
      if (result.total_of >= 0) {
        written = before[static_cast<std::size_t>(result.operand)];
        const auto& added = buffers[static_cast<std::size_t>(result.total_of)];
        for (Index i = 0; i < rows * columns; ++i) {
          const double x = written.get(i % columns), y = added.get(i);
          written.set(i % columns, dtype == DType::f32 ? static_cast<float>(x) + static_cast<float>(y) : x + y);
        }
      }
      for (Index i = 0; i < result.count; ++i)  // the sign of a NaN made of two is that of the one that comes first
        if (std::isnan(static_cast<double>(written.get(i)))) written.set(i, std::numeric_limits<double>::quiet_NaN());
      all.insert(all.end(), written.bytes.begin(), written.bytes.begin() + result.count * size_of(dtype));
    }
    return all;
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

TEST_CASE("tile: the sum of a row has the same bits, made on the way of a chain or of what is in memory") {
  for_isas([&](Isa isa) {
    for (DType dtype : {DType::f32, DType::f64})
      for (Index columns : {1, 3, 15, 17, 31, 33, 63, 65, 100, 127, 129, 191, 250, 255, 257, 300, 500, 1100}) {
        const Index rows = 3;
        const auto count = static_cast<std::size_t>(rows * columns);
        Buffer x = random_buffer(dtype, count, 1), y = random_buffer(dtype, count, 2), made(dtype, count);
        Buffer sums(dtype, rows), stored_sums(dtype, rows), sums_of_memory(dtype, rows);
        auto run = [&](bool stored, Buffer& to) {
          Builder b(dtype);
          const int a = b.load(b.operand(dtype)), c = b.load(b.operand(dtype));
          const int z = b.apply<op::Subtract>(b.apply<op::Multiply>(a, c), a);
          b.store(b.reduce(Kind::sum, z), b.operand(dtype));
          if (stored) b.store(z, b.operand(dtype));
          const Operand operands[] = {operand(x, {columns, 1}), operand(y, {columns, 1}), operand(to, {1, 0}), operand(made, {columns, 1})};
          Machine(b.program, isa).run({rows, columns}, operands, false);
        };
        run(false, sums);
        run(true, stored_sums);
        Builder b(dtype);
        const int z = b.load(b.operand(dtype));
        b.store(b.reduce(Kind::sum, z), b.operand(dtype));
        const Operand operands[] = {operand(made, {columns, 1}), operand(sums_of_memory, {1, 0})};
        Machine(b.program, isa).run({rows, columns}, operands, false);
        CHECK(sums.get(rows - 1) != 0);
        CHECK_MESSAGE(sums.bytes == sums_of_memory.bytes, std::string(name(isa)) << ", " << columns << " columns");
        CHECK_MESSAGE(stored_sums.bytes == sums_of_memory.bytes, std::string(name(isa)) << ", stored, " << columns << " columns");
      }
  });
}

TEST_CASE("tile: what a program was bound to is used again only where all is as it was") {
  Builder b(DType::f32);
  const int x = b.load(b.operand(DType::f32)), y = b.apply<op::Tanh>(b.apply<op::Add>(x, b.load(b.operand(DType::f32))));
  b.store(y, b.operand(DType::f32));
  b.store(b.apply<op::Add>(b.apply<op::Multiply>(x, y), x), b.operand(DType::f32));
  std::mt19937_64 bits(5);
  auto pick = [&](Index n) { return static_cast<Index>(bits() % static_cast<std::uint64_t>(n)); };
  for_isas([&](Isa isa) {
    for (int form = 0; form < 10; ++form) {
      const Index rows = 1 + pick(3), columns = 15 + pick(3), row = columns + pick(2);
      const bool shared = pick(3) == 0, one = pick(3) == 0;
      Machine kept(b.program, isa);
      for (int k = 0; k < 30; ++k) {
        const Index begin = pick(rows), end = begin + 1 + pick(rows - begin);
        const bool aliased = pick(3) == 0;
        auto results = [&](Machine& tile) {
          std::vector<Buffer> buffers;
          for (unsigned o = 0; o < 4; ++o) buffers.push_back(random_buffer(DType::f32, 60, o));
          Operand operands[] = {operand(buffers[0], {row, 1}), operand(buffers[1], {shared ? 0 : row, one ? 0 : 1}),
                                operand(buffers[aliased ? 0 : 2], {row, 1}), operand(buffers[3], {row, 1})};
          tile.run({rows, columns}, operands, begin, end);
          std::vector<std::byte> all;
          for (const auto& buffer : buffers) all.insert(all.end(), buffer.bytes.begin(), buffer.bytes.end());
          return all;
        };
        Machine fresh(b.program, isa);
        CHECK_MESSAGE(results(kept) == results(fresh), std::string(name(isa)) << " form " << form << " run " << k);
      }
    }
  });
}

TEST_CASE("tile: rows from one on are not those from another on that end where they do") {
  constexpr Index rows = 200, columns = 16;
  Builder b(DType::f32);
  const int left = b.load(b.operand(DType::f32)), right = b.load(b.operand(DType::f32));
  b.store(b.apply<op::Add>(left, right), b.operand(DType::f32));
  auto x = random_buffer(DType::f32, rows * columns, 1), row = random_buffer(DType::f32, columns, 2);
  Machine tile(b.program);
  for (Index begin = 0; begin < rows; ++begin) {
    Buffer out(DType::f32, rows * columns);
    Operand operands[] = {operand(x, {columns, 1}), operand(row, {0, 1}), operand(out, {columns, 1})};
    tile.run({rows, columns}, operands, begin, rows);
    int wrong = 0;
    for (Index i = 0; i < rows * columns; ++i) {
      const auto sum = static_cast<float>(x.get(i)) + static_cast<float>(row.get(i % columns));
      wrong += out.get(i) != (i < begin * columns ? 0.0 : static_cast<double>(sum));
    }
    CHECK(wrong == 0);
  }
}

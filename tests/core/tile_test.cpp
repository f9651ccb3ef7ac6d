// The tile machine: random programs against plain loops in double, aliasing, the same bits for any division, rules and errors.
#include <algorithm>
#include <cmath>
#include <random>
#include <rewind/core/team.hpp>
#include <string>

#include "core/tile_support.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// A random straight-line program: loads of every kind, elementwise operations, row reductions, stores.
void random_program(unsigned seed, const Shape& space, DType dtype) {
  std::mt19937_64 bits(seed);
  auto pick = [&](std::size_t n) { return static_cast<int>(bits() % n); };
  Builder b(dtype);
  std::vector<Buffer> buffers;
  std::vector<Operand> operands;
  buffers.reserve(40);
  int rank = space.rank();
  Index points = space.size();
  auto memory = [&](DType d, bool output) {
    // Row-major, or with rows padded, or the axes exchanged, or repeated along some axes, or backward.
    int form = output ? pick(3) : pick(7);
    Strides strides = contiguous_strides(space);
    Index size = points, offset = 0;
    if (form == 1 && rank > 1)
      for (int a = 0; a + 1 < rank; ++a)
        strides[a] = strides[a] / space.back() * (space.back() + 5), size = (points / space.back() + 1) * (space.back() + 5);
    if (form == 2 && rank > 1) {
      Index step = 1;
      for (int a = 0; a < rank; ++a) strides[a] = step, step *= space[a];
    }
    if (form == 3 && rank) strides[rank - 1] = 0;
    if (form == 4)
      for (int a = 0; a + 1 < rank; ++a) strides[a] = 0;
    if (form == 5)
      for (int a = 0; a < rank; ++a) strides[a] = 0;
    if (form == 6 && rank) offset = (space.back() - 1) * strides[rank - 1], strides[rank - 1] *= -1;
    buffers.push_back(random_buffer(d, static_cast<std::size_t>(size), static_cast<unsigned>(bits())));
    operands.push_back(operand(buffers.back(), {}, offset));
    for (int a = 0; a < rank; ++a) operands.back().strides[a] = strides[a];
    return b.operand(d);
  };
  std::vector<int> full, narrow;
  for (int k = 0; k < 4; ++k) {
    DType kinds[] = {dtype, dtype, dtype, DType::f32, DType::i32, DType::i64, DType::boolean};
    full.push_back(b.load(memory(kinds[pick(7)], false)));
  }
  if (bits() % 2) full.push_back(b.add({.kind = Kind::column}));
  if (bits() % 2) narrow.push_back(b.load(memory(dtype, false), true));
  bool reductions = bits() % 3 != 0;
  for (int k = 0; k < 14; ++k) {
    auto any = [&] { return !narrow.empty() && bits() % 4 == 0 ? narrow[bits() % narrow.size()] : full[bits() % full.size()]; };
    int bounded = b.apply<op::Tanh>(full[bits() % full.size()]);
    switch (pick(8)) {
      case 0: full.push_back(b.apply<op::Add>(bounded, any())); break;
      case 1: full.push_back(b.apply<op::Multiply>(bounded, any())); break;
      case 2: full.push_back(b.apply<op::Where>(any(), bounded, any())); break;
      case 3: full.push_back(b.apply<op::Maximum>(any(), bounded)); break;
      case 4: full.push_back(b.apply<op::Subtract>(any(), bounded)); break;
      case 5: full.push_back(b.apply<op::Sigmoid>(bounded)); break;
      case 6:
        if (reductions) {
          int sum = b.reduce(pick(2) ? Kind::sum : pick(2) ? Kind::max : Kind::min, bounded);
          narrow.push_back(b.apply<op::Tanh>(sum, -1, -1, true));
          if (narrow.size() > 1) narrow.push_back(b.apply<op::Multiply>(narrow[bits() % narrow.size()], narrow.back(), -1, true));
        }
        break;
      case 7: b.store(bounded, memory(bits() % 3 ? dtype : DType::f64, true)); break;
    }
  }
  b.store(full.back(), memory(dtype, true));
  b.store(full[bits() % full.size()], memory(dtype, true));
  if (!narrow.empty()) {
    int o = memory(dtype, true);
    for (int a = 0; a < rank; ++a) operands.back().strides[a] = rank > 1 && a + 1 < rank ? contiguous_strides(space)[a] / space.back() : 0;
    b.store(narrow.back(), o);
  }
  std::vector<Buffer*> pointers;
  for (auto& x : buffers) pointers.push_back(&x);
  check(b.program, space, operands, pointers, dtype == DType::f64 ? 1e-9 : 2e-3);
}

}  // namespace

TEST_CASE("tile: instruction sets that could not be run here") {
  int missing = 0;
  for (Isa isa : {Isa::sse2, Isa::avx2, Isa::avx512}) {
    if (supported(isa)) continue;
    ++missing;
    MESSAGE("NOT RUN: this processor lacks ", std::string(name(isa)));
  }
  CHECK(missing < 3);
}

TEST_CASE("tile: random programs against plain loops") {
  const Shape spaces[] = {Shape{}, {1},       {7},     {256},    {1500},    {1, 1},        {5, 1},
                          {3, 7},  {2, 3, 8}, {4, 65}, {300, 3}, {2, 1000}, {3, 1, 4, 33}, {1, 257}};
  unsigned seed = 1;
  for (const auto& space : spaces)
    for (int k = 0; k < 24; ++k) random_program(seed++, space, k % 3 ? DType::f64 : DType::f32);
  CHECK(runs >= 14 * 24 * 2);
}

TEST_CASE("tile: rows too long for one go run in phases") {
  unsigned seed = 1000;
  for (const auto& space : {Shape{2, 10000}, Shape{1, 40001}})
    for (int k = 0; k < 6; ++k) random_program(seed++, space, k % 3 ? DType::f64 : DType::f32);
}

namespace {

/// Operands: a (read and written in place), another, z. `write` builds the program and returns nothing.
void check_in_place(void (*write)(Builder& b, int a, int other, int z)) {
  for (Index columns : {1, 5, 300, 3000, 60000}) {
    auto size = static_cast<std::size_t>(3 * columns);
    auto a = random_buffer(DType::f64, size, 21), other = random_buffer(DType::f64, size, 22);
    Buffer z(DType::f64, size);
    Builder b;
    for (int k = 0; k < 4; ++k) b.operand(DType::f64);
    write(b, 0, 1, 3);  // operand 2 is a's memory once more, to be written
    auto operands = [&](Buffer& x, Buffer& out) {
      std::initializer_list<Index> dense{columns, 1};
      return std::vector{operand(x, dense), operand(other, dense), operand(x, dense), operand(out, dense)};
    };
    auto wanted = interpret(b.program, {3, columns}, operands(a, z), {&a, &other, &a, &z});
    for_isas([&](Isa isa) {
      auto in_place = a, out = z;
      Machine(b.program, isa).run({3, columns}, operands(in_place, out).data(), false);
      double worst = 0;
      for (Index e = 0; e < 3 * columns; ++e) {
        double difference = std::fabs(in_place.get(e) - wanted[2].get(e)) + std::fabs(out.get(e) - wanted[3].get(e));
        if (!(difference <= worst)) worst = difference;
      }
      CHECK_MESSAGE(worst <= 1e-9, std::string(name(isa)) << ", " << columns << " columns: " << worst);
    });
  }
}

}  // namespace

TEST_CASE("tile: a store may write what a load of the same program reads") {
  // The old a is read after the new one is written; with and without a reduction between.
  check_in_place([](Builder& b, int a, int other, int z) {
    int x = b.load(a), y = b.apply<op::Tanh>(b.apply<op::Add>(x, b.load(other)));
    b.store(y, 2);
    b.store(b.apply<op::Add>(b.apply<op::Multiply>(x, y), x), z);
  });
  check_in_place([](Builder& b, int a, int other, int z) {
    int x = b.load(a), y = b.apply<op::Tanh>(b.apply<op::Add>(x, b.load(other)));
    b.store(y, 2);
    int w = b.apply<op::Multiply>(x, y);
    b.store(b.apply<op::Add>(w, b.apply<op::Tanh>(b.reduce(Kind::sum, w), -1, -1, true)), z);
  });
  // The store stands last, but its value could be computed into place before the last use of x.
  check_in_place([](Builder& b, int a, int other, int z) {
    int x = b.load(a), y = b.apply<op::Tanh>(b.apply<op::Add>(x, b.load(other)));
    b.store(b.apply<op::Multiply>(x, y), z);
    b.store(y, 2);
  });
  // Nothing but narrow values needs the last passes over x.
  check_in_place([](Builder& b, int a, int, int z) {
    int x = b.load(a);
    b.store(b.apply<op::Tanh>(x), 2);
    int mean = b.apply<op::Tanh>(b.reduce(Kind::sum, x), -1, -1, true);
    b.store(b.apply<op::Tanh>(b.reduce(Kind::sum, b.apply<op::Multiply>(x, mean)), -1, -1, true), z);
  });
}

TEST_CASE("tile: same bits for any division of rows, any company, split or not") {
  for (Index columns : {3, 100, 700, 9000, 40000}) {
    Index rows = columns > 1000 ? 8 : 64;
    auto size = static_cast<std::size_t>(rows * columns);
    auto x = random_buffer(DType::f32, size, 31);
    auto key = Buffer(DType::i64, 2);
    key.set(0, 9);
    auto build = [&](bool company) {
      Builder b(DType::f32);
      int in = b.load(b.operand(DType::f32));
      int mask = b.add({.kind = Kind::uniform, .operand = b.operand(DType::i64)});
      int soft = softmax(b, b.apply<op::Multiply>(in, mask));
      b.store(soft, b.operand(DType::f32));
      b.store(b.reduce(Kind::sum, b.apply<op::Square>(soft)), b.operand(DType::f32));
      if (company) {
        int kept[6] = {in}, many = in;
        for (int k = 1; k < 6; ++k) kept[k] = b.apply<op::Tanh>(kept[k - 1]);
        for (int k = 5; k > 0; --k) many = b.apply<op::Multiply>(many, kept[k]);
        b.store(b.apply<op::Subtract>(many, b.reduce(Kind::sum, many)), b.operand(DType::f32));
      }
      return b.program;
    };
    for_isas([&](Isa isa) {
      Machine lonely(build(false), isa), crowded(build(true), isa);
      std::vector<std::vector<std::byte>> results;
      for (int way = 0; way < 5; ++way) {
        Buffer out(DType::f32, size), sums(DType::f32, static_cast<std::size_t>(rows)), extra(DType::f32, size);
        Operand operands[] = {operand(x, {columns, 1}), operand(key, {columns, 1}), operand(out, {columns, 1}), operand(sums, {1, 0}),
                              operand(extra, {columns, 1})};
        operands[1].counter = 5;
        Shape space{rows / 4, 4, columns};
        for (auto& o : operands) o.strides[2] = o.strides[1], o.strides[1] = o.strides[0], o.strides[0] *= 4;
        if (way == 0) lonely.run(space, operands, 0, rows);
        if (way == 1)
          for (Index r = 0; r < rows; ++r) lonely.run(space, operands, r, r + 1);
        if (way == 2)
          for (Index r = 0; r < rows; r += 3) lonely.run(space, operands, r, std::min(r + 3, rows));
        if (way == 3) lonely.run(space, operands, true);
        if (way == 4) crowded.run(space, operands, true);
        results.push_back(out.bytes);
        results.back().insert(results.back().end(), sums.bytes.begin(), sums.bytes.end());
      }
      for (auto& r : results) CHECK(r == results[0]);
    });
  }
}

TEST_CASE("tile: one long row is spread over threads along its columns") {
  Index columns = 300001;
  auto size = static_cast<std::size_t>(columns);
  auto x = random_buffer(DType::f32, 2 * size, 61), mask = random_buffer(DType::boolean, size, 62);
  Buffer key(DType::i64, 2), split(DType::f32, size), alone = split;
  Builder b(DType::f32);
  int value = b.apply<op::Tanh>(b.load(b.operand(DType::f32)));
  value = b.apply<op::Multiply>(value, b.load(b.operand(DType::boolean)));
  value = b.apply<op::Add>(value, b.add({.kind = Kind::normal, .operand = b.operand(DType::i64)}));
  b.store(value, b.operand(DType::f32));
  Operand operands[] = {operand(x, {-2}, 2 * (columns - 1)), operand(mask, {1}), operand(key, {1}), operand(alone, {1})};
  Machine tile(b.program);
  tile.run({columns}, operands, false);
  operands[3] = operand(split, {1});
  int before = threads();
  set_threads(3);
  tile.run({columns}, operands, true);
  set_threads(before);
  CHECK(split.bytes == alone.bytes);
}

TEST_CASE("tile: what is fetched ahead changes nothing, in the last tile either") {
  const Index rows = 700, columns = 1101;  // 6 MB of what it walks: beyond L2; columns in two tiles
  auto size = static_cast<std::size_t>(rows * columns);
  auto x = random_buffer(DType::f32, size, 71), row = random_buffer(DType::f32, columns, 72),
       table = random_buffer(DType::f32, 5 * columns, 73);
  Buffer key(DType::i64, 2), index(DType::i32, static_cast<std::size_t>(rows));
  for (Index r = 0; r < rows; ++r) index.set(r, static_cast<double>(r * 3 % 5));
  Builder b(DType::f32);
  int value = b.apply<op::Multiply>(b.load(b.operand(DType::f32)), b.load(b.operand(DType::f32)));
  int at = b.operand(DType::f32);
  value = b.apply<op::Add>(value, b.add({.kind = Kind::gather, .operand = at, .index = b.operand(DType::i32)}));
  value = b.apply<op::Add>(value, b.add({.kind = Kind::uniform, .operand = b.operand(DType::i64)}));
  b.store(value, b.operand(DType::f32));
  for_isas([&](Isa isa) {
    Machine tile(b.program, isa);
    Buffer whole(DType::f32, size), by_rows(DType::f32, size);
    Operand operands[] = {operand(x, {columns, 1}), operand(row, {0, 1}),       operand(table, {0, 1}),
                          operand(index, {1, 0}),   operand(key, {columns, 1}), operand(whole, {columns, 1})};
    operands[2].rows = 5;
    operands[2].across = columns;
    tile.run({rows, columns}, operands, false);
    operands[5] = operand(by_rows, {columns, 1});
    for (Index r = 0; r < rows; ++r) tile.run({rows, columns}, operands, r, r + 1);
    CHECK(whole.bytes == by_rows.bytes);
  });
}

TEST_CASE("tile: an extent of 0 does nothing") {
  Builder b;
  int x = b.load(b.operand(DType::f64));
  b.store(x, b.operand(DType::f64));
  Machine tile(b.program);
  Operand operands[2];
  tile.run({0, 5}, operands, true);
  tile.run({5, 0}, operands, true);
  tile.run({3, 0, 2}, operands, 0, 0);
}

TEST_CASE("tile: programs that break the rules are refused in words") {
  TileProgram one;
  one.operands = {DType::f32};
  CHECK(test::error_text<ValueError>([&] { Tile(one, {1}, {}); }) == "tile: wrong number of operands: the program has 1, 0 are given");
  auto text = [](auto&& write) {
    Builder b;
    write(b);
    return test::error_text<ValueError>([&] { Tile(b.program, {1}, std::vector<TileOperand>(b.program.operands.size())); });
  };
  CHECK(text([](Builder& b) { b.program.dtype = DType::i32; }) == "tile: programs compute in f32 or f64: dtype is i32");
  CHECK(text([](Builder& b) { b.apply<op::Tanh>(0); }) == "tile: value not made before its use: instruction 0 uses 0");
  CHECK(text([](Builder& b) { b.apply<op::Add>(b.add({.kind = Kind::column})); }) ==
        "tile: wrong number of values: instruction 1 has 1, needs 2");
  CHECK(text([](Builder& b) { b.load(0); }) == "tile: no such operand: instruction 0 names 0 of 0");
  CHECK(text([](Builder& b) { b.add({.kind = Kind::apply, .code = 200}); }) == "tile: no such operation: instruction 0 has code 200");
  CHECK(text([](Builder& b) { b.apply<op::Tanh>(b.add({.kind = Kind::column}), -1, -1, true); }) ==
        "tile: narrow values come of narrow ones: instruction 1 uses 0, which is full");
  CHECK(text([](Builder& b) { b.reduce(Kind::sum, b.load(b.operand(DType::f64), true)); }) ==
        "tile: row reductions take full values: instruction 1 reduces 0, which is narrow");
  CHECK(text([](Builder& b) { b.add({.kind = Kind::gather, .operand = b.operand(DType::f64), .index = 0}); }) ==
        "tile: gather takes i32 or i64 indices: operand 0 is f64");
  CHECK(text([](Builder& b) { b.add({.kind = Kind::normal, .operand = b.operand(DType::f64)}); }) ==
        "tile: random keys are i64: operand 0 is f64");
  CHECK(text([](Builder& b) { b.add({.kind = Kind::total, .a = b.load(b.operand(DType::f64)), .operand = b.operand(DType::f32)}); }) ==
        "tile: totals have the program's dtype f64: operand 1 is f32");
  CHECK(text([](Builder& b) {
          b.add({.kind = Kind::total, .a = b.load(b.operand(DType::f64), true), .operand = b.operand(DType::f64)});
        }) == "tile: totals are of full values: instruction 1 adds 0, which is narrow");
  CHECK(text([](Builder& b) {
          b.add({.kind = Kind::total, .a = b.load(b.operand(DType::f64)), .operand = b.operand(DType::f64), .group = -2});
        }) == "tile: totals have groups of 0 rows, which is all, or more: instruction 1 has -2");
  CHECK(text([](Builder& b) { b.add({.kind = Kind::sum, .a = b.load(b.operand(DType::f64)), .group = 4}); }) ==
        "tile: only totals have groups of rows: instruction 1 has 4");
  CHECK(text([](Builder& b) { b.add({.kind = Kind::column, .narrow = true}); }) == "tile: column is full: instruction 0 is marked narrow");
}

// The tile machine: random programs against plain loops in double, aliasing, the same bits for any division, rules and errors.
#include <cmath>
#include <cstring>
#include <random>
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
  std::vector<TileOperand> operands;
  buffers.reserve(40);
  int rank = space.rank();
  Index points = space.size();
  auto memory = [&](DType d, bool output) {
    // Row-major, or with rows padded, or the axes exchanged, or repeated along some axes, or backward.
    int form = output ? pick(3) : pick(7);
    Strides strides = contiguous_strides(space);
    Index size = points, offset = 0;
    if (form == 1 && rank > 1)
      for (int a = 0; a + 1 < rank; ++a) strides[a] = strides[a] / space.back() * (space.back() + 5), size = (points / space.back() + 1) * (space.back() + 5);
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
  const Shape spaces[] = {Shape{}, {1}, {7}, {256}, {1500}, {1, 1}, {5, 1}, {3, 7}, {2, 3, 8}, {4, 65}, {300, 3}, {2, 1000}, {3, 1, 4, 33}, {1, 257}};
  unsigned seed = 1;
  for (const auto& space : spaces)
    for (int k = 0; k < 24; ++k) random_program(seed++, space, k % 3 ? DType::f64 : DType::f32);
  CHECK(runs >= 14 * 24 * 2);
}

TEST_CASE("tile: rows too long for one go run in phases") {
  unsigned seed = 1000;
  for (const auto& space : {Shape{2, 10000}, Shape{1, 40001}})
    for (int k = 0; k < 10; ++k) random_program(seed++, space, k % 3 ? DType::f64 : DType::f32);
}

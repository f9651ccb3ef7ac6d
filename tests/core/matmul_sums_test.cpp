// Sums of the rows of a right operand, made beside the product: the chain of sum_steps, whatever way the product is cut.
#include <rewind/core/matmul_kernels.hpp>

#include <doctest/doctest.h>
#include <rewind/core/kernels.hpp>
#include <rewind/core/team.hpp>

#include <array>
#include <set>
#include <support.hpp>
#include <vector>

#include "numbers.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// Steps of rows, with gaps between them that no sum may contain.
template <class T>
struct Steps {
  Index rows, steps, columns, row, step;
  std::vector<T> memory;

  Steps(Index rows, Index steps, Index columns, unsigned seed)
      : rows(rows), steps(steps), columns(columns), row(columns + 3), step(rows * row + 7), memory(numbers<T>(steps * step, seed)) {}
  const T* first(bool backward) const { return memory.data() + (backward ? (steps - 1) * step : 0); }
  Index along(bool backward) const { return backward ? -step : step; }
  detail::GroupedMatrix<T> grouped(bool backward) const {
    return rows == 1 ? detail::GroupedMatrix<T>{first(backward), along(backward), 1, steps, 0}
                     : detail::GroupedMatrix<T>{first(backward), row, 1, rows, along(backward)};
  }
};

/// The chain, from zero or from what there is.
template <class T>
std::vector<T> chain(const Steps<T>& b, bool backward, bool accumulate, std::vector<T> sums) {
  if (!accumulate) sums.assign(sums.size(), T(0));
  for (Index s = 0; s < b.steps; ++s)
    for (Index r = 0; r < b.rows; ++r)
      for (Index j = 0; j < b.columns; ++j) sums[static_cast<std::size_t>(j)] += b.first(backward)[s * b.along(backward) + r * b.row + j];
  return sums;
}

/// A product with sums by a table: the sums, between neighbours that stay as they were, and C must be what it is without them.
template <class T>
bool right(const detail::ProductKernels<T>& kernels, Index m, Index n, Index rows, Index steps, bool backward, bool accumulate,
           bool split) {
  const Steps<T> a(rows, steps, m, 1), b(rows, steps, n, 2);
  const auto start = numbers<T>(m * n, 3), before = numbers<T>(n, 4);
  std::vector<T> alone(start), together(start), sums(static_cast<std::size_t>(n) + 2, T(-55));
  std::copy(before.begin(), before.end(), sums.begin() + 1);
  detail::Product<T> p{m, n, rows * steps, a.grouped(backward), b.grouped(backward), nullptr, alone.data(), n, accumulate};
  detail::run_product(kernels, p, false);
  p.c = together.data();
  p.sums = sums.data() + 1;
  detail::run_product(kernels, p, split);
  auto expected = chain(b, backward, accumulate, before);
  expected.insert(expected.begin(), T(-55));
  expected.push_back(T(-55));
  return same(sums, expected) && same(together, alone);
}

}  // namespace

TEST_CASE_TEMPLATE("matmul_steps: sums of rows beside the product are the chain, at every tail size, on every instruction set", T, float,
                   double) {
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    const Index width = kernels.columns;
    std::set<Index> columns{4 * width, 5 * width + 1, 9 * width - 1};
    for (Index n = 1; n <= 2 * width + 1; ++n) columns.insert(n);
    bool all = true;
    for (Index n : columns)
      for (Index m :
           {Index(1), Index(kernels.rows), Index(kernels.rows + 1)})  // where a step has one row, without sums B would be read as it lies
        for (Index rows : {1, 3})
          for (bool backward : {false, true})
            for (bool accumulate : {false, true}) {
              const bool good = right(kernels, m, n, rows, 5, backward, accumulate, false);
              if (!good)
                MESSAGE(name(isa), ": m ", m, ", n ", n, ", rows ", rows, backward ? ", backward" : "", accumulate ? ", from sums" : "");
              all = all && good;
            }
    CHECK(all);
  });
}

TEST_CASE_TEMPLATE("matmul_steps: sums of rows are the same for any division of the product among threads, blocks and steps", T, float,
                   double) {
  const int before = threads();
  each_isa([](Isa isa) {
    const auto& kernels = detail::product_table(isa).of<T>();
    for (int count : {1, 2, 3, 5}) {
      set_threads(count);
      // Several blocks of k and of rows; columns alone; rows alone; few rows, whose B is packed for the sums alone: columns, rows.
      for (auto [m, n, rows, steps] :
           {std::array<Index, 4>{900, 200, 16, 30}, {5, 1300, 20, 40}, {900, 30, 10, 30}, {3, 2100, 1, 900}, {12, 50, 1, 1100}})
        for (bool backward : {false, true}) {
          CAPTURE(m);
          CHECK(right(kernels, m, n, rows, steps, backward, true, true));
          CHECK(right(kernels, m, n, rows, steps, backward, false, true));
        }
    }
  });
  set_threads(before);
}

TEST_CASE("matmul_steps: sums of rows wait for those of the steps before, though more threads than processors overtake each other") {
  const int before = threads();
  set_threads(5);
  const auto& kernels = detail::product_table(isa()).of<float>();
  const Index m = 10 * kernels.rows, n = 10 * kernels.columns;
  const Steps<float> a(16, 50, m, 1), b(16, 50, n, 2);
  const auto expected = chain(b, false, false, std::vector<float>(static_cast<std::size_t>(n)));
  std::vector<float> c(static_cast<std::size_t>(m * n)), sums(expected.size());
  bool all = true;
  for (int i = 0; i < 400; ++i) {
    std::fill(sums.begin(), sums.end(), 0.f);
    detail::run_product(kernels, {m, n, 800, a.grouped(false), b.grouped(false), nullptr, c.data(), n, false, {}, sums.data()}, true);
    all = all && same(sums, expected);
  }
  CHECK(all);
  set_threads(before);
}

TEST_CASE("matmul_steps: sums without a product: no columns of A, no steps") {
  const Steps<float> b(3, 4, 5, 1);
  std::vector<float> sums(5, 9);
  auto product = [&](Index m, Index steps, bool accumulate) {
    std::vector<float> c(static_cast<std::size_t>(m * 5));
    matmul_steps(DType::f32, m, 5, 3, steps, b.memory.data(), 0, 0, b.memory.data(), b.row, b.step, c.data(), 5, accumulate, true,
                 sums.data());
    return sums;
  };
  CHECK(product(2, 0, true) == std::vector<float>(5, 9));
  CHECK(same(product(0, 4, true), chain(b, false, true, std::vector<float>(5, 9))));
  CHECK(same(product(0, 4, false), chain(b, false, false, std::vector<float>(5))));
  CHECK(product(2, 0, false) == std::vector<float>(5, 0));
}

// Packed right operands: when they are packed, kept, packed again and dropped.
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "numbers.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("packed: kept while storage and version stay, packed again after a change, old forms dropped") {
  const Index k = 40, n = 50;
  auto values = numbers<float>(k * n + 16, 15);
  auto storage = stored(values);
  auto* data = reinterpret_cast<float*>(storage->data());
  const Index offset = 16 * Index(sizeof(float));
  auto product = [&](const PackedMatrix& b) {
    std::vector<float> one(static_cast<std::size_t>(b.k()), 1), c(static_cast<std::size_t>(b.n()));
    matmul(1, {one.data(), b.k(), 1}, b, c.data(), b.n(), false, false);
    return c;
  };
  auto listed = [&] {
    int count = 0;
    for (auto* at = storage->derived.load(); at; at = at->next) ++count;
    return count;
  };
  const auto& first = packed(*storage.get(), offset, DType::f32, k, n, n, 1);
  const auto& across = packed(*storage.get(), offset, DType::f32, n, k, 1, n);
  CHECK(&first != &across);
  CHECK(&packed(*storage.get(), offset, DType::f32, k, n, n, 1) == &first);
  CHECK(&packed(*storage.get(), offset, DType::f32, n, k, 1, n) == &across);
  CHECK(&packed(*storage.get(), 0, DType::f32, k, n, n, 1) != &first);
  CHECK(listed() == 3);

  std::vector<float> one(static_cast<std::size_t>(k), 1), c(static_cast<std::size_t>(n));
  data[16] += 100;
  CHECK(product(packed(*storage.get(), offset, DType::f32, k, n, n, 1))[0] < 50);  // not told, so not packed again
  storage->touch();
  const auto allocations = pool_statistics().allocations;
  const auto& second = packed(*storage.get(), offset, DType::f32, k, n, n, 1);
  CHECK(pool_statistics().allocations == allocations);
  CHECK(product(second)[0] > 50);
  CHECK(listed() == 1);
  matmul(DType::f32, 1, n, k, {one.data(), k, 1}, {data + 16, n, 1}, c.data(), n, false, false);
  CHECK(same(product(second), c));
}

TEST_CASE("packed_if_worth: packs when the runs since the last change pay for it") {
  const Index k = 40, n = 50;
  auto storage = stored(numbers<float>(k * n, 15));
  auto packs = [&](Index row, Index column, Index rows, Index runs) {
    return packed_if_worth(*storage.get(), 0, DType::f32, column == 1 ? k : n, column == 1 ? n : k, row, column, rows, runs) != nullptr;
  };
  CHECK(runs_worth_packing(1, 1) > runs_worth_packing(1, n));
  CHECK(runs_worth_packing(1, n) > 1);
  CHECK(runs_worth_packing(10000, 1) == 1);
  CHECK(packs(n, 1, 10000, 1));
  CHECK(packs(n, 1, 1, 1));  // it is there
  storage->touch();
  const Index enough = runs_worth_packing(1, 1);
  for (Index run = 1; run < enough; ++run) CHECK_FALSE(packs(n, 1, 1, 1));
  CHECK(packs(n, 1, 1, 1));
  storage->touch();
  CHECK_FALSE(packs(n, 1, 1, enough - 1));
  CHECK_FALSE(packs(1, n, 1, 1));  // the transpose counts for itself
  storage->touch();
  CHECK_FALSE(packs(n, 1, 1, enough - 1));  // and starts anew with a version
  CHECK(packs(n, 1, 1, 1));
  storage->touch();
  CHECK(packs(n, 1, 1, enough));
  storage->touch();
  CHECK_FALSE(packs(n, 1, 1, 1));
  packed(*storage.get(), 0, DType::f32, k, n, n, 1);
  CHECK(packs(n, 1, 1, 1));
}

TEST_CASE_TEMPLATE("packed: the same panels whichever way threads share them", T, float, double) {
  const int before = threads();
  for (auto [k, n] : {std::array<Index, 2>{130, 128}, {37, 500}, {20, 1001}, {900, 20}, {16, 1024}}) {
    const Index m = 3;
    const auto a = numbers<T>(m * k, 3), b = numbers<T>(k * n, 4);
    std::vector<T> across(b.size()), want(static_cast<std::size_t>(m * n)), c(want.size());
    for (Index i = 0; i < k * n; ++i) across[static_cast<std::size_t>(i % n * k + i / n)] = b[static_cast<std::size_t>(i)];
    matmul(dtype_of<T>(), m, n, k, {a.data(), k, 1}, {b.data(), n, 1}, want.data(), n, false, false);
    for (int count : {1, 2, 3, 5}) {
      set_threads(count);
      for (const Matrix& right : {Matrix{b.data(), n, 1}, Matrix{across.data(), 1, k}}) {
        std::fill(c.begin(), c.end(), T(9));
        matmul(m, {a.data(), k, 1}, PackedMatrix(dtype_of<T>(), k, n, right), c.data(), n, false, false);
        CHECK(same(c, want));
      }
    }
  }
  set_threads(before);
}

TEST_CASE("packed: several threads get one form") {
  const Index k = 300, n = 500;
  auto storage = stored(numbers<float>(k * n, 16));
  const PackedMatrix* seen[4] = {};
  for (int round = 0; round < 20; ++round) {
    {
      std::vector<std::jthread> callers;
      for (auto& one : seen) callers.emplace_back([&] { one = &packed(*storage.get(), 0, DType::f32, k, n, n, 1); });
    }
    for (auto* one : seen) CHECK(one == seen[0]);
    storage->touch();
  }
}

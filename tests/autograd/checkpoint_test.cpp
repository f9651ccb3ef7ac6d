// Loops that keep every k-th carry: the same bits as without, in values and gradients.
#include <rewind/autograd/scan.hpp>

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/team.hpp>

#include "checkpointed.hpp"
#include "compare.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("checkpoint: values and gradients have the bits of the loop without") {
  int before = threads();
  for (int team : {1, 2, 3}) {
    set_threads(team);
    for (Index steps : {0, 1, 2, 12, 13})  // 13 is prime; of every 4, 6 and 12 steps one remains
      for (bool reverse : {false, true}) {
        auto want = checkpointed(steps, reverse, {}, DType::f32, false);
        evaluate(want);
        for (Checkpoint c : {checkpoint::every(1), checkpoint::every(2), checkpoint::every(4), checkpoint::every(5), checkpoint::every(6),
                             checkpoint::every(7), checkpoint::every(12), checkpoint::every(13), checkpoint::every(50), checkpoint::sqrt(),
                             checkpoint::bytes(1), checkpoint::bytes(2000)}) {
          auto got = checkpointed(steps, reverse, c, DType::f32, false);
          evaluate(got);
          for (std::size_t i = 0; i < got.size(); ++i) {
            CAPTURE(team);
            CAPTURE(steps);
            CAPTURE(reverse);
            CAPTURE(c.every);
            CAPTURE(c.budget);
            CAPTURE(i);
            CHECK(identical(got[i].value(), want[i].value()));
          }
        }
      }
  }
  set_threads(before);
}

TEST_CASE("checkpoint: second order equals the reference and the loop without") {
  for (bool reverse : {false, true})
    for (Index k : {1, 3, 4, 7}) {
      INFO("every " << k << " of 7");
      auto got = checkpointed(7, reverse, checkpoint::every(k), f64, true);
      CHECK(against_reference(got, 1e-11) == "");
      CHECK(difference(arrays(got), arrays(checkpointed(7, reverse, {}, f64, true)), 1e-11) == "");
    }
}

TEST_CASE("checkpoint: loops in loops have the bits of those without") {
  using Pair = std::vector<Variable>;
  auto run = [](Checkpoint outer, Checkpoint inner, bool reverse, bool early) {
    seed(5);
    Variable x = draw({7, 5, 2, 3}, DType::f32), h = draw({2, 3}, DType::f32), w = draw({3, 3}, DType::f32);
    Variable count(Tensor::zeros({2}, DType::i64));
    auto [last, ys] = scan(
        [&](const Pair& c, const Variable& row) {
          auto [end, list] = scan(
              [&](const Pair& c, const Variable& x) {
                auto n = tanh(matmul(c[0], w) + x) * bernoulli({2, 3}, 0.8);
                return std::pair{Pair{n, c[1] + 1}, Pair{n, c[1] * 2}};
              },
              c, row, {.reverse = reverse, .checkpoint = inner});
          return std::pair{Pair{end[0] * uniform({2, 3}), end[1]}, list};
        },
        Pair{h, count}, x, {.reverse = !reverse, .checkpoint = outer});
    auto loss = sum(square(ys[0])) + sum(last[0]);
    if (early) loss.item();
    Pair out = detail::gradients(loss, Pair{x, h, w});
    out.insert(out.end(), {ys[0], ys[1], last[0], last[1]});
    evaluate(out);
    return out;
  };
  for (bool reverse : {false, true}) {
    auto want = run({}, {}, reverse, false);
    CHECK(want[6].value().at({0}) == 35);
    for (Index outer : {0, 1, 3, 4, 7})
      for (Index inner : {0, 2, 3, 5})
        for (bool early : {false, true}) {
          auto got = run({.every = outer}, {.every = inner}, reverse, early);
          for (std::size_t i = 0; i < got.size(); ++i) {
            INFO("every " << outer << " of 7, every " << inner << " of 5, output " << i);
            CHECK(identical(got[i].value(), want[i].value()));
          }
        }
  }
}

TEST_CASE("checkpoint: random numbers of a loop in a loop are those of the steps as written, and all differ") {
  auto run = [](Checkpoint outer, Checkpoint inner) {
    seed(9);
    Variable w = Tensor::full({2}, 1, f64);
    using None = std::vector<Variable>;
    auto [last, ys] = scan(
        [&](const Variable& h, const None&) {
          return scan(
              [&](const Variable& c, const None&) {
                return std::pair{c + w * uniform({2}, f64), w * uniform({2}, f64)};
              },
              h, None{}, {.reverse = true, .steps = 5, .checkpoint = inner});
        },
        zeros({2}, f64), None{}, {.steps = 7, .checkpoint = outer});
    return doubles(ys.value());
  };
  const auto want = run({}, {});
  for (Index outer : {0, 2, 7})
    for (Index inner : {0, 1, 3, 5}) CHECK(run({.every = outer}, {.every = inner}) == want);
  auto all = want;
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
}

TEST_CASE("checkpoint: custom operations in the body, a chunk and what remains") {
  auto run = [](Checkpoint checkpoint) {
    seed(10);
    Variable x = draw({5, 2}), w = draw({2});
    auto twice = [](const Tensor& t) {
      Tensor y = t.copy();
      for (Index e = 0; e < y.size(); ++e) y.data<double>()[e] *= 2;
      return y;
    };
    auto thrice = [](const Tensor& t) {
      Tensor y = t.copy();
      for (Index e = 0; e < y.size(); ++e) y.data<double>()[e] *= 3;
      return y;
    };
    x = custom("thrice", x, thrice, [](auto& g, auto&) { return 3 * g; });  // the loop's are not the program's first
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = sin(custom("twice", h * w + x, twice, [](auto& g, auto&) { return 2 * g; }));
          return std::pair{n, n};
        },
        zeros({2}, f64), x, {.checkpoint = checkpoint});
    auto first = detail::gradients(sum(square(ys)) + sum(last), std::vector<Variable>{x, w});
    auto second = detail::gradients(sum(square(first[0])) + sum(first[1]), std::vector<Variable>{x, w});
    first.insert(first.end(), second.begin(), second.end());
    first.push_back(ys);
    return arrays(first);
  };
  for (Index k : {1, 2, 3, 5}) CHECK(difference(run(checkpoint::every(k)), run({}), 1e-13) == "");
}

TEST_CASE("checkpoint: a loop that adds up something that takes part of the steps alone") {
  auto run = [](Checkpoint checkpoint, Index from, Index count) {  // the gradient of the other steps is zero
    seed(12);
    Variable x = draw({7, 3}, DType::f32), w = draw({3}, DType::f32);
    using None = std::vector<Variable>;
    auto [last, ys] = scan(
        [&](const None&, const Variable& x) {
          return std::pair{None{}, tanh(x * w) + w};
        },
        None{}, x, {.checkpoint = checkpoint});
    auto out = detail::gradients(sum(square(slice(ys, 0, from, count))) + sum(w * w), std::vector<Variable>{x, w});
    evaluate(out);
    return out;
  };
  for (Index from : {0, 4})
    for (Index k : {2, 3, 6}) {
      auto want = run({}, from, 3), got = run(checkpoint::every(k), from, 3);
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(identical(got[i].value(), want[i].value()));
    }
}

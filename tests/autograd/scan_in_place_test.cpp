// Sums of a loop that continue from its carry: they lie in one place where the step that adds is the carry's only reader, and are right
// where it is not.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/profile.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include <doctest/doctest.h>

#include "compare.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Variables = std::vector<Variable>;

constexpr Index chunks = 3, steps = 4, rows = 2, m = 3, n = 5;

Variable draw_f64(const Shape& shape) { return random::normal(shape, 0, 1, DType::f64); }

/// total + the sum over time of a_t^T b_t: what the passes make one product over all steps of. ab: a [T,R,M] and b [T,R,N].
Variable add_products(const Variable& total, const Variables& ab) {
  return scan([](const Variable& s, const Variables& x) { return std::pair{s + matmul(transpose(x[0]), x[1]), s}; }, total, ab).first;
}
/// total + the sum over time of the rows of b_t, shaped as `total`.
Variable add_rows(const Variable& total, const Variable& b) {
  return scan([](const Variable& s, const Variable& x) { return std::pair{s + reshape(sum(x, 0), s.shape()), s}; }, total, b).first;
}

/// Checks values against the reference; gives how often a sum's first value was copied.
std::uint64_t copies(const std::vector<Variable>& outputs) {
  auto want = recorded(outputs).interpret();
  const NoGrad last;  // else the sums before every chunk are kept for their gradients
  profile::start();
  auto got = arrays(outputs);
  profile::stop();
  CHECK(difference(got, want, 1e-13) == "");
  std::uint64_t count = 0;
  for (const auto& row : profile::report().rows)
    if (row.kind == "matmul_steps (copy)" || row.kind == "sum_steps (copy)") count += row.calls;
  return count;
}

struct Inputs {
  Variables ab{draw_f64({chunks, steps, rows, m}), draw_f64({chunks, steps, rows, n})};
  Variable first = draw_f64({m, n}), second = draw_f64({m, n});
};

}  // namespace

TEST_CASE("scan: a sum over chunks continues in its place, and its first value stays what it was") {
  Inputs in;
  const Tensor before = in.first.value().copy();
  for (bool reverse : {false, true}) {
    auto last = scan(
                    [](const Variable& s, const Variables& x) {
                      return std::pair{add_products(s, x), x[0]};
                    },
                    in.first, in.ab, {.reverse = reverse})
                    .first;
    CHECK(copies({last, in.first + last}) == 0);
    CHECK(identical(in.first.value(), before));
  }
  for (const auto& first : {draw_f64({n}), draw_f64({1, n})})
    CHECK(copies({scan([](const Variable& s, const Variable& x) { return std::pair{add_rows(s, x), x}; }, first, in.ab[1]).first}) == 0);
}

TEST_CASE("scan: first values that repeat one element") {
  Inputs in;
  auto first = broadcast_to(draw_f64({1, n}), Shape{m, n});
  auto last = scan(
                  [](const Variables& s, const Variables& x) {
                    return std::pair{Variables{add_products(s[0], x), tanh(s[1] + sum(x[1])), s[2]}, x[0]};
                  },
                  Variables{first, first, first}, in.ab)
                  .first;
  CHECK(copies(last) == 0);
}

TEST_CASE("scan: a sum with other readers, of the value before or behind it") {
  Inputs in;
  auto run = [&](auto y) {
    auto [last, ys] = scan(
        [&](const Variable& s, const Variables& x) {
          auto next = add_products(s, x);
          return std::pair{next, y(s, next)};
        },
        in.first, in.ab);
    return copies({last, ys});
  };
  CHECK(run([](const Variable& s, const Variable&) { return s; }) > 0);
  CHECK(run([](const Variable&, const Variable& next) { return next; }) > 0);
  CHECK(run([](const Variable& s, const Variable& next) { return s * next; }) > 0);
  CHECK(run([](const Variable& s, const Variable&) { return matmul(s, transpose(s)); }) > 0);
  CHECK(run([](const Variable&, const Variable& next) { return matmul(next, transpose(next)); }) == 0);  // it reads the new one
}

TEST_CASE("scan: sums that change places, or that are one") {
  Inputs in;
  auto crossed = scan(
      [](const Variables& s, const Variables& x) {
        return std::pair{Variables{add_products(s[1], x), add_products(s[0], Variables{x[0], x[1] + 1})}, x[0]};
      },
      Variables{in.first, in.second}, in.ab);
  CHECK(copies(crossed.first) > 0);
  auto same = scan(
      [](const Variables& s, const Variables& x) {
        auto next = add_products(s[0], x);
        return std::pair{Variables{next, next}, s[1]};
      },
      Variables{in.first, in.second}, in.ab);
  CHECK(copies({same.first[0], same.first[1], same.second}) == 0);
}

TEST_CASE("scan: no chunk, one chunk") {
  for (Index count : {0, 1}) {
    Variables ab{draw_f64({count, steps, rows, m}), draw_f64({count, steps, rows, n})};
    auto first = draw_f64({m, n});
    auto last = scan([](const Variable& s, const Variables& x) { return std::pair{add_products(s, x), x[0]}; }, first, ab).first;
    CHECK(copies({last}) == 0);
    if (count == 0) CHECK(identical(last.value(), first.value()));
  }
}

TEST_CASE("scan: the gradients of weights with checkpoints are added where they end") {
  auto w = draw_f64({m, m}), u = draw_f64({n, m}), x = draw_f64({chunks * steps, rows, n}), h = draw_f64({rows, m}), c = draw_f64({m});
  const int before = threads();
  for (int team : {1, 2, 3}) {
    set_threads(team);
    auto y = scan(
                 [&](const Variable& h, const Variable& x) {
                   auto next = tanh(matmul(h, w) + matmul(x, u) + c);
                   return std::pair{next, next};
                 },
                 h, x, {.checkpoint = checkpoint::every(steps)})
                 .second;
    auto g = gradients(sum(square(y)), {w, u, c, x, h});
    CHECK(copies({g.begin(), g.end()}) == 0);
  }
  set_threads(before);
}

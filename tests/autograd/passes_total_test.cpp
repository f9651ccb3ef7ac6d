// Sums over steps and rows: what is summed is made again behind the loop where that costs less than stacking it, and runs together with the
// sum.
#include <algorithm>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/profile.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include "summed_rows.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("passes: sink: what is cheap to make of stacked values is summed behind the loop and not stacked") {
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{g, g * (x * x)}; })) == 1);
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{g * exp(x)}; })) == 2);  // not cheap
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{x * (g * g + x)}; })) ==
        1);  // what is read twice counts once
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{x * exp(g) * g, x * exp(g)}; })) == 3);
}

TEST_CASE("passes: sink: with one thread, rows that a sum alone would stack are summed in the loop") {
  const int before = threads();
  set_threads(1);
  auto addends = [](const Variable& next, const Variable& x) { return Variables{next * x, x, next}; };
  CHECK(summed(addends, 4, detail::sink) == R"(
%0 = input : f64 [4, 4]
%1 = input : f64 [4]
%2 = input : f64 [4]
%3 = input : f64 [4]
%4 = input : f64 [3, 4, 4]
%5, %6, %7 = scan(%0, %1, %4) steps 3 backward in time : f64 [4, 4], f64 [4], f64 [3, 4, 4]
    %0 = input : f64 [4, 4]
    %1 = input : f64 [4]
    %2 = input : f64 [4, 4]
    %3 = add(%0, %2) : f64 [4, 4]
    %4 = tanh(%3) : f64 [4, 4]
    %5 = multiply(%4, %2) : f64 [4, 4]
    %6 = sum_steps(%5, %1) : f64 [4]
    return %4, %6, %4
%8 = reshape(%2) : f64 [4]
%9 = sum_steps(%4, %8) backward in time : f64 [4]
%10 = reshape(%9) : f64 [4]
%11 = reshape(%3) : f64 [4]
%12 = sum_steps(%7, %11) backward in time : f64 [4]
%13 = reshape(%12) : f64 [4]
return %5, %6, %10, %13, %7
)");
  CHECK(count(summed(addends, 3), "backward in time : f64 [4]") == 3);  // of few rows the sum is not much less than they
  set_threads(2);
  CHECK(count(summed(addends, 4), "backward in time : f64 [4]") == 3);
  set_threads(before);
}

TEST_CASE("passes: sink: sums that stay in the loop have the form of their carry, and the same bits") {
  const int before = threads();
  for (Index batch : {5, 8}) {
    Tensor x = random::normal({3, batch, 2, 33}), first[] = {random::normal({33}), random::normal({1, 33}), random::normal({1, 1, 33}),
                                                             random::normal({33, 1}), random::normal({1, 1, 1, 33})};
    auto run = [&](int team) {
      const NoGrad values_only;
      set_threads(team);
      auto [last, y] = scan(
          [&](const Variables& s, const Variable& x) {
            auto next = tanh(s[0] + x), other = exp(next), rows = reshape(other, {2 * batch, 33});
            auto sum_as = [](const Variable& v, const Variable& carry) { return carry + reshape(sum(v, Axes{0, 1}), carry.shape()); };
            return std::pair{Variables{next, s[1] + sum(rows, 0), s[2] + sum(rows, 0, true), sum_as(other, s[3]), sum_as(other * x, s[4]),
                                       sum_as(other + x, s[5]), s[6] + sum(rows * 0.5, 0),
                                       s[7] + sum(reshape(other * 0.25, {batch, 2, 1, 33}), Axes{0, 1, 2}),
                                       s[8] + reshape(sum(mean(other, -1, true), Axes{0, 1}), Shape{})},
                             x};
          },
          Variables{zeros({batch, 2, 33}), Variable(first[0]), Variable(first[1]), Variable(first[2]), Variable(first[3]),
                    Variable(first[4]), Variable(first[0]), Variable(first[0]), zeros(Shape{})},
          Variable(x));
      evaluate(last);
      return last;
    };
    const auto one = run(1), two = run(2);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(i);
      CHECK(identical(one[i].value(), two[i].value()));
    }
  }
  set_threads(before);
}

TEST_CASE("passes: fuse: sums of the same rows are one region, a lone one is none") {
  CHECK(count(summed([](const Variable& g, const Variable&) { return Variables{g}; }), "region(") == 0);
  auto two = summed([](const Variable& g, const Variable& x) { return Variables{g, g * x}; });
  CHECK(two.find(R"(
%6, %7 = region(%5, %3, %1, %2) : f64 [4], f64 [4]
    %0 = input : f64 [3, 2, 4]
    %1 = input : f64 [3, 2, 4]
    %3 = input : f64 [4]
    %5 = input : f64 [4]
    %2 = multiply(%0, %1) : f64 [3, 2, 4]
    %4 = sum_steps(%0, %3) backward in time : f64 [4]
    %6 = sum_steps(%2, %5) backward in time : f64 [4]
    return %4, %6
)") != std::string::npos);
  auto scaled = summed([](const Variable& g, const Variable& x) { return Variables{x * exp(g), g}; });  // it is stacked
  CHECK(count(scaled, "region(") == 0);
  auto apart = summed([](const Variable& g, const Variable& x) { return Variables{g, x}; });  // no value is read by both
  CHECK(count(apart, "region(") == 0);
}

TEST_CASE("scan: a loop that normalises rows of x and of the state is divided among the team, with the same bits") {
  const NoGrad values_only;
  const int before = threads();
  constexpr Index steps = 40, rows = 8, units = 128;
  Variable x(random::normal({steps, rows, units})), h(random::normal({rows, units})), w(random::normal({units, units}, 0, 0.1));
  auto run = [&](int team) {
    set_threads(team);
    profile::start();
    auto y = scan(
                 [&](const Variable& h, const Variable& x) {
                   auto p = matmul(h, w);
                   auto next = tanh((x - mean(x, -1, true)) + (p - mean(p, -1, true)));
                   return std::pair{next, next};
                 },
                 h, x)
                 .second;
    Tensor value = y.value();
    profile::stop();
    return value;
  };
  auto whole = run(1);
  CHECK(identical(run(2), whole));
  bool divided = false;
  for (const auto& row : profile::report().rows) divided |= row.kind == "matmul" && row.shape == "[4, 128] x [128, 128]";
  CHECK(divided);
  CHECK(identical(run(3), whole));
  set_threads(before);
}

TEST_CASE("passes: fuse: what reads a sum runs behind it, though it computes on the same points") {
  const NoGrad values_only;
  auto x = leaf({3, 2, 4}), h = leaf({2, 4}), zero = leaf({4});
  auto [last, y] = scan(
      [&](const Variables& s, const Variable& x) {
        auto next = tanh(s[0] + x);
        return std::pair{Variables{next, s[1] + sum(next, 0), s[2] + sum(next * x, 0)}, next};
      },
      Variables{h, zero, zero}, x);
  CHECK(against_reference({y - last[1], last[2] * y}, 1e-13) == "");
}

TEST_CASE("passes: sink: rows of no and of one column, and many rows a point of the batch, are summed like others") {
  const int before = threads();
  for (int team : {1, 2})
    for (const Shape& shape : {Shape{3, 8, 0}, Shape{3, 8, 1}, Shape{3, 8, 5}, Shape{3, 8, 3, 5}, Shape{3, 8, 3, 1}}) {
      CAPTURE(shape);
      set_threads(team);
      Shape state = shape;
      state.erase(0);
      auto x = leaf(shape), h = leaf(state), gain = leaf({shape.back()}), bias = leaf({shape.back()}), scale = leaf({1});
      auto y = scan(
                   [&](const Variable& h, const Variable& x) {
                     auto next = tanh(sin(h + x) * gain + bias) * exp(sum(h, -1, true) * scale);
                     return std::pair{next, next};
                   },
                   h, x)
                   .second;
      auto g = detail::gradients(sum(square(y)), Variables{gain, bias, scale, x, h});
      CHECK(against_reference(g, 1e-13) == "");
    }
  set_threads(before);
}

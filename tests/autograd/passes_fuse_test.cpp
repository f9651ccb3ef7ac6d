// Which regions join: beside the printed regions of passes_test.cpp.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>

#include "after.hpp"

using namespace rw;
using namespace rw::test;

namespace {

std::size_t regions(const Variable& y) {
  const std::string text = after(detail::fuse, {y});
  std::size_t n = 0;
  for (auto at = text.find("region("); at != std::string::npos; at = text.find("region(", at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("passes: fuse: what only a later region reads waits for it, if it would write more than it reads") {
  auto a = leaf({3, 2}), b = leaf({2, 4}), narrow = leaf({3, 1}), p = leaf({3, 4}), q = leaf({3, 4});
  CHECK(regions(matmul(a, b) + exp(uniform({3, 4}, DType::f64)) * narrow) == 1);
  CHECK(regions(matmul(a, b) + tanh(p)) == 1);
  CHECK(regions(matmul(a, b) + p * 0.9) == 1);
  auto bias = leaf({4});
  CHECK(regions(matmul(a, b) + (p * narrow + bias)) == 1);  // what is repeated is little to keep
  CHECK(regions(matmul(a, b) + p * p * tanh(p)) == 1);      // one operand, read three times
  CHECK(regions(matmul(a, b) + p * q) == 2);                // two operands would be kept for one product
  auto drawn = uniform({3, 4}, DType::f64) * narrow;
  CHECK(regions(matmul(a, b) + drawn + matmul(drawn, leaf({4, 4}))) == 3);  // a product reads it too
}

TEST_CASE("passes: fuse: what computes in f32 and what computes in f64 are different regions") {
  const auto single = [](const Shape& shape) { return cast(leaf(shape), DType::f32); };
  const auto truth = [](const Shape& shape) { return cast(leaf(shape), DType::boolean); };
  const auto a = single({3, 4}), b = single({3, 4}), c = leaf({3, 4}), d = leaf({3, 4}), t = truth({3, 4});
  CHECK(regions(exp(a) + c) == 2);
  CHECK(regions(exp(a) + matmul(single({3, 2}), single({2, 4})) + c * d) == 3);
  CHECK(regions(where(a < b, c, d)) == 2);
  const Variable alone(exp(a).value());
  CHECK(identical((exp(a) + c).value(), (alone + c).value()));
  // Truth values alone stand in either, and are then of that dtype: one that was there, joins, or waits for its reader.
  CHECK(regions(where(logical_not(t), a, b)) == 1);
  CHECK(regions(where(logical_not(t), a, b) + c) == 2);
  CHECK(regions(where(logical_and(logical_not(t), a < b), c, d)) == 2);
  const auto late = cast(matmul(leaf({16, 2}), leaf({2, 32})), DType::boolean);
  CHECK(regions(logical_and(logical_and(late, single({16, 1}) < single({32})), single({32}) < single({16, 1}))) == 1);
  CHECK(regions(logical_and(logical_and(late, single({16, 1}) < single({32})), leaf({32}) < leaf({16, 1}))) == 2);
}

TEST_CASE("passes: fuse: what is one value a row is computed once a row") {
  auto row = leaf({3, 1}), p = leaf({3, 4});
  auto wide = broadcast_to(row, Shape{3, 4});
  CHECK(after(detail::fuse, {2 * wide * wide * p}) == R"(
%0 = input : f64 [3, 1]
%1 = input : number
%2 = input : f64 [3, 4]
%3 = region(%1, %0, %2) : f64 [3, 4]
    %0 = input : number
    %1 = input : f64 [3, 1]
    %4 = input : f64 [3, 4]
    %2 = multiply(%0, %1) : f64 [3, 1]
    %3 = multiply(%2, %1) : f64 [3, 1]
    %5 = multiply(%3, %4) : f64 [3, 4]
    return %5
return %3
)");
  CHECK(after(detail::fuse, {2 * broadcast_to(leaf({1, 4}), Shape{3, 4}) * p}).find("multiply(%0, %1) : f64 [3, 4]") != std::string::npos);
}

TEST_CASE("gradient: of a mean of rows, the sum is taken before its sign changes") {
  auto p = leaf({3, 4});
  auto g = gradients(sum(square(p - mean(p, -1, true)) * leaf({3, 4})), {p});
  const std::string text = to_string(recorded({g[0]}).program);
  CHECK(text.find(") : f64 [3, 1]\n", text.find("negate(")) < text.find("\n", text.find("negate(")));
  CHECK(against_reference({g[0]}, 1e-13) == "");
  const double step = 1e-6;  // central differences
  auto value = [&](Index i, double by) {
    Tensor moved = p.value().copy();
    moved.data<double>()[i] += by;
    Variable x(moved);
    return sum(square(x - mean(x, -1, true)) * leaf({3, 4})).item();
  };
  for (Index i = 0; i < 12; ++i) CHECK(std::fabs((value(i, step) - value(i, -step)) / (2 * step) - g[0].value().data<double>()[i]) < 1e-8);
}

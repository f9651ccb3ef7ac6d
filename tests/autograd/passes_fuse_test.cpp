// Which regions join: beside the printed regions of passes_test.cpp.
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

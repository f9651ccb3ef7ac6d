// The pass that gathers rows of a product, alone on printed programs.
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/passes/passes.hpp>

#include "compare.hpp"

using namespace rw;
using namespace rw::test;

namespace {

Variable leaf(const Shape& shape) {
  Tensor t(shape, DType::f64);
  for (Index i = 0; i < t.size(); ++i) t.data<double>()[i] = std::sin(1.7 * static_cast<double>(i) + 0.4);
  return t;
}

Variable tokens(const Shape& shape, Index rows) {
  Tensor t(shape, DType::i64);
  for (Index i = 0; i < t.size(); ++i) t.data<std::int64_t>()[i] = (2 * i + 1) % rows;
  return t;
}

std::string after(const Variable& output) {
  auto program = recorded({output});
  auto want = program.interpret();
  detail::gather_product(program.program);
  CHECK(malformed(program.program) == "");
  CHECK(difference(program.interpret(), want, 0) == "");
  CHECK(against_reference({output}, 1e-14) == "");
  return "\n" + to_string(program.program);
}

}  // namespace

TEST_CASE("passes: gather product: a small table is multiplied before its rows are gathered") {
  const auto table = leaf({3, 4}), index = tokens({2, 3}, 3), w = leaf({5, 4});
  CHECK(after(detail::product(gather(table, index), w, false, true)) == R"(
%0 = input : f64 [3, 4]
%1 = input : i64 [2, 3]
%2 = input : f64 [5, 4]
%3 = matmul(%0, %2) right transposed : f64 [3, 5]
%4 = gather(%3, %1) : f64 [2, 3, 5]
return %4
)");
}

TEST_CASE("passes: gather product: a table with as many rows as are gathered, or a transposed one, stays") {
  const auto table = leaf({3, 4}), w = leaf({4, 5});
  CHECK(after(matmul(gather(table, tokens({3}, 3)), w)) == R"(
%0 = input : f64 [3, 4]
%1 = input : i64 [3]
%3 = input : f64 [4, 5]
%2 = gather(%0, %1) : f64 [3, 4]
%4 = matmul(%2, %3) : f64 [3, 5]
return %4
)");
  CHECK(after(detail::product(gather(table, tokens({4}, 3)), w, true, false)) == R"(
%0 = input : f64 [3, 4]
%1 = input : i64 [4]
%3 = input : f64 [4, 5]
%2 = gather(%0, %1) : f64 [4, 4]
%4 = matmul(%2, %3) left transposed : f64 [4, 5]
return %4
)");
}

TEST_CASE("passes: gather product: a right operand a batch, or a table of more axes, stays") {
  const auto table = leaf({3, 4});
  CHECK(after(matmul(gather(table, tokens({2, 3}, 3)), leaf({2, 4, 5}))) == R"(
%0 = input : f64 [3, 4]
%1 = input : i64 [2, 3]
%3 = input : f64 [2, 4, 5]
%2 = gather(%0, %1) : f64 [2, 3, 4]
%4 = matmul(%2, %3) : f64 [2, 3, 5]
return %4
)");
  CHECK(after(matmul(gather(leaf({3, 2, 4}), tokens({6}, 3)), leaf({4, 5}))) == R"(
%0 = input : f64 [3, 2, 4]
%1 = input : i64 [6]
%3 = input : f64 [4, 5]
%2 = gather(%0, %1) : f64 [6, 2, 4]
%4 = matmul(%2, %3) : f64 [6, 2, 5]
return %4
)");
}

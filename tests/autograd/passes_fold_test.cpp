// The pass that folds constants of the structure, alone on printed programs.
#include <limits>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/passes/passes.hpp>

#include "compare.hpp"

using namespace rw;
using namespace rw::test;
using detail::constant;

namespace {

/// The text of the program of some variables after the pass and without dead code; the pass must keep every bit.
std::string after(const std::vector<Variable>& outputs) {
  auto program = recorded(outputs);
  auto want = program.interpret();
  detail::fold(program.program);
  CHECK(malformed(program.program) == "");
  auto got = program.interpret();
  CHECK(difference(got, want, 0) == "");
  for (std::size_t o = 0; o < want.size(); ++o)
    for (std::size_t i = 0; i < want[o].data.size(); ++i) CHECK(std::signbit(got[o].data[i]) == std::signbit(want[o].data[i]));
  detail::remove_dead_code(program.program);
  return "\n" + to_string(program.program);
}

/// With all that a formula may not lose: both zeros, infinities, NaN.
Variable leaf(DType dtype = DType::f64) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  Tensor t(Shape{2, 3}, DType::f64);
  const double values[] = {0.0, -0.0, inf, -inf, std::nan(""), 0.7};
  std::copy(std::begin(values), std::end(values), t.data<double>());
  return Variable(t.cast(dtype));
}

Dims axes(std::initializer_list<Index> list) {
  Dims dims;
  for (Index a : list) dims.push_back(a);
  return dims;
}

constexpr const char* untouched = R"(
%0 = input : f64 [2, 3]
return %0
)";

}  // namespace

TEST_CASE("passes: fold: what changes no bit goes") {
  auto x = leaf();
  CHECK(after({x * constant(1)}) == untouched);
  CHECK(after({constant(1) * x}) == untouched);
  CHECK(after({x * ones({2, 3}, DType::f64)}) == untouched);
  CHECK(after({x / constant(1)}) == untouched);
  CHECK(after({x - constant(0)}) == untouched);
  CHECK(after({x + constant(-0.0)}) == untouched);
  CHECK(after({constant(-0.0) + x}) == untouched);
  CHECK(after({-(-x)}) == untouched);
  CHECK(after({transpose(transpose(x))}) == untouched);
  CHECK(after({reshape(reshape(x, {6}), {2, 3})}) == untouched);
  CHECK(after({pow(x, constant(1))}) == untouched);
  CHECK(after({cast(cast(leaf(DType::f32), DType::f64), DType::f32)}) == "\n%0 = input : f32 [2, 3]\nreturn %0\n");
}

TEST_CASE("passes: fold: what may change a bit, a shape or a dtype stays, and so do the numbers of a user's formula") {
  auto x = leaf(), f = leaf(DType::f32);
  for (const Variable& y : std::vector<Variable>{
           x + constant(0), x * constant(0), x - constant(-0.0), constant(0) - x, x * 1.0, x + -0.0, x * ones({4, 2, 3}, DType::f64),
           f * ones({2, 3}, DType::f64), cast(cast(x, DType::f32), DType::f64), transpose(transpose(newaxis(x, 0)), axes({1, 0, 2}))}) {
    auto program = recorded({y}).program;
    auto before = to_string(program);
    INFO(before);
    detail::fold(program);
    CHECK(program.code.back().count == 1);
    CHECK(program.outputs[0] == program.code.back().first);
    after({y});
  }
}

TEST_CASE("passes: fold: constants become one constant, views of views one view") {
  auto x = leaf();
  CHECK(after({x * ((constant(3) + constant(1)) / constant(8) - full({2, 3}, constant(2), DType::f64)),
               -ones({4}, DType::f32) * constant(0.25)}) == R"(
%0 = input : f64 [2, 3]
%1 = constant() -1.5 : f64 []
%2 = broadcast_to(%1) : f64 [2, 3]
%3 = multiply(%0, %2) : f64 [2, 3]
%4 = constant() -0.25 : f32 []
%5 = broadcast_to(%4) : f32 [4]
return %3, %5
)");
  CHECK(after({sum(ones({5, 3}, DType::f32), 0), max(-ones({2, 2}, DType::f64), 0), sum(full({3}, constant(0.5), DType::f32), 0)}) == R"(
%0 = constant() 5 : f32 []
%1 = broadcast_to(%0) : f32 [3]
%2 = constant() -1 : f64 []
%3 = broadcast_to(%2) : f64 [2]
%4 = constant() 0.5 : f32 []
%5 = broadcast_to(%4) : f32 [3]
%6 = reduce(%5) sum over 0 : f32 []
return %1, %3, %6
)");
  CHECK(after({reshape(reshape(x, {3, 2}), {6}), transpose(transpose(newaxis(x, 0), axes({1, 2, 0})), axes({1, 0, 2})),
               broadcast_to(broadcast_to(x, {1, 2, 3}), {2, 2, 3})}) == R"(
%0 = input : f64 [2, 3]
%1 = reshape(%0) : f64 [6]
%2 = reshape(%0) : f64 [1, 2, 3]
%3 = transpose(%2) axes 2 1 0 : f64 [3, 2, 1]
%4 = broadcast_to(%0) : f64 [2, 2, 3]
return %1, %3, %4
)");
}

TEST_CASE("passes: fold: the gradient of a weighted sum is the weights") {
  auto x = leaf(), w = leaf();
  auto g = detail::gradients(sum(tanh(x) * w), std::vector<Variable>{x});
  CHECK(after(g) == R"(
%0 = input : f64 [2, 3]
%1 = input : f64 [2, 3]
%2 = tanh(%0) : f64 [2, 3]
%3 = multiply(%2, %2) : f64 [2, 3]
%4 = constant() 1 : number
%5 = subtract(%4, %3) : f64 [2, 3]
%6 = multiply(%1, %5) : f64 [2, 3]
return %6
)");
}

TEST_CASE("passes: fold: an f32 is rounded as the plan would") {
  auto outputs = [] {
    auto third = full({3}, constant(1), DType::f32) / constant(3);
    return std::vector<Variable>{third * constant(0.1) - constant(0.7), third + constant(1e-9), cast(third, DType::f64)};
  };
  auto folded = arrays(outputs());
  auto passes = detail::all_passes();
  detail::WithoutPasses without((detail::PassSet{1} << passes.size()) - 1);
  CHECK(difference(arrays(outputs()), folded, 0) == "");
}

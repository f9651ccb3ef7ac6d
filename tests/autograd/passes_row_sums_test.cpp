// Sums of rows that a product over time makes beside itself.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include <algorithm>

#include "after.hpp"
#include "random_each.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Carry = std::vector<Variable>;

/// What comes before the pass, and the pass.
void run(detail::Program& program) {
  detail::sink(program);
  detail::fold(program);
  detail::remove_dead_code(program);
  detail::take_row_sums(program);
}

/// A loop backward in time over x [3,2,4] that adds up x^T y [4,4], the rows of y [4] and y^T y, from these.
std::vector<Variable> totals(const Variable& product, const Variable& rows, const Variable& square) {
  auto step = [](const Carry& c, const Variable& x) {
    const Variable y = tanh(x + c[0]);
    return std::pair{Carry{y, c[1] + detail::product(x, y, true, false), c[2] + sum(y, 0), c[3] + detail::product(y, y, true, false)}, y};
  };
  auto last = scan(step, Carry{leaf({2, 4}), product, rows, square}, leaf({3, 2, 4}), {.reverse = true}).first;
  return {last[1], last[2], last[3]};
}

Variable zero(const Shape& shape) { return zeros(shape, DType::f64); }

/// A program of two products over time and a sum of rows: [3,2,4], [3,2,5] -> [4,5], [5].
struct ByHand {
  detail::Program program;
  detail::Type square{}, row{};
  int x = 0, y = 0;

  ByHand() {
    square = {DType::f64, Shape{4, 5}};
    row = {DType::f64, Shape{5}};
    x = program.add_input({DType::f64, Shape{3, 2, 4}});
    y = program.add_input({DType::f64, Shape{3, 2, 5}});
  }

  int product(const std::vector<int>& inputs, bool reverse = false) {
    return program.append(detail::matmul_steps_operator, {reverse}, inputs, square);
  }
  int sum(const std::vector<int>& inputs, bool reverse = false) {
    return program.append(detail::sum_steps_operator, {reverse}, inputs, row);
  }
  /// How many products make sums when these values are wanted; -1 where more or fewer instructions are left than that says.
  int taken(const std::vector<int>& outputs) {
    program.outputs = outputs;
    const auto before = program.code.size();
    detail::take_row_sums(program);
    CHECK(malformed(program) == "");
    const auto with = std::count_if(program.code.begin(), program.code.end(), [](const auto& c) { return c.count == 2; });
    return program.code.size() + static_cast<std::size_t>(with) == before ? static_cast<int>(with) : -1;
  }
};

}  // namespace

TEST_CASE("passes: row sums: a product over time sums the rows of its right operand where that is wanted too") {
  CHECK(after(run, totals(zero({4, 4}), zero({4}), leaf({4, 4}))) == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [4, 4]
%2 = input : f64 [3, 2, 4]
%3, %4 = scan(%0, %2) steps 3 backward in time : f64 [2, 4], f64 [3, 2, 4]
    %0 = input : f64 [2, 4]
    %1 = input : f64 [2, 4]
    %2 = add(%1, %0) : f64 [2, 4]
    %3 = tanh(%2) : f64 [2, 4]
    return %3, %3
%5, %6 = matmul_steps(%2, %4) backward in time, with row sums : f64 [4, 4], f64 [4]
%7 = matmul_steps(%4, %4, %1) backward in time : f64 [4, 4]
return %5, %6, %7
)");
  CHECK(after(run, totals(leaf({4, 4}), leaf({4}), zero({4, 4}))) == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [4, 4]
%2 = input : f64 [4]
%3 = input : f64 [3, 2, 4]
%4, %5 = scan(%0, %3) steps 3 backward in time : f64 [2, 4], f64 [3, 2, 4]
    %0 = input : f64 [2, 4]
    %1 = input : f64 [2, 4]
    %2 = add(%1, %0) : f64 [2, 4]
    %3 = tanh(%2) : f64 [2, 4]
    return %3, %3
%6, %7 = matmul_steps(%3, %5, %1, %2) backward in time, with row sums : f64 [4, 4], f64 [4]
%8 = matmul_steps(%5, %5) backward in time : f64 [4, 4]
return %6, %7, %8
)");
}

TEST_CASE("passes: row sums: taken once, in the order of the product, from the same kind of start, and in time") {
  {
    ByHand p;  // the sum first: the product moves up
    const int total = p.sum({p.y}), other = p.program.append(detail::elementwise_operator(op::code<op::Tanh>), {}, {total}, p.row);
    CHECK(p.taken({other, p.product({p.x, p.y})}) == 1);
  }
  {
    ByHand p;  // two products: the first makes it
    const int first = p.product({p.x, p.y}), second = p.product({p.x, p.y}), total = p.sum({p.y});
    CHECK(p.taken({first, second, total}) == 1);
    CHECK(p.program.code[0].count == 2);
  }
  {
    ByHand p;
    const int start = p.program.add_input(p.square), row = p.program.add_input(p.row);
    CHECK(p.taken({p.product({p.x, p.y, start}), p.sum({p.y, row})}) == 1);
  }
  {
    ByHand p;  // one goes on, the other does not
    const int start = p.program.add_input(p.square);
    CHECK(p.taken({p.product({p.x, p.y, start}), p.sum({p.y})}) == 0);
  }
  {
    ByHand p;
    CHECK(p.taken({p.product({p.x, p.y}), p.sum({p.y}, true)}) == 0);
  }
  {
    ByHand p;  // other rows
    const int other = p.program.add_input(p.program.types[p.y]);
    CHECK(p.taken({p.product({p.x, p.y}), p.sum({other})}) == 0);
  }
  {
    ByHand p;  // the sum begins with what the product makes
    const int start = p.program.add_input(p.square), product = p.product({p.x, p.y, start});
    const int row = p.program.append(detail::reduce_operator, {0, 1, false}, {product}, p.row);
    CHECK(p.taken({product, p.sum({p.y, row})}) == 0);
  }
  {
    ByHand p;  // the product begins with what the sum makes
    const int row = p.program.add_input(p.row), total = p.sum({p.y, row});
    const int start = p.program.append(detail::broadcast_operator, {}, {total}, p.square);
    CHECK(p.taken({p.product({p.x, p.y, start}), total}) == 0);
  }
}

TEST_CASE("passes: row sums: values are the interpreter's, of the same bits with and without, for any number of threads") {
  const int before = threads();
  detail::PassSet sums = 0;
  for (std::size_t i = 0; i < detail::all_passes().size(); ++i)
    if (detail::all_passes()[i].run == detail::take_row_sums) sums = detail::PassSet{1} << i;
  REQUIRE(sums != 0);
  for (DType dtype : {DType::f32, DType::f64})
    for (Index width : {1, 5, 64, 131}) {
      const Tensor x = random::normal({40, 6, 70}, 0, 1, dtype), w = random::normal({70, width}, 0, 0.1, dtype),
                   b = random::normal({width}, 0, 0.1, dtype);
      auto gradients = [&] {
        const Variable wx(w), bias(b), in(x);
        auto y = scan(
            [&](const Variable& h, const Variable& v) {
              return std::pair{tanh(matmul(v, wx) + h * 0.5f + bias), h};
            },
            zeros({6, width}, dtype), in);
        return detail::gradients(sum(square(y.second)) + sum(y.first), std::vector<Variable>{wx, bias});
      };
      CHECK(against_reference(gradients(), dtype == DType::f32 ? 1e-3 : 1e-10) == "");
      std::vector<Tensor> want;
      {
        detail::WithoutPasses without(sums);
        want = tensors(gradients());
      }
      for (int count : {1, 2, 3, 5}) {
        set_threads(count);
        CHECK(same_bits(tensors(gradients()), want));
      }
      set_threads(before);
    }
}

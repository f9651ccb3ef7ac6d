// Each pass alone on a small program: its text before, its text after. That passes keep values of any program is what
// random_programs_test.cpp shows.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include "after.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Pair = std::pair<Variable, Variable>;

}  // namespace

TEST_CASE("passes: dead code: carries, ys and captures of a scan that nobody reads go") {
  auto x = leaf({2}), steps = leaf({3, 2});
  auto [last, y] = scan(
      [&](const Pair& c, const Variable& v) {
        auto next = tanh(c.first + v);
        auto read = next * x;
        return std::pair{Pair{next, c.second * 2}, Pair{read, c.second}};
      },
      Pair{x, x}, steps);
  std::string before;
  CHECK(after(detail::remove_dead_code, {last.first}, &before) == R"(
%0 = input : f64 [2]
%1 = input : f64 [3, 2]
%2 = input : number
%3 = scan(%0, %1) steps 3 : f64 [2]
    %0 = input : f64 [2]
    %1 = input : f64 [2]
    %2 = add(%0, %1) : f64 [2]
    %3 = tanh(%2) : f64 [2]
    return %3
return %3
)");
  CHECK(before == R"(
%0 = input : f64 [2]
%1 = input : f64 [3, 2]
%2 = input : number
%3, %4, %5, %6 = scan(%0, %0, %1, %0, %2) steps 3 : f64 [2], f64 [2], f64 [3, 2], f64 [3, 2]
    %0 = input : f64 [2]
    %1 = input : f64 [2]
    %2 = input : f64 [2]
    %3 = input : f64 [2]
    %4 = input : number
    %5 = add(%0, %2) : f64 [2]
    %6 = tanh(%5) : f64 [2]
    %7 = multiply(%6, %3) : f64 [2]
    %8 = multiply(%1, %4) : f64 [2]
    return %6, %8, %7, %1
return %3
)");
}

TEST_CASE("passes: dead code: a carry that a living one needs stays, as does one x, which counts the steps") {
  auto x = leaf({2}), steps = leaf({3, 2});
  auto [last, y] = scan(
      [&](const Pair& c, const Variable& v) {
        return std::pair{Pair{c.first + c.second, c.second * 2}, v};
      },
      Pair{x, x}, steps);
  CHECK(after(detail::remove_dead_code, {last.first}) == R"(
%0 = input : f64 [2]
%1 = input : f64 [3, 2]
%2 = input : number
%3, %4 = scan(%0, %0, %1, %2) steps 3 : f64 [2], f64 [2]
    %0 = input : f64 [2]
    %1 = input : f64 [2]
    %2 = input : f64 [2]
    %3 = input : number
    %4 = add(%0, %1) : f64 [2]
    %5 = multiply(%1, %3) : f64 [2]
    return %4, %5
return %3
)");
}

TEST_CASE("passes: common: equal operations on equal operands become one") {
  auto x = leaf({2}), y = leaf({2});
  auto a = tanh(x * y);
  auto b = exp(x * y);
  auto c = x * y;
  std::string before;
  CHECK(after(detail::merge_common, {a, b, c, a + b}, &before) == R"(
%0 = input : f64 [2]
%1 = input : f64 [2]
%2 = multiply(%0, %1) : f64 [2]
%3 = tanh(%2) : f64 [2]
%4 = exp(%2) : f64 [2]
%5 = add(%3, %4) : f64 [2]
return %3, %4, %2, %5
)");
  CHECK(before == R"(
%0 = input : f64 [2]
%1 = input : f64 [2]
%2 = multiply(%0, %1) : f64 [2]
%3 = tanh(%2) : f64 [2]
%4 = multiply(%0, %1) : f64 [2]
%5 = exp(%4) : f64 [2]
%6 = multiply(%0, %1) : f64 [2]
%7 = add(%3, %5) : f64 [2]
return %3, %5, %6, %7
)");
}

TEST_CASE("passes: common: random numbers of different keys stay two, closures stay their own") {
  auto a = uniform({2}, DType::f64), b = uniform({2}, DType::f64);
  auto same = [](const Tensor& t) { return t; };
  auto rule = [](const Variable& g, const Variable&) { return g; };
  auto c = custom("one", a, same, rule), d = custom("two", a, same, rule);
  CHECK(after(detail::merge_common, {c, d, b}) == R"(
%0 = input : i64 [2]
%1 = input : i64 [2]
%2 = random(%0) uniform : f64 [2]
%3 = random(%1) uniform : f64 [2]
%4 = custom(%2) : f64 [2]
%5 = custom(%2) : f64 [2]
return %4, %5, %3
)");
}

TEST_CASE("passes: common: what is detached is what it was") {
  auto x = leaf({2});
  CHECK(after(detail::merge_common, {tanh(detach(x * 2))}) == R"(
%0 = input : f64 [2]
%1 = input : number
%2 = multiply(%0, %1) : f64 [2]
%3 = tanh(%2) : f64 [2]
return %3
)");
}

TEST_CASE("passes: slices move up through elementwise work to where gates begin") {
  auto x = leaf({2, 4}), b = leaf({4});
  auto [f, g] = split<2>(x + b);
  auto s = sigmoid(f);
  std::string before;
  CHECK(after(detail::push_slices, {s * g}, &before) == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [4]
%2 = constant() 0 : number
%3 = slice(%0, %2) axis 1 extent 2 : f64 [2, 2]
%4 = slice(%1, %2) axis 0 extent 2 : f64 [2]
%5 = add(%3, %4) : f64 [2, 2]
%6 = constant() 2 : number
%7 = slice(%0, %6) axis 1 extent 2 : f64 [2, 2]
%8 = slice(%1, %6) axis 0 extent 2 : f64 [2]
%9 = add(%7, %8) : f64 [2, 2]
%10 = sigmoid(%5) : f64 [2, 2]
%11 = multiply(%10, %9) : f64 [2, 2]
return %11
)");
  CHECK(before == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [4]
%2 = add(%0, %1) : f64 [2, 4]
%3 = constant() 0 : number
%4 = slice(%2, %3) axis 1 extent 2 : f64 [2, 2]
%5 = constant() 2 : number
%6 = slice(%2, %5) axis 1 extent 2 : f64 [2, 2]
%7 = sigmoid(%4) : f64 [2, 2]
%8 = multiply(%7, %6) : f64 [2, 2]
return %8
)");
}

TEST_CASE("passes: slices: what is read whole, or in overlapping parts, stays whole") {
  auto x = tanh(leaf({4}));
  auto a = slice(x, 0, 0, 3);
  auto b = slice(x, 0, 1, 3);
  CHECK(after(detail::push_slices, {a * b}) == R"(
%0 = input : f64 [4]
%2 = input : number
%4 = input : number
%1 = tanh(%0) : f64 [4]
%3 = slice(%1, %2) axis 0 extent 3 : f64 [3]
%5 = slice(%1, %4) axis 0 extent 3 : f64 [3]
%6 = multiply(%3, %5) : f64 [3]
return %6
)");
}

TEST_CASE("passes: slices: transposed operands of products become flags") {
  auto x = leaf({2, 3}), w = leaf({4, 3});
  auto t = transpose(w);
  CHECK(after(
            [](detail::Program& p) {
              detail::push_slices(p);
              detail::remove_dead_code(p);
            },
            {matmul(x, t)}) == R"(
%0 = input : f64 [4, 3]
%1 = input : f64 [2, 3]
%2 = matmul(%1, %0) right transposed : f64 [2, 4]
return %2
)");
}

TEST_CASE("passes: hoist: products of x and what is constant leave the loop, products of the carry stay") {
  auto x = leaf({3, 2, 4}), w = leaf({4, 5}), u = leaf({5, 5}), h = leaf({2, 5});
  auto [last, y] = scan(
      [&](const Variable& c, const Variable& v) {
        auto input = matmul(v, w);
        auto square = tanh(u);
        auto next = tanh(input + matmul(c, square));
        return std::pair{next, next};
      },
      h, x);
  std::string before;
  CHECK(after(detail::hoist, {last, y}, &before) == R"(
%0 = input : f64 [2, 5]
%1 = input : f64 [3, 2, 4]
%2 = input : f64 [4, 5]
%3 = input : f64 [5, 5]
%4 = matmul(%1, %2) : f64 [3, 2, 5]
%5 = tanh(%3) : f64 [5, 5]
%6, %7 = scan(%0, %4, %5) steps 3 : f64 [2, 5], f64 [3, 2, 5]
    %0 = input : f64 [2, 5]
    %1 = input : f64 [2, 5]
    %2 = input : f64 [5, 5]
    %3 = matmul(%0, %2) : f64 [2, 5]
    %4 = add(%1, %3) : f64 [2, 5]
    %5 = tanh(%4) : f64 [2, 5]
    return %5, %5
return %6, %7
)");
  CHECK(before == R"(
%0 = input : f64 [2, 5]
%1 = input : f64 [3, 2, 4]
%2 = input : f64 [4, 5]
%3 = input : f64 [5, 5]
%4, %5 = scan(%0, %1, %2, %3) steps 3 : f64 [2, 5], f64 [3, 2, 5]
    %0 = input : f64 [2, 5]
    %1 = input : f64 [2, 4]
    %2 = input : f64 [4, 5]
    %3 = input : f64 [5, 5]
    %4 = matmul(%1, %2) : f64 [2, 5]
    %5 = tanh(%3) : f64 [5, 5]
    %6 = matmul(%0, %5) : f64 [2, 5]
    %7 = add(%4, %6) : f64 [2, 5]
    %8 = tanh(%7) : f64 [2, 5]
    return %8, %8
return %4, %5
)");
}

TEST_CASE("passes: sink: accumulated products and sums, and emitted products, run once behind the loop") {
  auto x = leaf({3, 2, 4}), w = leaf({4, 5}), h = leaf({2, 4});
  using Carry = std::vector<Variable>;
  auto [last, y] = scan(
      [&](const Carry& c, const Variable& v) {
        auto next = tanh(v + c[0]);
        auto grown = c[1] + detail::product(v, next, true, false);
        auto total = c[2] + sum(next, 0);
        return std::pair{Carry{next, grown, total}, matmul(next, w)};
      },
      Carry{h, leaf({4, 4}), leaf({4})}, x, {.reverse = true});
  std::string before;
  CHECK(after(detail::sink, {last[0], last[1], last[2], y}, &before) == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [4, 4]
%2 = input : f64 [4]
%3 = input : f64 [3, 2, 4]
%4 = input : f64 [4, 5]
%5, %6 = scan(%0, %3) steps 3 backward in time : f64 [2, 4], f64 [3, 2, 4]
    %0 = input : f64 [2, 4]
    %1 = input : f64 [2, 4]
    %2 = add(%1, %0) : f64 [2, 4]
    %3 = tanh(%2) : f64 [2, 4]
    return %3, %3
%7 = matmul(%6, %4) : f64 [3, 2, 5]
%8 = matmul_steps(%3, %6, %1) backward in time : f64 [4, 4]
%9 = reshape(%2) : f64 [4]
%10 = sum_steps(%6, %9) backward in time : f64 [4]
%11 = reshape(%10) : f64 [4]
return %5, %8, %11, %7
)");
  CHECK(before == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [4, 4]
%2 = input : f64 [4]
%3 = input : f64 [3, 2, 4]
%4 = input : f64 [4, 5]
%5, %6, %7, %8 = scan(%0, %1, %2, %3, %4) steps 3 backward in time : f64 [2, 4], f64 [4, 4], f64 [4], f64 [3, 2, 5]
    %0 = input : f64 [2, 4]
    %1 = input : f64 [4, 4]
    %2 = input : f64 [4]
    %3 = input : f64 [2, 4]
    %4 = input : f64 [4, 5]
    %5 = add(%3, %0) : f64 [2, 4]
    %6 = tanh(%5) : f64 [2, 4]
    %7 = matmul(%3, %6) left transposed : f64 [4, 4]
    %8 = add(%1, %7) : f64 [4, 4]
    %9 = reduce(%6) sum over 0 : f64 [4]
    %10 = add(%2, %9) : f64 [4]
    %11 = matmul(%6, %4) : f64 [2, 5]
    return %6, %8, %10, %11
return %5, %6, %7, %8
)");
}

TEST_CASE("passes: fuse: elementwise work and row reductions between products become regions") {
  auto x = leaf({2, 3}), w = leaf({3, 4});
  auto p = matmul(tanh(x * 2), w);
  auto e = exp(p);
  CHECK(after(detail::fuse, {e / sum(e, -1, true)}) == R"(
%0 = input : f64 [2, 3]
%1 = input : number
%2 = input : f64 [3, 4]
%3 = region(%0, %1) : f64 [2, 3]
    %0 = input : f64 [2, 3]
    %1 = input : number
    %2 = multiply(%0, %1) : f64 [2, 3]
    %3 = tanh(%2) : f64 [2, 3]
    return %3
%4 = matmul(%3, %2) : f64 [2, 4]
%5 = region(%4) : f64 [2, 4]
    %0 = input : f64 [2, 4]
    %1 = exp(%0) : f64 [2, 4]
    %2 = reduce(%1) sum over 1 : f64 [2, 1]
    %3 = divide(%1, %2) : f64 [2, 4]
    return %3
return %5
)");
}

TEST_CASE("passes: fuse: no region has an operand that depends on its own result") {
  auto x = leaf({2, 2});
  auto a = tanh(x);
  auto b = matmul(a, a);
  CHECK(after(detail::fuse, {a + exp(b)}) == R"(
%0 = input : f64 [2, 2]
%1 = region(%0) : f64 [2, 2]
    %0 = input : f64 [2, 2]
    %1 = tanh(%0) : f64 [2, 2]
    return %1
%2 = matmul(%1, %1) : f64 [2, 2]
%3 = region(%2, %1) : f64 [2, 2]
    %0 = input : f64 [2, 2]
    %2 = input : f64 [2, 2]
    %1 = exp(%0) : f64 [2, 2]
    %3 = add(%2, %1) : f64 [2, 2]
    return %3
return %3
)");
}

TEST_CASE("passes: all: a softmax behind a product is one region") {
  auto x = leaf({2, 3}), w = leaf({3, 4});
  CHECK(after(detail::run_passes, {softmax(matmul(x, w))}) == R"(
%0 = input : f64 [2, 3]
%1 = input : f64 [3, 4]
%2 = matmul(%0, %1) : f64 [2, 4]
%3 = region(%2) : f64 [2, 4]
    %0 = input : f64 [2, 4]
    %1 = reduce(%0) max over 1 : f64 [2, 1]
    %2 = subtract(%0, %1) : f64 [2, 4]
    %3 = exp(%2) : f64 [2, 4]
    %4 = reduce(%3) sum over 1 : f64 [2, 1]
    %5 = divide(%3, %4) : f64 [2, 4]
    return %5
return %3
)");
}

TEST_CASE("passes: an empty program and one of inputs alone pass unchanged") {
  for (auto pass : {detail::remove_dead_code, detail::merge_common, detail::push_slices, detail::hoist, detail::sink, detail::fuse,
                    detail::run_passes}) {
    detail::Program empty;
    pass(empty);
    CHECK(to_string(empty) == "");
    CHECK(after(pass, {leaf({2})}) == "\n%0 = input : f64 [2]\nreturn %0\n");
  }
}

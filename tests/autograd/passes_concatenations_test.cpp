// What becomes of concatenations that others hold.
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include "after.hpp"

using namespace rw;
using namespace rw::test;

namespace {

bool changed(const std::vector<Variable>& outputs) {
  std::string before;
  return after(detail::share_concatenations, outputs, &before) != before;
}

/// A loop that stacks [a, b], a and b, each for a product unless `read`, when a is read by a tanh behind it.
std::vector<Variable> loop(bool read) {
  const Variable x = leaf({3, 2, 4}), u = leaf({6, 4}), v = leaf({4, 4}), w = leaf({2, 4});
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& in) {
        auto a = tanh(in + h), b = tanh(slice(in, 1, 0, 2));
        return std::pair{sigmoid(a), std::vector{b, concatenate({a, b}, 1), a}};
      },
      leaf({2, 4}), x);
  return {last, matmul(ys[0], w), matmul(ys[1], u), read ? tanh(ys[2]) : matmul(ys[2], v)};
}

}  // namespace

TEST_CASE("passes: concatenations: of two that products read the smaller is a slice of the larger, which is made in time") {
  const Variable a = tanh(leaf({2, 1})), b = tanh(leaf({2, 2})), c = tanh(leaf({2, 3})), w = leaf({3, 4}), u = leaf({6, 4});
  auto product = [](std::vector<Variable> parts, const Variable& right) { return matmul(concatenate(std::move(parts), 1), right); };
  CHECK(after(detail::share_concatenations, {product({b, a}, w), product({c, b, a}, u)}) == R"(
%0 = input : f64 [2, 1]
%2 = input : f64 [2, 2]
%4 = input : f64 [2, 3]
%7 = input : f64 [3, 4]
%10 = input : f64 [6, 4]
%1 = tanh(%0) : f64 [2, 1]
%3 = tanh(%2) : f64 [2, 2]
%5 = tanh(%4) : f64 [2, 3]
%9 = concatenate(%5, %3, %1) axis 1 : f64 [2, 6]
%12 = constant() 3 : number
%6 = slice(%9, %12) axis 1 extent 3 : f64 [2, 3]
%8 = matmul(%6, %7) : f64 [2, 4]
%11 = matmul(%9, %10) : f64 [2, 4]
return %8, %11
)");
  CHECK(changed({product({c, b, a}, u), product({c, b}, leaf({5, 4})), product({b, a}, w)}));
  // One that is held itself holds nothing.
  const Variable f = slice(product({b, a}, w), 1, 0, 1);
  CHECK(changed({product({b, a, c}, u), product({b, a, c, f}, leaf({7, 4}))}));
  // Not where the smaller is an output or others read it, the larger is made of it, or its parts stand in another order or along another
  // axis.
  const Variable smaller = concatenate({b, a}, 1);
  CHECK_FALSE(changed({smaller, product({c, b, a}, u)}));
  CHECK_FALSE(changed({tanh(smaller), product({c, b, a}, u)}));
  CHECK_FALSE(changed({product({b, a, slice(matmul(smaller, w), 1, 0, 3)}, u)}));
  CHECK_FALSE(changed({product({b, a}, w), product({c, a, b}, u)}));
  CHECK_FALSE(changed({product({a, a, a}, w), matmul(concatenate({a, a, a, a}, 0), leaf({1, 2}))}));
}

TEST_CASE("passes: concatenations: what a loop stacks beside a concatenation that holds it is a slice behind the loop") {
  CHECK(after(detail::share_concatenations, loop(false)) == R"(
%0 = input : f64 [2, 4]
%1 = input : f64 [3, 2, 4]
%2 = input : number
%3 = input : f64 [2, 4]
%4 = input : f64 [6, 4]
%5 = input : f64 [4, 4]
%6, %7 = scan(%0, %1, %2) steps 3 : f64 [2, 4], f64 [3, 2, 6]
    %0 = input : f64 [2, 4]
    %1 = input : f64 [2, 4]
    %2 = input : number
    %3 = add(%1, %0) : f64 [2, 4]
    %4 = tanh(%3) : f64 [2, 4]
    %5 = slice(%1, %2) axis 1 extent 2 : f64 [2, 2]
    %6 = tanh(%5) : f64 [2, 2]
    %7 = sigmoid(%4) : f64 [2, 4]
    %8 = concatenate(%4, %6) axis 1 : f64 [2, 6]
    return %7, %8
%8 = constant() 4 : number
%9 = slice(%7, %8) axis 2 extent 2 : f64 [3, 2, 2]
%10 = constant() 0 : number
%11 = slice(%7, %10) axis 2 extent 4 : f64 [3, 2, 4]
%12 = matmul(%9, %3) : f64 [3, 2, 4]
%13 = matmul(%7, %4) : f64 [3, 2, 4]
%14 = matmul(%11, %5) : f64 [3, 2, 4]
return %6, %12, %13, %14
)");
  // A part of what is held itself is stacked, and what is carried on: it is written there.
  auto outputs_of_loop = [](bool carried) {
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& in) {
          auto a = tanh(in + h), c = concatenate({in * h, a}, 1);
          return std::pair{carried ? a : sigmoid(a), std::vector{a, c, carried ? c : concatenate({c, c, c}, 0)}};
        },
        leaf({2, 2}), leaf({3, 2, 2}));
    const Variable u = leaf({2, 4}), v = leaf({4, 4});
    const auto text = after(detail::share_concatenations, {last, matmul(ys[0], u), matmul(ys[1], v), matmul(ys[2], v)});
    const auto begin = text.find("    return ");
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  CHECK(outputs_of_loop(false) == "    return %6, %3, %7");
  CHECK(outputs_of_loop(true) == "    return %3, %3, %5, %5");
  // What others read is stacked still.
  CHECK(after(detail::share_concatenations, loop(true)).find("    return %7, %8, %4\n") != std::string::npos);
}

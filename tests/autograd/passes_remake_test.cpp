// What is made again rather than written and read: by regions, through slices, and by the gradients of loops.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include "after.hpp"

using namespace rw;
using namespace rw::test;

namespace {

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t n = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

Variable centred(const Variable& x) { return x - sum(x, -1, true) / 8; }

void slices_and_fuse(detail::Program& p) {
  detail::push_slices(p);
  detail::fuse(p);
}

}  // namespace

TEST_CASE("passes: fuse: what is cheap to make of one value in memory is made again by each region that reads it") {
  auto a = leaf({3, 2}), b = leaf({2, 8}), w = leaf({8, 8}), p = leaf({3, 8});
  auto c = centred(p);
  auto first = matmul(a, b) * c;
  CHECK(after(detail::fuse, {matmul(first, w) + c}) == R"(
%0 = input : f64 [3, 8]
%1 = input : number
%2 = input : f64 [3, 2]
%3 = input : f64 [2, 8]
%4 = input : f64 [8, 8]
%5 = region(%0, %1) : f64 [3, 1]
    %0 = input : f64 [3, 8]
    %2 = input : number
    %1 = reduce(%0) sum over 1 : f64 [3, 1]
    %3 = divide(%1, %2) : f64 [3, 1]
    return %3
%6 = matmul(%2, %3) : f64 [3, 8]
%7 = region(%0, %5, %6) : f64 [3, 8]
    %0 = input : f64 [3, 8]
    %1 = input : f64 [3, 1]
    %3 = input : f64 [3, 8]
    %2 = subtract(%0, %1) : f64 [3, 8]
    %4 = multiply(%3, %2) : f64 [3, 8]
    return %4
%8 = matmul(%7, %4) : f64 [3, 8]
%9 = region(%0, %5, %8) : f64 [3, 8]
    %0 = input : f64 [3, 8]
    %1 = input : f64 [3, 1]
    %3 = input : f64 [3, 8]
    %2 = subtract(%0, %1) : f64 [3, 8]
    %4 = add(%3, %2) : f64 [3, 8]
    return %4
return %9
)");
  auto made = [&](auto f) {
    auto c = f(centred(p));
    return count(after(detail::fuse, {matmul(matmul(a, b) * c, w) + c}), "subtract(");
  };
  CHECK(made([](const Variable& c) { return c; }) == 2);
  CHECK(made([](const Variable& c) { return 2 * abs(c); }) == 2);
  CHECK(made([](const Variable& c) { return exp(c); }) == 1);                             // not cheap
  CHECK(made([](const Variable& c) { return 2 * abs(-c); }) == 1);                        // too long
  CHECK(made([&](const Variable& c) { return c * leaf({3, 8}); }) == 1);                  // of two values
  CHECK(count(after(detail::fuse, {first, matmul(first, w) + c, c}), "subtract(") == 1);  // it is written anyway
  CHECK(count(after(detail::fuse, {matmul(first, w) + c, matmul(c, w)}), "subtract(") == 1);
}

TEST_CASE("passes: fuse: no region makes again what computes in another dtype, or on other points") {
  auto p = leaf({3, 8}), a = leaf({3, 8}), w = leaf({8, 8});
  auto c = centred(cast(p, DType::f32));
  CHECK(count(after(detail::fuse, {matmul(matmul(a, w) * c, w) + c}), "subtract(") == 1);
  auto row = centred(leaf({1, 8}));
  CHECK(count(after(detail::fuse, {matmul(matmul(a, w) * row, w) + row}), "subtract(") == 1);
}

TEST_CASE("passes: slices: they move through what is cheap to make again, though others read it") {
  auto p = leaf({3, 8});
  auto parts = [&](const Variable& x) {
    auto [left, right] = split<2>(x);
    return count(after(slices_and_fuse, {left * right, sum(square(x), -1, true)}), "slice(%0,") < 2;  // not only p is sliced
  };
  CHECK(!parts(centred(p)));
  CHECK(parts(exp(p)));
  CHECK(parts(p * leaf({3, 8})));
}

TEST_CASE("passes: common: a y of a loop that is an x is the x") {
  auto x = leaf({5, 2}), h = leaf({2});
  auto [last, y] = scan([](const Variable& h, const Variable& x) { return std::pair{h * x, x}; }, h, x);
  std::string text = after(detail::merge_common, {last, y});
  CHECK(text.find("return %2, %0\n)") == std::string::npos);
  CHECK(text.substr(text.rfind("return")) == "return %2, %1\n");
}

TEST_CASE("passes: common: carries that begin alike and go on alike are one") {
  auto x = leaf({5, 2, 3}), zero = leaf({3}), other = leaf({3}) + 1;
  using Two = std::vector<Variable>;
  auto carries = [&](const Two& first, auto next) {
    auto last = scan([&](const Two& s, const Variable& x) { return std::pair{next(s, x), x}; }, first, x).first;
    auto text = after(
        [](detail::Program& p) {
          detail::merge_common(p);
          detail::remove_dead_code(p);
        },
        {last[0], last[1]});
    auto scanned = text.substr(text.rfind('\n', text.find("scan(")) + 1);
    return count(scanned.substr(0, scanned.find('=')), "%");
  };
  auto sums = [](const Two& s, const Variable& x) { return Two{s[0] + sum(x, 0), s[1] + sum(x, 0)}; };
  CHECK(carries({zero, zero}, sums) == 1);
  CHECK(carries({zero, other}, sums) == 2);
  CHECK(carries({zero, zero}, [](const Two& s, const Variable& x) { return Two{s[0] + sum(x, 0), s[1] - sum(x, 0)}; }) == 2);
  CHECK(carries({zero, zero}, [](const Two& s, const Variable& x) { return Two{s[0] + sum(x, 0), s[0] * sum(x, 0)}; }) == 2);
  CHECK(carries({zero, zero}, [](const Two& s, const Variable& x) { return Two{s[0] + x[0], s[1] + x[1]}; }) == 2);
  CHECK(carries({zero, zero}, [](const Two& s, const Variable&) { return s; }) == 1);
}

TEST_CASE("gradient of a loop: of a normalised product, the product and what each row needs are kept") {
  auto w = leaf({8, 8}), u = leaf({3, 8}), x = leaf({5, 2, 3}), h = leaf({2, 8});
  auto run = [&](auto normal) {
    auto [last, y] = scan(
        [&](const Variable& h, const Variable& x) {
          auto next = tanh(normal(matmul(h, w)) + normal(matmul(x, u)));
          return std::pair{next, next};
        },
        h, x);
    auto g = gradients(sum(square(y)), {w, u, x, h});
    auto program = recorded({g.begin(), g.end()});
    Index elements = 0;  // that a step keeps beside the carry and y
    for (const auto& c : program.program.code)
      if (c.op == &detail::scan_operator && !c.attributes[0])
        for (int k = 2; k < c.count; ++k) elements += program.program.types[c.first + k].shape.size() / 5;
    CHECK(against_reference({g.begin(), g.end()}, 1e-12) == "");
    return elements;
  };
  constexpr Index carry = 16, product = 16, row = 2;
  CHECK(run([](const Variable& p) { return p; }) == carry);
  auto normal = [](const Variable& p) {
    auto c = centred(p);
    return c * rsqrt(sum(square(c), -1, true));
  };
  CHECK(run(normal) == carry + 2 * (product + 2 * row));
}

// What sink does with rows that a loop sums by index, and with views: beside the printed loops of passes_test.cpp.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include "after.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Carry = std::vector<Variable>;

/// A loop that sums rows of tanh(h) and of its product by index.
std::vector<Variable> loop(const Variable& first, const ScanOptions& options) {
  const Variable x = leaf({4, 2, 3}), w = leaf({3, 5}), h = leaf({2, 3});
  const Variable index = Tensor::of<std::int64_t>({4, 2}, {1, 0, 2, 2, 1, 1, 0, 2});
  auto [last, y] = scan(
      [&](const Carry& c, const std::pair<Variable, Variable>& in) {
        auto next = tanh(in.first + c[0]);
        auto product = matmul(next, w);
        auto rows = c[1] + scatter_add(next, in.second, 3);
        auto products = c[2] + scatter_add(product, in.second, 3);
        return std::pair{Carry{next, rows, products}, product};
      },
      Carry{h, first, zeros({3, 5}, DType::f64)}, std::pair{x, index}, options);
  return {last[1], last[2], y};
}

}  // namespace

TEST_CASE("passes: sink: rows that are summed by index, from the carry or from a product that leaves, are summed behind the loop") {
  CHECK(after(detail::sink, loop(leaf({3, 3}), {.reverse = true})) == R"(
%0 = input : f64 [2, 3]
%1 = input : f64 [3, 3]
%2 = input : f64 [4, 2, 3]
%3 = input : i64 [4, 2]
%4 = input : f64 [3, 5]
%5, %6 = scan(%0, %2) steps 4 backward in time : f64 [2, 3], f64 [4, 2, 3]
    %0 = input : f64 [2, 3]
    %1 = input : f64 [2, 3]
    %2 = add(%1, %0) : f64 [2, 3]
    %3 = tanh(%2) : f64 [2, 3]
    return %3, %3
%7 = matmul(%6, %4) : f64 [4, 2, 5]
%8 = scatter_add_steps(%6, %3, %1) backward in time : f64 [3, 3]
%9 = scatter_add_steps(%7, %3) backward in time : f64 [3, 5]
return %8, %9, %7
)");
  for (bool reverse : {false, true})
    for (const Checkpoint& c : {Checkpoint{}, checkpoint::every(2)}) {
      const auto outputs = loop(leaf({3, 3}), {.reverse = reverse, .checkpoint = c});
      const auto want = recorded(outputs).interpret();
      CHECK(difference(arrays(outputs), want, 1e-14) == "");
    }
}

TEST_CASE("passes: sink: large sums by index leave the loop too, but not those that are read there") {
  const Variable x = leaf({4, 2, 60}), index = Tensor::of<std::int64_t>({4, 2}, {1, 0, 299, 2, 1, 1, 0, 2});
  const auto text = [&](bool read) {
    auto [last, y] = scan(
        [&](const Variable& c, const std::pair<Variable, Variable>& in) {
          auto rows = scatter_add(tanh(in.first), in.second, 300);
          return std::pair{c + rows, read ? rows : in.first};
        },
        zeros({300, 60}, DType::f64), std::pair{x, index});
    return after(detail::sink, {last, y});
  };
  CHECK(text(false).find("= scatter_add_steps(") != std::string::npos);
  CHECK(text(false).find("= scatter_add(") == std::string::npos);
  CHECK(text(true).find("= scatter_add_steps(") == std::string::npos);
  CHECK(text(true).find("    %4 = scatter_add(") != std::string::npos);
}

TEST_CASE("passes: sink: the order of steps is the loop's, and the sum goes on from the carry") {
  const Variable x = Tensor::of<float>({3, 1, 1}, {1.f, 1e8f, -1e8f}), index = Tensor::zeros({3, 1}, DType::i64);
  const auto sum_of = [&](const Variable& first, bool reverse) {
    auto [last, none] = scan(
        [](const Variable& c, const std::pair<Variable, Variable>& in) {
          return std::pair{c + scatter_add(in.first, in.second, 1), Carry{}};
        },
        first, std::pair{x, index}, {.reverse = reverse});
    return last.value().item<float>();
  };
  CHECK(sum_of(zeros({1, 1}), false) == 0);
  CHECK(sum_of(zeros({1, 1}), true) == 1);
  CHECK(sum_of(full({1, 1}, -1e8), false) == -1e8f);  // ((-1e8 + 1) + 1e8) - 1e8
  CHECK(sum_of(full({1, 1}, 1e8), true) == 1e8f);     // ((1e8 - 1e8) + 1e8) + 1
}

TEST_CASE("passes: sink: of factors that are seen in another form, what they show is stacked") {
  const auto x = leaf({3, 2, 5, 4}), h = leaf({2, 5, 4}), w = leaf({4, 4});
  auto y = scan(
               [&](const Variable& h, const Variable& x) {
                 auto next = tanh(matmul(h, w) + x);
                 return std::pair{next, next};
               },
               h, x)
               .second;
  const auto text = after(detail::sink, detail::gradients(sum(square(y)), std::vector<Variable>{w}));
  REQUIRE(text.find(" = reshape(") != std::string::npos);
  CHECK(text.find("matmul_steps(") > text.find(" = reshape("));
  for (auto at = text.find(" = reshape("); at != std::string::npos; at = text.find(" = reshape(", at + 1))
    CHECK(text[text.rfind('\n', at) + 1] == '%');  // behind the loop: lines of bodies begin with spaces
}

TEST_CASE("passes: sink: a bias behind flattened rows is summed of the rows that the product reads") {
  const auto x = leaf({3, 2, 5, 4}), h = leaf({2, 5, 4}), w = leaf({4, 4}), b = leaf({4});
  auto y = scan(
               [&](const Variable& h, const Variable& x) {
                 auto next = tanh(reshape(matmul(reshape(h, {10, 4}), w) + b, {2, 5, 4}) + x);
                 return std::pair{next, next};
               },
               h, x)
               .second;
  const auto gradients = detail::gradients(sum(square(y)), std::vector<Variable>{w, b});
  const auto text = after(detail::sink, gradients);
  CHECK(text.find("sum_groups(") == std::string::npos);
  const auto at = text.find("sum_steps(");
  REQUIRE(at != std::string::npos);
  const auto rows = text.substr(at + 10, text.find(')', at) - at - 10);
  CHECK(text.find(", " + rows + ") backward in time : f64 [4, 4]") != std::string::npos);
  CHECK(against_reference(gradients, 1e-13) == "");
}

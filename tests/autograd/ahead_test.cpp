// What the products of a loop's plan fetch for the regions that come after them.
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/scan_operator.hpp>

#include <doctest/doctest.h>
#include <sstream>

#include "compare.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// Of each product in the plan of the body of a loop h = cell(h, x), what it fetches: inputs (0: the carry, 1: x) and outputs by number,
/// "+" at the next step.
template <class Cell>
std::string fetched(Cell cell) {
  const Variable x = Tensor::full({3, 4, 16}, 0.5), start = Tensor::full({4, 16}, 0.1);
  auto [h, ys] = scan(cell, start, x);
  const auto program = recorded({sum(h) + sum(ys)});
  for (const auto& i : program.program.code) {
    if (i.op != &detail::scan_operator) continue;
    const auto& body = *i.body;
    const auto plan = detail::make_plan(body.program, {.own_outputs = true, .constants_from = body.carries + body.xs, .over = {}});
    std::ostringstream text;
    for (std::size_t s = 0; s < plan->steps.size(); ++s) {
      const auto* made_for = plan->notes[s].instruction;
      if (!made_for || made_for->op != &detail::matmul_operator) continue;
      text << "product:";
      if (!plan->ahead.empty())
        for (const auto& [number, next] : plan->ahead[s]) {
          const auto& b = plan->buffers[number];
          text << (b.kind == detail::Buffer::Kind::input ? " input " : " output ") << b.index << (next ? "+" : "");
        }
      text << "\n";
    }
    return text.str();
  }
  return "no loop";
}

}  // namespace

TEST_CASE("ahead: the last product before a region fetches what it touches, once") {
  const Variable w = Tensor::full({16, 16}, 0.01);
  CHECK(fetched([&](const Variable& h, const Variable& x) {
          Variable y = tanh(matmul(h, w) + x) * x;
          return std::pair{y, y};
        }) == "product: input 1 output 0\n");
}

TEST_CASE("ahead: before the first product it is the last one of the step before") {
  const Variable w = Tensor::full({16, 16}, 0.01);
  CHECK(fetched([&](const Variable& h, const Variable& x) {
          Variable y = matmul(tanh(h * x), w);
          return std::pair{y, y};
        }) == "product: input 0+ input 1+\n");
}

TEST_CASE("ahead: without a product, or without a region, nothing is fetched") {
  const Variable w = Tensor::full({16, 16}, 0.01);
  CHECK(fetched([&](const Variable& h, const Variable& x) {
          Variable y = tanh(h * x);
          return std::pair{y, y};
        }) == "");
}

// The pass that cuts time into chunks: alone on a printed program, and the bits of a loop that is large enough for it.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include "after.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("passes: chunk: products of x_t that take more than the budget are made a chunk of time at a time") {
  auto w = leaf({2, 3}), u = leaf({3, 3}), x = leaf({12, 2, 2}), h = leaf({2, 3});
  auto [last, y] = scan(
      [&](const Variable& h, const Variable& x) {
        auto next = tanh(matmul(x, w) + matmul(h, u));
        return std::pair{next, next};
      },
      h, x);
  std::string text = after([](detail::Program& p) { detail::chunk_within(p, 5 * 2 * 3 * 8, 4); }, {last, y});  // five steps of x w
  CHECK(text == R"(
%0 = input : f64 [2, 3]
%1 = input : f64 [12, 2, 2]
%2 = input : f64 [3, 3]
%3 = input : f64 [2, 3]
%4 = reshape(%1) : f64 [3, 4, 2, 2]
%5, %6 = scan(%0, %4, %2, %3) steps 3 : f64 [2, 3], f64 [3, 4, 2, 3]
    %0 = input : f64 [2, 3]
    %1 = input : f64 [4, 2, 2]
    %2 = input : f64 [3, 3]
    %3 = input : f64 [2, 3]
    %4, %5 = scan(%0, %1, %2, %3) steps 4 : f64 [2, 3], f64 [4, 2, 3]
        %0 = input : f64 [2, 3]
        %1 = input : f64 [2, 2]
        %2 = input : f64 [3, 3]
        %3 = input : f64 [2, 3]
        %4 = matmul(%0, %2) : f64 [2, 3]
        %5 = matmul(%1, %3) : f64 [2, 3]
        %6 = add(%5, %4) : f64 [2, 3]
        %7 = tanh(%6) : f64 [2, 3]
        return %7, %7
    return %4, %5
%7 = reshape(%6) : f64 [12, 2, 3]
return %5, %7
)");
  CHECK(after([](detail::Program& p) { detail::chunk_within(p, 12 * 2 * 3 * 8, 4); }, {last, y}).find("steps 12") != std::string::npos);
  auto g = gradients(sum(square(y)), {w, u, x, h});
  CHECK(after([](detail::Program& p) { detail::chunk_within(p, 1, 4); }, {g.begin(), g.end()}).find("steps 4 backward in time") !=
        std::string::npos);
}

TEST_CASE("passes: chunk: a loop whose products take 33 MiB has the bits that it has without the pass") {
  const int before = threads();
  const Index steps = 1060, batch = 4, hidden = 512;
  auto run = [&](detail::PassSet left_out) {
    detail::WithoutPasses without(left_out);
    seed(5);
    Lstm lstm(8, hidden, DType::f32);
    Variable x = draw({steps, batch, 8}, DType::f32), h = draw({batch, hidden}, DType::f32);
    auto [last, y] = lstm(x, {h, h});
    auto g = detail::gradients(sum(square(y)) + sum(last.c), std::vector<Variable>{x, h, lstm.wx, lstm.wh, lstm.b});
    g.push_back(last.h);
    evaluate(g);
    return g;
  };
  detail::PassSet chunk = 0;
  for (std::size_t i = 0; i < detail::all_passes().size(); ++i)
    if (detail::all_passes()[i].run == detail::chunk) chunk = detail::PassSet{1} << i;
  REQUIRE(chunk != 0);
  set_threads(1);
  auto want = run(chunk);
  set_threads(2);
  auto got = run(0);
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(identical(got[i].value(), want[i].value()));
  }
  set_threads(before);
}

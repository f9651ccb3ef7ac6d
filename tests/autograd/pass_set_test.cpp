// Passes left out one by one: the values stay, and no plan made with other passes is taken.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/tape.hpp>

#include "compare.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// The results and gradients of an LSTM that draws random numbers, with a softmax behind it.
std::vector<Variable> outputs() {
  rw::seed(3);
  Lstm lstm(3, 4, f64);
  auto x = draw({5, 2, 3});
  auto [last, y] = lstm(x, {draw({2, 4}), draw({2, 4})});
  auto p = softmax(y * uniform(y.shape(), f64), -1);
  auto g = detail::gradients(sum(square(p) + last.c), std::vector<Variable>{x, lstm.wx, lstm.wh, lstm.b});
  g.push_back(p);
  return g;
}

}  // namespace

TEST_CASE("passes: whichever is left out, or all of them: values and gradients are the interpreter's") {
  auto passes = detail::all_passes();
  auto check = [&](detail::PassSet set, const char* name) {
    INFO("without " << name);
    detail::WithoutPasses without(set);
    CHECK(against_reference(outputs(), 1e-12) == "");
  };
  for (std::size_t i = 0; i < passes.size(); ++i) check(detail::PassSet{1} << i, passes[i].name);
  check((detail::PassSet{1} << passes.size()) - 1, "any");
}

TEST_CASE("passes: a pass that is left out does not run, and its plans are not taken for others'") {
  auto plans = [] {
    auto before = tape::statistics().plans;
    evaluate(outputs());
    return tape::statistics().plans - before;
  };
  tape::clear_plans();
  CHECK(plans() > 0);
  CHECK(plans() == 0);
  for (std::size_t i = 0; i < detail::all_passes().size(); ++i) {
    detail::WithoutPasses without(detail::PassSet{1} << i);
    CHECK(plans() > 0);
    CHECK(plans() == 0);
  }
  CHECK(plans() == 0);

  auto x = draw({2, 3});
  auto program = recorded({tanh(x) + tanh(x)}).program, again = program;
  auto fused = detail::all_passes().size() - 1;
  REQUIRE(std::string(detail::all_passes()[fused].name) == "fuse");
  detail::run_passes(program);
  CHECK(program.code.size() == 1);
  detail::WithoutPasses without(detail::PassSet{1} << fused);
  detail::run_passes(again);
  CHECK(again.code.size() == 2);  // two regions: a tanh and a sum
}

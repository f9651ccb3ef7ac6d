// Loops written by hand become scans: against the reference semantics of the straight-line program, and by the plan's structure.
#include <algorithm>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

#include "compare.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

namespace {

struct Counts {
  int scans = 0, products = 0;
};

Counts count(const detail::Program& program) {
  Counts c;
  for (const auto& i : program.code) {
    c.scans += i.op == &detail::scan_operator;
    c.products += i.op == &detail::matmul_operator;
  }
  return c;
}

/// The program of some variables rolled: well formed, and of equal values.
Counts rolled(const std::vector<Variable>& outputs) {
  auto program = recorded(outputs);
  auto want = program.interpret();
  detail::remove_dead_code(program.program);
  detail::merge_common(program.program);
  detail::roll(program.program);
  CHECK(malformed(program.program) == "");
  CHECK(difference(program.interpret(), want, 1e-12) == "");
  return count(program.program);
}

}  // namespace

TEST_CASE("roll: an LSTM loop and its gradients become a scan each") {
  Lstm cell(3, 5, f64);
  auto x = draw({9, 2, 3});
  State s{draw({2, 5}), draw({2, 5})};
  std::vector<Variable> hs;
  State n = s;
  for (Index t = 0; t < 9; ++t) n = lstm_step(x[t], n, cell.wx, cell.wh, cell.b), hs.push_back(n.h);
  auto y = stack(hs);
  auto loss = sum(y * y * 0.3);
  auto g = gradients(loss, {x, cell.wx, cell.wh, cell.b, s.h, s.c});
  std::vector<Variable> all{loss, y};
  all.insert(all.end(), g.begin(), g.end());
  auto c = rolled(all);
  CHECK(c.scans == 2);
  CHECK(against_reference(all, 1e-11) == "");
}

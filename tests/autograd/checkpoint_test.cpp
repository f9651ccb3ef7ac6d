// Loops that keep every k-th carry: the same bits as without, in values and gradients.
#include <rewind/autograd/scan.hpp>

#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/core/team.hpp>

#include "compare.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// An LSTM with dropout on its state: results and first gradients, and a gradient of these.
std::vector<Variable> record(Index steps, bool reverse, Checkpoint checkpoint, DType dtype, bool second) {
  seed(21);
  const Index batch = 3, hidden = 5;
  Variable x = draw({steps, batch, 4}, dtype), h = draw({batch, hidden}, dtype);
  Lstm lstm(4, hidden, dtype);
  auto [last, ys] = scan(
      [&](const State& s, const Variable& x) {
        auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
        n.h = n.h * bernoulli({batch, hidden}, 0.7, dtype);
        return std::pair{n, n.h};
      },
      State{h, h}, x, {.reverse = reverse, .checkpoint = checkpoint});
  std::vector<Variable> in{x, h, lstm.wx, lstm.wh, lstm.b};
  auto g = detail::gradients(sum(square(ys)) + sum(last.c), in);
  std::vector<Variable> out = g;
  out.push_back(ys);
  out.push_back(last.h);
  if (second)
    for (auto& v : detail::gradients(sum(square(g[0])) + sum(square(g[3])), in)) out.push_back(v);
  return out;
}

}  // namespace

TEST_CASE("checkpoint: values and gradients have the bits of the loop without") {
  int before = threads();
  for (int team : {1, 2, 3}) {
    set_threads(team);
    for (Index steps : {0, 1, 7, 12, 30})
      for (bool reverse : {false, true}) {
        auto want = record(steps, reverse, {}, DType::f32, false);
        evaluate(want);
        for (Checkpoint c : {checkpoint::every(1), checkpoint::every(4), checkpoint::every(50), checkpoint::sqrt(), checkpoint::bytes(1),
                             checkpoint::bytes(5000)}) {
          auto got = record(steps, reverse, c, DType::f32, false);
          evaluate(got);
          for (std::size_t i = 0; i < got.size(); ++i) {
            CAPTURE(team);
            CAPTURE(steps);
            CAPTURE(reverse);
            CAPTURE(c.every);
            CAPTURE(c.budget);
            CAPTURE(i);
            CHECK(identical(got[i].value(), want[i].value()));
          }
        }
      }
  }
  set_threads(before);
}

TEST_CASE("checkpoint: second order equals the reference and the loop without") {
  auto got = record(6, false, checkpoint::every(3), f64, true);
  CHECK(against_reference(got, 1e-11) == "");
  CHECK(difference(arrays(got), arrays(record(6, false, {}, f64, true)), 1e-11) == "");
}

TEST_CASE("checkpoint: less than one step or byte is an error") {
  CHECK_THROWS_WITH_AS(checkpoint::every(0), "checkpoint::every: 0 steps (at least 1 is needed)", ValueError);
  CHECK_THROWS_WITH_AS(checkpoint::bytes(0), "checkpoint::bytes: 0 bytes (at least 1 is needed)", ValueError);
}

TEST_CASE("checkpoint: a budget takes the fewest carries whose history fits") {
  const Index steps = 24, batch = 4, hidden = 16;
  seed(3);
  Lstm lstm(hidden, hidden, DType::f32);
  Variable x = draw({steps, batch, hidden}, DType::f32), h = draw({batch, hidden}, DType::f32);
  auto chunk = [&](Checkpoint c) {  // steps of the loop inside, by the program's text
    auto [last, ys] = scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
          return std::pair{n, n.h};
        },
        State{h, h}, x, {.checkpoint = c});
    const std::string text = dump(std::span(&ys, 1));
    const auto inner = text.rfind("steps ");
    return std::stol(text.substr(inner + 6));
  };
  // A step: gates, tanh of c, h and c before, which the gradient reads, and two products of [4, 64]; a carry: two of [4, 16].
  const Index part = batch * hidden * 4, step = (7 + 8) * part, carry = 2 * part;
  CHECK(chunk(checkpoint::bytes(steps * step)) == steps);
  CHECK(chunk(checkpoint::bytes(steps * step - 1)) == 12);
  CHECK(chunk(checkpoint::bytes(12 * step + 2 * carry)) == 12);
  CHECK(chunk(checkpoint::bytes(12 * step + 2 * carry - 1)) == 8);
  CHECK(chunk(checkpoint::bytes(3 * step + 8 * carry)) == 3);
  CHECK(chunk(checkpoint::bytes(1)) == 2);  // 2 * step + 12 * carry is the least: 54 parts; with 1 step it is 63, with three 61
}

TEST_CASE("checkpoint: a product that the gradient reads is counted once") {
  const Index steps = 24, batch = 4, hidden = 16;
  seed(3);
  Variable w = draw({hidden, hidden}, DType::f32), x = draw({steps, batch, hidden}, DType::f32), h = draw({batch, hidden}, DType::f32);
  auto whole = [&](Index bytes) {
    auto ys = scan(
                  [&](const Variable& h, const Variable& x) {
                    auto p = matmul(h, w), centred = p - mean(p, -1, true);
                    auto next = tanh(centred * rsqrt(mean(square(centred), -1, true) + 1e-5) + x);
                    return std::pair{next, next};
                  },
                  h, x, {.checkpoint = checkpoint::bytes(bytes)})
                  .second;
    const std::string text = dump(std::span(&ys, 1));
    return std::stol(text.substr(text.rfind("steps ") + 6)) == steps;
  };
  // A step: the product, its mean and deviation a row, the state before and behind it.
  const Index step = (3 * hidden + 2) * batch * 4;
  CHECK(whole(steps * step));
  CHECK(!whole(steps * step - 1));
}

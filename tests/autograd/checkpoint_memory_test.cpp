// Loops that keep every k-th carry: what is kept, where it lies, and what an option asks for.
#include <rewind/autograd/scan.hpp>

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/team.hpp>

#include "checkpointed.hpp"
#include "compare.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// Bytes that the first loop, an LSTM's, leaves beside h, c and ys.
Index left_by_first_loop(const detail::Program& program) {
  Index bytes = 0;
  const auto loop = std::find_if(program.code.begin(), program.code.end(), [](const auto& i) { return i.op == &detail::scan_operator; });
  for (int v = loop->first + 3; v < loop->first + loop->count; ++v)
    bytes += program.types[v].shape.size() * size_of(program.types[v].dtype);
  return bytes;
}

/// The LSTM of checkpointed.hpp as it is recorded: its program, and bytes that the loop leaves for its gradient.
struct Written {
  std::string text;
  Index kept;
};
Written written(Index steps, bool reverse, Checkpoint checkpoint) {
  Written w{"", 0};
  const auto outputs = checkpointed(steps, reverse, checkpoint, DType::f32, false);
  const auto program = recorded(outputs).program;
  w.text = to_string(program);
  w.kept = left_by_first_loop(program);
  return w;
}
std::size_t count(const std::string& text, const std::string& words) {
  std::size_t n = 0;
  for (auto at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("checkpoint: every k-th carry is kept and nothing else, whatever the number of steps") {
  const Index carry = 2 * 3 * 5 * 4;  // h and c of [3, 5], f32
  for (bool reverse : {false, true})
    for (Index steps : {1, 2, 12, 13})
      for (Index k : {1, 2, 3, 5, 12, 13, 40}) {
        INFO(steps << " steps, every " << k);
        CHECK(written(steps, reverse, checkpoint::every(k)).kept == (steps + k - 1) / k * carry);
      }
  CHECK(written(13, false, checkpoint::sqrt()).kept == 5 * carry);
  CHECK(written(997, true, checkpoint::sqrt()).kept == 33 * carry);  // 32 chunks of 31 steps, and 5 steps
  CHECK(written(13, false, {}).kept > 13 * carry);
}

TEST_CASE("checkpoint: what remains takes no memory of its own") {
  const Index batch = 2, hidden = 64, weights = 2 * hidden * 4 * hidden * 4;  // bytes
  auto arena = [&](Index steps) {
    seed(6);
    Lstm lstm(hidden, hidden, DType::f32);
    Variable x = draw({steps, batch, hidden}, DType::f32), h = draw({batch, hidden}, DType::f32);
    auto [last, ys] = scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
          return std::pair{n, n.h};
        },
        State{h, h}, x, {.checkpoint = checkpoint::every(4)});
    auto g = detail::gradients(sum(square(ys)), std::vector<Variable>{lstm.wx, lstm.wh});
    return detail::make_plan(recorded(g).program)->arena_bytes;
  };
  const Index equal = arena(12), one = arena(13), three = arena(11);
  CHECK(one < equal + weights / 8);  // gradients of weights are added up where they will stay
  CHECK(three < equal + weights / 8);
}

TEST_CASE("checkpoint: what a loop hands on to the next keeps its value where others read it, or where it is a y") {
  NoGrad guard;  // nor does a gradient need what lies between
  auto x = draw({5, 40, 40}), h = draw({40, 40});
  enum { nothing, before, after };
  for (auto emitted : {nothing, before, after})
    for (Index steps : {1, 4}) {
      auto sum = [&](const Variable& first, Index from, Index count) {
        return scan(
            [&](const Variable& c, const Variable& x) {
              const auto next = matmul(flip(c, 0), x);  // its rows read each other
              return std::pair{next, emitted == before ? c : emitted == after ? next : 2 * x};
            },
            first, slice(x, 0, from, count));
      };
      auto outputs = [&](bool read) {  // nobody holds the carry between
        auto [between, ys] = sum(h, 0, 5 - steps);
        auto [last, zs] = sum(between, 5 - steps, steps);
        return std::vector<Variable>{read ? sin(between) * last : last, ys, zs};
      };
      for (bool read : {false, true}) CHECK(against_reference(outputs(read), 1e-12) == "");
    }
}

TEST_CASE("checkpoint: what remains runs last, forward and reversed") {
  const auto forward = written(13, false, checkpoint::every(5)).text, reversed = written(13, true, checkpoint::every(5)).text;
  CHECK(count(forward, "steps 2 over chunks of 5 :") == 1);
  CHECK(count(forward, "steps 1 over chunks of 3 from 10 :") == 1);
  CHECK(count(forward, "steps 2 backward in time over chunks of 5 :") == 1);
  CHECK(count(forward, "steps 1 backward in time over chunks of 3 from 10 :") == 1);
  CHECK(count(reversed, "steps 2 backward in time over chunks of 5 from 3 :") == 1);
  CHECK(count(reversed, "steps 1 backward in time over chunks of 3 :") == 1);
  CHECK(count(reversed, "steps 2 over chunks of 5 from 3 :") == 1);
  CHECK(count(reversed, "steps 1 over chunks of 3 :") == 1);
}

TEST_CASE("checkpoint: a loss that is read before its gradient keeps the carries alone") {
  const Index carry = 2 * 3 * 5 * 4;
  for (Index k : {1, 5, 13}) {
    seed(21);
    Variable x = draw({13, 3, 4}, DType::f32), h = draw({3, 5}, DType::f32);
    Lstm lstm(4, 5, DType::f32);
    auto [last, ys] = scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
          return std::pair{n, n.h};
        },
        State{h, h}, x, {.checkpoint = checkpoint::every(k)});
    auto loss = sum(ys);
    loss.item();
    CHECK(left_by_first_loop(recorded({loss}).program) == (13 + k - 1) / k * carry);
  }
}

TEST_CASE("checkpoint: second derivatives too keep carries alone") {
  auto kept = [](Checkpoint checkpoint) {
    seed(3);
    Variable x = draw({60, 2, 3}), h = draw({2, 3}), w = draw({3, 3});
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = tanh(matmul(h, w) + x);
          return std::pair{n, n};
        },
        h, x, {.checkpoint = checkpoint});
    auto g = gradients(sum(square(ys)), {w});
    auto again = gradients(sum(square(g[0])), {w});
    Index bytes = 0;
    for (const auto& i : recorded({again[0]}).program.code)
      if (i.op == &detail::scan_operator)
        for (int y = i.body->carries; y < i.count; ++y) {
          const auto& t = i.body->program.types[i.body->program.outputs[y]];
          bytes += t.shape.size() * size_of(t.dtype) * i.attributes[1];
        }
    return bytes;
  };
  CHECK(kept(checkpoint::every(7)) < kept({}) / 2);
}

TEST_CASE("checkpoint: without gradients the loop is recorded as it is") {
  NoGrad guard;
  seed(2);
  Variable x = draw({6, 3});
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& x) {
        return std::pair{h + x, h};
      },
      zeros({3}, f64), x, {.checkpoint = checkpoint::every(4)});
  const std::string text = dump(std::span(&ys, 1));
  CHECK(count(text, "= scan(") == 1);
  CHECK(text.find("steps 6") != std::string::npos);
}

TEST_CASE("checkpoint: less than one step or byte is an error") {
  CHECK_THROWS_WITH_AS(checkpoint::every(0), "checkpoint::every: 0 steps (at least 1 is needed)", ValueError);
  CHECK_THROWS_WITH_AS(checkpoint::bytes(0), "checkpoint::bytes: 0 bytes (at least 1 is needed)", ValueError);
  auto loop = [](Checkpoint checkpoint) {
    using None = std::vector<Variable>;
    return scan([](const Variable& h, const None&) { return std::pair{h, h}; }, zeros({2}), None{}, {.steps = 3, .checkpoint = checkpoint});
  };
  CHECK_THROWS_WITH_AS(loop({.every = -1}), "scan: a checkpoint every -1 steps (at least every step: 1)", ValueError);
  CHECK_THROWS_WITH_AS(loop({.budget = -1}), "scan: a history of -1 bytes (at least 1, or 0 for no limit)", ValueError);
}

TEST_CASE("checkpoint: a budget takes the fewest carries whose history fits") {
  const Index batch = 4, hidden = 16;
  seed(3);
  Lstm lstm(hidden, hidden, DType::f32);
  Variable h = draw({batch, hidden}, DType::f32);
  auto chunk = [&](Checkpoint c, Index steps) {  // steps of the loop inside, by the program's text
    Variable x = draw({steps, batch, hidden}, DType::f32);
    auto [last, ys] = scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
          return std::pair{n, n.h};
        },
        State{h, h}, x, {.checkpoint = c});
    const std::string text = dump(std::span(&ys, 1));
    const auto inner = text.find("over chunks of ");
    return inner == std::string::npos ? steps : std::stol(text.substr(inner + 15));
  };
  // A step: gates, tanh of c, h and c before, which the gradient reads, and two products of [4, 64]; a carry: two of [4, 16].
  const Index part = batch * hidden * 4, step = (7 + 8) * part, carry = 2 * part;
  CHECK(chunk(checkpoint::bytes(24 * step), 24) == 24);
  CHECK(chunk(checkpoint::bytes(24 * step - 1), 24) == 12);
  CHECK(chunk(checkpoint::bytes(12 * step + 2 * carry), 24) == 12);
  CHECK(chunk(checkpoint::bytes(12 * step + 2 * carry - 1), 24) == 8);
  CHECK(chunk(checkpoint::bytes(3 * step + 8 * carry), 24) == 3);
  CHECK(chunk(checkpoint::bytes(1), 24) == 2);  // 2 * step + 12 * carry is the least: 54 parts; with 1 step it is 63, with three 61
  CHECK(chunk(checkpoint::bytes(23 * step), 23) == 23);
  CHECK(chunk(checkpoint::bytes(12 * step + 2 * carry), 23) == 12);
  CHECK(chunk(checkpoint::bytes(12 * step + 2 * carry - 1), 23) == 8);
  CHECK(chunk(checkpoint::bytes(5 * step + 5 * carry), 23) == 5);  // four chunks of 5 steps, and three steps
  CHECK(chunk(checkpoint::bytes(5 * step + 5 * carry - 1), 23) == 4);
  CHECK(chunk(checkpoint::bytes(1), 23) == 2);
  CHECK(chunk(checkpoint::bytes(1), 1) == 1);
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

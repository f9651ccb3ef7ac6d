// What a run evaluates, and what the tape counts.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/graph.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/tape.hpp>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

/// Looks at a value without holding it.
detail::ValueRef watch(const Variable& v) { return detail::ValueRef(v.handle()); }

TapeStatistics since(const TapeStatistics& before) {
  auto now = tape::statistics();
  return {
      now.records - before.records, now.runs - before.runs, now.plans - before.plans, now.hits - before.hits, now.cached, now.arena_bytes};
}

}  // namespace

TEST_CASE("tape: recording checks shapes at once and computes nothing") {
  auto before = tape::statistics();
  Variable x = Tensor::full({2, 3}, 1);
  auto y = tanh(x) + x;
  CHECK(since(before).records == 2);
  CHECK(since(before).runs == 0);
  CHECK(!y.handle()->evaluated());
  CHECK(error_text<ShapeError>([&] { return matmul(y, y); }) ==
        "matmul: inner dimensions differ: a is [2, 3], b is [2, 3] (a's last axis must equal b's first)");
  CHECK(since(before).records == 2);
  CHECK(y.shape() == Shape{2, 3});
  CHECK(since(before).runs == 0);
  CHECK(test::close(y.value(), Tensor::full({2, 3}, 1 + std::tanh(1.0)), 1e-6));
  CHECK(since(before).runs == 1);
}

TEST_CASE("tape: an operand without a value is an error at the call") {
  Variable none;
  CHECK(error_text<TapeError>([&] { return none + 1; }) == "add: an operand is an empty Variable (give it a value first)");
  CHECK(error_text<TapeError>([&] { return none.value(); }) == "value: the Variable is empty (give it a value first)");
  CHECK(error_text<TapeError>([&] { return none.item(); }) == "item: the Variable is empty (give it a value first)");
  CHECK(error_text<TapeError>([&] { return none.shape(); }) == "shape: the Variable is empty (give it a value first)");
  CHECK(error_text<TapeError>([&] { return none.dtype(); }) == "dtype: the Variable is empty (give it a value first)");
  CHECK(error_text<TapeError>([&] { backward(none); }) == "backward: an operand is an empty Variable (give it a value first)");
}

TEST_CASE("tape: a run evaluates its roots and every pending variable that is held, in one program") {
  Variable x = Tensor::full({4}, 2);
  auto held = x * 3, root = sum(exp(x));
  auto before = tape::statistics();
  CHECK(root.item() == doctest::Approx(4 * std::exp(2.0)));
  CHECK(held.handle()->evaluated());
  CHECK(held.value().at({3}) == 6);
  CHECK(since(before).runs == 1);
}

TEST_CASE("tape: what nobody holds is never written") {
  NoGrad guard;
  Variable x = Tensor::full({1000, 1000}, 2);
  detail::ValueRef between;
  Variable loss;
  {
    auto logits = exp(x * 0.5);
    between = watch(logits);
    loss = mean(logits);
  }
  loss.item();  // the plan is made; the second run shows what a run takes
  {
    auto logits = exp(x * 0.5);
    between = watch(logits);
    loss = mean(logits);
  }
  trim_pool();
  auto before = pool_statistics();
  CHECK(loss.item() == doctest::Approx(std::exp(1.0)));
  CHECK(!between->evaluated());
  CHECK(pool_statistics().peak_bytes - before.bytes_in_use < std::max<Index>(before.peak_bytes - before.bytes_in_use + 1, 1'000'000));
  CHECK(pool_statistics().bytes_cached < 1'000'000);  // no block of four megabytes was ever asked for
  auto logits = exp(x * 0.5);
  loss = mean(logits);
  between = watch(logits);
  loss.item();
  CHECK(between->evaluated());  // held: written
}

TEST_CASE("tape: the held set is part of the plan's key") {
  tape::clear_plans();
  Variable x = Tensor::full({5}, 2);
  auto run = [&](bool hold) {
    auto y = x * 3;
    Variable kept = hold ? y : Variable(0);
    auto z = sum(y * y);
    y = 0;
    return z.item();
  };
  NoGrad guard;
  auto before = tape::statistics();
  CHECK(run(false) == 180);
  CHECK(run(true) == 180);
  CHECK(since(before).plans == 2);
  CHECK(run(false) == 180);
  CHECK(run(true) == 180);
  CHECK(since(before).plans == 2);
  CHECK(since(before).hits == 2);
  CHECK(since(before).runs == 4);
}

TEST_CASE("tape: evaluated values are not computed again") {
  int calls = 0;
  Variable x = Tensor::full({2}, 1);
  auto count = [&](const Tensor& t) {
    ++calls;
    return t;
  };
  auto y = custom("counted", x, count, [](auto& g, auto&) { return g; });
  y.value();
  CHECK(calls == 1);
  y.value();
  sum(y * 2).item();
  auto z = y + 1;
  evaluate(std::span<const Variable>(&z, 1));
  CHECK(calls == 1);
}

TEST_CASE("tape: evaluate computes several variables in one run") {
  Variable x = Tensor::full({2}, 1);
  std::vector<Variable> all{x + 1, x * 5, Variable(), exp(x)};
  auto before = tape::statistics();
  evaluate(all);
  CHECK(since(before).runs == 1);
  CHECK(all[1].handle()->evaluated());
  CHECK(all[1].value().at({0}) == 5);
  evaluate(all);
  CHECK(since(before).runs == 1);
}

TEST_CASE("tape: the same structure is planned once and replayed") {
  tape::clear_plans();
  auto before = tape::statistics();
  double total = 0;
  for (int i = 0; i < 10; ++i) {
    Variable x = Tensor::full({7}, i);
    total += sum(tanh(x) * i).item();
  }
  CHECK(std::isfinite(total));
  auto s = since(before);
  CHECK(s.records == 30);
  CHECK(s.runs == 10);
  CHECK(s.plans == 1);
  CHECK(s.hits == 9);
  CHECK(s.cached == 1);
}

TEST_CASE("tape: the plan cache is bounded, the least recently used goes") {
  tape::clear_plans();
  tape::set_plan_limit(3);
  auto run = [](Index n) { return sum(Variable(Tensor::full({n}, 1)) * 2).item(); };
  for (Index n = 1; n <= 3; ++n) CHECK(run(n) == 2 * static_cast<double>(n));
  CHECK(tape::statistics().cached == 3);
  auto before = tape::statistics();
  run(1);  // now 2 is the oldest
  run(4);
  CHECK(since(before).plans == 1);
  CHECK(since(before).hits == 1);
  CHECK(tape::statistics().cached == 3);
  run(1), run(3), run(4);
  CHECK(since(before).plans == 1);
  run(2);
  CHECK(since(before).plans == 2);
  tape::set_plan_limit(1);
  CHECK(tape::statistics().cached == 1);
  run(2);
  CHECK(since(before).plans == 2);
  tape::clear_plans();
  CHECK(tape::statistics().cached == 0);
  run(2);
  CHECK(since(before).plans == 3);
  tape::set_plan_limit(256);
  CHECK(error_text<ValueError>([] { tape::set_plan_limit(0); }) == "set_plan_limit: at least one plan must be kept: got 0");
}

TEST_CASE("tape: a running plan is never entered again") {
  Variable x = Tensor::full({2}, 1), other = Tensor::full({2}, 3);
  auto inside = [&](const Tensor& t) {
    (other + 1).value();
    return t;
  };
  auto y = custom("greedy", x, inside, [](auto& g, auto&) { return g; });
  CHECK(error_text<TapeError>([&] { return y.value(); }) == "value: a plan is running (custom functions must not use the tape)");
  CHECK((x + 1).value().at({0}) == 2);
}

TEST_CASE("tape: custom functions name themselves in errors and in the program") {
  Variable x = Tensor::full({2}, 1);
  auto y = custom(
      "shrink", x, [](const Tensor&) { return Tensor::zeros({1}); }, [](auto& g, auto&) { return g; });
  CHECK(error_text<ShapeError>([&] { return y.value(); }) == "shrink: forward gave [1] for [2] (a custom operation keeps the shape)");
  y = custom(
      "widen", x, [](const Tensor& t) { return t.cast(DType::f64); }, [](auto& g, auto&) { return g; });
  CHECK(error_text<DTypeError>([&] { return y.value(); }) == "widen: forward gave f64 for f32 (a custom operation keeps the dtype)");
  CHECK(error_text<ValueError>([&] { return custom("half", x, {}, [](auto& g, auto&) { return g; }); }) ==
        "half: both forward and backward must be given");
}

TEST_CASE("tape: dump spells the program out, a line an operation") {
  Variable x = Tensor::full({2, 3}, 1), w = Tensor::full({3, 4}, 1);
  CHECK(dump(sum(tanh(matmul(x, w)))) ==
        "%0 = input : f32 [2, 3]\n"
        "%1 = input : f32 [3, 4]\n"
        "%2 = matmul(%0, %1) : f32 [2, 4]\n"
        "%3 = tanh(%2) : f32 [2, 4]\n"
        "%4 = reduce(%3) sum over 0 1 : f32 []\n"
        "return %4\n");
}

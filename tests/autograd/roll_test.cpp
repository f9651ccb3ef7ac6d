// Loops written by hand become scans: against the reference semantics of the straight-line program, and by the plan's structure.
#include <algorithm>
#include <cmath>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/core/team.hpp>

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
  CHECK(c.products == 0);
  CHECK(against_reference(all, 1e-11) == "");
}

TEST_CASE("roll: the ends of a gradient, where sums have one part and nothing goes on, are part of its scan") {
  Lstm cell(3, 5, f64);
  auto x = draw({9, 2, 3});
  for (bool last_only : {false, true}) {
    State s{zeros({2, 5}, f64), zeros({2, 5}, f64)};
    std::vector<Variable> hs;
    for (Index t = 0; t < 9; ++t) s = lstm_step(x[t], s, cell.wx, cell.wh, cell.b), hs.push_back(s.h);
    auto loss = last_only ? sum(square(s.h)) : sum(square(stack(hs)));
    auto g = gradients(loss, {x, cell.wx, cell.wh, cell.b});  // without the loss the last step need not make h
    std::vector<Variable> all(g.begin(), g.end());
    auto c = rolled(all);
    CHECK(c.scans == 2);
    CHECK(c.products == 0);
    CHECK(against_reference(all, 1e-11) == "");
  }
}

TEST_CASE("roll: a sum that gets its missing part keeps the sign of a zero") {
  std::vector<double> weight(42, 0.5);
  std::fill(weight.end() - 6, weight.end(), -0.0);
  auto x = draw({7, 2, 3}), u = draw({3, 3}), v = draw({3, 3});
  Variable h = zeros({2, 3}, f64), c = h;
  std::vector<Variable> hs;
  for (Index t = 0; t < 7; ++t) {
    c = sigmoid(matmul(h, v)) * c + tanh(x[t] + matmul(h, u));
    h = sigmoid(matmul(h, v)) * tanh(c);
    hs.push_back(h);
  }
  Variable g = gradients(sum(stack(hs) * Variable(Tensor::of<double>({7, 2, 3}, weight))), {x})[0];
  CHECK(rolled({g}).products == 0);
  const Tensor value = g.value();
  const double* last = value.data<double>() + 36;
  CHECK(std::all_of(last, last + 6, [](double v) { return v == 0 && std::signbit(v); }));
}

TEST_CASE("roll: a state that a step reads in two places") {
  auto x = draw({7, 2, 3}), w = draw({3, 3}), u = draw({3, 3});
  Variable h = zeros({2, 3}, f64);
  std::vector<Variable> hs;
  for (Index t = 0; t < 7; ++t) {
    auto z = sigmoid(x[t] + matmul(h, u));
    h = (1 - z) * h + z * tanh(x[t] + matmul(h, w));
    hs.push_back(h);
  }
  auto g = gradients(sum(square(stack(hs))), {x, w, u});
  std::vector<Variable> all(g.begin(), g.end());
  auto c = rolled(all);
  CHECK(c.scans == 2);
  CHECK(c.products == 0);
  CHECK(against_reference(all, 1e-12) == "");
}

TEST_CASE("roll: states that a second loop, an attention in it and the loss read") {
  auto x = draw({6, 2, 3}), w = draw({3, 3}), u = draw({3, 3}), v = draw({3, 3});
  std::vector<Variable> hs, ks;
  Variable h = draw({2, 3}), k = draw({2, 3});
  for (Index t = 0; t < 6; ++t) h = tanh(x[t] + matmul(h, w)), hs.push_back(h);
  auto memory = stack(hs, 1);
  for (Index t = 0; t < 6; ++t) {
    auto scores = softmax(sum(memory * reshape(matmul(k, v), Shape{2, 1, 3}), -1), -1);
    auto read = sum(reshape(scores, Shape{2, 6, 1}) * memory, 1);
    k = tanh(hs[static_cast<std::size_t>(t)] + matmul(k + read, u));
    ks.push_back(k);
  }
  auto g = gradients(sum(square(stack(ks))) + sum(stack(hs)), {x, w, u, v});
  std::vector<Variable> all(g.begin(), g.end());
  auto c = rolled(all);
  CHECK(c.scans == 4);
  CHECK(c.products == 0);
  CHECK(against_reference(all, 1e-11) == "");
}

TEST_CASE("roll: states that two loops read, one from each end") {
  auto x = draw({6, 2, 3}), w = draw({3, 3}), u = draw({3, 3}), v = draw({3, 3});
  std::vector<Variable> hs, ks, ls;
  Variable h = draw({2, 3}), k = draw({2, 3}), l = draw({2, 3});
  for (Index t = 0; t < 6; ++t) h = tanh(x[t] + matmul(h, w)), hs.push_back(h);
  for (std::size_t t = 0; t < 6; ++t) k = tanh(hs[t] + matmul(k, u)), ks.push_back(k);
  for (std::size_t t = 6; t-- > 0;) l = tanh(hs[t] + matmul(l, v)), ls.push_back(l);
  auto g = gradients(sum(square(stack(ks))) + sum(square(stack(ls))), {x, w, u, v});
  std::vector<Variable> all(g.begin(), g.end());
  auto c = rolled(all);
  CHECK(c.scans == 6);
  CHECK(c.products == 0);
  CHECK(against_reference(all, 1e-12) == "");
}

TEST_CASE("roll: a step whose attributes differ is not like the others") {
  auto x = draw({10, 3, 3}), w = draw({3, 3});
  const auto check = [&](auto turn) {
    Variable h = draw({3, 3});
    for (Index t = 0; t < 10; ++t) h = tanh(x[t] + matmul(turn(h, t == 5), w));
    auto g = gradients(sum(h), {x, w});
    auto c = rolled({h, g[0], g[1]});
    CHECK(c.products > 0);
    CHECK(against_reference({h, g[0], g[1]}, 1e-12) == "");
  };
  check([](const Variable& h, bool other) { return flip(h, {other ? 1 : 0}); });
  check([](const Variable& h, bool other) { return cumsum(h, other ? 1 : 0); });
  check([](const Variable& h, bool other) { return transpose(h * h, other ? Dims(Shape{1, 0}) : Dims(Shape{0, 1})) * 0.5; });
}

TEST_CASE("roll: two cells in one loop, with numbers of the user's and second order") {
  Lstm one(3, 4, f64), two(4, 4, f64);
  auto x = draw({7, 2, 3});
  State a{draw({2, 4}), draw({2, 4})}, b{draw({2, 4}), draw({2, 4})};
  Variable loss = sum(b.h);
  for (Index t = 0; t < 7; ++t) {
    a = lstm_step(x[t], a, one.wx, one.wh, one.b);
    b = lstm_step(0.9 * a.h, b, two.wx, two.wh, two.b);
    loss = loss + sum(b.h * b.h);
  }
  auto g = gradients(loss, {x, one.wh, two.wx});
  auto second = gradients(sum(g[0] * g[0]), {one.wx, two.wh});
  std::vector<Variable> all{loss, g[0], g[1], g[2], second[0], second[1]};
  CHECK(rolled(all).scans >= 2);
  CHECK(against_reference(all, 1e-10) == "");
}

TEST_CASE("roll: the order of steps is an input: a cached plan reads what its starts say") {
  auto x = draw({6, 2, 3}), w = draw({3, 3});
  auto run = [&](std::initializer_list<Index> order) {
    Variable h = zeros({2, 3}, f64);
    for (Index t : order) h = tanh(x[t] + matmul(h, w));
    auto g = gradients(sum(h), {x, w});
    return against_reference({h, g[0], g[1]}, 1e-12);
  };
  CHECK(run({0, 1, 2, 3, 4, 5}) == "");
  CHECK(run({5, 4, 3, 2, 1, 0}) == "");
  CHECK(run({3, 3, 1, 0, 5, 3}) == "");
}

TEST_CASE("roll: three pieces of two steps are too few: the program stays as it is") {
  auto x = draw({6, 2, 3}), w = draw({3, 3});
  Variable h = draw({2, 3});
  for (Index t = 0; t < 6; ++t) h = t % 2 ? tanh(matmul(h, w)) : sigmoid(x[t] + matmul(h, w));
  CHECK(rolled({h}).scans == 0);
}

TEST_CASE("roll: a loop with attention over what was stacked before") {
  auto x = draw({6, 2, 3}), memory = draw({2, 5, 3}), w = draw({3, 3}), u = draw({3, 3});
  Variable h = draw({2, 3}), loss = sum(h);
  for (Index t = 0; t < 6; ++t) {
    auto scores = softmax(sum(memory * reshape(matmul(h, u), Shape{2, 1, 3}), -1), -1);
    auto read = sum(reshape(scores, Shape{2, 5, 1}) * memory, 1);
    h = tanh(x[t] + matmul(h + read, w));
    loss = loss + sum(square(h));
  }
  auto g = gradients(loss, {x, memory, w, u});
  std::vector<Variable> all{loss, h};
  all.insert(all.end(), g.begin(), g.end());
  CHECK(rolled(all).scans >= 2);
  CHECK(against_reference(all, 1e-11) == "");
}

TEST_CASE("roll: a step reads the state of two steps ago") {
  auto x = draw({8, 2, 3}), w = draw({3, 3}), u = draw({3, 3}), first = draw({2, 3});
  Variable before = first, h = draw({2, 3}), loss = sum(h);
  for (Index t = 0; t < 8; ++t) {
    auto next = tanh(x[t] + matmul(h, w) + matmul(before, u));
    before = h, h = next;
    loss = loss + sum(square(h));
  }
  auto g = gradients(loss, {x, w, u, first});
  std::vector<Variable> all{loss, h, before, g[0], g[1], g[2], g[3]};
  CHECK(rolled(all).scans >= 2);
  CHECK(against_reference(all, 1e-12) == "");
}

TEST_CASE("roll: a loop over what another made, from both ends at once") {
  auto x = draw({7, 2, 3}), w = draw({3, 3}), u = draw({3, 3});
  std::vector<Variable> hs;
  Variable h = draw({2, 3});
  for (Index t = 0; t < 7; ++t) h = tanh(x[t] + matmul(h, w)), hs.push_back(h);
  Variable k = draw({2, 3});
  for (Index t = 0; t < 7; ++t) k = tanh(hs[static_cast<std::size_t>(t)] * hs[static_cast<std::size_t>(6 - t)] + matmul(k, u));
  auto g = gradients(sum(square(k)), {x, w, u});
  CHECK(rolled({k}).scans == 2);
  CHECK(rolled({k, g[0], g[1], g[2]}).scans >= 2);
  CHECK(against_reference({k, g[0], g[1], g[2]}, 1e-12) == "");
}

TEST_CASE("roll: a loop over what another made, in an order of its own") {
  auto x = draw({7, 2, 3}), w = draw({3, 3}), u = draw({3, 3});
  std::vector<Variable> hs;
  Variable h = draw({2, 3});
  for (Index t = 0; t < 7; ++t) h = tanh(x[t] + matmul(h, w)), hs.push_back(h);
  for (auto order : {std::vector<std::size_t>{0, 1, 2, 4, 3, 5, 6}, {6, 5, 4, 2, 3, 1, 0}, {1, 1, 2, 3, 4, 4, 0}}) {
    Variable k = draw({2, 3});
    for (auto t : order) k = tanh(hs[t] + matmul(k, u));
    auto g = gradients(sum(square(k)), {x, w, u});
    CHECK(rolled({k}).scans == 2);
    CHECK(against_reference({k, g[0], g[1], g[2]}, 1e-12) == "");
  }
}

TEST_CASE("roll: a step that uses another weight ends a run") {
  auto x = draw({10, 2, 3}), w = draw({3, 3}), u = draw({3, 3});
  Variable h = draw({2, 3});
  for (Index t = 0; t < 10; ++t) h = tanh(x[t] + matmul(h, t == 6 ? u : w));
  auto g = gradients(sum(h), {x, w, u});
  CHECK(rolled({h, g[0], g[1], g[2]}).products > 0);
  CHECK(against_reference({h, g[0], g[1], g[2]}, 1e-12) == "");
}

TEST_CASE("roll: steps read backward, and kept in the order of time") {
  auto x = draw({6, 2, 3}), w = draw({3, 3});
  std::vector<Variable> hs(6);
  Variable h = draw({2, 3});
  for (Index t = 6; t-- > 0;) h = tanh(x[t] + matmul(h, w)), hs[static_cast<std::size_t>(t)] = h;
  auto y = stack(hs);
  auto g = gradients(sum(y * draw({6, 2, 3})), {x, w});
  CHECK(rolled({y, g[0], g[1]}).scans == 2);
  CHECK(against_reference({y, g[0], g[1]}, 1e-12) == "");
}

TEST_CASE("roll: random numbers stay those of the straight line") {
  auto x = draw({6, 2, 3}), w = draw({3, 3});
  Variable h = draw({2, 3});
  for (Index t = 0; t < 6; ++t) h = tanh(x[t] + matmul(h * cast(uniform({2, 3}) < 0.8, f64), w));
  auto g = gradients(sum(h), {x, w});
  CHECK(rolled({h, g[0], g[1]}).scans >= 1);
  CHECK(against_reference({h, g[0], g[1]}, 1e-12) == "");
}

TEST_CASE("roll: the same bits for any number of threads") {
  Lstm cell(16, 16, DType::f32);
  Variable x = random::normal({8, 64, 16});
  const int before = threads();
  std::vector<std::vector<Tensor>> results;
  for (int n : {1, 2, 3, 5}) {
    set_threads(n);
    State s{zeros({64, 16}), zeros({64, 16})};
    Variable loss = sum(s.h);
    for (Index t = 0; t < 8; ++t) s = lstm_step(x[t], s, cell.wx, cell.wh, cell.b), loss = loss + sum(square(s.h));
    auto g = gradients(loss, {x, cell.wx, cell.wh, cell.b});
    std::vector<Tensor> values{loss.value()};
    for (const auto& v : g) values.push_back(v.value());
    results.push_back(std::move(values));
  }
  set_threads(before);
  for (const auto& values : results)
    for (std::size_t k = 0; k < values.size(); ++k) CHECK(identical(values[k], results[0][k]));
}

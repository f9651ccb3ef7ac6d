// What must coincide: random nodes of bodies between runs, closures, and bits between teams, holders and readers.
#include <rewind/autograd/scan.hpp>

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/graph.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/team.hpp>

#include <functional>

#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("scan: random nodes of a body differ from step to step and coincide between forward and backward") {
  seed(8);
  Variable x = Tensor::full({50, 4}, 1, f64), w = Tensor::full({4}, 2, f64);
  for (bool reverse : {false, true})
    for (bool early : {false, true}) {
      auto [last, ys] = scan(
          [&](const Variable& h, const Variable& x) {
            auto masked = x * w * bernoulli({4}, 0.5, f64);
            return std::pair{h + masked, masked};
          },
          zeros({4}, f64), x, {.reverse = reverse});
      if (early) last.value();
      auto [dx, dw] = gradients(sum(last), {x, w});
      Tensor y = ys.value(), g = dx.value();
      int ones = 0, changes = 0;
      for (Index t = 0; t < 50; ++t)
        for (Index e = 0; e < 4; ++e) {
          CHECK(y.at({t, e}) == g.at({t, e}));  // x = 1: both are w where the mask is 1
          ones += y.at({t, e}) != 0;
          if (t > 0) changes += y.at({t, e}) != y.at({t - 1, e});
        }
      CHECK(ones > 60);
      CHECK(ones < 140);
      CHECK(changes > 50);
      CHECK(test::close(sum(dw).item(), ones, 1e-12));
    }
}

TEST_CASE("scan: random nodes of nested bodies count the steps of all loops") {
  seed(9);
  Variable x = Tensor::full({5, 6, 2}, 1, f64), w = Tensor::full({2}, 1, f64);
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& row) {
        auto [end, list] = scan(
            [&](const Variable& c, const Variable& x) {
              auto n = x * w * uniform({2}, f64);
              return std::pair{c + n, n};
            },
            h, row);
        return std::pair{end, list};
      },
      zeros({2}, f64), x);
  auto [dx] = gradients(sum(last), {x});
  CHECK(identical(dx.value(), ys.value()));
  auto all = doubles(ys.value());
  std::sort(all.begin(), all.end());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());  // sixty different numbers
}

TEST_CASE("scan: closures of custom operations run in bodies, capture variables, and differentiate twice") {
  seed(10);
  Variable x = draw({3, 2}), w = draw({2});
  auto report = gradcheck(
      [](const std::vector<Variable>& v) {
        auto cubed = [](const Tensor& t) {
          Tensor y = t.copy();
          double* p = y.data<double>();
          for (Index e = 0; e < y.size(); ++e) p[e] = p[e] * p[e] * p[e];
          return y;
        };
        Variable one = v[1] / v[1];  // recorded outside, read by the rule
        auto [last, ys] = scan(
            [&](const Variable& h, const Variable& x) {
              auto n = custom("cube", h * v[1] + x, cubed, [one](auto& g, auto& x) { return 3 * g * x * x * one; });
              return std::pair{0.5 * n, n};
            },
            zeros({2}, f64), v[0]);
        return sum(ys) + sum(square(last));
      },
      {x, w}, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
}

TEST_CASE("scan: a forward that throws inside a loop leaves the tape usable") {
  Variable x = Tensor::full({3, 2}, 1);
  int calls = 0;
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& x) {
        auto n = custom(
            "fragile", h + x,
            [&](const Tensor& t) -> Tensor {
              if (++calls == 2) throw ValueError("fragile: second call");
              return t;
            },
            [](auto& g, auto&) { return g; });
        return std::pair{n, n};
      },
      zeros({2}), x);
  CHECK(error_text<ValueError>([&] { return last.value(); }) == "fragile: second call");
  CHECK((x + 1).value().at({0, 0}) == 2);
  CHECK(last.value().at({0}) == 3);  // asked for again, it runs again
}

TEST_CASE("scan: an LSTM has the same bits for any number of threads, forward and gradients") {
  seed(11);
  const Index steps = 12, inputs = 16, hidden = 32;
  int before = threads();
  for (Index batch : {1, 2, 5, 32}) {
    CAPTURE(batch);
    Variable x = draw({steps, batch, inputs}, DType::f32);
    Lstm lstm(inputs, hidden, DType::f32);
    std::vector<Tensor> reference;
    for (int team : {1, 2, 3, 5}) {
      CAPTURE(team);
      set_threads(team);
      seed(1);
      auto [last, ys] = lstm(x * bernoulli(x.shape(), 0.9), {zeros({batch, hidden}), zeros({batch, hidden})});
      std::vector<Variable> all = detail::gradients(sum(square(ys)) + sum(last.c), std::vector<Variable>{x, lstm.wx, lstm.wh, lstm.b});
      all.push_back(ys), all.push_back(last.h), all.push_back(last.c);
      evaluate(all);
      for (std::size_t i = 0; i < all.size(); ++i) {
        if (team == 1) {
          reference.push_back(all[i].value());
        } else {
          CHECK(identical(all[i].value(), reference[i]));
        }
      }
    }
  }
  set_threads(before);
}

TEST_CASE("scan: random nodes of a divided batch have the same bits for any number of threads") {
  const Index steps = 40, batch = 7, width = 64;
  int before = threads();
  Variable x = draw({steps, batch, width}, DType::f32), w = draw({width, width}, DType::f32);
  std::vector<Tensor> reference;
  for (int team : {1, 2, 3, 5}) {
    set_threads(team);
    seed(12);
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = tanh(matmul(h, w) + x) * bernoulli({batch, width}, 0.8) + 0.01 * normal({batch, width});
          return std::pair{n, n};
        },
        zeros({batch, width}), x);
    auto [dx, dw] = gradients(sum(square(ys)), {x, w});
    std::vector<Tensor> got{last.value(), ys.value(), dx.value(), dw.value()};
    if (team == 1) reference = got;
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(identical(got[i], reference[i]));
  }
  set_threads(before);
}

TEST_CASE("scan: same bits whatever else is held or read early") {
  seed(13);
  const Index steps = 6, batch = 4, hidden = 8;
  Variable x = draw({steps, batch, 5}, DType::f32);
  Lstm lstm(5, hidden, DType::f32);
  auto run = [&](bool hold, bool early) {
    auto [last, ys] = lstm(x, {zeros({batch, hidden}), zeros({batch, hidden})});
    auto h = ys * 2;
    auto loss = sum(square(h)) + sum(last.c);
    Variable held = hold ? h : Variable(0);
    h = 0;
    if (early) loss.item();
    auto g = detail::gradients(loss, std::vector<Variable>{x, lstm.wx, lstm.wh, lstm.b});
    g.push_back(loss);
    std::vector<Tensor> values;
    for (auto& v : g) values.push_back(v.value());
    return values;
  };
  auto reference = run(false, false);
  for (int k = 1; k < 4; ++k) {
    auto other = run(k & 1, k & 2);
    for (std::size_t i = 0; i < other.size(); ++i) {
      CAPTURE(k);
      CAPTURE(i);
      CHECK(identical(other[i], reference[i]));
    }
  }
}

// Steps write values and slots in place where nobody could tell.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/optim/adam.hpp>
#include <rewind/optim/sgd.hpp>
#include <stdexcept>

#include "support.hpp"

using namespace rw;
using namespace rw::optim;
using test::doubles;
using test::error_text;

namespace {

struct Model {
  Parameter p;
  explicit Model(const Shape& shape = {40, 40}) : p(normal(shape).value()) {}
  void give(double g) { p.place().set_gradient(Tensor::full(p.value().shape(), g, DType::f32)); }
  const void* place() const { return p.value().view().data; }
  REWIND_FIELDS(p)
};

std::vector<const void*> places(const OptimizerBase& optimizer) {
  std::vector<const void*> result;
  for (const auto& [name, slot] : optimizer.slots()) result.push_back(slot.view().data);
  return result;
}

/// After one step with a gradient of 1 and a rate of 0.5.
std::vector<double> halved(std::vector<double> values) {
  for (double& x : values) x -= 0.5;
  return values;
}

/// v' = v + g, p' = p - v' - mean of p; adds p's transpose if asked to. Steps after `steps_that_work` throw when they run.
struct Odd {
  bool turned = false;
  Index steps_that_work = 1000;
  struct Slots {
    Variable v;
  };
  Variable operator()(const Variable& p, const Variable& g, Slots& s, const Step& k) const {
    s.v = s.v + g;
    Variable result = p - s.v - mean(p);
    if (turned) result = result + transpose(p);
    if (k.number > steps_that_work) {
      auto fails = [](const Tensor&) -> Tensor { throw std::runtime_error("lost"); };
      result = custom("failing", result, fails, [](const Variable& g, const Variable&) { return g; });
    }
    return result;
  }
};

}  // namespace

TEST_CASE("in place: values and slots that nobody else holds stay where they are") {
  Model model;
  Adam adam(parameters(model), {.rate = 0.1});
  adam.clip_norm(3);
  model.give(0.5);
  adam.step();
  const void* at = model.place();
  const auto slots = places(adam);
  for (int i = 0; i < 3; ++i) {
    model.give(0.5 + i);
    adam.step();
    CHECK(model.place() == at);
    CHECK(places(adam) == slots);
  }
}

TEST_CASE("in place: what is held elsewhere keeps its value") {
  Model model;
  Sgd sgd(parameters(model), {.rate = 0.5});
  auto step = [&] {
    model.give(1);
    sgd.step();
  };
  const auto before = doubles(model.p.value());
  SUBCASE("a tensor") {
    const Tensor held = model.p.value();
    step();
    CHECK(doubles(held) == before);
  }
  SUBCASE("a view of it") {
    const Tensor held = model.p.value().select(0, 3);
    const auto row = doubles(held);
    step();
    CHECK(doubles(held) == row);
  }
  SUBCASE("a variable") {
    const Variable held = model.p;
    step();
    CHECK(doubles(held.value()) == before);
  }
  SUBCASE("an operation that was not computed yet, and its gradient") {
    const Variable w(Tensor::full({40, 40}, 2, DType::f32)), y = sum(w * model.p);
    step();
    CHECK(test::close(doubles(gradients(y, {w})[0].value()), before, 0));
  }
  SUBCASE("an operation that was computed, whose gradient is still to come") {
    const Variable w(Tensor::full({40, 40}, 2, DType::f32)), y = sum(w * model.p);
    y.value();
    step();
    CHECK(test::close(doubles(gradients(y, {w})[0].value()), before, 0));
  }
  CHECK(test::close(doubles(model.p.value()), halved(before), 1e-6));
}

TEST_CASE("in place: slots that were saved keep their values") {
  Model model;
  Adam adam(parameters(model));
  model.give(1);
  adam.step();
  const auto saved = adam.slots();
  const auto m = doubles(saved[0].second);
  model.give(2);
  adam.step();
  CHECK(doubles(saved[0].second) == m);
  CHECK(doubles(adam.slots()[0].second) != m);
}

TEST_CASE("in place: a rule that reads the value in other ways gets the old one") {
  for (bool turned : {false, true}) {
    CAPTURE(turned);
    constexpr std::size_t n = 150;  // more than a tile
    Model model({n, n});
    Optimizer<Odd> odd(parameters(model), {.turned = turned});
    for (int i = 1; i <= 3; ++i) {
      const auto p = doubles(model.p.value());
      double mean = 0;
      for (double x : p) mean += x / (n * n);
      std::vector<double> expected(n * n);
      for (std::size_t r = 0; r < n; ++r)
        for (std::size_t c = 0; c < n; ++c) expected[r * n + c] = p[r * n + c] - i * 0.25 - mean + (turned ? p[c * n + r] : 0);
      model.give(0.25);
      odd.step();
      CHECK(test::close(doubles(model.p.value()), expected, 1e-5));
    }
  }
}

TEST_CASE("in place: a rule that fails when it runs leaves all as it was") {
  Model model;
  Optimizer<Odd> odd(parameters(model), {.steps_that_work = 1});
  model.give(1);
  odd.step();
  const auto p = doubles(model.p.value()), v = doubles(odd.slots()[0].second);
  model.give(1);
  CHECK(error_text<std::runtime_error>([&] { odd.step(); }) == "lost");
  CHECK(doubles(model.p.value()) == p);
  CHECK(doubles(odd.slots()[0].second) == v);
  CHECK(odd.number() == 1);
  odd.clear();
}

TEST_CASE("in place: products read the new weights, from the same plans whoever holds the old ones") {
  Model model;
  Sgd sgd(parameters(model), {.rate = 0.5});
  const Variable x(normal({600, 40}).value());
  std::uint64_t plans = 0;
  for (int i = 0; i < 6; ++i) {
    const Tensor held = i == 4 ? model.p.value() : Tensor();
    const auto y = doubles(matmul(x, model.p).value());
    const Tensor copy = Tensor::of<double>({40, 40}, doubles(model.p.value())).cast(DType::f32);
    CHECK(y == doubles(matmul(x, Variable(copy)).value()));
    model.give(1);
    sgd.step();
    if (i == 2) plans = tape::statistics().plans;
  }
  CHECK(tape::statistics().plans == plans);
}

// Each rule against its paper's equations in plain doubles, and the properties that all optimizers share.
#include <functional>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/core/random.hpp>
#include <rewind/optim/adam.hpp>
#include <rewind/optim/rms_prop.hpp>
#include <rewind/optim/sgd.hpp>

#include "support.hpp"

using namespace rw;
using namespace rw::optim;
using test::doubles;
using test::error_text;

namespace {

using Numbers = std::vector<double>;

/// A model of two parameters, in f64, and gradients that are set by hand.
struct Two {
  Parameter a, b;
  Two() : a(random::normal({3, 2}, 0, 1, DType::f64)), b(random::normal({5}, 0, 1, DType::f64)) {}
  REWIND_FIELDS(a, b)
};

/// Ten steps of an optimizer on random gradients; `reference` advances one element by one step, k from 1, with its own slots.
template <class O>
void check_rule(O& optimizer, Two& model, const std::function<void(double& p, double g, double (&slot)[2], int k)>& reference) {
  Numbers a = doubles(model.a.value()), b = doubles(model.b.value());
  double slots_a[6][2] = {}, slots_b[5][2] = {};
  for (int k = 1; k <= 10; ++k) {
    Tensor ga = random::normal({3, 2}, 0, 1, DType::f64), gb = random::normal({5}, 0, 1, DType::f64);
    model.a.place().set_gradient(ga);
    model.b.place().set_gradient(gb);
    Numbers va = doubles(ga), vb = doubles(gb);
    for (std::size_t i = 0; i < 6; ++i) reference(a[i], va[i], slots_a[i], k);
    for (std::size_t i = 0; i < 5; ++i) reference(b[i], vb[i], slots_b[i], k);
    optimizer.step();
    CAPTURE(k);
    CHECK(test::max_relative_error(doubles(model.a.value()), a) <= 1e-13);
    CHECK(test::max_relative_error(doubles(model.b.value()), b) <= 1e-13);
    CHECK(model.a.gradient().empty());
  }
  CHECK(optimizer.number() == 10);
}

}  // namespace

TEST_CASE("rules: Sgd, with momentum, with Nesterov's") {
  seed(1);
  {
    Two model;
    Sgd sgd(parameters(model), {.rate = 0.1});
    check_rule(sgd, model, [](double& p, double g, double(&)[2], int) { p -= 0.1 * g; });
  }
  {
    Two model;
    Sgd sgd(parameters(model), {.rate = 0.1, .momentum = 0.9});
    check_rule(sgd, model, [](double& p, double g, double(&s)[2], int) {
      s[0] = 0.9 * s[0] + g;
      p -= 0.1 * s[0];
    });
  }
  Two model;
  Sgd sgd(parameters(model), {.rate = 0.1, .momentum = 0.9, .nesterov = true});
  check_rule(sgd, model, [](double& p, double g, double(&s)[2], int) {
    s[0] = 0.9 * s[0] + g;
    p -= 0.1 * (g + 0.9 * s[0]);
  });
}

TEST_CASE("rules: Adam and AdamW") {
  seed(2);
  auto adam_step = [](double& p, double g, double(&s)[2], int k) {
    s[0] = 0.9 * s[0] + 0.1 * g;
    s[1] = 0.99 * s[1] + 0.01 * g * g;
    double m = s[0] / (1 - std::pow(0.9, k)), v = s[1] / (1 - std::pow(0.99, k));
    p -= 0.01 * m / (std::sqrt(v) + 1e-8);
  };
  {
    Two model;
    Adam adam(parameters(model), {.rate = 0.01, .beta2 = 0.99});
    check_rule(adam, model, adam_step);
  }
  Two model;
  AdamW adam(parameters(model), {.rate = 0.01, .beta2 = 0.99, .decay = 0.3});
  check_rule(adam, model, [&](double& p, double g, double(&s)[2], int k) {
    double decay = 0.01 * 0.3 * p;
    adam_step(p, g, s, k);
    p -= decay;
  });
}

TEST_CASE("rules: RmsProp") {
  seed(3);
  Two model;
  RmsProp rms(parameters(model), {.rate = 0.01, .decay = 0.95, .epsilon = 1e-6});
  check_rule(rms, model, [](double& p, double g, double(&s)[2], int) {
    s[0] = 0.95 * s[0] + 0.05 * g * g;
    p -= 0.01 * g / (std::sqrt(s[0]) + 1e-6);
  });
}

namespace {

/// What every optimizer does, whatever its rule.
template <class O>
void check_properties(const char* name, const typename std::remove_cvref_t<decltype(std::declval<O>().rule())>& rule) {
  CAPTURE(name);
  seed(4);

  {  // converges on a quadratic
    Parameter p(Tensor::full({4}, 1));
    O optimizer(parameters(p), rule);
    for (int k = 0; k < 200; ++k) {
      backward(sum(square(p - 0.25)));
      optimizer.step();
    }
    CHECK(max(abs(p - 0.25)).item() < 0.05);
  }
  {  // skips what has no gradient or is frozen, and leaves its slots alone
    Two model;
    O optimizer(parameters(model), rule);
    Tensor a = model.a.value(), b = model.b.value();
    auto slots = optimizer.slots();
    model.a.place().set_gradient(Tensor::full({3, 2}, 1, DType::f64));
    model.a.freeze();
    optimizer.step();
    CHECK(identical(model.a.value(), a));
    CHECK(identical(model.b.value(), b));
    CHECK(optimizer.number() == 1);
    CHECK(optimizer.gradient_norm() == 0);
    auto after = optimizer.slots();
    for (std::size_t i = 0; i < slots.size(); ++i) CHECK(identical(after[i].second, slots[i].second));
    CHECK(model.a.gradient().empty());
  }
  {  // slots saved and restored go on bit for bit
    Two model;
    O optimizer(parameters(model), rule);
    auto train = [&](Two& m, O& o, int steps) {
      for (int k = 0; k < steps; ++k) {
        backward(sum(square(m.a + 1)) + sum(sin(m.b)));
        o.step();
      }
    };
    train(model, optimizer, 3);
    Two other = copy(model);
    O second(parameters(other), rule);
    second.restore(optimizer.slots(), optimizer.number());
    train(model, optimizer, 3);
    train(other, second, 3);
    CHECK(identical(model.a.value(), other.a.value()));
    CHECK(identical(model.b.value(), other.b.value()));
    auto x = optimizer.slots(), y = second.slots();
    REQUIRE(x.size() == y.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(x[i].first == y[i].first);
      CHECK(identical(x[i].second, y[i].second));
    }
  }
  for (double bad : {double(NAN), double(INFINITY)}) {  // a gradient that is not finite throws and changes nothing
    Two model;
    O optimizer(parameters(model), rule);
    optimizer.clip_norm(1);
    backward(sum(square(model.a.variable())) + sum(square(model.b.variable())));
    optimizer.step();
    Tensor a = model.a.value(), b = model.b.value();
    auto slots = optimizer.slots();
    model.a.place().set_gradient(Tensor::full({3, 2}, 1, DType::f64));
    Tensor g = Tensor::full({5}, 1, DType::f64);
    g.data<double>()[3] = bad;
    model.b.place().set_gradient(g);
    CHECK(
        error_text<ValueError>([&] { optimizer.step(); }) ==
        std::string(name) +
            ": the gradient of b is not finite at step 2 (nothing was changed: clear() the gradients, then look at the loss and the rate)");
    CHECK(identical(model.a.value(), a));
    CHECK(identical(model.b.value(), b));
    CHECK(optimizer.number() == 1);
    CHECK(!model.a.gradient().empty());
    auto after = optimizer.slots();
    for (std::size_t i = 0; i < slots.size(); ++i) CHECK(identical(after[i].second, slots[i].second));
    optimizer.clear();
    CHECK(model.a.gradient().empty());
    CHECK(model.b.gradient().empty());
    backward(sum(model.a.variable()));
    optimizer.step();
    CHECK(!identical(model.a.value(), a));
  }
  {  // a tied parameter is stepped once, with the gradient of both names
    struct Pair {
      Parameter a, b;
      Pair() : a({2}, init::constant(1)), b({2}) { b = share(a); }
      REWIND_FIELDS(a, b)
    };
    Pair model;
    O optimizer(parameters(model), rule);
    backward(sum(model.a * 2 + model.b * 3));
    Parameter alone(Tensor::full({2}, 1));
    O reference(parameters(alone), rule);
    backward(sum(alone * 5));
    optimizer.step();
    reference.step();
    CHECK(identical(model.b.value(), alone.value()));
  }
}

}  // namespace

TEST_CASE("rules: properties of every optimizer") {
  check_properties<Sgd>("Sgd", {.rate = 0.05});
  check_properties<Sgd>("Sgd", {.rate = 0.02, .momentum = 0.9});
  check_properties<Sgd>("Sgd", {.rate = 0.02, .momentum = 0.9, .nesterov = true});
  check_properties<Adam>("Adam", {.rate = 0.05});
  check_properties<AdamW>("AdamW", {.rate = 0.05});
  check_properties<RmsProp>("RmsProp", {.rate = 0.01});
}

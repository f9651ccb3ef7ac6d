// The driver of all rules: clipping, groups, schedules, restoring, errors.
#include <memory>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/optim/adam.hpp>
#include <rewind/optim/sgd.hpp>

#include "support.hpp"

using namespace rw;
using namespace rw::optim;
using test::doubles;
using test::error_text;

namespace {

struct Pair {
  Parameter a, b;
  explicit Pair(DType dtype = DType::f32) : a(Tensor::zeros({2}, dtype)), b(Tensor::zeros({1}, dtype)) {}
  void set(double x, double y, double z) {
    Tensor g = Tensor::of<double>({2}, {x, y}).cast(a.dtype());
    a.place().set_gradient(g);
    b.place().set_gradient(Tensor::full({1}, z, b.dtype()));
  }
  REWIND_FIELDS(a, b)
};

struct WrongShape {
  Variable operator()(const Variable& p, const Variable& g, const Step&) const { return sum(p + g); }
};

}  // namespace

TEST_CASE("optimizer: clip_norm scales all gradients by one factor, over all groups") {
  Pair model;
  Sgd sgd({{parameters(model.a), {.rate = 1}}, {parameters(model.b), {.rate = 10}}});
  sgd.clip_norm(1);
  model.set(2, 3, 6);  // norm 7
  sgd.step();
  CHECK(sgd.gradient_norm() == doctest::Approx(7));
  CHECK(test::close(doubles(model.a.value()), std::vector<double>{-2.0 / 7, -3.0 / 7}, 1e-6));
  CHECK(test::close(doubles(model.b.value()), std::vector<double>{-60.0 / 7}, 1e-6));

  Pair small;
  Sgd other(parameters(small), {.rate = 1});
  other.clip_norm(10);
  small.set(2, 3, 6);
  other.step();
  CHECK(doubles(small.a.value()) == std::vector<double>{-2, -3});
  small.set(0, 0, 0);
  other.step();
  CHECK(other.gradient_norm() == 0);
  CHECK(doubles(small.a.value()) == std::vector<double>{-2, -3});
}

TEST_CASE("optimizer: a norm whose squares leave the range of f32 is exact all the same") {
  for (double size : {1e30, 1e-30, 1e19, 1e-20}) {
    CAPTURE(size);
    Pair model;
    Sgd sgd(parameters(model), {.rate = 1});
    sgd.clip_norm(size);
    model.set(2 * size, 3 * size, 6 * size);
    sgd.step();
    CHECK(sgd.gradient_norm() == doctest::Approx(7 * size).epsilon(1e-5));
    CHECK(model.a.value().at({1}) == doctest::Approx(-3 * size / 7).epsilon(1e-5));
  }
}

TEST_CASE("optimizer: clipping keeps each parameter's dtype") {
  Pair model;
  model.b = Parameter(Tensor::zeros({1}));
  struct Mixed {
    Parameter a{Tensor::zeros({2}, DType::f64)}, b{Tensor::zeros({1})};
    REWIND_FIELDS(a, b)
  } mixed;
  Sgd sgd(parameters(mixed), {.rate = 1});
  sgd.clip_norm(1);
  mixed.a.place().set_gradient(Tensor::full({2}, 3, DType::f64));
  mixed.b.place().set_gradient(Tensor::full({1}, 3));
  sgd.step();
  CHECK(mixed.a.dtype() == DType::f64);
  CHECK(mixed.b.dtype() == DType::f32);
  CHECK(mixed.b.value().at({0}) == doctest::Approx(-1 / std::sqrt(3.0)));
}

TEST_CASE("optimizer: clip_value holds each entry") {
  Pair model;
  Sgd sgd(parameters(model), {.rate = 1});
  sgd.clip_value(0.5);
  model.set(2, -3, 0.25);
  sgd.step();
  CHECK(doubles(model.a.value()) == std::vector<double>{-0.5, 0.5});
  CHECK(doubles(model.b.value()) == std::vector<double>{-0.25});
  CHECK(sgd.gradient_norm() == doctest::Approx(std::sqrt(4 + 9 + 0.0625)));
  CHECK(error_text<ValueError>([&] { sgd.clip_value(-1); }) == "Sgd: clip_value is -1 (it must not be negative)");
  CHECK(error_text<ValueError>([&] { sgd.clip_norm(NAN); }) == "Sgd: clip_norm is nan (it must not be negative)");
}

TEST_CASE("optimizer: a schedule multiplies each group's rate, a rule's numbers may change between steps") {
  Pair model;
  Sgd sgd({{parameters(model.a), {.rate = 1}}, {parameters(model.b), {.rate = 10}}});
  sgd.schedule([](Index k) { return k == 1 ? 0.5 : 0.25; });
  CHECK(sgd.rate() == 0.5);
  model.set(1, 1, 1);
  sgd.step();
  CHECK(doubles(model.a.value()) == std::vector<double>{-0.5, -0.5});
  CHECK(doubles(model.b.value()) == std::vector<double>{-5});
  sgd.rule(1).rate = 4;
  model.set(1, 1, 1);
  sgd.step();
  CHECK(sgd.rate() == 0.25);
  CHECK(doubles(model.a.value()) == std::vector<double>{-0.75, -0.75});
  CHECK(doubles(model.b.value()) == std::vector<double>{-6});
}

TEST_CASE("optimizer: restore checks everything before it writes anything") {
  Pair model;
  Adam adam(parameters(model));
  model.set(1, 2, 3);
  adam.step();
  auto slots = adam.slots();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : slots) names.push_back(name);
  CHECK(names == std::vector<std::string>{"a.m", "a.v", "b.m", "b.v"});

  auto missing = slots, extra = slots, shape = slots, dtype = slots;
  missing[3].first = "b.w";
  extra.emplace_back("c.m", Tensor::zeros({1}));
  shape[3].second = Tensor::zeros({2});
  dtype[3].second = Tensor::zeros({1}, DType::f64);
  for (auto* s : {&missing, &extra, &shape, &dtype}) (*s)[0].second = Tensor::full({2}, 9);
  CHECK(error_text<ValueError>([&] { adam.restore(missing, 5); }) ==
        "Adam: slot b.v is missing (was this state saved by the same optimizer for the same model?)");
  CHECK(error_text<ValueError>([&] { adam.restore(extra, 5); }) ==
        "Adam: 5 slots are given, but there are 4 (was this state saved by the same optimizer for the same model?)");
  CHECK(error_text<ShapeError>([&] { adam.restore(shape, 5); }) ==
        "Adam: slot b.v is [2], the parameter [1] (same sizes as when it was saved?)");
  CHECK(error_text<DTypeError>([&] { adam.restore(dtype, 5); }) ==
        "Adam: slot b.v is f64, the parameter f32 (same dtype as when it was saved?)");
  CHECK(error_text<ValueError>([&] { adam.restore(slots, -1); }) == "Adam: the number of steps is -1 (it must not be negative)");
  CHECK(adam.number() == 1);
  CHECK(identical(adam.slots()[0].second, slots[0].second));
  slots[0].second = Tensor::full({2}, 9);
  adam.restore(slots, 7);
  CHECK(adam.number() == 7);
  CHECK(adam.slots()[0].second.at({1}) == 9);
}

TEST_CASE("optimizer: parameters listed twice, gone, or in no list") {
  Pair model;
  CHECK(error_text<ValueError>([&] {
          Sgd({{parameters(model), {}}, {parameters(model.b), {}}});
        }) == "Sgd: parameter parameter is listed twice: in group 0 as b (each parameter belongs to one group)");
  Pair other;
  auto both = parameters(model);
  for (const auto& p : parameters(other)) both.push_back(p);
  CHECK(error_text<ValueError>([&] { Sgd sgd(both); }) ==
        "Sgd: the name a stands twice in a group (list modules in groups of their own, or in a module that names them)");

  auto gone = std::make_unique<Pair>();
  Adam adam(parameters(*gone));
  adam.step();
  Pair kept = std::move(*gone);
  gone.reset();
  kept.set(1, 1, 1);
  adam.step();
  CHECK(kept.a.value().at({0}) < 0);
  { Pair last = std::move(kept); }
  CHECK(error_text<TapeError>([&] { adam.step(); }) ==
        "Adam: parameter a belongs to no model any more (make the optimizer after the model has its final form, and anew for a new one)");

  Sgd sgd(parameters(model));
  Parameter forgotten({2, 3});
  backward(sum(forgotten.variable()) + sum(model.a.variable()));
  CHECK(error_text<TapeError>([&] { sgd.step(); }) ==
        "Sgd: a parameter of shape [2, 3] has a gradient but stands in no list of fields (add it to its class's REWIND_FIELDS)");
  CHECK(doubles(model.a.value()) == std::vector<double>{0, 0});
  CHECK(!model.a.gradient().empty());
  parameters(forgotten);
  sgd.step();
  CHECK(model.a.value().at({0}) < 0);
}

TEST_CASE("optimizer: a rule whose result does not fit says so") {
  Pair model;
  Optimizer<WrongShape> wrong(parameters(model));
  model.set(1, 1, 1);
  CHECK(error_text<ShapeError>([&] { wrong.step(); }) ==
        "WrongShape: the rule gives a value of f32 [] for parameter a of f32 [2] (they must be equal)");
  CHECK(wrong.number() == 0);
}

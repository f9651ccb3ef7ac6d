// A user's fifth program: an optimizer of one's own, groups and schedules.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>
using namespace rw;

namespace {

/// Signs of a running mean (Lion, Chen et al. 2023, arXiv:2302.06675, without decay).
struct MyRule {
  double rate = 1e-4, beta1 = 0.9, beta2 = 0.99;
  struct Slots {
    Variable m;
  };
  Variable operator()(const Variable& p, const Variable& g, Slots& s, const optim::Step& k) const {
    auto u = sign(beta1 * s.m + (1 - beta1) * g);
    s.m = beta2 * s.m + (1 - beta2) * g;
    return p - k.rate * u;
  }
};

/// A rule may keep nothing.
struct Plain {
  double rate = 0.1;
  Variable operator()(const Variable& p, const Variable& g, const optim::Step& k) const { return p - k.rate * g; }
};

struct Model {
  nn::Lstm lstm;
  nn::Linear head;
  Model() : lstm(3, 4), head(4, 2) {}
  REWIND_FIELDS(lstm, head)
};

}  // namespace

TEST_CASE("api: an optimizer of one's own, with groups and a schedule") {
  seed(7);
  Model model;
  optim::Optimizer<MyRule> mine({{parameters(model.head), {.rate = 1e-2}}, {parameters(model.lstm), {.rate = 1e-3}}});
  mine.schedule(optim::warmup(100) * optim::cosine(10'000));
  auto before = copy(model);
  backward(sum(square(model.head(model.lstm(random::normal({4, 2, 3})).first))));
  mine.step();
  CHECK(mine.rate() == doctest::Approx(1e-2 / 100));
  CHECK(max(abs(model.head.weight - before.head.weight)).item() == doctest::Approx(1e-4).epsilon(1e-3));
  CHECK(max(abs(model.lstm.cell(0).wx - before.lstm.cell(0).wx)).item() == doctest::Approx(1e-5).epsilon(1e-2));
  CHECK(mine.slots().front().first == "0.weight.m");
  CHECK(mine.slots().back().first == "1.0.b.m");
}

TEST_CASE("api: a rule without slots") {
  seed(8);
  Parameter p(Tensor::full({3}, 2));
  optim::Optimizer<Plain> plain(parameters(p));
  backward(sum(square(p.variable())));
  plain.step();
  CHECK(max(p.variable()).item() == doctest::Approx(2 - 0.1 * 4));
  CHECK(plain.slots().empty());
}

TEST_CASE("api: one group in braces") {
  Model model;
  optim::Optimizer<MyRule> one({{parameters(model), {.rate = 1e-2}}});
  CHECK(one.rate() == 1e-2);
  CHECK(one.slots().front().first == "lstm.0.wx.m");
}

// Plain numbers stay plain inside the library's namespaces and with using namespace.
static_assert(std::is_same_v<decltype(pow(0.9, Index{3})), double>);
namespace rw::optim {
static_assert(std::is_same_v<decltype(pow(0.9, Index{3})), double>);
static_assert(std::is_same_v<decltype(sqrt(2.0)), double>);
}  // namespace rw::optim

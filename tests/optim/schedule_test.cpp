// Schedules: each formula at its corners, and their products.
#include <rewind/optim/schedule.hpp>

#include "support.hpp"

using namespace rw;
using namespace rw::optim;
using test::error_text;

TEST_CASE("schedule: the formulas at their corners") {
  CHECK(Schedule()(17) == 1);
  CHECK(constant(0.3)(5) == 0.3);
  auto w = warmup(4);
  CHECK(w(1) == 0.25);
  CHECK(w(4) == 1);
  CHECK(w(100) == 1);
  auto c = cosine(10);
  CHECK(c(1) == 1);
  CHECK(test::close(c(6), 0.5, 1e-15));
  CHECK(c(10) > 0);
  CHECK(test::close(c(11), 0, 1e-15));
  CHECK(test::close(c(1000), 0, 1e-15));
  CHECK(test::close(cosine(10, 0.2)(6), 0.6, 1e-15));
  CHECK(test::close(cosine(10, 0.2)(11), 0.2, 1e-15));
  auto s = step_decay(3, 0.1);
  CHECK(s(3) == 1);
  CHECK(s(4) == 0.1);
  CHECK(test::close(s(7), 0.01, 1e-15));
  auto e = exponential(0.5);
  CHECK(e(1) == 1);
  CHECK(e(4) == 0.125);
}

TEST_CASE("schedule: products compose, any function of the step is one") {
  auto both = warmup(4) * cosine(10);
  CHECK(both(2) == 0.5 * cosine(10)(2));
  double factor = 3;
  Schedule own = [&](Index k) { return factor * static_cast<double>(k); };
  Schedule copy = own;
  own = constant() * copy * constant(2);
  factor = 5;
  CHECK(own(2) == 20);
  CHECK(copy(2) == 10);
}

TEST_CASE("schedule: lengths must be positive") {
  CHECK(error_text<ValueError>([] { warmup(0); }) == "warmup: steps is 0 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { cosine(-5); }) == "cosine: steps is -5 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { step_decay(0, 0.5); }) == "step_decay: every is 0 (it must be at least 1)");
}

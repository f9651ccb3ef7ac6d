// A user's fourth program: a loop by hand, and the same as a scan.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>
using namespace rw;

TEST_CASE("api: a loop by hand equals scan up to rounding, values and gradients") {
  seed(6);
  const Index steps = 20, batch = 3, hidden = 8;
  nn::GruCell cell(5, hidden);
  Variable x = random::normal({steps, batch, 5});

  auto h = zeros({batch, hidden});
  for (Index t = 0; t < steps; ++t) h = cell(x[t], h);  // plain C++
  backward(sum(square(h)));
  Tensor by_hand = cell.wh.gradient().value();
  cell.wh.clear_gradient();

  h = zeros({batch, hidden});
  auto [last, ys] = scan(
      [&](const Variable& h, const Variable& x) {
        auto n = cell(x, h);
        return std::pair{n, n};
      },
      h, x);
  backward(sum(square(last)));
  CHECK(ys.shape() == Shape{steps, batch, hidden});
  CHECK(max(abs(cell.wh.gradient() - by_hand)).item() <= 1e-5 * max(abs(Variable(by_hand))).item());
}

// Initialisation: ranges, moments, orthogonality.
#include <rewind/autograd/init.hpp>
#include <rewind/core/random.hpp>
#include <rewind/core/team.hpp>

#include "support.hpp"

using namespace rw;

namespace {

struct Moments {
  double mean = 0, deviation = 0, low = 0, high = 0;
};
Moments moments(const Tensor& t) {
  auto values = test::doubles(t);
  Moments m;
  m.low = m.high = values[0];
  for (double v : values) {
    m.mean += v / static_cast<double>(values.size());
    m.low = std::fmin(m.low, v);
    m.high = std::fmax(m.high, v);
  }
  for (double v : values) m.deviation += (v - m.mean) * (v - m.mean) / static_cast<double>(values.size());
  m.deviation = std::sqrt(m.deviation);
  return m;
}

/// The largest distance of w w^T (or w^T w if `columns`) from gain^2 times the identity, for block [in, n] at column `first`.
double distance(const Tensor& w, Index first, Index n, bool columns, double gain) {
  auto v = test::doubles(w);
  Index in = w.size() / w.shape().back(), out = w.shape().back();
  auto at = [&](Index i, Index j) { return v[static_cast<std::size_t>(i * out + first + j)]; };
  double worst = 0;
  for (Index i = 0; i < (columns ? n : in); ++i)
    for (Index j = 0; j < (columns ? n : in); ++j) {
      double dot = 0;
      for (Index k = 0; k < (columns ? in : n); ++k) dot += columns ? at(k, i) * at(k, j) : at(i, k) * at(j, k);
      double e = std::abs(dot - (i == j ? gain * gain : 0));
      if (!(e <= worst)) worst = e;
    }
  return worst;
}

}  // namespace

TEST_CASE("init: constants, and a thread's seed gives the same numbers again") {
  CHECK(identical(init::zeros()({2, 3}), Tensor::zeros({2, 3})));
  CHECK(identical(init::constant(2.5)({4}), Tensor::full({4}, 2.5)));
  seed(3);
  Tensor a = init::glorot()({5, 4});
  Tensor b = init::glorot()({5, 4});
  seed(3);
  CHECK(identical(init::glorot()({5, 4}), a));
  CHECK(!identical(a, b));
}

TEST_CASE("init: uniform, normal, glorot and kaiming have their ranges and moments") {
  seed(4);
  auto u = moments(init::uniform(-2, 4)({300, 200}));
  CHECK(u.low >= -2);
  CHECK(u.high < 4);
  CHECK(u.mean == doctest::Approx(1).epsilon(0.02));
  CHECK(u.deviation == doctest::Approx(6 / std::sqrt(12)).epsilon(0.02));
  auto n = moments(init::normal(1, 3)({300, 200}));
  CHECK(n.mean == doctest::Approx(1).epsilon(0.05));
  CHECK(n.deviation == doctest::Approx(3).epsilon(0.02));
  double limit = 2 * std::sqrt(6.0 / 500);
  auto g = moments(init::glorot(2)({300, 200}));
  CHECK(g.low >= -limit);
  CHECK(g.high <= limit);
  CHECK(g.deviation == doctest::Approx(limit / std::sqrt(3)).epsilon(0.02));
  CHECK(moments(init::kaiming()({300, 200})).deviation == doctest::Approx(std::sqrt(2.0 / 300)).epsilon(0.02));
  CHECK(moments(init::kaiming(1)({10, 30, 200})).deviation == doctest::Approx(std::sqrt(1.0 / 300)).epsilon(0.02));
  CHECK(moments(init::standard()({30, 20})).high <= std::sqrt(6.0 / 50));
  CHECK(identical(init::standard()({7}), Tensor::zeros({7})));
}

TEST_CASE("init: orthogonal has orthonormal rows or columns, in square blocks where the shape allows") {
  seed(5);
  const double tolerance = 2e-6;  // entries are rounded to f32
  Tensor blocks = init::orthogonal()({70, 280});
  for (Index g = 0; g < 4; ++g) CHECK(distance(blocks, g * 70, 70, false, 1) <= tolerance);
  CHECK(distance(init::orthogonal(3)({5, 5}), 0, 5, true, 3) <= 9 * tolerance);
  CHECK(distance(init::orthogonal()({5, 8}), 0, 8, false, 1) <= tolerance);    // wide: rows
  CHECK(distance(init::orthogonal()({90, 40}), 0, 40, true, 1) <= tolerance);  // tall: columns
  CHECK(distance(init::orthogonal()({1, 3}), 0, 1, false, 1) <= tolerance);
  double worst = 0;  // also of rows that were nearly dependent
  for (int draw = 0; draw < 2000; ++draw)
    if (const double d = distance(init::orthogonal()({6, 6}), 0, 6, false, 1); !(d <= worst)) worst = d;
  CHECK(worst <= tolerance);
  CHECK(init::orthogonal()({0, 3}).size() == 0);
  CHECK(test::error_text<ShapeError>([] { return init::orthogonal()({3}); }) ==
        "orthogonal: rank is 1: shape is [3] (a matrix is needed: [inputs, outputs])");
}

TEST_CASE("init: orthogonal gives the same bits with any number of threads, and leaves the generator where it would be") {
  const int before = threads();
  const Shape shapes[] = {{70, 280}, {40, 400}, {90, 40}};
  std::vector<Tensor> alone, next;
  for (int team : {1, 2, 3}) {
    set_threads(team);
    for (std::size_t s = 0; s < std::size(shapes); ++s) {
      seed(7);
      Tensor made = init::orthogonal()(shapes[s]), after = random::uniform({3});
      if (team == 1) {
        alone.push_back(made);
        next.push_back(after);
      }
      CHECK(identical(made, alone[s]));
      CHECK(identical(after, next[s]));
    }
  }
  set_threads(before);
}

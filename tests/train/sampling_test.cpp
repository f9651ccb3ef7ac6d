#include <rewind/train/sampling.hpp>

#include <cmath>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;
using test::error_text;

namespace {
Tensor logits(std::initializer_list<float> values) { return Tensor::of<float>(Shape{1, values.size()}, values); }

std::vector<double> shares(const Tensor& row, const SamplingOptions& options, int draws) {
  Generator generator(7);
  std::vector<double> result(static_cast<std::size_t>(row.size()));
  for (int i = 0; i < draws; ++i) result[static_cast<std::size_t>(draw(row, options, generator))] += 1.0 / draws;
  return result;
}
}  // namespace

TEST_CASE("draw: symbols come as often as softmax says") {
  const double e = std::exp(1.0), total = 1 + e + e * e;
  // 20,000 draws: a share's deviation is below 0.0036, four of them are allowed.
  CHECK(test::close(shares(logits({1, 0, 2}), {}, 20000), std::vector<double>{e / total, 1 / total, e * e / total}, 0.015));
  CHECK(test::close(shares(logits({1, 0, 2}), {.temperature = 0.5}, 20000),
                    std::vector<double>{e * e / (1 + e * e + std::exp(4.0)), 1 / (1 + e * e + std::exp(4.0)),
                                        std::exp(4.0) / (1 + e * e + std::exp(4.0))},
                    0.015));
}

TEST_CASE("draw: top_k leaves out the unlikely, temperature 0 takes the likeliest, the first of equals") {
  CHECK(test::close(shares(logits({1, 0, 1, 1}), {.top_k = 2}, 20000), std::vector<double>{0.5, 0, 0.5, 0}, 0.015));
  CHECK(shares(logits({0, 3, 3}), {.temperature = 0}, 50)[1] == doctest::Approx(1));
  CHECK(shares(logits({0, 3, 3}), {.top_k = 1}, 50)[1] == doctest::Approx(1));
  CHECK(shares(logits({0, 300}), {.temperature = 1e-300}, 50)[1] == doctest::Approx(1));
  CHECK(shares(logits({5}), {.top_k = 100}, 5)[0] == doctest::Approx(1));
  const float never = -HUGE_VALF;
  CHECK(shares(logits({never, 0, never}), {}, 50)[1] == doctest::Approx(1));
}

TEST_CASE("draw: depends on the generator alone") {
  Generator a(3), b(3);
  for (int i = 0; i < 100; ++i) CHECK(draw(logits({0, 0, 0, 0}), {}, a) == draw(logits({0, 0, 0, 0}), {}, b));
  CHECK(a.state() == b.state());
}

TEST_CASE("draw: errors") {
  Generator g;
  CHECK(error_text<ValueError>([&] { draw(logits({0, NAN}), {}, g); }) == "sampling: logit 1 is nan (has the training diverged?)");
  CHECK(error_text<ValueError>([&] { draw(logits({HUGE_VALF, 0}), {}, g); }) == "sampling: logit 0 is inf (has the training diverged?)");
  CHECK(error_text<ValueError>([&] { draw(logits({-HUGE_VALF}), {}, g); }) == "sampling: no logit is finite (has the training diverged?)");
  CHECK(error_text<ValueError>([&] {
          draw(Tensor({1, 0}), {}, g);
        }) == "sampling: no logits: shape [1, 0] (at least one symbol is needed)");
  CHECK(error_text<ValueError>([&] { check(SamplingOptions{.temperature = -1}); }) ==
        "sampling: temperature must be finite and not negative: got -1 (0 takes the likeliest symbol)");
  CHECK(error_text<ValueError>([&] { check(SamplingOptions{.temperature = NAN}); }) ==
        "sampling: temperature must be finite and not negative: got nan (0 takes the likeliest symbol)");
  CHECK(error_text<ValueError>([&] { check(SamplingOptions{.top_k = -3}); }) ==
        "sampling: top_k must not be negative: got -3 (0 draws from all symbols)");
}

// Losses: values against plain doubles, gradients, stability, errors.
#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/profile.hpp>
#include <rewind/core/random.hpp>
#include <rewind/nn/loss.hpp>

#include "support.hpp"

using namespace rw;
using test::doubles;
using test::error_text;

namespace {

Tensor targets_of(const Shape& shape, Index classes) {
  Tensor t(shape, DType::i32);
  auto* p = t.data<std::int32_t>();
  for (Index i = 0; i < t.size(); ++i) p[i] = static_cast<std::int32_t>((i * 7 + 3) % classes);
  return t;
}

}  // namespace

TEST_CASE("cross entropy: the mean of -log softmax at the target, and its gradient") {
  seed(1);
  const Index rows = 12, classes = 7;
  Tensor logits = random::normal({4, 3, classes}, 0, 3, DType::f64), targets = targets_of({4, 3}, classes);
  auto l = doubles(logits), t = doubles(targets);
  double wanted = 0;
  std::vector<double> slope(l.size());
  for (Index i = 0; i < rows; ++i) {
    double total = 0;
    for (Index j = 0; j < classes; ++j) total += std::exp(l[static_cast<std::size_t>(i * classes + j)]);
    for (Index j = 0; j < classes; ++j) {
      auto at = static_cast<std::size_t>(i * classes + j);
      bool hit = j == static_cast<Index>(t[static_cast<std::size_t>(i)]);
      slope[at] = (std::exp(l[at]) / total - (hit ? 1 : 0)) / rows;
      if (hit) wanted += (std::log(total) - l[at]) / rows;
    }
  }
  Variable x = logits;
  for (Tensor index : {targets, targets.cast(DType::i64)}) {
    auto loss = nn::cross_entropy(x, index);
    CHECK(loss.shape() == Shape{});
    CHECK(test::close(loss.item(), wanted, 1e-14));
    CHECK(test::max_relative_error(doubles(gradients(loss, x).value()), slope) <= 1e-13);
  }
  auto single = nn::cross_entropy(x.value().select(0, 0).select(0, 0), targets.select(0, 0).select(0, 0));
  CHECK(single.shape() == Shape{});
  auto report = gradcheck([&](const Variable& v) { return nn::cross_entropy(v, targets); }, x, {.second_order = true});
  CHECK_MESSAGE(report.passed, report.message);
}

TEST_CASE("cross entropy: of the logits a training step writes the gradient alone") {
  const Index rows = 64, classes = 512;
  const Parameter w(random::normal({classes, classes}, 0, 0.05)), b(random::normal({classes}));
  const Variable x(random::normal({rows, classes})), targets(targets_of({rows}, classes));
  const auto loss = nn::cross_entropy(matmul(matmul(matmul(x, w), w), w) + b, targets);
  profile::start();
  backward(loss);
  profile::stop();
  double bytes = 0;
  for (const auto& row : profile::report().rows)
    if (row.kind == "region" && row.shape.find("[64, 512]") != std::string::npos) bytes += row.bytes;
  const double logits = 4.0 * rows * classes;
  CHECK(bytes >= 2 * logits);  // read, and written as gradients
  CHECK(bytes < 2.5 * logits);
}

TEST_CASE("cross entropy: logits of any size neither overflow nor lose the loss") {
  Variable x = Tensor::of<float>({2, 3}, {1e4f, 0, -1e4f, -3e38f, 3e38f, 0});
  Variable right = Tensor::of<std::int32_t>({2}, {0, 1}), wrong = Tensor::of<std::int32_t>({2}, {2, 1});
  CHECK(nn::cross_entropy(x, right).item() == 0);
  CHECK(nn::cross_entropy(x, wrong).item() == doctest::Approx(1e4));
  for (double g : doubles(gradients(nn::cross_entropy(x, wrong), x).value())) CHECK(std::isfinite(g));
}

TEST_CASE("cross entropy: a target that is no class makes the loss and its gradients NaN") {
  Parameter p({2, 3});
  for (int target : {-1, 3}) {
    p.clear_gradient();
    auto loss = nn::cross_entropy(p, Tensor::of<std::int32_t>({2}, {0, target}));
    backward(loss);
    CHECK(std::isnan(loss.item()));
    CHECK(std::isnan(p.gradient().value().at({1, 0})));
  }
}

TEST_CASE("cross entropy: shapes and dtypes that do not fit") {
  Variable logits = zeros({35, 32, 65});
  CHECK(error_text<ShapeError>([&] {
          return nn::cross_entropy(logits, zeros({35, 31}, DType::i32));
        }) ==
        "cross_entropy: targets are [35, 31], but logits are [35, 32, 65] (targets must be logits' shape without its last axis: [35, 32])");
  CHECK(error_text<DTypeError>([&] {
          return nn::cross_entropy(logits, zeros({35, 32}));
        }) == "cross_entropy: targets are f32 (they are indices of classes: i32 or i64)");
  CHECK(error_text<DTypeError>([&] {
          return nn::cross_entropy(zeros({2, 3}, DType::i32), zeros({2}, DType::i32));
        }) == "cross_entropy: logits are i32 (they must be f32 or f64)");
  CHECK(error_text<ShapeError>([&] { return nn::cross_entropy(zeros({}), zeros({}, DType::i32)); }) ==
        "cross_entropy: logits are [] (they must be [.., V])");
  CHECK(error_text<ShapeError>([&] {
          return nn::cross_entropy(zeros({0, 3}), zeros({0}, DType::i32));
        }) == "cross_entropy: logits are [0, 3]: a mean over nothing (every extent must be at least 1)");
}

TEST_CASE("mean squared error: value, gradient, errors") {
  Variable y = Tensor::of<double>({2, 2}, {1, 2, 3, 4}), target = Tensor::of<double>({2, 2}, {0, 2, 5, 4});
  auto loss = nn::mean_squared_error(y, target);
  CHECK(loss.item() == 5.0 / 4);
  CHECK(doubles(gradients(loss, y).value()) == std::vector<double>{0.5, 0, -1, 0});
  CHECK(error_text<ShapeError>([&] { return nn::mean_squared_error(y, zeros({2})); }) ==
        "mean_squared_error: shapes differ: y is [2, 2], target [2] (they must be equal)");
  CHECK(error_text<ShapeError>([&] { return nn::mean_squared_error(zeros({0}), zeros({0})); }) ==
        "mean_squared_error: y is [0]: a mean over nothing (every extent must be at least 1)");
}

// Linear, Embedding, Dropout, LayerNorm: values, gradients, names, errors.
#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/core/random.hpp>
#include <rewind/nn/dropout.hpp>
#include <rewind/nn/embedding.hpp>
#include <rewind/nn/layer_norm.hpp>
#include <rewind/nn/linear.hpp>

#include "support.hpp"

using namespace rw;
using test::doubles;
using test::error_text;

namespace {

std::vector<std::string> names_of(const ParameterList& list) {
  std::vector<std::string> names;
  for (const auto& p : list) names.push_back(p.name);
  return names;
}

}  // namespace

TEST_CASE("linear: x times weight plus bias, over any leading axes") {
  seed(1);
  nn::Linear linear(3, 2), plain(3, 2, {.bias = false}), across(3, 2, {.transposed = true});
  linear.weight = Tensor::of<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  *linear.bias = Tensor::of<float>({2}, {10, 20});
  across.weight = Tensor::of<float>({2, 3}, {1, 3, 5, 2, 4, 6});
  *across.bias = Tensor::of<float>({2}, {10, 20});
  Variable x = Tensor::of<float>({2, 1, 3}, {1, 0, 0, 1, 1, -1});
  CHECK(doubles(linear(x).value()) == std::vector<double>{11, 22, 9, 20});
  CHECK(doubles(across(x).value()) == std::vector<double>{11, 22, 9, 20});
  CHECK(linear(x).shape() == Shape{2, 1, 2});
  CHECK(names_of(parameters(linear)) == std::vector<std::string>{"weight", "bias"});
  CHECK(names_of(parameters(plain)) == std::vector<std::string>{"weight"});
  CHECK(count(linear) == 8);
  backward(sum(across(x)));
  CHECK(across.weight.gradient().shape() == Shape{2, 3});
  CHECK(doubles(across.weight.gradient().value()) == std::vector<double>{2, 1, -1, 2, 1, -1});
  CHECK(doubles(across.bias->gradient().value()) == std::vector<double>{2, 2});

  CHECK(error_text<ShapeError>([&] {
          return linear(zeros({4, 5}));
        }) == "Linear: x is [4, 5], but this layer takes inputs of 3 (x's last axis must be 3)");
  CHECK(error_text<ShapeError>([&] { return linear(zeros({})); }) ==
        "Linear: x is [], but this layer takes inputs of 3 (x's last axis must be 3)");
  CHECK(error_text<ValueError>([] { return nn::Linear(0, 2); }) == "Linear: inputs is 0 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { return nn::Linear(2, -1); }) == "Linear: outputs is -1 (it must be at least 1)");
}

TEST_CASE("embedding: rows by index, their gradients added up") {
  nn::Embedding embed(4, 2);
  embed.weight = Tensor::of<float>({4, 2}, {0, 1, 10, 11, 20, 21, 30, 31});
  Variable tokens = Tensor::of<std::int64_t>({2, 2}, {3, 1, 1, 0});
  auto y = embed(tokens);
  CHECK(y.shape() == Shape{2, 2, 2});
  CHECK(doubles(y.value()) == std::vector<double>{30, 31, 10, 11, 10, 11, 0, 1});
  backward(sum(y));
  CHECK(doubles(embed.weight.gradient().value()) == std::vector<double>{1, 1, 2, 2, 0, 0, 1, 1});
  CHECK(error_text<DTypeError>([&] { return embed(zeros({2})); }) == "Embedding: tokens are f32 (they are indices: i32 or i64)");
  CHECK(error_text<ValueError>([] { return nn::Embedding(3, 0); }) == "Embedding: width is 0 (it must be at least 1)");
}

TEST_CASE("dropout: zeros at its rate, keeps the mean, and is the identity where nobody trains") {
  seed(2);
  nn::Dropout dropout(0.25);
  Variable x = Tensor::full({100, 100}, 3);
  auto y = doubles(dropout(x).value());
  int dropped = 0;
  for (double v : y) {
    if (v == 0)
      ++dropped;
    else
      CHECK(v == doctest::Approx(4));
  }
  CHECK(dropped / 10000.0 == doctest::Approx(0.25).epsilon(0.1));
  CHECK(doubles(dropout(x).value()) != y);
  {
    NoGrad guard;
    CHECK(doubles(dropout(x).value()) != doubles(x.value()));
  }
  {
    Evaluation guard;
    CHECK(identical(dropout(x).value(), x.value()));
  }
  CHECK(identical(nn::Dropout(0)(x).value(), x.value()));
  CHECK(parameters(dropout).empty());

  Parameter p(Tensor::full({50}, 2));
  auto masked = dropout(p);
  backward(sum(masked));
  CHECK(test::close(p.gradient().value(), (masked / 2).value(), 1e-6));

  CHECK(error_text<ValueError>([] { return nn::Dropout(1); }) == "Dropout: rate is 1 (it must lie in [0, 1))");
  CHECK(error_text<ValueError>([] { return nn::Dropout(-0.5); }) == "Dropout: rate is -0.5 (it must lie in [0, 1))");
  CHECK(error_text<ValueError>([] { return nn::Dropout(NAN); }) == "Dropout: rate is nan (it must lie in [0, 1))");
}

TEST_CASE("layer norm: mean 0 and variance 1 along the last axis, then gain and bias") {
  seed(3);
  nn::LayerNorm norm(6);
  cast(norm, DType::f64);
  Tensor x = random::normal({4, 3, 6}, 2, 3, DType::f64);
  auto v = doubles(x), y = doubles(norm(x).value());
  for (std::size_t row = 0; row < 12; ++row) {
    double mean = 0, variance = 0;
    for (std::size_t j = 0; j < 6; ++j) mean += v[row * 6 + j] / 6;
    for (std::size_t j = 0; j < 6; ++j) variance += (v[row * 6 + j] - mean) * (v[row * 6 + j] - mean) / 6;
    for (std::size_t j = 0; j < 6; ++j) CHECK(test::close(y[row * 6 + j], (v[row * 6 + j] - mean) / std::sqrt(variance + 1e-5), 1e-12));
  }
  norm.gain = random::normal({6}, 1, 1, DType::f64);
  norm.bias = random::normal({6}, 0, 1, DType::f64);
  Variable w = random::normal({4, 3, 6}, 0, 1, DType::f64);
  auto report = gradcheck([&](const Variable& x) { return sum(norm(x) * w); }, x);
  CHECK_MESSAGE(report.passed, report.message);
  CHECK(names_of(parameters(norm)) == std::vector<std::string>{"gain", "bias"});

  CHECK(error_text<ShapeError>([&] {
          return norm(zeros({4, 5}));
        }) == "LayerNorm: x is [4, 5], but this layer takes inputs of 6 (x's last axis must be 6)");
  CHECK(error_text<ValueError>([] { return nn::LayerNorm(0); }) == "LayerNorm: inputs is 0 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { return nn::LayerNorm(2, 0); }) == "LayerNorm: epsilon is 0 (it must be positive)");
}

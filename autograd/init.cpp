#include <algorithm>
#include <cmath>
#include <rewind/autograd/init.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/random.hpp>
#include <rewind/core/team.hpp>
#include <vector>

namespace rw::init {
namespace {

struct Fans {
  double in = 1, out = 1;
};
Fans fans(const Shape& shape) {
  if (shape.rank() == 0) return {};
  double out = static_cast<double>(shape.back());
  double in = 1;
  for (int i = 0; i + 1 < shape.rank(); ++i) in *= static_cast<double>(shape[i]);
  return {in, out};
}

Tensor make_constant(const Shape& shape, double value, double) { return Tensor::full(shape, value); }
Tensor make_uniform(const Shape& shape, double low, double high) { return random::uniform(shape, low, high); }
Tensor make_normal(const Shape& shape, double mean, double deviation) { return random::normal(shape, mean, deviation); }

Tensor make_glorot(const Shape& shape, double gain, double) {
  auto [in, out] = fans(shape);
  double limit = gain * std::sqrt(6 / (in + out));
  return random::uniform(shape, -limit, limit);
}

Tensor make_kaiming(const Shape& shape, double gain, double) { return random::normal(shape, 0, gain / std::sqrt(fans(shape).in)); }

Tensor make_standard(const Shape& shape, double, double) { return shape.rank() < 2 ? Tensor::zeros(shape) : make_glorot(shape, 1, 0); }

/// sum of a[k] b[k], in eight chains: one alone waits for each addition.
double dot(const double* a, const double* b, Index n) {
  double chains[8] = {};
  Index k = 0;
  for (; k + 8 <= n; k += 8)
    for (Index c = 0; c < 8; ++c) chains[c] += a[k + c] * b[k + c];
  for (; k < n; ++k) chains[0] += a[k] * b[k];
  return ((chains[0] + chains[1]) + (chains[2] + chains[3])) + ((chains[4] + chains[5]) + (chains[6] + chains[7]));
}

/// Makes the rows of q [n, width], n <= width, orthonormal by Gram and Schmidt's method: a block of rows against all before it by products,
/// then one row against another. Once is enough: a row of normal numbers keeps a part of some 1 / sqrt(width) or more, and rounding errors,
/// 1e-16 over that part, are far below those of f32.
void orthonormalize(double* q, Index n, Index width) {
  constexpr Index block = 16;
  std::vector<double> projection(static_cast<std::size_t>(block * n));
  for (Index begin = 0; begin < n; begin += block) {
    const Index rows = std::min(block, n - begin);
    double* p = q + begin * width;
    if (begin > 0) {
      matmul(DType::f64, rows, begin, width, {p, width, 1}, {q, 1, width}, projection.data(), begin, false, true);
      for (Index k = 0; k < rows * begin; ++k) projection[static_cast<std::size_t>(k)] *= -1;
      matmul(DType::f64, rows, width, begin, {projection.data(), begin, 1}, {q, width, 1}, p, width, true, true);
    }
    for (Index i = 0; i < rows; ++i) {
      double* row = p + i * width;
      for (Index j = 0; j < i; ++j) {
        const double* other = p + j * width;
        const double part = dot(row, other, width);
        for (Index k = 0; k < width; ++k) row[k] -= part * other[k];
      }
      const double length = std::sqrt(dot(row, row, width));
      for (Index k = 0; k < width; ++k) row[k] /= length;
    }
  }
}

/// Square blocks side by side where the shape allows, each drawn from a key of its own; the team makes several at once.
Tensor make_orthogonal(const Shape& shape, double gain, double) {
  if (shape.rank() < 2)
    fail<ShapeError>("orthogonal: rank is {}: shape is {} (a matrix is needed: [inputs, outputs])", shape.rank(), shape);
  if (shape.size() == 0) return Tensor::zeros(shape);
  const Index out = shape.back(), in = shape.size() / out;
  Tensor result(shape);
  float* w = result.data<float>();
  const Index columns = out % in == 0 ? in : out;  // of one block
  const Index n = std::min(in, columns), width = std::max(in, columns);
  std::vector<RandomKey> keys;
  for (Index first = 0; first < out; first += columns) keys.push_back(generator().next());
  const auto blocks = static_cast<Index>(keys.size());
  auto make = [&](Index block) {
    std::vector<float> drawn(static_cast<std::size_t>(n * width));
    fill_normal(keys[static_cast<std::size_t>(block)], 0, drawn.data(), n * width);
    std::vector<double> q(drawn.begin(), drawn.end());
    orthonormalize(q.data(), n, width);
    for (Index i = 0; i < in; ++i) {
      for (Index j = 0; j < columns; ++j) {
        double value = in <= columns ? q[static_cast<std::size_t>(i * width + j)] : q[static_cast<std::size_t>(j * width + i)];
        w[i * out + block * columns + j] = static_cast<float>(gain * value);
      }
    }
  };
  const int parts = shape.size() < 4096 ? 1 : static_cast<int>(std::min<Index>(threads(), blocks));
  if (parts == 1) {
    for (Index block = 0; block < blocks; ++block) make(block);  // its products may use the team
    return result;
  }
  parallel(parts, [&](int part) {
    const auto [begin, end] = share_of(blocks, part, parts);
    for (Index block = begin; block < end; ++block) make(block);
  });
  return result;
}

}  // namespace

Initializer zeros() { return {make_constant}; }
Initializer constant(double value) { return {make_constant, value}; }
Initializer uniform(double low, double high) { return {make_uniform, low, high}; }
Initializer normal(double mean, double deviation) { return {make_normal, mean, deviation}; }
Initializer glorot(double gain) { return {make_glorot, gain}; }
Initializer kaiming(double gain) { return {make_kaiming, gain}; }
Initializer orthogonal(double gain) { return {make_orthogonal, gain}; }
Initializer standard() { return {make_standard}; }

}  // namespace rw::init

#include <cmath>
#include <rewind/autograd/init.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/random.hpp>
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

/// Makes the rows of q [n, width], n <= width, orthonormal by Gram and Schmidt's method, twice over for accuracy: a block of rows against
/// all before it by products, then one row against another.
void orthonormalize(std::vector<double>& q, Index n, Index width) {
  constexpr Index block = 32;
  std::vector<double> projection(static_cast<std::size_t>(block * n));
  for (Index begin = 0; begin < n; begin += block) {
    Index rows = std::min(block, n - begin);
    double* p = q.data() + begin * width;
    for (int pass = 0; pass < 2; ++pass) {
      if (begin > 0) {
        matmul(DType::f64, rows, begin, width, {p, width, 1}, {q.data(), 1, width}, projection.data(), begin, false, true);
        for (double& x : projection) x = -x;
        matmul(DType::f64, rows, width, begin, {projection.data(), begin, 1}, {q.data(), width, 1}, p, width, true, true);
      }
      for (Index i = 0; i < rows; ++i) {
        double* row = p + i * width;
        for (Index j = 0; j < i; ++j) {
          const double* other = p + j * width;
          double dot = 0;
          for (Index k = 0; k < width; ++k) dot += row[k] * other[k];
          for (Index k = 0; k < width; ++k) row[k] -= dot * other[k];
        }
        double squares = 0;
        for (Index k = 0; k < width; ++k) squares += row[k] * row[k];
        double length = std::sqrt(squares);
        for (Index k = 0; k < width; ++k) row[k] /= length;
      }
    }
  }
}

Tensor make_orthogonal(const Shape& shape, double gain, double) {
  if (shape.rank() < 2)
    fail<ShapeError>("orthogonal: rank is {}: shape is {} (a matrix is needed: [inputs, outputs])", shape.rank(), shape);
  if (shape.size() == 0) return Tensor::zeros(shape);
  Index out = shape.back(), in = shape.size() / out;
  Tensor result(shape);
  float* w = result.data<float>();
  Index columns = out % in == 0 ? in : out;  // of one block
  Index n = std::min(in, columns), width = std::max(in, columns);
  for (Index first = 0; first < out; first += columns) {
    Tensor drawn = random::normal({n, width}, 0, 1, DType::f64);
    const double* from = std::as_const(drawn).data<double>();
    std::vector<double> q(from, from + n * width);
    orthonormalize(q, n, width);
    for (Index i = 0; i < in; ++i) {
      for (Index j = 0; j < columns; ++j) {
        double value = in <= columns ? q[static_cast<std::size_t>(i * width + j)] : q[static_cast<std::size_t>(j * width + i)];
        w[i * out + first + j] = static_cast<float>(gain * value);
      }
    }
  }
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

// Where random programs get their choices and values from.
#pragma once

#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>

#include <random>
#include <vector>

namespace rw::test {

/// Appends gradients of the loss, and of a function of these, to so high an order: 0 to 2.
inline void append_gradients(std::vector<Variable>& outputs, const Variable& loss, const std::vector<Variable>& leaves, int order) {
  if (order == 0) return;
  const auto first = detail::gradients(loss, leaves);
  outputs.insert(outputs.end(), first.begin(), first.end());
  if (order == 1) return;
  Variable projection = full(Shape{}, 0.0, loss.dtype());
  for (const auto& g : first) projection = projection + sum(sin(g + 0.3));
  const auto second = detail::gradients(projection, leaves);
  outputs.insert(outputs.end(), second.begin(), second.end());
}

class RandomSource {
 public:
  RandomSource(std::uint64_t seed, DType dtype) : dtype_(dtype), random_(seed) {}

  int pick(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
  bool one_in(int n) { return pick(n) == 0; }
  /// Of a list, sooner one of the last.
  template <class T>
  const T& any(const std::vector<T>& list) {
    int n = static_cast<int>(list.size());
    return list[static_cast<std::size_t>(n - 1 - std::min(pick(n), pick(n)))];
  }

  /// Uniform between -scale and scale, the same values in both dtypes.
  Variable leaf(const Shape& shape, double scale = 1) {
    Tensor t(shape, DType::f64);
    double* p = t.data<double>();
    for (Index i = 0; i < t.size(); ++i) p[i] = scale * real();
    return t.cast(DType::f32).cast(dtype_);
  }
  Variable number() { return static_cast<double>(static_cast<float>(real())); }
  /// 0 .. below-1.
  Variable integers(const Shape& shape, Index below, DType dtype = DType::i64) {
    Tensor t(shape, DType::i64);
    auto* p = t.data<std::int64_t>();
    for (Index i = 0; i < t.size(); ++i) p[i] = pick(static_cast<int>(below));
    return t.cast(dtype);
  }

  Axes random_axes(const Variable& x) {
    Dims axes;
    for (int a = 0; a < x.rank(); ++a)
      if (one_in(2)) axes.push_back(one_in(3) ? a - x.rank() : a);
    if (axes.rank() == 0) axes.push_back(pick(x.rank()));
    return Axes(axes);
  }

  static bool joins(const Shape& a, const Shape& b) { return broadcasts_to(a, b) || broadcasts_to(b, a); }
  /// Another of the pool that broadcasts with x.
  Variable partner(const std::vector<Variable>& list, const Variable& x) {
    for (int i = 0; i < 8; ++i)
      if (const auto& y = any(list); joins(x.shape(), y.shape())) return y;
    return x;
  }
  /// x with another shape, by sums and broadcasts.
  Variable shaped(const Variable& x, const Shape& shape) {
    if (broadcasts_to(x.shape(), shape)) return broadcast_to(x, shape);
    if (x.size() == shape.size()) return reshape(x, shape);
    return broadcast_to(x.rank() ? sum(x) * 0.2 : x, shape);
  }
  Variable same_shape(const std::vector<Variable>& list, const Shape& shape) {
    for (int i = 0; i < 6; ++i)
      if (const auto& y = any(list); y.shape() == shape) return y;
    return shaped(any(list), shape);
  }

 private:
  double real() { return static_cast<double>(random_() >> 11) * 0x1p-52 - 1; }
  DType dtype_;
  std::mt19937_64 random_;
};

}  // namespace rw::test

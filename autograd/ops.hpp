// The language: every operation on Variables. All are differentiable in their floating operands unless said otherwise.
//
// Elementwise operations broadcast: shapes are aligned at the last axis, extents are equal or one of them is 1 (ShapeError). A number
// takes the other operand's dtype; otherwise the later of bool, i32, i64, f32, f64. Negative axes count from the back.
#pragma once

#include <array>
#include <cmath>
#include <initializer_list>
#include <rewind/autograd/variable.hpp>
#include <rewind/core/random.hpp>
#include <span>
#include <vector>

namespace rw {

// Plain numbers stay plain: pow(beta, k) of two doubles is a double.
using std::abs, std::exp, std::expm1, std::log, std::log1p, std::sqrt, std::sin, std::cos, std::tanh, std::erf, std::pow;

/// A set of axes: one number, or a list in braces.
class Axes {
 public:
  Axes(std::initializer_list<Index> axes) {
    for (Index a : axes) list_.push_back(a);
  }
  template <std::integral T>
  Axes(T axis) {
    list_.push_back(static_cast<Index>(axis));
  }
  explicit Axes(const Dims& axes) : list_(axes) {}
  const Dims& list() const { return list_; }

 private:
  Dims list_;
};

// Arithmetic. operator% and integer division are not there: divide of integers gives f32.
Variable operator+(const Variable& x, const Variable& y);
Variable operator-(const Variable& x, const Variable& y);
Variable operator*(const Variable& x, const Variable& y);
Variable operator/(const Variable& x, const Variable& y);
Variable operator-(const Variable& x);
Variable& operator+=(Variable& x, const Variable& y);
Variable& operator-=(Variable& x, const Variable& y);
Variable& operator*=(Variable& x, const Variable& y);
Variable& operator/=(Variable& x, const Variable& y);
Variable pow(const Variable& x, const Variable& y);
Variable maximum(const Variable& x, const Variable& y);
Variable minimum(const Variable& x, const Variable& y);

// Comparisons give bool and have no derivative.
Variable operator<(const Variable& x, const Variable& y);
Variable operator<=(const Variable& x, const Variable& y);
Variable operator>(const Variable& x, const Variable& y);
Variable operator>=(const Variable& x, const Variable& y);
Variable equal(const Variable& x, const Variable& y);
Variable not_equal(const Variable& x, const Variable& y);
Variable less(const Variable& x, const Variable& y);
Variable less_equal(const Variable& x, const Variable& y);
Variable greater(const Variable& x, const Variable& y);
Variable greater_equal(const Variable& x, const Variable& y);
Variable logical_and(const Variable& x, const Variable& y);
Variable logical_or(const Variable& x, const Variable& y);
Variable logical_not(const Variable& x);
Variable is_finite(const Variable& x);
/// condition != 0 ? x : y.
Variable where(const Variable& condition, const Variable& x, const Variable& y);
/// x held within [low, high]; the gradient passes inside the closed interval.
Variable clamp(const Variable& x, const Variable& low, const Variable& high);

Variable abs(const Variable& x);
Variable sign(const Variable& x);
Variable exp(const Variable& x);
Variable expm1(const Variable& x);
Variable log(const Variable& x);
Variable log1p(const Variable& x);
Variable sqrt(const Variable& x);
Variable rsqrt(const Variable& x);
Variable square(const Variable& x);
Variable reciprocal(const Variable& x);
Variable sin(const Variable& x);
Variable cos(const Variable& x);
Variable tanh(const Variable& x);
Variable sigmoid(const Variable& x);
Variable relu(const Variable& x);
Variable softplus(const Variable& x);
Variable erf(const Variable& x);

/// a [.., M, K] times b [K, N], or b [.., K, N] with the same leading axes -> [.., M, N]. A vector [K] stands for a row on the left,
/// a column on the right. Floating only.
Variable matmul(const Variable& a, const Variable& b);

// Reductions, over all axes unless some are named; `keep` leaves them with extent 1.
Variable sum(const Variable& x);
Variable sum(const Variable& x, const Axes& axes, bool keep = false);
Variable mean(const Variable& x);
Variable mean(const Variable& x, const Axes& axes, bool keep = false);
Variable max(const Variable& x);
Variable max(const Variable& x, const Axes& axes, bool keep = false);
Variable min(const Variable& x);
Variable min(const Variable& x, const Axes& axes, bool keep = false);
/// The mean of the squared distances from the mean.
Variable variance(const Variable& x);
Variable variance(const Variable& x, const Axes& axes, bool keep = false);
/// The square root of the sum of squares; its gradient at 0 is 0.
Variable norm(const Variable& x);
Variable norm(const Variable& x, const Axes& axes, bool keep = false);
/// log(sum(exp(x))) without overflow.
Variable logsumexp(const Variable& x, const Axes& axes, bool keep = false);
/// i64 position of the largest (smallest) along an axis, the first of equals; no derivative.
Variable argmax(const Variable& x, Index axis, bool keep = false);
Variable argmin(const Variable& x, Index axis, bool keep = false);
Variable softmax(const Variable& x, Index axis = -1);
Variable log_softmax(const Variable& x, Index axis = -1);

/// Same elements, another shape; one extent may be -1.
Variable reshape(const Variable& x, const Shape& shape);
Variable transpose(const Variable& x);                    ///< last two axes exchanged
Variable transpose(const Variable& x, const Dims& axes);  ///< axis i of the result is axis axes[i] of x
Variable broadcast_to(const Variable& x, const Shape& shape);
Variable newaxis(const Variable& x, Index axis);
/// Elements start .. start+extent-1 of an axis. start is an input of plans, extent is structure.
Variable slice(const Variable& x, Index axis, Index start, Index extent);
/// Position `i` of an axis, without the axis.
Variable select(const Variable& x, Index axis, Index i);
Variable flip(const Variable& x, const Axes& axes);
/// `before` and `after` copies of `value` along an axis.
Variable pad(const Variable& x, Index axis, Index before, Index after, double value = 0);
Variable cumsum(const Variable& x, Index axis);
Variable concatenate(std::span<const Variable> parts, Index axis = -1);
Variable stack(std::span<const Variable> parts, Index axis = 0);
inline Variable concatenate(std::initializer_list<Variable> parts, Index axis = -1) {
  return concatenate(std::span(parts.begin(), parts.size()), axis);
}
inline Variable stack(std::initializer_list<Variable> parts, Index axis = 0) { return stack(std::span(parts.begin(), parts.size()), axis); }
/// Equal parts along an axis, whose extent must be a multiple.
std::vector<Variable> split(const Variable& x, Index parts, Index axis = -1);
namespace detail {
void split_into(std::span<Variable> parts, const Variable& x, Index axis);
}
template <std::size_t N>
std::array<Variable, N> split(const Variable& x, Index axis = -1) {
  std::array<Variable, N> parts;
  detail::split_into(parts, x, axis);
  return parts;
}
/// Rows of a table [V, ..] by index (i32 or i64, any shape S) -> [S, ..]. Throws ValueError when it runs if an index lies outside.
/// Gradient: rows are added up.
Variable gather(const Variable& table, const Variable& index);
/// The adjoint of gather: [V, ..] with row index[i] the sum of the rows x[i].
Variable scatter_add(const Variable& x, const Variable& index, Index rows);
/// 0, 1, .. along the last axis of a shape; no derivative.
Variable positions(const Shape& shape, DType dtype = DType::f32);
Variable cast(const Variable& x, DType dtype);

Variable zeros(const Shape& shape, DType dtype = DType::f32);
Variable ones(const Shape& shape, DType dtype = DType::f32);
Variable full(const Shape& shape, const Variable& value, DType dtype = DType::f32);
/// Random leaves: each takes a key of this thread's generator when it is recorded. No derivative.
Variable uniform(const Shape& shape, DType dtype = DType::f32);
Variable normal(const Shape& shape, DType dtype = DType::f32);
Variable bernoulli(const Shape& shape, const Variable& probability, DType dtype = DType::f32);  ///< 1 with this probability, else 0

/// The same value without its history: a constant for every gradient through it.
Variable detach(const Variable& x);

}  // namespace rw

// Shapes, strides and the rules of broadcasting.
#pragma once

#include <concepts>
#include <initializer_list>
#include <iosfwd>
#include <rewind/core/dtype.hpp>
#include <span>
#include <string>

namespace rw {

inline constexpr int max_rank = 8;

/// Up to eight Index values in place: the common form of shapes, strides and lists of axes.
class Dims {
 public:
  constexpr Dims() = default;
  constexpr explicit Dims(std::span<const Index> values) {
    for (Index v : values) push_back(v);
  }

  constexpr int rank() const { return rank_; }
  constexpr Index operator[](int i) const { return values_[i]; }
  constexpr Index& operator[](int i) { return values_[i]; }
  constexpr const Index* begin() const { return values_; }
  constexpr const Index* end() const { return values_ + rank_; }
  constexpr Index back() const { return values_[rank_ - 1]; }
  constexpr bool operator==(const Dims& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (values_[i] != other.values_[i]) return false;
    return true;
  }

  /// Throws ShapeError past eight.
  constexpr void push_back(Index value) {
    if (rank_ == max_rank) overflow();
    values_[rank_++] = value;
  }
  constexpr void insert(int at, Index value) {
    push_back(value);
    for (int i = rank_ - 1; i > at; --i) values_[i] = values_[i - 1];
    values_[at] = value;
  }
  constexpr void erase(int at) {
    for (int i = at; i + 1 < rank_; ++i) values_[i] = values_[i + 1];
    --rank_;
  }

 protected:
  [[noreturn]] static void overflow();
  Index values_[max_rank] = {};
  int rank_ = 0;
};

/// Extents of a tensor, outermost first; rank 0 is a scalar. Any integral type is taken, so `Shape{v.size(), 3}` does not narrow.
class Shape : public Dims {
 public:
  constexpr Shape() = default;
  template <std::integral... D>
  requires(sizeof...(D) > 0) constexpr Shape(D... extents) { (push_back(static_cast<Index>(extents)), ...); }
  constexpr explicit Shape(std::span<const Index> extents) : Dims(extents) {}
  constexpr explicit Shape(const Dims& dims) : Dims(dims) {}

  /// Number of elements: the product of the extents, 1 for rank 0.
  constexpr Index size() const {
    Index n = 1;
    for (Index d : *this) n *= d;
    return n;
  }
};

/// Distances between neighbours along each axis, in elements; 0 repeats, negative runs backward.
class Strides : public Dims {
 public:
  using Dims::Dims;
  constexpr Strides() = default;
  constexpr explicit Strides(const Dims& dims) : Dims(dims) {}
};

/// Row-major strides of a dense tensor.
constexpr Strides contiguous_strides(const Shape& shape) {
  Strides strides{static_cast<const Dims&>(shape)};
  Index step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/// True where `strides` walk `shape` densely in row-major order (axes of extent 1 may have any stride).
constexpr bool is_contiguous(const Shape& shape, const Strides& strides) {
  Index step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != step) return shape.size() == 0;
    step *= shape[i];
  }
  return true;
}

/// The broadcast of a and b: aligned at the last axis, extents equal or one of them 1. Throws ShapeError naming `op`.
Shape broadcast(const char* op, const Shape& a, const Shape& b);

/// Whether a tensor of shape `from` broadcasts to `to`.
bool broadcasts_to(const Shape& from, const Shape& to);

/// Strides with which a tensor of shape `from` and `strides` is read as `to`: 0 along repeated axes.
Strides broadcast_strides(const Shape& from, const Strides& strides, const Shape& to);

/// An axis counted from the front; negative counts from the back. Throws ShapeError naming `op` if out of range.
int normal_axis(const char* op, Index axis, int rank);

/// Strides that view a tensor (shape, strides) as `to` without a copy; false if no such strides exist.
bool reshape_strides(const Shape& shape, const Strides& strides, const Shape& to, Strides& result);

/// "[32, 64]".
std::string to_string(const Dims& dims);
std::ostream& operator<<(std::ostream& out, const Shape& shape);

}  // namespace rw

// Tensor: storage, shape, strides and an offset. Concrete data, without a tape.
#pragma once

#include <initializer_list>
#include <iosfwd>
#include <rewind/core/shape.hpp>
#include <rewind/core/storage.hpp>
#include <span>

namespace xt {
template <class D>
class xexpression;
}

namespace rw {

/// Completed by <rewind/core/xtensor.hpp>; who meets the incomplete type forgot to include that header.
template <class D>
struct XtensorBridge;

/// Raw strided memory, as kernels take it: strides in elements.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  Strides strides;
};

/// A strided view on counted storage. Copies share the storage; a write through data<T>() of a shared storage copies it first.
class Tensor {
 public:
  Tensor() : Tensor(Shape{0}) {}
  /// Dense and unset. Throws ShapeError for a negative extent or a size past 63 bits, ValueError if there is no such memory.
  explicit Tensor(const Shape& shape, DType dtype = DType::f32);
  /// From any xtensor expression; needs <rewind/core/xtensor.hpp>.
  template <class D>
  Tensor(const xt::xexpression<D>& expression) : Tensor(XtensorBridge<D>::make(expression)) {}
  /// A view of storage as it is: nothing is checked. `offset` counts elements.
  Tensor(StorageRef storage, const Shape& shape, const Strides& strides, Index offset, DType dtype);

  static Tensor zeros(const Shape& shape, DType dtype = DType::f32);
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32);
  static Tensor arange(Index size, DType dtype = DType::i64);
  /// Row-major values. Throws ShapeError if their number is not the shape's size.
  template <class T>
  static Tensor of(const Shape& shape, std::span<const T> values);
  template <class T>
  static Tensor of(const Shape& shape, std::initializer_list<T> values) {
    return of(shape, std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  static Tensor scalar(T value) {
    return of<T>(Shape{}, {value});
  }

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  const Strides& strides() const { return strides_; }
  Index offset() const { return offset_; }  ///< of the first element in the storage, in elements
  int rank() const { return shape_.rank(); }
  Index size() const { return shape_.size(); }
  Index bytes() const { return size() * size_of(dtype_); }
  bool is_contiguous() const { return rw::is_contiguous(shape_, strides_); }
  const StorageRef& storage() const { return storage_; }

  /// First element. T must be the dtype's type (DTypeError). The mutable form makes the tensor the only holder of dense storage first.
  template <class T>
  const T* data() const;
  template <class T>
  T* data();
  /// The value of a tensor of one element, converted to T. Throws ShapeError if there are more.
  template <class T>
  T item() const;
  /// The element at a position, converted to double. Throws ShapeError or ValueError if it lies outside.
  double at(std::initializer_list<Index> position) const;

  // Views: no copy. Axes, positions, starts and stops may be negative: they count from the end. All throw ShapeError (shapes, axes) or
  // ValueError (positions, ranges, steps) if they do not fit; nothing is clamped.
  Tensor select(Index axis, Index position) const;
  Tensor slice(Index axis, Index start, Index stop, Index step = 1) const;
  Tensor transpose(const Dims& axes) const;  ///< axis i of the result is axis axes[i] of this
  Tensor transpose() const;                  ///< last two axes exchanged
  Tensor broadcast_to(const Shape& shape) const;
  Tensor newaxis(Index axis) const;
  Tensor flip(Index axis) const;
  Tensor reshape(const Shape& shape) const;  ///< one extent may be -1; copies where strides do not allow a view

  Tensor contiguous() const;  ///< this, if dense, or a dense copy
  Tensor copy() const;        ///< always new dense storage
  Tensor cast(DType dtype) const;

  View view() const;  ///< the raw memory, for kernels that read it

  /// Makes this the only holder of dense storage (but for its own mutable views), so that it can be written.
  void unshare();

 private:
  void require(DType dtype) const;
  StorageRef storage_;
  Shape shape_;
  Strides strides_;
  Index offset_ = 0;
  DType dtype_ = DType::f32;
};

/// Same dtype, shape and bits (NaN equals NaN of the same bits).
bool identical(const Tensor& a, const Tensor& b);

/// Prints values in nested brackets, four digits (integers whole), axes past 12 shortened to 4 at each end; then dtype and shape.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

}  // namespace rw

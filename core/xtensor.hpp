// The bridge to xtensor: a Tensor from any xtensor expression, and xtensor views of a Tensor without a copy. Costs about a second to
// compile, so it is not part of <rewind/rewind.hpp>.
//
//   Tensor t = xt::random::randn<float>({3, 4}) * 2.f + 1.f;
//   { auto view = as_xtensor<float>(t); xt::view(view, xt::all(), 0) = 0.f; }
#pragma once

#if __has_include(<xtensor/containers/xadapt.hpp>)
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/containers/xarray.hpp>
#include <xtensor/core/xmath.hpp>
#include <xtensor/core/xnoalias.hpp>
#include <xtensor/generators/xrandom.hpp>
#include <xtensor/views/xstrided_view.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xrandom.hpp>
#include <xtensor/xstrided_view.hpp>
#include <xtensor/xview.hpp>
#endif

#include <rewind/core/error.hpp>
#include <rewind/core/tensor.hpp>

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

namespace rw {

/// The memory of a tensor as a container for xtensor's adaptors, of fixed size. It holds the storage; if T is not const, it also counts
/// as one of the storage's writers while it lives, so that a tape copies what it records of it.
template <class T>
class XtensorBuffer {
 public:
  using value_type = std::remove_const_t<T>;
  using reference = T&;
  using const_reference = const T&;
  using pointer = T*;
  using const_pointer = const T*;
  using iterator = T*;
  using const_iterator = const T*;
  using reverse_iterator = std::reverse_iterator<T*>;
  using const_reverse_iterator = std::reverse_iterator<const T*>;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using allocator_type = std::allocator<value_type>;

  XtensorBuffer(StorageRef storage, T* data, Index size) : storage_(std::move(storage)), data_(data), size_(static_cast<size_type>(size)) {
    begin_writing();
  }
  XtensorBuffer(const XtensorBuffer& other) : storage_(other.storage_), data_(other.data_), size_(other.size_) { begin_writing(); }
  /// Writes the values of the other into this one's memory.
  XtensorBuffer& operator=(const XtensorBuffer& other) { return assign(other); }
  XtensorBuffer& operator=(const xt::uvector<value_type>& values) { return assign(values); }
  ~XtensorBuffer() {
    if constexpr (!std::is_const_v<T>) {
      storage_->touch();
      storage_->drop_writer();
    }
  }

  size_type size() const { return size_; }
  bool empty() const { return size_ == 0; }
  /// Throws ShapeError unless the size stays.
  void resize(size_type size) {
    if (size != size_)
      throw ShapeError("as_xtensor: a view cannot change its size: got " + std::to_string(size) + " elements for " + std::to_string(size_) +
                       " (assign a new Tensor)");
  }

  T& operator[](size_type i) { return data_[i]; }
  const T& operator[](size_type i) const { return data_[i]; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  const T* cbegin() const { return data_; }
  const T* cend() const { return data_ + size_; }
  reverse_iterator rbegin() { return reverse_iterator(end()); }
  reverse_iterator rend() { return reverse_iterator(begin()); }
  const_reverse_iterator rbegin() const { return const_reverse_iterator(end()); }
  const_reverse_iterator rend() const { return const_reverse_iterator(begin()); }
  const_reverse_iterator crbegin() const { return rbegin(); }
  const_reverse_iterator crend() const { return rend(); }

 private:
  void begin_writing() {
    if constexpr (!std::is_const_v<T>) {
      storage_->add_writer();
      storage_->touch();
    }
  }
  template <class C>
  XtensorBuffer& assign(const C& values) {
    resize(values.size());
    if (values.data() != data_) std::copy_n(values.data(), size_, data_);
    return *this;
  }

  StorageRef storage_;
  T* data_;
  size_type size_;
};

namespace detail {

/// The element type in which a Tensor keeps values of type V: itself if there is one, else the narrowest that holds its values.
template <class V>
using Kept = std::conditional_t<
    is_element<V>, V,
    std::conditional_t<std::is_floating_point_v<V>, double,
                       std::conditional_t<(sizeof(V) < 4) || (sizeof(V) == 4 && std::is_signed_v<V>), std::int32_t, std::int64_t>>>;

template <class E>
Shape shape_of(const E& expression) {
  Shape shape;
  for (auto extent : expression.shape()) shape.push_back(static_cast<Index>(extent));
  return shape;
}

}  // namespace detail

template <class D>
struct XtensorBridge {
  /// A dense tensor of the expression's values. float, double, int32, int64 and bool keep their type; other integers become i32 or i64
  /// (unsigned 64-bit values beyond 2^63 wrap). Throws ShapeError past eight axes.
  static Tensor make(const xt::xexpression<D>& expression) {
    using V = std::decay_t<typename D::value_type>;
    static_assert(std::is_arithmetic_v<V>, "a Tensor holds numbers or booleans");
    using T = detail::Kept<V>;
    const D& source = expression.derived_cast();
    Tensor result(detail::shape_of(source), dtype_of<T>());
    std::vector<std::size_t> extents(result.shape().begin(), result.shape().end());
    auto target = xt::adapt(result.data<T>(), static_cast<std::size_t>(result.size()), xt::no_ownership(), extents);
    if constexpr (std::is_same_v<T, V>)
      xt::noalias(target) = source;
    else
      xt::noalias(target) = xt::cast<T>(source);
    return result;
  }
};

/// A mutable xtensor adaptor of the tensor's memory, without a copy (unless others share it, or it is not dense: then the tensor gets
/// memory of its own first). The tensor sees what is written. Assigning to it keeps its size. Throws DTypeError if T is not the dtype's
/// type.
template <class T>
auto as_xtensor(Tensor& tensor) {
  T* data = tensor.data<T>();
  std::vector<std::size_t> extents(tensor.shape().begin(), tensor.shape().end());
  return xt::adapt(XtensorBuffer<T>(tensor.storage(), data, tensor.size()), extents);
}

/// A read-only strided xtensor view, without a copy whatever the strides. It keeps the memory: who writes the tensor later leaves the view
/// with the old values. Throws DTypeError if T is not the dtype's type.
template <class T>
auto as_xtensor(const Tensor& tensor) {
  const T* first = tensor.data<T>();
  Index before = 0, after = 0;  // how far the elements reach from the first
  for (int i = 0; i < tensor.rank() && tensor.size() > 0; ++i) {
    Index reach = (tensor.shape()[i] - 1) * tensor.strides()[i];
    (reach < 0 ? before : after) += reach;
  }
  Index span = tensor.size() > 0 ? after - before + 1 : 0;
  auto flat =
      xt::adapt(XtensorBuffer<const T>(tensor.storage(), first + before, span), std::vector<std::size_t>{static_cast<std::size_t>(span)});
  xt::dynamic_shape<std::size_t> extents(tensor.shape().begin(), tensor.shape().end());
  xt::dynamic_shape<std::ptrdiff_t> strides;
  for (int i = 0; i < tensor.rank(); ++i) strides.push_back(tensor.shape()[i] == 1 ? 0 : tensor.strides()[i]);
  return xt::strided_view(std::move(flat), std::move(extents), std::move(strides), static_cast<std::size_t>(-before),
                          xt::layout_type::dynamic);
}
}  // namespace rw

/// What xtensor keeps a copy of a buffer's values in.
namespace xt {
template <class T>
struct temporary_container<rw::XtensorBuffer<T>> {
  using type = xt::uvector<std::remove_const_t<T>>;
};
}  // namespace xt

#include <rewind/core/convert.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/tensor.hpp>

#include <algorithm>
#include <cstring>

namespace rw {

namespace {

// Extents of zero do not hide an overflow of the others, so strides never overflow either.
Index checked_bytes(const Shape& shape, DType dtype) {
  for (Index extent : shape)
    if (extent < 0) fail<ShapeError>("tensor: extents must be >= 0: got {}", shape);
  Index bytes = size_of(dtype);
  for (Index extent : shape)
    if (__builtin_mul_overflow(bytes, std::max<Index>(extent, 1), &bytes))
      fail<ShapeError>("tensor: too large: got {} of {} (its bytes must fit into 63 bits)", shape, dtype);
  return shape.size() * size_of(dtype);
}

Shape inferred(const Shape& from, const Shape& to) {
  int unknown = -1;
  Index known = 1;
  for (int i = 0; i < to.rank(); ++i) {
    if (to[i] < -1 || (to[i] == -1 && unknown >= 0)) fail<ShapeError>("reshape: extents must be >= 0, one may be -1: got {}", to);
    if (to[i] == -1)
      unknown = i;
    else if (__builtin_mul_overflow(known, to[i], &known))
      fail<ShapeError>("reshape: sizes differ: {} has {} elements, {} has more than 63 bits can count", from, from.size(), to);
  }
  Shape result = to;
  if (unknown >= 0) {
    if (known == 0 || from.size() % known != 0)
      fail<ShapeError>("reshape: no extent for -1: {} has {} elements, got {}", from, from.size(), to);
    result[unknown] = from.size() / known;
  }
  if (result.size() != from.size())
    fail<ShapeError>("reshape: sizes differ: {} has {} elements, {} has {}", from, from.size(), to, result.size());
  return result;
}

}  // namespace

Tensor::Tensor(const Shape& shape, DType dtype)
    : storage_(StorageRef::allocate(checked_bytes(shape, dtype))), shape_(shape), strides_(contiguous_strides(shape)), dtype_(dtype) {}

Tensor::Tensor(StorageRef storage, const Shape& shape, const Strides& strides, Index offset, DType dtype)
    : storage_(std::move(storage)), shape_(shape), strides_(strides), offset_(offset), dtype_(dtype) {}

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
  Tensor t(shape, dtype);
  std::memset(t.storage_->data(), 0, static_cast<std::size_t>(t.bytes()));
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype) {
  Tensor t(shape, dtype);
  fill(t.view(), value);
  return t;
}

Tensor Tensor::arange(Index size, DType dtype) {
  Tensor t(Shape{size}, dtype);
  visit(dtype, [&](auto element) {
    using T = decltype(element);
    T* p = t.data<T>();
    for (Index i = 0; i < size; ++i) p[i] = convert<T>(i);
  });
  return t;
}

template <class T>
Tensor Tensor::of(const Shape& shape, std::span<const T> values) {
  Tensor t(shape, dtype_of<T>());
  if (static_cast<Index>(values.size()) != shape.size())
    fail<ShapeError>("tensor: number of values differs from the shape's size: got {} values for {}, which holds {}", values.size(), shape,
                     shape.size());
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

template <class T>
const T* Tensor::data() const {
  require(dtype_of<T>());
  return reinterpret_cast<const T*>(storage_->data()) + offset_;
}

template <class T>
T* Tensor::data() {
  require(dtype_of<T>());
  unshare();
  storage_->touch();
  return reinterpret_cast<T*>(storage_->data()) + offset_;
}

template <class T>
T Tensor::item() const {
  if (size() != 1) fail<ShapeError>("item: one element needed: got a tensor of shape {}", shape_);
  return visit(dtype_, [&](auto element) { return convert<T>(*data<decltype(element)>()); });
}

double Tensor::at(std::initializer_list<Index> position) const {
  Dims where{std::span<const Index>(position.begin(), position.size())};
  if (where.rank() != rank()) fail<ShapeError>("at: one index for each axis needed: got {} for shape {}", to_string(where), shape_);
  Index offset = 0;
  for (int i = 0; i < rank(); ++i) {
    if (where[i] < 0 || where[i] >= shape_[i])
      fail<ValueError>("at: position outside the tensor: got {} for shape {}", to_string(where), shape_);
    offset += where[i] * strides_[i];
  }
  return visit(dtype_, [&](auto element) { return convert<double>(data<decltype(element)>()[offset]); });
}

Tensor Tensor::select(Index axis, Index position) const {
  int i = normal_axis("select", axis, rank());
  Index n = shape_[i];
  if (position < -n || position >= n)
    fail<ValueError>("select: position out of range: got {} along axis {} of {} (-extent to extent - 1)", position, i, shape_);
  Tensor t = *this;
  t.offset_ += (position < 0 ? position + n : position) * strides_[i];
  t.shape_.erase(i);
  t.strides_.erase(i);
  return t;
}

Tensor Tensor::slice(Index axis, Index start, Index stop, Index step) const {
  int i = normal_axis("slice", axis, rank());
  if (step < 1) fail<ValueError>("slice: step must be >= 1: got {} (flip runs backward)", step);
  Index n = shape_[i], first = start < 0 ? start + n : start, last = stop < 0 ? stop + n : stop;
  if (first < 0 || last > n || first > last)
    fail<ValueError>(
        "slice: range out of bounds: got {} to {} along axis {} of {} (0 <= start <= stop <= extent; negative counts from the end)", start,
        stop, i, shape_);
  Tensor t = *this;
  if (first < last) t.offset_ += first * strides_[i];
  t.shape_[i] = last > first ? (last - first - 1) / step + 1 : 0;
  t.strides_[i] = t.shape_[i] > 1 ? strides_[i] * step : strides_[i];
  return t;
}

Tensor Tensor::transpose(const Dims& axes) const {
  Tensor t = *this;
  std::uint32_t seen = 0;
  for (int i = 0; i < std::min(rank(), axes.rank()); ++i) {
    int from = normal_axis("transpose", axes[i], rank());
    t.shape_[i] = shape_[from];
    t.strides_[i] = strides_[from];
    seen |= 1u << from;
  }
  if (axes.rank() != rank() || seen != (1u << rank()) - 1)
    fail<ShapeError>("transpose: axes must name each axis once: got {} for shape {}", to_string(axes), shape_);
  return t;
}

Tensor Tensor::transpose() const {
  if (rank() < 2) fail<ShapeError>("transpose: two axes needed: got shape {}", shape_);
  Tensor t = *this;
  int last = rank() - 1;
  std::swap(t.shape_[last], t.shape_[last - 1]);
  std::swap(t.strides_[last], t.strides_[last - 1]);
  return t;
}

Tensor Tensor::broadcast_to(const Shape& shape) const {
  checked_bytes(shape, dtype_);
  return {storage_, shape, broadcast_strides(shape_, strides_, shape), offset_, dtype_};
}

Tensor Tensor::newaxis(Index axis) const {
  int i = normal_axis("newaxis", axis, rank() + 1);
  Tensor t = *this;
  t.shape_.insert(i, 1);
  t.strides_.insert(i, i < rank() ? shape_[i] * strides_[i] : 1);
  return t;
}

Tensor Tensor::flip(Index axis) const {
  int i = normal_axis("flip", axis, rank());
  Tensor t = *this;
  if (shape_[i] > 0) t.offset_ += (shape_[i] - 1) * strides_[i];
  t.strides_[i] = -strides_[i];
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  Shape to = inferred(shape_, shape);
  checked_bytes(to, dtype_);
  Strides strides;
  if (reshape_strides(shape_, strides_, to, strides)) return {storage_, to, strides, offset_, dtype_};
  return copy().reshape(to);
}

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : copy(); }

Tensor Tensor::copy() const {
  Tensor t(shape_, dtype_);
  rw::copy(view(), t.view());
  return t;
}

Tensor Tensor::cast(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t(shape_, dtype);
  rw::copy(view(), t.view());
  return t;
}

View Tensor::view() const { return {storage_->data() + offset_ * size_of(dtype_), dtype_, shape_, strides_}; }

void Tensor::unshare() {
  // A mutable view holds the storage too, but shares it on purpose.
  if (storage_->holders() - storage_->writers() > 1 || !is_contiguous()) *this = copy();
}

void Tensor::require(DType dtype) const {
  if (dtype != dtype_) fail<DTypeError>("tensor: wrong element type: asked for {}, the tensor is {} (cast converts)", dtype, dtype_);
}

bool identical(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  Tensor x = a.contiguous(), y = b.contiguous();
  return std::memcmp(x.view().data, y.view().data, static_cast<std::size_t>(x.bytes())) == 0;
}

#define REWIND_INSTANTIATE(T)                                      \
  template Tensor Tensor::of<T>(const Shape&, std::span<const T>); \
  template const T* Tensor::data<T>() const;                       \
  template T* Tensor::data<T>();                                   \
  template T Tensor::item<T>() const;
REWIND_INSTANTIATE(float)
REWIND_INSTANTIATE(double)
REWIND_INSTANTIATE(std::int32_t)
REWIND_INSTANTIATE(std::int64_t)
REWIND_INSTANTIATE(bool)
#undef REWIND_INSTANTIATE

}  // namespace rw

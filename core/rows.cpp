#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/recycle.hpp>
#include <rewind/core/strided.hpp>

#include <algorithm>
#include <cstring>
#include <vector>

namespace rw {

namespace {

// The checked row numbers, in row-major order of the index.
detail::List<Index> row_numbers(const char* op, const View& index, Index rows) {
  if (index.dtype != DType::i32 && index.dtype != DType::i64) fail<DTypeError>("{}: index must be i32 or i64: got {}", op, index.dtype);
  detail::List<Index> numbers(static_cast<std::size_t>(index.shape.size()));
  copy(index, {numbers.data(), DType::i64, index.shape, contiguous_strides(index.shape)});
  for (std::size_t i = 0; i < numbers.size(); ++i)
    if (numbers[i] < 0 || numbers[i] >= rows)
      fail<ValueError>("{}: row out of range: element {} of the index is {}, the table has {} rows (indices run from 0)", op, i, numbers[i],
                       rows);
  return numbers;
}

// One row of a table (axis 0 off), or of a tensor of shape S + row (the axes of S off).
View row_of(const View& view, int axes) {
  View row{view.data, view.dtype, {}, {}};
  for (int i = axes; i < view.shape.rank(); ++i) {
    row.shape.push_back(view.shape[i]);
    row.strides.push_back(view.strides[i]);
  }
  return row;
}

// table [V, ...], index S, values S + [...]
void check(const char* op, const View& table, const View& index, const View& values) {
  bool fits = table.shape.rank() > 0 && values.shape.rank() == index.shape.rank() + table.shape.rank() - 1;
  for (int i = 0; fits && i < values.shape.rank(); ++i)
    fits = values.shape[i] == (i < index.shape.rank() ? index.shape[i] : table.shape[i - index.shape.rank() + 1]);
  if (!fits)
    fail<ShapeError>(
        "{}: shapes do not fit: table is {}, index is {}, rows are {} (rows must be index's shape, then table's without its first axis)",
        op, table.shape, index.shape, values.shape);
  if (table.dtype != values.dtype) fail<DTypeError>("{}: dtypes differ: table is {}, rows are {}", op, table.dtype, values.dtype);
}

std::byte* moved(const View& view, Index elements) { return static_cast<std::byte*>(view.data) + elements * size_of(view.dtype); }

// Calls f(offset of values' row, number of the table's row), in order.
template <class F>
void each_row(const View& index, const View& values, const detail::List<Index>& numbers, F f) {
  Strided<1> space;
  for (int i = 0; i < index.shape.rank(); ++i) space.push_back(index.shape[i], {values.strides[i]});
  auto next = numbers.begin();
  space.walk(index.shape.rank(), [&](const Index* o) { f(o[0], *next++); });
}

template <class T>
void add_row(const View& from, const View& to) {
  Strided<2> space{static_cast<const Dims&>(to.shape), {to.strides, from.strides}};
  space.merge();
  if (space.extents.rank() == 0) space.push_back(1, {1, 1});
  int inner = space.extents.rank() - 1;
  Index n = space.extents[inner], to_step = space.strides[0][inner], from_step = space.strides[1][inner];
  space.walk(inner, [&](const Index* o) {
    T* t = static_cast<T*>(to.data) + o[0];
    const T* f = static_cast<const T*>(from.data) + o[1];
    if (to_step == 1 && from_step == 1)
      for (Index i = 0; i < n; ++i) t[i] += f[i];
    else
      for (Index i = 0; i < n; ++i) t[i * to_step] += f[i * from_step];
  });
}

}  // namespace

void gather_rows(const View& table, const View& index, const View& out) {
  check("gather", table, index, out);
  auto numbers = row_numbers("gather", index, table.shape[0]);
  View from = row_of(table, 1), to = row_of(out, index.shape.rank());
  if (from.shape.size() == 0) return;
  bool dense = is_contiguous(from.shape, from.strides) && is_contiguous(to.shape, to.strides);
  auto bytes = static_cast<std::size_t>(from.shape.size() * size_of(table.dtype));
  each_row(index, out, numbers, [&](Index offset, Index number) {
    from.data = moved(table, number * table.strides[0]);
    to.data = moved(out, offset);
    if (dense)
      std::memcpy(to.data, from.data, bytes);
    else
      copy(from, to);
  });
}

void scatter_add_rows(const View& in, const View& index, const View& out, bool accumulate) {
  check("scatter_add", out, index, in);
  if (!is_floating(out.dtype)) fail<DTypeError>("scatter_add: dtype must be f32 or f64: got {}", out.dtype);
  auto numbers = row_numbers("scatter_add", index, out.shape[0]);
  if (!accumulate) fill(out, 0);
  View from = row_of(in, index.shape.rank()), to = row_of(out, 1);
  if (to.shape.size() == 0) return;
  each_row(index, in, numbers, [&](Index offset, Index number) {
    from.data = moved(in, offset);
    to.data = moved(out, number * out.strides[0]);
    out.dtype == DType::f32 ? add_row<float>(from, to) : add_row<double>(from, to);
  });
}

void cumsum(const View& in, int axis, bool reverse, const View& out) {
  if (in.shape != out.shape) fail<ShapeError>("cumsum: shapes differ: in is {}, out is {}", in.shape, out.shape);
  if (in.dtype != out.dtype || in.dtype == DType::boolean)
    fail<DTypeError>("cumsum: one dtype other than bool needed: in is {}, out is {}", in.dtype, out.dtype);
  if (in.shape.size() == 0) return;
  Strided<2> space{static_cast<const Dims&>(out.shape), {out.strides, in.strides}};
  Index steps = in.shape[axis], to_step = out.strides[axis], from_step = in.strides[axis];
  space.extents.erase(axis);
  for (Dims& s : space.strides) s.erase(axis);
  space.merge();
  if (space.extents.rank() == 0) space.push_back(1, {1, 1});
  int inner = space.extents.rank() - 1;
  Index n = space.extents[inner], to_next = space.strides[0][inner], from_next = space.strides[1][inner];
  Index first = reverse ? steps - 1 : 0;
  visit(in.dtype, [&](auto element) {
    using T = std::conditional_t<std::is_same_v<decltype(element), std::int32_t>, std::uint32_t,
                                 std::conditional_t<std::is_same_v<decltype(element), std::int64_t>, std::uint64_t, decltype(element)>>;
    if constexpr (!std::is_same_v<T, bool>)
      space.walk(inner, [&](const Index* o) {
        T* to = static_cast<T*>(out.data) + o[0] + first * to_step;
        const T* from = static_cast<const T*>(in.data) + o[1] + first * from_step;
        Index to_move = reverse ? -to_step : to_step, from_move = reverse ? -from_step : from_step;
        for (Index i = 0; i < n; ++i) to[i * to_next] = from[i * from_next];
        for (Index s = 1; s < steps; ++s) {
          to += to_move;
          from += from_move;
          if (to_next == 1 && from_next == 1)
            for (Index i = 0; i < n; ++i) to[i] = to[i - to_move] + from[i];
          else
            for (Index i = 0; i < n; ++i) to[i * to_next] = to[i * to_next - to_move] + from[i * from_next];
        }
      });
  });
}

}  // namespace rw

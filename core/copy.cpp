#include <rewind/core/convert.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/strided.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace rw {

namespace {

// Operand 0 is written, operand 1 read. The loop follows what is written: its smallest stride innermost.
Strided<2> copy_space(const View& in, const View& out) {
  Strided<2> space{static_cast<const Dims&>(out.shape), {out.strides, in.strides}};
  int rank = out.shape.rank();
  for (int i = 1; i < rank; ++i)
    for (int j = i; j > 0 && std::abs(space.strides[0][j - 1]) < std::abs(space.strides[0][j]); --j) space.swap(j - 1, j);
  space.merge();
  return space;
}

constexpr Index tile = 16;

// Elements of four bytes: squares of 4 x 4 in registers.
using Four [[gnu::vector_size(16)]] = std::uint32_t;

void transpose_square(const std::uint32_t* in, Index in_column, std::uint32_t* out, Index out_row) {
  Four v[4];
  for (Index c = 0; c < 4; ++c) std::memcpy(&v[c], in + c * in_column, sizeof(Four));
  Four a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
  Four c = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7), d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  Four w[4] = {__builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
               __builtin_shufflevector(c, d, 0, 1, 4, 5), __builtin_shufflevector(c, d, 2, 3, 6, 7)};
  for (Index r = 0; r < 4; ++r) std::memcpy(out + r * out_row, &w[r], sizeof(Four));
}

template <class T>
void transpose_tile(const T* in, Index in_column, T* out, Index out_row, Index rows, Index columns) {
  if constexpr (sizeof(T) == 4)
    if (rows == tile && columns == tile) {
      for (Index c = 0; c < tile; c += 4)
        for (Index r = 0; r < tile; r += 4) transpose_square(in + r + c * in_column, in_column, out + r * out_row + c, out_row);
      return;
    }
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < columns; ++c) out[r * out_row + c] = in[r + c * in_column];
}

// out[r, c] = in[c, r]: tiles within squares whose pages the processor remembers.
template <class T>
void transpose(const T* in, Index in_column, T* out, Index out_row, Index rows, Index columns) {
  constexpr Index square = 4 * tile;
  for (Index rr = 0; rr < rows; rr += square)
    for (Index cc = 0; cc < columns; cc += square)
      for (Index r = rr; r < std::min(rr + square, rows); r += tile)
        for (Index c = cc; c < std::min(cc + square, columns); c += tile) {
          const T* from = in + r + c * in_column;
          T* to = out + r * out_row + c;
          transpose_tile(from, in_column, to, out_row, std::min(tile, rows - r), std::min(tile, columns - c));
        }
}

// Same dtype: T is an unsigned integer of the element's size.
template <class T>
void copy_bits(const View& in, const View& out) {
  Strided<2> space = copy_space(in, out);
  auto* to = static_cast<T*>(out.data);
  auto* from = static_cast<const T*>(in.data);
  int rank = space.extents.rank();
  if (rank == 0) {
    *to = *from;
    return;
  }
  Index n = space.extents[rank - 1], to_step = space.strides[0][rank - 1], from_step = space.strides[1][rank - 1];
  if (to_step == 1 && from_step == 1) {
    space.walk(rank - 1, [&](const Index* o) { std::memcpy(to + o[0], from + o[1], static_cast<std::size_t>(n) * sizeof(T)); });
    return;
  }
  if (to_step == 1 && from_step != 0)
    for (int i = 0; i < rank - 1; ++i)
      if (space.strides[1][i] == 1) {
        space.swap(i, rank - 2);
        Index rows = space.extents[rank - 2], row = space.strides[0][rank - 2];
        space.walk(rank - 2, [&](const Index* o) { transpose(from + o[1], from_step, to + o[0], row, rows, n); });
        return;
      }
  space.walk(rank - 1, [&](const Index* o) {
    T* t = to + o[0];
    const T* f = from + o[1];
    if (from_step == 0 && to_step == 1)
      std::fill_n(t, n, *f);
    else
      for (Index i = 0; i < n; ++i) t[i * to_step] = f[i * from_step];
  });
}

template <class To, class From>
void copy_converted(const View& in, const View& out) {
  Strided<2> space = copy_space(in, out);
  if (space.extents.rank() == 0) space.push_back(1, {1, 1});
  int inner = space.extents.rank() - 1;
  Index n = space.extents[inner], to_step = space.strides[0][inner], from_step = space.strides[1][inner];
  space.walk(inner, [&](const Index* o) {
    To* t = static_cast<To*>(out.data) + o[0];
    const From* f = static_cast<const From*>(in.data) + o[1];
    if (to_step == 1 && from_step == 1)
      for (Index i = 0; i < n; ++i) t[i] = convert<To>(f[i]);
    else
      for (Index i = 0; i < n; ++i) t[i * to_step] = convert<To>(f[i * from_step]);
  });
}

}  // namespace

void copy(const View& in, const View& out) {
  if (in.shape != out.shape) fail<ShapeError>("copy: shapes differ: in is {}, out is {} (broadcast first)", in.shape, out.shape);
  if (in.shape.size() == 0) return;
  if (in.dtype == out.dtype) {
    switch (size_of(in.dtype)) {
      case 1: return copy_bits<std::uint8_t>(in, out);
      case 4: return copy_bits<std::uint32_t>(in, out);
      default: return copy_bits<std::uint64_t>(in, out);
    }
  }
  visit(in.dtype, [&](auto from) { visit(out.dtype, [&](auto to) { copy_converted<decltype(to), decltype(from)>(in, out); }); });
}

void fill(const View& out, double value) {
  if (out.shape.size() == 0) return;
  Strided<2> space = copy_space(out, out);
  if (space.extents.rank() == 0) space.push_back(1, {1, 1});
  int inner = space.extents.rank() - 1;
  Index n = space.extents[inner], step = space.strides[0][inner];
  visit(out.dtype, [&](auto element) {
    using T = decltype(element);
    T v = convert<T>(value);
    space.walk(inner, [&](const Index* o) {
      T* p = static_cast<T*>(out.data) + o[0];
      if (step == 1)
        std::fill_n(p, n, v);
      else
        for (Index i = 0; i < n; ++i) p[i * step] = v;
    });
  });
}

}  // namespace rw

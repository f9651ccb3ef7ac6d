// The source of the tile kernels, compiled once for each instruction set by core/isa/tile_*.cpp with that set's flags and at least -O2.
//
// Nothing here may exist in two objects under one name: all is in an anonymous namespace or a template on the instruction set, no std
// containers, no inline functions of std. Rows are walked in whole batches; the last batch of a row overlaps the one before it (its
// operands are read before anything is written, so working in place is right), and a row shorter than a batch goes through a padded buffer.
// So an element goes through the same instructions wherever it lies.
#pragma once

#include <rewind/core/simd/chain_kernels.inl.hpp>

namespace rw::simd {
namespace {

// For ends of rows; out of line, so that a long function stands inline once a kernel, in its loop.
template <class Op, class... B>
[[gnu::noinline]] auto once(B... x) {
  return Op::value(x...);
}

template <class Op, class T, int form, int... i>
[[gnu::flatten]] void apply_rows(Index rows, Index columns, const Span* in, const Span& out, Numbers<i...>) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  for (Index r = 0; r < rows; ++r) {
    T* y = static_cast<T*>(out.data) + r * out.row;
    const T* x[] = {(static_cast<const T*>(in[i].data) + r * in[i].row)...};
    if (columns < lanes) {
      write_short<T>(once<Op>(read_short<T, (form >> i & 1) != 0>(x[i], columns, T(1))...), y, columns);
      continue;
    }
    const B fixed[] = {((form >> i & 1) ? B(*x[i]) : B(T(0)))...};
    const B last[] = {read<(form >> i & 1) != 0>(x[i], columns - lanes, fixed[i])...};
    Index j = 0;
    if constexpr (form == (1 << sizeof...(i)) - 1) {
      const B value = once<Op>(fixed[i]...);
      for (; j + lanes <= columns; j += lanes) value.store_unaligned(y + j);
    } else {
      for (; j + lanes <= columns; j += lanes) Op::value(read<(form >> i & 1) != 0>(x[i], j, fixed[i])...).store_unaligned(y + j);
    }
    if (j < columns) once<Op>(last[i]...).store_unaligned(y + columns - lanes);
  }
}

template <class Op, class T, int form>
void apply(Index rows, Index columns, const Span* in, const Span& out) {
  if constexpr (Op::arity == 1) apply_rows<Op, T, form>(rows, columns, in, out, Numbers<0>{});
  if constexpr (Op::arity == 2) apply_rows<Op, T, form>(rows, columns, in, out, Numbers<0, 1>{});
  if constexpr (Op::arity == 3) apply_rows<Op, T, form>(rows, columns, in, out, Numbers<0, 1, 2>{});
}

// What lies in memory for a dtype: bool as a byte.
struct Truth8 {
  unsigned char bits;
};
template <class To, class From>
To converted(From x) {
  if constexpr (__is_same(From, Truth8)) {
    return x.bits ? To(1) : To(0);
  } else if constexpr (__is_same(To, Truth8)) {
    return {static_cast<unsigned char>(x != From(0))};
  } else if constexpr (__is_same(To, std::int32_t) || __is_same(To, std::int64_t)) {
    constexpr int bits = 8 * sizeof(To) - 1;
    constexpr From limit = From(To(1) << (bits - 1)) * 2;
    constexpr To lowest = To(To(1) << (bits - 1)) * -1 * 2, highest = -(lowest + 1);
    return x >= limit ? highest : x < -limit ? lowest : x == x ? static_cast<To>(x) : To(0);
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
[[gnu::optimize("tree-vectorize", "vect-cost-model=dynamic")]] void move_dense(Index n, const From* __restrict in, To* __restrict out) {
  for (Index j = 0; j < n; ++j) out[j] = converted<To>(in[j]);
}

template <class From, class To>
void move(Index rows, Index columns, const void* from, Index in_row, Index in_column, void* to, Index out_row, Index out_column) {
  auto in = static_cast<const From*>(from);
  auto out = static_cast<To*>(to);
  if (in_column == 1 && out_column == 1) {
    if (in_row == columns && out_row == columns) columns *= rows, rows = 1;
    if (columns > 1) {
      for (Index r = 0; r < rows; ++r) move_dense(columns, in + r * in_row, out + r * out_row);
      return;
    }
  }
  bool down = columns == 1 || (rows > 1 && (in_row < 0 ? -in_row : in_row) < (in_column < 0 ? -in_column : in_column));
  if (down) {
    for (Index j = 0; j < columns; ++j)
      for (Index r = 0; r < rows; ++r) out[r * out_row + j * out_column] = converted<To>(in[r * in_row + j * in_column]);
  } else {
    for (Index r = 0; r < rows; ++r)
      for (Index j = 0; j < columns; ++j) out[r * out_row + j * out_column] = converted<To>(in[r * in_row + j * in_column]);
  }
}

template <class Op, class T, int... form>
constexpr void fill_forms(ApplyKernel (&to)[8], Numbers<form...>) {
  (..., (form < (1 << Op::arity) ? void(to[form] = &apply<Op, T, (form < (1 << Op::arity) ? form : 0)>) : void()));
}

template <class T, class... Op>
constexpr TileKernels::Set make_set(op::List<Op...>) {
  TileKernels::Set set{};
  int code = 0;
  (fill_forms<Op, T>(set.apply[code++], Numbers<0, 1, 2, 3, 4, 5, 6, 7>{}), ...);
  set.chain = &chain<T>;
  set.sum_chain = &sum_chain<T>;
  set.total_chain = &total_chain<T>;
  set.reduce[0][0] = &reduce<Sum, T, false>;
  set.reduce[0][1] = &reduce<Sum, T, true>;
  set.reduce[1][0] = &reduce<Extreme<1>, T, false>;
  set.reduce[1][1] = &reduce<Extreme<1>, T, true>;
  set.reduce[2][0] = &reduce<Extreme<-1>, T, false>;
  set.reduce[2][1] = &reduce<Extreme<-1>, T, true>;
  const MoveKernel loads[] = {&move<float, T>, &move<double, T>, &move<std::int32_t, T>, &move<std::int64_t, T>, &move<Truth8, T>};
  const MoveKernel stores[] = {&move<T, float>, &move<T, double>, &move<T, std::int32_t>, &move<T, std::int64_t>, &move<T, Truth8>};
  for (int i = 0; i < 5; ++i) set.load[i] = loads[i], set.store[i] = stores[i];
  return set;
}

constexpr TileKernels make_kernels() { return {compiled_for, make_set<float>(op::All{}), make_set<double>(op::All{})}; }

}  // namespace
}  // namespace rw::simd

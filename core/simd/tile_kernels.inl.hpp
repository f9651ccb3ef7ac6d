// The source of the tile kernels, compiled once for each instruction set by core/isa/tile_*.cpp with that set's flags and at least -O2.
//
// Nothing here may exist in two objects under one name: all is in an anonymous namespace or a template on the instruction set, no std
// containers, no inline functions of std. Rows are walked in whole batches; the last batch of a row overlaps the one before it (its
// operands are read before anything is written, so working in place is right), and a row shorter than a batch goes through a padded buffer.
// So an element goes through the same instructions wherever it lies.
#pragma once

#include <rewind/core/simd/arch.hpp>
#include <rewind/core/simd/tile_kernels.hpp>

namespace rw::simd {
namespace {

template <int... i>
struct Numbers {};

// Numbers<0 .. n-1>.
template <int n, int... i>
struct Count : Count<n - 1, n - 1, i...> {};
template <int... i>
struct Count<0, i...> {
  using type = Numbers<i...>;
};

template <class T>
void copy_short(const T* from, T* to, Index n) {
  for (Index i = 0; i < n; ++i) to[i] = from[i];
}

// Reads batch j of operand: `fixed` where it is one value a row.
template <bool one_a_row, class T>
Pack<T> read(const T* x, Index j, const Pack<T>& fixed) {
  if constexpr (one_a_row) {
    return fixed;
  } else {
    return Pack<T>::load_unaligned(x + j);
  }
}

template <class T, bool one_a_row>
Pack<T> read_short(const T* x, Index n, T padding) {
  if constexpr (one_a_row) {
    return Pack<T>(*x);
  } else {
    alignas(64) T buffer[Pack<T>::size];
    Pack<T>(padding).store_aligned(buffer);
    copy_short(x, buffer, n);
    return Pack<T>::load_aligned(buffer);
  }
}

template <class T>
void write_short(const Pack<T>& y, T* out, Index n) {
  alignas(64) T buffer[Pack<T>::size];
  y.store_aligned(buffer);
  copy_short(buffer, out, n);
}

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

// n batches, from element j of each operand on, through a chain.
template <int n, class T>
[[gnu::always_inline]] inline void pass(const Chain& chain, const T* const* x, Index j, Pack<T> (&value)[n]) {
  using B = Pack<T>;
  const T* first = x[chain.operands[0]];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) value[i] = static_cast<int>(chain.links[0]) & 1 ? B(*first) : B::load_unaligned(first + j + i * B::size);
  for (int k = 1; k < chain.count; ++k) {
    const T* y = x[chain.operands[k]];
    auto each = [&](auto&& f) __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) value[i] = f(value[i], B::load_unaligned(y + j + i * B::size));
    };
    auto each_with_one = [&](auto&& f) __attribute__((always_inline)) {
      const B one(*y);
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) value[i] = f(value[i], one);
    };
    auto add = [](const B& a, const B& b) { return a + b; };
    auto subtract = [](const B& a, const B& b) { return a - b; };
    auto subtract_from = [](const B& a, const B& b) { return b - a; };
    auto multiply = [](const B& a, const B& b) { return a * b; };
    switch (static_cast<int>(chain.links[k])) {
      case 2: each(add); break;
      case 3: each_with_one(add); break;
      case 4: each(subtract); break;
      case 5: each_with_one(subtract); break;
      case 6: each(subtract_from); break;
      case 7: each_with_one(subtract_from); break;
      case 8: each(multiply); break;
      case 9: each_with_one(multiply); break;
      default:
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) value[i] = value[i] * value[i];
    }
  }
}

// The operands of a chain in one row; the first `columns` elements of all, padded to a batch.
template <class T>
struct ChainRow {
  const T* x[Chain::most];
  alignas(64) T padded[Chain::most][Pack<T>::size];

  void move_to(Index row, const Span* in, int inputs) {
    for (int i = 0; i < inputs; ++i) x[i] = static_cast<const T*>(in[i].data) + row * in[i].row;
  }
  // The last `columns` elements, fewer than a batch, from element j on; what follows them is of no use.
  Pack<T> end(const Chain& chain, Index j, Index columns) {
    const T* padded_x[Chain::most];
    for (int k = 0; k < chain.count; ++k) {
      if (chain.links[k] == Link::square) continue;
      const int i = chain.operands[k];
      const bool one = static_cast<int>(chain.links[k]) & 1;
      Pack<T>(T(1)).store_aligned(padded[i]);
      copy_short(one ? x[i] : x[i] + j, padded[i], one ? 1 : columns);
      padded_x[i] = padded[i];
    }
    Pack<T> value[1];
    pass(chain, padded_x, 0, value);
    return value[0];
  }
};

inline constexpr int chain_batches = 8;  // that are in registers at once: a link costs them little more than one

template <class T>
void chain(Index rows, Index columns, const Span* in, int inputs, const Chain& chain, const Span& out) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  ChainRow<T> row;
  for (Index r = 0; r < rows; ++r) {
    T* y = static_cast<T*>(out.data) + r * out.row;
    row.move_to(r, in, inputs);
    if (columns < lanes) {
      write_short<T>(row.end(chain, 0, columns), y, columns);
      continue;
    }
    const Index whole = columns / lanes * lanes;
    B value[chain_batches], one[1], last[1];
    if (whole < columns) pass(chain, row.x, columns - lanes, last);
    Index j = 0;
    for (; j + chain_batches * lanes <= whole; j += chain_batches * lanes) {
      pass(chain, row.x, j, value);
#pragma GCC unroll 8
      for (int i = 0; i < chain_batches; ++i) value[i].store_unaligned(y + j + i * lanes);
    }
    for (; j < whole; j += lanes) {
      pass(chain, row.x, j, one);
      one[0].store_unaligned(y + j);
    }
    if (whole < columns) last[0].store_unaligned(y + columns - lanes);
  }
}

struct Sum {
  template <class T>
  static constexpr T identity = 0;
  template <class B>
  static B join(B a, B b) {
    return a + b;
  }
};
template <int sign>
struct Extreme {
  template <class T>
  static constexpr T identity = T(-sign) * __builtin_inff();
  template <class B>
  static B join(B a, B b) {
    return select((sign > 0 ? b > a : b < a) | isnan(b), b, a);
  }
};

// Lane i of the result is lane i + half of x; the last ones are of no use.
template <int half, class T, int... i>
Pack<T> lanes_from(const Pack<T>& x, Numbers<i...>) {
  return Pack<T>(__builtin_shufflevector(x.data, x.data, (i + half < int(sizeof...(i)) ? i + half : i)...));
}

// All lanes as a tree, in lane 0.
template <class Reduction, class T, int half, int... i>
Pack<T> join_lanes(const Pack<T>& x, Numbers<i...> all) {
  if constexpr (half == 0) {
    return x;
  } else {
    return join_lanes<Reduction, T, half / 2>(Reduction::join(x, lanes_from<half, T>(x, all)), all);
  }
}

// Up to reduce_block columns of a row, in lane 0: four chains of batches, then their lanes.
template <class Reduction, class T, bool one_a_row>
Pack<T> reduce_row(const T* x, Index n, const Pack<T>& fixed) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  const B none(Reduction::template identity<T>);
  B sum[4] = {none, none, none, none};
  Index j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes)
#pragma GCC unroll 4
    for (Index k = 0; k < 4; ++k) sum[k] = Reduction::join(sum[k], read<one_a_row>(x, j + k * lanes, fixed));
#pragma GCC unroll 4
  for (Index k = 0; k < 4; ++k, j += lanes) {
    if (j + lanes <= n) {
      sum[k] = Reduction::join(sum[k], read<one_a_row>(x, j, fixed));
    } else if (j < n) {
      alignas(64) T buffer[lanes];
      none.store_aligned(buffer);
      for (Index i = 0; i < n - j; ++i) buffer[i] = x[one_a_row ? 0 : j + i];
      sum[k] = Reduction::join(sum[k], B::load_aligned(buffer));
    }
  }
  return join_lanes<Reduction, T, int(lanes) / 2>(Reduction::join(Reduction::join(sum[0], sum[1]), Reduction::join(sum[2], sum[3])),
                                                  typename Count<int(lanes)>::type{});
}

template <class Reduction, class T, bool one_a_row>
void reduce(Index rows, Index columns, const Span& in, void* out, bool first) {
  using B = Pack<T>;
  for (Index r = 0; r < rows; ++r) {
    const T* x = static_cast<const T*>(in.data) + r * in.row;
    T& y = static_cast<T*>(out)[r];
    const B fixed(*x);
    B total(first ? T(0) : y);
    for (Index j = 0; j < columns; j += reduce_block) {
      const Index n = columns - j < reduce_block ? columns - j : reduce_block;
      const B block = reduce_row<Reduction, T, one_a_row>(one_a_row ? x : x + j, n, fixed);
      total = first && j == 0 ? block : Reduction::join(total, block);
    }
    if (columns > 0) y = total.data[0];
  }
}

// The sums of what a chain makes, in the order of reduce.
template <class T>
void sum_chain(Index rows, Index columns, const Span* in, int inputs, const Chain& chain, void* out, bool first) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  ChainRow<T> row;
  for (Index r = 0; r < rows; ++r) {
    T& y = static_cast<T*>(out)[r];
    row.move_to(r, in, inputs);
    B total(first ? T(0) : y);
    for (Index begin = 0; begin < columns; begin += reduce_block) {
      const Index end = columns - begin < reduce_block ? columns : begin + reduce_block;
      B sum[4] = {B(T(0)), B(T(0)), B(T(0)), B(T(0))}, value[chain_batches], one[1];
      Index j = begin;
      for (; j + chain_batches * lanes <= end; j += chain_batches * lanes) {
        pass(chain, row.x, j, value);
#pragma GCC unroll 8
        for (int i = 0; i < chain_batches; ++i) sum[i % 4] += value[i];
      }
      for (int k = 0; j < end; j += lanes, k = (k + 1) % 4) {
        if (j + lanes <= end) {
          pass(chain, row.x, j, one);
        } else {
          alignas(64) T buffer[lanes] = {};
          write_short<T>(row.end(chain, j, end - j), buffer, end - j);
          one[0] = B::load_aligned(buffer);
        }
        sum[k] += one[0];
      }
      const B block = join_lanes<Sum, T, int(lanes) / 2>((sum[0] + sum[1]) + (sum[2] + sum[3]), typename Count<int(lanes)>::type{});
      total = first && begin == 0 ? block : total + block;
    }
    if (columns > 0) y = total.data[0];
  }
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

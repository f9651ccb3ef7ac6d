// Rows of elements, in whole batches and at their ends, and the reductions of them. Included by the kernels of the tile machine alone.
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

// Lanes without bit D of x, then of y, become neighbours by it; with Upper the lanes with it.
template <int D, bool Upper, class T, int... i>
Pack<T> halves(const Pack<T>& x, const Pack<T>& y, Numbers<i...>) {
  constexpr int lanes = sizeof...(i);
  return Pack<T>(__builtin_shufflevector(x.data, y.data, ((i & ~D) + (Upper ? D : 0) + (i & D ? lanes : 0))...));
}

// The first 2 D batches as trees over their lanes, each in the lane of its number: what join_lanes does to one.
template <class Reduction, class T, int D, int... i>
void join_batches(Pack<T>* x, Numbers<i...> all) {
  if constexpr (D > 0) {
#pragma GCC unroll 8
    for (int k = 0; k < D; ++k) x[k] = Reduction::join(halves<D, false>(x[k], x[k + D], all), halves<D, true>(x[k], x[k + D], all));
    join_batches<Reduction, T, D / 2>(x, all);
  }
}

// Rows' blocks of reduce_block columns, in order, go into what their row has. Their lanes are joined for several at a time, for in one tree
// each addition waits for the one before.
template <class Reduction, class T>
class Blocks {
 public:
  Blocks(void* out, Index columns, bool first)
      : y_(static_cast<T*>(out)), a_row_((columns + reduce_block - 1) / reduce_block), first_(first) {}
  void add(const Pack<T>& block) {
    block.store_aligned(pending_[count_]);
    if (++count_ == lanes) join();
  }
  void join() {
    if (count_ > lanes / 4) {
      Pack<T> x[lanes];
#pragma GCC unroll 16
      for (int k = 0; k < lanes; ++k) x[k] = Pack<T>::load_aligned(pending_[k < count_ ? k : 0]);
      join_batches<Reduction, T, lanes / 2>(x, all_lanes());
      x[0].store_aligned(pending_[0]);
      for (int k = 0; k < count_; ++k) put(pending_[0][k]);
    } else {
      for (int k = 0; k < count_; ++k) put(join_lanes<Reduction, T, lanes / 2>(Pack<T>::load_aligned(pending_[k]), all_lanes()).data[0]);
    }
    count_ = 0;
  }

 private:
  static constexpr int lanes = Pack<T>::size;
  static constexpr auto all_lanes() { return typename Count<lanes>::type{}; }
  void put(T block) {
    *y_ = first_ && at_ == 0 ? block : Reduction::join(Pack<T>(*y_), Pack<T>(block)).data[0];
    if (++at_ == a_row_) at_ = 0, ++y_;
  }

  T* y_;
  Index a_row_, at_ = 0;
  bool first_;
  int count_ = 0;
  alignas(64) T pending_[lanes][lanes];
};

// Up to reduce_block columns of a row: four chains of batches.
template <class Reduction, class T, bool one_a_row>
Pack<T> reduce_block_of(const T* x, Index n, const Pack<T>& fixed) {
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
  return Reduction::join(Reduction::join(sum[0], sum[1]), Reduction::join(sum[2], sum[3]));
}

template <class Reduction, class T, bool one_a_row>
void reduce(Index rows, Index columns, const Span& in, void* out, bool first) {
  Blocks<Reduction, T> blocks(out, columns, first);
  for (Index r = 0; r < rows; ++r) {
    const T* x = static_cast<const T*>(in.data) + r * in.row;
    const Pack<T> fixed(*x);
    for (Index j = 0; j < columns; j += reduce_block)
      blocks.add(
          reduce_block_of<Reduction, T, one_a_row>(one_a_row ? x : x + j, columns - j < reduce_block ? columns - j : reduce_block, fixed));
  }
  blocks.join();
}

}  // namespace
}  // namespace rw::simd

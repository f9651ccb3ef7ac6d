// Chains of operations: into memory, sums of rows, totals of columns. Included by the kernels of the tile machine alone.
#pragma once

#include <rewind/core/simd/row_kernels.inl.hpp>

namespace rw::simd {
namespace {

// n batches, from element j of each operand on, through a chain.
template <int n, class T>
[[gnu::always_inline]] inline void pass(const Chain& chain, const T* const* x, Index j, Pack<T> (&value)[n]) {
  using B = Pack<T>;
  const T* begin = x[chain.operands[0]];
  B aside[n];
  if (reads_one(chain.links[0])) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i] = aside[i] = B(*begin);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i] = aside[i] = B::load_unaligned(begin + j + i * B::size);
  }
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
    auto each_with_aside = [&](auto&& f) __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) value[i] = f(value[i], aside[i]);
    };
    auto put_aside = [&] __attribute__((always_inline)) {
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) aside[i] = value[i];
    };
    auto take = [](const B&, const B& b) { return b; };
    auto add = [](const B& a, const B& b) { return a + b; };
    auto subtract = [](const B& a, const B& b) { return a - b; };
    auto subtract_from = [](const B& a, const B& b) { return b - a; };
    auto multiply = [](const B& a, const B& b) { return a * b; };
    auto divide = [](const B& a, const B& b) { return a / b; };
    auto divide_from = [](const B& a, const B& b) { return b / a; };
    switch (static_cast<int>(chain.links[k])) {
      case 3: each(add); break;
      case 4: each_with_one(add); break;
      case 5: each_with_aside(add); break;
      case 6: each(subtract); break;
      case 7: each_with_one(subtract); break;
      case 8: each_with_aside(subtract); break;
      case 9: each(subtract_from); break;
      case 10: each_with_one(subtract_from); break;
      case 11: each_with_aside(subtract_from); break;
      case 12: each(multiply); break;
      case 13: each_with_one(multiply); break;
      case 14: each_with_aside(multiply); break;
      case 15: each(divide); break;
      case 16: each_with_one(divide); break;
      case 17: each_with_aside(divide); break;
      case 18: each(divide_from); break;
      case 19: each_with_one(divide_from); break;
      case 20: each_with_aside(divide_from); break;
      case 21:
        put_aside();
        each(take);
        break;
      case 22:
        put_aside();
        each_with_one(take);
        break;
      case 26:
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) value[i] = sqrt(value[i]);
        break;
      case 24:
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) value[i] = value[i] * value[i];
        break;
      default:
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) value[i] = value[i] * B(T(-1));
    }
  }
}

// The operands of a chain in one row; the first `columns` elements of all, padded to a batch.
template <class T>
struct ChainRow {
  const T* x[Chain::most_inputs];
  alignas(64) T padded[Chain::most_inputs][Pack<T>::size];

  void move_to(Index row, const Span* in, int inputs) {
    for (int i = 0; i < inputs; ++i) x[i] = static_cast<const T*>(in[i].data) + row * in[i].row;
  }
  // The last `columns` elements, fewer than a batch, from element j on; what follows them is of no use.
  Pack<T> end(const Chain& chain, Index j, Index columns) {
    const T* padded_x[Chain::most_inputs];
    for (int k = 0; k < chain.count; ++k) {
      if (!reads(chain.links[k])) continue;
      const int i = chain.operands[k];
      const bool one = reads_one(chain.links[k]);
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

// n batches of totals: in registers while all rows pass.
template <int n, class T>
[[gnu::always_inline]] inline void total_batches(Index rows, Index j, const Span* in, int inputs, const Chain& chain, T* to) {
  using B = Pack<T>;
  ChainRow<T> row;
  B total[n], value[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) total[i] = B::load_unaligned(to + j + i * B::size);
  for (Index r = 0; r < rows; ++r) {
    row.move_to(r, in, inputs);
    pass(chain, row.x, j, value);
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) total[i] += value[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) total[i].store_unaligned(to + j + i * B::size);
}

template <class T>
void total_chain(Index rows, Index columns, const Span* in, int inputs, const Chain& chain, void* to) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  T* total = static_cast<T*>(to);
  Index j = 0;
  for (; j + chain_batches * lanes <= columns; j += chain_batches * lanes) total_batches<chain_batches>(rows, j, in, inputs, chain, total);
  for (; j + lanes <= columns; j += lanes) total_batches<1>(rows, j, in, inputs, chain, total);
  if (j == columns) return;
  B end = read_short<T, false>(total + j, columns - j, T(0));
  ChainRow<T> row;
  for (Index r = 0; r < rows; ++r) {
    row.move_to(r, in, inputs);
    end += row.end(chain, j, columns - j);
  }
  write_short<T>(end, total + j, columns - j);
}

// The sums of what a chain makes, in the order of reduce.
template <class T>
void sum_chain(Index rows, Index columns, const Span* in, int inputs, const Chain& chain, const Span& out, void* sums, bool first) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  Blocks<Sum, T> blocks(sums, columns, first);
  ChainRow<T> row;
  for (Index r = 0; r < rows; ++r) {
    T* y = out.data ? static_cast<T*>(out.data) + r * out.row : nullptr;
    row.move_to(r, in, inputs);
    for (Index begin = 0; begin < columns; begin += reduce_block) {
      const Index end = columns - begin < reduce_block ? columns : begin + reduce_block;
      B sum[4] = {B(T(0)), B(T(0)), B(T(0)), B(T(0))}, value[chain_batches];
      Index j = begin;
      for (; j + chain_batches * lanes <= end; j += chain_batches * lanes) {
        pass(chain, row.x, j, value);
#pragma GCC unroll 8
        for (int i = 0; i < chain_batches; ++i) sum[i % 4] += value[i];
        if (!y) continue;
#pragma GCC unroll 8
        for (int i = 0; i < chain_batches; ++i) value[i].store_unaligned(y + j + i * lanes);
      }
      if (j < end) {
        B rest[4] = {sum[0], sum[1], sum[2], sum[3]}, one[1];  // by number, which keeps them out of registers
        for (int k = 0; j < end; j += lanes, k = (k + 1) % 4) {
          if (j + lanes <= end) {
            pass(chain, row.x, j, one);
            if (y) one[0].store_unaligned(y + j);
          } else {
            alignas(64) T buffer[lanes] = {};
            write_short<T>(row.end(chain, j, end - j), buffer, end - j);
            if (y) copy_short(buffer, y + j, end - j);
            one[0] = B::load_aligned(buffer);
          }
          rest[k] += one[0];
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) sum[k] = rest[k];
      }
      blocks.add((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
  }
  blocks.join();
}

}  // namespace
}  // namespace rw::simd

// Chains of operations: into memory, sums of rows, totals of columns. Included by the kernels of the tile machine alone.
#pragma once

#include <rewind/core/simd/row_kernels.inl.hpp>

namespace rw::simd {
namespace {

// A chain at a row of its operands.
template <class T>
struct ChainRow {
  struct Step {
    const T* operand;
    Index link;
  };
  static constexpr int most = Chain::most + 2;

  Step steps[most];  // the last one is the end
  Index rows[most];  // from an operand's row to its next
  int count = 0;

  // With `more`, that is added in the end.
  ChainRow(const Chain& chain, const Span* in, const Span* more = nullptr) {
    for (int k = 0; k < chain.count; ++k) append(chain.links[k], in[chain.operands[k]]);
    if (more) append(Link::add, *more);
    append(Link::end, {});
  }
  void append(Link link, const Span& operand) {
    steps[count] = {static_cast<const T*>(operand.data), static_cast<Index>(link)};
    rows[count++] = operand.row;
  }
  void to_next() {
    for (int k = 0; k + 1 < count; ++k) steps[k].operand += rows[k];
  }
};

// Columns begin .. end_column-1 of so many rows, n batches at a time, through a chain, which goes from its row to the last of them. What it
// makes goes into memory from `to` on, where `sums` only if that has data; the sums then go block by block to `blocks`, those of a last
// block that is not whole to `unfinished`.
//
// What a link costs beside its arithmetic is kept least: it jumps to the next one's code by its address, and finds its batches at constant
// offsets from one register, which the compiler is not to see through. A switch, its check of the number and an address a batch took as
// many instructions as the arithmetic.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"  // addresses of labels
template <int n, bool sums, class T>
[[gnu::noinline]] void strip(ChainRow<T>& chain, Index rows, Index begin, Index end_column, const Span& to, Pack<T>* unfinished = nullptr,
                             Blocks<Sum, T>* blocks = nullptr) {
  using B = Pack<T>;
#define REWIND_FORMS(link) &&link, &&link##_one, &&link##_aside
  static const void* const code[] = {REWIND_FORMS(take),
                                     REWIND_FORMS(add),
                                     REWIND_FORMS(subtract),
                                     REWIND_FORMS(subtract_from),
                                     REWIND_FORMS(multiply),
                                     REWIND_FORMS(divide),
                                     REWIND_FORMS(divide_from),
                                     REWIND_FORMS(aside),
                                     &&square,
                                     &&negate,
                                     &&root,
                                     &&end};
#undef REWIND_FORMS
  B value[n], kept[n], sum[4] = {B(T(0)), B(T(0)), B(T(0)), B(T(0))};
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i)
    asm volatile("" : "=v"(value[i].data), "=v"(kept[i].data));  // as they are: chains take first, and keep before they read
  T* out = static_cast<T*>(to.data);
  const T* y;
  const auto* step = chain.steps;
  Index j = begin;
  auto each_with_elements = [&](auto&& f) __attribute__((always_inline)) {
    y += j;
    asm("" : "+r"(y));
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i] = f(value[i], B::load_unaligned(y + i * B::size));
  };
  auto each_with_one = [&](auto&& f) __attribute__((always_inline)) {
    const B one(*y);
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i] = f(value[i], one);
  };
  auto each_with_kept = [&](auto&& f) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i] = f(value[i], kept[i]);
  };
  auto keep = [&] __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) kept[i] = value[i];
  };
#define REWIND_LINK(link, begin, result)                                              \
  link:                                                                               \
  begin;                                                                              \
  each_with_elements([]([[maybe_unused]] const B& x, const B& y) { return result; }); \
  goto next;                                                                          \
  link##_one : begin;                                                                 \
  each_with_one([]([[maybe_unused]] const B& x, const B& y) { return result; });      \
  goto next;                                                                          \
  link##_aside : begin;                                                               \
  each_with_kept([]([[maybe_unused]] const B& x, const B& y) { return result; });     \
  goto next;

next:
  y = step->operand;
  goto* code[(step++)->link];
  REWIND_LINK(take, , y)
  REWIND_LINK(add, , x + y)
  REWIND_LINK(subtract, , x - y)
  REWIND_LINK(subtract_from, , y - x)
  REWIND_LINK(multiply, , x * y)
  REWIND_LINK(divide, , x / y)
  REWIND_LINK(divide_from, , y / x)
  REWIND_LINK(aside, keep(), y)
#undef REWIND_LINK
square:
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) value[i] = value[i] * value[i];
  goto next;
negate:
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) value[i] = value[i] * B(T(-1));
  goto next;
root:
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) value[i] = sqrt(value[i]);
  goto next;
end:
  j += n * B::size;
  step = chain.steps;
  if (!sums || out) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i].store_unaligned(out + i * B::size);
    out += n * B::size;
  }
  if constexpr (sums) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) sum[i % 4] += value[i];
  }
  if (j < end_column && (!sums || j % reduce_block > 0)) goto next;
  if constexpr (sums) {
    if (j % reduce_block == 0 || rows > 1) {
      blocks->add((sum[0] + sum[1]) + (sum[2] + sum[3]));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = B(T(0));
    }
    if (j < end_column) goto next;
  }
  if (--rows > 0) {
    chain.to_next();
    if (out) out += to.row - (end_column - begin);
    j = begin;
    goto next;
  }
  if constexpr (sums) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) unfinished[i] = sum[i];
  }
}
#pragma GCC diagnostic pop

template <class T>
inline constexpr Index chain_group = 8 * Pack<T>::size;  // elements in registers at once: a link costs them little more than a batch

// Columns begin .. end-1 of the chain's row, whole batches.
template <class T>
void strip_batches(ChainRow<T>& chain, Index begin, Index end, T* out) {
  const Index grouped = begin + (end - begin) / chain_group<T> * chain_group<T>;
  if (begin < grouped) strip<8, false>(chain, 1, begin, grouped, {out, 0});
  if (grouped < end) strip<1, false>(chain, 1, grouped, end, {out + (grouped - begin), 0});
}

// The last `columns` elements, fewer than a batch, from element j on.
template <class T>
void strip_rest(const ChainRow<T>& chain, Index j, Index columns, T* out) {
  constexpr Index lanes = Pack<T>::size;
  alignas(64) T padded[ChainRow<T>::most][lanes], made[lanes];
  ChainRow<T> short_row = chain;
  for (int k = 0; k < chain.count; ++k) {
    const Link link = static_cast<Link>(chain.steps[k].link);
    if (!reads(link)) continue;
    const T* y = chain.steps[k].operand;
    Pack<T>(T(1)).store_aligned(padded[k]);
    copy_short(reads_one(link) ? y : y + j, padded[k], reads_one(link) ? 1 : columns);
    short_row.steps[k].operand = padded[k];
  }
  strip<1, false>(short_row, 1, 0, lanes, {made, 0});
  copy_short(made, out, columns);
}

// The chain goes from its row to the last of so many.
template <class T>
void run_chain(Index rows, Index columns, ChainRow<T>& chain, const Span& out) {
  constexpr Index lanes = Pack<T>::size;
  if (columns % chain_group<T> == 0) return strip<8, false>(chain, rows, 0, columns, out);
  const Index whole = columns / lanes * lanes;
  for (Index r = 0; r < rows; ++r) {
    if (r > 0) chain.to_next();
    T* y = static_cast<T*>(out.data) + r * out.row;
    if (columns < lanes) {
      strip_rest(chain, 0, columns, y);
      continue;
    }
    alignas(64) T last[lanes];
    if (whole < columns) strip_batches(chain, columns - lanes, columns, last);
    strip_batches(chain, 0, whole, y);
    if (whole < columns) Pack<T>::load_aligned(last).store_unaligned(y + columns - lanes);
  }
}

template <class T>
void chain(Index rows, Index columns, const Span* in, const Chain& chain, const Span& out) {
  ChainRow<T> row(chain, in);
  run_chain(rows, columns, row, out);
}

template <class T>
void total_chain(Index rows, Index columns, const Span* in, const Chain& chain, const Span& to, Index group, Index begun) {
  Span sum{to.data, 0};
  ChainRow<T> row(chain, in, &sum);
  for (Index r = 0, count; r < rows; r += count) {
    count = group - begun < rows - r ? group - begun : rows - r;
    if (r > 0) row.to_next();
    row.steps[row.count - 2].operand = static_cast<const T*>(sum.data);
    run_chain(count, columns, row, sum);
    begun = 0;
    sum.data = static_cast<T*>(sum.data) + to.row;
  }
}

// The sums of what a chain makes, in the order of reduce.
template <class T>
void sum_chain(Index rows, Index columns, const Span* in, const Chain& chain, const Span& out, void* sums, bool first) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  const Index grouped = columns / chain_group<T> * chain_group<T>;
  const Index at_once = grouped == columns ? rows : 1;
  Blocks<Sum, T> blocks(sums, columns, first);
  ChainRow<T> row(chain, in);
  for (Index r = 0; r < rows; r += at_once) {
    if (r > 0) row.to_next();
    T* y = out.data ? static_cast<T*>(out.data) + r * out.row : nullptr;
    B sum[4] = {B(T(0)), B(T(0)), B(T(0)), B(T(0))};
    if (grouped > 0) strip<8, true>(row, at_once, 0, grouped, {y, out.row}, sum, &blocks);
    for (Index j = grouped; j < columns; j += lanes) {
      const Index count = columns - j < lanes ? columns - j : lanes;
      alignas(64) T made[lanes] = {};
      count < lanes ? strip_rest(row, j, count, made) : strip<1, false>(row, 1, j, j + lanes, {made, 0});
      if (y) copy_short(made, y + j, count);
      sum[j / lanes % 4] += B::load_aligned(made);
    }
    if (columns % reduce_block > 0) blocks.add((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
  blocks.join();
}

}  // namespace
}  // namespace rw::simd

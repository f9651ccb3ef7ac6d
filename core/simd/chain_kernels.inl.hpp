// Chains of operations: into memory, sums of rows, totals of columns. Included by the kernels of the tile machine alone.
#pragma once

#include <rewind/core/simd/row_kernels.inl.hpp>

namespace rw::simd {
namespace {

// A link at a row: where its operand is.
template <class T>
struct Step {
  Link link;
  const T* y;
};

// Columns j .. end-1 of a row, n batches at a time, through a chain: to `out`, if it has data, and where `sums`, block by block to
// `blocks`, the sums of a last block that is not whole to `unfinished`.
//
// What a link costs beside its arithmetic is kept least: it jumps to the next one's code by its address, and finds its batches at constant
// offsets from one register, which the compiler is not to see through. A switch, its check of the number and an address a batch took as
// many instructions as the arithmetic.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"  // addresses of labels
template <int n, bool sums, class T>
[[gnu::noinline]] void strip(const Step<T>* chain, Index j, Index end_column, T* out, Pack<T>* unfinished = nullptr,
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
  const Step<T>* step = chain;
  const T* y;
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
  y = step->y;
  goto* code[static_cast<int>((step++)->link)];
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
  step = chain;
  if (!sums || out) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) value[i].store_unaligned(out + i * B::size);
    out += n * B::size;
  }
  if constexpr (sums) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) sum[i % 4] += value[i];
    if (j % reduce_block == 0) {
      blocks->add((sum[0] + sum[1]) + (sum[2] + sum[3]));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[i] = B(T(0));
    }
  }
  if (j < end_column) goto next;
  if constexpr (sums) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) unfinished[i] = sum[i];
  }
}
#pragma GCC diagnostic pop

// A chain at a row of its operands; with `more`, that is added in the end.
template <class T>
class ChainRow {
 public:
  static constexpr Index lanes = Pack<T>::size;

  ChainRow(const Chain& chain, const Span* in, const Span* more = nullptr) : count_(chain.count) {
    for (int k = 0; k < count_; ++k) steps_[k].link = chain.links[k], operands_[k] = in + chain.operands[k];
    if (more) steps_[count_].link = Link::add, operands_[count_++] = more;
    steps_[count_] = {Link::end, nullptr};
  }
  void move_to(Index row) {
    for (int k = 0; k < count_; ++k) steps_[k].y = static_cast<const T*>(operands_[k]->data) + row * operands_[k]->row;
  }

  // Columns j .. end-1, whole batches, to out.
  void batches(Index j, Index end, T* out) const {
    const Index grouped = j + (end - j) / group * group;
    if (j < grouped) strip<group / lanes, false>(steps_, j, grouped, out);
    if (grouped < end) strip<1, false>(steps_, grouped, end, out + (grouped - j));
  }
  // The sums of columns 0 .. columns-1 as well, of the last block in `sum`; `out` may have no data.
  void sums(Index columns, T* out, Pack<T>* sum, Blocks<Sum, T>& blocks) const {
    const Index grouped = columns / group * group;
    if (grouped > 0) strip<group / lanes, true>(steps_, 0, grouped, out, sum, &blocks);
    for (Index at = grouped; at + lanes <= columns; at += lanes) {
      alignas(64) T one[lanes];
      strip<1, false>(steps_, at, at + lanes, one);
      sum[at / lanes % 4] += Pack<T>::load_aligned(one);
      if (out) Pack<T>::load_aligned(one).store_unaligned(out + at);
    }
  }
  // The last `columns` elements, fewer than a batch, from element j on.
  void rest(Index j, Index columns, T* out) const {
    Step<T> steps[Chain::most + 2];
    alignas(64) T padded[Chain::most + 1][lanes], made[lanes];
    for (int k = 0; k <= count_; ++k) {
      steps[k] = {steps_[k].link, padded[k]};
      if (!reads(steps_[k].link)) continue;
      const bool one = reads_one(steps_[k].link);
      Pack<T>(T(1)).store_aligned(padded[k]);
      copy_short(one ? steps_[k].y : steps_[k].y + j, padded[k], one ? 1 : columns);
    }
    strip<1, false>(steps, 0, lanes, made);
    copy_short(made, out, columns);
  }

 private:
  static constexpr Index group = 8 * lanes;  // that is in registers at once: a link costs it little more than one batch

  Step<T> steps_[Chain::most + 2];
  const Span* operands_[Chain::most + 1];
  int count_;
};

template <class T>
void run_chain(Index rows, Index columns, ChainRow<T>& chain, const Span& out) {
  constexpr Index lanes = Pack<T>::size;
  const Index whole = columns / lanes * lanes;
  for (Index r = 0; r < rows; ++r) {
    T* y = static_cast<T*>(out.data) + r * out.row;
    chain.move_to(r);
    if (columns < lanes) {
      chain.rest(0, columns, y);
      continue;
    }
    alignas(64) T last[lanes];
    if (whole < columns) chain.batches(columns - lanes, columns, last);
    chain.batches(0, whole, y);
    if (whole < columns) Pack<T>::load_aligned(last).store_unaligned(y + columns - lanes);
  }
}

template <class T>
void chain(Index rows, Index columns, const Span* in, const Chain& chain, const Span& out) {
  ChainRow<T> row(chain, in);
  run_chain(rows, columns, row, out);
}

template <class T>
void total_chain(Index rows, Index columns, const Span* in, const Chain& chain, void* to) {
  const Span total{to, 0};
  ChainRow<T> row(chain, in, &total);
  run_chain(rows, columns, row, total);
}

// The sums of what a chain makes, in the order of reduce.
template <class T>
void sum_chain(Index rows, Index columns, const Span* in, const Chain& chain, const Span& out, void* sums, bool first) {
  using B = Pack<T>;
  constexpr Index lanes = B::size;
  const Index whole = columns / lanes * lanes;
  Blocks<Sum, T> blocks(sums, columns, first);
  ChainRow<T> row(chain, in);
  for (Index r = 0; r < rows; ++r) {
    T* y = out.data ? static_cast<T*>(out.data) + r * out.row : nullptr;
    B sum[4] = {B(T(0)), B(T(0)), B(T(0)), B(T(0))};
    row.move_to(r);
    row.sums(whole, y, sum, blocks);
    if (whole < columns) {
      alignas(64) T rest[lanes] = {};
      row.rest(whole, columns - whole, rest);
      if (y) copy_short(rest, y + whole, columns - whole);
      sum[whole / lanes % 4] += B::load_aligned(rest);
    }
    if (columns % reduce_block > 0) blocks.add((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
  blocks.join();
}

}  // namespace
}  // namespace rw::simd

// The kernels of the matrix product, written once. Each file of core/isa includes this after it has defined, in an unnamed namespace
// (so that nothing here is shared between instruction sets), its set S:
//
//     struct S {
//       using arch = ...;                                 // of xsimd
//       static constexpr int rows, vectors, registers;   // register tile: rows x vectors
//       static Batch multiply_add(Batch a, Batch b, Batch c);  // a * b + c: fused where the processor can
//     };
//
// An element of C is one chain over k in order in every kernel here; tiles differ only in which elements they hold.
#pragma once

#include <rewind/core/matmul_kernels.hpp>
#include <type_traits>
#include <utility>
#include <xsimd/xsimd.hpp>

namespace rw::detail {
namespace {

#define REWIND_INLINE __attribute__((always_inline)) inline

template <class S, class T>
using Batch = xsimd::batch<T, typename S::arch>;
template <class S, class T>
inline constexpr int lanes = int(Batch<S, T>::size);
template <class S, class T>
inline constexpr int panel_columns = S::vectors* lanes<S, T>;

/// Panels that a tile of R rows takes at once: enough for eight chains, which hide the latency of the multiply-add, if the registers allow.
template <class S, int R>
constexpr int panels_at_once() {
  constexpr int wanted = (8 + R * S::vectors - 1) / (R * S::vectors);
  return (R + (R > 1)) * S::vectors * wanted < S::registers ? wanted : 1;
}

/// Rows of B from one line that is fetched to the next.
inline constexpr int some = 4;

/// Multiply-adds of vectors a row of B beside which two fetches cost nothing; a dozen, as on AVX2, take 5 % longer by them.
inline constexpr int hide_two = 16;

/// So wide tiles alone read A's rows where they lie. A narrow one uses a small part of each line of A: on AMD Zen 3 gradients of weights
/// take 0.8 to 0.9 of their time with A laid out.
template <class S>
inline constexpr bool takes_rows = S::rows* S::vectors >= hide_two;

/// A line of the cache, in bytes.
inline constexpr Index line = 64;

/// Lines of the cache, `step` bytes from one to the next.
struct Stretch {
  const char* at = nullptr;
  Index step = 0;
};

/// What a tile fetches meanwhile: to L1 the rows of C that the next tile begins with; and to L2, where its kind does, a line of the next
/// panel at each row of B, and a line of other memory at every so many. Tiles take it by reference: a copy on the stack is read in larger
/// pieces than it was written in, so it waits for all stores before it, those of the last tile into C.
template <class T>
struct TileFetches {
  const T* c;
  Index rows;
  Stretch panel = {}, other = {};
};

/// C [R, P panels of V vectors] over k rows of B: the accumulators stay in registers. `a` is where A's part begins, `rest` the rows left
/// of its first group. Columns: those of A have a unit stride, not its rows.
template <class S, class T, bool Columns, int R, int V, int P, bool Panel, bool Other>
void tile(const ProductBlock<T>& block, Index k, const T* a, Index rest, const T* b, T* c, Index c_row, bool accumulate,
          const TileFetches<T>& fetches) {
  constexpr int L = lanes<S, T>;
  using B = Batch<S, T>;
  const Index a_row = Columns ? block.a.column : block.a.row, b_row = block.b_row, b_panel = block.b_panel;
  [[maybe_unused]] const Index group = block.a.group, step = block.a.step, jump = step - group * a_row;
  constexpr Index c_panel = panel_columns<S, T>;
  B sum[R][P * V];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) sum[i][v] = accumulate ? B::load_unaligned(c + i * c_row + v / V * c_panel + v % V * L) : B(T(0));
  auto row = [&](Index s) __attribute__((always_inline)) {
    B right[P * V];
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) right[v] = B::load_unaligned(b + v / V * b_panel + v % V * L);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const B left(Columns ? a[i * a_row + s] : a[i]);
#pragma GCC unroll 16
      for (int v = 0; v < P * V; ++v) S::accumulate(sum[i][v], left, right[v]);
    }
    b += b_row;
    if constexpr (!Columns) {
      if constexpr (R * V * P >= hide_two) {  // the same row of the next group: where groups go backward, no processor foresees it
        __builtin_prefetch(a + step, 0, 3);
        __builtin_prefetch(a + step + (R - 1), 0, 3);
      }
      a += a_row;
      if (--rest == 0) {
        a += jump;
        rest = group;
      }
    }
  };
  const T* next = fetches.c;
  [[maybe_unused]] Stretch panel = fetches.panel, other = fetches.other;
  auto fetch = [](Stretch & lines) __attribute__((always_inline)) {
    __builtin_prefetch(lines.at, 0, 2);
    lines.at += lines.step;
  };
  // While the last rows of B pass, but for the time that the farthest memory takes.
  const Index span = fetches.rows * some, first = k < 2 * span ? 0 : k - 2 * span;
  const bool astride = c_row * Index(sizeof(T)) % line != 0;  // rows begin within lines, so they end in one more
  Index s = 0;
  for (; s + some <= k; s += some) {
    if (s >= first && s < first + span) {
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) __builtin_prefetch(next + v * L, 1, 3);
      if (astride) __builtin_prefetch(next + (V * L - 1), 1, 3);
      next += c_row;
    }
#pragma GCC unroll 16
    for (int q = 0; q < some; ++q) {
      if constexpr (Panel) fetch(panel);
      if (Other && q == 0) fetch(other);
      row(s + q);
    }
  }
  for (; s < k; ++s) row(s);
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < P * V; ++v) sum[i][v].store_unaligned(c + i * c_row + v / V * c_panel + v % V * L);
}

template <class T>
using TileFunction = void (*)(const ProductBlock<T>&, Index, const T*, Index, const T*, T*, Index, bool, const TileFetches<T>&);

/// The tiles of every row count, so that rows that do not divide are balanced (20 = 7 + 7 + 6) and none is padded.
template <class S, class T, bool Columns>
struct Tiles {
  struct Row {
    TileFunction<T> of[S::rows];
  };
  Row one[S::vectors];            ///< one[V - 1].of[R - 1]: R rows of one panel's first V vectors
  Row fetching[2][2];             ///< of a whole panel: [the next panel][other memory]. The former costs a tile 4 %, so few tiles do it
  TileFunction<T> wide[S::rows];  ///< wide[R - 1]: at_once[R - 1] panels
  int at_once[S::rows];

  template <int V, bool Panel, bool Other, int... I>
  static constexpr Row row(std::integer_sequence<int, I...>) {
    return {{tile<S, T, Columns, I + 1, V, 1, Panel, Other>...}};
  }
  template <int... V, int... I>
  static constexpr Tiles make(std::integer_sequence<int, V...>, std::integer_sequence<int, I...> rows) {
    constexpr int all = S::vectors;
    return {{row<V + 1, false, false>(rows)...},
            {{row<all, false, false>(rows), row<all, false, true>(rows)}, {row<all, true, false>(rows), row<all, true, true>(rows)}},
            {tile<S, T, Columns, I + 1, all, panels_at_once<S, I + 1>(), false, false>...},
            {panels_at_once<S, I + 1>()...}};
  }
};
template <class S, class T, bool Columns>
constexpr Tiles<S, T, Columns> tiles = Tiles<S, T, Columns>::make(std::make_integer_sequence<int, S::vectors>{},
                                                                  std::make_integer_sequence<int, S::rows>{});

/// Tiles that share the fetching of the next panel, each a stretch of it: one fetch a row of B hides in the multiply-adds.
inline constexpr Index fetching_tiles = 4;

/// What the next tile over k rows of B fetches of other memory: a column of lines of the first piece. Where lines are neighbours it ends
/// with the piece, else it may go on. Null when all is done.
inline Stretch next_stretch(Fetches& f, Index k) {
  if (f.count == 0) return {};
  const Ahead& piece = *f.pieces;
  const Index lines = k / some, left = piece.rows - f.row;
  const Stretch next{static_cast<const char*>(piece.data) + f.row * piece.stride + f.column,
                     piece.stride == line && left < lines ? left * line / lines : piece.stride};
  f.row += lines;
  if (f.row < piece.rows) return next;
  f.row = 0;
  f.column += line;
  if (f.column < piece.bytes) return next;
  f.column = 0;
  ++f.pieces;
  --f.count;
  return next;
}

/// All rows of one panel, by tiles of these V vectors. Where `next`, the memory that is read after it, is given, the first tiles fetch it;
/// others fetch what else is wanted while there is some. After C at c comes that at `next_c`.
template <class S, class T, bool Columns>
void panel(const ProductBlock<T>& block, int vectors, const T* b, T* c, Index c_row, bool accumulate, const T* next, const T* next_c) {
  const auto& all = tiles<S, T, Columns>;
  const Index blocks = (block.m + S::rows - 1) / S::rows, least = block.m / blocks, larger = block.m % blocks;
  const Index fetches = !next ? 0 : blocks < fetching_tiles ? blocks : fetching_tiles;
  const Index share = fetches ? block.b_row / fetches * Index(sizeof(T)) : 0;
  const char* after = reinterpret_cast<const char*>(next);
  const T* a = block.a.at(block.first, 0);
  const Index rest = block.a.group - block.first % block.a.group;
  for (Index i = 0; i < blocks; ++i) {
    const Index r = least + (i < larger), after_i = i + 1 < blocks ? i + 1 : 0;
    TileFetches<T> fetched{after_i ? c + r * c_row : next_c, least + (after_i < larger)};
    const auto* row = &all.one[vectors - 1];
    if (vectors == S::vectors) {
      if (i < fetches) fetched.panel = {after + i * block.k * share, share};
      if (block.meanwhile) fetched.other = next_stretch(*block.meanwhile, block.k);
      row = &all.fetching[fetched.panel.at != nullptr][fetched.other.at != nullptr];
    }
    row->of[r - 1](block, block.k, a, rest, b, c, c_row, accumulate, fetched);
    a += r * block.a.column;
    c += r * c_row;
  }
}

/// The columns of which the last do not fill a vector: through a buffer, so that C is touched where it is alone.
template <class S, class T, bool Columns>
void last_panel(const ProductBlock<T>& block, Index columns, const T* b, T* c) {
  constexpr int L = lanes<S, T>, width = panel_columns<S, T>;
  constexpr Index most = 8 * S::rows;
  alignas(64) T buffer[most * width];
  ProductBlock<T> part = block;
  part.meanwhile = nullptr;
  for (Index i = 0; i < block.m; i += most) {
    part.m = block.m - i < most ? block.m - i : most;
    part.a.data = block.a.data + i * block.a.column;
    T* at = c + i * block.c_row;
    if (block.accumulate)
      for (Index r = 0; r < part.m; ++r)
        for (Index j = 0; j < width; ++j) buffer[r * width + j] = j < columns ? at[r * block.c_row + j] : T(0);
    panel<S, T, Columns>(part, int((columns + L - 1) / L), b, buffer, width, block.accumulate, nullptr, buffer);
    for (Index r = 0; r < part.m; ++r)
      for (Index j = 0; j < columns; ++j) at[r * block.c_row + j] = buffer[r * width + j];
  }
}

template <class S, class T, bool Columns>
void multiply_by(const ProductBlock<T>& block) {
  constexpr Index width = panel_columns<S, T>;
  const auto& all = tiles<S, T, Columns>;
  const T* b = block.b;
  T* c = block.c;
  Index n = block.n;
  if (block.m <= S::rows) {
    const Index at_once = all.at_once[block.m - 1], rest = block.a.group - block.first % block.a.group;
    const T* a = block.a.at(block.first, 0);
    for (; n >= at_once * width; n -= at_once * width, b += at_once * block.b_panel, c += at_once * width)
      all.wide[block.m - 1](block, block.k, a, rest, b, c, block.c_row, block.accumulate, {c, 0});
  }
  for (; n >= width; n -= width, b += block.b_panel, c += width) {
    const T* next = n - block.n + block.fetch > width ? b + block.b_panel : nullptr;
    panel<S, T, Columns>(block, S::vectors, b, c, block.c_row, block.accumulate, next, n > width ? c + width : c);
  }
  if (n > 0 && n % lanes<S, T> == 0)
    panel<S, T, Columns>(block, int(n / lanes<S, T>), b, c, block.c_row, block.accumulate, nullptr, c);
  else if (n > 0)
    last_panel<S, T, Columns>(block, n, b, c);
}

template <class S, class T>
void multiply(const ProductBlock<T>& block) {
  if constexpr (takes_rows<S>)
    if (block.a.row != 1 || block.a.group < block.first + block.k) return multiply_by<S, T, false>(block);
  multiply_by<S, T, true>(block);
}

/// Row i of a square of vectors after the exchange of its off-diagonal blocks of D lanes with row i ^ D: log2(lanes) such steps transpose.
template <int D, bool Upper, class R, int... I>
REWIND_INLINE R exchange(R low, R high, std::integer_sequence<int, I...>) {
  constexpr int L = sizeof...(I);
  return __builtin_shufflevector(low, high, (I & D ? L + (I & ~D) : (I & ~D)) + (Upper ? D : 0)...);
}

template <int D, class R, int L, int... I>
REWIND_INLINE void exchange_rows(R (&rows)[L], std::integer_sequence<int, I...> sequence) {
  const R old[L] = {rows[I]...};
  ((rows[I] = exchange<D, (I & D) != 0>(old[I & ~D], old[I | D], sequence)), ...);
}

template <int D, class R, int L>
REWIND_INLINE void transpose(R (&rows)[L]) {
  if constexpr (D < L) {
    exchange_rows<D>(rows, std::make_integer_sequence<int, L>{});
    transpose<2 * D>(rows);
  }
}

/// Rows of V vectors, which are added to `sums` on their way, unless that is null.
template <class S, int V, class T>
REWIND_INLINE void copy_vectors(Index rows, const T* from, Index row, T* to, Index to_row, T* sums) {
  constexpr int L = lanes<S, T>;
  using B = Batch<S, T>;
  B sum[V] = {}, x[V];
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v)
    if (sums) sum[v] = B::load_unaligned(sums + v * L);
  for (Index i = 0; i < rows; ++i, from += row, to += to_row) {
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) x[v] = B::load_unaligned(from + v * L);
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) x[v].store_unaligned(to + v * L);
    if (!sums) continue;
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sum[v] = sum[v] + x[v];
  }
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v)
    if (sums) sum[v].store_unaligned(sums + v * L);
}

/// The same of some vectors, V at most.
template <class S, int V, class T>
REWIND_INLINE void copy_some(Index vectors, Index rows, const T* from, Index row, T* to, Index to_row, T* sums) {
  if constexpr (V > 0)
    vectors == V ? copy_vectors<S, V>(rows, from, row, to, to_row, sums) : copy_some<S, V - 1>(vectors, rows, from, row, to, to_row, sums);
}

template <class S, class T>
REWIND_INLINE void copy_panel(Index rows, Index columns, const T* from, Index row, T* to, Index to_row, T* sums) {
  constexpr int L = lanes<S, T>;
  copy_some<S, S::vectors>(columns / L, rows, from, row, to, to_row, sums);
  if (columns % L == 0) return;
  for (Index i = 0; i < rows; ++i, from += row, to += to_row)
    for (Index j = columns / L * L; j < columns; ++j) {
      to[j] = from[j];
      if (sums) sums[j] += from[j];
    }
}
template <class S, class T>
void copy_adding(Index rows, Index columns, const T* from, Index row, T* to, Index to_row, T* sums) {
  copy_panel<S>(rows, columns, from, row, to, to_row, sums);
}

template <class S, class T>
void copy(Index rows, Index columns, const T* from, Index row, Index column, T* to, Index to_row) {
  constexpr int L = lanes<S, T>;
  using B = Batch<S, T>;
  if (column == 1) {
    constexpr Index width = panel_columns<S, T>;
    for (Index j = 0; j < columns; j += width)
      copy_panel<S, T>(rows, columns - j < width ? columns - j : width, from + j, row, to + j, to_row, nullptr);
  } else if (row == 1 && rows >= L && columns >= L) {
    using R = typename B::register_type;
    // Squares; the last ones of a row or column overlap those before.
    for (Index j = 0; j < columns; j += L)
      for (Index i = 0; i < rows; i += L) {
        const Index left = columns - j < L ? columns - L : j, top = rows - i < L ? rows - L : i;
        R square[L];
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) square[r] = B::load_unaligned(from + (left + r) * column + top).data;
        transpose<1>(square);
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) B(square[r]).store_unaligned(to + (top + r) * to_row + left);
      }
  } else {
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < columns; ++j) to[i * to_row + j] = from[i * row + j * column];
  }
}

/// Twelve chains: three times the latency of a multiply-add on one port; they leave registers for the other operand.
inline constexpr int burst_chains = 12;
inline constexpr int burst_unroll = 4;

template <class S, class T>
void burst(Index rounds, T* values) {
  using B = Batch<S, T>;
  constexpr int L = lanes<S, T>;
  const B factor = B::load_unaligned(values);
  B sum[burst_chains];
#pragma GCC unroll 16
  for (int i = 0; i < burst_chains; ++i) sum[i] = B::load_unaligned(values + (i + 1) * L);
  for (Index r = 0; r < rounds; ++r)
#pragma GCC unroll 16
    for (int u = 0; u < burst_unroll; ++u)
#pragma GCC unroll 16
      for (int i = 0; i < burst_chains; ++i) S::accumulate(sum[i], sum[i], factor);
#pragma GCC unroll 16
  for (int i = 0; i < burst_chains; ++i) sum[i].store_unaligned(values + (i + 1) * L);
}

template <class S, class T>
constexpr ProductKernels<T> product_kernels() {
  static_assert((burst_chains + 1) * lanes<S, T> <= burst_values);
  return {S::rows,    panel_columns<S, T>, takes_rows<S>, multiply<S, T>,
          copy<S, T>, copy_adding<S, T>,   burst<S, T>,   Index(2) * burst_chains * burst_unroll * lanes<S, T>};
}

}  // namespace
}  // namespace rw::detail

// The trees of sums. The reduced elements of one result, n of them, are numbered in row-major order of the reduced axes. Blocks of
// `block` elements are summed; block sums meet in pairs, as a binary counter counts: the tree depends on n alone.
//   Rows (the last axis is reduced): in a block, element i goes to lane i % lanes, lanes meet in halves.
//   Columns (the last axis stays): a block is one chain per column.
// max and min take the same ways. Arg reductions walk in order.
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/recycle.hpp>
#include <rewind/core/strided.hpp>
#include <rewind/core/team.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace rw {

namespace {

constexpr Index block = 256;         // elements of a leaf in a row; 16 lanes of 16
constexpr Index column_block = 32;   // rows of a leaf in columns: short enough for accuracy
constexpr Index column_tile = 1024;  // columns at a time: long pieces of a row, which the processor fetches ahead by itself
constexpr Index worth_splitting = 1 << 15;
constexpr int levels = 64;

template <class T>
constexpr T lowest() {
  return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
}
template <class T>
constexpr T highest() {
  return std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
}

struct Sum {
  template <class T>
  static constexpr T identity = T(0);
  template <class T>
  static T join(T a, T b) {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
    else
      return a + b;
  }
};
struct Max {
  template <class T>
  static constexpr T identity = lowest<T>();
  template <class T>
  static T join(T a, T b) {
    return (b > a) | (b != b) ? b : a;
  }
};
struct Min {
  template <class T>
  static constexpr T identity = highest<T>();
  template <class T>
  static T join(T a, T b) {
    return (b < a) | (b != b) ? b : a;
  }
};

// Joins equal subtrees as they come, `width` values side by side; node k of the counter holds the sum of 2^k leaves.
template <class Op, class T>
struct Counter {
  T* nodes;  // [levels, width]
  Index width;
  std::uint64_t leaves = 0;

  void add(T* leaf, Index n) {
    int level = 0;
    for (; leaves >> level & 1; ++level) {
      const T* node = nodes + level * width;
      for (Index i = 0; i < n; ++i) leaf[i] = Op::join(node[i], leaf[i]);
    }
    std::copy_n(leaf, n, nodes + level * width);
    ++leaves;
  }

  // What is left: from the last and smallest subtree to the first.
  void finish(T* result, Index n) const {
    std::fill_n(result, n, Op::template identity<T>);
    bool first = true;
    for (int level = 0; level < levels; ++level) {
      if (!(leaves >> level & 1)) continue;
      const T* node = nodes + level * width;
      for (Index i = 0; i < n; ++i) result[i] = first ? node[i] : Op::join(node[i], result[i]);
      first = false;
    }
  }
};

// The compiler makes vectors of sums by itself, of comparisons that may trap it does not.
template <class T>
using Vector [[gnu::vector_size(16)]] = T;
template <class T>
constexpr Index width_of = std::is_floating_point_v<T> ? 16 / static_cast<Index>(sizeof(T)) : 0;

template <class T>
Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class Op, class T>
T row_leaf(const T* x, Index n) {
  constexpr Index lanes = 16, width = width_of<T>;
  T lane[lanes];
  std::fill_n(lane, lanes, Op::template identity<T>);
  Index i = 0;
  if constexpr (width > 0) {
    Vector<T> v[lanes / width];
    for (Index k = 0; k < lanes / width; ++k) v[k] = load(lane + k * width);
    for (; i + lanes <= n; i += lanes)
      for (Index k = 0; k < lanes / width; ++k) v[k] = Op::join(v[k], load(x + i + k * width));
    std::memcpy(lane, v, sizeof lane);
  } else {
    for (; i + lanes <= n; i += lanes)
      for (Index l = 0; l < lanes; ++l) lane[l] = Op::join(lane[l], x[i + l]);
  }
  for (Index l = 0; i < n; ++i, ++l) lane[l] = Op::join(lane[l], x[i]);
  for (Index half = lanes / 2; half > 0; half /= 2)
    for (Index l = 0; l < half; ++l) lane[l] = Op::join(lane[l], lane[l + half]);
  return lane[0];
}

// leaf = leaf, then a row, then the next, ...
template <class Op, class T, class... Row>
void join_rows(T* __restrict leaf, Index n, const Row*... rows) {
  constexpr Index width = width_of<T>;
  Index c = 0;
  if constexpr (width > 0)
    for (; c + width <= n; c += width) {
      Vector<T> v = load(leaf + c);
      ((v = Op::join(v, load(rows + c))), ...);
      std::memcpy(leaf + c, &v, sizeof v);
    }
  for (; c < n; ++c) ((leaf[c] = Op::join(leaf[c], rows[c])), ...);
}

// What reduce was asked: outer results, reduced axes, both with the strides of `in` (operand 0) and, outer, of `out` (operand 1).
struct Job {
  Strided<2> kept;
  Strided<1> reduced;
  Index results = 1, elements = 1;
  bool rows = true;
};

// The elements begin .. end-1 of one result's sequence, into a buffer unless they lie side by side already.
template <class T>
const T* sequence(const Job& job, const T* from, Index begin, Index end, T* buffer) {
  int axes = job.reduced.extents.rank();
  if (axes == 0) return from;
  if (axes == 1 && job.reduced.strides[0][0] == 1) return from + begin;
  T* to = buffer;
  job.reduced.walk(axes, begin, end, [&](const Index* o) { *to++ = from[o[0]]; });
  return buffer;
}

template <class Op, class T>
T reduce_sequence(const Job& job, const T* from, Index begin, Index end) {
  T nodes[levels], buffer[block], result;
  Counter<Op, T> counter{nodes, 1};
  for (Index i = begin; i < end; i += block) {
    Index stop = std::min(i + block, end);
    T leaf = row_leaf<Op>(sequence(job, from, i, stop, buffer), stop - i);
    counter.add(&leaf, 1);
  }
  counter.finish(&result, 1);
  return result;
}

template <class F>
void spread(bool split, Index n, Index grain, F body) {
  int parts = split ? static_cast<int>(std::min<Index>(threads(), (n + grain - 1) / grain)) : 1;
  if (parts <= 1) return body(Index{0}, n);
  auto part = [&](int i) {
    Share share = share_of(n, i, parts, grain);
    body(share.begin, share.end);
  };
  parallel(parts, part);
}

template <class Op, class T>
void reduce_rows(const Job& job, const T* in, T* out, bool split) {
  int axes = job.kept.extents.rank();
  constexpr Index chunk = 256 * block;  // a whole subtree, so chunks may be summed by different threads
  if (job.results == 1 && job.elements > chunk) {
    Index chunks = (job.elements + chunk - 1) / chunk;
    detail::List<T> sums(static_cast<std::size_t>(chunks));
    spread(split, chunks, 1, [&](Index begin, Index end) {
      for (Index c = begin; c < end; ++c)
        sums[static_cast<std::size_t>(c)] = reduce_sequence<Op>(job, in, c * chunk, std::min((c + 1) * chunk, job.elements));
    });
    T nodes[levels];
    Counter<Op, T> counter{nodes, 1};
    for (T& sum : sums) counter.add(&sum, 1);
    counter.finish(out, 1);
    return;
  }
  spread(split, job.results, 1, [&](Index begin, Index end) {
    job.kept.walk(axes, begin, end, [&](const Index* o) { out[o[1]] = reduce_sequence<Op>(job, in + o[0], 0, job.elements); });
  });
}

// One chain a column over some rows. Four rows at a time: one load and store of the leaf for four of the rows.
template <class Op, class T>
void column_leaf(const T* const* rows, Index count, Index step, T* __restrict leaf, Index n) {
  for (Index c = 0; c < n; ++c) leaf[c] = rows[0][c * step];
  Index r = 1;
  if (step == 1) {
    for (; r + 4 <= count; r += 4) join_rows<Op>(leaf, n, rows[r], rows[r + 1], rows[r + 2], rows[r + 3]);
    for (; r < count; ++r) join_rows<Op>(leaf, n, rows[r]);
  }
  for (; r < count; ++r)
    for (Index c = 0; c < n; ++c) leaf[c] = Op::join(leaf[c], rows[r][c * step]);
}

// One tile of at most column_tile columns.
template <class Op, class T>
void reduce_columns_tile(const Job& job, const T* in, Index in_step, T* out, Index out_step, Index n, T* nodes) {
  T leaf[column_tile];
  const T* rows[column_block];
  Index count = 0;
  Counter<Op, T> counter{nodes, column_tile};
  auto flush = [&] {
    column_leaf<Op>(rows, count, in_step, leaf, n);
    counter.add(leaf, n);
    count = 0;
  };
  job.reduced.walk(job.reduced.extents.rank(), [&](const Index* o) {
    rows[count++] = in + o[0];
    if (count == column_block) flush();
  });
  if (count > 0) flush();
  counter.finish(leaf, n);
  for (Index c = 0; c < n; ++c) out[c * out_step] = leaf[c];
}

template <class Op, class T>
void reduce_columns(const Job& job, const T* in, T* out, bool split) {
  int inner = job.kept.extents.rank() - 1;
  Index columns = job.kept.extents[inner], in_step = job.kept.strides[0][inner], out_step = job.kept.strides[1][inner];
  Index tiles = (columns + column_tile - 1) / column_tile, outer = job.kept.size(inner);
  Index share = tiles * outer >= 2 * threads() ? column_tile : std::max<Index>(16, columns * outer / threads() / 16 * 16);
  Index width = std::min(share, column_tile), parts = (columns + width - 1) / width;
  spread(split, outer * parts, 1, [&](Index begin, Index end) {
    detail::List<T> nodes(static_cast<std::size_t>(column_tile) *
                          (static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(job.elements))) + 1));
    for (Index i = begin; i < end; ++i)
      job.kept.walk(inner, i / parts, i / parts + 1, [&](const Index* o) {
        Index c = i % parts * width;
        reduce_columns_tile<Op>(job, in + o[0] + c * in_step, in_step, out + o[1] + c * out_step, out_step, std::min(width, columns - c),
                                nodes.data());
      });
  });
}

// Greater is `better` of max, and first in order wins among equals; a NaN beats all but an earlier NaN.
template <bool greater, class T>
void reduce_arg(const Job& job, const T* in, std::int64_t* out, bool split) {
  spread(split, job.results, 64, [&](Index begin, Index end) {
    job.kept.walk(job.kept.extents.rank(), begin, end, [&](const Index* o) {
      const T* x = in + o[0];
      T best{};
      Index found = 0, i = 0;
      job.reduced.walk(job.reduced.extents.rank(), [&](const Index* r) {
        T v = x[r[0]];
        if (i == 0 || (greater ? v > best : v < best) || (v != v && best == best)) best = v, found = i;
        ++i;
      });
      out[o[1]] = found;
    });
  });
}

template <class Op, class T>
void run(const Job& job, const T* in, T* out, bool split) {
  job.rows ? reduce_rows<Op>(job, in, out, split) : reduce_columns<Op>(job, in, out, split);
}

Job prepare(const View& in, std::uint32_t mask, const View& out) {
  Job job;
  int last = -1;
  for (int i = 0; i < in.shape.rank(); ++i) {
    bool reduced = mask >> i & 1;
    if (out.shape[i] != (reduced ? 1 : in.shape[i]))
      fail<ShapeError>("reduce: out does not fit: in is {}, mask is {:#b}, out is {}", in.shape, mask, out.shape);
    if (reduced) {
      job.reduced.push_back(in.shape[i], {in.strides[i]});
      job.elements *= in.shape[i];
    } else {
      job.kept.push_back(in.shape[i], {in.strides[i], out.strides[i]});
      job.results *= in.shape[i];
    }
    if (in.shape[i] != 1) last = i;
  }
  job.rows = last < 0 || (mask >> last & 1);
  job.kept.merge();
  job.reduced.merge();
  return job;
}

}  // namespace

void reduce(Reduction kind, const View& in, std::uint32_t mask, const View& out, bool split) {
  if (in.shape.rank() != out.shape.rank()) fail<ShapeError>("reduce: ranks differ: in is {}, out is {}", in.shape, out.shape);
  bool arg = kind == Reduction::argmax || kind == Reduction::argmin;
  bool count = kind == Reduction::sum && in.dtype == DType::boolean;
  DType wanted = arg || count ? DType::i64 : in.dtype;
  if (out.dtype != wanted) fail<DTypeError>("reduce: out must be {} for {}: got {}", wanted, in.dtype, out.dtype);
  Job job = prepare(in, mask, out);
  if (job.results == 0) return;
  if (job.elements == 0 && !arg) {
    double empty = kind == Reduction::sum ? 0 : kind == Reduction::max ? -HUGE_VAL : HUGE_VAL;
    return fill(out, out.dtype == DType::boolean ? empty > 0 : empty);
  }
  if (job.elements == 0) return fill(out, 0);
  split = split && job.results * job.elements >= worth_splitting;
  if (count) {
    Tensor numbers(in.shape, DType::i64);
    copy(in, numbers.view());
    return reduce(kind, numbers.view(), mask, out, split);
  }
  visit(in.dtype, [&](auto element) {
    using T = decltype(element);
    using Held = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
    auto* from = static_cast<const Held*>(in.data);
    auto* to = static_cast<Held*>(out.data);
    switch (kind) {
      case Reduction::sum: return run<Sum>(job, from, to, split);
      case Reduction::max: return run<Max>(job, from, to, split);
      case Reduction::min: return run<Min>(job, from, to, split);
      case Reduction::argmax: return reduce_arg<true>(job, from, static_cast<std::int64_t*>(out.data), split);
      case Reduction::argmin: return reduce_arg<false>(job, from, static_cast<std::int64_t*>(out.data), split);
    }
  });
}

void sum_steps(DType dtype, Index columns, Index rows, Index steps, const void* in, Index row, Index step, void* out, bool accumulate,
               bool split) {
  auto run = [&]<class T>(T) {
    auto* from = static_cast<const T*>(in);
    auto* to = static_cast<T*>(out);
    split = split && columns * rows * steps >= worth_splitting;
    spread(split, columns, 16, [&](Index begin, Index end) {
      constexpr Index most = 2048;  // long pieces of a row, which the processor fetches ahead by itself: a fifth less time than by 256
      for (Index first = begin; first < end; first += most) {
        Index n = std::min(most, end - first);
        T sum[most];
        if (accumulate)
          std::copy_n(to + first, n, sum);
        else
          std::fill_n(sum, n, T(0));
        for (Index s = 0; s < steps; ++s) {
          const T* x = from + s * step + first;
          Index r = 0;
          for (; r + 4 <= rows; r += 4, x += 4 * row)
            for (Index c = 0; c < n; ++c) sum[c] = sum[c] + x[c] + x[c + row] + x[c + 2 * row] + x[c + 3 * row];
          for (; r < rows; ++r, x += row)
            for (Index c = 0; c < n; ++c) sum[c] += x[c];
        }
        std::copy_n(sum, n, to + first);
      }
    });
  };
  if (!is_floating(dtype)) fail<DTypeError>("sum_steps: dtype must be f32 or f64: got {}", dtype);
  dtype == DType::f32 ? run(float{}) : run(double{});
}

}  // namespace rw

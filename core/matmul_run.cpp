// How a product is cut into blocks that fit the caches, and into shares for the team.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>
#include <rewind/core/matmul_kernels.hpp>
#include <rewind/core/team.hpp>
#include <rewind/core/turns.hpp>
#include <span>

namespace rw::detail {
namespace {

/// Memory of a thread for the blocks it packs: grows to what its largest product needs, and stays.
class Scratch {
 public:
  template <class T>
  T* elements(Index count) {
    const Index bytes = count * Index(sizeof(T));
    if (bytes > bytes_) {
      data_.reset();
      bytes_ = 0;
      data_.reset(static_cast<std::byte*>(::operator new(static_cast<std::size_t>(bytes), alignment)));
      bytes_ = bytes;
    }
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Free {
    void operator()(std::byte* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<std::byte, Free> data_;
  Index bytes_ = 0;
};
thread_local Scratch left_scratch, right_scratch;

constexpr Index line = 64;                 // of the cache, in bytes
constexpr Index step_of_k = 704;           // of a packed right operand: C is read and written once for each
constexpr Index step_of_k_unpacked = 384;  // of a right operand that is packed as it is used, by panels that stay close;
constexpr Index step_of_k_near = 256;      // and of one whose panels must stay in L1
constexpr Index step_of_k_in_place = 16;   // C stays in L1 or L2 while a B from beyond them streams

/// Equal steps of at most `most`.
Index equal_steps(Index k, Index most) {
  const Index steps = (k + most - 1) / most;
  return ((k + steps - 1) / steps + 7) / 8 * 8;
}

/// Rows of A that stay close, with their rows of C, while panels pass that come from L2 or beyond.
template <class T>
Index rows_at_once(const ProductKernels<T>& kernels) {
  return (32 + kernels.rows - 1) / kernels.rows * kernels.rows;
}

/// Half of L2: what is used again and again must fit there beside all that passes.
Index cache_bytes() {
  static const Index cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::clamp<Index>(cache / 2, 128 << 10, 1 << 20);
}

/// Whether tiles are a line of the cache wide. A row of A serves few columns then, so where B is packed as it is used, some panels of it
/// stay in L2, and few rows of A at a time pass over them all. Wide tiles take one panel, which stays in L1, and all rows of A that L2
/// holds.
template <class T>
bool narrow(const ProductKernels<T>& kernels) {
  return kernels.columns * Index(sizeof(T)) <= line;
}

/// Columns of B that are packed at a time, where it is packed as it is used: four panels of narrow tiles, and where pieces of its rows
/// would share lines with their neighbours.
template <class T>
Index columns_at_once(const ProductKernels<T>& kernels, const GroupedMatrix<T>& b) {
  const bool astride = b.column == 1 && b.row * Index(sizeof(T)) % line != 0;
  return astride || narrow(kernels) ? 4 * kernels.columns : kernels.columns;
}

/// Rows of B that are packed at a time, at most. Packing a transposed B takes some of L1. Panels that are read from L2 anyway may be longer
/// where a thread's part of C would come from beyond it.
template <class T>
Index unpacked_step_of_k(const ProductKernels<T>& kernels, const Product<T>& p, int parts) {
  if (!narrow(kernels)) return p.b.column == 1 ? step_of_k_unpacked : step_of_k_near;
  return p.m * p.n * Index(sizeof(T)) > 2 * cache_bytes() * parts ? step_of_k : step_of_k_unpacked;
}

template <class T>
class Part {
 public:
  /// Of columns that are used again: those that the thread reads in turn, among them these. So many parts share the product.
  Part(const ProductKernels<T>& kernels, const Product<T>& product, Share rows, Share columns, Share among, int parts = 1)
      : kernels_(kernels),
        p_(product),
        m0_(rows.begin),
        m_(rows.end - rows.begin),
        n0_(columns.begin),
        n_(columns.end - columns.begin),
        k_step_(equal_steps(p_.k, unpacked_step_of_k(kernels, p_, parts))),
        i_step_(row_step(k_step_)),
        down_((m_ + i_step_ - 1) / i_step_),
        far_end_(product.panels && p_.k * (among.end - among.begin) * Index(sizeof(T)) > cache_bytes() ? among.end : 0) {}
  Part(const ProductKernels<T>& kernels, const Product<T>& product, Share rows, Share columns)
      : Part(kernels, product, rows, columns, columns) {}

  void run() {
    if (m_ == 0 || n_ == 0) return;
    if (p_.panels) return with_panels();
    if (m_ <= kernels_.rows && !p_.sums && p_.b.column == 1 && p_.b.group >= p_.k && n_ >= kernels_.columns) return in_place();
    Turns turns(1, blocks(), 1);
    unpacked(turns, n_, 0);
  }

  /// Of A's rows and of k, one within the other.
  Index blocks() const { return (p_.k + k_step_ - 1) / k_step_ * down_; }

  /// What thread `taker` takes of the turns, whose groups have so many columns, or what is left of them in a share. Shares are equal but
  /// for a line of C.
  void unpacked(Turns& turns, Index group, int taker) {
    const Index width = kernels_.columns, at_once = columns_at_once(kernels_, p_.b);
    struct Place {
      Index k0, k, i, m, j, end;
    };
    auto columns = [&](int share) -> Share {
      const auto [begin, end] = share_of(n_, share, turns.takers(), line / Index(sizeof(T)));
      return {n0_ + begin, n0_ + end};
    };
    auto place = [&](Turns::Turn turn) -> Place {
      const Index k0 = turn.block / down_ * k_step_, i = turn.block % down_ * i_step_;
      const Share share = columns(turn.share);
      const Index j = share.begin + turn.group * group;
      return {k0, std::min(k_step_, p_.k - k0), m0_ + i, std::min(i_step_, m_ - i), j, std::min(j + group, share.end)};
    };
    const Share own = columns(taker);
    // What may throw, before others could wait for this thread.
    T* panels = right_scratch.elements<T>(k_step_ * at_once);
    if (!direct()) left_scratch.elements<T>(std::min(i_step_, m_) * left_row(k_step_));
    for (Turns::Turn turn, after; turns.take(taker, turn);) {
      const Place at = place(turn);
      for (Index j = at.j; j < at.end; j += at_once) {
        const Index n = std::min(at_once, at.end - j);
        T* sums = p_.sums && at.i == 0 ? p_.sums + j : nullptr;  // made once, beside the first rows of C
        if (sums && j == at.j) turns.wait(turn);
        if (sums && at.k0 == 0 && !p_.accumulate) std::fill_n(sums, n, T(0));
        fill_panels(kernels_, p_.b, at.k0, at.k, j, n, panels, at.k * width, sums);
        // What is packed next, likely, is fetched, or this would take as long as the packing.
        Place then{at.k0, at.k, 0, 0, j + at_once, at.end};
        if (then.j >= at.end) then = turns.peek(taker, after) ? place(after) : Place{};
        Ahead next[2] = {rows_of(p_.b, then.k0, then.k, then.j, std::min(at_once, then.end - then.j))};
        Index pieces = next[0].rows > 0;
        // So is A's part of the next block, some of it beside each of the thread's own columns.
        if (turn.block + 1 < blocks() && j >= own.begin && j < own.end) {
          const Place block = place({turn.block + 1, 0, taker});
          next[pieces] = share_of_rows(rows_of(p_.a, block.k0, block.k, block.i, block.m), j - own.begin, n, own.end - own.begin);
          pieces += next[pieces].rows > 0;
        }
        fetches_ = {next, pieces};
        if (!direct()) lay_out(at.i, at.m, at.k0, at.k);
        const bool far = narrow(kernels_) && at.m * at.k > near_elements();
        const Index rows = far ? equal_rows(at.m, rows_at_once(kernels_)) : at.m;
        if (j == at.j) turns.wait(turn);
        for (Index i = 0; i < at.m; i += rows) multiply(at.i + i, std::min(rows, at.m - i), at.k0, at.k, j, n, panels, width, at.k * width);
      }
      turns.finish(turn);
    }
  }

 private:
  /// Whether A can be read where it lies.
  bool direct() const { return (p_.a.row == 1 && p_.a.group >= p_.k) || (kernels_.takes_rows && p_.a.column == 1); }
  T* c(Index i, Index j) const { return p_.c + i * p_.c_row + j; }

  /// Rows of equal blocks of whole tiles: `most`, or as many more as round them up.
  Index equal_rows(Index m, Index most) const {
    const Index tile = kernels_.rows, blocks = std::max<Index>(1, (m + most - 1) / most), rows = (m + blocks - 1) / blocks;
    return std::max(tile, (rows + tile - 1) / tile * tile);
  }

  /// Elements of A that stay in L2 while panels pass: what it takes, or a quarter more.
  static Index near_elements() { return cache_bytes() / Index(sizeof(T)) * 5 / 4; }

  /// Rows of A that go over panels that must be packed again for others, in equal blocks: what L2 takes. Of narrow tiles as many as make
  /// the packing a small part.
  Index row_step(Index k) const {
    constexpr Index many = 1024;
    return equal_rows(m_, narrow(kernels_) ? many : std::max<Index>(5 * kernels_.rows, near_elements() / k));
  }

  void multiply(Index i, Index m, Index k0, Index k, Index j, Index n, const T* b, Index b_row, Index b_panel) {
    GroupedMatrix<T> a = p_.a;
    a.data += i * a.column;
    Index first = k0;
    if (!direct()) {
      a = {lay_out(i, m, k0, k), 1, left_row(k), k, 0};
      first = 0;
    }
    kernels_.multiply({m, n, k, a, first, b, b_row, b_panel, c(i, j), p_.c_row, p_.accumulate || k0 > 0, std::max<Index>(far_end_ - j, 0),
                       fetches_.count > 0 ? &fetches_ : nullptr});
  }

  /// Elements of a packed row of A: off the powers of two, whose rows would meet in one set of the cache.
  static Index left_row(Index k) { return (k + 15) / 16 * 16 + 16; }

  /// Rows i .. i+m-1, columns k0 .. k0+k-1 of A, one row after the other; laid out again only where they are not part of what was last.
  const T* lay_out(Index i, Index m, Index k0, Index k) {
    const Index a_row = left_row(k);
    if (k0 == laid_k_ && laid_.begin <= i && i + m <= laid_.end) return left_scratch.elements<T>(0) + (i - laid_.begin) * a_row;
    T* a = left_scratch.elements<T>(m * a_row);
    laid_ = {i, i + m};
    laid_k_ = k0;
    for (Index s = 0; s < k;) {
      const Index r = (k0 + s) % p_.a.group, count = std::min(k - s, p_.a.group - r);
      kernels_.copy(m, count, p_.a.at(k0 + s, i), p_.a.column, p_.a.row, a + s, a_row);
      s += count;
    }
    return a;
  }

  void with_panels() {
    const Index panel = p_.k * kernels_.columns;
    if (m_ == p_.m && n_ == p_.n) fetches_ = {p_.ahead.data(), Index(p_.ahead.size())};
    const T* b = p_.panels + n0_ / kernels_.columns * panel;
    const Index rows = equal_rows(m_, rows_at_once(kernels_)), step = equal_steps(p_.k, step_of_k);
    for (Index i = 0; i < m_; i += rows)
      for (Index k0 = 0; k0 < p_.k; k0 += step)
        multiply(m0_ + i, std::min(rows, m_ - i), k0, std::min(step, p_.k - k0), n0_, n_, b + k0 * kernels_.columns, kernels_.columns,
                 panel);
  }

  /// Rows k0 .. k0+k-1, columns j .. j+n-1 of a matrix with a unit stride as memory; none where they lie in other ways than evenly.
  static Ahead rows_of(const GroupedMatrix<T>& x, Index k0, Index k, Index j, Index n) {
    const Index size = sizeof(T);
    if (x.row == 1 && x.group >= k0 + k) return {x.data + k0 + j * x.column, n, k * size, x.column * size};
    if (x.column != 1 || k == 0) return {};
    if (x.group >= k0 + k || x.step == x.group * x.row) return {x.data + k0 * x.row + j, k, n * size, x.row * size};
    if (x.step != -x.group * x.row) return {};
    // Backward by whole groups: from the first row of the last of them.
    const Index first = k0 / x.group, last = (k0 + k - 1) / x.group;
    return {x.data + last * x.step + j, (last - first + 1) * x.group, n * size, x.row * size};
  }

  /// Of memory that is fetched along `width` columns, what belongs to n of them from j on. Rows without gaps are lines.
  static Ahead share_of_rows(Ahead whole, Index j, Index n, Index width) {
    if (whole.stride == whole.bytes) whole = {whole.data, (whole.rows * whole.bytes + line - 1) / line, line, line};
    const Index begin = whole.rows * j / width, end = whole.rows * std::min(j + n, width) / width;
    return {static_cast<const char*>(whole.data) + begin * whole.stride, end - begin, whole.bytes, whole.stride};
  }

  /// One tile of rows: B is read once, so it is read as it lies, a few rows at a time; its last columns go through a panel.
  void in_place() {
    const Index width = kernels_.columns, whole = n_ / width * width, rest = n_ - whole;
    const Index step = p_.k * n_ * Index(sizeof(T)) > 2 * cache_bytes() ? step_of_k_in_place : step_of_k;
    for (Index k0 = 0; k0 < p_.k; k0 += step)
      multiply(m0_, m_, k0, std::min(step, p_.k - k0), n0_, whole, p_.b.data + k0 * p_.b.row + n0_, p_.b.row, width);
    if (rest == 0) return;
    for (Index k0 = 0; k0 < p_.k; k0 += step_of_k) {
      const Index k = std::min(step_of_k, p_.k - k0);
      T* panel = right_scratch.elements<T>(k * width);
      fill_panels(kernels_, p_.b, k0, k, n0_ + whole, rest, panel, k * width);
      multiply(m0_, m_, k0, k, n0_ + whole, rest, panel, width, k * width);
    }
  }

  const ProductKernels<T>& kernels_;
  const Product<T>& p_;
  Index m0_, m_, n0_, n_;
  Index k_step_, i_step_, down_;  ///< where B is packed as it is used: blocks of k and of rows, and how many of these
  Index far_end_;                 ///< of columns of a packed B that does not stay in L2
  Fetches fetches_;               ///< of the products of blocks
  Share laid_{0, 0};              ///< rows of A that are laid out,
  Index laid_k_ = -1;             ///< from this column on
};

}  // namespace

template <class T>
void fill_panels(const ProductKernels<T>& kernels, const GroupedMatrix<T>& b, Index k0, Index k, Index j0, Index n, T* panels, Index panel,
                 T* sums) {
  const Index width = kernels.columns;
  // Some rows of all panels at a time: neighbouring columns share pages and lines.
  const Index rows_at_once = b.column == 1 ? 16 : k;
  for (Index s = 0; s < k;) {
    const Index r = (k0 + s) % b.group, count = std::min({k - s, b.group - r, rows_at_once});
    const T* from = b.at(k0 + s, j0);
    for (Index j = 0; j < n; j += width) {
      T* to = panels + j / width * panel + s * width;
      if (sums)
        kernels.copy_adding(count, std::min(width, n - j), from + j, b.row, to, width, sums + j);
      else
        kernels.copy(count, std::min(width, n - j), from + j * b.column, b.row, b.column, to, width);
    }
    s += count;
  }
  const Index used = n % width;
  if (used == 0) return;
  T* last = panels + n / width * panel;
  for (Index s = 0; s < k; ++s) std::fill(last + s * width + used, last + (s + 1) * width, T(0));
}

namespace {

/// Panels that all can read: the threads take runs of the cells of a grid, along its rows.
template <class T>
void take_cells(const ProductKernels<T>& kernels, const Product<T>& p, int parts) {
  constexpr Index cells_a_thread = 128;
  const Index height = rows_at_once(kernels), down = (p.m + height - 1) / height, panels = (p.n + kernels.columns - 1) / kernels.columns;
  const Index most = std::min(panels, 1 + cells_a_thread * parts / down), width = (panels + most - 1) / most * kernels.columns;
  const Index across = (p.n + width - 1) / width;
  auto share = [](Index begin, Index count, Index size, Index n) { return Share{begin * size, std::min((begin + count) * size, n)}; };
  Pieces cells(down * across, across, parts);
  parallel(parts, [&](int) {
    for (Share piece = cells.take(); piece.begin < piece.end; piece = cells.take())
      for (Index at = piece.begin, rows = 0, columns = 0; at < piece.end; at += rows * columns) {
        const Index row = at / across, column = at % across, left = piece.end - at;
        columns = std::min(across - column, left);
        rows = columns == across ? left / across : 1;
        Part<T>(kernels, p, share(row, rows, height, p.m), share(column, columns, width, p.n)).run();
      }
  });
}

/// B is packed by the threads as they take its columns: once in all, where it would be once a thread if they divided the rows.
template <class T>
void take_turns(const ProductKernels<T>& kernels, const Product<T>& p, int parts) {
  constexpr Index turns_a_thread = 32, most = 4;  // panels
  auto ratio = [](Index a, Index b) { return (a + b - 1) / b; };
  const Index lanes = line / Index(sizeof(T)), share = ratio(ratio(p.n, lanes), parts) * lanes;  // the largest
  const Index panels = ratio(share, kernels.columns), steps = ratio(p.k, unpacked_step_of_k(kernels, p, parts));
  const Index worth = std::max(panels * steps / turns_a_thread, columns_at_once(kernels, p.b) / kernels.columns);
  const Index group = std::min(worth, std::clamp<Index>(panels / most, 1, most)) * kernels.columns;
  auto whole = [&] { return Part<T>(kernels, p, {0, p.m}, {0, p.n}, {0, p.n}, parts); };
  Turns turns(ratio(share, group), whole().blocks(), parts);
  parallel(parts, [&](int part) { whole().unpacked(turns, group, part); });
}

/// Products of few rows follow each other in a loop, so the columns of B that a thread takes are the same each time, and may stay in its
/// cache: an equal share. Long ones in three pieces: a thread that is done takes pieces of those that are not.
template <class T>
void take_columns(const ProductKernels<T>& kernels, const Product<T>& p, int parts) {
  constexpr Index least = 1 << 21;  // multiply-adds of a thread: some 40 microseconds
  const int pieces = p.m * p.n * p.k < least * parts ? 1 : 3;
  const Index panels = (p.n + kernels.columns - 1) / kernels.columns;
  Turns turns(pieces, 1, parts);
  parallel(parts, [&](int part) {
    for (Turns::Turn turn; turns.take(part, turn);) {
      const Share share = share_of(panels, turn.share, parts);
      auto begin = [&](Index piece) {  // the first has three quarters
        const Index eighths = piece == 0 ? 0 : piece == pieces ? 8 : 5 + piece;
        return std::min((share.begin + (share.end - share.begin) * eighths / 8) * kernels.columns, p.n);
      };
      const Index piece = turn.group;
      Part<T>(kernels, p, {0, p.m}, {begin(piece), begin(piece + 1)}, {begin(0), begin(pieces)}).run();
    }
  });
}

}  // namespace

template <class T>
void run_product(const ProductKernels<T>& kernels, const Product<T>& p, bool split) {
  if (p.m <= 0 || p.n <= 0) return;
  if (p.k <= 0) {
    if (!p.accumulate)
      for (Index i = 0; i < p.m; ++i) std::fill_n(p.c + i * p.c_row, p.n, T(0));
    return;
  }
  const int parts = split && worth_splitting(p.m, p.n, p.k) ? threads() : 1;
  if (parts == 1) return Part<T>(kernels, p, {0, p.m}, {0, p.n}).run();
  const bool wide = p.n >= 2 * parts * kernels.columns, tall = p.m >= 2 * parts * kernels.rows;
  if (tall && p.panels) return take_cells(kernels, p, parts);
  if (tall && wide) return take_turns(kernels, p, parts);
  if (wide) return take_columns(kernels, p, parts);
  parallel(parts, [&](int part) { Part<T>(kernels, p, share_of(p.m, part, parts), {0, p.n}).run(); });
}

template void run_product(const ProductKernels<float>&, const Product<float>&, bool);
template void run_product(const ProductKernels<double>&, const Product<double>&, bool);
template void fill_panels(const ProductKernels<float>&, const GroupedMatrix<float>&, Index, Index, Index, Index, float*, Index, float*);
template void fill_panels(const ProductKernels<double>&, const GroupedMatrix<double>&, Index, Index, Index, Index, double*, Index, double*);

}  // namespace rw::detail

namespace rw {

bool worth_splitting(Index m, Index n, Index k) {
  constexpr Index rows = 4, least = Index(1) << 19;  // fewer rows wait for B; multiply-adds, many times what the team costs
  return std::max(m, rows) * n * k >= least;
}

Index rows_for_weights(Index bytes) {
  constexpr Index near = 8 << 20;  // bytes that L3 has for a thread
  return bytes <= 2 * detail::cache_bytes() ? 4 : bytes <= near ? 10 : 16;
}

}  // namespace rw

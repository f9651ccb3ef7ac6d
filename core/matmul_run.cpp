// How a product is cut into blocks that fit the caches, and into shares for the team.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>
#include <rewind/core/matmul_kernels.hpp>
#include <rewind/core/team.hpp>
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

constexpr Index step_of_k = 512;           // of a packed right operand
constexpr Index rows_of_packed = 32;       // they and their rows of C stay close while the panels pass
constexpr Index step_of_k_unpacked = 256;  // one panel of B stays in L1
constexpr Index step_of_k_in_place = 16;   // C stays in L1 or L2 while a B from beyond them streams
constexpr Index panels_at_once = 4;        // of an unpacked one

/// Half of L2: what is used again and again must fit there beside all that passes.
Index cache_bytes() {
  static const Index cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::clamp<Index>(cache / 2, 128 << 10, 1 << 20);
}

template <class T>
class Part {
 public:
  Part(const ProductKernels<T>& kernels, const Product<T>& product, Share rows, Share columns)
      : kernels_(kernels),
        p_(product),
        m0_(rows.begin),
        m_(rows.end - rows.begin),
        n0_(columns.begin),
        n_(columns.end - columns.begin),
        far_(product.panels && p_.k * n_ * Index(sizeof(T)) > cache_bytes()) {}

  void run() {
    if (m_ == 0 || n_ == 0) return;
    if (p_.panels)
      with_panels();
    else if (m_ <= kernels_.rows && p_.b.column == 1 && p_.b.group >= p_.k && n_ >= kernels_.columns)
      in_place();
    else
      unpacked();
  }

 private:
  /// Whether rows of A can be read where they lie.
  bool direct() const { return p_.a.row == 1 && p_.a.group >= p_.k; }
  T* c(Index i, Index j) const { return p_.c + i * p_.c_row + j; }

  /// Rows of A that go over panels that must be packed again for others: what L2 takes.
  Index row_step(Index k) const {
    const Index tile = kernels_.rows;
    return std::max(4 * tile, cache_bytes() / Index(sizeof(T)) / k / tile * tile);
  }

  void multiply(Index i, Index m, Index k0, Index k, Index j, Index n, const T* b, Index b_row, Index b_panel) {
    ProductBlock<T> block{
        m, n, k, nullptr, 0, b, b_row, b_panel, c(i, j), p_.c_row, p_.accumulate || k0 > 0, far_, fetches_.count > 0 ? &fetches_ : nullptr};
    if (direct()) {
      block.a = p_.a.data + i * p_.a.column + k0;
      block.a_row = p_.a.column;
    } else {
      block.a_row = (k + 15) / 16 * 16 + 16;  // off the powers of two, whose rows would meet in one set of the cache
      block.a = packed_left(i, m, k0, k, block.a_row);
    }
    kernels_.multiply(block);
  }

  /// Rows i .. i+m-1, columns k0 .. k0+k-1 of A, one row after the other; packed again only where it is another block than the last.
  const T* packed_left(Index i, Index m, Index k0, Index k, Index a_row) {
    T* a = left_scratch.elements<T>(m * a_row);
    if (i == left_row_ && k0 == left_k_) return a;
    left_row_ = i;
    left_k_ = k0;
    for (Index s = 0; s < k;) {
      const Index r = (k0 + s) % p_.a.group, count = std::min(k - s, p_.a.group - r);
      const T* from = p_.a.data + (k0 + s) / p_.a.group * p_.a.step + r * p_.a.row + i * p_.a.column;
      kernels_.copy(m, count, from, p_.a.column, p_.a.row, a + s, a_row);
      s += count;
    }
    return a;
  }

  /// Rows m0_ .. in steps over a block of B.
  void rows(Index k0, Index k, Index j, Index n, const T* b, Index b_row, Index b_panel) {
    const Index step = rows_of_packed;
    for (Index i = 0; i < m_; i += step) multiply(m0_ + i, std::min(step, m_ - i), k0, k, j, n, b, b_row, b_panel);
  }

  void with_panels() {
    const Index panel = p_.k * kernels_.columns;
    if (m_ == p_.m && n_ == p_.n) fetches_ = {p_.ahead.data(), Index(p_.ahead.size())};
    for (Index k0 = 0; k0 < p_.k; k0 += step_of_k)
      rows(k0, std::min(step_of_k, p_.k - k0), n0_, n_, p_.panels + n0_ / kernels_.columns * panel + k0 * kernels_.columns,
           kernels_.columns, panel);
  }

  /// A few panels of B are packed at a time, just before they are used: enough that rows of B are read in long pieces.
  void unpacked() {
    const Index width = kernels_.columns, at_once = panels_at_once * width;
    const Index steps = (p_.k + step_of_k_unpacked - 1) / step_of_k_unpacked,
                k_step = ((p_.k + steps - 1) / steps + 7) / 8 * 8;  // equal steps
    T* panels = right_scratch.elements<T>(k_step * at_once);
    for (Index k0 = 0; k0 < p_.k; k0 += k_step) {
      const Index k = std::min(k_step, p_.k - k0), step = row_step(k);
      for (Index i = 0; i < m_; i += step)
        for (Index j = 0; j < n_; j += at_once) {
          const Index n = std::min(at_once, n_ - j);
          fill_panels(kernels_, p_.b, k0, k, n0_ + j, n, panels, k * width);
          // What is packed next is fetched, or this would take as long as the packing.
          const bool same_rows = j + at_once < n_, same_k = same_rows || i + step < m_;
          const Index next_k = same_k ? k0 : k0 + k, next_j = same_rows ? j + at_once : 0;
          const Ahead next = rows_of(p_.b, next_k, std::min(k_step, p_.k - next_k), n0_ + next_j, std::min(at_once, n_ - next_j));
          fetches_ = {&next, next.rows > 0};
          multiply(m0_ + i, std::min(step, m_ - i), k0, k, n0_ + j, n, panels, width, k * width);
        }
    }
  }

  /// Rows k0 .. k0+k-1, columns j .. j+n-1 of a matrix of unit column stride as memory; none where they lie in other ways than evenly.
  static Ahead rows_of(const GroupedMatrix<T>& x, Index k0, Index k, Index j, Index n) {
    const Index size = sizeof(T);
    if (x.column != 1 || k == 0) return {};
    if (x.group >= k0 + k || x.step == x.group * x.row) return {x.data + k0 * x.row + j, k, n * size, x.row * size};
    if (x.step != -x.group * x.row) return {};
    // Backward by whole groups: from the first row of the last of them.
    const Index first = k0 / x.group, last = (k0 + k - 1) / x.group;
    return {x.data + last * x.step + j, (last - first + 1) * x.group, n * size, x.row * size};
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
  bool far_;         ///< the packed B does not stay in L2
  Fetches fetches_;  ///< of the products of blocks
  Index left_row_ = -1, left_k_ = -1;
};

}  // namespace

template <class T>
void fill_panels(const ProductKernels<T>& kernels, const GroupedMatrix<T>& b, Index k0, Index k, Index j0, Index n, T* panels,
                 Index panel) {
  const Index width = kernels.columns;
  // Some rows of all panels at a time: neighbouring columns share pages and lines.
  const Index rows_at_once = b.column == 1 ? 16 : k;
  for (Index s = 0; s < k;) {
    const Index r = (k0 + s) % b.group, count = std::min({k - s, b.group - r, rows_at_once});
    const T* from = b.data + (k0 + s) / b.group * b.step + r * b.row + j0 * b.column;
    for (Index j = 0; j < n; j += width)
      kernels.copy(count, std::min(width, n - j), from + j * b.column, b.row, b.column, panels + j / width * panel + s * width, width);
    s += count;
  }
  const Index used = n % width;
  if (used == 0) return;
  T* last = panels + n / width * panel;
  for (Index s = 0; s < k; ++s) std::fill(last + s * width + used, last + (s + 1) * width, T(0));
}

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
  // Packed panels can be read by all; where B must be packed each thread had better pack its own columns.
  const bool wide = p.n >= 2 * parts * kernels.columns, tall = p.m >= 2 * parts * kernels.rows;
  const bool by_rows = p.panels ? tall || !wide : !wide;
  parallel(parts, [&](int part) {
    if (by_rows)
      Part<T>(kernels, p, share_of(p.m, part, parts), {0, p.n}).run();
    else
      Part<T>(kernels, p, {0, p.m}, share_of(p.n, part, parts, kernels.columns)).run();
  });
}

template void run_product(const ProductKernels<float>&, const Product<float>&, bool);
template void run_product(const ProductKernels<double>&, const Product<double>&, bool);
template void fill_panels(const ProductKernels<float>&, const GroupedMatrix<float>&, Index, Index, Index, Index, float*, Index);
template void fill_panels(const ProductKernels<double>&, const GroupedMatrix<double>&, Index, Index, Index, Index, double*, Index);

}  // namespace rw::detail

namespace rw {

bool worth_splitting(Index m, Index n, Index k) {
  constexpr Index rows = 4, least = Index(1) << 19;  // fewer rows wait for B; multiply-adds, many times what the team costs
  return std::max(m, rows) * n * k >= least;
}

Index rows_for_weights(Index bytes) { return bytes > 2 * detail::cache_bytes() ? 16 : 4; }

}  // namespace rw

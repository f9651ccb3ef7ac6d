// What the matrix product needs of an instruction set: a table of kernels for each, and the product over a given table.
// Inside the library only (and in its tests, which run every table that the processor supports).
#pragma once

#include <rewind/core/isa.hpp>
#include <rewind/core/matmul.hpp>

namespace rw::detail {

/// What a product fetches on its way: pieces of memory, and how far it came with the first of them.
struct Fetches {
  const Ahead* pieces = nullptr;
  Index count = 0, row = 0, column = 0;
};

/// A matrix [k,n] (or, as left operand, the transpose of [m,k]) whose rows come in groups: element (r, j) at
/// data[r / group * step + r % group * row + j * column].
template <class T>
struct GroupedMatrix {
  const T* data;
  Index row, column, group, step;

  const T* at(Index r, Index j) const { return data + r / group * step + r % group * row + j * column; }
};

/// C [m,n] = A^T B, or C += with `accumulate`: rows first .. first+k-1 of A, of which columns have a unit stride (`row` is 1) and all rows
/// are one group, or else rows have (`column` is 1). B [k,n] in panels of `columns` columns: element (k,j) of
/// panel p at b[p * b_panel + k * b_row + j]. Where n does not fill the last panel, that panel is still read up to whole vectors.
template <class T>
struct ProductBlock {
  Index m, n, k;
  GroupedMatrix<T> a;
  Index first;
  const T* b;
  Index b_row, b_panel;
  T* c;
  Index c_row;
  bool accumulate;
  Index fetch;         ///< columns, from b on, that come from beyond L2: while a panel of them is used, the next one is fetched
  Fetches* meanwhile;  ///< what else is fetched, as far as the tiles go: each a line at every fourth row of B; may be null
};

template <class T>
struct ProductKernels {
  int rows, columns;  ///< of the register tile; a panel is as wide
  bool takes_rows;    ///< whether `multiply` takes an A of which rows have a unit stride; else its columns must
  void (*multiply)(const ProductBlock<T>& block);
  /// to[r * to_row + c] = from[r * row + c * column]; a unit column or row stride is fast.
  void (*copy)(Index rows, Index columns, const T* from, Index row, Index column, T* to, Index to_row);
  /// The same of columns with a unit stride, a panel's at most; each row is added to sums [columns], one after the other.
  void (*copy_adding)(Index rows, Index columns, const T* from, Index row, T* to, Index to_row, T* sums);
  /// `rounds` rounds of independent multiply-adds v = v * f + v, f the vector at `values` and v those behind it (burst_values in all); a
  /// round is burst_flops operations.
  void (*burst)(Index rounds, T* values);
  Index burst_flops;
};
inline constexpr int burst_values = 512;

struct ProductTable {
  ProductKernels<float> f32;
  ProductKernels<double> f64;
  template <class T>
  const ProductKernels<T>& of() const {
    if constexpr (sizeof(T) == 4)
      return f32;
    else
      return f64;
  }
};
extern const ProductTable product_sse2, product_avx2, product_avx512;
const ProductTable& product_table(Isa isa);

/// A product as the entry points put it. `panels` is the packed right operand; where it is null, `b` is read.
template <class T>
struct Product {
  Index m, n, k;
  GroupedMatrix<T> a;  ///< [k,m]
  GroupedMatrix<T> b;  ///< [k,n]
  const T* panels;
  T* c;
  Index c_row;
  bool accumulate;
  std::span<const Ahead> ahead = {};  ///< for a product with panels on one thread
  T* sums = nullptr;                  ///< [n] (+)= the rows of `b`, as C; may be null, and must be where there are panels
};
template <class T>
void run_product(const ProductKernels<T>& kernels, const Product<T>& product, bool split);
extern template void run_product(const ProductKernels<float>&, const Product<float>&, bool);
extern template void run_product(const ProductKernels<double>&, const Product<double>&, bool);

/// Elements that the panels of a [k,n] matrix take.
template <class T>
Index panel_elements(const ProductKernels<T>& kernels, Index k, Index n) {
  return (n + kernels.columns - 1) / kernels.columns * kernels.columns * k;
}
/// Rows k0 .. k0+k-1, columns j0 .. j0+n-1 of b into panels [k, kernels.columns], padded with zeros, each `panel` elements after the other.
/// They are added to `sums` [n], unless it is null, where columns have a unit stride.
template <class T>
void fill_panels(const ProductKernels<T>& kernels, const GroupedMatrix<T>& b, Index k0, Index k, Index j0, Index n, T* panels, Index panel,
                 T* sums = nullptr);
extern template void fill_panels(const ProductKernels<float>&, const GroupedMatrix<float>&, Index, Index, Index, Index, float*, Index,
                                 float*);
extern template void fill_panels(const ProductKernels<double>&, const GroupedMatrix<double>&, Index, Index, Index, Index, double*, Index,
                                 double*);

}  // namespace rw::detail

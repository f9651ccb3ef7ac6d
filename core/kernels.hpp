// Kernels on strided memory that are neither elementwise nor products: reductions, copies, rows by index.
#pragma once

#include <rewind/core/tensor.hpp>

namespace rw {

enum class Reduction : std::uint8_t { sum, max, min, argmax, argmin };

/// out = in reduced over the axes of `mask` (bit i: axis i), which have extent 1 in out. Sums of f32 and f64 follow a fixed tree that
/// depends on the shape and the mask alone, not on strides or threads; integers wrap; bools are counted as i64. max and min give NaN if
/// there is one; argmax and argmin give i64, the first of equals (a NaN wins), counted in row-major order over the reduced axes.
/// Reducing no elements: sum 0, max -inf, min +inf (integers: lowest, highest), arg* 0. Otherwise out has the dtype of in (DTypeError).
/// `split` spreads it over the team where that pays.
void reduce(Reduction kind, const View& in, std::uint32_t mask, const View& out, bool split);

/// out [C] (+)= sum over s, then over the rows r, of in_s [R,C] at in + s * step: one chain an element, as matmul_steps. f32 or f64;
/// row and step count elements, negative steps run backward.
void sum_steps(DType dtype, Index columns, Index rows, Index steps, const void* in, Index row, Index step, void* out, bool accumulate,
               bool split);

/// out = in, element by element, with conversion where dtypes differ (f to i truncates, saturating; NaN gives 0; nonzero gives true).
void copy(const View& in, const View& out);
void fill(const View& out, double value);

/// out[i, ...] = table[index[i], ...]: table [V, ...], index any shape S of i32 or i64, out [S, ...]. Throws ValueError for an
/// index outside 0 .. V-1, before anything is written.
void gather_rows(const View& table, const View& index, const View& out);
/// out[index[i], ...] += in[i, ...], i ascending: one chain an element; out [V, ...] is cleared first unless it accumulates. f32 or f64;
/// errors as gather_rows. Strides may be negative.
void scatter_add_rows(const View& in, const View& index, const View& out, bool accumulate = false);

/// Running sum along an axis (0 .. rank-1), from its end if `reverse`: one chain in order. Any dtype but bool.
void cumsum(const View& in, int axis, bool reverse, const View& out);

}  // namespace rw

// The kernels of the tile machine: one table for each instruction set.
#pragma once

#include <rewind/core/dtype.hpp>
#include <rewind/core/elementwise.hpp>
#include <rewind/core/isa.hpp>

namespace rw::simd {

/// Rows of elements: row i begins at data + i * row elements.
struct Span {
  void* data = nullptr;
  Index row = 0;
};

/// out = op(in...) on rows x columns elements. The form says which operands are one value a row: bit i for operand i. An operand may
/// be the very same memory as out (same data, same row), else they must not overlap.
using ApplyKernel = void (*)(Index rows, Index columns, const Span* in, const Span& out);

/// out[i] = the reduction of row i, and of out[i] where not `first`. Sums: blocks of 256 columns one after another; within a block vector j
/// goes to accumulator j mod 4, these are added as (0 + 1) + (2 + 3), then the lanes by halves. `columns` must be a multiple of 256 in
/// every call but the last of a row. max and min: NaN if there is one.
using ReduceKernel = void (*)(Index rows, Index columns, const Span& in, void* out, bool first);
inline constexpr Index reduce_block = 256;

/// Operations of one instruction in one pass, each on the value so far, x, and y: elements of an operand, with the next number one value a
/// row of it, and with the one after that what was put aside.
enum class Link : std::uint8_t {
  take = 0,           ///< y
  add = 3,            ///< x + y
  subtract = 6,       ///< x - y
  subtract_from = 9,  ///< y - x
  multiply = 12,      ///< x y
  divide = 15,        ///< x / y
  divide_from = 18,   ///< y / x
  aside = 21,         ///< y, and x is put aside
  square = 24,        ///< x x
  negate = 25,        ///< -x
  root = 26,          ///< the square root of x
  end = 27,           ///< in kernels, behind the last
};
enum class Form : std::uint8_t { elements, one_a_row, aside };
constexpr Link with(Link link, Form form) { return static_cast<Link>(static_cast<int>(link) + static_cast<int>(form)); }
/// Whether an operand is read, and in which form, if so.
constexpr bool reads(Link link) { return link < Link::square && static_cast<int>(link) % 3 != static_cast<int>(Form::aside); }
/// Whether doing it again costs more than writing and reading what it makes.
constexpr bool slow(Link link) { return (link >= Link::divide && link < Link::aside) || link == Link::root; }
constexpr bool reads_one(Link link) { return reads(link) && static_cast<int>(link) % 3 == static_cast<int>(Form::one_a_row); }

struct Chain {
  static constexpr int most = 24, most_inputs = 12;
  int count = 0;                    ///< 0: no chain
  Link links[most] = {};            ///< the first, and it alone, takes
  std::int8_t operands[most] = {};  ///< y of each: its place among the inputs
};

/// out = the chain on rows x columns elements, with the bits of its operations one after another. An operand may be the very same memory as
/// out, as for apply kernels.
using ChainKernel = void (*)(Index rows, Index columns, const Span* in, const Chain& chain, const Span& out);

/// sums[i] = the sum of what the chain makes of row i, as ReduceKernel has it; that goes to out too, if it has data.
using SumChainKernel = void (*)(Index rows, Index columns, const Span* in, const Chain& chain, const Span& out, void* sums, bool first);

/// What the chain makes of `group` rows is added to a row of `to`, one after another, those of the next group to the next row. Of the first
/// group `begun` rows have been added.
using TotalChainKernel = void (*)(Index rows, Index columns, const Span* in, const Chain& chain, const Span& to, Index group, Index begun);

/// Copies rows x columns elements with any strides (in elements) from one dtype to another. To integers it truncates and saturates, NaN
/// gives 0; to bool nonzero (NaN too) gives 1.
using MoveKernel = void (*)(Index rows, Index columns, const void* in, Index in_row, Index in_column, void* out, Index out_row,
                            Index out_column);

struct TileKernels {
  struct Set {
    ApplyKernel apply[op::All::size][8];  ///< [code][form]; null where the form has more operands than the operation
    ChainKernel chain;
    SumChainKernel sum_chain;
    TotalChainKernel total_chain;
    ReduceKernel reduce[3][2];     ///< [sum, max, min][0: elements, 1: one value a row]
    MoveKernel load[5], store[5];  ///< [dtype of the memory]
  };
  Isa isa;  ///< what this table was really compiled for
  Set f32, f64;
  const Set& set(DType dtype) const { return dtype == DType::f64 ? f64 : f32; }
};

extern const TileKernels tile_kernels_sse2, tile_kernels_avx2, tile_kernels_avx512;

/// The table of an instruction set. Calling its kernels is up to `supported`.
const TileKernels& tile_kernels(Isa isa);

}  // namespace rw::simd

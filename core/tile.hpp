// The tile machine: straight-line programs of elementwise operations over an iteration space, run tile by tile while the tile is in the
// cache.
//
// The space is a Shape [.., C]: all axes but the last enumerate rows, the last runs along columns. A value of a program is full (one
// element a point) or narrow (one element a row: results of row reductions, and operations on narrow values alone). Narrow values
// broadcast where they meet full ones. Programs compute in one floating dtype; operands of other dtypes are converted when
// loaded and stored (i64 and i32 as numbers, bool as 0 and 1; stores to integers truncate and saturate, NaN gives 0).
#pragma once

#include <memory>
#include <rewind/core/elementwise.hpp>
#include <rewind/core/isa.hpp>
#include <rewind/core/shape.hpp>
#include <vector>

namespace rw {

/// What a program's author writes: values are numbered by the instructions that make them, memory by the operands that are passed to run.
struct TileProgram {
  enum class Kind : std::uint8_t {
    load,     ///< memory operand -> full, or narrow: then the operand's column stride is not looked at
    gather,   ///< memory operand, its axis 0 indexed by a second operand (i32 or i64) that gives, at each point, the row: see `index`
    column,   ///< the position along the last axis, as a number
    uniform,  ///< random in [0,1): operand is the key (i64 [2]: seed, stream); strides and `counter` of the operand give the element's
              ///< number
    normal,   ///< standard normal, likewise
    apply,    ///< elementwise operation `code` on values a, b, c
    sum,
    max,
    min,    ///< row reductions of value a, full -> narrow, by a tree that depends on C alone. max and min give NaN if there is one
    store,  ///< value a -> memory operand
    total,  ///< value a, full, is added to a memory operand of the program's dtype that is the same in all rows: one chain a column, row
            ///< after row. With `group`, each group of so many rows has a sum of its own. No load reads that memory
  };
  struct Instruction {
    Kind kind;
    op::Code code = 0;
    bool narrow = false;         ///< one element a row; said by the author of sources and apply, found out for reductions and stores
    int a = -1, b = -1, c = -1;  ///< values (instruction numbers)
    int operand = -1;            ///< memory operand
    int index = -1;              ///< gather: the operand that holds row numbers
    Index group = 0;             ///< total: rows of a group, in the order of rows; 0: all of them
  };
  DType dtype = DType::f32;       ///< f32 or f64: what it computes in
  std::vector<DType> operands;    ///< dtype of each memory operand
  std::vector<Instruction> code;  ///< in order; a value is used after it is made
};

/// A memory operand as all runs have it: element strides along the axes of the iteration space (0 repeats; the last one is ignored for
/// narrow values).
struct TileOperand {
  Index strides[max_rank] = {};
  Index rows = 0;    ///< gather: extent of the indexed axis, for the check; total: so many sums, and the first goes on (0: no end)
  Index across = 0;  ///< gather: stride of the indexed axis; total: from one group's sum to the next
};

/// Where an operand of one run begins.
struct TilePlace {
  void* data = nullptr;
  std::uint64_t counter = 0;  ///< random: number of the element at the origin; strides count elements of the stream
};

/// A compiled program over a space: registers assigned by liveness, reductions in phases, kernels of the chosen instruction set bound.
class Tile {
 public:
  /// Rank 0 counts as [1]; an extent of 0 does nothing. Throws ValueError for a program that breaks the rules above, or unless there are as
  /// many operands as it has.
  Tile(const TileProgram& program, const Shape& space, std::vector<TileOperand> operands, Isa isa = rw::isa());
  ~Tile();
  Tile(Tile&&) noexcept;
  Tile& operator=(Tile&&) noexcept;

  /// Runs rows begin .. end-1 (of the product of all axes but the last, row-major), with a place for each operand; what other rows add to
  /// totals is up to the caller. A store may write the memory that a load of the same program reads at the same points. Bits do not depend
  /// on how rows are divided into calls, nor on what else the program computes. Throws ValueError, before anything is written, for a gather
  /// index outside its axis.
  void run(const TilePlace* places, Index begin, Index end) const;

  /// The same over all rows, spread over the team where that pays.
  void run(const TilePlace* places, bool split) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rw

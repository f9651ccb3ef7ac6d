// Inside the tile machine: one run of a plan. Included by core/tile*.cpp alone.
#pragma once

#include <rewind/core/tile_plan.hpp>
#include <vector>

namespace rw::tile {

/// An operand in this run: strides along the collapsed axes, and its place at the tile at hand. For random numbers `place` counts elements.
struct Memory {
  std::uintptr_t origin = 0, base = 0, place = 0;
  std::uintptr_t begin = 0;         ///< bytes from where the operand begins to where the run does
  Index size = 0;                   ///< bytes of an element; 1 for random numbers
  Index stride[max_rank + 1] = {};  ///< elements: row axes, outermost first
  Index row = 0, column = 0;        ///< elements: innermost row axis, columns
  Index across = 0, rows = 0;       ///< of TileOperand
  void* data = nullptr;             ///< as given: random keys, and what aliases what
  bool random = false;              ///< a key
};

/// A step with kernel, registers and memory bound.
struct Bound {
  Kind kind = Kind::load;
  bool flat = false;        ///< rows lie end to end in all operands: one long row
  bool narrow = false;      ///< one element a row, in a register
  bool one_row = false;     ///< the value is the same in all rows of the tile
  bool one_column = false;  ///< the value is the same in all columns
  union {
    simd::ApplyKernel apply = nullptr;
    simd::ReduceKernel reduce;
    simd::MoveKernel move;
  };
  simd::Span in[simd::Chain::most_inputs], out;
  simd::Chain chain;                    ///< of an apply: none, or what is done with the inputs
  void* sums = nullptr;                 ///< of the rows of what a chain makes
  Index in_column = 0, out_column = 0;  ///< moves
  const Memory* memory = nullptr;       ///< gather, random and total: the operand; `index`: of the row numbers
  const Memory* index = nullptr;
  Index group = 0;  ///< rows of a total; 0: all
  DType dtype = DType::f32, index_dtype = DType::i64;
};

/// A pointer of a bound step that follows its operand from tile to tile.
struct Patch {
  void** slot;
  const Memory* memory;
};

struct List {
  int begin = 0, end = 0, patch_begin = 0, patch_end = 0;
};

/// Where a value is.
struct Location {
  simd::Span span;
  const Memory* memory = nullptr;  ///< null: a register
  bool one_column = false;
};

/// A plan bound to some of its rows or columns: schedule, registers, kernels. Each thread keeps some, for in a loop a plan runs again, at
/// other addresses: those alone are set anew then. Nothing is allocated where the one before needed as much.
class Run {
 public:
  /// This thread's, of rows begin .. end-1 and so many columns; it holds until the next call.
  static Run& of(const Plan& plan, const simd::TileKernels::Set& kernels, Index columns, const TilePlace* places, Index begin, Index end);
  void check();  ///< the indices of gathers
  void execute();

 private:
  bool serves(const Plan& plan, Index columns, const TilePlace* places, Index begin, Index end) const;
  void bind_to(const Plan& plan, const simd::TileKernels::Set& kernels, Index columns, const TilePlace* places, Index begin, Index end);
  void point_to(const TilePlace* places);
  void collapse();
  void choose();
  bool aliased(const Hazard& h) const { return memory_[h.store].data == memory_[h.read].data; }
  void bind();
  void bind_steps(const std::vector<Step>& steps, bool points);
  void bind_source(Bound& b, const Step& step, const Memory* direct);
  void bind_apply(Bound& b, const Step& step);
  void* register_of(const Step& step) const {
    return step.narrow ? narrow_registers_ + narrow_stride_ * step.out : registers_ + register_stride_ * step.out;
  }
  template <class F>
  void for_segments(F&& f);
  void tile(Index before, Index row, Index rows);
  void play(const List& list, Index row, Index rows, Index columns, Index column);
  void add_groups(const Bound& b, Index row, Index rows, Index columns);

  const Plan* plan_ = nullptr;
  const simd::TileKernels::Set* kernels_ = nullptr;
  std::uint64_t serial_ = 0;   ///< of the plan
  Index bound_[3] = {};        ///< to columns, and rows from and to
  std::vector<bool> aliases_;  ///< and which hazards are
  std::vector<Memory> memory_;
  std::vector<Bound> steps_;  ///< the first step_count_
  std::vector<Patch> patches_;
  int step_count_ = 0, patch_count_ = 0;
  std::vector<List> lists_;  ///< two a phase: rows, points
  std::vector<Location> location_;
  DType dtype_ = DType::f32;
  Index size_ = 0;                   ///< bytes of an element of a register
  Index extent_[max_rank + 1] = {};  ///< row axes, outermost first
  int axes_ = 0;
  Index columns_ = 1, begin_ = 0, end_ = 0;
  Index first_ = 0;  ///< row of the whole space
  bool safe_ = false;
  const Schedule* schedule_ = nullptr;
  const std::vector<Hazard>* hazards_ = nullptr;
  Index tile_rows_ = 1, tile_columns_ = 1, register_stride_ = 0, narrow_stride_ = 0;
  std::byte *registers_ = nullptr, *narrow_registers_ = nullptr;
};

}  // namespace rw::tile

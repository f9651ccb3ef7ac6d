// Inside the tile machine: a program compiled into schedules. Included by core/tile*.cpp alone.
#pragma once

#include <rewind/core/simd/tile_kernels.hpp>
#include <rewind/core/tile.hpp>
#include <vector>

namespace rw::tile {

using Kind = TileProgram::Kind;

constexpr bool is_source(Kind kind) { return kind <= Kind::normal; }
constexpr bool is_reduction(Kind kind) { return kind == Kind::sum || kind == Kind::max || kind == Kind::min; }
constexpr bool is_result(Kind kind) { return kind == Kind::store || kind == Kind::total; }
constexpr bool is_random(Kind kind) { return kind == Kind::uniform || kind == Kind::normal; }

/// An instruction of the program, or several operations that go through the tile together.
struct Instruction {
  Kind kind;
  op::Code code;
  bool narrow;  ///< one element a row
  int operand, index;
  Index group = 0;      ///< rows of a total
  int narrow_out = -1;  ///< register of a narrow value
  std::int8_t inputs = 0;
  int in[simd::Chain::most_inputs] = {};
  simd::Chain chain = {};
};

/// One instruction at its place, with all that binding a run needs.
struct Step {
  int instruction;
  int out = -1;    ///< register of its value, full and narrow ones counted apart; -1 for stores
  int store = -1;  ///< operand of a store of this value, in this list and of the program's dtype: the value may be computed into it
  Kind kind = Kind::load;
  op::Code code = 0;
  bool narrow = false;
  bool plain = false;  ///< a full load of the program's dtype: it may stay where it is
  int operand = -1, index = -1;
};

/// First `rows`, narrow steps alone, once a tile; then `points`, once a chunk of columns.
struct Phase {
  std::vector<Step> rows, points;
};

/// A store that comes before the last read of another operand: if both are the same memory, the schedule would read what it wrote.
struct Hazard {
  int store, read;
  bool operator==(const Hazard&) const = default;
};

struct Schedule {
  std::vector<Phase> phases;
  int registers = 0;  ///< full ones; narrow values have a register each
  std::vector<Hazard> hazards;
};

/// Columns in one go: all (whole: one phase, in program order), or chunks (a phase for each depth of reductions, the chain of full values
/// computed again in each). Each in two forms: fast loads a value where it is first used; safe loads everything first.
struct Plan {
  TileProgram program;
  Shape space;
  std::vector<TileOperand> operands;
  std::uint64_t serial;  ///< of all plans of the process, from 1
  std::vector<Instruction> code;
  std::vector<bool> random;  ///< by operand: a key
  std::vector<bool> down;    ///< by operand: read one element a row
  int narrows = 0;
  bool any_narrow = false;  ///< some value is narrow: columns cannot be merged with rows
  bool any_column = false;  ///< positions along the last axis matter
  bool any_gather = false;
  bool any_total = false;         ///< rows must be run in order
  bool whole_rows = false;        ///< columns cannot be divided: row reductions, narrow stores, positions, operands read both ways
  double cost = 0;                ///< rough nanoseconds a point
  Schedule whole[2], chunked[2];  ///< [safe]
  std::vector<Hazard> hazards;    ///< of all of them
};

Plan make_plan(const TileProgram& program, const Shape& space, std::vector<TileOperand> operands);
/// The instructions of a program, by which values are narrow.
std::vector<Instruction> with_chains(const TileProgram& program, const std::vector<bool>& narrow);

/// Sources that are not plain copies; rows x columns elements to out with row stride out_row.
void gather(Index rows, Index columns, DType data_dtype, DType index_dtype, DType out_dtype, const void* data, Index row, Index column,
            Index across, const void* index, Index index_row, Index index_column, void* out, Index out_row);
void random(Kind kind, DType dtype, const void* key, std::uint64_t first, Index rows, Index columns, Index row, Index column, void* out,
            Index out_row);
void columns_from(DType dtype, Index first, Index columns, void* out);

/// Throws ValueError if one of rows x columns indices lies outside 0 .. extent-1.
void check_indices(DType dtype, const void* index, Index rows, Index columns, Index row, Index column, Index extent);

}  // namespace rw::tile

// Running tile programs.
#include <algorithm>
#include <rewind/core/format.hpp>
#include <rewind/core/team.hpp>
#include <rewind/core/tile_run.hpp>

namespace rw {

namespace simd {
const TileKernels& tile_kernels(Isa isa) {
  switch (isa) {
    case Isa::sse2: return tile_kernels_sse2;
    case Isa::avx2: return tile_kernels_avx2;
    case Isa::avx512: break;
  }
  return tile_kernels_avx512;
}
}  // namespace simd

namespace tile {

/// Calls f(rows) for each stretch of rows begin .. end-1 within one turn of the innermost row axis, with every operand's base at its start.
template <class F>
void Run::for_segments(F&& f) {
  Index inner = extent_[axes_ - 1];
  for (Index row = begin_; row < end_;) {
    Index within = row % inner, outer = row / inner, count = std::min(inner - within, end_ - row);
    for (auto& m : memory_) m.base = m.origin + static_cast<std::uintptr_t>(within * m.row * m.size);
    for (int a = axes_ - 2; a >= 0; --a) {
      Index at = outer % extent_[a];
      outer /= extent_[a];
      for (auto& m : memory_) m.base += static_cast<std::uintptr_t>(at * m.stride[a] * m.size);
    }
    f(count);
    row += count;
  }
}

void Run::check() {
  for_segments([&](Index rows) {
    for (const auto& i : plan_->program.code) {
      if (i.kind != Kind::gather) continue;
      const auto& index = memory_[i.index];
      check_indices(plan_->program.operands[i.index], reinterpret_cast<const void*>(index.base), rows, columns_, index.row,
                    i.narrow ? 0 : index.column, memory_[i.operand].rows);
    }
  });
}

void Run::execute() {
  Index before = first_;
  for_segments([&](Index rows) {
    for (Index row = 0; row < rows; row += tile_rows_) tile(before, row, std::min(tile_rows_, rows - row));
    before += rows;
  });
}

void Run::tile(Index before, Index row, Index rows) {
  auto move_to = [&](const List& list, Index column) {
    if (list.begin == list.end) return;
    for (auto& m : memory_) m.place = m.base + static_cast<std::uintptr_t>((row * m.row + column * m.column) * m.size);
    for (int p = list.patch_begin; p < list.patch_end; ++p) {
      const auto& patch = patches_[p];
      *patch.slot = reinterpret_cast<void*>(patch.memory->place);
    }
  };
  for (std::size_t phase = 0; phase < schedule_->phases.size(); ++phase) {
    const List& narrow = lists_[2 * phase];
    const List& points = lists_[2 * phase + 1];
    move_to(narrow, 0);
    play(narrow, before + row, rows, 1, 0);
    if (points.begin == points.end) continue;
    for (Index column = 0; column < columns_; column += tile_columns_) {
      move_to(points, column);
      const Index columns = std::min(tile_columns_, columns_ - column);
      play(points, before + row, rows, columns, column);
    }
  }
}

/// Adds rows to the sums of their groups.
void Run::add_groups(const Bound& b, Index row, Index rows, Index columns) {
  const Index turn = b.memory->rows > 0 ? b.memory->rows * b.group : row + rows;  // rows until the first sum goes on
  simd::Span in[simd::Chain::most_inputs];
  std::copy_n(b.in, simd::Chain::most_inputs, in);
  for (Index count; rows > 0; row += count, rows -= count) {
    const Index at = row % turn;
    count = std::min(rows, turn - at);
    const simd::Span to{static_cast<std::byte*>(b.out.data) + at / b.group * b.memory->across * size_, b.memory->across};
    kernels_->total_chain(count, columns, in, b.chain, to, b.group, at % b.group);
    for (auto& operand : in) operand.data = static_cast<std::byte*>(operand.data) + count * operand.row * size_;
  }
}

void Run::play(const List& list, Index row, Index rows, Index columns, Index column) {
  for (int n = list.begin; n < list.end; ++n) {
    const Bound& b = steps_[n];
    Index r = b.one_row ? 1 : rows, c = b.one_column || b.narrow ? 1 : columns;
    switch (b.kind) {
      case Kind::apply:
        if (b.sums) {
          kernels_->sum_chain(rows, columns, b.in, b.chain, b.out, b.sums, column == 0);
          break;
        }
        c = b.narrow ? narrow_stride_ / size_ : b.flat ? rows * columns : columns;  // narrow registers to their ends: whole vectors
        r = b.narrow || b.flat ? 1 : rows;
        if (b.chain.count > 0)
          kernels_->chain(r, c, b.in, b.chain, b.out);
        else
          b.apply(r, c, b.in, b.out);
        break;
      case Kind::sum:
        if (b.chain.count > 0) {
          kernels_->sum_chain(rows, columns, b.in, b.chain, {}, b.out.data, column == 0);
          break;
        }
        [[fallthrough]];
      case Kind::max:
      case Kind::min: b.reduce(rows, columns, b.in[0], b.out.data, column == 0); break;
      case Kind::load:
      case Kind::store: b.move(r, c, b.in[0].data, b.in[0].row, b.in_column, b.out.data, b.out.row, b.out_column); break;
      case Kind::gather:
        gather(r, c, b.dtype, b.index_dtype, dtype_, b.in[0].data, b.in[0].row, b.in_column, b.memory->across, b.in[1].data, b.in[1].row,
               b.index->column, b.out.data, b.out.row);
        break;
      case Kind::uniform:
      case Kind::normal:
        random(b.kind, dtype_, b.memory->data, b.memory->place, r, c, b.in[0].row, b.in_column, b.out.data, b.out.row);
        break;
      case Kind::column: columns_from(dtype_, column, columns, b.out.data); break;
      case Kind::total:
        if (b.group == 0) {
          kernels_->total_chain(rows, columns, b.in, b.chain, b.out, rows + 1, 1);
          break;
        }
        add_groups(b, row, rows, columns);
        break;
    }
  }
}

}  // namespace tile

struct Tile::Impl {
  tile::Plan plan;
  const simd::TileKernels::Set& kernels;
  Index rows, columns;
};

namespace {
Index rows_of(const Shape& space) {
  Index rows = 1;
  for (int i = 0; i + 1 < space.rank(); ++i) rows *= space[i];
  return rows;
}
}  // namespace

Tile::Tile(const TileProgram& program, const Shape& space, std::vector<TileOperand> operands, Isa isa)
    : impl_(new Impl{tile::make_plan(program, space, std::move(operands)), simd::tile_kernels(isa).set(program.dtype), rows_of(space),
                     space.rank() ? space.back() : 1}) {}
Tile::~Tile() = default;
Tile::Tile(Tile&&) noexcept = default;
Tile& Tile::operator=(Tile&&) noexcept = default;

void Tile::run(const TilePlace* places, Index begin, Index end) const {
  const auto& [plan, kernels, rows, columns] = *impl_;
  if (begin >= end || columns == 0) return;
  auto& run = tile::Run::of(plan, kernels, columns, places, begin, end);
  if (plan.any_gather) run.check();
  run.execute();
}

void Tile::run(const TilePlace* places, bool split) const {
  const auto& [plan, kernels, rows, columns] = *impl_;
  if (rows == 0 || columns == 0) return;
  constexpr double worthwhile = 20e3;  // nanoseconds: waking a thread costs a few thousand
  int parts = split && plan.cost * static_cast<double>(rows * columns) > worthwhile ? threads() : 1;
  bool along = plan.any_total || rows < parts;  // columns are divided
  if (parts == 1 || (along && plan.whole_rows)) return run(places, 0, rows);
  if (plan.any_gather) tile::Run::of(plan, kernels, columns, places, 0, rows).check();
  if (!along) {
    parallel(parts, rows, 1,
             [&](Index begin, Index end) { tile::Run::of(impl_->plan, impl_->kernels, impl_->columns, places, begin, end).execute(); });
    return;
  }
  const int last = plan.space.rank() - 1;
  parallel(parts, columns, 64, [&](Index begin, Index end) {
    const auto& plan = impl_->plan;
    std::vector<TilePlace> moved(places, places + plan.operands.size());
    for (std::size_t o = 0; o < moved.size(); ++o) {
      Index step = plan.down[o] ? 0 : begin * plan.operands[o].strides[last];
      moved[o].counter += static_cast<std::uint64_t>(step);
      if (!plan.random[o]) moved[o].data = static_cast<std::byte*>(moved[o].data) + step * size_of(plan.program.operands[o]);
    }
    tile::Run::of(plan, impl_->kernels, end - begin, moved.data(), 0, impl_->rows).execute();
  });
}

}  // namespace rw

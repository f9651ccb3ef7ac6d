// Binding a run: which values stay in memory, which get registers, which kernels do the work.
#include <algorithm>
#include <new>
#include <rewind/core/tile_run.hpp>

namespace rw::tile {

namespace {

/// Memory of a thread for registers: runs follow each other, so they share it, and what they leave in L1 serves the next.
class Registers {
 public:
  ~Registers() { ::operator delete(data_, cache_line); }
  std::byte* reserve(Index bytes) {
    if (bytes > bytes_) {
      ::operator delete(data_, cache_line);
      data_ = nullptr;
      bytes_ = 0;
      data_ = static_cast<std::byte*>(::operator new(static_cast<std::size_t>(bytes), cache_line));
      bytes_ = bytes;
    }
    return data_;
  }
  const std::byte* data() const { return data_; }

 private:
  static constexpr std::align_val_t cache_line{64};
  std::byte* data_ = nullptr;
  Index bytes_ = 0;
};
thread_local Registers registers;

constexpr std::size_t runs_kept = 32;
thread_local Run runs[runs_kept];

}  // namespace

Run& Run::of(const Plan& plan, const simd::TileKernels::Set& kernels, Index columns, const TilePlace* places, Index begin, Index end) {
  Run& run = runs[(plan.serial + static_cast<std::uint64_t>(begin)) % runs_kept];
  if (!run.serves(plan, columns, places, begin, end)) run.bind_to(plan, kernels, columns, places, begin, end);
  run.point_to(places);
  return run;
}

bool Run::serves(const Plan& plan, Index columns, const TilePlace* places, Index begin, Index end) const {
  if (serial_ != plan.serial || bound_[0] != columns || bound_[1] != begin || bound_[2] != end || registers_ != registers.data())
    return false;
  for (std::size_t h = 0; h < plan.hazards.size(); ++h)
    if (aliases_[h] != (places[plan.hazards[h].store].data == places[plan.hazards[h].read].data)) return false;
  return true;
}

void Run::point_to(const TilePlace* places) {
  for (std::size_t o = 0; o < memory_.size(); ++o) {
    auto& m = memory_[o];
    m.origin = (m.random ? places[o].counter : reinterpret_cast<std::uintptr_t>(places[o].data)) + m.begin;
    m.data = places[o].data;
  }
}

void Run::bind_to(const Plan& plan, const simd::TileKernels::Set& kernels, Index columns, const TilePlace* places, Index begin, Index end) {
  serial_ = 0;  // until all is bound
  plan_ = &plan;
  kernels_ = &kernels;
  dtype_ = plan.program.dtype;
  size_ = size_of(dtype_);
  bound_[0] = columns_ = columns;
  bound_[1] = begin_ = first_ = begin;
  bound_[2] = end_ = end;
  axes_ = 0;
  aliases_.clear();
  for (const auto& h : plan.hazards) aliases_.push_back(places[h.store].data == places[h.read].data);
  const int rank = plan.space.rank();
  memory_.assign(plan.operands.size(), {});
  for (std::size_t o = 0; o < memory_.size(); ++o) {
    auto& m = memory_[o];
    const auto& operand = plan.operands[o];
    m.random = plan.random[o];
    m.size = m.random ? 1 : size_of(plan.program.operands[o]);
    m.data = places[o].data;
    m.across = operand.across;
    m.rows = operand.rows;
    for (int i = 0; i + 1 < rank; ++i) m.stride[i] = operand.strides[i];
    m.column = rank ? operand.strides[rank - 1] : 0;
  }
  collapse();
  choose();
  serial_ = plan.serial;
}

/// Drops row axes of extent 1, joins row axes that every operand walks as one, and columns with rows where nothing depends on rows.
void Run::collapse() {
  const Shape& space = plan_->space;
  const int rank = space.rank();
  auto all = [&](auto&& holds) { return std::all_of(memory_.begin(), memory_.end(), holds); };
  for (int i = 0; i + 1 < rank; ++i) {
    if (space[i] == 1) continue;
    bool joins = axes_ > 0 && all([&](const Memory& m) { return m.stride[axes_ - 1] == m.stride[i] * space[i]; });
    if (!joins) ++axes_;
    extent_[axes_ - 1] = joins ? extent_[axes_ - 1] * space[i] : space[i];
    for (auto& m : memory_) m.stride[axes_ - 1] = m.stride[i];
  }
  if (axes_ == 0) {
    extent_[axes_++] = 1;
    for (auto& m : memory_) m.stride[0] = 0;
  }
  if (axes_ == 1) {
    for (auto& m : memory_) m.begin = static_cast<std::uintptr_t>(begin_ * m.stride[0] * m.size);
    extent_[0] = end_ - begin_;
    begin_ = 0;
    end_ = extent_[0];
    bool flat = !plan_->any_narrow && !plan_->any_column && !plan_->any_total && extent_[0] > 1;
    if (flat && (columns_ == 1 || all([&](const Memory& m) { return m.stride[0] == m.column * columns_; }))) {
      if (columns_ == 1)
        for (auto& m : memory_) m.column = m.stride[0];
      columns_ *= extent_[0];
      extent_[0] = end_ = 1;
    }
  }
  for (auto& m : memory_) m.row = m.stride[axes_ - 1];
}

/// Schedule and tile: registers of 256 to 8192 elements, 96 KB in all where that is possible: what a tile costs by itself is more than what
/// L2 costs beside L1 (measured on Zen 3). Whole rows are kept together up to 256 KB, for reading a register from there costs less than
/// computing the chain again.
void Run::choose() {
  const auto* fast = &plan_->whole[0];
  Index target = std::clamp<Index>(96 * 1024 / (std::max(fast->registers, 1) * size_), 256, 8192) / 256 * 256;
  bool chunks = columns_ > target && (!plan_->any_narrow || columns_ * fast->registers * size_ > 256 * 1024);
  const auto* family = chunks ? plan_->chunked : plan_->whole;
  hazards_ = &family[0].hazards;
  safe_ = std::any_of(hazards_->begin(), hazards_->end(), [&](const Hazard& h) { return aliased(h); });
  schedule_ = &family[safe_];
  tile_columns_ = chunks ? target : columns_;
  tile_rows_ = chunks ? 1 : std::clamp<Index>(target / columns_, 1, plan_->any_narrow ? 256 : target);
  tile_rows_ = std::min(tile_rows_, extent_[axes_ - 1]);
  register_stride_ = (tile_rows_ * tile_columns_ * size_ + 127) / 64 * 64;
  narrow_stride_ = (tile_rows_ * size_ + 63) / 64 * 64;
  registers_ = registers.reserve(register_stride_ * schedule_->registers + narrow_stride_ * plan_->narrows);
  narrow_registers_ = registers_ + register_stride_ * schedule_->registers;
  bind();
}

void Run::bind() {
  std::size_t steps = 0;
  for (const auto& phase : schedule_->phases) steps += phase.rows.size() + phase.points.size();
  if (steps_.size() < steps) {
    steps_.resize(steps);
    patches_.resize((simd::Chain::most_inputs + 1) * steps);  // operands, result
  }
  step_count_ = patch_count_ = 0;
  lists_.clear();
  location_.resize(plan_->code.size());
  for (const auto& phase : schedule_->phases) {
    bind_steps(phase.rows, false);
    bind_steps(phase.points, true);
  }
}

void Run::bind_steps(const std::vector<Step>& steps, bool points) {
  List list{step_count_, 0, patch_count_, 0};
  int before = -1;  // instruction of the last bound step, if it is a chain
  auto follow = [&](void*& slot, const Memory* m) {
    if (m) patches_[patch_count_++] = {&slot, m};
  };
  for (const auto& step : steps) {
    auto& to = location_[step.instruction];
    const Memory* m = step.operand >= 0 ? &memory_[step.operand] : nullptr;
    if (step.plain && (m->column == 1 || m->column == 0 || columns_ == 1)) {
      bool overwritten =
          safe_ && std::any_of(hazards_->begin(), hazards_->end(), [&](const Hazard& h) { return h.read == step.operand && aliased(h); });
      if (!overwritten) {
        to = {{nullptr, m->row}, m, m->column == 0 && columns_ > 1};
        continue;
      }
    }
    if (step.kind == Kind::store && !step.narrow && location_[plan_->code[step.instruction].in[0]].memory == m) continue;
    const auto& instruction = plan_->code[step.instruction];
    if (step.kind == Kind::sum && instruction.chain.count == 0 && instruction.in[0] == before) {
      to = {{register_of(step), 1}, nullptr, true};
      steps_[step_count_ - 1].sums = to.span.data;
      before = -1;
      continue;
    }
    before = instruction.chain.count > 0 ? step.instruction : -1;
    auto& b = steps_[step_count_++];
    b.kind = step.kind;
    b.narrow = step.narrow;
    b.one_row = b.one_column = false;
    b.chain.count = 0;
    b.sums = nullptr;
    const Memory* direct = points && step.store >= 0 ? &memory_[step.store] : nullptr;
    if (direct && direct->column != 1 && columns_ != 1) direct = nullptr;
    if (is_source(step.kind)) {
      bind_source(b, step, direct);
      if (step.kind == Kind::load || step.kind == Kind::gather) follow(b.in[0].data, m);
      if (step.kind == Kind::gather) follow(b.in[1].data, b.index);
      follow(b.out.data, to.memory);
    } else if (step.kind == Kind::store) {
      const auto& from = location_[instruction.in[0]];
      b.move = kernels_->store[static_cast<int>(plan_->program.operands[step.operand])];
      b.in[0] = from.span;
      b.in_column = step.narrow || from.one_column ? 0 : 1;
      b.out = {nullptr, m->row};
      b.out_column = m->column;
      follow(b.in[0].data, from.memory);
      follow(b.out.data, m);
    } else {
      if (step.kind == Kind::total) {  // added to in place, row after row
        to = {{nullptr, 0}, m, false};
        b.memory = m;
        b.group = instruction.group;
      } else if (direct) {
        to = {{nullptr, direct->row}, direct, false};
      } else {
        to = {{register_of(step), step.narrow ? 1 : tile_columns_}, nullptr, step.narrow};
      }
      b.out = to.span;
      bind_apply(b, step);
      for (int k = 0; k < instruction.inputs; ++k) follow(b.in[k].data, location_[instruction.in[k]].memory);
      follow(b.out.data, to.memory);
    }
  }
  list.end = step_count_;
  list.patch_end = patch_count_;
  lists_.push_back(list);
}

/// What does not vary along rows or columns is made once and read in the form that repeats it.
void Run::bind_source(Bound& b, const Step& step, const Memory* direct) {
  bool narrow = b.narrow, varies_down = false, varies_along = true;
  if (step.kind != Kind::column) {
    const auto& m = memory_[step.operand];
    b.memory = &m;
    b.dtype = plan_->program.operands[step.operand];
    b.in[0].row = m.row;
    b.in_column = m.column;
    varies_down = m.row != 0;
    varies_along = m.column != 0;
    if (step.kind == Kind::gather) {
      b.index = &memory_[step.index];
      b.index_dtype = plan_->program.operands[step.index];
      b.in[1].row = b.index->row;
      varies_down |= b.index->row != 0;
      varies_along |= b.index->column != 0;
    }
    if (step.kind == Kind::load) b.move = kernels_->load[static_cast<int>(b.dtype)];
  }
  if (direct) {
    b.out.row = direct->row;
    location_[step.instruction] = {{nullptr, direct->row}, direct, false};
  } else {
    b.one_column = narrow || (!varies_along && columns_ > 1);
    b.one_row = !narrow && !varies_down;
    Index row = b.one_row ? 0 : b.one_column ? 1 : tile_columns_;
    b.out = {register_of(step), row};
    location_[step.instruction] = {b.out, nullptr, b.one_column};
  }
  b.out_column = 1;
}

void Run::bind_apply(Bound& b, const Step& step) {
  bool reduces = is_reduction(step.kind) || step.kind == Kind::total, flat = !reduces && !b.narrow && b.out.row == tile_columns_;
  int form = 0;
  const auto& i = plan_->code[step.instruction];
  for (int k = 0; k < i.inputs; ++k) {
    const auto& from = location_[i.in[k]];
    b.in[k] = from.span;
    bool one = from.one_column && (reduces || (!b.narrow && tile_columns_ > 1));
    form |= one << k;
    flat = flat && from.span.row == (one ? 0 : tile_columns_);
  }
  b.flat = flat;
  b.chain = i.chain;
  for (int k = 0; k < i.chain.count; ++k)
    if (simd::reads(i.chain.links[k]) && form >> i.chain.operands[k] & 1) b.chain.links[k] = with(i.chain.links[k], simd::Form::one_a_row);
  if (i.chain.count > 0) return;
  if (reduces) {
    b.reduce = kernels_->reduce[static_cast<int>(step.kind) - static_cast<int>(Kind::sum)][form];
  } else {
    b.apply = kernels_->apply[step.code][form];
  }
}

}  // namespace rw::tile

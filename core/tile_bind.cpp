// Binding a run: which values stay in memory, which get registers, which kernels do the work.
#include <algorithm>
#include <new>
#include <rewind/core/tile_run.hpp>

namespace rw::tile {

namespace {
constexpr std::align_val_t cache_line{64};
thread_local Scratch scratch;
}  // namespace

Scratch::~Scratch() { ::operator delete(registers, cache_line); }

std::byte* Scratch::reserve(Index bytes) {
  if (bytes > register_bytes) {
    ::operator delete(registers, cache_line);
    registers = nullptr;
    register_bytes = 0;
    registers = static_cast<std::byte*>(::operator new(static_cast<std::size_t>(bytes), cache_line));
    register_bytes = bytes;
  }
  return registers;
}

Run::Run(const Plan& plan, const simd::TileKernels::Set& kernels, const Shape& space, const TileOperand* operands, Index begin, Index end)
    : plan_(plan), kernels_(kernels), scratch_(scratch), dtype_(plan.program.dtype), size_(size_of(dtype_)), begin_(begin), end_(end) {
  std::size_t count = plan.program.operands.size();
  int rank = space.rank();
  scratch_.memory.resize(count);
  std::vector<Memory>& memory = scratch_.memory;
  for (std::size_t o = 0; o < count; ++o) {
    const auto& from = operands[o];
    auto& m = memory[o];
    m.origin = reinterpret_cast<std::uintptr_t>(from.data);
    m.size = size_of(plan.program.operands[o]);
    m.gather_stride = from.gather_stride;
    m.rows = from.rows;
    m.data = from.data;
    m.walked = true;
    for (int i = 0; i + 1 < rank; ++i) m.stride[i] = from.strides[i];
    m.column = rank ? from.strides[rank - 1] : 0;
  }
  for (const auto& i : plan.program.code) {
    if (i.kind == Kind::gather) memory[i.operand].walked = false;
    if (!is_random(i.kind)) continue;
    auto& m = memory[i.operand];
    m.walked = false;
    m.origin = operands[i.operand].counter;
    m.size = 1;
  }
  collapse(space);
  choose();
}

/// Drops row axes of extent 1, joins row axes that every operand walks as one, and columns with rows where nothing depends on rows.
void Run::collapse(const Shape& space) {
  auto& memory = scratch_.memory;
  int rank = space.rank();
  columns_ = rank ? space[rank - 1] : 1;
  auto all = [&](auto&& holds) { return std::all_of(memory.begin(), memory.end(), holds); };
  for (int i = 0; i + 1 < rank; ++i) {
    if (space[i] == 1) continue;
    bool joins = axes_ > 0 && all([&](const Memory& m) { return m.stride[axes_ - 1] == m.stride[i] * space[i]; });
    if (!joins) ++axes_;
    extent_[axes_ - 1] = joins ? extent_[axes_ - 1] * space[i] : space[i];
    for (auto& m : memory) m.stride[axes_ - 1] = m.stride[i];
  }
  if (axes_ == 0) {
    extent_[axes_++] = 1;
    for (auto& m : memory) m.stride[0] = 0;
  }
  if (axes_ == 1) {
    for (auto& m : memory) m.origin += static_cast<std::uintptr_t>(begin_ * m.stride[0] * m.size);
    extent_[0] = end_ - begin_;
    begin_ = 0;
    end_ = extent_[0];
    bool flat = !plan_.any_narrow && !plan_.any_column && !plan_.any_total && extent_[0] > 1;
    if (flat && (columns_ == 1 || all([&](const Memory& m) { return m.stride[0] == m.column * columns_; }))) {
      if (columns_ == 1)
        for (auto& m : memory) m.column = m.stride[0];
      columns_ *= extent_[0];
      extent_[0] = end_ = 1;
    }
  }
  for (auto& m : memory) m.row = m.stride[axes_ - 1];
}

/// Schedule and tile: registers of 256 to 4096 elements, 24 KB in all where that is possible. Whole rows are kept together up to 256 KB
/// (L2), for reading a register from there costs less than computing the chain again.
void Run::choose() {
  const auto* fast = &plan_.whole[0];
  Index target = std::clamp<Index>(24 * 1024 / (std::max(fast->registers, 1) * size_), 256, 4096) / 256 * 256;
  bool chunks = columns_ > target && (!plan_.any_narrow || columns_ * fast->registers * size_ > 256 * 1024);
  const auto* family = chunks ? plan_.chunked : plan_.whole;
  hazards_ = &family[0].hazards;
  safe_ = std::any_of(hazards_->begin(), hazards_->end(), [&](const Hazard& h) { return aliased(h); });
  schedule_ = &family[safe_];
  tile_columns_ = chunks ? target : columns_;
  tile_rows_ = chunks ? 1 : std::clamp<Index>(target / columns_, 1, plan_.any_narrow ? 256 : target);
  tile_rows_ = std::min(tile_rows_, extent_[axes_ - 1]);
  constexpr Index l2 = 4 << 20;  // bytes, of a large one
  Index bytes = 0;
  for (const auto& m : scratch_.memory)
    if (m.walked && m.column == 1 && m.row != 0) bytes += extent_[axes_ - 1] * columns_ * m.size;
  far_ = bytes >= l2 && (chunks || schedule_->phases.size() == 1);  // else one tile's phases would fetch what L2 has no place for
  register_stride_ = (tile_rows_ * tile_columns_ * size_ + 127) / 64 * 64;
  narrow_stride_ = (tile_rows_ * size_ + 63) / 64 * 64;
  registers_ = scratch_.reserve(register_stride_ * schedule_->registers + narrow_stride_ * plan_.narrows);
  narrow_registers_ = registers_ + register_stride_ * schedule_->registers;
  bind();
}

void Run::bind() {
  std::size_t steps = 0;
  for (const auto& phase : schedule_->phases) steps += phase.rows.size() + phase.points.size();
  if (scratch_.bound.size() < steps) {
    scratch_.bound.resize(steps);
    scratch_.patches.resize((simd::Chain::most + 1) * steps);  // operands, result
  }
  scratch_.bound_count = scratch_.patch_count = 0;
  scratch_.lists.clear();
  scratch_.location.resize(plan_.code.size());
  for (const auto& phase : schedule_->phases) {
    bind_steps(phase.rows, false);
    bind_steps(phase.points, true);
  }
}

void Run::bind_steps(const std::vector<Step>& steps, bool points) {
  auto& s = scratch_;
  List list{s.bound_count, 0, s.patch_count, 0};
  auto follow = [&](void*& slot, const Memory* m) {
    if (m) s.patches[s.patch_count++] = {&slot, m};
  };
  for (const auto& step : steps) {
    auto& to = s.location[step.instruction];
    const Memory* m = step.operand >= 0 ? &s.memory[step.operand] : nullptr;
    if (step.plain && (m->column == 1 || m->column == 0 || columns_ == 1)) {
      bool overwritten =
          safe_ && std::any_of(hazards_->begin(), hazards_->end(), [&](const Hazard& h) { return h.read == step.operand && aliased(h); });
      if (!overwritten) {
        to = {{nullptr, m->row}, m, m->column == 0 && columns_ > 1};
        continue;
      }
    }
    if (step.kind == Kind::store && !step.narrow && s.location[plan_.code[step.instruction].in[0]].memory == m) continue;
    auto& b = s.bound[s.bound_count++];
    b.kind = step.kind;
    b.narrow = step.narrow;
    b.one_row = b.one_column = false;
    b.chain.count = 0;
    const Memory* direct = points && step.store >= 0 ? &s.memory[step.store] : nullptr;
    if (direct && direct->column != 1 && columns_ != 1) direct = nullptr;
    if (is_source(step.kind)) {
      bind_source(b, step, direct);
      if (step.kind == Kind::load || step.kind == Kind::gather) follow(b.in[0].data, m);
      if (step.kind == Kind::gather) follow(b.in[1].data, b.index);
      follow(b.out.data, to.memory);
    } else if (step.kind == Kind::total) {
      bind_total(b, step, m);
    } else if (step.kind == Kind::store) {
      const auto& from = s.location[plan_.code[step.instruction].in[0]];
      b.move = kernels_.store[static_cast<int>(plan_.program.operands[step.operand])];
      b.in[0] = from.span;
      b.in_column = step.narrow || from.one_column ? 0 : 1;
      b.out = {nullptr, m->row};
      b.out_column = m->column;
      follow(b.in[0].data, from.memory);
      follow(b.out.data, m);
    } else {
      if (direct) {
        to = {{nullptr, direct->row}, direct, false};
      } else {
        to = {{register_of(step), step.narrow ? 1 : tile_columns_}, nullptr, step.narrow};
      }
      b.out = to.span;
      bind_apply(b, step);
      const auto& i = plan_.code[step.instruction];
      for (int k = 0; k < i.inputs; ++k) follow(b.in[k].data, s.location[i.in[k]].memory);
      follow(b.out.data, to.memory);
    }
  }
  list.end = s.bound_count;
  list.patch_end = s.patch_count;
  s.lists.push_back(list);
}

/// What does not vary along rows or columns is made once and read in the form that repeats it.
void Run::bind_source(Bound& b, const Step& step, const Memory* direct) {
  auto& s = scratch_;
  bool narrow = b.narrow, varies_down = false, varies_along = true;
  if (step.kind != Kind::column) {
    const auto& m = s.memory[step.operand];
    b.memory = &m;
    b.dtype = plan_.program.operands[step.operand];
    b.in[0].row = m.row;
    b.in_column = m.column;
    varies_down = m.row != 0;
    varies_along = m.column != 0;
    if (step.kind == Kind::gather) {
      b.index = &s.memory[step.index];
      b.index_dtype = plan_.program.operands[step.index];
      b.in[1].row = b.index->row;
      varies_down |= b.index->row != 0;
      varies_along |= b.index->column != 0;
    }
    if (step.kind == Kind::load) b.move = kernels_.load[static_cast<int>(b.dtype)];
  }
  if (direct) {
    b.out.row = direct->row;
    s.location[step.instruction] = {{nullptr, direct->row}, direct, false};
  } else {
    b.one_column = narrow || (!varies_along && columns_ > 1);
    b.one_row = !narrow && !varies_down;
    Index row = b.one_row ? 0 : b.one_column ? 1 : tile_columns_;
    b.out = {register_of(step), row};
    s.location[step.instruction] = {b.out, nullptr, b.one_column};
  }
  b.out_column = 1;
}

/// The memory is added to in place, row after row.
void Run::bind_total(Bound& b, const Step& step, const Memory* m) {
  auto& s = scratch_;
  const auto& from = s.location[plan_.code[step.instruction].in[0]];
  bool one = from.one_column && tile_columns_ > 1;
  b.kind = Kind::apply;
  b.flat = false;
  b.apply = kernels_.apply[op::code<op::Add>][one ? 2 : 0];
  b.in[0] = b.out = {nullptr, 0};
  b.in[1] = from.span;
  for (void** slot : {&b.in[0].data, &b.out.data}) s.patches[s.patch_count++] = {slot, m};
  if (from.memory) s.patches[s.patch_count++] = {&b.in[1].data, from.memory};
}

void Run::bind_apply(Bound& b, const Step& step) {
  bool reduces = is_reduction(step.kind), flat = !reduces && !b.narrow && b.out.row == tile_columns_;
  int form = 0;
  const auto& i = plan_.code[step.instruction];
  b.padded = b.narrow && !reduces && !scratch_.location[step.instruction].memory;
  for (int k = 0; k < i.inputs; ++k) {
    const auto& from = scratch_.location[i.in[k]];
    b.in[k] = from.span;
    b.padded = b.padded && !from.memory;
    bool one = from.one_column && (reduces || (!b.narrow && tile_columns_ > 1));
    form |= one << k;
    flat = flat && from.span.row == (one ? 0 : tile_columns_);
  }
  b.flat = flat;
  b.chain = i.chain;
  b.inputs = i.inputs;
  for (int k = 0; k < i.chain.count; ++k)  // one value a row: the next number
    b.chain.links[k] = static_cast<simd::Link>(static_cast<int>(i.chain.links[k]) + (form >> i.chain.operands[k] & 1));
  if (i.chain.count > 0) return;
  if (reduces) {
    b.reduce = kernels_.reduce[static_cast<int>(step.kind) - static_cast<int>(Kind::sum)][form];
  } else {
    b.apply = kernels_.apply[step.code][form];
  }
}

}  // namespace rw::tile

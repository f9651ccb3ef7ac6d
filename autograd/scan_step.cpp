// The loop of a scan in a plan: the body's own plan runs once a step, on addresses that move with time.
//
// A body whose rows of the batch are independent is made for fewer rows, and each thread runs the whole loop over its own rows: threads
// meet only before and after it. Where that would leave a thread too few rows for the weights it reads, each product of a step is divided
// by its columns, the units of the cell, instead.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <rewind/autograd/division.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>

namespace rw::detail {

namespace {

/// Where a carry's next value goes.
enum class Target : std::uint8_t {
  exchange,  ///< the last value's place, if each step may write over the value that it reads; else two buffers in turn
  y,         ///< it is a y
  history,   ///< the carry itself is a y: the next step's place there
};

struct CarryPlan {
  Target target = Target::exchange;
  int y = -1;        ///< of Target::y
  int history = -1;  ///< the y that is the carry itself
  int output = -1;   ///< of the loop's program; -1 if it passes through unchanged
};

/// Memory along time: element `t` starts at base + t * step bytes, rows of the batch, or groups of them, `row` bytes apart (0: shared by
/// all rows).
struct Lane {
  Slot slot;
  Index step = 0, row = 0, bytes = 0;
  Index group = 1;  ///< rows
  Index of_row(Index r) const { return r / group * row; }
};

class ScanStep final : public Step {
 public:
  ScanStep(const Body& body, const Attributes& scan)
      : reverse_(scan[0]),
        steps_(scan[1]),
        closures_(scan[2]),
        numbers_(scan),
        carries_(body.carries),
        xs_(body.xs),
        division_(division_of(body)) {
    work_ = work_of(body.program, division_);
    work_.flops *= static_cast<double>(steps_);
  }

  /// Whether the rows are worth dividing.
  bool divides() const {
    constexpr double least = 4e6;  // operations: about 50 microseconds
    return division_.batch > 1 && work_.flops > least;
  }

  /// Threads that divide the rows among them.
  int parts(const Frame& frame) const {
    if (!frame.split || !divides()) return 1;
    const Index most = std::min<Index>(threads(), division_.batch / division_.together);
    return work_.splits && division_.batch / most < rows_for_weights(work_.weights) ? 1 : static_cast<int>(most);
  }

  void run(const Frame& frame) const override {
    const int parts = this->parts(frame);
    // Right operands are packed here, where the team can help. Shares have so many groups of rows or one more.
    const Index together = division_.together, groups = division_.batch / together, least = groups / parts;
    const Ready plain(*this, frame, least * together);
    std::optional<Ready> longer;
    if (groups % parts) longer.emplace(*this, frame, (least + 1) * together);
    Frame divided = frame;
    divided.parts *= parts;
    auto part = [&](int p) {
      const auto [begin, end] = share_of(groups, p, parts);
      loop(divided, end - begin == least ? plain : *longer, begin * together, parts == 1 && frame.split);
    };
    if (parts == 1) return part(0);
    parallel(parts, part);
  }

  bool reverse_;
  Index steps_, closures_;  ///< closures: first of those that its body calls
  StepNumbers numbers_;
  int carries_, xs_;
  Program program_;  ///< the body with the outputs that are really written
  Division division_;
  Work work_;                     ///< flops of all steps
  std::vector<Lane> inputs_;      ///< carries' first values, xs, captures
  std::vector<int> plan_inputs_;  ///< which input of the outer plan a capture lies in, or -1
  std::vector<Slot> last_;        ///< the carries' last values
  std::vector<Lane> ys_;          ///< all ys of the scan
  std::vector<CarryPlan> plans_;
  std::vector<int> y_outputs_;  ///< y -> output of the loop's program, -1 for histories and for ys that are carries

 private:
  /// The plan for so many rows with its right operands packed.
  struct Ready {
    Ready(const ScanStep& scan, const Frame& frame, Index rows) : plan(*scan.variant(rows)), packs(plan.packs.size()) {
      if (!packs.empty()) plan.pack(scan.bound(frame, 0), packs.data(), own, scan.steps_, frame);
    }
    const Plan& plan;
    List<const PackedMatrix*> packs;
    std::vector<std::unique_ptr<PackedMatrix>> own;
  };

  /// What the inputs of the loop's plan are bound to, from this row of the batch on, at the first step of time.
  List<Binding> bound(const Frame& frame, Index row) const {
    List<Binding> bound(inputs_.size());
    for (std::size_t i = 0; i < bound.size(); ++i) {
      bound[i].data = inputs_[i].slot.address(frame) + inputs_[i].of_row(row);
      if (const int from = plan_inputs_[i]; from >= 0) bound[i].storage = frame.inputs[from].storage;
    }
    return bound;
  }

  /// The plan for so many rows, made at its first use.
  const Plan* variant(Index rows) const {
    std::lock_guard lock(guard_);
    for (const auto& [count, plan] : variants_)
      if (count == rows) return plan.get();
    PlanOptions options{.own_outputs = true, .constants_from = carries_ + xs_, .over = std::vector<int>(inputs_.size(), -1)};
    for (int c = 0; c < carries_; ++c)
      if (plans_[c].target == Target::exchange) options.over[c] = plans_[c].output;
    auto plan = make_plan(for_rows(program_, division_, rows), options);
    variants_.emplace_back(rows, plan);
    return plan.get();
  }

  void loop(const Frame& frame, const Ready& ready, Index row, bool split) const {
    const Plan& plan = ready.plan;
    std::size_t count = inputs_.size(), buffers = plan.buffers.size();
    // One block: the plan's arena, two places for each carry that is exchanged.
    Index bytes = plan.arena_bytes;
    List<Index> exchange(static_cast<std::size_t>(carries_));
    auto align = [](Index n) { return (n + 63) / 64 * 64; };
    for (int c = 0; c < carries_; ++c) {
      exchange[c] = align(bytes);
      if (plans_[c].target == Target::exchange && !plan.in_place[c]) bytes = exchange[c] + 2 * align(inputs_[c].bytes);
    }
    auto block = StorageRef::allocate(align(bytes) + 64);
    std::byte* arena = block->data();

    const List<Binding> bound = this->bound(frame, row);
    List<std::byte*> outputs(plan.outputs.size()), base(buffers), previous(static_cast<std::size_t>(carries_)), y_base(ys_.size());
    for (std::size_t y = 0; y < ys_.size(); ++y) y_base[y] = ys_[y].slot.address(frame) + ys_[y].of_row(row);
    plan.bind(bound, outputs, arena, base.data());

    Frame inner = frame;
    inner.base = base.data();
    inner.row = row;
    inner.split = split;
    inner.packs = ready.packs.data();
    inner.inputs = bound.data();
    inner.customs = frame.customs + closures_;
    auto rows_bytes = [&](int c) { return divided_bytes(c, plan); };
    for (int c = 0; c < carries_; ++c) {
      const Slot& first = inputs_[c].slot;
      previous[c] = bound[c].data;
      if (!plan.in_place[c] && first.dense()) continue;
      // The other one of an exchange: the first step writes to place 0.
      previous[c] = plan.in_place[c] ? last_address(frame, c, row) : arena + exchange[c] + align(inputs_[c].bytes);
      if (first.dense()) {
        if (previous[c] != bound[c].data) std::memcpy(previous[c], bound[c].data, static_cast<std::size_t>(rows_bytes(c)));
      } else {
        copy(first.view(frame), {previous[c], first.type.dtype, first.shape(), contiguous_strides(first.shape())});
      }
    }
    List<Index> advance(buffers);
    for (int x = 0; x < xs_; ++x) advance[carries_ + x] = (reverse_ ? -1 : 1) * inputs_[carries_ + x].step;
    for (std::size_t y = 0; y < ys_.size(); ++y)
      if (y_outputs_[y] >= 0) advance[count + static_cast<std::size_t>(y_outputs_[y])] = (reverse_ ? -1 : 1) * ys_[y].step;
    for (Index k = 0; k < steps_; ++k) {
      inner.advance = k + 1 < steps_ ? advance.data() : nullptr;
      Index t = reverse_ ? steps_ - 1 - k : k, after = reverse_ ? t - 1 : t + 1;
      bool final = k + 1 == steps_;
      for (int c = 0; c < carries_; ++c) {
        const CarryPlan& p = plans_[c];
        if (p.history >= 0) {  // mostly there already
          std::byte* to = y_base[p.history] + t * ys_[p.history].step;
          if (to != previous[c]) std::memcpy(to, previous[c], static_cast<std::size_t>(rows_bytes(c)));
        }
        base[c] = previous[c];
      }
      for (int x = 0; x < xs_; ++x) base[carries_ + x] = bound[carries_ + x].data + t * inputs_[carries_ + x].step;
      for (std::size_t y = 0; y < ys_.size(); ++y)
        if (y_outputs_[y] >= 0) base[count + static_cast<std::size_t>(y_outputs_[y])] = y_base[y] + t * ys_[y].step;
      for (int c = 0; c < carries_; ++c) {
        const CarryPlan& p = plans_[c];
        if (p.output < 0) continue;
        std::byte* to = nullptr;
        if (p.target == Target::y) {
          to = y_base[p.y] + t * ys_[p.y].step;
        } else if (p.target == Target::history && !final) {
          to = y_base[p.history] + after * ys_[p.history].step;
        } else {
          to = last_address(frame, c, row);
          const bool read = k == 0 && to == bound[c].data;  // the loop before left it there
          if (p.target == Target::exchange && !plan.in_place[c] && (!final || read))
            to = arena + exchange[c] + (k & 1) * align(inputs_[c].bytes);
        }
        base[count + static_cast<std::size_t>(p.output)] = to;
        previous[c] = to;
      }
      inner.step = numbers_.of(frame.step, t);
      plan.run(inner);
    }
    for (int c = 0; c < carries_; ++c) {
      std::byte* to = last_address(frame, c, row);
      if (to != previous[c]) std::memcpy(to, previous[c], static_cast<std::size_t>(rows_bytes(c)));
    }
  }

  std::byte* last_address(const Frame& frame, int c, Index row) const { return last_[c].address(frame) + inputs_[c].of_row(row); }
  Index divided_bytes(int c, const Plan& plan) const {
    const Type& t = plan.program->types[plan.program->inputs[c]];
    return t.shape.size() * size_of(t.dtype);
  }

  mutable std::mutex guard_;
  mutable std::vector<std::pair<Index, std::shared_ptr<Plan>>> variants_;
};

/// Of value `v` of a body.
Lane lane(const Slot& slot, bool stacked, const Division& division, int v) {
  Lane l;
  l.slot = slot;
  Shape shape = slot.shape();
  Index size = size_of(slot.type.dtype);
  if (stacked) {
    l.step = slot.strides[0] * size;
    shape.erase(0);
  }
  l.bytes = shape.size() * size;
  if (division.by_row(v) && shape.rank() && shape[0]) l.row = l.bytes / shape[0];
  l.group = division.rows_at_once(v);
  return l;
}

}  // namespace

void lower_scan(Lowering& l, const Instruction& i) {
  const Body& body = *i.body;
  const Program& p = body.program;
  bool reverse = i.attributes[0];
  int carries = body.carries, ys = body.ys();
  auto step = std::make_unique<ScanStep>(body, i.attributes);
  // Which ys are carries: they share memory, so that nothing is written twice.
  step->plans_.resize(carries);
  step->y_outputs_.assign(ys, -1);
  std::vector<int> input_of(p.types.size(), -1);
  for (std::size_t k = 0; k < p.inputs.size(); ++k) input_of[p.inputs[k]] = static_cast<int>(k);
  Program loop = p;
  loop.outputs.clear();
  std::vector<char> history(ys);
  for (int c = 0; c < carries; ++c) {
    CarryPlan& plan = step->plans_[c];
    int next = p.outputs[c];
    for (int y = ys; y-- > 0;) {
      int v = p.outputs[carries + y];
      if (v == p.inputs[c]) plan.history = y;
      if (v == next && input_of[v] < 0) plan.y = y, plan.target = Target::y;
    }
    if (plan.history >= 0) history[plan.history] = 1;  // of equal ys the first: the others are written by the body
    if (plan.target == Target::exchange && plan.history >= 0) plan.target = Target::history;
    if (next == p.inputs[c]) continue;  // passes through
    plan.output = static_cast<int>(loop.outputs.size());
    loop.outputs.push_back(next);
  }
  std::vector<char> carried(ys);  // written through the carry
  for (const auto& plan : step->plans_)
    if (plan.target == Target::y) carried[plan.y] = 1;
  for (int y = 0; y < ys; ++y) {
    if (history[y] || carried[y]) continue;
    step->y_outputs_[y] = static_cast<int>(loop.outputs.size());
    loop.outputs.push_back(p.outputs[carries + y]);
  }
  step->program_ = std::move(loop);

  std::vector<Slot> used;
  for (std::size_t k = 0; k < i.inputs.size(); ++k) {
    bool stacked = static_cast<int>(k) >= carries && static_cast<int>(k) < carries + body.xs;
    bool copied =
        static_cast<int>(k) < carries && step->plans_[k].target == Target::exchange && step->division_.rows.empty();  // by the loop
    Slot s = copied ? l.slot(i.inputs[k]) : l.dense(i.inputs[k]);
    used.push_back(s);
    step->inputs_.push_back(lane(s, stacked, step->division_, p.inputs[k]));
    bool counted = !stacked && static_cast<int>(k) >= carries && l.buffer(s).kind == Buffer::Kind::input && s.dynamic.empty();
    step->plan_inputs_.push_back(counted ? l.buffer(s).index : -1);
  }
  for (int c = 0; c < carries; ++c) {
    step->last_.push_back(l.dense_result(i.first + c));
    used.push_back(step->last_.back());
  }
  std::vector<Slot> y_slots(ys);
  for (const auto& plan : step->plans_) {  // history and y overlap, a step apart
    if (plan.target != Target::y || plan.history < 0 || y_slots[plan.y].buffer >= 0) continue;
    const Type& type = l.type(i.first + carries + plan.y);
    Type longer = type;
    ++longer.shape[0];
    Slot both = l.scratch(longer), first = both, second = both;
    first.type = second.type = type;
    second.offset += both.strides[0];
    y_slots[plan.history] = reverse ? second : first;
    y_slots[plan.y] = reverse ? first : second;
  }
  std::vector<char> shared(ys);
  for (int y = 0; y < ys; ++y) {
    shared[y] = y_slots[y].buffer >= 0;
    if (!shared[y]) y_slots[y] = l.dense_result(i.first + carries + y);
    used.push_back(y_slots[y]);
    step->ys_.push_back(lane(y_slots[y], true, step->division_, p.outputs[carries + y]));
  }
  std::vector<Slot> last = step->last_;
  l.splits(step->divides());
  l.emit(std::move(step), used);
  for (int c = 0; c < carries; ++c) l.finish(i.first + c, last[c]);
  for (int y = 0; y < ys; ++y) {
    int v = i.first + carries + y;
    shared[y] ? l.alias(v, y_slots[y]) : l.finish(v, y_slots[y]);
  }
}

}  // namespace rw::detail

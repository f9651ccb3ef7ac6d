#include <algorithm>
#include <bit>
#include <cstring>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/core/matmul.hpp>

namespace rw::detail {

std::byte* Slot::dynamic_address(const Frame& frame) const {
  Index at = offset;
  for (const auto& d : dynamic) {
    const std::byte* p = frame.base[d.buffer] + d.offset;
    at += (d.number ? static_cast<Index>(*reinterpret_cast<const double*>(p)) : *reinterpret_cast<const Index*>(p)) * d.stride;
  }
  return frame.base[buffer] + at * size_of(type.dtype);
}

void Plan::bind(std::span<const Binding> inputs, std::span<std::byte* const> to, std::byte* arena, std::byte** base) const {
  for (std::size_t b = 0; b < buffers.size(); ++b) {
    const Buffer& buffer = buffers[b];
    switch (buffer.kind) {
      case Buffer::Kind::input: base[b] = inputs[static_cast<std::size_t>(buffer.index)].data; break;
      case Buffer::Kind::output: base[b] = to[static_cast<std::size_t>(buffer.index)]; break;
      case Buffer::Kind::arena: base[b] = arena + buffer.offset; break;
      case Buffer::Kind::constant:
        base[b] = reinterpret_cast<std::byte*>(const_cast<double*>(&constants[static_cast<std::size_t>(buffer.index)]));
        break;
    }
  }
}

void Plan::pack(std::span<const Binding> inputs, const PackedMatrix** packed_operands, std::vector<std::unique_ptr<PackedMatrix>>& own,
                Index runs, const Frame& frame) const {
  if (packs.empty()) return;
  const PackCharge charge(frame);
  for (std::size_t p = 0; p < packs.size(); ++p) {
    const auto& r = packs[p];
    const Binding& in = inputs[static_cast<std::size_t>(r.input)];
    if (in.storage) {
      const Index offset = in.data - in.storage->data() + r.offset;
      packed_operands[p] = packed_if_worth(*in.storage, offset, r.dtype, r.k, r.n, r.row, r.column, r.rows, runs);
    } else if (runs < runs_worth_packing(r.rows, r.column)) {
      packed_operands[p] = nullptr;
    } else {
      own.push_back(std::make_unique<PackedMatrix>(r.dtype, r.k, r.n, Matrix{in.data + r.offset, r.row, r.column}));
      packed_operands[p] = own.back().get();
    }
  }
}

std::shared_ptr<Plan> make_plan(Program program, const PlanOptions& options) {
  run_passes(program);
  auto plan = std::make_shared<Plan>();
  auto kept = std::make_shared<Program>(std::move(program));
  plan->program = kept;
  Lowering(*kept, *plan, options).run();
  return plan;
}

Lowering::Lowering(const Program& p, Plan& plan, const PlanOptions& options)
    : program(p),
      plan_(plan),
      options_(options),
      slots_(p.types.size()),
      placed_(p.types.size()),
      producers_(producers(p)),
      uses_(count_uses(p)) {
  plan.in_place.resize(options.over.size());
}

int Lowering::new_buffer(Buffer::Kind kind, int index, Index bytes) {
  Buffer b;
  b.kind = kind;
  b.index = index;
  b.bytes = bytes;
  plan_.buffers.push_back(b);
  return static_cast<int>(plan_.buffers.size()) - 1;
}

Slot Lowering::dense_slot(int buffer, const Type& type) const {
  Slot s;
  s.buffer = buffer;
  s.type = type;
  s.strides = contiguous_strides(type.shape);
  return s;
}

void Lowering::run() {
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    int v = program.inputs[i];
    const Type& t = type(v);
    slots_[v] = dense_slot(new_buffer(Buffer::Kind::input, static_cast<int>(i), t.shape.size() * size_of(t.dtype)), t);
  }
  place_outputs();
  place_concatenations();
  place_carries();
  for (const auto& i : program.code) {
    current_ = &i;
    i.op->lower(*this, i);
  }
  current_ = nullptr;
  copy_outputs();
  look_ahead();
  layout();
  keep_inputs();
}

bool Lowering::place(int value, Slot slot) {
  int producer = producers_[value];
  while (producer >= 0 && program.code[producer].op == &reshape_operator && slot.dense()) {  // what it is a view of lies there as well
    value = program.code[producer].inputs[0];
    producer = producers_[value];
    slot.type = type(value);
    slot.strides = contiguous_strides(slot.type.shape);
  }
  if (producer < 0 || placed_[value] || !is_computed(*program.code[producer].op)) return false;
  slots_[value] = slot;
  placed_[value] = 1;
  return true;
}

void Lowering::place_outputs() {
  plan_.outputs.resize(program.outputs.size());
  for (std::size_t o = 0; o < program.outputs.size(); ++o) {
    int v = program.outputs[o];
    const Type& t = type(v);
    Slot own = dense_slot(new_buffer(Buffer::Kind::output, static_cast<int>(o), t.shape.size() * size_of(t.dtype)), t);
    plan_.outputs[o] = own;
    place(v, own);
  }
}

void Lowering::place_concatenations() {
  for (std::size_t n = program.code.size(); n-- > 0;) {
    const Instruction& i = program.code[n];
    if (i.op != &concatenate_operator) continue;
    Slot whole = result(i.first);
    slots_[i.first] = whole;
    placed_[i.first] = 1;
    int axis = static_cast<int>(i.attributes[0]);
    Index start = 0;
    for (int v : i.inputs) {
      Slot part = whole;
      part.type.shape = type(v).shape;
      part.offset += start * whole.strides[axis];
      start += type(v).shape[axis];
      place(v, part);
    }
  }
}

/// What one loop hands on to the next alone lies where that one leaves it: sums over time are added up in one place.
void Lowering::place_carries() {
  const auto uses = count_uses(program);
  auto from_loop = [&](int v) { return producers_[v] >= 0 && program.code[producers_[v]].op == &scan_operator; };
  for (std::size_t n = program.code.size(); n-- > 0;) {
    const Instruction& i = program.code[n];
    if (i.op != &scan_operator) continue;
    const Program& body = i.body->program;
    for (int c = 0; c < i.body->carries; ++c) {
      const int v = i.inputs[c];
      const auto ys = body.outputs.begin() + i.body->carries;
      const bool kept =
          std::find_if(ys, body.outputs.end(), [&](int y) { return y == body.inputs[c] || y == body.outputs[c]; }) != body.outputs.end();
      if (kept || uses[v] != 1 || placed_[v] || !from_loop(v)) continue;
      const Slot last = result(i.first + c);
      if (!last.dense()) continue;
      slots_[i.first + c] = last;
      placed_[i.first + c] = 1;
      place(v, last);
    }
  }
}

Slot Lowering::result(int value) {
  if (!placed_[value]) {
    const Type& t = type(value);
    slots_[value] = dense_slot(new_buffer(Buffer::Kind::arena, 0, t.shape.size() * size_of(t.dtype)), t);
  }
  return slots_[value];
}

Slot Lowering::dense_result(int value) {
  Slot chosen = result(value);
  return chosen.dense() ? chosen : scratch(type(value));
}

void Lowering::finish(int value, const Slot& written) {
  if (written.buffer != slots_[value].buffer) emit_copy(written, slots_[value]);
}

Slot Lowering::continued(int value, int operand) {
  Slot to = dense_result(value);
  if (!written_over(to, operand)) emit_copy(slots_[operand], to);
  return to;
}

bool Lowering::written_over(const Slot& to, int v) {
  while (uses_[v] == 1 && producers_[v] >= 0 && program.code[producers_[v]].op == &reshape_operator)
    v = program.code[producers_[v]].inputs[0];
  if (uses_[v] != 1 || producers_[v] >= 0) return false;
  const Buffer &from = plan_.buffers[slots_[v].buffer], &target = plan_.buffers[to.buffer];
  bool whole = to.offset == 0 && to.type.shape.size() * size_of(to.type.dtype) == target.bytes && from.bytes == target.bytes;
  if (!whole || from.kind != Buffer::Kind::input || target.kind != Buffer::Kind::output) return false;
  auto input = static_cast<std::size_t>(from.index);
  if (input >= options_.over.size() || options_.over[input] != target.index) return false;
  plan_.in_place[input] = 1;
  return true;
}

void Lowering::alias(int value, Slot slot) {
  if (placed_[value]) {
    emit_copy(slot, slots_[value]);
  } else {
    slots_[value] = std::move(slot);
  }
}

Slot Lowering::scratch(const Type& t) { return dense_slot(new_buffer(Buffer::Kind::arena, 0, t.shape.size() * size_of(t.dtype)), t); }

Slot Lowering::constant(double number, const Type& type) {
  Tensor value = Tensor::full(Shape{}, number, type.dtype);
  double bits = 0;
  std::memcpy(&bits, value.view().data, static_cast<std::size_t>(size_of(type.dtype)));
  plan_.constants.push_back(bits);
  return dense_slot(new_buffer(Buffer::Kind::constant, static_cast<int>(plan_.constants.size()) - 1, 8), type);
}

Slot Lowering::dense_copy(const Slot& slot) {
  Slot copy = scratch(slot.type);
  emit_copy(slot, copy);
  return copy;
}

Slot Lowering::dense(int value) { return slots_[value].dense() ? slots_[value] : dense_copy(slots_[value]); }

Slot Lowering::converted(int value, DType dtype) {
  Slot copy = scratch(Type{dtype, type(value).shape});
  emit_copy(slots_[value], copy);
  return copy;
}

void Lowering::emit_copy(const Slot& from, const Slot& to) {
  copying_ = true;
  emit({from, to}, [from, to](const Frame& f) { copy(from.view(f), to.view(f)); });
  copying_ = false;
}

bool Lowering::constant_of(int value, double& number) const {
  int p = producers_[value];
  if (p < 0 || program.code[p].op != &constant_operator) return false;
  number = std::bit_cast<double>(program.code[p].attributes[0]);
  return true;
}

void Lowering::offset_by(Slot& s, int start, Index stride) {
  double number;
  if (constant_of(start, number)) {
    s.offset += static_cast<Index>(number) * stride;
    return;
  }
  const Slot& at = slots_[start];
  s.dynamic.push_back({at.buffer, at.offset * 8, at.type.dtype == DType::f64, stride});
}

int Lowering::pack_request(const Slot& b, DType dtype, Index k, Index n, Index row, Index column, Index rows) {
  const Buffer& buffer = plan_.buffers[b.buffer];
  if (buffer.kind != Buffer::Kind::input || !b.dynamic.empty() || k == 0 || n == 0 || buffer.index < options_.constants_from) return -1;
  PackRequest r{buffer.index, b.offset * size_of(dtype), dtype, k, n, row, column, rows};
  for (std::size_t p = 0; p < plan_.packs.size(); ++p) {
    auto& q = plan_.packs[p];
    if (q.input != r.input || q.offset != r.offset || q.k != k || q.n != n || q.row != row || q.column != column) continue;
    q.rows = std::max(q.rows, rows);
    return static_cast<int>(p);
  }
  plan_.packs.push_back(r);
  return static_cast<int>(plan_.packs.size()) - 1;
}

bool Lowering::may_overwrite(const Slot& to, const Slot& from) {
  auto whole = [&](const Slot& s) {
    return s.offset == 0 && s.dynamic.empty() && s.type.shape.size() * size_of(s.type.dtype) == plan_.buffers[s.buffer].bytes;
  };
  Buffer &target = plan_.buffers[to.buffer], &source = plan_.buffers[from.buffer];
  bool may = target.kind == Buffer::Kind::arena && source.kind == Buffer::Kind::arena;
  if (target.kind == Buffer::Kind::output && source.kind == Buffer::Kind::input && !options_.given_up.empty())
    may = options_.given_up[source.index] == target.index;
  if (!may || !whole(to) || !whole(from) || target.bytes != source.bytes) return false;
  target.over = from.buffer;
  return true;
}

void Lowering::emit(std::unique_ptr<Step> step, std::span<const Slot> slots) {
  int now = static_cast<int>(plan_.steps.size());
  auto use = [&](int buffer) {
    Buffer& b = plan_.buffers[buffer];
    if (b.first < 0) b.first = now;
    b.last = now;
  };
  for (const auto& s : slots) {
    use(s.buffer);
    for (const auto& d : s.dynamic) use(d.buffer);
  }
  if (options_.constants_from > 0)
    for (auto& list = touched_.emplace_back(); const auto& s : slots) list.push_back(s.buffer);
  plan_.notes.push_back(note_of(current_, copying_, slots));
  plan_.steps.push_back(std::move(step));
}

void Lowering::copy_outputs() {
  for (std::size_t o = 0; o < program.outputs.size(); ++o) {
    const Slot& lies = slots_[program.outputs[o]];
    Slot& own = plan_.outputs[o];
    if (lies.buffer == own.buffer && lies.dense() && lies.offset == 0) continue;
    // A dense whole buffer of an input or another output may be shared; anything else is copied into a block of its own.
    const Buffer& buffer = plan_.buffers[lies.buffer];
    bool counted = buffer.kind == Buffer::Kind::input || buffer.kind == Buffer::Kind::output;
    if (!options_.own_outputs && counted && lies.dense() && lies.dynamic.empty() && !lies.type.weak &&
        lies.type.shape.size() * size_of(lies.type.dtype) == buffer.bytes) {
      own = lies;
    } else {
      emit_copy(lies, own);
    }
  }
}

namespace {

/// Whether a run may throw for its data: rows by index, custom operations.
bool may_fail(const Program& program) {
  return std::any_of(program.code.begin(), program.code.end(), [](const Instruction& i) {
    const bool rows = i.op == &gather_operator || i.op == &scatter_add_operator || i.op == &scatter_add_steps_operator;
    return rows || i.op->closures(i.body.get()) > 0 || (i.body && may_fail(i.body->program));
  });
}

}  // namespace

/// An input is not given up if it is read later, or shown by an output; nor is any if a run may fail on its data when it has written some.
void Lowering::keep_inputs() {
  const bool fails = may_fail(program);
  for (auto& b : plan_.buffers) {
    if (b.kind != Buffer::Kind::output || b.over < 0) continue;
    const bool shown = std::any_of(plan_.outputs.begin(), plan_.outputs.end(), [&](const Slot& s) { return s.buffer == b.over; });
    if (fails || shown || plan_.buffers[b.over].last != b.first) b.over = -1;
  }
}

}  // namespace rw::detail

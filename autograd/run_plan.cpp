#include <algorithm>
#include <rewind/autograd/run_plan.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>

namespace rw::detail {

namespace {

/// Where a value stands among some whose slots ascend; -1 if it does not.
int position(const List<Value*>& values, const Value* v) {
  const auto at = std::lower_bound(values.begin(), values.end(), v->slot, [](const Value* x, int slot) { return x->slot < slot; });
  return at != values.end() && *at == v ? static_cast<int>(at - values.begin()) : -1;
}

}  // namespace

GivenUp::GivenUp(const List<Node*>& nodes, int count, const List<Value*>& inputs, const List<Value*>& outputs,
                 std::span<Value* const> roots, std::span<Value* const> old, Key& key)
    : inputs_(inputs) {
  for (std::size_t i = 0; i < old.size(); ++i) {
    const int input = position(inputs, old[i]), output = position(outputs, roots[i]);
    if (input < 0 || output < 0 || !(old[i]->type == roots[i]->type)) continue;
    pairs_.push_back({input, output});
    key.push_back(std::uint64_t{1} << 62 | static_cast<std::uint64_t>(input) << 31 | static_cast<std::uint64_t>(output));
  }
  if (pairs_.empty()) return;
  reads_.resize(static_cast<std::size_t>(count));
  for (const Node* n : nodes)
    if (!n->history)
      for (const Value* v : n->inputs) ++reads_[static_cast<std::size_t>(v->slot)];
}

std::vector<int> GivenUp::output_of() const {
  if (pairs_.empty()) return {};
  std::vector<int> result(inputs_.size(), -1);
  for (const auto& p : pairs_) result[static_cast<std::size_t>(p.input)] = p.output;
  return result;
}

bool GivenUp::alone(int input) const {
  const Value& v = *inputs_[static_cast<std::size_t>(input)];
  const auto counts = v.counts.load(std::memory_order_acquire) + v.elsewhere.load(std::memory_order_acquire);
  return Value::references(counts) == 1 + reads_[static_cast<std::size_t>(v.slot)] && !v.number_set && v.offset == 0 &&
         v.storage->holders() == 1;
}

List<std::pair<StorageRef, Index>> run_plan(const Plan& plan, const List<Value*>& inputs, const List<CustomCall*>& customs,
                                            const GivenUp& given_up) {
  if (plan.splits) wake_team();
  List<Binding> bound(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Value* v = inputs[i];
    if (v->number_set) {
      bound[i].data = reinterpret_cast<std::byte*>(&v->number);
    } else {
      bound[i] = {v->storage->data() + v->offset, v->storage.get()};
    }
  }
  List<std::pair<StorageRef, Index>> results(plan.outputs.size());
  List<std::byte*> outputs(plan.outputs.size());
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    const Buffer& b = plan.buffers[plan.outputs[o].buffer];
    if (b.kind != Buffer::Kind::output || b.index != static_cast<int>(o)) continue;
    const int over = b.over < 0 ? -1 : plan.buffers[b.over].index;
    results[o].first = over >= 0 && given_up.alone(over) ? inputs[over]->storage : StorageRef::allocate(b.bytes);
    outputs[o] = results[o].first->data();
  }
  auto arena = StorageRef::allocate(std::max<Index>(plan.arena_bytes, 64));
  List<std::byte*> base(plan.buffers.size());
  plan.bind(bound, outputs, arena->data(), base.data());
  List<const PackedMatrix*> packs(plan.packs.size());
  std::vector<std::unique_ptr<PackedMatrix>> own;
  Frame frame;
  plan.pack(bound, packs.data(), own, 1, frame);
  frame.base = base.data();
  frame.inputs = bound.data();
  frame.packs = packs.data();
  frame.customs = customs.data();
  plan.run(frame);
  for (auto& [storage, offset] : results)
    if (storage && storage->holders() > 1) storage->touch();  // written over
  for (std::size_t o = 0; o < results.size(); ++o) {
    const Slot& s = plan.outputs[o];
    const Buffer& b = plan.buffers[s.buffer];
    if (results[o].first) continue;
    Index offset = s.offset * size_of(s.type.dtype);
    if (b.kind == Buffer::Kind::input) {
      Value* v = inputs[static_cast<std::size_t>(b.index)];
      results[o] = {v->storage, v->offset + offset};
    } else {
      results[o] = {results[static_cast<std::size_t>(b.index)].first, offset};
    }
  }
  return results;
}

}  // namespace rw::detail

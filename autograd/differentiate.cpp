#include <rewind/autograd/differentiate.hpp>

#include <algorithm>
#include <bit>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/slices.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

namespace {

/// What has arrived for one value so far.
struct Sum {
  Variable dense;
  struct Slice {
    int axis;
    Variable start, part;
  };
  List<Slice> slices;
  bool empty() const { return dense.empty() && slices.empty(); }
};

/// The number behind a start that is structure.
bool constant_start(const Variable& start, Index& number) {
  const Node* n = start.handle()->node;
  if (!n || n->op != &constant_operator) return false;
  number = static_cast<Index>(std::bit_cast<double>(n->attributes[0]));
  return true;
}

/// Slices that tile an axis are a concatenation; others are added up in one buffer.
Variable join(List<Sum::Slice> slices, const Type& type) {
  int axis = slices[0].axis;
  List<std::pair<Index, std::size_t>> parts;  // start, which slice
  Index number, covered = 0;
  for (std::size_t s = 0; s < slices.size(); ++s)
    if (constant_start(slices[s].start, number)) parts.emplace_back(number, s);
  std::sort(parts.begin(), parts.end());
  bool tiles = parts.size() == slices.size();
  for (const auto& [start, s] : parts) {
    tiles &= start == covered;
    covered = start + slices[s].part.shape()[axis];
  }
  if (tiles && covered == type.shape[axis]) {
    List<Variable> list;
    for (const auto& p : parts) list.push_back(std::move(slices[p.second].part));
    return concatenate(list, axis);
  }
  List<Value*> inputs;
  for (const auto& s : slices) {
    inputs.push_back(local("slice", s.part));
    inputs.push_back(local("slice", s.start));
  }
  return std::move(record(scatter_slices_operator, {axis}, std::move(inputs), {type})[0]);
}

Variable total(Sum& sum, const Type& type) {
  Variable result = std::move(sum.dense);
  while (!sum.slices.empty()) {
    int axis = sum.slices[0].axis;
    auto other = std::stable_partition(sum.slices.begin(), sum.slices.end(), [&](const auto& s) { return s.axis == axis; });
    Variable joined = join({sum.slices.begin(), other}, type);
    sum.slices.erase(sum.slices.begin(), other);
    result = result.empty() ? joined : result + joined;
  }
  return result;
}

/// What a variable is the negative of; empty if it is no such.
Variable negated(const Variable& x) {
  const Node* n = x.handle()->node;
  return n && n->op == &elementwise_operator(op::code<op::Negate>) ? handle(n->inputs[0]) : Variable();
}

/// Sums a gradient to the shape that was broadcast, and gives it the operand's dtype. A negative's row sums are negatives of row sums: one
/// operation a row instead of one an element.
Variable fit(const Variable& g, const Type& type) {
  Variable result = g;
  if (!(g.shape() == type.shape)) {
    int skip = g.rank() - type.shape.rank();
    if (skip < 0 || !broadcasts_to(type.shape, g.shape())) result = broadcast_to(g, type.shape), skip = 0;
    Dims axes;
    for (int a = 0; a < result.rank(); ++a)
      if (a < skip || (type.shape[a - skip] == 1 && result.shape()[a] != 1)) axes.push_back(a);
    const bool of_rows = axes.rank() == 1 && axes[0] == result.rank() - 1;
    if (Variable x = of_rows ? negated(result) : Variable(); !x.empty()) {
      result = -sum(x, Axes(axes), true);
    } else if (axes.rank() > 0) {
      result = sum(result, Axes(axes), true);
    }
    result = reshape(result, type.shape);
  }
  return result.dtype() == type.dtype ? result : cast(result, type.dtype);
}

class Sweep final : public Pullback {
 public:
  Sweep(const Node& n, List<Sum>& sums, std::uint64_t mark) : Pullback(n), sums_(sums), mark_(mark) {
    for (std::size_t k = 0; k < n.types.size(); ++k) {
      Value* v = n.outputs[k];
      if (v && v->mark == mark_ && v->slot >= 0 && !sums_[v->slot].empty()) {
        Variable g = total(sums_[v->slot], v->type);
        incoming_.resize(n.types.size());
        incoming_[k] = std::move(g);
      }
    }
  }
  bool any() const { return !incoming_.empty(); }

  Variable x(int i) override { return handle(node.inputs[i]); }
  Variable y(int k) override { return handle(result(const_cast<Node*>(&node), k).get()); }
  Variable g(int k) override {
    return static_cast<std::size_t>(k) < incoming_.size() ? incoming_[k] : Variable();  // a scan may have grown while its rule ran
  }
  bool needs(int i) const override { return node.inputs[i]->mark == mark_ && node.inputs[i]->slot >= 0; }
  void add(int i, Variable contribution) override {
    if (!needs(i) || contribution.empty()) return;
    Sum& s = sums_[node.inputs[i]->slot];
    Variable fitted = fit(contribution, node.inputs[i]->type);
    s.dense = s.dense.empty() ? fitted : s.dense + fitted;
  }
  void add_slice(int i, int axis, Variable start, Variable part) override {
    if (needs(i)) sums_[node.inputs[i]->slot].slices.push_back({axis, std::move(start), std::move(part)});
  }

 private:
  List<Sum>& sums_;
  std::uint64_t mark_;
  List<Variable> incoming_;
};

bool enters(const Node* n, const Tape& tape) { return n && n->history && n->op->differentiable() && n->trace == tape.serial(); }

}  // namespace

List<Variable> differentiate(std::span<const Seed> seeds, std::span<Value* const> targets, List<Node*>* walked) {
  auto& tape = tape_of_thread();
  RuleScope rules;
  List<ValueRef> alive;  // rules record, and what they drop must not free what is being walked
  for (const auto& s : seeds) alive.emplace_back(s.value);
  for (Value* t : targets) alive.emplace_back(t);

  std::uint64_t mark = tape.next_mark++;
  List<Node*> nodes;
  List<Value*> work;
  for (const auto& s : seeds) work.push_back(s.value);
  while (!work.empty()) {
    Value* v = work.back();
    work.pop_back();
    if (v->released)
      fail<TapeError>(
          "gradient: the history of a variable {} was released by backward (detach it, or call backward(loss, {{.retain = true}}))",
          v->type.shape);
    if (!enters(v->node, tape) || v->node->mark == mark) continue;
    v->node->mark = mark;
    nodes.push_back(v->node);
    for (Value* input : v->node->inputs) work.push_back(input);
  }
  std::sort(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) { return a->id < b->id; });

  // Values that depend on a target get a sum; others are not looked at again.
  List<Sum> sums;
  auto want = [&](Value* v) {
    if (v->mark == mark && v->slot >= 0) return;
    v->mark = mark;
    v->slot = static_cast<int>(sums.size());
    sums.emplace_back();
  };
  for (Value* t : targets) want(t);
  std::size_t between = 0;
  for (Node* n : nodes) {
    bool depends = false;
    for (Value* v : n->inputs) depends |= v->mark == mark && v->slot >= 0;
    if (!depends) continue;
    nodes[between++] = n;
    for (std::size_t k = 0; k < n->types.size(); ++k)
      if (Value* v = n->outputs[k]; v && is_floating(n->types[k].dtype)) want(v);
  }
  nodes.resize(between);

  for (const auto& s : seeds)
    if (s.value->mark == mark && s.value->slot >= 0) {
      Sum& sum = sums[s.value->slot];
      sum.dense = sum.dense.empty() ? s.gradient : sum.dense + s.gradient;
    }
  List<char> is_target(sums.size());
  for (Value* t : targets) is_target[t->slot] = 1;
  List<Variable> of_target(sums.size());
  for (std::size_t i = nodes.size(); i-- > 0;) {
    Node* n = nodes[i];
    for (std::size_t k = 0; k < n->types.size(); ++k)  // a target inside the graph: its sum is complete, and goes on
      if (Value* v = n->outputs[k]; v && v->mark == mark && v->slot >= 0 && is_target[v->slot] && !sums[v->slot].empty()) {
        of_target[v->slot] = total(sums[v->slot], v->type);
        sums[v->slot].dense = of_target[v->slot];
      }
    Sweep sweep(*n, sums, mark);
    if (sweep.any()) n->op->gradient(sweep);
  }
  List<Variable> result;
  for (Value* t : targets) {
    Variable& found = of_target[t->slot];
    if (found.empty() && !sums[t->slot].empty()) found = total(sums[t->slot], t->type);
    result.push_back(found);
  }
  if (walked) *walked = std::move(nodes);
  return result;
}

Place* place_of(const Value* leaf) { return leaf->origin ? leaf->origin->place : leaf->place; }

List<Value*> trainable_leaves(Value* value) {
  auto& tape = tape_of_thread();
  std::uint64_t mark = tape.next_mark++;
  List<Value*> work{value}, found;
  while (!work.empty()) {
    Value* v = work.back();
    work.pop_back();
    if (v->mark == mark) continue;
    v->mark = mark;
    if (const Place* place = place_of(v); place && !place->frozen) found.push_back(v);
    if (!enters(v->node, tape) || v->node->mark == mark) continue;
    v->node->mark = mark;
    for (Value* input : v->node->inputs)
      if (input->trainable || input->released) work.push_back(input);
  }
  std::sort(found.begin(), found.end(), [](const Value* a, const Value* b) { return a->id < b->id; });
  return found;
}

}  // namespace rw::detail

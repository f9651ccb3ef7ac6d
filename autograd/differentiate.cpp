#include <rewind/autograd/differentiate.hpp>

#include <algorithm>
#include <bit>
#include <iterator>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/slices.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

namespace {

/// What has arrived for one value so far. It is added up when the value's own turn comes, so that in a loop the sum stands in the step that
/// needs it; a target, or what many read, grows with each part, for all of them would take too much memory.
struct Sum {
  static constexpr int few = 4;
  struct Slice {
    int axis;
    Variable start, part;
  };
  struct More : RecycledObject {
    List<Variable> later;  ///< to be added to dense, in order
    List<Slice> slices;
  };
  Variable dense;
  int readers = 0;
  std::unique_ptr<More> more;  ///< what most do not need

  bool empty() const { return dense.empty() && !more; }
  void add(Variable part) {
    if (dense.empty()) {
      dense = std::move(part);
    } else if (readers <= few) {
      rest().later.push_back(std::move(part));
    } else {
      dense = dense + part;
    }
  }
  More& rest() {
    if (!more) more.reset(new More);
    return *more;
  }
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
  return record_one(scatter_slices_operator, {axis}, inputs, type);
}

Variable total(Sum& sum, const Type& type) {
  Variable result = std::move(sum.dense);
  const auto more = std::move(sum.more);
  if (!more) return result;
  for (const auto& part : more->later) result = result + part;
  auto& slices = more->slices;
  while (!slices.empty()) {
    int axis = slices[0].axis;
    auto other = std::stable_partition(slices.begin(), slices.end(), [&](const auto& s) { return s.axis == axis; });
    Variable joined = join({std::make_move_iterator(slices.begin()), std::make_move_iterator(other)}, type);
    slices.erase(slices.begin(), other);
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
Variable fit(Variable g, const Type& type) {
  Variable result = std::move(g);
  if (!(result.shape() == type.shape)) {
    int skip = result.rank() - type.shape.rank();
    if (skip < 0 || !broadcasts_to(type.shape, result.shape())) result = broadcast_to(result, type.shape), skip = 0;
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
  if (result.dtype() == type.dtype) return result;
  return cast(result, type.dtype);
}

class Sweep final : public Pullback {
 public:
  Sweep(const Node& n, List<Sum>& sums, const List<char>& is_target, std::uint64_t mark)
      : Pullback(n), sums_(sums), is_target_(is_target), mark_(mark) {
    for (std::size_t k = 0; k < n.types.size(); ++k) {
      Value* v = n.outputs[k];
      if (v && v->mark == mark_ && v->slot >= 0 && !sums_[v->slot].empty()) {
        Variable g = total(sums_[v->slot], v->type);
        if (n.types.size() == 1) {
          incoming_ = std::move(g);
        } else {
          several_.resize(n.types.size());
          several_[k] = std::move(g);
        }
      }
    }
  }
  bool any() const { return !incoming_.empty() || !several_.empty(); }

  Variable x(int i) override { return handle(node.inputs[i]); }
  Variable y(int k) override { return handle(result(const_cast<Node*>(&node), k).get()); }
  Variable g(int k) override {
    if (several_.empty()) return k == 0 ? incoming_ : Variable();
    return static_cast<std::size_t>(k) < several_.size() ? several_[k] : Variable();  // a scan may have grown while its rule ran
  }
  bool needs(const Value* v) const override { return v->mark == mark_ && v->slot >= 0; }
  bool asked(const Value* v) const override { return needs(v) && is_target_[v->slot]; }
  using Pullback::add, Pullback::needs;
  void add(Value* v, Variable contribution) override {
    if (!needs(v) || contribution.empty()) return;
    sums_[v->slot].add(fit(std::move(contribution), v->type));
  }
  void add_slice(int i, int axis, Variable start, Variable part) override {
    if (needs(i)) sums_[node.inputs[i]->slot].rest().slices.push_back({axis, std::move(start), std::move(part)});
  }

 private:
  List<Sum>& sums_;
  const List<char>& is_target_;
  std::uint64_t mark_;
  Variable incoming_;       ///< of a node of one result
  List<Variable> several_;  ///< of another
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
  auto visit = [&](const Value* v) {
    if (v->released)
      fail<TapeError>(
          "gradient: the history of a variable {} was released by backward (detach it, or call backward(loss, {{.retain = true}}))",
          v->type.shape);
    if (!enters(v->node, tape) || v->node->mark == mark) return;
    v->node->mark = mark;
    nodes.push_back(v->node);
  };
  for (const auto& s : seeds) visit(s.value);
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const Value* v : nodes[i]->inputs) visit(v);
  sort_by_recording(nodes);

  // Values that depend on a target get a sum; others are not looked at again.
  List<Sum> sums;
  sums.reserve(targets.size() + nodes.size());
  auto want = [&](Value* v) {
    if (v->mark == mark && v->slot >= 0) return;
    v->mark = mark;
    v->slot = static_cast<int>(sums.size());
    sums.emplace_back();
  };
  for (Value* t : targets) {
    want(t);
    sums[t->slot].readers = Sum::few + 1;
  }
  std::size_t between = 0;
  for (Node* n : nodes) {
    bool depends = false;
    for (Value* v : n->inputs)
      if (v->mark == mark && v->slot >= 0) {
        depends = true;
        ++sums[v->slot].readers;
      }
    if (!depends) continue;
    nodes[between++] = n;
    for (std::size_t k = 0; k < n->types.size(); ++k)
      if (Value* v = n->outputs[k]; v && is_floating(n->types[k].dtype)) want(v);
  }
  nodes.resize(between);

  for (const auto& s : seeds)
    if (s.value->mark == mark && s.value->slot >= 0) sums[s.value->slot].add(s.gradient);
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
    Sweep sweep(*n, sums, is_target, mark);
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

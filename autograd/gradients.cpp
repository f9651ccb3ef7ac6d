#include <rewind/autograd/gradients.hpp>

#include <algorithm>
#include <rewind/autograd/differentiate.hpp>
#include <rewind/autograd/evaluate.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>

namespace rw {

namespace {

detail::Value* checked_loss(const char* op, const Variable& loss) {
  auto* value = loss.handle();
  if (value && value->recorded && value->tape != &detail::tape_of_thread())
    fail<TapeError>("{}: the loss was recorded on another thread's tape (differentiate it there: values travel, histories do not)", op);
  value = detail::local(op, loss);
  if (value->type.shape.size() != 1)
    fail<ShapeError>("{}: the loss must have one element: it is {} (reduce it with sum or mean)", op, value->type.shape);
  if (!is_floating(value->type.dtype)) fail<DTypeError>("{}: the loss must be f32 or f64: it is {}", op, value->type.dtype);
  return value;
}

Variable one(const detail::Type& type) {
  detail::RuleScope rules;
  return ones(type.shape, type.weak ? DType::f32 : type.dtype);
}

/// The walked part of the graph lets go of its history; what is still held says so when it is reached again.
void release_history(const detail::List<detail::Node*>& nodes) {
  detail::List<detail::ValueRef> values;
  for (auto* n : nodes)
    for (auto* v : n->outputs)
      if (v) values.emplace_back(v);
  for (auto& reference : values) {
    detail::Value* v = reference.get();
    detail::Node* n = v->node;
    v->released = true;
    v->node = nullptr;
    if (v->listed) v->tape->unlist(v);
    n->outputs[v->output] = nullptr;
    if (--n->references != 0) continue;
    for (auto* input : n->inputs) detail::release(input);
    delete n;
  }
}

}  // namespace

void backward(const Variable& loss, const BackwardOptions& options) {
  auto& tape = detail::tape_of_thread();
  if (!tape.traces.empty()) fail<TapeError>("backward: called inside the body of a scan (use gradients, or call it outside)");
  auto* value = checked_loss("backward", loss);
  auto leaves = detail::trainable_leaves(value);
  detail::List<detail::Node*> walked;
  detail::List<detail::Place*> places;
  detail::List<Variable> before;
  for (auto* leaf : leaves) places.push_back(detail::place_of(leaf));
  for (auto* place : places) before.push_back(place->gradient);
  try {
    {
      NoGrad values_only;
      detail::Seed seed{value, one(value->type)};
      auto found = detail::differentiate(std::span(&seed, 1), leaves, &walked);
      detail::RuleScope rules;
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        if (found[i].empty()) continue;
        auto& gradient = places[i]->gradient;
        gradient = gradient.empty() ? found[i] : gradient + found[i];
      }
    }
    detail::List<detail::Value*> roots{value};
    for (auto* place : places)
      if (!place->gradient.empty()) roots.push_back(place->gradient.handle());
    if (!options.retain)
      for (auto* n : walked) n->released = true;  // nothing of it need be kept for another gradient
    detail::evaluate_pending("backward", roots, true);
  } catch (...) {
    for (auto* n : walked) n->released = false;
    for (std::size_t i = 0; i < leaves.size(); ++i) places[i]->gradient = before[i];
    throw;
  }
  if (!options.retain) release_history(walked);
}

namespace {

/// While one lives, recording goes on where the loss was recorded: outside of the bodies that it does not belong to.
class AtLossScope {
 public:
  explicit AtLossScope(const Variable& loss) : tape_(detail::tape_of_thread()) {
    auto& traces = tape_.traces;
    if (loss.empty()) return;
    auto own = std::find_if(traces.begin(), traces.end(), [&](const auto* t) { return t->serial == loss.handle()->trace; });
    auto first = own != traces.end() ? own + 1 : loss.handle()->trace == 0 ? traces.begin() : traces.end();
    inner_.assign(first, traces.end());
    traces.erase(first, traces.end());
  }
  AtLossScope(const AtLossScope&) = delete;
  ~AtLossScope() { tape_.traces.insert(tape_.traces.end(), inner_.begin(), inner_.end()); }
  /// Whether x was recorded further in: then the loss does not depend on it.
  bool inside(const Variable& x) const {
    return !x.empty() && std::any_of(inner_.begin(), inner_.end(), [&](const auto* t) { return t->serial == x.handle()->trace; });
  }

 private:
  detail::Tape& tape_;
  detail::List<detail::Trace*> inner_;
};

}  // namespace

std::vector<Variable> detail::gradients(const Variable& loss, std::span<const Variable> xs) {
  std::vector<Variable> found(xs.size());
  {
    AtLossScope scope(loss);
    Value* value = checked_loss("gradients", loss);
    List<Value*> targets;
    List<std::size_t> which;
    for (std::size_t i = 0; i < xs.size(); ++i) {
      if (scope.inside(xs[i])) continue;
      targets.push_back(local("gradients", xs[i]));
      which.push_back(i);
    }
    for (const auto& x : xs)
      if (!is_floating(x.dtype())) fail<DTypeError>("gradients: only f32 and f64 have gradients: a variable is {}", x.dtype());
    Seed seed{value, one(value->type)};
    auto of_targets = differentiate(std::span(&seed, 1), targets);
    for (std::size_t k = 0; k < which.size(); ++k) found[which[k]] = std::move(of_targets[k]);
  }
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i].empty()) found[i] = zeros(xs[i].shape(), xs[i].dtype());
  return found;
}

}  // namespace rw

#include <rewind/autograd/gradients.hpp>

#include <rewind/autograd/differentiate.hpp>
#include <rewind/autograd/evaluate.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>

namespace rw {

namespace {

detail::Value* checked_loss(const char* op, const Variable& loss) {
  auto* value = detail::local(op, loss);
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
void release_history(const std::vector<detail::Node*>& nodes) {
  std::vector<detail::ValueRef> values;
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
    if (n->references.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
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
  std::vector<detail::Node*> walked;
  std::vector<Variable> before;
  for (auto* leaf : leaves) before.push_back(leaf->place->gradient);
  try {
    {
      NoGrad values_only;
      detail::Seed seed{value, one(value->type)};
      auto found = detail::differentiate(std::span(&seed, 1), leaves, &walked);
      detail::RuleScope rules;
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        if (found[i].empty()) continue;
        auto& gradient = leaves[i]->place->gradient;
        gradient = gradient.empty() ? found[i] : gradient + found[i];
      }
    }
    std::vector<detail::Value*> roots{value};
    for (auto* leaf : leaves)
      if (!leaf->place->gradient.empty()) roots.push_back(leaf->place->gradient.handle());
    detail::evaluate_pending("backward", roots, options.retain);
  } catch (...) {
    for (std::size_t i = 0; i < leaves.size(); ++i) leaves[i]->place->gradient = before[i];
    throw;
  }
  if (!options.retain) release_history(walked);
}

std::vector<Variable> detail::gradients(const Variable& loss, std::span<const Variable> xs) {
  Value* value = checked_loss("gradients", loss);
  std::vector<Value*> targets;
  for (const auto& x : xs) {
    targets.push_back(local("gradients", x));
    if (!is_floating(targets.back()->type.dtype))
      fail<DTypeError>("gradients: only f32 and f64 have gradients: a variable is {}", targets.back()->type.dtype);
  }
  Seed seed{value, one(value->type)};
  auto found = differentiate(std::span(&seed, 1), targets);
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i].empty()) found[i] = zeros(targets[i]->type.shape, targets[i]->type.weak ? DType::f32 : targets[i]->type.dtype);
  return found;
}

}  // namespace rw

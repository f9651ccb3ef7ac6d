#include <rewind/autograd/gathered.hpp>

#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/slices.hpp>

namespace rw::detail {

namespace {

Shape without_columns(Shape shape) {
  shape.erase(shape.rank() - 1);
  return shape;
}

/// Whether rows stay rows.
bool is_view_of_rows(const Node& node) {
  const Shape &from = node.inputs[0]->type.shape, &to = node.types[0].shape;
  if (node.op == &slice_operator) return node.attributes[0] + 1 < to.rank();
  const bool matrices = from.rank() > 1 && to.rank() > 1;
  return node.op == &reshape_operator && matrices && without_columns(from).size() == without_columns(to).size();
}

const Trace::Rows* known(const Value* x) {
  const auto& traces = tape_of_thread().traces;
  if (traces.empty()) return nullptr;
  for (const auto& rows : traces.back()->gathered)
    if (rows.rows == x) return &rows;
  return nullptr;
}

}  // namespace

Variable Gathered::index() const {
  Variable i = handle(taken);
  for (std::size_t k = views.size(); k-- > 0;) {
    const Node& view = *views[k];
    const bool slice = view.op == &slice_operator;
    i = slice ? part(i, static_cast<int>(view.attributes[0]), handle(view.inputs[1]), view.attributes[1])
              : reshape(i, without_columns(view.types[0].shape));
  }
  return i;
}

Gathered gathered(const Pullback& p, int input) {
  Value* x = p.node.inputs[input];
  const Shape& shape = x->type.shape;
  if (shape.rank() < 2) return {};
  const auto recorded = [](const Value* v) { return v->node && v->node->history; };  // others may be forgotten once evaluated
  Gathered g;
  g.passes = true;
  bool all = true;
  const Trace::Rows* rows = known(x);
  for (; !rows && recorded(x) && is_view_of_rows(*x->node); rows = known(x)) {
    g.passes &= !p.asked(x);
    all &= x->node->op != &slice_operator;
    g.views.push_back(x->node);
    x = x->node->inputs[0];
  }
  if (rows) {  // a loop over a chunk passes it on; a step's products are summed by index if one sum over all steps is possible
    const auto* w = p.node.op == &matmul_operator ? p.node.inputs[1] : nullptr;
    const bool summed = w && !w->node && w->id >= tape_of_thread().traces.back()->constants && shape.rank() == 2 && all;
    if (!(rows->in_chunks ? p.node.op == &scan_operator : summed)) return {};
    g.table = rows->table, g.taken = rows->index;
    g.passes &= rows->passes;
    return g;
  }
  if (!recorded(x) || x->node->op != &gather_operator) return {};
  g.table = x->node->inputs[0], g.taken = x->node->inputs[1];
  const Shape& s = g.table->type.shape;
  if (s.rank() != 2 || s[0] < 1 || 2 * s[0] > without_columns(shape).size()) return {};
  g.passes &= !p.asked(x) && p.needs(g.table);
  return g;
}

}  // namespace rw::detail

#include <rewind/autograd/evaluate.hpp>

#include <algorithm>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/run_plan.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/team.hpp>

namespace rw::detail {

namespace {

/// The nodes behind some values, in the order of recording. `through` also enters evaluated values.
struct Collected {
  List<Node*> nodes;
  std::uint64_t mark;
};

Collected collect(Tape& tape, const List<Value*>& roots, bool through) {
  Collected found;
  found.mark = tape.next_mark++;
  auto visit = [&](const Value* v) {
    if (!v->node || v->node->mark == found.mark || (!through && v->evaluated())) return;
    v->node->mark = found.mark;
    found.nodes.push_back(v->node);
  };
  for (const Value* v : roots) visit(v);
  for (std::size_t i = 0; i < found.nodes.size(); ++i)
    for (const Value* v : found.nodes[i]->inputs) visit(v);
  sort_by_recording(found.nodes);
  return found;
}

/// Numbers values as a program would: inputs when they are first read, results when they are made. Writes the structure to `key`.
struct Numbering {
  Key& key;
  std::uint64_t mark;
  List<Value*> inputs;
  int next = 0;

  void restart(std::uint64_t new_mark) {
    key.clear();
    mark = new_mark;
    inputs.clear();
    next = 0;
  }

  int number(Value* v) {
    if (v->mark == mark) return v->slot;
    v->mark = mark;
    v->slot = next++;
    inputs.push_back(v);
    key.push_back(~std::uint64_t{0});
    append_key(key, v->type);
    return v->slot;
  }

  void node(Node* n, bool through) {
    for (Value* v : n->inputs) number(v);
    append_key(key, *n->op, n->attributes, n->body.get(), n->inputs.size(), n->types.size(), true);
    append_key_operands(key, n->inputs, [](const Value* v) { return v->slot; });
    for (std::size_t k = 0; k < n->types.size(); ++k) {
      append_key(key, n->types[k]);
      Value* v = n->outputs[k];
      int slot = next++;
      if (!v || (v->evaluated() && !through && v->mark == mark)) continue;  // nobody reads it, or it entered as an input
      if (v->evaluated() && !through) continue;
      v->mark = mark;
      v->slot = slot;
    }
  }
};

/// Marks the nodes that a later gradient may enter: from held values, along histories that stay.
void find_reached(const Collected& found) {
  for (Node* n : found.nodes) n->reached = false;
  for (auto at = found.nodes.rbegin(); at != found.nodes.rend(); ++at) {
    Node* n = *at;
    for (const Value* v : n->outputs) n->reached |= v && v->held();
    n->reached = n->reached && n->history && !n->released && n->op->differentiable();
    for (const Value* v : n->inputs)
      if (n->reached && v->node) v->node->reached = true;
  }
}

/// Marks a pending value that a gradient will read; of a view, what it shows, which is no larger and lies there already: the view is made
/// again. A slice may show little of much, so it counts for itself.
void capture(Value* v, std::uint64_t mark) {
  auto pending = [&] { return v->node && !v->evaluated() && v->mark == mark; };
  while (pending() && !is_computed(*v->node->op) && v->node->op != &slice_operator) {
    if (v->node->inputs.empty()) return;
    v = v->node->inputs[0];
  }
  if (pending()) v->captured_by = mark;
}

/// Which pending results shall outlive the run: what is held or asked for, and what gradients will read.
void choose_outputs(const Collected& found, std::span<Value* const> roots, bool keep, std::uint64_t mark, List<Value*>& outputs) {
  for (Node* n : found.nodes) {
    const Keep k = keep && n->reached ? n->op->keep(*n) : Keep{};
    if (k.operands)
      for (Value* v : n->inputs) capture(v, mark);
    for (Value* v : n->outputs)
      if (v && !v->evaluated() && (k.results || v->held())) v->captured_by = mark;
  }
  for (Value* v : roots) v->captured_by = mark;
  for (Node* n : found.nodes)
    for (Value* v : n->outputs)
      if (v && !v->evaluated() && v->captured_by == mark) outputs.push_back(v);
}

Program build(const Collected& found, const Numbering& numbering, const List<Value*>& outputs) {
  Program p;
  p.types.resize(static_cast<std::size_t>(numbering.next));
  p.code.reserve(found.nodes.size());
  for (Value* v : numbering.inputs) {
    p.inputs.push_back(v->slot);
    p.types[v->slot] = v->type;
  }
  // Results were numbered in the order of nodes, between inputs at their first use: the same walk gives the same numbers.
  int next = 0;
  std::size_t input = 0;
  for (Node* n : found.nodes) {
    Instruction i;
    i.op = n->op;
    i.attributes = n->attributes;
    i.body = n->body;
    if (const auto& closures = n->closures(); !closures.empty()) {
      i.attributes[2] = static_cast<std::int64_t>(p.closures.size());
      p.closures.insert(p.closures.end(), closures.begin(), closures.end());
    }
    i.history = n->history;
    for (Value* v : n->inputs) i.inputs.push_back(v->slot);
    while (input < numbering.inputs.size() && numbering.inputs[input]->slot == next) ++input, ++next;
    i.first = next;
    i.count = static_cast<int>(n->types.size());
    for (const auto& t : n->types) p.types[next++] = t;
    p.code.push_back(std::move(i));
  }
  for (Value* v : outputs) p.outputs.push_back(v->slot);
  return p;
}

std::shared_ptr<Plan> find_plan(Tape& tape, const Collected& found, const Numbering& numbering, const List<Value*>& outputs,
                                const GivenUp& given_up) {
  auto there = tape.plans.find(tape.key);
  if (there != tape.plans.end()) {
    ++tape.statistics.hits;
    tape.plan_use.splice(tape.plan_use.begin(), tape.plan_use, there->second.use);
    return there->second.plan;
  }
  Program program = build(found, numbering, outputs);
  program.closures.clear();  // bound at each run
  auto plan = make_plan(std::move(program), {.given_up = given_up.output_of()});
  ++tape.statistics.plans;
  tape.drop_plans(tape.plan_limit - 1);
  auto place = tape.plans.emplace(std::move(tape.key), Tape::CachedPlan{plan, {}}).first;
  tape.plan_use.push_front(&place->first);
  place->second.use = tape.plan_use.begin();
  tape.statistics.cached = tape.plans.size();
  tape.statistics.arena_bytes = std::max(tape.statistics.arena_bytes, plan->arena_bytes);
  return plan;
}

/// A scan that may be differentiated later.
bool keeps_residuals(const Node* n) { return n->op == &scan_operator && n->reached; }

struct Running {
  Tape& tape;
  explicit Running(Tape& t) : tape(t) { tape.running = true; }
  ~Running() { tape.running = false; }
};

/// The value is known: it leaves the list of what is pending, and lets its history go if there is none to keep.
void settle(Tape& tape, Value* v, StorageRef storage, Index offset) {
  v->storage = std::move(storage);
  v->offset = offset;
  if (v->listed) tape.unlist(v);
}

void forget(Value* v) {
  Node* n = v->node;
  if (!n || (n->history && n->op->differentiable())) return;
  n->outputs[v->output] = nullptr;
  v->node = nullptr;
  if (--n->references != 0) return;
  for (Value* input : n->inputs) release(input);
  delete n;
}

}  // namespace

void evaluate_pending(const char* op, std::span<Value* const> roots, bool keep, std::span<Value* const> old) {
  auto& tape = tape_of_thread();
  tape.free_orphans();
  keep &= !tape.no_grad;
  List<Value*> work;
  for (Value* v : roots)
    if (!v->evaluated()) work.push_back(v);
  if (work.empty()) return;
  if (!tape.traces.empty())
    fail<TapeError>("{}: a value is needed inside the body of a scan, where there is none yet (return it as y)", op);
  if (tape.running) fail<TapeError>("{}: a plan is running (custom functions must not use the tape)", op);
  for (Value* v : work) {
    if (v->trace != 0) fail<TapeError>("{}: the variable belongs to the body of a scan that has ended (return it as carry or y)", op);
    if (v->tape != &tape) fail<TapeError>("{}: the variable is pending on another thread's tape (evaluate it there first: value())", op);
    if (!v->node) fail<TapeError>("{}: the variable's history was released before it was evaluated", op);
  }
  List<Value*> wanted = work;
  for (Value* v = tape.held; v; v = v->next) work.push_back(v);
  auto found = collect(tape, work, false);
  if (keep) {
    find_reached(found);
    for (Node* n : found.nodes)
      if (keeps_residuals(n)) keep_for_gradient(*n);
  }

  tape.key.clear();
  Numbering numbering{tape.key, found.mark, {}, 0};
  List<CustomCall*> customs;
  for (Node* n : found.nodes) {
    const auto& closures = n->closures();
    if (!closures.empty()) n->attributes[2] = static_cast<std::int64_t>(customs.size());
    for (const auto& closure : closures) customs.push_back(closure.get());
    numbering.node(n, false);
  }
  List<Value*> outputs;
  choose_outputs(found, wanted, keep, found.mark, outputs);
  List<ValueRef> residuals;  // of scans: nobody holds them yet
  for (Node* n : found.nodes)
    if (keep && keeps_residuals(n)) {
      for (std::size_t k = static_cast<std::size_t>(n->body->carries); k < n->types.size(); ++k)
        if (!n->outputs[k] && is_floating(n->types[k].dtype)) {
          residuals.push_back(result(n, static_cast<int>(k)));
          residuals.back()->mark = found.mark;
          residuals.back()->slot = -1;
        }
    }
  if (!residuals.empty()) {  // number again, with the new values in place
    found.mark = tape.next_mark++;
    numbering.restart(found.mark);
    for (Node* n : found.nodes) numbering.node(n, false);
    outputs.clear();
    choose_outputs(found, wanted, keep, found.mark, outputs);
    for (const auto& r : residuals)
      if (r->captured_by != found.mark && !r->evaluated()) outputs.push_back(r.get());
  }
  for (Value* v : outputs) tape.key.push_back(static_cast<std::uint64_t>(v->slot));
  tape.key.push_back(static_cast<std::uint64_t>(threads()));  // which sink looks at
  if (PassSet left_out = passes_left_out()) tape.key.push_back(~std::uint64_t{left_out});
  const GivenUp given_up(found.nodes, numbering.next, numbering.inputs, outputs, roots, old, tape.key);

  List<std::pair<StorageRef, Index>> results;
  try {
    auto plan = find_plan(tape, found, numbering, outputs, given_up);
    Running running(tape);
    results = run_plan(*plan, numbering.inputs, customs, given_up);
    ++tape.statistics.runs;
  } catch (...) {  // what failed is tried again only if it is asked for, not because somebody still holds it
    for (Value* v : outputs)
      if (v->listed) tape.unlist(v);
    throw;
  }
  List<ValueRef> alive;
  for (Value* v : outputs) alive.emplace_back(v);
  for (std::size_t o = 0; o < outputs.size(); ++o) settle(tape, outputs[o], std::move(results[o].first), results[o].second);
  for (const auto& r : residuals) r->node->rest().kept.emplace_back(r->output, r->storage);
  for (Value* v : outputs) forget(v);
  tape.forget_stand_ins();
}

void evaluate_over(std::span<const Variable> results, std::span<const Variable* const> old) {
  List<Value*> roots, given;
  for (const auto& v : results) roots.push_back(v.handle());
  for (const Variable* v : old) given.push_back(v->handle());
  evaluate_pending("evaluate", roots, true, given);
}

void evaluate(const char* op, Value* value) { evaluate_pending(op, std::span<Value* const>(&value, 1), true); }

Pending pending_program(std::span<Value* const> roots, bool through) {
  auto& tape = tape_of_thread();
  Pending result;
  auto found = collect(tape, List<Value*>(roots.begin(), roots.end()), through);
  Key key;
  Numbering numbering{key, found.mark, {}, 0};
  for (Node* n : found.nodes) numbering.node(n, through);
  for (Value* v : roots) numbering.number(v);
  result.outputs.assign(roots.begin(), roots.end());
  result.program = build(found, numbering, result.outputs);
  result.inputs = numbering.inputs;
  return result;
}

}  // namespace rw::detail

namespace rw {

void evaluate(std::span<const Variable> variables) {
  detail::List<detail::Value*> roots;
  for (const auto& v : variables)
    if (!v.empty()) roots.push_back(v.handle());
  detail::evaluate_pending("evaluate", roots, true);
}

std::string dump(std::span<const Variable> variables) {
  detail::List<detail::Value*> roots;
  for (const auto& v : variables) roots.push_back(detail::local("dump", v));
  return to_string(detail::pending_program(roots, true).program);
}

namespace tape {
TapeStatistics statistics() {
  auto& t = detail::tape_of_thread();
  t.statistics.cached = t.plans.size();
  return t.statistics;
}
void clear_plans() {
  auto& t = detail::tape_of_thread();
  t.plans.clear();
  t.plan_use.clear();
}
void set_plan_limit(int plans) {
  if (plans < 1) fail<ValueError>("set_plan_limit: at least one plan must be kept: got {}", plans);
  auto& t = detail::tape_of_thread();
  t.plan_limit = static_cast<std::size_t>(plans);
  t.drop_plans(t.plan_limit);
}
}  // namespace tape

}  // namespace rw

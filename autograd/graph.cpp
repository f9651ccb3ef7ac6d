#include <algorithm>
#include <bit>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

// ---- tapes -----------------------------------------------------------------------------------------------------------------------

namespace {
struct Registry {
  std::mutex guard;
  std::vector<std::unique_ptr<Tape>> all;
  std::vector<Tape*> idle;  // of threads that ended
};
Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

struct Holder {
  Tape* tape;
  Holder() {
    auto& r = registry();
    std::lock_guard lock(r.guard);
    if (r.idle.empty()) {
      tape = r.all.emplace_back(std::make_unique<Tape>()).get();
    } else {
      tape = r.idle.back();
      r.idle.pop_back();
    }
  }
  ~Holder() {
    tape->free_orphans();
    while (tape->held) tape->unlist(tape->held);  // what is still pending is nobody's
    tape->stand_ins.clear();
    tape->plans.clear();
    tape->plan_use.clear();
    tape->drop_bodies(~std::uint64_t{0});  // first what derivatives hold in a ring
    tape->bodies.clear();
    std::lock_guard lock(registry().guard);
    registry().idle.push_back(tape);
  }
};
}  // namespace

Tape& open_tape() {
  thread_local Holder holder;
  return *(tape_here = holder.tape);
}

void Tape::list(Value* value) {
  value->listed = true;
  value->previous = nullptr;
  value->next = held;
  if (held) held->previous = value;
  held = value;
}

void Tape::unlist(Value* value) {
  value->listed = false;
  if (value->previous) value->previous->next = value->next;
  if (value->next) value->next->previous = value->previous;
  if (held == value) held = value->next;
  value->previous = value->next = nullptr;
}

void Tape::free_orphans() {
  if (!any_orphans.exchange(false)) return;
  std::vector<Value*> list;
  {
    std::lock_guard lock(orphans_guard);
    list.swap(orphans);
  }
  for (Value* v : list) drop(v);
}

void Tape::drop_plans(std::size_t most) {
  while (plans.size() > most) {
    plans.erase(*plan_use.back());
    plan_use.pop_back();
  }
}

Value* Tape::rule_constant(double number) {
  constexpr std::size_t most = 16;
  for (const auto& c : rule_constants)
    if (c.trace == serial() && std::bit_cast<std::uint64_t>(c.number) == std::bit_cast<std::uint64_t>(number)) {
      hold(c.value.get());
      return c.value.get();
    }
  Variable fresh = constant(number);
  if (rule_constants.size() == most) rule_constants.erase(rule_constants.begin());
  rule_constants.push_back({number, serial(), ValueRef(fresh.handle())});
  hold(fresh.handle());
  return fresh.handle();
}

void Tape::forget_stand_ins() {
  std::erase_if(stand_ins,
                [](const auto& entry) { return Value::references(entry.second.leaf->counts.load(std::memory_order_acquire)) == 1; });
}

void sort_by_recording(List<Node*>& nodes) {
  if (nodes.size() < 2) return;
  auto [first, last] = std::minmax_element(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
  const std::uint64_t least = (*first)->id, span = (*last)->id - least + 1;
  if (span > 8 * nodes.size()) {
    std::sort(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
    return;
  }
  List<Node*> places(span);  // recorded one soon after the other: each has a place of its own
  for (Node* n : nodes) places[n->id - least] = n;
  std::copy_if(places.begin(), places.end(), nodes.begin(), [](const Node* n) { return n != nullptr; });
}

// ---- counting --------------------------------------------------------------------------------------------------------------------

namespace {
/// Whether that was the last reference.
bool let_go(Value* value) noexcept { return Value::references(value->discount(Value::one_reference)) == 1; }

/// Frees a value and what only it needed. The worklist is linked through the values: nothing is allocated, and it serves while a thread
/// ends. What closures and bodies let go comes back here and joins it. First in, first out, so that a node is on its way from memory while
/// those before it are freed: a step ago it was in the cache.
void destroy(Value* first) noexcept {
  thread_local Value *work = nullptr, *last = nullptr;
  thread_local bool busy = false;
  auto push = [&](Value* value) {
    value->next = nullptr;
    (work ? last->next : work) = value;
    last = value;
    fetch_block(value->node, sizeof(Node));
  };
  push(first);
  if (busy) return;
  busy = true;
  while (work) {
    Value* value = std::exchange(work, work->next);
    Node* node = value->node;
    if (node) node->outputs[value->output] = nullptr;
    if (value->origin && let_go(value->origin)) push(value->origin);
    delete value;
    if (!node || --node->references != 0) continue;
    for (Value* input : node->inputs)
      if (let_go(input)) push(input);
    delete node;
  }
  busy = false;
}

bool pending_here(const Value* value) { return value->trace == 0 && !value->evaluated() && value->node; }
}  // namespace

void release(Value* value) noexcept {
  if (let_go(value)) destroy(value);
}

ValueRef::~ValueRef() {
  if (value_) release(value_);
}

void hold(Value* value) noexcept {
  const auto before = value->count(Value::one_handle);
  if (Value::handles(before) == 0 && !value->listed && pending_here(value) && value->tape == &tape_of_thread()) value->tape->list(value);
}

void drop(Value* value) noexcept {
  if (value->recorded && value->tape != &tape_of_thread()) {  // the graph is another thread's: it will drop the handle
    std::lock_guard lock(value->tape->orphans_guard);
    value->tape->orphans.push_back(value);
    value->tape->any_orphans = true;
    return;
  }
  const bool listed = value->listed;  // false of leaves, which other threads may free once this reference is gone
  const auto before = value->discount(Value::one_handle);
  if (listed && Value::handles(before) == 1) value->tape->unlist(value);
  if (Value::references(before) == 1) destroy(value);
}

namespace {
const Closures no_closures;
}
void Node::add_output(const Type& type) {
  auto& all = rest().types;
  if (all.empty()) all.assign(types.begin(), types.end());
  all.push_back(type);
  types = all;
  outputs.push_back(nullptr);
}

const Closures& Node::closures() const { return more ? more->closures : no_closures; }

Tensor Value::tensor() const {
  if (number_set) return Tensor::full(Shape{}, number, type.dtype);
  return Tensor(storage, type.shape, contiguous_strides(type.shape), offset / size_of(type.dtype), type.dtype);
}

Variable handle(Value* value) {
  hold(value);
  return Variable::adopt(value);
}

ValueRef result(Node* node, int i) {
  if (Value* there = node->outputs[i]) return ValueRef(there);
  auto* value = new Value(node->types[i]);
  value->node = node;
  value->output = i;
  value->recorded = true;
  value->trace = node->trace;
  value->tape = &tape_of_thread();
  value->id = node->id;
  ++node->references;
  node->outputs[i] = value;
  if (node->more)
    for (const auto& [output, storage] : node->more->kept)
      if (output == i) value->storage = storage;
  ValueRef reference(value);
  value->discount(Value::one_reference);
  return reference;
}

// ---- recording -------------------------------------------------------------------------------------------------------------------

namespace {
Value* capture(Trace& trace, Value* outer, Tape& tape) {
  if (outer->captured_by == trace.serial) return outer->captured;
  auto* inner = new Value(outer->type);
  inner->trainable = outer->trainable;
  inner->trace = trace.serial;
  inner->tape = &tape;
  inner->id = tape.next_id++;
  trace.captures.emplace_back(inner);
  inner->discount(Value::one_reference);
  trace.captured.emplace_back(outer);
  outer->captured_by = trace.serial;
  outer->captured = inner;
  return inner;
}

/// This thread's leaf for an evaluated value of another thread.
Value* stand_in(Value* foreign, Tape& tape) {
  auto& entry = tape.stand_ins[foreign];
  if (!entry.leaf || entry.of != foreign->tape || entry.id != foreign->id) {
    auto* leaf = new Value(foreign->type);
    entry = {foreign->tape, foreign->id, ValueRef(leaf)};
    leaf->discount(Value::one_reference);
    leaf->storage = foreign->storage;
    leaf->offset = foreign->offset;
    leaf->number = foreign->number;
    leaf->number_set = foreign->number_set;
    leaf->tape = &tape;
    leaf->id = tape.next_id++;
    if (!foreign->recorded) {
      leaf->origin = foreign;
      foreign->count(Value::one_reference);
      leaf->trainable = foreign->trainable;
    }
  }
  return entry.leaf.get();
}
}  // namespace

Value* local(const char* op, const Variable& variable) {
  Value* value = variable.handle();
  if (!value) fail<TapeError>("{}: an operand is an empty Variable (give it a value first)", op);
  auto& tape = tape_of_thread();
  if (value->trace == tape.serial() && value->tape == &tape) return value;
  std::size_t level = 0;  // traces[level] is the first that must capture
  if (value->trace != 0) {
    while (level < tape.traces.size() && tape.traces[level]->serial != value->trace) ++level;
    if (level++ == tape.traces.size())
      fail<TapeError>("{}: an operand belongs to the body of a scan that has ended (return it from the body as carry or y)", op);
  } else if (value->tape != &tape) {
    if (!value->evaluated()) fail<TapeError>("{}: an operand is pending on another thread's tape (evaluate it there first: value())", op);
    value = stand_in(value, tape);
  }
  for (; level < tape.traces.size(); ++level) value = capture(*tape.traces[level], value, tape);
  return value;
}

namespace {
Node* new_node(Tape& tape, const Operator& op, const Attributes& attributes, std::span<Value* const> inputs, std::size_t results) {
  auto* node = new Node;
  node->op = &op;
  node->attributes = attributes;
  node->history = !tape.no_grad;
  node->id = tape.next_id++;
  node->trace = tape.serial();
  for (Value* input : inputs) input->count(Value::one_reference);
  node->inputs.assign(inputs);
  node->outputs.assign(results, nullptr);
  node->references = static_cast<int>(results);
  ++tape.statistics.records;
  return node;
}

bool trains(const Node& node) {
  return node.history && std::any_of(node.inputs.begin(), node.inputs.end(), [](const Value* v) { return v->trainable; });
}

Variable new_result(Tape& tape, Node* node, std::size_t i, const Type& type, bool trainable) {
  auto* value = new Value(type);
  value->trainable = trainable && is_floating(value->type.dtype);
  value->trace = node->trace;
  value->id = node->id;
  value->tape = &tape;
  value->node = node;
  value->output = static_cast<int>(i);
  value->recorded = true;
  value->counts.store(Value::one_handle, std::memory_order_relaxed);
  node->outputs[i] = value;
  if (node->outputs.size() == 1) node->types = std::span(&value->type, 1);
  if (value->trace == 0) tape.list(value);
  return Variable::adopt(value);
}
}  // namespace

List<Variable> record(const Operator& op, const Attributes& attributes, List<Value*> inputs, List<Type> types,
                      std::shared_ptr<const Body> body, Closures closures) {
  auto& tape = tape_of_thread();
  Node* node = new_node(tape, op, attributes, inputs, types.size());
  node->body = std::move(body);
  if (!closures.empty()) node->rest().closures = std::move(closures);
  const bool trainable = trains(*node);
  List<Variable> handles;
  handles.reserve(types.size());
  for (std::size_t i = 0; i < types.size(); ++i) handles.push_back(new_result(tape, node, i, types[i], trainable));
  if (types.size() != 1) node->types = node->rest().types = std::move(types);
  return handles;
}

Variable record_one(const Operator& op, const Attributes& attributes, std::span<Value* const> inputs, const Type& type) {
  auto& tape = tape_of_thread();
  Node* node = new_node(tape, op, attributes, inputs, 1);
  return new_result(tape, node, 0, type, trains(*node));
}

Value* record_number(double number) {
  auto& tape = tape_of_thread();
  if (tape.in_rule) return tape.rule_constant(number);
  auto* value = new Value({DType::f64, Shape{}, true});
  value->number = number;
  value->number_set = true;
  value->tape = &tape;
  value->counts.store(Value::one_handle, std::memory_order_relaxed);
  value->id = tape.next_id++;
  return value;
}

RuleScope::RuleScope(bool rules) : before_(std::exchange(tape_of_thread().in_rule, rules)) {}
RuleScope::~RuleScope() {
  auto& tape = tape_of_thread();
  tape.in_rule = before_;
  if (!before_) tape.rule_constants.clear();
}

void attach(const Variable& leaf, Place* place) {
  Value* value = leaf.handle();
  value->place = place;
  value->trainable = place != nullptr;
}

}  // namespace rw::detail

#include <rewind/autograd/trace.hpp>

#include <algorithm>
#include <rewind/autograd/operator.hpp>

namespace rw::detail {

namespace {
/// f(node, its attributes in the program) for each node: the closures that it calls are counted from the program's first.
template <class F>
void each_instruction(const Recorded& recorded, F f) {
  std::int64_t closures = 0;
  for (const Node* n : recorded.nodes) {
    Attributes attributes = n->attributes;
    if (const auto& own = n->closures(); !own.empty()) {
      attributes[2] = closures;
      closures += static_cast<std::int64_t>(own.size());
    }
    f(*n, attributes);
  }
}
}  // namespace

Program to_program(const Recorded& recorded) {
  Program p;
  p.types.reserve(static_cast<std::size_t>(recorded.values));
  p.code.reserve(recorded.nodes.size());
  for (const Value* v : recorded.inputs) p.add_input(v->type);
  each_instruction(recorded, [&](const Node& n, const Attributes& attributes) {
    Instruction i;
    i.op = n.op;
    i.attributes = attributes;
    i.body = n.body;
    i.history = n.history;
    for (const Value* v : n.inputs) i.inputs.push_back(v->slot);
    i.first = static_cast<int>(p.types.size());
    i.count = static_cast<int>(n.types.size());
    p.types.insert(p.types.end(), n.types.begin(), n.types.end());
    p.code.push_back(std::move(i));
  });
  for (const Value* v : recorded.outputs) p.outputs.push_back(v->slot);
  return p;
}

void append_key(Key& key, const Recorded& recorded) {
  append_key_sizes(key, recorded.inputs.size(), recorded.nodes.size());
  for (const Value* v : recorded.inputs) append_key(key, v->type);
  each_instruction(recorded, [&](const Node& n, const Attributes& attributes) {
    append_key(key, *n.op, attributes, n.body.get(), n.inputs.size(), n.types.size(), n.history);
    append_key_operands(key, n.inputs, [](const Value* v) { return v->slot; });
    for (const Type& t : n.types) append_key(key, t);
  });
  for (const Value* v : recorded.outputs) key.push_back(static_cast<std::uint64_t>(v->slot));
}

OpenTrace::OpenTrace() : tape_(tape_of_thread()) {
  trace_.serial = tape_.next_mark++;
  tape_.traces.push_back(&trace_);
}

OpenTrace::~OpenTrace() { close(); }

void OpenTrace::close() {
  if (!open_) return;
  open_ = false;
  std::erase(tape_.traces, &trace_);
}

Variable OpenTrace::parameter(const Type& type) {
  auto* value = new Value(type);
  value->trainable = is_floating(type.dtype);
  value->trace = trace_.serial;
  value->tape = &tape_;
  value->id = tape_.next_id++;
  value->counts.store(Value::one_handle, std::memory_order_relaxed);
  trace_.parameters.emplace_back(value);
  return Variable::adopt(value);
}

Recorded OpenTrace::record(std::span<const Variable> outputs, bool all_captures, List<ValueRef>* captured) {
  Recorded r;
  for (const auto& v : outputs) r.outputs.push_back(local("scan", v));
  std::uint64_t mark = tape_.next_mark++;
  auto visit = [&](Value* v) {
    if (!v->node) {
      v->mark = mark;
      v->slot = -1;
    } else if (v->node->mark != mark) {
      v->node->mark = mark;
      r.nodes.push_back(v->node);
    }
  };
  for (Value* v : r.outputs) visit(v);
  for (std::size_t i = 0; i < r.nodes.size(); ++i)
    for (Value* v : r.nodes[i]->inputs) visit(v);
  sort_by_recording(r.nodes);
  auto number = [&](Value* v) {
    v->mark = mark;
    v->slot = r.values++;
  };
  auto bind = [&](Value* v) {
    number(v);
    r.inputs.push_back(v);
  };
  for (const auto& v : trace_.parameters) bind(v.get());
  for (std::size_t c = 0; c < trace_.captures.size(); ++c) {
    Value* v = trace_.captures[c].get();
    if (v->mark != mark && !all_captures) continue;
    bind(v);
    captured->push_back(trace_.captured[c]);
  }
  for (const Node* n : r.nodes) {
    r.closures.insert(r.closures.end(), n->closures().begin(), n->closures().end());
    for (Value* v : n->outputs) {
      if (v)
        number(v);
      else
        ++r.values;
    }
  }
  return r;
}

}  // namespace rw::detail

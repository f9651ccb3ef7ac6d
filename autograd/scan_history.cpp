// What a scan keeps of its steps for the gradient: further ys.
#include <rewind/autograd/scan_derivative.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/autograd/trace.hpp>
#include <utility>
#include <vector>

namespace rw::detail {

List<int> add_ys(Node& node, const List<int>& body_values, const Program* forward) {
  const Body& body = *node.body;
  const Program& base = forward ? *forward : body.program;
  List<int> results, outputs(base.outputs.begin(), base.outputs.end());
  for (int v : body_values) {
    int at = -1;
    for (std::size_t o = static_cast<std::size_t>(body.carries); o < outputs.size(); ++o)
      if (outputs[o] == v) at = static_cast<int>(o);
    if (at < 0) {
      at = static_cast<int>(outputs.size());
      outputs.push_back(v);
    }
    results.push_back(at);
  }
  if (outputs.size() == base.outputs.size()) return results;
  const std::pair key{forward, body_values};
  auto grown = body.closures ? nullptr : cache_of(body).grown[key];
  if (!grown) {
    Program program = base;
    program.outputs.assign(outputs.begin(), outputs.end());
    grown = intern_body(std::move(program), body.carries, body.xs);
    if (!body.closures) cache_of(body).grown[key] = grown;
  }
  grown->used = tape_of_thread().next_mark;
  for (std::size_t o = base.outputs.size(); o < outputs.size(); ++o) {
    Type type = base.types[outputs[o]];
    type.shape.insert(0, node.attributes[1]);
    node.add_output(type);
  }
  node.body = grown;
  return results;
}

namespace {

/// All gradients that there can be.
Wish whole_wish(const Body& body) {
  const Program& p = body.program;
  Wish wish;
  for (int v : p.outputs) wish.incoming.push_back(is_floating(p.types[v].dtype));
  for (int v : p.inputs) wish.wanted.push_back(is_floating(p.types[v].dtype) && !p.types[v].weak);
  return wish;
}

}  // namespace

Index history_of_step(const Body& body, const Closures& closures) {
  auto d = derivative_of(body, closures, whole_wish(body));
  const Program& p = d->forward ? *d->forward : body.program;
  Index bytes = 0;
  std::vector<char> counted(p.types.size());
  auto count = [&](int v) {
    if (!std::exchange(counted[v], 1)) bytes += p.types[v].shape.size() * size_of(p.types[v].dtype);
  };
  for (int v : d->residuals) count(v);
  for (const auto& i : p.code)
    if (i.op->heavy())
      for (int k = 0; k < i.count; ++k) count(i.first + k);
  return bytes;
}

void keep_for_gradient(Node& node) {
  const Body& body = *node.body;
  Wish wish = whole_wish(body);
  wish.of(node);
  auto d = derivative_of(body, node.closures(), wish);
  add_ys(node, d->residuals, d->forward.get());
}

}  // namespace rw::detail

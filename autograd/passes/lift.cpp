#include <algorithm>
#include <rewind/autograd/passes/lift.hpp>

namespace rw::detail {

bool differs_by_step(const Instruction& c) {
  return c.op == &random_operator || (c.body && std::any_of(c.body->program.code.begin(), c.body->program.code.end(), differs_by_step));
}

std::vector<Depends> dependence(const Body& body) {
  const Program& p = body.program;
  std::vector<Depends> depends(p.types.size(), Depends::constant);
  for (int i = 0; i < body.carries; ++i) depends[p.inputs[i]] = Depends::carry;
  for (int i = body.carries; i < body.carries + body.xs; ++i) depends[p.inputs[i]] = Depends::x;
  for (const auto& c : p.code) {
    Depends d = differs_by_step(c) ? Depends::x : Depends::constant;
    for (int v : c.inputs) d = std::max(d, depends[v]);
    for (int k = 0; k < c.count; ++k) depends[c.first + k] = d;
  }
  return depends;
}

bool Lifter::lift(const Instruction& c) {
  std::vector<int> inputs;
  std::vector<bool> lifted;
  bool any = differs_by_step(c);
  for (int v : c.inputs) {
    if (outer_[v] < 0) return false;
    inputs.push_back(outer_[v]);
    lifted.push_back(lifted_[v] != 0);
    any |= lifted_[v] != 0;
  }
  int first;
  if (any) {
    if (c.body || c.count != 1) return false;
    Lift l{outer_program_, body_, c, std::move(inputs), std::move(lifted), scan_[1], StepNumbers(scan_)};
    first = c.op->lift(l);
    if (first < 0) return false;
  } else {
    std::vector<Type> types(body_.types.begin() + c.first, body_.types.begin() + c.first + c.count);
    Attributes attributes = c.attributes;
    if (c.op->closures(c.body.get())) attributes[2] += scan_[2];
    first = outer_program_.append(*c.op, attributes, std::move(inputs), types, c.body);
  }
  for (int k = 0; k < c.count; ++k) {
    outer_[c.first + k] = first + k;
    lifted_[c.first + k] = any;
  }
  return true;
}

}  // namespace rw::detail

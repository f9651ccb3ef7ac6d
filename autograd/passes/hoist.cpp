// Hoist: what a body computes from x_t and constants alone leaves the loop. Products of x_t, with all that they need, run once over all
// steps; what depends on constants alone runs once. Cheap elementwise work on x_t stays inside, where it fuses.
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/lift.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

/// Instructions to move: heavy ones that need no carry, whatever needs constants alone, and what these read.
std::vector<char> chosen(const Body& body, const std::vector<Depends>& depends, const std::vector<int>& made) {
  const Program& p = body.program;
  std::vector<char> move(p.code.size());
  for (std::size_t i = p.code.size(); i-- > 0;) {
    const auto& c = p.code[i];
    Depends d = depends[c.first];
    if (d == Depends::carry || c.op == &constant_operator) continue;
    if (d == Depends::x && !c.op->heavy() && !move[i]) continue;
    if (d == Depends::constant && c.op->cheap(c) && !move[i] && p.types[c.first].shape.size() <= 1) continue;
    move[i] = 1;
    for (int v : c.inputs)
      if (made[v] >= 0) move[made[v]] = 1;
  }
  return move;
}

/// Moves what can be moved of a scan's body into `to`, where the scan itself, `result`, will follow.
void hoist_one(const Instruction& scan, Program& to, Instruction& result) {
  const Body& body = *scan.body;
  const Program& p = body.program;
  auto depends = dependence(body);
  auto made = producers(p);
  auto move = chosen(body, depends, made);
  Lifter lifter(to, p, scan.attributes);
  for (std::size_t i = 0; i < p.inputs.size(); ++i)
    if (static_cast<int>(i) >= body.carries) lifter.bind(p.inputs[i], result.inputs[i], static_cast<int>(i) < body.carries + body.xs);
  bool any = false;
  for (std::size_t i = 0; i < p.code.size(); ++i)
    if (move[i]) any |= lifter.lift(p.code[i]) && p.code[i].op != &constant_operator;
  if (!any) return;

  // What the rest of the body reads of the moved values enters as xs or captures.
  std::vector<char> read(p.types.size());
  for (std::size_t i = 0; i < p.code.size(); ++i)
    if (!lifter.has(p.code[i].first) || p.code[i].op == &constant_operator)
      for (int v : p.code[i].inputs) read[v] = 1;
  for (int v : p.outputs) read[v] = 1;
  Program rest;
  rest.types = p.types;
  rest.outputs = p.outputs;
  std::vector<int> xs(result.inputs.begin() + body.carries, result.inputs.begin() + body.carries + body.xs);
  std::vector<int> captures(result.inputs.begin() + body.carries + body.xs, result.inputs.end());
  std::vector<int> inner_xs(p.inputs.begin() + body.carries, p.inputs.begin() + body.carries + body.xs);
  std::vector<int> inner_captures(p.inputs.begin() + body.carries + body.xs, p.inputs.end());
  for (const auto& c : p.code) {
    if (!lifter.has(c.first) || c.op == &constant_operator) {
      rest.code.push_back(c);
      continue;
    }
    for (int k = 0; k < c.count; ++k) {
      int v = c.first + k;
      if (!read[v]) continue;
      (lifter.lifted(v) ? inner_xs : inner_captures).push_back(v);
      (lifter.lifted(v) ? xs : captures).push_back(lifter.outer(v));
    }
  }
  rest.inputs.assign(p.inputs.begin(), p.inputs.begin() + body.carries);
  rest.inputs.insert(rest.inputs.end(), inner_xs.begin(), inner_xs.end());
  rest.inputs.insert(rest.inputs.end(), inner_captures.begin(), inner_captures.end());
  result.inputs.resize(static_cast<std::size_t>(body.carries));
  result.inputs.insert(result.inputs.end(), xs.begin(), xs.end());
  result.inputs.insert(result.inputs.end(), captures.begin(), captures.end());
  compact(rest, std::vector<char>(rest.code.size(), 1));
  result.body = make_body(std::move(rest), body.carries, static_cast<int>(xs.size()));
}

}  // namespace

void hoist(Program& program) {
  const bool any = rewrite_loops(program, [](const Instruction& was, Instruction& now, Program& to, std::vector<int>&) {
    hoist_one(was, to, now);
    return false;
  });
  if (any) remove_dead_code(program);
}

}  // namespace rw::detail

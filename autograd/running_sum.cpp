#include <rewind/autograd/running_sum.hpp>

#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

bool is_add(const Instruction& i) { return i.op == &elementwise_operator(op::code<op::Add>); }

/// Whether all that a loop does to its c-th carry is to add to it, step after step, and nothing else reads it.
bool adds_up(const Body& body, int c) {
  if (c >= body.carries) return false;
  const Program& p = body.program;
  const auto made = producers(p);
  const auto uses = count_uses(p);
  const int in = p.inputs[c];
  if (uses[in] != 1 || p.outputs[c] == in) return false;
  for (int v = p.outputs[c]; v != in;) {
    if (uses[v] != 1 || made[v] < 0) return false;
    const Instruction& i = p.code[made[v]];
    const int at = v - i.first;
    if (!is_add(i) && !(i.op == &scan_operator && adds_up(*i.body, at))) return false;
    v = i.inputs[at];
  }
  return true;
}

/// The same of a sum that is read `readers` times.
int continued(Program& p, int accumulator, int sum, bool of_two, int readers) {
  const auto made = producers(p);
  const auto uses = count_uses(p);
  if (made[sum] < 0 || uses[sum] != readers) return -1;
  Instruction& i = p.code[made[sum]];
  if (of_two && is_add(i)) {
    const int first = i.inputs[0], second = i.inputs[1];
    if (made[first] > made[second] || continued(p, accumulator, first, false, 1) < 0) return -1;
    return continued(p, first, second, false, 1) < 0 ? sum : second;
  }
  const int c = sum - i.first;
  if (i.op != &scan_operator || !adds_up(*i.body, c) || !zero_constant(p, made, i.inputs[c])) return -1;
  i.inputs[c] = accumulator;
  return sum;
}

}  // namespace

int continued_sum(Program& program, int accumulator, int sum, bool of_two) { return continued(program, accumulator, sum, of_two, 0); }

void remove_unread_additions(Program& program) {
  const auto uses = count_uses(program);
  std::vector<char> keep;
  for (const auto& i : program.code) keep.push_back(!is_add(i) || uses[i.first] > 0);
  compact(program, keep);
}

}  // namespace rw::detail

#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

void run_passes(Program& program) {
  remove_dead_code(program);
  merge_common(program);
  roll(program);
  chunk(program);
  hoist(program);
  sink(program);
  gather_product(program);
  merge_common(program);
  push_slices(program);
  merge_common(program);
  remove_dead_code(program);
  fuse(program);
}

bool is_computed(const Operator& op) {
  for (const Operator* view :
       {&reshape_operator, &transpose_operator, &broadcast_operator, &slice_operator, &constant_operator, &detach_operator, &flip_operator})
    if (view == &op) return false;
  return true;
}

void compact(Program& program, const std::vector<char>& keep) {
  std::vector<int> number(program.types.size(), -1);
  Program result;
  result.types.reserve(program.types.size());
  result.code.reserve(program.code.size());
  for (int v : program.inputs) number[v] = result.add_input(program.types[v]);
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    if (!keep[i]) continue;
    Instruction& instruction = program.code[i];
    for (int& v : instruction.inputs) v = number[v];
    int first = static_cast<int>(result.types.size());
    for (int k = 0; k < instruction.count; ++k) number[instruction.first + k] = result.add_value(program.types[instruction.first + k]);
    instruction.first = first;
    result.code.push_back(std::move(instruction));
  }
  for (int v : program.outputs) result.outputs.push_back(number[v]);
  program = std::move(result);
}

}  // namespace rw::detail

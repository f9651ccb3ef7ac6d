// Row sums: where the rows of what a product over time has on its right are summed too, as those of a gradient are for a bias, the product
// makes the sum, for it has the rows at hand. It stands where the first of the two stood.
#include <algorithm>
#include <numeric>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

constexpr std::size_t operands = 2;  // of a product; a third continues it

/// Whether all that an instruction reads is there before instruction `place`.
bool ready(const Instruction& c, const std::vector<int>& made, int place) {
  return std::all_of(c.inputs.begin(), c.inputs.end(), [&](int v) { return made[v] < place; });
}

/// Whether the sum can be made with the product: in the same order, and both from zero or both continued.
bool alike(const Program& program, const Instruction& product, const Instruction& sum) {
  return product.attributes[0] == sum.attributes[0] && product.inputs.size() - operands == sum.inputs.size() - 1 &&
         program.types[product.first].dtype == program.types[sum.first].dtype;
}

}  // namespace

void take_row_sums(Program& program) {
  const auto made = producers(program);
  std::vector<int> sum_of(program.types.size(), -1), number(program.types.size());  // the instruction that sums each value's rows
  std::iota(number.begin(), number.end(), 0);
  for (std::size_t i = 0; i < program.code.size(); ++i)
    if (const auto& c = program.code[i]; c.op == &sum_steps_operator) sum_of[c.inputs[0]] = static_cast<int>(i);
  std::vector<char> keep(program.code.size(), 1);
  for (int i = 0; i < static_cast<int>(program.code.size()); ++i) {
    const Instruction product = program.code[i];
    if (product.op != &matmul_steps_operator) continue;
    const int s = sum_of[product.inputs[1]], place = std::min(i, s);
    if (s < 0 || !alike(program, product, program.code[s]) || !ready(product, made, place) || !ready(program.code[s], made, place))
      continue;
    const Instruction sum = program.code[s];
    sum_of[product.inputs[1]] = -1;
    Instruction both = product;
    both.attributes[1] = 1;
    both.inputs.insert(both.inputs.end(), sum.inputs.begin() + 1, sum.inputs.end());
    both.first = number[product.first] = program.add_value(Type(program.types[product.first]));
    number[sum.first] = program.add_value(Type(program.types[sum.first]));
    both.count = 2;
    program.code[place] = std::move(both);
    keep[std::max(i, s)] = 0;
  }
  if (std::all_of(keep.begin(), keep.end(), [](char k) { return k != 0; })) return;
  const auto renumbered = [&](int v) { return v < static_cast<int>(number.size()) ? number[v] : v; };
  for (auto& c : program.code)
    for (int& v : c.inputs) v = renumbered(v);
  for (int& v : program.outputs) v = renumbered(v);
  compact(program, keep);
}

}  // namespace rw::detail

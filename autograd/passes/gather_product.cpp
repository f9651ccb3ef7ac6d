// Products of gathered rows: matmul(gather(E, i), W) becomes gather(matmul(E, W), i) where E has fewer rows than are gathered, as the
// embedding of a character model has. A row of a product is made of its left row alone, so the bits are the same.
// (Its gradient sums rows by index first. That changes bits, so it is decided when the gradient is recorded: gathered.hpp.)
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

void gather_product(Program& program) {
  auto made = producers(program);
  std::vector<Instruction> code;
  code.reserve(program.code.size());
  bool any = false;
  for (const auto& c : program.code) {
    int g = c.op == &matmul_operator && !c.attributes[0] ? made[c.inputs[0]] : -1;
    if (g < 0 || program.code[g].op != &gather_operator || program.types[c.inputs[1]].shape.rank() != 2) {
      code.push_back(c);
      continue;
    }
    const auto& gather = program.code[g];
    const Type table = program.types[gather.inputs[0]], index = program.types[gather.inputs[1]], result = program.types[c.first];
    if (table.shape.rank() != 2 || table.shape[0] >= index.shape.size()) {
      code.push_back(c);
      continue;
    }
    Instruction product = c, rows = gather;
    product.inputs[0] = gather.inputs[0];
    product.first = program.add_value({result.dtype, Shape{table.shape[0], result.shape.back()}});
    rows.inputs[0] = product.first;
    rows.first = c.first;
    code.push_back(std::move(product));
    code.push_back(std::move(rows));
    any = true;
  }
  if (!any) return;
  program.code = std::move(code);
  remove_dead_code(program);
}

}  // namespace rw::detail

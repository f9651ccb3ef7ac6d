// Chunks of time: what hoist and sink move out of a loop is stacked over all of its steps. Where that is much memory, the loop becomes a
// loop over chunks of time whose body is the loop over one chunk, and what moves then moves to the chunk's side: memory is bounded, and a
// chunk's products are still large. Values keep their bits: rows are independent, and sums continue from chunk to chunk.
#include <algorithm>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

Index bytes_of(const Type& type) { return type.shape.size() * size_of(type.dtype); }

Type in_chunks(Type type, Index extent) {
  type.shape.insert(0, type.shape[0] / extent);
  type.shape[1] = extent;
  return type;
}

/// Bytes that a scan's products would stack, beside its own inputs and results.
Index stacked_bytes(const Instruction& scan, const Program& program) {
  Program alone;
  std::vector<int> inputs;
  for (int v : scan.inputs) inputs.push_back(alone.add_input(program.types[v]));
  const std::vector<Type> types(program.types.begin() + scan.first, program.types.begin() + scan.first + scan.count);
  const int first = alone.append(scan_operator, scan.attributes, std::move(inputs), types, scan.body);
  for (int k = 0; k < scan.count; ++k) alone.outputs.push_back(first + k);
  hoist(alone);
  sink(alone);
  std::vector<char> counted(alone.types.size());  // what elementwise work hands to its kind or to a sum is not written
  for (const auto& c : alone.code)
    for (int v : c.inputs) counted[v] |= elementwise_code(*c.op) < 0 && c.op != &sum_steps_operator;
  for (const auto& c : alone.code)
    if (elementwise_code(*c.op) < 0)
      for (int k = 0; k < c.count; ++k) counted[c.first + k] = 1;
  for (int v : alone.outputs) counted[v] = 0;
  Index bytes = 0;
  for (const auto& c : alone.code)
    for (int v = c.first; v < c.first + c.count; ++v) {
      const Shape& s = alone.types[v].shape;
      if (counted[v] && is_computed(*c.op) && s.rank() && s[0] == scan.attributes[1]) bytes += bytes_of(alone.types[v]);
    }
  return bytes;
}

/// Steps of a chunk: a divisor of all steps, so that chunks are equal; all steps if there is no need, or no divisor to speak of.
Index extent_of(const Instruction& scan, const Program& program, Index budget, Index least_chunk) {
  const Index steps = scan.attributes[1];
  if (steps < 2 * least_chunk) return steps;
  const Index bytes = stacked_bytes(scan, program);
  if (bytes <= budget) return steps;
  const Index most = std::max(least_chunk, budget / (bytes / steps));
  for (Index extent = std::min(most, steps / 2); extent >= least_chunk; --extent)
    if (steps % extent == 0) return extent;
  return steps;
}

/// The scan over chunks; gives its first result, those of `was` with time in chunks. `now` has the operands as they are in `to`.
int append_chunks(Program& to, const Instruction& was, const Instruction& now, const Program& program, Index extent) {
  const Body& body = *was.body;
  std::vector<int> inputs = now.inputs;
  for (int x = body.carries; x < body.carries + body.xs; ++x)
    inputs[x] = to.append(reshape_operator, {}, {inputs[x]}, in_chunks(to.types[inputs[x]], extent));
  std::vector<Type> types(program.types.begin() + was.first, program.types.begin() + was.first + was.count);
  for (int y = body.carries; y < was.count; ++y) types[y] = in_chunks(types[y], extent);
  const auto outer = make_body(over_chunk(was.body, was.attributes[0], extent), body.carries, body.xs);
  return to.append(scan_operator, {was.attributes[0], was.attributes[1] / extent, was.attributes[2], 1}, std::move(inputs), types, outer);
}

}  // namespace

Program over_chunk(const std::shared_ptr<const Body>& body, bool reverse, Index extent) {
  const Program& step = body->program;
  Program program;
  std::vector<int> inputs;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    Type type = step.types[step.inputs[i]];
    auto k = static_cast<int>(i);
    if (k >= body->carries && k < body->carries + body->xs) type.shape.insert(0, extent);
    inputs.push_back(program.add_input(type));
  }
  std::vector<Type> types;
  for (std::size_t o = 0; o < step.outputs.size(); ++o) {
    types.push_back(step.types[step.outputs[o]]);
    if (static_cast<int>(o) >= body->carries) types.back().shape.insert(0, extent);
  }
  int first = program.append(scan_operator, {reverse, extent}, std::move(inputs), types, body);
  for (std::size_t o = 0; o < types.size(); ++o) program.outputs.push_back(first + static_cast<int>(o));
  return program;
}

void chunk(Program& program) {
  constexpr Index budget = Index(32) << 20, least_chunk = 4;
  chunk_within(program, budget, least_chunk);
}

void chunk_within(Program& program, Index budget, Index least_chunk) {
  rewrite_loops(program, [&](const Instruction& was, Instruction& now, Program& to, std::vector<int>& number) {
    const Index extent = was.attributes[3] ? was.attributes[1] : extent_of(was, program, budget, least_chunk);
    if (extent == was.attributes[1]) return false;
    const int first = append_chunks(to, was, now, program, extent);
    for (int k = 0; k < was.count; ++k) {
      const bool stacked = k >= was.body->carries;
      number[was.first + k] = stacked ? to.append(reshape_operator, {}, {first + k}, program.types[was.first + k]) : first + k;
    }
    return true;
  });
}

}  // namespace rw::detail

// Chunks of time: what hoist and sink move out of a loop is stacked over all of its steps. Where that is much memory, the loop becomes a
// loop over chunks of time whose body is the loop over one chunk, and what moves then moves to the chunk's side: memory is bounded, and a
// chunk's products are still large. What is left over is a chunk of its own, behind. Values keep their bits: rows are independent, and
// sums continue from chunk to chunk.
#include <algorithm>
#include <bit>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/scan_operator.hpp>

namespace rw::detail {

namespace {

Index bytes_of(const Type& type) { return type.shape.size() * size_of(type.dtype); }

Type with_time(Type type, Index steps) {
  type.shape.insert(0, steps);
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
    for (int v : c.inputs) counted[v] |= elementwise_code(*c.op) < 0 && !sums_rows(*c.op);
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

/// Steps of a chunk, as even as can be; all steps if there is no need.
Index extent_of(const Instruction& scan, const Program& program, Index budget, Index least_chunk) {
  const Index steps = scan.attributes[1];
  if (steps < 2 * least_chunk) return steps;
  const Index bytes = stacked_bytes(scan, program);
  if (bytes <= budget) return steps;
  const Index most = std::clamp(budget / (bytes / steps), least_chunk, steps - 1), chunks = (steps + most - 1) / most;
  return std::max(least_chunk, (steps + chunks - 1) / chunks);
}

/// The steps of a stretch: [steps, ..] in chunks, and back.
int to_chunks(Program& to, int v, const Stretch& s) {
  Type type = to.types[v];
  type.shape[0] = s.extent;
  return to.append(reshape_operator, {}, {v}, with_time(type, s.count));
}
int to_steps(Program& to, int v, const Stretch& s) {
  Type type = to.types[v];
  type.shape.erase(0);
  type.shape[0] = s.count * s.extent;
  return to.append(reshape_operator, {}, {v}, type);
}

/// Those steps of a value that has all of them.
int steps_of(Program& to, int v, const Stretch& s) {
  Type type = to.types[v];
  const Index extent = s.count * s.extent;
  if (type.shape[0] == extent) return v;
  type.shape[0] = extent;
  const int start = to.append(constant_operator, {std::bit_cast<std::int64_t>(static_cast<double>(s.begin))}, {}, {DType::f64, {}, true});
  return to.append(slice_operator, {0, extent}, {v, start}, type);
}

/// Appends a program; gives the values of its outputs. Its closures stand from `closures` on.
std::vector<int> append_program(Program& to, const Program& from, const std::vector<int>& inputs, Index closures) {
  std::vector<int> number(from.types.size(), -1), outputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) number[from.inputs[i]] = inputs[i];
  for (Instruction c : from.code) {
    for (int& v : c.inputs) v = number[v];
    if (c.op->closures(c.body.get())) c.attributes[2] += closures;
    const int first = static_cast<int>(to.types.size());
    for (int k = 0; k < c.count; ++k) number[c.first + k] = to.add_value(from.types[c.first + k]);
    c.first = first;
    to.code.push_back(std::move(c));
  }
  for (int v : from.outputs) outputs.push_back(number[v]);
  return outputs;
}

}  // namespace

Program over_chunk(const std::shared_ptr<const Body>& body, bool reverse, Index extent) {
  const Program& step = body->program;
  Program program;
  std::vector<int> inputs;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    const Type& type = step.types[step.inputs[i]];
    auto k = static_cast<int>(i);
    const bool x = k >= body->carries && k < body->carries + body->xs;
    inputs.push_back(program.add_input(x ? with_time(type, extent) : type));
  }
  std::vector<Type> types;
  for (std::size_t o = 0; o < step.outputs.size(); ++o) {
    const Type& type = step.types[step.outputs[o]];
    types.push_back(static_cast<int>(o) < body->carries ? type : with_time(type, extent));
  }
  const Index counted_around = 1;
  int first = program.append(scan_operator, {reverse, extent, 0, 0, counted_around}, std::move(inputs), types, body);
  for (std::size_t o = 0; o < types.size(); ++o) program.outputs.push_back(first + static_cast<int>(o));
  return program;
}

List<Stretch> stretches(bool reverse, Index steps, Index extent) {
  const Index left = steps % extent;
  List<Stretch> time{{reverse ? left : 0, steps / extent, extent}};
  if (left) time.push_back({reverse ? 0 : steps - left, 1, left});
  return time;
}

Program in_chunks(const Body& body, const Attributes& scan, std::span<const Stretch> time) {
  const StepNumbers numbers(scan);
  const Program& step = body.program;
  Program program;
  std::vector<int> inputs;
  for (std::size_t i = 0; i < step.inputs.size(); ++i) {
    const Type& type = step.types[step.inputs[i]];
    auto k = static_cast<int>(i);
    const bool x = k >= body.carries && k < body.carries + body.xs;
    inputs.push_back(program.add_input(x ? with_time(type, scan[1]) : type));
  }
  std::vector<std::vector<int>> ys(static_cast<std::size_t>(body.ys()));
  std::vector<int> carry(inputs.begin(), inputs.begin() + body.carries);
  for (const auto& s : time) {
    std::vector<int> in = inputs;
    std::copy(carry.begin(), carry.end(), in.begin());
    for (int x = body.carries; x < body.carries + body.xs; ++x) in[x] = to_chunks(program, steps_of(program, inputs[x], s), s);
    std::vector<Type> types;
    const Program& chunk = s.over_chunk->program;
    for (std::size_t o = 0; o < chunk.outputs.size(); ++o) {
      const Type& type = chunk.types[chunk.outputs[o]];
      types.push_back(static_cast<int>(o) < body.carries ? type : with_time(type, s.count));
    }
    const Attributes attributes{scan[0], s.count, 0, s.extent, numbers.around, numbers.first + s.begin};
    const int first = program.append(scan_operator, attributes, std::move(in), types, s.over_chunk);
    for (int c = 0; c < body.carries; ++c) carry[c] = first + c;
    for (int y = 0; y < body.ys(); ++y) {
      const int stacked = to_steps(program, first + body.carries + y, s);
      ys[y].insert(s.begin ? ys[y].end() : ys[y].begin(), stacked);
    }
  }
  program.outputs = carry;
  for (int y = 0; y < body.ys(); ++y) {
    const Type type = with_time(step.types[step.outputs[body.carries + y]], scan[1]);
    program.outputs.push_back(ys[y].size() == 1 ? ys[y][0] : program.append(concatenate_operator, {0}, ys[y], type));
  }
  return program;
}

void chunk(Program& program) {
  constexpr Index budget = Index(32) << 20, least_chunk = 4;
  chunk_within(program, budget, least_chunk);
}

void chunk_within(Program& program, Index budget, Index least_chunk) {
  rewrite_loops(program, [&](const Instruction& was, Instruction& now, Program& to, std::vector<int>& number) {
    const Body& body = *was.body;
    const bool whole = was.attributes[3] == whole_loop;
    if (was.attributes[3] > 0) return false;
    const Index extent = whole ? 0 : extent_of(was, program, budget, least_chunk);
    if (!whole && extent == was.attributes[1]) return false;
    std::vector<int> inputs = now.inputs;
    Program parts;
    if (whole) {
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const Type& type = body.program.types[body.program.inputs[i]];
        if (!(to.types[inputs[i]].shape == type.shape)) inputs[i] = to.append(reshape_operator, {}, {inputs[i]}, type);
      }
    } else {
      auto time = stretches(was.attributes[0], was.attributes[1], extent);
      for (auto& s : time) s.over_chunk = make_body(over_chunk(was.body, was.attributes[0], s.extent), body.carries, body.xs);
      parts = in_chunks(body, was.attributes, time);
    }
    const auto results = append_program(to, whole ? body.program : parts, inputs, was.attributes[2]);
    for (int k = 0; k < was.count; ++k) {
      const Type& type = program.types[was.first + k];
      const int v = results[k];
      number[was.first + k] = to.types[v].shape == type.shape ? v : to.append(reshape_operator, {}, {v}, type);
    }
    return true;
  });
}

}  // namespace rw::detail

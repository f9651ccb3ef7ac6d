// Dead code: instructions that no output needs go; scans lose the carries, ys, xs and captures that nobody reads.
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

std::vector<char> needed_values(const Program& program, const std::vector<int>& outputs) {
  std::vector<char> needed(program.types.size());
  for (int v : outputs) needed[v] = 1;
  for (std::size_t i = program.code.size(); i-- > 0;) {
    const auto& c = program.code[i];
    bool any = false;
    for (int k = 0; k < c.count; ++k) any |= needed[c.first + k] != 0;
    if (any)
      for (int v : c.inputs) needed[v] = 1;
  }
  return needed;
}

/// A carry lives if its last value is read, or if a living carry or y needs it.
std::vector<char> living_carries(const Body& body, std::vector<char> live, const std::vector<char>& live_ys) {
  const Program& p = body.program;
  for (bool grew = true; grew;) {
    grew = false;
    std::vector<int> outputs;
    for (std::size_t o = 0; o < p.outputs.size(); ++o) {
      auto carries = static_cast<std::size_t>(body.carries);
      if (o < carries ? live[o] : live_ys[o - carries]) outputs.push_back(p.outputs[o]);
    }
    auto needed = needed_values(p, outputs);
    for (int c = 0; c < body.carries; ++c)
      if (!live[c] && needed[p.inputs[c]]) live[c] = 1, grew = true;
  }
  return live;
}

/// Rewrites one scan without its dead parts. `used` says which values of the program are read.
void trim(Program& program, Instruction& scan, const std::vector<char>& used) {
  const Body& body = *scan.body;
  const Program& from = body.program;
  std::vector<char> carries(body.carries), ys(body.ys());
  for (int c = 0; c < body.carries; ++c) carries[c] = used[scan.first + c];
  for (int y = 0; y < body.ys(); ++y) ys[y] = used[scan.first + body.carries + y];
  carries = living_carries(body, carries, ys);
  std::vector<int> outputs;
  for (std::size_t o = 0; o < from.outputs.size(); ++o) {
    auto n = static_cast<std::size_t>(body.carries);
    if (o < n ? carries[o] : ys[o - n]) outputs.push_back(from.outputs[o]);
  }
  auto needed = needed_values(from, outputs);
  std::vector<char> inputs(from.inputs.size());
  bool whole = outputs.size() == from.outputs.size();
  for (std::size_t i = 0; i < from.inputs.size(); ++i) {
    inputs[i] = i < carries.size() ? carries[i] : needed[from.inputs[i]];
    whole &= inputs[i] != 0;
  }
  bool has_xs = body.xs > 0, keeps_x = false;
  for (int x = 0; x < body.xs; ++x) keeps_x |= inputs[body.carries + x] != 0;
  if (has_xs && !keeps_x) inputs[body.carries] = 1;  // one stays: it counts the steps
  if (whole) return;

  Program to = from;
  to.inputs.clear();
  to.outputs = outputs;
  Instruction trimmed = scan;
  trimmed.inputs.clear();
  int kept_carries = 0, kept_xs = 0;
  for (std::size_t i = 0; i < from.inputs.size(); ++i) {
    if (!inputs[i]) continue;
    to.inputs.push_back(from.inputs[i]);
    trimmed.inputs.push_back(scan.inputs[i]);
    if (static_cast<int>(i) < body.carries) {
      ++kept_carries;
    } else if (static_cast<int>(i) < body.carries + body.xs) {
      ++kept_xs;
    }
  }
  std::vector<char> keep(to.code.size());
  for (std::size_t i = 0; i < to.code.size(); ++i)
    for (int k = 0; k < to.code[i].count; ++k) keep[i] |= needed[to.code[i].first + k];
  compact(to, keep);
  trimmed.body = make_body(std::move(to), kept_carries, kept_xs);

  // Results stand in a row: the living ones get new numbers, and readers are told.
  std::vector<int> number(program.types.size());
  for (std::size_t v = 0; v < number.size(); ++v) number[v] = static_cast<int>(v);
  trimmed.first = static_cast<int>(program.types.size());
  trimmed.count = 0;
  for (int k = 0; k < scan.count; ++k) {
    if (!(k < body.carries ? carries[k] : ys[k - body.carries])) continue;
    Type type = program.types[scan.first + k];
    number[scan.first + k] = program.add_value(type);
    ++trimmed.count;
  }
  scan = std::move(trimmed);
  for (auto& c : program.code)
    for (int& v : c.inputs) v = number[v];
  for (int& v : program.outputs) v = number[v];
}

}  // namespace

void remove_dead_code(Program& program) {
  for (std::size_t i = program.code.size(); i-- > 0;) {
    if (program.code[i].op != &scan_operator) continue;
    auto used = needed_values(program, program.outputs);
    bool any = false;
    for (int k = 0; k < program.code[i].count; ++k) any |= used[program.code[i].first + k] != 0;
    if (any) trim(program, program.code[i], used);
  }
  auto needed = needed_values(program, program.outputs);
  std::vector<char> keep(program.code.size());
  for (std::size_t i = 0; i < program.code.size(); ++i)
    for (int k = 0; k < program.code[i].count; ++k) keep[i] |= needed[program.code[i].first + k];
  compact(program, keep);
}

}  // namespace rw::detail

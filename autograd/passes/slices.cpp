// Slices move up through elementwise work: slice(f(a, b)) becomes f(slice(a), slice(b)) where f's result is read by slices alone and
// they do not overlap. So gates that are split from one product fuse with what is made of them. Transposed operands of products
// become flags.
#include <algorithm>
#include <bit>
#include <rewind/autograd/elementwise.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

/// Whether all readers of the results of instruction `i` are slices of one axis with known, disjoint parts.
bool only_sliced(const Program& program, const std::vector<int>& made, const std::vector<std::vector<int>>& readers, int i, int& axis) {
  const auto& list = readers[program.code[i].first];
  if (list.empty()) return false;
  axis = -1;
  std::vector<std::pair<Index, Index>> parts;
  for (int r : list) {
    if (r < 0 || program.code[r].op != &slice_operator) return false;
    const auto& s = program.code[r];
    if (axis >= 0 && axis != s.attributes[0]) return false;
    axis = static_cast<int>(s.attributes[0]);
    int start = made[s.inputs[1]];
    if (start < 0 || program.code[start].op != &constant_operator) {
      if (list.size() > 1) return false;
      return true;
    }
    parts.emplace_back(static_cast<Index>(std::bit_cast<double>(program.code[start].attributes[0])), s.attributes[1]);
  }
  std::sort(parts.begin(), parts.end());
  for (std::size_t k = 1; k < parts.size(); ++k)
    if (parts[k].first < parts[k - 1].first + parts[k - 1].second && parts[k] != parts[k - 1]) return false;
  return true;
}

bool push_once(Program& program) {
  if (std::none_of(program.code.begin(), program.code.end(), [](const auto& c) { return c.op == &slice_operator; })) return false;
  auto made = producers(program);
  std::vector<std::vector<int>> readers(program.types.size());
  for (std::size_t i = 0; i < program.code.size(); ++i)
    for (int v : program.code[i].inputs) readers[v].push_back(static_cast<int>(i));
  for (int v : program.outputs) readers[v].push_back(-1);

  std::vector<int> target(program.code.size(), -1);  // slice -> the instruction it moves through
  bool any = false;
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    int axis;
    if (elementwise_code(*program.code[i].op) < 0 || !only_sliced(program, made, readers, static_cast<int>(i), axis)) continue;
    for (int r : readers[program.code[i].first]) target[r] = static_cast<int>(i);
    any = true;
  }
  if (!any) return false;
  std::vector<Instruction> code;
  std::vector<char> gone(program.code.size());
  for (std::size_t i = 0; i < program.code.size(); ++i)
    if (target[i] >= 0) gone[static_cast<std::size_t>(target[i])] = 1;
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    if (gone[i] && target[i] < 0) continue;
    Instruction c = program.code[i];
    if (target[i] >= 0 && !gone[i]) {
      const Instruction f = program.code[static_cast<std::size_t>(target[i])];
      int axis = static_cast<int>(c.attributes[0]), start = c.inputs[1];
      int rank = program.types[f.first].shape.rank();
      Instruction moved = f;
      for (int& v : moved.inputs) {
        Type type = program.types[v];
        int own = axis - (rank - type.shape.rank());
        if (own < 0 || type.shape[own] == 1) continue;  // broadcast along the axis: every slice reads all of it
        type.shape[own] = c.attributes[1];
        Instruction s;
        s.op = &slice_operator;
        s.attributes = {own, c.attributes[1]};
        s.inputs = {v, start};
        s.first = program.add_value(type);
        v = s.first;
        code.push_back(std::move(s));
      }
      moved.first = c.first;
      program.types[c.first].dtype = program.types[f.first].dtype;
      code.push_back(std::move(moved));
    } else {
      code.push_back(std::move(c));
    }
  }
  program.code = std::move(code);
  return true;
}

/// matmul(transpose(a), b) -> matmul(a, b, left transposed), where the transposition exchanges the last two axes.
void fold_transposes(Program& program) {
  auto made = producers(program);
  for (auto& c : program.code) {
    if (c.op != &matmul_operator) continue;
    for (int k = 0; k < 2; ++k) {
      int p = made[c.inputs[k]];
      if (p < 0 || program.code[p].op != &transpose_operator) continue;
      Index packed = program.code[p].attributes[0];
      int rank = static_cast<int>(program.code[p].attributes[1]);
      bool last_two = true;
      for (int a = 0; a < rank; ++a) {
        int want = a == rank - 1 ? rank - 2 : a == rank - 2 ? rank - 1 : a;
        last_two &= static_cast<int>(packed >> (4 * a) & 15) == want;
      }
      if (!last_two || (k == 0 && rank > 2 && program.types[c.inputs[1]].shape.rank() == 2)) continue;
      c.inputs[k] = program.code[p].inputs[0];
      c.attributes[k] = !c.attributes[k];
    }
  }
}

}  // namespace

void push_slices(Program& program) {
  fold_transposes(program);
  for (int round = 0; round < 64 && push_once(program); ++round) merge_common(program);
}

}  // namespace rw::detail

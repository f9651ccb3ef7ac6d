// Slices move up through elementwise work: slice(f(a, b)) becomes f(slice(a), slice(b)) where f's result is read by slices alone and
// they do not overlap, or where f is cheap and a is in memory anyway and b repeated along an axis: then f is computed again, which costs
// less than its result's way through memory. So gates that are split from one product fuse with what is made of them. Transposed operands
// of products become flags.
#include <algorithm>
#include <bit>
#include <rewind/autograd/elementwise.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

/// Whether an instruction is cheap elementwise work on one operand of its result's size, which is an input or made by something that is not
/// elementwise, and on smaller ones.
bool is_cheap_view(const Program& program, const std::vector<int>& made, const Instruction& c) {
  if (!c.op->cheap(c)) return false;
  const Type& out = program.types[c.first];
  int base = -1;
  for (int v : c.inputs) {
    const Shape& s = program.types[v].shape;
    if (s.rank() < out.shape.rank() || s.size() < out.shape.size()) continue;
    if (!(program.types[v] == out) || (base >= 0 && base != v)) return false;
    base = v;
  }
  return base >= 0 && (made[base] < 0 || (elementwise_code(*program.code[made[base]].op) < 0 && is_computed(*program.code[made[base]].op)));
}

/// Whether all readers of the results of instruction `i` are slices of one axis with known, disjoint parts; `others`: whether there are
/// further readers, and it is a cheap view.
bool is_sliced(const Program& program, const std::vector<int>& made, const std::vector<std::vector<int>>& readers, int i, bool& others) {
  const auto& list = readers[program.code[i].first];
  others = false;
  int axis = -1;
  std::vector<std::pair<Index, Index>> parts;
  for (int r : list) {
    if (r < 0 || program.code[r].op != &slice_operator) {
      others = true;
      continue;
    }
    const auto& s = program.code[r];
    if (axis >= 0 && axis != s.attributes[0]) return false;
    axis = static_cast<int>(s.attributes[0]);
    int start = made[s.inputs[1]];
    if (start < 0 || program.code[start].op != &constant_operator) {
      return list.size() == 1;
    }
    parts.emplace_back(static_cast<Index>(std::bit_cast<double>(program.code[start].attributes[0])), s.attributes[1]);
  }
  std::sort(parts.begin(), parts.end());
  for (std::size_t k = 1; k < parts.size(); ++k)
    if (parts[k].first < parts[k - 1].first + parts[k - 1].second && parts[k] != parts[k - 1]) return false;
  return !parts.empty() && (!others || is_cheap_view(program, made, program.code[i]));
}

bool push_once(Program& program) {
  if (std::none_of(program.code.begin(), program.code.end(), [](const auto& c) { return c.op == &slice_operator; })) return false;
  auto made = producers(program);
  std::vector<std::vector<int>> readers(program.types.size());
  for (std::size_t i = 0; i < program.code.size(); ++i)
    for (int v : program.code[i].inputs) readers[v].push_back(static_cast<int>(i));
  for (int v : program.outputs) readers[v].push_back(-1);

  std::vector<int> target(program.code.size(), -1);  // slice -> the instruction it moves through
  std::vector<char> gone(program.code.size());
  bool any = false, others;
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    if (elementwise_code(*program.code[i].op) < 0 || !is_sliced(program, made, readers, static_cast<int>(i), others)) continue;
    for (int r : readers[program.code[i].first])
      if (r >= 0 && program.code[r].op == &slice_operator) target[r] = static_cast<int>(i);
    gone[i] = !others;
    any = true;
  }
  if (!any) return false;
  std::vector<Instruction> code;
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

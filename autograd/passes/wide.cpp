#include <algorithm>
#include <bit>
#include <map>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/passes/wide.hpp>
#include <rewind/core/kernels.hpp>
#include <set>

namespace rw::detail {

int append_number(Program& p, Index n) {
  return p.append(constant_operator, {std::bit_cast<std::int64_t>(static_cast<double>(n))}, {}, Type{DType::f64, Shape{}, true});
}

int append_concatenation(Program& p, std::vector<int> parts, int axis) {
  Type type = p.types[parts[0]];
  type.shape[axis] = 0;
  for (int v : parts) type.shape[axis] += p.types[v].shape[axis];
  return p.append(concatenate_operator, {axis}, std::move(parts), type);
}

std::vector<int> append_parts(Program& p, int whole, int axis, const std::vector<Type>& types) {
  std::vector<int> parts;
  Index start = 0;
  for (const auto& type : types) {
    Type part = p.types[whole];
    part.shape[axis] = type.shape[axis];
    parts.push_back(p.append(slice_operator, {axis, part.shape[axis]}, {whole, append_number(p, start)}, part));
    start += part.shape[axis];
  }
  return parts;
}

namespace {

/// Accumulators whose addends are made of the parts of one concatenation.
struct Wide {
  int whole, left;           ///< the concatenation; the products' left operand, -1 for sums
  std::vector<int> carries;  ///< in the order of the parts
};

/// Looks for them in a body.
class Accumulators {
 public:
  explicit Accumulators(const Body& body) : p_(body.program), carries_(body.carries), made_(producers(p_)), uses_(count_uses(p_)) {}

  std::vector<Wide> find(Index least_rows) const {
    std::map<std::pair<int, int>, int> carry_of;  // left operand, part
    for (int c = 0; c < carries_; ++c) {
      int left, part;
      if (accumulates(c, left, part)) carry_of.emplace(std::pair{left, part}, c);
    }
    std::vector<Wide> result;
    for (const auto& c : p_.code) {
      const Shape& shape = p_.types[c.first].shape;
      if (c.op != &concatenate_operator || c.attributes[0] != shape.rank() - 1 || rows_of(shape) < least_rows) continue;
      std::set<int> lefts;
      for (const auto& [key, carry] : carry_of)
        if (key.second == c.inputs[0]) lefts.insert(key.first);
      for (int left : lefts) {
        Wide wide{c.first, left, {}};
        for (int part : c.inputs)
          if (auto there = carry_of.find({left, part}); there != carry_of.end()) wide.carries.push_back(there->second);
        if (wide.carries.size() != c.inputs.size()) continue;
        for (int part : c.inputs) carry_of.erase({left, part});
        if (std::set(wide.carries.begin(), wide.carries.end()).size() == wide.carries.size()) result.push_back(std::move(wide));
      }
    }
    return result;
  }

 private:
  /// Whether next = carry + addend, read by nobody else, with an addend a^T g or a sum of the rows of g.
  bool accumulates(int c, int& left, int& part) const {
    int out = p_.outputs[c], in = p_.inputs[c];
    const Instruction* add = maker(out);
    if (!add || add->op != &elementwise_operator(op::code<op::Add>) || uses_[in] != 1) return false;
    if ((add->inputs[0] == in) == (add->inputs[1] == in)) return false;
    int v = add->inputs[0] == in ? add->inputs[1] : add->inputs[0];
    if (!(p_.types[v] == p_.types[in]) || !is_floating(p_.types[in].dtype)) return false;
    const Instruction* made = maker(v);
    if (made && made->op == &matmul_operator) {
      left = made->inputs[0], part = made->inputs[1];
      return made->attributes[0] && !made->attributes[1] && p_.types[left].shape.rank() == 2 && p_.types[part].shape.rank() == 2 &&
             p_.types[left].dtype == p_.types[v].dtype && p_.types[part].dtype == p_.types[v].dtype;
    }
    while (made && made->op == &reshape_operator) made = maker(made->inputs[0]);
    if (!made || made->op != &reduce_operator || made->attributes[0] != static_cast<int>(Reduction::sum)) return false;
    left = -1, part = made->inputs[0];
    int rank = p_.types[part].shape.rank();
    return rank > 1 && made->attributes[1] == rows_mask(rank) && p_.types[part].dtype == p_.types[v].dtype;
  }

  const Instruction* maker(int v) const { return made_[v] >= 0 && uses_[v] == 1 ? &p_.code[made_[v]] : nullptr; }

 public:
  static Index rows_mask(int rank) { return (Index(1) << (rank - 1)) - 1; }  ///< all axes but the last

 private:
  const Program& p_;
  int carries_;
  std::vector<int> made_, uses_;
};

/// The first value of a wide accumulator.
int append_first(Program& to, std::vector<int> first, const Type& type) {
  const auto made = producers(to);
  const Instruction* zero = zero_constant(to, made, first[0]);
  auto same = [&](const Instruction* c) { return c && zero && c->attributes == zero->attributes; };
  if (std::all_of(first.begin(), first.end(), [&](int v) { return same(zero_constant(to, made, v)); })) {
    const Attributes number = zero->attributes;  // `to` grows
    return to.append(broadcast_operator, {}, {to.append(constant_operator, number, {}, Type{type.dtype, Shape{}})}, type);
  }
  int axis = type.shape.rank() - 1;
  for (int& v : first)
    if (to.types[v].shape.rank() != type.shape.rank())
      v = to.append(reshape_operator, {}, {v}, Type{type.dtype, Shape{to.types[v].shape.size()}});
  return append_concatenation(to, std::move(first), axis);
}

}  // namespace

std::vector<int> append_with_wide_accumulators(Program& to, const Instruction& scan, Index enough) {
  const Body& body = *scan.body;
  Index steps = scan.attributes[1];
  auto wide = Accumulators(body).find((enough + steps - 1) / steps);
  if (wide.empty()) return {};
  std::vector<char> taken(body.carries);
  for (const auto& w : wide)
    for (int c : w.carries) taken[c] = 1;

  // Carries that stay, then the wide ones; xs and captures as they are.
  Program p = body.program;
  const std::vector<int> inputs = std::exchange(p.inputs, {}), outputs = std::exchange(p.outputs, {});
  std::vector<int> outer, kept;
  for (int c = 0; c < body.carries; ++c) {
    if (taken[c]) continue;
    p.inputs.push_back(inputs[c]);
    p.outputs.push_back(outputs[c]);
    outer.push_back(scan.inputs[c]);
    kept.push_back(c);
  }
  for (const auto& w : wide) {
    Type type = p.types[w.whole];
    if (w.left >= 0) {
      type.shape[0] = p.types[w.left].shape[1];
    } else {
      type.shape = Shape{type.shape.back()};
    }
    int rank = p.types[w.whole].shape.rank(), in = p.add_input(type);
    int addend = w.left >= 0
                     ? p.append(matmul_operator, {1, 0}, {w.left, w.whole}, type)
                     : p.append(reduce_operator, {static_cast<int>(Reduction::sum), Accumulators::rows_mask(rank), 0}, {w.whole}, type);
    p.outputs.push_back(p.append(elementwise_operator(op::code<op::Add>), {}, {in, addend}, type));
    std::vector<int> first;
    for (int c : w.carries) first.push_back(scan.inputs[c]);
    outer.push_back(append_first(to, std::move(first), type));
  }
  auto carries = static_cast<std::ptrdiff_t>(body.carries);
  p.inputs.insert(p.inputs.end(), inputs.begin() + carries, inputs.end());
  p.outputs.insert(p.outputs.end(), outputs.begin() + carries, outputs.end());
  outer.insert(outer.end(), scan.inputs.begin() + carries, scan.inputs.end());
  auto count = static_cast<int>(kept.size() + wide.size());
  std::vector<Type> types;
  for (std::size_t o = 0; o < p.outputs.size(); ++o) {
    types.push_back(p.types[p.outputs[o]]);
    if (static_cast<int>(o) >= count) types.back().shape.insert(0, steps);
  }
  remove_dead_code(p);
  int at = to.append(scan_operator, scan.attributes, std::move(outer), types, make_body(std::move(p), count, body.xs));

  std::vector<int> results(outputs.size());
  for (int c : kept) results[c] = at++;
  for (const auto& w : wide) {
    std::vector<Type> parts;
    for (int c : w.carries) {
      const Type& type = body.program.types[inputs[c]];
      parts.push_back(w.left >= 0 ? type : Type{type.dtype, Shape{type.shape.size()}});
    }
    auto values = append_parts(to, at++, w.left >= 0 ? 1 : 0, parts);
    for (std::size_t k = 0; k < values.size(); ++k) {
      const Type& type = body.program.types[inputs[w.carries[k]]];
      results[w.carries[k]] = type == to.types[values[k]] ? values[k] : to.append(reshape_operator, {}, {values[k]}, type);
    }
  }
  for (std::size_t o = static_cast<std::size_t>(body.carries); o < outputs.size(); ++o) results[o] = at++;
  return results;
}

}  // namespace rw::detail

#include <rewind/autograd/behind.hpp>

#include <algorithm>

namespace rw::detail {

int SplitTerms::split(int value, int target) {
  const Operator& add = elementwise_operator(op::code<op::Add>);
  const Type type = joint_.types[value];
  std::vector<int> open{value}, rest;
  bool any = false;
  while (!open.empty()) {
    const int v = open.back();
    open.pop_back();
    const Instruction* c = made_[v] >= boundary_ ? &joint_.code[made_[v]] : nullptr;
    if (c && c->op == &add && joint_.types[c->inputs[0]] == type && joint_.types[c->inputs[1]] == type) {
      open.insert(open.end(), {c->inputs[1], c->inputs[0]});
    } else if (take(v, target)) {
      any = true;
    } else {
      rest.push_back(v);
    }
  }
  if (!any) return value;
  if (rest.empty()) return -1;
  int sum = rest[0];
  for (std::size_t k = 1; k < rest.size(); ++k) {
    made_.push_back(static_cast<int>(joint_.code.size()));
    sum = joint_.append(add, {}, {sum, rest[k]}, type);
  }
  return sum;
}

bool SplitTerms::take(int term, int target) {
  if (made_[term] < boundary_) return false;
  const Instruction& c = joint_.code[made_[term]];
  if (c.op != &matmul_operator) return false;
  for (int side : {0, 1}) {
    const int sum = c.inputs[side], other = c.inputs[1 - side];
    const int constant = other < static_cast<int>(constants_.size()) ? constants_[other] : -1;
    if (constant < 0 || !summed(sum)) continue;
    const auto at = std::find(sums.begin(), sums.end(), sum) - sums.begin();
    if (at == static_cast<std::ptrdiff_t>(sums.size())) sums.push_back(sum);
    products.push_back({static_cast<int>(at), constant, target, side == 0, c.attributes[0] != 0, c.attributes[1] != 0});
    return true;
  }
  return false;
}

bool SplitTerms::summed(int v) const {
  if (made_[v] < boundary_) return false;
  const Instruction& c = joint_.code[made_[v]];
  return c.op == &scatter_add_operator || c.op == &scan_operator;
}

void SplitTerms::finish() {
  std::vector<char> read(joint_.types.size());
  for (int v : joint_.outputs) read[v] = 1;
  for (int v : sums) read[v] = 1;
  std::vector<char> keep(joint_.code.size(), 1);
  for (auto i = static_cast<int>(joint_.code.size()); i-- > boundary_;) {
    const Instruction& c = joint_.code[i];
    keep[i] = std::any_of(read.begin() + c.first, read.begin() + c.first + c.count, [](char r) { return r != 0; });
    if (keep[i])
      for (int v : c.inputs) read[v] = 1;
  }
  std::size_t i = 0;
  std::erase_if(joint_.code, [&](const Instruction&) { return !keep[i++]; });
}

}  // namespace rw::detail

#include <rewind/autograd/behind.hpp>

#include <algorithm>

namespace rw::detail {

int SplitTerms::split(int value, int target) {
  const Type type = joint_.types[value];
  std::vector<int> open{value}, rest;
  bool any = false;
  while (!open.empty()) {
    const int v = open.back();
    open.pop_back();
    const Instruction* c = made_[v] >= boundary_ ? &joint_.code[made_[v]] : nullptr;
    if (c && c->op == &elementwise_operator(op::code<op::Add>) && joint_.types[c->inputs[0]] == type &&
        joint_.types[c->inputs[1]] == type) {
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
  for (std::size_t k = 1; k < rest.size(); ++k) sum = add(sum, rest[k]);
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
    const bool ta = c.attributes[0], tb = c.attributes[1];
    const Behind product{number(sum), constant, target, side == 0, ta, tb};
    const bool there = one_loop_ && std::find(products.begin(), products.end(), product) != products.end();
    if (!there) products.push_back(product);
    return true;
  }
  return false;
}

bool SplitTerms::summed(int v) const {
  if (made_[v] < boundary_) return false;
  const Instruction& c = joint_.code[made_[v]];
  return c.op == &scatter_add_operator || c.op == &scan_operator;
}

int SplitTerms::number(int sum) {
  const auto place = [&](int v) {
    const Instruction& c = joint_.code[made_[v]];
    return c.op == &scan_operator ? v - c.first : -1;
  };
  const bool goes_on = one_loop_ && place(sum) >= 0;
  for (std::size_t k = 0; k < sums.size(); ++k) {
    auto& parts = parts_[k];
    if (std::find(parts.begin(), parts.end(), sum) != parts.end()) return static_cast<int>(k);
    if (!goes_on || place(parts[0]) != place(sum)) continue;
    parts.push_back(sum);
    sums[k] = add(sums[k], sum);
    return static_cast<int>(k);
  }
  sums.push_back(sum);
  parts_.push_back({sum});
  return static_cast<int>(sums.size()) - 1;
}

int SplitTerms::add(int a, int b) {
  made_.push_back(static_cast<int>(joint_.code.size()));
  return joint_.append(elementwise_operator(op::code<op::Add>), {}, {a, b}, joint_.types[a]);
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

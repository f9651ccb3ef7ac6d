// Concatenations that hold others: where [a, b, c] is made and [a, b] too, or c is stacked beside it, as gradients of gates are that belong
// to several products, the smaller is a slice of the larger, and nothing is written twice. Products read slices where they lie.
#include <algorithm>
#include <bit>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <span>
#include <unordered_map>
#include <utility>

namespace rw::detail {

namespace {

/// A concatenation that holds another value, from `start` on along its axis.
struct Holder {
  const Instruction* whole = nullptr;
  Index start = 0;
};

class Holders {
 public:
  explicit Holders(const Program& program) : p_(program), made_(producers(program)) {}

  const Instruction* concatenation(int v) const {
    return made_[v] >= 0 && p_.code[made_[v]].op == &concatenate_operator ? &p_.code[made_[v]] : nullptr;
  }
  /// The larger of `than` and this concatenation, if it holds the value.
  Holder larger(const Holder& than, const Instruction& whole, int v) const {
    const Instruction* own = concatenation(v);
    const auto axis = static_cast<int>(whole.attributes[0]);
    const auto parts = own && own->attributes[0] == axis ? std::span<const int>(own->inputs) : std::span<const int>(&v, 1);
    if (parts.size() >= whole.inputs.size() || (than.whole && than.whole->inputs.size() >= whole.inputs.size())) return than;
    const auto first = whole.inputs.begin(), at = std::search(first, whole.inputs.end(), parts.begin(), parts.end());
    if (at == whole.inputs.end() || p_.types[v].dtype != p_.types[whole.first].dtype) return than;
    Holder holder{&whole};
    for (auto k = first; k != at; ++k) holder.start += p_.types[*k].shape[axis];
    return holder;
  }
  int made(int v) const { return made_[v]; }

 private:
  const Program& p_;
  const std::vector<int> made_;
};

/// Whether products alone read each value.
std::vector<char> read_by_products(const Program& program) {
  std::vector<char> result(program.types.size(), 1);
  for (const auto& c : program.code)
    if (c.op != &matmul_operator && c.op != &matmul_steps_operator)
      for (int v : c.inputs) result[v] = 0;
  for (int v : program.outputs) result[v] = 0;
  return result;
}

Instruction instruction(const Operator& op, const Attributes& attributes, std::vector<int> inputs, int first) {
  Instruction c;
  c.op = &op;
  c.attributes = attributes;
  c.inputs = std::move(inputs);
  c.first = first;
  return c;
}
Attributes number(Index value) { return {std::bit_cast<std::int64_t>(static_cast<double>(value))}; }
const Type number_type{DType::f64, Shape{}, true};

/// Concatenations become slices of others, which are made in their place if they came later.
void share_within(Program& program) {
  const Holders holders(program);
  const auto products = read_by_products(program);
  std::unordered_multimap<int, const Instruction*> holding;  // each value
  for (const auto& c : program.code)
    if (c.op == &concatenate_operator)
      for (int v : c.inputs) holding.emplace(v, &c);
  std::vector<Holder> held(program.code.size());
  for (std::size_t i = 0; i < held.size(); ++i) {
    const Instruction& c = program.code[i];
    if (c.op != &concatenate_operator || !products[c.first]) continue;
    const auto in_time = [&](int v) { return holders.made(v) < static_cast<int>(i); };
    for (auto [at, end] = holding.equal_range(c.inputs[0]); at != end; ++at)
      if (const auto& whole = *at->second; std::all_of(whole.inputs.begin(), whole.inputs.end(), in_time))
        held[i] = holders.larger(held[i], whole, c.first);
  }
  auto place = [&](const Holder& h) { return static_cast<std::size_t>(h.whole - program.code.data()); };
  for (auto& h : held)
    if (h.whole && held[place(h)].whole) h = {};
  if (std::none_of(held.begin(), held.end(), [](const Holder& h) { return h.whole; })) return;

  std::vector<Instruction> code;
  std::vector<char> done(held.size());
  for (std::size_t i = 0; i < held.size(); ++i) {
    const Instruction& c = program.code[i];
    if (const auto& [whole, from] = held[i]; whole) {
      if (!std::exchange(done[place(held[i])], 1)) code.push_back(*whole);
      const int start = program.add_value(number_type), axis = static_cast<int>(c.attributes[0]);
      code.push_back(instruction(constant_operator, number(from), {}, start));
      code.push_back(instruction(slice_operator, {axis, program.types[c.first].shape[axis]}, {whole->first, start}, c.first));
    } else if (!std::exchange(done[i], 1)) {
      code.push_back(c);
    }
  }
  program.code = std::move(code);
}

/// A loop's ys that others hold are slices of those behind it.
bool share_ys(const Program& from, const std::vector<char>& products, const Instruction& was, Instruction& now, Program& to,
              std::vector<int>& number_of) {
  const Body& body = *was.body;
  const Program& p = body.program;
  const Holders holders(p);
  const auto carries = static_cast<std::size_t>(body.carries);
  const auto ys = p.outputs.begin() + body.carries;
  std::vector<Holder> held(p.outputs.size());
  for (std::size_t y = carries; y < held.size(); ++y) {
    const int v = p.outputs[y];
    const bool carried = std::find(p.outputs.begin(), ys, v) != ys;  // it is written there
    if (carried || holders.made(v) < 0 || !is_computed(*p.code[holders.made(v)].op) || !products[was.first + static_cast<int>(y)]) continue;
    for (auto w = ys; w != p.outputs.end(); ++w)
      if (const Instruction* whole = holders.concatenation(*w)) held[y] = holders.larger(held[y], *whole, v);
  }
  auto holder = [&](std::size_t y) {
    return static_cast<std::size_t>(std::find(ys, p.outputs.end(), held[y].whole->first) - p.outputs.begin());
  };
  for (std::size_t y = carries; y < held.size(); ++y)
    if (held[y].whole && held[holder(y)].whole) held[y] = {};
  if (std::none_of(held.begin(), held.end(), [](const Holder& h) { return h.whole; })) return false;

  Program loop = p;
  loop.outputs.clear();
  now.first = static_cast<int>(to.types.size());
  for (std::size_t o = 0; o < held.size(); ++o) {
    if (held[o].whole) continue;
    loop.outputs.push_back(p.outputs[o]);
    const int result = was.first + static_cast<int>(o);
    number_of[result] = to.add_value(from.types[result]);
  }
  now.count = static_cast<int>(loop.outputs.size());
  now.body = make_body(std::move(loop), body.carries, body.xs);
  to.code.push_back(std::move(now));
  for (std::size_t y = carries; y < held.size(); ++y) {
    if (!held[y].whole) continue;
    const int result = was.first + static_cast<int>(y), whole = number_of[was.first + static_cast<int>(holder(y))];
    const int axis = static_cast<int>(held[y].whole->attributes[0]) + 1,
              start = to.append(constant_operator, number(held[y].start), {}, number_type);
    number_of[result] = to.append(slice_operator, {axis, from.types[result].shape[axis]}, {whole, start}, from.types[result]);
  }
  return true;
}

}  // namespace

void share_concatenations(Program& program) {
  share_within(program);
  const auto products = read_by_products(program);
  rewrite_loops(program, [&](const Instruction& was, Instruction& now, Program& to, std::vector<int>& number_of) {
    return share_ys(program, products, was, now, to, number_of);
  });
}

}  // namespace rw::detail

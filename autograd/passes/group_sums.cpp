// Sums by groups: what a loop adds up over all rows, step after step, as the gradients of gains and biases, is added up for groups of rows
// apart, and their sums are added behind the loop. So threads that divide the rows of the batch between groups need not meet, no rows are
// stacked for their sum alone, and it does not depend on the number of threads. In a loop over chunks of time each chunk goes on from the
// sums that the one before has left.
#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <optional>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/groups.hpp>
#include <rewind/autograd/passes/lift.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/core/kernels.hpp>

namespace rw::detail {

namespace {

struct Link;

/// A carry that only adds up sums over rows.
struct RowSums {
  Shape sums;               ///< [groups, columns]
  Index rows = 0;           ///< of a group
  std::vector<Link> links;  ///< from the carry to what it is next
};
/// By carry of a body.
using Carries = std::vector<std::optional<RowSums>>;

/// What a loop does to a carry: it adds the sum of rows, or lets another loop do so.
struct Link {
  int instruction;
  int rows = -1;   ///< the value whose rows are summed
  RowSums inside;  ///< the same of the carry of another loop
};

class Loop {
 public:
  explicit Loop(const Body& body)
      : body_(body), p_(body.program), made_(producers(p_)), uses_(count_uses(p_)), depends_(dependence(body)), summed_(p_.types.size()) {
    for (const auto& c : p_.code)
      if (c.op == &scatter_add_operator || (c.op == &matmul_operator && c.attributes[0]))
        for (int v : c.inputs) summed_[shown(v)] = 1;
  }

  std::optional<RowSums> row_sums(int carry) const {
    RowSums result;
    if (!is_floating(p_.types[p_.inputs[carry]].dtype) || !leads(p_.outputs[carry], p_.inputs[carry], result)) return {};
    return result.links.empty() ? std::nullopt : std::optional(std::move(result));
  }

 private:
  /// The value that reshapes show.
  int shown(int v) const {
    while (made_[v] >= 0 && p_.code[made_[v]].op == &reshape_operator) v = p_.code[made_[v]].inputs[0];
    return v;
  }

  /// Whether `v` is made of the carry `in` by such links alone, which are appended.
  bool leads(int v, int in, RowSums& to) const {
    if (uses_[v] != 1 || (v != in && made_[v] < 0)) return false;
    if (v == in) return true;
    const auto& c = p_.code[made_[v]];
    if (c.op == &scan_operator) {
      const int carry = v - c.first;
      if (carry >= c.body->carries || !leads(c.inputs[carry], in, to)) return false;
      auto& loop = inside_[c.body.get()];
      if (!loop) loop = std::make_unique<Loop>(*c.body);
      auto inside = loop->row_sums(carry);
      if (!inside) return false;
      const Shape sums = inside->sums;
      const Index rows = inside->rows;
      return append(to, {made_[v], -1, *std::move(inside)}, sums, rows);
    }
    if (c.op != &elementwise_operator(op::code<op::Add>)) return false;
    const bool second = !leads(c.inputs[0], in, to);
    if (second && !leads(c.inputs[1], in, to)) return false;
    const int rows = rows_of_sum(c.inputs[second ? 0 : 1], p_.types[v]);
    if (rows < 0) return false;
    const Shape& shape = p_.types[rows].shape;
    const Index columns = shape.back(), group = columns ? rows_of_group(shape[0]) : 0;
    return group > 0 && append(to, {made_[v], rows, {}}, {shape[0] / group, columns}, shape.size() / columns / shape[0] * group);
  }
  static bool append(RowSums& to, Link&& link, const Shape& sums, Index rows) {
    if (!to.links.empty() && !(to.sums == sums && to.rows == rows)) return false;
    to.sums = sums, to.rows = rows;
    to.links.push_back(std::move(link));
    return true;
  }

  /// The value whose rows `v` is the sum of, over all axes but the last, if it is made of the carries; or -1. What a product over rows
  /// reads has its sum from there (row_sums.cpp).
  int rows_of_sum(int v, const Type& carry) const {
    if (!(p_.types[v] == carry)) return -1;
    for (; made_[v] >= 0 && uses_[v] == 1 && p_.code[made_[v]].op == &reshape_operator;) v = p_.code[made_[v]].inputs[0];
    if (made_[v] < 0 || uses_[v] != 1) return -1;
    const auto& c = p_.code[made_[v]];
    if (c.op != &reduce_operator || c.attributes[0] != static_cast<int>(Reduction::sum)) return -1;
    const int rows = c.inputs[0], rank = p_.types[rows].shape.rank();
    const bool all_but_last = rank > 1 && c.attributes[1] == (Index(1) << (rank - 1)) - 1;
    if (!all_but_last || p_.types[rows].dtype != carry.dtype || depends_[rows] != Depends::carry || made_[rows] < 0) return -1;
    return summed_[shown(rows)] ? -1 : rows;
  }

  const Body& body_;
  const Program& p_;
  const std::vector<int> made_, uses_;
  const std::vector<Depends> depends_;
  std::vector<char> summed_;  ///< by value: a product over rows reads it
  mutable std::map<const Body*, std::unique_ptr<Loop>> inside_;
};

/// The body with these carries by groups.
std::shared_ptr<const Body> by_groups(const Body& body, const Carries& all) {
  Program p = body.program;
  std::map<int, Carries> inside;  // by instruction
  for (int c = 0; c < body.carries; ++c) {
    if (!all[c]) continue;
    int v = p.inputs[c];
    p.types[v].shape = all[c]->sums;
    for (const auto& link : all[c]->links) {
      auto& i = p.code[link.instruction];
      int next = i.first;
      if (link.rows >= 0) {
        i.op = &sum_groups_operator;
        i.attributes = {all[c]->rows, 1, 0};
        i.inputs = {link.rows, v};
      } else {
        const auto carry = std::find(i.inputs.begin(), i.inputs.end(), v) - i.inputs.begin();
        auto& carries = inside[link.instruction];
        carries.resize(static_cast<std::size_t>(i.body->carries));
        carries[static_cast<std::size_t>(carry)] = link.inside;
        next += static_cast<int>(carry);
      }
      p.types[v = next].shape = all[c]->sums;
    }
  }
  for (const auto& [instruction, carries] : inside) {
    auto& loop = p.code[instruction];
    loop.body = by_groups(*loop.body, carries);
  }
  remove_dead_code(p);
  return make_body(std::move(p), body.carries, body.xs);
}

}  // namespace

void group_sums(Program& program) {
  const bool any = rewrite_loops(program, [&](const Instruction& was, Instruction& now, Program& to, std::vector<int>& number) {
    const Loop loop(*was.body);
    Carries all;
    for (int c = 0; c < was.body->carries; ++c) all.push_back(loop.row_sums(c));
    if (std::none_of(all.begin(), all.end(), [](const auto& r) { return r.has_value(); })) return false;
    now.body = by_groups(*was.body, all);
    std::vector<int> first = now.inputs;
    for (std::size_t c = 0; c < all.size(); ++c) {
      if (!all[c]) continue;
      const DType dtype = to.types[first[c]].dtype;
      const int zero = to.append(constant_operator, {std::bit_cast<std::int64_t>(0.0)}, {}, {dtype, {}});
      now.inputs[c] = to.append(broadcast_operator, {}, {zero}, {dtype, all[c]->sums});
    }
    now.first = static_cast<int>(to.types.size());
    for (int k = 0; k < was.count; ++k) {
      Type type = program.types[was.first + k];
      if (static_cast<std::size_t>(k) < all.size() && all[k]) type.shape = all[k]->sums;
      number[was.first + k] = to.add_value(type);
    }
    to.code.push_back(std::move(now));
    for (std::size_t c = 0; c < all.size(); ++c) {
      if (!all[c]) continue;
      int& sum = number[was.first + static_cast<int>(c)];
      const Type type = to.types[first[c]], column{type.dtype, Shape{type.shape.size()}};
      std::vector<int> inputs{sum};
      if (!zero_constant(to, producers(to), first[c])) inputs.push_back(to.append(reshape_operator, {}, {first[c]}, column));
      sum = to.append(reshape_operator, {}, {to.append(sum_steps_operator, {0}, std::move(inputs), column)}, type);
    }
    return true;
  });
  if (any) remove_dead_code(program);
}

}  // namespace rw::detail

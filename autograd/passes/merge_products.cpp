// Products in the bodies of loops that share an operand become one, so that a cell written as a product a gate runs like one whose gates
// are stacked:
//
//   matmul(h, W1), matmul(h, W2)                        -> slices of matmul(h, [W1 W2])
//   matmul(g1, W1^T) + matmul(g2, W2^T)                 -> matmul([g1 g2], [W1 W2]^T)
//   A1 += matmul(h^T, g1), A2 += matmul(h^T, g2)        -> A += matmul(h^T, [g1 g2]), slices of A behind the loop
//   b1 += sum(g1, rows), b2 += sum(g2, rows)            -> the same with one sum
//
// W1, W2 are constants of the loop, so hoist joins them once; g1, g2 are written side by side where they are made. Products that sink moves
// behind the loop are no partners of those that stay, nor in a sum products of x_t alone, which hoist moves before it.
//
// The price is a copy of the weights a run, and of their gradients out of the wide one: it pays from 256 rows on, counted over all steps.
// The second form makes a sum of chains one chain over all of k, so its rule must not see what checkpoints and threads change: it is
// taken from 8 rows of the batch on, whatever the steps. (Loops inside a body are rewritten with it, before threads divide its batch; with
// fewer rows nothing more is merged.)
#include <algorithm>
#include <map>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/lift.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/passes/wide.hpp>

namespace rw::detail {

namespace {

constexpr Index enough_uses = 256;  // rows times steps
constexpr Index enough_rows = 8;

bool is_add(const Instruction& c) { return c.op == &elementwise_operator(op::code<op::Add>); }

/// The products of one body.
class Products {
 public:
  Products(const Body& body, Index steps)
      : p_(body.program),
        steps_(steps),
        made_(producers(p_)),
        uses_(count_uses(p_)),
        depends_(dependence(body)),
        gone_(p_.code.size()),
        feeds_(p_.types.size()) {
    find_feeding(body.carries);
  }

  /// False if nothing was merged.
  bool run(Program& result) {
    bool any = false;
    find_sums();
    find_same_left();
    Program to = p_;
    to.code.clear();
    for (std::size_t i = 0; i < p_.code.size(); ++i) {
      if (auto group = first_.find(i); group != first_.end()) any = true, emit_same_left(to, group->second);
      if (auto sum = sums_.find(i); sum != sums_.end()) {
        any = true, emit_sum(to, sum->second);
      } else if (!gone_[i]) {
        to.code.push_back(p_.code[i]);
      }
    }
    if (!any) return false;
    merge_common(to);
    remove_dead_code(to);
    result = std::move(to);
    return true;
  }

 private:
  using Members = std::vector<std::size_t>;  // instructions
  struct Sum {
    Members adds, products;  ///< in the order of the program; from left to right
  };

  /// A product with a matrix that does not change from step to step, its left operand as it is.
  bool with_constant(const Instruction& c) const {
    const Type &a = p_.types[c.inputs[0]], &b = p_.types[c.inputs[1]];
    return !c.attributes[0] && b.shape.rank() == 2 && a.dtype == b.dtype && depends_[c.inputs[0]] != Depends::constant &&
           depends_[c.inputs[1]] == Depends::constant;
  }

  void by_right_operand(Members& members) const {
    std::stable_sort(members.begin(), members.end(),
                     [&](std::size_t a, std::size_t b) { return p_.code[a].inputs[1] < p_.code[b].inputs[1]; });
  }

  /// What only accumulating carries or ys need is left to sink.
  void find_feeding(int carries) {
    for (int c = 0; c < carries; ++c) {
      int in = p_.inputs[c], add = made_[p_.outputs[c]];
      bool accumulates =
          add >= 0 && is_add(p_.code[add]) && uses_[in] == 1 && (p_.code[add].inputs[0] == in || p_.code[add].inputs[1] == in);
      if (!accumulates) feeds_[p_.outputs[c]] = 1;
    }
    for (std::size_t i = p_.code.size(); i-- > 0;) {
      bool any = false;
      for (int k = 0; k < p_.code[i].count; ++k) any |= feeds_[p_.code[i].first + k] != 0;
      if (any)
        for (int v : p_.code[i].inputs) feeds_[v] = 1;
    }
  }

  void find_same_left() {
    std::map<std::pair<int, std::int64_t>, Members> groups;
    for (std::size_t i = 0; i < p_.code.size(); ++i) {
      const auto& c = p_.code[i];
      if (c.op != &matmul_operator || gone_[i] || !feeds_[c.first] || !with_constant(c) ||
          rows_of(p_.types[c.inputs[0]].shape) * steps_ < enough_uses)
        continue;
      auto& group = groups[{c.inputs[0], c.attributes[1]}];
      if (group.empty() || made_[c.inputs[1]] < static_cast<int>(group[0])) group.push_back(i);
    }
    for (auto& [key, members] : groups) {
      if (members.size() < 2) continue;
      std::size_t first = members[0];
      for (auto i : members) gone_[i] = 1;
      by_right_operand(members);
      first_.emplace(first, std::move(members));
    }
  }

  void emit_same_left(Program& to, const Members& members) const {
    const auto& some = p_.code[members[0]];
    bool transposed = some.attributes[1];
    std::vector<int> weights;
    for (auto i : members) weights.push_back(p_.code[i].inputs[1]);
    Type wide = p_.types[some.first];
    int axis = wide.shape.rank() - 1;
    wide.shape[axis] = 0;
    for (auto i : members) wide.shape[axis] += p_.types[p_.code[i].first].shape[axis];
    int joined = append_concatenation(to, std::move(weights), transposed ? 0 : 1);
    int product = to.append(matmul_operator, some.attributes, {some.inputs[0], joined}, wide);
    std::vector<Type> types;
    for (auto i : members) types.push_back(p_.types[p_.code[i].first]);
    auto parts = append_parts(to, product, axis, types);
    for (std::size_t k = 0; k < parts.size(); ++k)  // a slice stands where the product stood
      std::find_if(to.code.rbegin(), to.code.rend(), [&](const auto& c) { return c.first == parts[k]; })->first = p_.code[members[k]].first;
  }

  /// An addition without broadcasting.
  bool adds(int v, const Type& type) const {
    if (made_[v] < 0 || !is_add(p_.code[made_[v]])) return false;
    const auto& in = p_.code[made_[v]].inputs;
    return p_.types[v] == type && p_.types[in[0]] == type && p_.types[in[1]] == type;
  }
  /// One that no one but a sum reads.
  bool inner(int v, const Type& type) const { return uses_[v] == 1 && adds(v, type); }

  void find_sums() {
    std::vector<char> inside(p_.code.size());
    for (std::size_t i = p_.code.size(); i-- > 0;) {
      int root = p_.code[i].first;
      const Type& type = p_.types[root];
      if (inside[i] || !adds(root, type) || rows_of(type.shape) < enough_rows) continue;
      Sum sum;
      std::vector<int> work{root};
      while (!work.empty()) {
        int v = work.back();
        work.pop_back();
        if (made_[v] < 0 || (v != root && uses_[v] != 1)) continue;
        auto at = static_cast<std::size_t>(made_[v]);
        const auto& term = p_.code[at];
        if (adds(v, type)) {
          inside[at] = 1;
          sum.adds.push_back(at);
          work.push_back(term.inputs[1]);
          work.push_back(term.inputs[0]);
        } else if (term.op == &matmul_operator && term.attributes[1] && with_constant(term) && depends_[term.inputs[0]] == Depends::carry) {
          sum.products.push_back(at);
        }
      }
      if (sum.products.size() < 2) continue;
      std::sort(sum.adds.begin(), sum.adds.end());
      for (auto product : sum.products) gone_[product] = 1;
      sums_.emplace(i, std::move(sum));
    }
  }

  /// The sum again, with its products as one where the first of them stood.
  void emit_sum(Program& to, Sum sum) const {
    std::map<int, int> stands;  // value -> what stands for it, -1 for nothing
    for (auto i : sum.products) stands[p_.code[i].first] = -1;
    int at = p_.code[sum.products[0]].first;
    by_right_operand(sum.products);
    std::vector<int> left, right;
    for (auto i : sum.products) {
      left.push_back(p_.code[i].inputs[0]);
      right.push_back(p_.code[i].inputs[1]);
    }
    int a = append_concatenation(to, std::move(left), p_.types[at].shape.rank() - 1), b = append_concatenation(to, std::move(right), 1);
    stands[at] = to.append(matmul_operator, p_.code[sum.products[0]].attributes, {a, b}, p_.types[at]);
    auto of = [&](int v) {
      auto there = stands.find(v);
      return there == stands.end() ? v : there->second;
    };
    for (auto i : sum.adds) {
      const auto& c = p_.code[i];
      int x = of(c.inputs[0]), y = of(c.inputs[1]);
      if (x < 0 || y < 0) {
        stands[c.first] = std::max(x, y);
      } else if (x != c.inputs[0] || y != c.inputs[1]) {
        stands[c.first] = to.append(*c.op, c.attributes, {x, y}, p_.types[c.first]);
      }
    }
    int root = p_.code[sum.adds.back()].first;
    to.code.back().first = root;  // the last that was appended: nothing of the sum lies to the right of its root
  }

  const Program& p_;
  Index steps_;
  std::vector<int> made_, uses_;
  std::vector<Depends> depends_;
  std::vector<char> gone_;                ///< products that are merged
  std::vector<char> feeds_;               ///< values that a carry needs, other than an accumulating one
  std::map<std::size_t, Members> first_;  ///< products with the same left operand, by the first of them
  std::map<std::size_t, Sum> sums_;       ///< by their roots
};

bool merge(Program& program);

/// The body with its products merged, and those of the loops in it; null if there is nothing to merge.
std::shared_ptr<const Body> merged_body(const Body& body, Index steps) {
  Program inner = body.program;
  bool any = merge(inner);
  auto with = [&](Program p) { return make_body(std::move(p), body.carries, body.xs); };
  auto result = any ? with(std::move(inner)) : nullptr;
  Program merged;
  return Products(result ? *result : body, steps).run(merged) ? with(std::move(merged)) : result;
}

bool merge(Program& program) {
  bool any = false;
  rewrite_loops(program, [&](const Instruction& was, Instruction& now, Program& to, std::vector<int>& number) {
    if (auto body = merged_body(*was.body, was.attributes[1])) now.body = std::move(body), any = true;
    auto results = append_with_wide_accumulators(to, now, enough_uses);
    std::copy(results.begin(), results.end(), number.begin() + was.first);
    any |= !results.empty();
    return !results.empty();
  });
  return any;
}

}  // namespace

void merge_products(Program& program) {
  if (merge(program)) remove_dead_code(program);
}

}  // namespace rw::detail

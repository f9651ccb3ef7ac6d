// The gradient of a scan is a scan: over the same steps in the opposite direction, with the gradients of the carries as carries.
//
// The body is replayed and differentiated once for each structure and choice of gradients; the joint program is cut between what runs
// forward and what runs backward. Forward values that the backward body reads become ys of the forward scan (residuals), unless a few
// cheap operations make them again from what is kept anyway. Where xs are rows of a small table, their products are summed by index.
#include <algorithm>
#include <rewind/autograd/behind.hpp>
#include <rewind/autograd/differentiate.hpp>
#include <rewind/autograd/gathered.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/residuals.hpp>
#include <rewind/autograd/running_sum.hpp>
#include <rewind/autograd/scan_derivative.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/autograd/trace.hpp>

namespace rw::detail {

namespace {

/// Turns the recording of a differentiated body into a derivative.
class Differentiator {
 public:
  Differentiator(const Body& body, const Closures& closures, const Wish& wish)
      : body_(body), closures_(closures), wish_(wish), program_(body.program) {}

  Derivative run() {
    auto& tape = tape_of_thread();
    bool no_grad = std::exchange(tape.no_grad, false), in_rule = std::exchange(tape.in_rule, false);
    struct Restore {
      Tape& tape;
      bool no_grad, in_rule;
      List<Tape::RuleConstant> constants;  // else the first differentiation of a body would record others than later ones
      ~Restore() { tape.no_grad = no_grad, tape.in_rule = in_rule, tape.rule_constants = std::move(constants); }
    } restore{tape, no_grad, in_rule, std::exchange(tape.rule_constants, {})};
    record_joint();
    split();
    cut();
    return std::move(d_);
  }

 private:
  int inputs() const { return static_cast<int>(program_.inputs.size()); }
  int first_table() const { return inputs() + static_cast<int>(tables_.size()); }
  const Type& input_type(int i) const { return i < inputs() ? program_.types[program_.inputs[i]] : tables_[i - first_table()]; }

  /// Inputs: gradients of carries, of ys, then the forward inputs, indices, tables. Outputs: gradients of carries, of captures and tables,
  /// of xs.
  void record_joint() {
    int carries = body_.carries, inputs = this->inputs();
    for (int c = 0; c < carries; ++c)
      if (is_floating(input_type(c).dtype)) d_.carries.push_back(c);
    for (int y = 0; y < body_.ys(); ++y)
      if (wish_.incoming[carries + y]) d_.ys.push_back(y);
    OpenTrace trace;
    List<Variable> seeds, forward;
    for (int c : d_.carries) seeds.push_back(trace.parameter(input_type(c)));
    for (int y : d_.ys) seeds.push_back(trace.parameter(program_.types[program_.outputs[carries + y]]));
    first_forward_ = static_cast<int>(seeds.size());
    for (int i = 0; i < inputs; ++i) {
      if (i == carries + body_.xs) trace.constants_follow();
      forward.push_back(trace.parameter(input_type(i)));
    }
    List<Variable> index, table;
    for (const auto& [x, rows] : wish_.rows) {
      Type type = input_type(x);
      const Index width = type.shape.back();
      type.shape.erase(type.shape.rank() - 1);
      index.push_back(trace.parameter({rows.index, type.shape}));
      tables_.push_back({type.dtype, Shape{rows.table_rows, width}});
    }
    for (std::size_t r = 0; r < tables_.size(); ++r) {
      table.push_back(trace.parameter(tables_[r]));
      const auto& [x, rows] = wish_.rows[r];
      trace.know({forward[x].handle(), table[r].handle(), index[r].handle(), rows.passes, wish_.again || wish_.in_chunks});
    }
    List<Variable> values;
    auto outputs = replay(program_, forward, closures_, &values);
    std::uint64_t last_forward = tape_of_thread().next_id;

    List<Seed> roots;
    for (std::size_t k = 0; k < seeds.size(); ++k) {
      int output = k < d_.carries.size() ? d_.carries[k] : carries + d_.ys[k - d_.carries.size()];
      roots.push_back({outputs[output].handle(), seeds[k]});
    }
    List<Value*> targets;
    for (int c : d_.carries) targets.push_back(forward[c].handle());
    for (int i = carries; i < inputs; ++i) {
      if (!wish_.wanted[i] || !is_floating(input_type(i).dtype)) continue;
      (i < carries + body_.xs ? d_.xs : d_.captures).push_back(i);
    }
    for (int i : d_.captures) targets.push_back(forward[i].handle());
    for (std::size_t r = 0; r < tables_.size(); ++r) {
      targets.push_back(table[r].handle());
      d_.captures.push_back(first_table() + static_cast<int>(r));
    }
    for (int i : d_.xs) targets.push_back(forward[i].handle());
    auto all = differentiate(roots, targets);
    List<Variable> found;
    std::size_t next = 0;
    for (; next < d_.carries.size(); ++next)
      found.push_back(all[next].empty() ? zeros(targets[next]->type.shape, targets[next]->type.dtype) : all[next]);
    for (auto* list : {&d_.captures, &d_.xs}) {
      std::vector<int> there;
      for (int i : *list)
        if (Variable g = all[next++]; !g.empty()) found.push_back(g), there.push_back(i);
      *list = std::move(there);
    }
    auto recorded = trace.record(found, true, &d_.outside);
    joint_ = to_program(recorded);
    joint_.closures = std::move(recorded.closures);
    const auto& nodes = recorded.nodes;
    while (boundary_ < nodes.size() && nodes[boundary_]->id < last_forward) ++boundary_;
    find_forward(values, nodes.empty() ? 0 : nodes[0]->mark);
  }

  /// Which value of the body is behind each forward value of the joint program. Scans in the body may have got further ys.
  void find_forward(const List<Variable>& values, std::uint64_t mark) {
    of_body_.assign(joint_.types.size(), -1);
    Program grown;
    std::vector<int> number(program_.types.size());
    for (int v : program_.inputs) number[v] = grown.add_input(program_.types[v]);
    bool more = false;
    for (const auto& i : program_.code) {
      const Node& node = *values[i.first].handle()->node;
      Instruction c = i;
      for (int& v : c.inputs) v = number[v];
      c.body = node.body;
      c.first = static_cast<int>(grown.types.size());
      c.count = static_cast<int>(node.types.size());
      more |= c.count != i.count;
      for (int k = 0; k < c.count; ++k) {
        int v = grown.add_value(node.types[k]);
        if (k < i.count) number[i.first + k] = v;
        const Value* value = node.outputs[k];
        if (value && value->mark == mark && value->slot >= 0) of_body_[value->slot] = v;
      }
      grown.code.push_back(std::move(c));
    }
    for (int v : program_.outputs) grown.outputs.push_back(number[v]);
    for (std::size_t i = 0; i < grown.inputs.size(); ++i)
      of_body_[joint_.inputs[static_cast<std::size_t>(first_forward_) + i]] = grown.inputs[i];
    if (wish_.again) {  // the forward loop stays as it is
      for (std::size_t i = 0; i < grown.inputs.size(); ++i)
        of_body_[joint_.inputs[static_cast<std::size_t>(first_forward_) + i]] = program_.inputs[i];
    } else if (more)
      d_.forward = std::make_shared<const Program>(std::move(grown));
  }

  /// What can be multiplied behind the loop leaves it.
  void split() {
    std::vector<int> constants(joint_.types.size(), -1);
    auto number = [&](int from, int to) {
      for (int i = from; i < to; ++i) constants[joint_.inputs[first_forward_ + i]] = i;
    };
    number(body_.carries + body_.xs, inputs());
    number(first_table(), first_table() + static_cast<int>(tables_.size()));
    SplitTerms terms(joint_, boundary_, std::move(constants), wish_.in_chunks);
    auto first = joint_.outputs.begin() + static_cast<std::ptrdiff_t>(d_.carries.size()), last = first;
    std::vector<int> there;
    for (int i : d_.captures)
      if (const int rest = terms.split(*last++, i); rest >= 0) *first++ = rest, there.push_back(i);
    joint_.outputs.erase(first, last);
    if (terms.products.empty()) return;
    d_.captures = std::move(there);
    d_.products = std::move(terms.products);
    terms.finish();
    sums_ = std::move(terms.sums);
    for (int v : sums_) d_.sums.push_back(joint_.types[v]);
  }

  void cut() {
    int carries = body_.carries;
    std::vector<char> free(joint_.types.size());
    for (std::size_t i = 0; i < joint_.inputs.size(); ++i)
      free[joint_.inputs[i]] = static_cast<int>(i) < first_forward_ || static_cast<int>(i) >= first_forward_ + carries;
    Cut cut(joint_, boundary_, free, wish_.again);
    // Inputs of the backward body: gradients of carries, accumulators | gradients of ys, residuals, xs | captures.
    Program p;
    std::vector<int> number(joint_.types.size(), -1), accumulators;
    auto gradients = static_cast<int>(d_.carries.size());
    for (int k = 0; k < gradients; ++k) number[joint_.inputs[k]] = p.add_input(joint_.types[joint_.inputs[k]]);
    for (int i : d_.captures) accumulators.push_back(p.add_input(input_type(i)));
    for (const Type& type : d_.sums) accumulators.push_back(p.add_input(type));
    int backward_carries = static_cast<int>(p.inputs.size());
    for (int k = gradients; k < first_forward_; ++k) number[joint_.inputs[k]] = p.add_input(joint_.types[joint_.inputs[k]]);
    std::vector<char> read(joint_.types.size());
    for (std::size_t i = 0; i < joint_.code.size(); ++i)
      if (i >= boundary_ || cut.again[joint_.code[i].first])
        for (int v : joint_.code[i].inputs) read[v] = 1;
    for (int v : joint_.outputs) read[v] = 1;
    for (int v : sums_) read[v] = 1;
    for (std::size_t v = 0; v < cut.kept.size(); ++v)
      if (cut.kept[v]) {
        d_.residuals.push_back(of_body_[v]);
        number[v] = p.add_input(joint_.types[v]);
      }
    auto pass = [&](int from, int to, std::vector<int>& list) {
      for (int i = from; i < to; ++i) {
        int v = joint_.inputs[first_forward_ + i];
        if (!read[v]) continue;
        list.push_back(i);
        number[v] = p.add_input(joint_.types[v]);
      }
    };
    pass(carries, carries + body_.xs, d_.xs_read);
    pass(inputs(), first_table(), d_.xs_read);
    int xs = static_cast<int>(p.inputs.size()) - backward_carries;
    pass(carries + body_.xs, inputs(), d_.constants);
    pass(first_table(), first_table() + static_cast<int>(tables_.size()), d_.constants);
    for (std::size_t i = joint_.inputs.size() - d_.outside.size(); i < joint_.inputs.size(); ++i)
      number[joint_.inputs[i]] = p.add_input(joint_.types[joint_.inputs[i]]);

    for (std::size_t i = 0; i < joint_.code.size(); ++i) {
      if (i < boundary_ && !cut.again[joint_.code[i].first]) continue;
      Instruction c = joint_.code[i];
      for (int& v : c.inputs) v = number[v];
      int first = static_cast<int>(p.types.size());
      for (int k = 0; k < c.count; ++k) number[c.first + k] = p.add_value(joint_.types[c.first + k]);
      c.first = first;
      if (int count = c.op->closures(c.body.get())) {
        auto own = joint_.closures.begin() + c.attributes[2];
        c.attributes[2] = static_cast<std::int64_t>(d_.closures.size());
        d_.closures.insert(d_.closures.end(), own, own + count);
      }
      p.code.push_back(std::move(c));
    }
    std::size_t o = 0;
    for (; o < d_.carries.size(); ++o) p.outputs.push_back(number[joint_.outputs[o]]);
    for (std::size_t a = 0; a < accumulators.size(); ++a) {
      const int accumulator = accumulators[a],
                addend = number[a < d_.captures.size() ? joint_.outputs[o++] : sums_[a - d_.captures.size()]];
      const Type type = p.types[accumulator];
      int total = wish_.again || wish_.in_chunks ? continued_sum(p, accumulator, addend, wish_.in_chunks) : -1;
      if (total < 0) total = p.append(elementwise_operator(op::code<op::Add>), {}, {accumulator, addend}, type);
      p.outputs.push_back(total);
    }
    for (; o < joint_.outputs.size(); ++o) p.outputs.push_back(number[joint_.outputs[o]]);
    if (wish_.in_chunks) remove_unread_additions(p);
    if (wish_.again) xs -= drop_unread_residuals(p, backward_carries + first_forward_ - gradients);
    d_.backward = intern_body(std::move(p), backward_carries, xs);
  }

  /// A carry that loops run again only add to is read by nothing. The residuals are inputs from `first` on; gives how many were dropped.
  int drop_unread_residuals(Program& p, int first) {
    remove_dead_code(p);
    for (auto& i : p.code)
      if (i.op == &scan_operator) i.body = intern_body(i.body->program, i.body->carries, i.body->xs);
    const auto uses = count_uses(p);
    auto to = p.inputs.begin() + first, end = to + static_cast<std::ptrdiff_t>(d_.residuals.size());
    List<int> read;
    for (auto from = to; from != end; ++from)
      if (uses[*from] > 0) *to++ = *from, read.push_back(d_.residuals[static_cast<std::size_t>(from - p.inputs.begin() - first)]);
    p.inputs.erase(to, end);
    const auto dropped = static_cast<int>(d_.residuals.size() - read.size());
    d_.residuals = std::move(read);
    return dropped;
  }

  const Body& body_;
  const Closures& closures_;
  const Wish& wish_;
  const Program& program_;
  Program joint_;
  int first_forward_ = 0;
  std::size_t boundary_ = 0;
  std::vector<int> of_body_;
  std::vector<Type> tables_;  ///< of wish_.rows
  std::vector<int> sums_;     ///< values of the joint program
  Derivative d_;
};

/// Zeros, of each type recorded once.
class Zeros {
 public:
  Variable of(const Type& type) {
    for (const auto& v : made_)
      if (v.dtype() == type.dtype && v.shape() == type.shape) return v;
    made_.push_back(type.shape.rank() == 0 ? zeros({}, type.dtype) : broadcast_to(of({type.dtype, {}}), type.shape));
    return made_.back();
  }

 private:
  List<Variable> made_;
};

}  // namespace

std::shared_ptr<const Derivative> derivative_of(const Body& body, const Closures& closures, const Wish& wish) {
  auto make = [&] { return std::make_shared<const Derivative>(Differentiator(body, closures, wish).run()); };
  if (body.closures) return make();
  body.used = tape_of_thread().next_mark;
  auto there = cache_of(body).derivatives[wish];
  if (!there) {  // made bodies may let go of old caches
    there = make();
    cache_of(body).derivatives[wish] = there;
  }
  there->backward->used = tape_of_thread().next_mark;
  return there;
}

void scan_gradient(Pullback& p) {
  auto& node = const_cast<Node&>(p.node);
  auto body = node.body;  // stays alive while the node grows
  int carries = body->carries;
  Index steps = node.attributes[1];
  Wish wish;
  for (std::size_t o = 0; o < node.types.size(); ++o) wish.incoming.push_back(!p.g(static_cast<int>(o)).empty());
  for (std::size_t i = 0; i < node.inputs.size(); ++i) wish.wanted.push_back(p.needs(static_cast<int>(i)));
  List<Gathered> rows;
  for (int x = carries; x < carries + body->xs; ++x)
    if (Gathered g = gathered(p, x); g.table) {
      wish.rows.push_back({x, {g.table->type.shape[0], g.taken->type.dtype, g.passes}});
      rows.push_back(g);
    }
  wish.of(node);
  auto derivative = derivative_of(*body, node.closures(), wish);
  const Derivative& d = *derivative;
  auto residuals = add_ys(node, d.residuals, d.forward.get());

  const auto count = static_cast<int>(node.inputs.size()), first_table = count + static_cast<int>(rows.size());
  auto value = [&](int i) { return i < count ? node.inputs[i] : rows[i - first_table].table; };
  auto input = [&](int i) { return i >= count && i < first_table ? rows[i - count].index() : handle(value(i)); };
  List<Variable> inputs;
  Zeros none;
  for (int c : d.carries) {
    Variable g = p.g(c);
    inputs.push_back(g.empty() ? none.of(node.types[c]) : g);
  }
  for (int i : d.captures) inputs.push_back(none.of(value(i)->type));
  for (const Type& type : d.sums) inputs.push_back(none.of(type));
  for (int y : d.ys) inputs.push_back(p.g(carries + y));
  for (int r : residuals) inputs.push_back(p.y(r));
  for (int x : d.xs_read) inputs.push_back(input(x));
  for (int c : d.constants) inputs.push_back(input(c));
  List<Value*> values;
  for (const auto& v : inputs) values.push_back(local("scan", v));
  for (const auto& v : d.outside) values.push_back(v.get());
  const Program& backward = d.backward->program;
  List<Type> types;
  for (std::size_t o = 0; o < backward.outputs.size(); ++o) {
    Type t = backward.types[backward.outputs[o]];
    if (static_cast<int>(o) >= d.backward->carries) t.shape.insert(0, steps);
    types.push_back(t);
  }
  Attributes attributes = node.attributes;
  attributes[0] = !attributes[0], attributes[2] = 0;
  auto made = record(scan_operator, attributes, std::move(values), std::move(types), d.backward, d.closures);
  std::size_t o = 0;
  for (int c : d.carries) p.add(c, made[o++]);
  for (int i : d.captures) p.add(value(i), made[o++]);
  for (const Behind& b : d.products) {
    const Variable sum = made[o + static_cast<std::size_t>(b.sum)], constant = input(b.constant);
    p.add(value(b.target), product(b.sum_left ? sum : constant, b.sum_left ? constant : sum, b.ta, b.tb));
  }
  o += d.sums.size();
  for (int x : d.xs) p.add(x, made[o++]);
}

}  // namespace rw::detail

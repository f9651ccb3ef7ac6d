// The gradient of a scan is a scan: over the same steps in the opposite direction, with the gradients of the carries as carries.
//
// The body is replayed and differentiated once for each structure and choice of gradients; the joint program is cut between what runs
// forward and what runs backward. Forward values that the backward body reads become ys of the forward scan (residuals), unless a few
// cheap operations make them again from what is kept anyway.
#include <algorithm>
#include <map>
#include <rewind/autograd/differentiate.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/residuals.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/autograd/trace.hpp>

namespace rw::detail {

namespace {

/// Which gradients come in and which are wanted: an entry a result, an entry an input of the scan.
struct Wish {
  List<char> incoming, wanted;
  bool again = false;  ///< the body runs again in the backward pass; carries alone are kept
  auto operator<=>(const Wish&) const = default;
};

/// A differentiated body.
struct Derivative {
  std::shared_ptr<const Body> backward;
  std::vector<int> carries;                ///< which carries have gradients, in the order of the backward carries
  std::vector<int> captures;               ///< captures whose gradients are accumulated, behind those
  std::vector<int> ys;                     ///< forward ys whose gradients are read: the first xs
  List<int> residuals;                     ///< values of the forward body that are read: the next xs
  std::shared_ptr<const Program> forward;  ///< the forward body with scans in it that have more ys now, if there are such
  std::vector<int> xs_read;                ///< forward xs that are read: the last xs
  std::vector<int> constants;              ///< forward captures that are read
  std::vector<int> xs;                     ///< forward xs whose gradients are the backward ys
  List<ValueRef> outside;                  ///< what rules of custom operations read beside these: the last constants
  Closures closures;                       ///< of the backward body
};

struct Cache {
  std::map<Wish, std::shared_ptr<const Derivative>> derivatives;
  std::map<std::pair<const Program*, List<int>>, std::shared_ptr<const Body>> grown;  ///< with these values as further ys
};

Cache& cache_of(const Body& body) {
  if (!body.derivatives) body.derivatives = std::make_shared<Cache>();
  return *static_cast<Cache*>(body.derivatives.get());
}

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
    cut();
    return std::move(d_);
  }

 private:
  const Type& input_type(int i) const { return program_.types[program_.inputs[i]]; }

  /// Inputs: gradients of carries, of ys, then the forward inputs. Outputs: gradients of carries, of captures, of xs.
  void record_joint() {
    int carries = body_.carries, inputs = static_cast<int>(program_.inputs.size());
    for (int c = 0; c < carries; ++c)
      if (is_floating(input_type(c).dtype)) d_.carries.push_back(c);
    for (int y = 0; y < body_.ys(); ++y)
      if (wish_.incoming[carries + y]) d_.ys.push_back(y);
    OpenTrace trace;
    List<Variable> seeds, forward;
    for (int c : d_.carries) seeds.push_back(trace.parameter(input_type(c)));
    for (int y : d_.ys) seeds.push_back(trace.parameter(program_.types[program_.outputs[carries + y]]));
    first_forward_ = static_cast<int>(seeds.size());
    for (int i = 0; i < inputs; ++i) forward.push_back(trace.parameter(input_type(i)));
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
    for (int i : d_.xs) targets.push_back(forward[i].handle());
    auto found = differentiate(roots, targets);
    for (std::size_t k = 0; k < found.size(); ++k)
      if (found[k].empty()) found[k] = zeros(targets[k]->type.shape, targets[k]->type.dtype);
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
    int backward_carries = static_cast<int>(p.inputs.size());
    for (int k = gradients; k < first_forward_; ++k) number[joint_.inputs[k]] = p.add_input(joint_.types[joint_.inputs[k]]);
    std::vector<char> read(joint_.types.size());
    for (std::size_t i = 0; i < joint_.code.size(); ++i)
      if (i >= boundary_ || cut.again[joint_.code[i].first])
        for (int v : joint_.code[i].inputs) read[v] = 1;
    for (int v : joint_.outputs) read[v] = 1;
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
    int xs = static_cast<int>(p.inputs.size()) - backward_carries;
    pass(carries + body_.xs, static_cast<int>(program_.inputs.size()), d_.constants);
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
    for (int accumulator : accumulators) {
      const Type type = p.types[accumulator];
      if (int total = wish_.again ? continued(p, accumulator, number[joint_.outputs[o]]) : -1; total >= 0) {
        p.outputs.push_back(total);
        ++o;
        continue;
      }
      p.outputs.push_back(p.append(elementwise_operator(op::code<op::Add>), {}, {accumulator, number[joint_.outputs[o++]]}, type));
    }
    for (; o < joint_.outputs.size(); ++o) p.outputs.push_back(number[joint_.outputs[o]]);
    d_.backward = intern_body(std::move(p), backward_carries, xs);
  }

  /// accumulator + a loop's sum from zero is the loop's sum from the accumulator: one chain over all chunks. -1 if `sum` is no such sum.
  static int continued(Program& p, int accumulator, int sum) {
    auto made = producers(p);
    if (made[sum] < 0 || count_uses(p)[sum] != 0) return -1;
    Instruction& loop = p.code[made[sum]];
    int c = sum - loop.first;
    if (loop.op != &scan_operator || c >= loop.body->carries) return -1;
    const Program& step = loop.body->program;
    int in = step.inputs[c], out = step.outputs[c], add = producers(step)[out], v = loop.inputs[c];
    auto uses = count_uses(step);
    bool adds = add >= 0 && step.code[add].op == &elementwise_operator(op::code<op::Add>) && step.code[add].inputs[0] == in;
    if (!adds || uses[in] != 1 || uses[out] != 1) return -1;
    while (made[v] >= 0 && (p.code[made[v]].op == &broadcast_operator || p.code[made[v]].op == &cast_operator))
      v = p.code[made[v]].inputs[0];
    if (made[v] < 0 || p.code[made[v]].op != &constant_operator || p.code[made[v]].attributes[0] != 0) return -1;
    loop.inputs[c] = accumulator;
    return sum;
  }

  const Body& body_;
  const Closures& closures_;
  const Wish& wish_;
  const Program& program_;
  Program joint_;
  int first_forward_ = 0;
  std::size_t boundary_ = 0;
  std::vector<int> of_body_;
  Derivative d_;
};

/// One differentiation serves all scans of the body; closures may differ from call to call, so where there are some each has its own.
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

/// Adds ys to a scan that is recorded already: values of its body by number, or of `forward`, the body with scans in it that have grown.
/// Gives the result number of each.
List<int> add_ys(Node& node, const List<int>& body_values, const Program* forward) {
  const Body& body = *node.body;
  const Program& base = forward ? *forward : body.program;
  List<int> results, outputs(base.outputs.begin(), base.outputs.end());
  for (int v : body_values) {
    int at = -1;
    for (std::size_t o = static_cast<std::size_t>(body.carries); o < outputs.size(); ++o)
      if (outputs[o] == v) at = static_cast<int>(o);
    if (at < 0) {
      at = static_cast<int>(outputs.size());
      outputs.push_back(v);
    }
    results.push_back(at);
  }
  if (outputs.size() == base.outputs.size()) return results;
  const std::pair key{forward, body_values};
  auto grown = body.closures ? nullptr : cache_of(body).grown[key];
  if (!grown) {
    Program program = base;
    program.outputs.assign(outputs.begin(), outputs.end());
    grown = intern_body(std::move(program), body.carries, body.xs);
    if (!body.closures) cache_of(body).grown[key] = grown;
  }
  grown->used = tape_of_thread().next_mark;
  for (std::size_t o = base.outputs.size(); o < outputs.size(); ++o) {
    Type type = base.types[outputs[o]];
    type.shape.insert(0, node.attributes[1]);
    node.add_output(type);
  }
  node.body = grown;
  return results;
}

}  // namespace

namespace {
/// All gradients that there can be.
Wish whole_wish(const Body& body) {
  const Program& p = body.program;
  Wish wish;
  for (int v : p.outputs) wish.incoming.push_back(is_floating(p.types[v].dtype));
  for (int v : p.inputs) wish.wanted.push_back(is_floating(p.types[v].dtype) && !p.types[v].weak);
  return wish;
}
}  // namespace

Index history_of_step(const Body& body, const Closures& closures) {
  auto d = derivative_of(body, closures, whole_wish(body));
  const Program& p = d->forward ? *d->forward : body.program;
  Index bytes = 0;
  auto count = [&](int v) { bytes += p.types[v].shape.size() * size_of(p.types[v].dtype); };
  for (int v : d->residuals) count(v);
  for (const auto& i : p.code)
    if (i.op->heavy())
      for (int k = 0; k < i.count; ++k) count(i.first + k);
  return bytes;
}

void keep_for_gradient(Node& node) {
  const Body& body = *node.body;
  Wish wish = whole_wish(body);
  wish.again = node.attributes[3];
  auto d = derivative_of(body, node.closures(), wish);
  add_ys(node, d->residuals, d->forward.get());
}

void scan_gradient(Pullback& p) {
  auto& node = const_cast<Node&>(p.node);
  auto body = node.body;  // stays alive while the node grows
  int carries = body->carries;
  Index steps = node.attributes[1];
  Wish wish;
  for (std::size_t o = 0; o < node.types.size(); ++o) wish.incoming.push_back(!p.g(static_cast<int>(o)).empty());
  for (std::size_t i = 0; i < node.inputs.size(); ++i) wish.wanted.push_back(p.needs(static_cast<int>(i)));
  wish.again = node.attributes[3];
  auto derivative = derivative_of(*body, node.closures(), wish);
  const Derivative& d = *derivative;
  auto residuals = add_ys(node, d.residuals, d.forward.get());

  List<Variable> inputs;
  for (int c : d.carries) {
    Variable g = p.g(c);
    inputs.push_back(g.empty() ? zeros(node.types[c].shape, node.types[c].dtype) : g);
  }
  for (int i : d.captures) inputs.push_back(zeros(node.inputs[i]->type.shape, node.inputs[i]->type.dtype));
  for (int y : d.ys) inputs.push_back(p.g(carries + y));
  for (int r : residuals) inputs.push_back(p.y(r));
  for (int x : d.xs_read) inputs.push_back(p.x(x));
  for (int c : d.constants) inputs.push_back(p.x(c));
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
  auto made = record(scan_operator, {!node.attributes[0], steps, 0, node.attributes[3]}, std::move(values), std::move(types), d.backward,
                     d.closures);
  std::size_t o = 0;
  for (int c : d.carries) p.add(c, made[o++]);
  for (int i : d.captures) p.add(i, made[o++]);
  for (int x : d.xs) p.add(x, made[o++]);
}

}  // namespace rw::detail

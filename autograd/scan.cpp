#include <rewind/autograd/scan.hpp>

#include <algorithm>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/autograd/scan_operator.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/autograd/trace.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

namespace {

class ScanOperator final : public Operator {
 public:
  constexpr ScanOperator() : Operator("scan") {}
  bool heavy() const override { return true; }
  int closures(const Body* body) const override { return body->closures; }
  Keep keep(const Node&) const override { return {.operands = true}; }
  std::string describe(const Attributes& a) const override {
    auto text = fmt::format("steps {}{}", a[1], a[0] ? " backward in time" : "");
    if (a[3] > 0) text += fmt::format(" over chunks of {}", a[3]);
    if (a[5] > 0) text += fmt::format(" from {}", a[5]);
    return text;
  }
  void gradient(Pullback& p) const override { scan_gradient(p); }
  void lower(Lowering& l, const Instruction& i) const override { lower_scan(l, i); }

  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext& context) const override {
    const Body& body = *i.body;
    auto carries = static_cast<std::size_t>(body.carries), xs = static_cast<std::size_t>(body.xs);
    auto steps = static_cast<std::uint64_t>(i.attributes[1]);
    const StepNumbers numbers(i.attributes);
    std::vector<Array> carry;
    for (std::size_t c = 0; c < carries; ++c) carry.push_back(*in[c]);
    for (std::uint64_t k = 0; k < steps; ++k) {
      std::uint64_t t = i.attributes[0] ? steps - 1 - k : k;
      std::vector<Array> inputs = carry;
      for (std::size_t x = carries; x < carries + xs; ++x) {
        Array part;
        part.shape = body.program.types[body.program.inputs[x]].shape;
        auto size = static_cast<std::ptrdiff_t>(part.shape.size());
        auto begin = in[x]->data.begin() + static_cast<std::ptrdiff_t>(t) * size;
        part.data.assign(begin, begin + size);
        inputs.push_back(std::move(part));
      }
      for (std::size_t c = carries + xs; c < in.size(); ++c) inputs.push_back(*in[c]);
      auto closures = body.closures ? context.closures.subspan(static_cast<std::size_t>(i.attributes[2])) : context.closures;
      auto results = detail::interpret(body.program, std::move(inputs), {numbers.of(context.step, static_cast<Index>(t)), closures});
      for (std::size_t y = carries; y < results.size(); ++y)
        std::copy(results[y].data.begin(), results[y].data.end(),
                  out[y].data.begin() + static_cast<std::ptrdiff_t>(t * results[y].data.size()));
      results.resize(carries);
      carry = std::move(results);
    }
    for (std::size_t c = 0; c < carries; ++c) out[c] = std::move(carry[c]);
  }
};

constexpr ScanOperator scan_object;

}  // namespace

const Operator& scan_operator = scan_object;

namespace {
/// The body of the tape with the key that stands in `body_key`, or one that is made now.
template <class F>
const std::shared_ptr<const Body>& find_body(Tape& tape, int carries, int xs, const F& make) {
  constexpr std::size_t limit = 2048;
  if (tape.bodies.size() > limit && tape.next_mark - tape.bodies_swept > limit) {  // not at every call: all may be in use
    tape.bodies_swept = tape.next_mark;
    tape.drop_bodies(tape.next_mark - std::min<std::uint64_t>(tape.next_mark, 16 * limit));
  }
  auto there = tape.bodies.find(tape.body_key);
  if (there == tape.bodies.end()) there = tape.bodies.emplace(tape.body_key, make_body(make(), carries, xs)).first;
  there->second->used = tape.next_mark;
  return there->second;
}

Key& start_key(Tape& tape, int carries, int xs) {
  tape.body_key.clear();
  tape.body_key.push_back(static_cast<std::uint64_t>(carries) | static_cast<std::uint64_t>(xs) << 32);
  return tape.body_key;
}
}  // namespace

std::shared_ptr<const Body> intern_body(Program program, int carries, int xs) {
  auto& tape = tape_of_thread();
  append_key(start_key(tape, carries, xs), program);
  return find_body(tape, carries, xs, [&] { return std::move(program); });
}

std::shared_ptr<const Body> intern_body(const Recorded& recorded, int carries, int xs) {
  auto& tape = tape_of_thread();
  append_key(start_key(tape, carries, xs), recorded);
  return find_body(tape, carries, xs, [&] { return to_program(recorded); });
}

std::shared_ptr<const Body> derived_body(const Body& of, std::initializer_list<std::uint64_t> how, const std::function<Program()>& make) {
  auto& tape = tape_of_thread();
  Key& key = start_key(tape, of.carries, of.xs);
  key.insert(key.end(), {~std::uint64_t{0}, of.serial});  // no program has so many inputs
  key.insert(key.end(), how);
  return find_body(tape, of.carries, of.xs, make);
}

void Tape::drop_bodies(std::uint64_t mark) {
  for (auto& [key, body] : bodies)
    if (body->used < mark) body->derivatives.reset();
  std::erase_if(bodies, [&](const auto& entry) { return entry.second->used < mark && entry.second.use_count() == 1; });
}

// ---- scan ------------------------------------------------------------------------------------------------------------------------

struct ScanTrace::Impl : RecycledObject {
  ScanOptions options;
  List<Variable> first, xs;
  Index steps = 0;
  OpenTrace trace;
};

namespace {

/// Numbers become f32 tensors: a carry has a dtype of its own.
List<Variable> settled(const List<Variable>& variables) {
  List<Variable> result;
  for (const auto& v : variables) result.push_back(v.handle() && v.handle()->type.weak ? cast(v, DType::f32) : v);
  return result;
}

Index count_steps(const List<Variable>& xs, const ScanOptions& options) {
  if (options.steps < -1) fail<ValueError>("scan: steps must be >= 0: got {}", options.steps);
  Index steps = options.steps;
  for (const auto& x : xs) {
    if (x.rank() == 0) fail<ShapeError>("scan: xs need a time axis: one is a scalar (stack the steps along axis 0)");
    if (steps >= 0 && x.shape()[0] != steps)
      fail<ShapeError>("scan: xs have different numbers of steps: {} and {} (axis 0 is time, and must agree)", steps, x.shape()[0]);
    steps = x.shape()[0];
  }
  if (steps < 0) fail<ValueError>("scan: there are no xs, so the number of steps is not known (give it in the options: .steps)");
  return steps;
}

}  // namespace

ScanTrace::ScanTrace(const List<Variable>& carry, const List<Variable>& xs, const ScanOptions& options) : impl_(nullptr) {
  auto first = settled(carry), stacked = settled(xs);
  for (const auto& v : first) local("scan", v);
  for (const auto& v : stacked) local("scan", v);
  Index steps = count_steps(stacked, options);
  const Checkpoint& wish = options.checkpoint;
  if (wish.every < 0) fail<ValueError>("scan: a checkpoint every {} steps (at least every step: 1)", wish.every);
  if (wish.budget < 0) fail<ValueError>("scan: a history of {} bytes (at least 1, or 0 for no limit)", wish.budget);
  impl_ = new Impl{{}, options, std::move(first), std::move(stacked), steps, {}};
  for (const auto& v : impl_->first) carry_.push_back(impl_->trace.parameter(v.handle()->type));
  for (const auto& v : impl_->xs) {
    Type type = v.handle()->type;
    type.shape.erase(0);
    x_.push_back(impl_->trace.parameter(type));
  }
}

ScanTrace::~ScanTrace() { delete impl_; }

ScanTrace::Result ScanTrace::finish(const List<Variable>& next, const List<Variable>& ys) {
  List<Variable> outputs;
  for (std::size_t c = 0; c < carry_.size(); ++c) {
    const Type& want = carry_[c].handle()->type;
    Variable v = next.size() > c ? next[c] : Variable();
    if (!v.empty() && v.handle()->type.weak) v = cast(v, want.dtype);
    const Type got = local("scan", v)->type;
    if (!(got.shape == want.shape))
      fail<ShapeError>("scan: carry {} changes its shape: {} becomes {} (every step must give what it takes)", c, want.shape, got.shape);
    if (got.dtype != want.dtype)
      fail<DTypeError>("scan: carry {} changes its dtype: {} becomes {} (every step must give what it takes)", c, want.dtype, got.dtype);
    outputs.push_back(v);
  }
  for (const auto& y : settled(ys)) outputs.push_back(y);
  List<ValueRef> captured;
  Recorded recorded = impl_->trace.record(outputs, false, &captured);
  impl_->trace.close();
  int carries = static_cast<int>(carry_.size());
  auto body = intern_body(recorded, carries, static_cast<int>(x_.size()));
  const Index extent = chunk_of(impl_->options.checkpoint, impl_->steps, *body, recorded.closures);
  const bool whole = extent > 0, reverse = impl_->options.reverse;
  const Index steps = whole ? 1 : impl_->steps;
  if (whole) {
    body = body_in_chunks(body, reverse, impl_->steps, extent);
    const Closures once = recorded.closures;  // the body has as many as both of its loops
    while (static_cast<int>(recorded.closures.size()) < body->closures)
      recorded.closures.insert(recorded.closures.end(), once.begin(), once.end());
  }
  List<Type> types;
  for (std::size_t o = 0; o < outputs.size(); ++o) {
    Type t = body->program.types[body->program.outputs[o]];
    if (static_cast<int>(o) >= carries) t.shape.insert(0, steps);
    types.push_back(t);
  }
  List<Value*> inputs;
  List<Variable> xs;
  for (const auto& v : impl_->first) inputs.push_back(local("scan", v));
  for (const auto& v : impl_->xs) xs.push_back(whole ? newaxis(v, 0) : v);
  for (const auto& v : xs) inputs.push_back(local("scan", v));
  for (const auto& v : captured) inputs.push_back(v.get());
  auto made = record(scan_operator, {reverse, steps, 0, whole ? whole_loop : 0}, std::move(inputs), std::move(types), std::move(body),
                     std::move(recorded.closures));
  Result result;
  result.last.assign(made.begin(), made.begin() + carries);
  for (auto y = made.begin() + carries; y != made.end(); ++y) {
    Shape shape = y->shape();
    if (whole) shape.erase(0);
    result.ys.push_back(whole ? reshape(*y, shape) : *y);
  }
  return result;
}

}  // namespace rw::detail

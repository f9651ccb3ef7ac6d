// Values from nothing, and what changes only how a value is held: constants, zeros, random numbers, positions, cast, detach.
#include <bit>
#include <cmath>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>

namespace rw::detail {

namespace {

bool always_shared(RowCheck& c) {
  for (int v : c.instruction.inputs)
    if (!c.require(v, Rows::shared)) return false;
  c.rows[c.instruction.first] = Rows::shared;
  return true;
}

/// A number of the structure, of any dtype. Attribute: its bits as f64.
class ConstantOperator final : public Operator {
 public:
  constexpr ConstantOperator() : Operator("constant") {}
  bool differentiable() const override { return false; }
  bool cheap(const Instruction&) const override { return true; }
  std::string describe(const Attributes& a) const override { return fmt::format("{}", std::bit_cast<double>(a[0])); }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const>, std::span<Array> out,
                 const InterpretContext&) const override {
    out[0].data[0] = std::bit_cast<double>(i.attributes[0]);
  }
  void lower(Lowering& l, const Instruction& i) const override {
    l.alias(i.first, l.constant(std::bit_cast<double>(i.attributes[0]), l.type(i.first)));
  }
  int lift(Lift& l) const override { return l.outer.append(*this, l.instruction.attributes, {}, l.body.types[l.instruction.first]); }
  bool rows(RowCheck& c) const override { return always_shared(c); }
};

/// Random elements of a shape. Input: the key (i64 [2]). Attributes: 1 for normal, elements a step (rows of a divided batch count as in
/// the whole), the first of step 0.
class RandomOperator final : public Operator {
 public:
  constexpr RandomOperator() : Operator("random") {}
  bool differentiable() const override { return false; }
  bool cheap(const Instruction&) const override { return true; }
  std::string describe(const Attributes& a) const override { return a[0] ? "normal" : "uniform"; }
  void interpret(const Program& program, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext& context) const override {
    RandomKey key{static_cast<std::uint64_t>(in[0]->data[0]), static_cast<std::uint64_t>(in[0]->data[1])};
    auto first = context.step * static_cast<std::uint64_t>(i.attributes[1]) + static_cast<std::uint64_t>(i.attributes[2]);
    auto n = static_cast<Index>(out[0].data.size());
    if (program.types[i.first].dtype == DType::f64) {
      i.attributes[0] ? fill_normal(key, first, out[0].data.data(), n) : fill_uniform(key, first, out[0].data.data(), n);
    } else {
      std::vector<float> values(out[0].data.size());
      i.attributes[0] ? fill_normal(key, first, values.data(), n) : fill_uniform(key, first, values.data(), n);
      out[0].data.assign(values.begin(), values.end());
    }
  }
  void lower(Lowering&, const Instruction&) const override {
    fail<Error>("random: reached the plan outside of a region (a fault of the fusion pass)");
  }
  int lift(Lift& l) const override {
    const auto [kind, elements, first, a, b, c] = l.instruction.attributes;
    const bool in_a_row = l.numbers.each * elements == l.body.types[l.instruction.first].shape.size();
    if (l.lifted[0] || !in_a_row) return -1;
    return l.outer.append(*this, {kind, l.numbers.around * elements, l.numbers.first * elements + first}, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    const Shape& s = c.program.types[c.instruction.first].shape;
    c.rows[c.instruction.first] = s.rank() && s[0] == c.batch ? Rows::row : Rows::shared;
    return c.require(c.instruction.inputs[0], Rows::shared);
  }
};

/// 0, 1, .. along the last axis.
class PositionsOperator final : public Operator {
 public:
  constexpr PositionsOperator() : Operator("positions") {}
  bool differentiable() const override { return false; }
  bool cheap(const Instruction&) const override { return true; }
  void interpret(const Program&, const Instruction&, std::span<const Array* const>, std::span<Array> out,
                 const InterpretContext&) const override {
    for (std::size_t n = 0; n < out[0].data.size(); ++n) out[0].data[n] = static_cast<double>(static_cast<Index>(n) % out[0].shape.back());
  }
  void lower(Lowering&, const Instruction&) const override {
    fail<Error>("positions: reached the plan outside of a region (a fault of the fusion pass)");
  }
  bool rows(RowCheck& c) const override { return always_shared(c); }
};

class CastOperator final : public Operator {
 public:
  constexpr CastOperator() : Operator("cast") {}
  void gradient(Pullback& p) const override { p.add(0, p.g()); }  // the driver casts to the operand's dtype
  void interpret(const Program& program, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    DType to = program.types[i.first].dtype;
    for (std::size_t n = 0; n < out[0].data.size(); ++n) {
      double x = in[0]->data[n];
      out[0].data[n] = to == DType::boolean ? x != 0 : is_floating(to) ? x : std::isnan(x) ? 0 : std::trunc(x);
    }
  }
  void lower(Lowering& l, const Instruction& i) const override { l.emit_copy(l.slot(i.inputs[0]), l.result(i.first)); }
  int lift(Lift& l) const override { return l.outer.append(*this, {}, l.inputs, l.type()); }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = Rows::shared;
    c.rows[c.instruction.first] = c.rows[x];
    return true;
  }
};

/// The same value; gradients stop.
class DetachOperator final : public Operator {
 public:
  constexpr DetachOperator() : Operator("detach") {}
  bool differentiable() const override { return false; }
  bool cheap(const Instruction&) const override { return true; }
  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    out[0].data = in[0]->data;
  }
  void lower(Lowering& l, const Instruction& i) const override { l.alias(i.first, l.slot(i.inputs[0])); }
  int lift(Lift& l) const override { return l.outer.append(*this, {}, l.inputs, l.type()); }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = Rows::shared;
    c.rows[c.instruction.first] = c.rows[x];
    return true;
  }
};

constexpr ConstantOperator constant_object;
constexpr RandomOperator random_object;
constexpr PositionsOperator positions_object;
constexpr CastOperator cast_object;
constexpr DetachOperator detach_object;

Variable random_leaf(bool normal, const Shape& shape, DType dtype) {
  if (!is_floating(dtype)) fail<DTypeError>("{}: f32 or f64 is needed, not {}", normal ? "normal" : "uniform", dtype);
  RandomKey key = generator().next();
  Variable k(Tensor::of<std::int64_t>(Shape{2}, {std::bit_cast<std::int64_t>(key.seed), std::bit_cast<std::int64_t>(key.stream)}));
  return record(random_operator, {normal, shape.size()}, {local("random", k)}, Type{dtype, shape});
}

}  // namespace

const Operator& constant_operator = constant_object;
const Operator& random_operator = random_object;
const Operator& positions_operator = positions_object;
const Operator& cast_operator = cast_object;
const Operator& detach_operator = detach_object;

Variable constant(double number) {
  return record(constant_operator, {std::bit_cast<std::int64_t>(number)}, {}, Type{DType::f64, Shape{}, true});
}

}  // namespace rw::detail

namespace rw {

using namespace detail;

namespace {
Variable filled(const Shape& shape, double number, DType dtype) {
  return broadcast_to(record(constant_operator, {std::bit_cast<std::int64_t>(number)}, {}, Type{dtype, Shape{}}), shape);
}
}  // namespace

Variable zeros(const Shape& shape, DType dtype) { return filled(shape, 0, dtype); }
Variable ones(const Shape& shape, DType dtype) { return filled(shape, 1, dtype); }
Variable full(const Shape& shape, const Variable& value, DType dtype) {
  if (value.rank() != 0) fail<ShapeError>("full: one value is needed: got {}", value.shape());
  return broadcast_to(cast(value, dtype), shape);
}
Variable uniform(const Shape& shape, DType dtype) { return random_leaf(false, shape, dtype); }
Variable normal(const Shape& shape, DType dtype) { return random_leaf(true, shape, dtype); }
Variable bernoulli(const Shape& shape, const Variable& probability, DType dtype) {
  auto hit = uniform(shape, is_floating(dtype) ? dtype : DType::f32) < probability;
  return cast(hit, dtype);
}

Variable positions(const Shape& shape, DType dtype) {
  if (shape.rank() == 0) fail<ShapeError>("positions: an axis is needed: the shape is {}", shape);
  if (!is_floating(dtype)) return cast(positions(shape, DType::f64), dtype);
  return record(positions_operator, {}, {}, Type{dtype, shape});
}

Variable cast(const Variable& x, DType dtype) {
  Value* in = local("cast", x);
  if (in->type.dtype == dtype && !in->type.weak) return x;
  return record(cast_operator, {}, {in}, Type{dtype, in->type.shape});
}

Variable detach(const Variable& x) {
  Value* in = local("detach", x);
  if (in->evaluated() && !in->number_set) return Variable(in->tensor());
  return record(detach_operator, {}, {in}, in->type);
}

}  // namespace rw

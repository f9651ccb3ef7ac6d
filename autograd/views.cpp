// Operations that only say how elements are seen: reshape, transpose, broadcast, flip. In a plan they are strides, not copies.
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

namespace {

class ReshapeOperator final : public Operator {
 public:
  constexpr ReshapeOperator() : Operator("reshape") {}
  bool cheap(const Instruction&) const override { return true; }
  void gradient(Pullback& p) const override { p.add(0, reshape(p.g(), p.type(0).shape)); }
  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    out[0].data = in[0]->data;
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot s = l.slot(i.inputs[0]);
    Strides strides;
    if (!reshape_strides(s.shape(), s.strides, l.type(i.first).shape, strides)) {
      s = l.dense_copy(s);
      strides = contiguous_strides(l.type(i.first).shape);
    }
    s.type = l.type(i.first);
    s.strides = strides;
    l.alias(i.first, s);
  }
  int lift(Lift& l) const override { return l.outer.append(*this, {}, l.inputs, l.type()); }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0], y = c.instruction.first;
    const Shape &from = c.program.types[x].shape, &to = c.program.types[y].shape;
    if (c.rows[x] == Rows::unknown && !(from.rank() && to.rank() && from[0] == c.batch && to[0] == c.batch)) c.rows[x] = Rows::shared;
    if (c.rows[x] == Rows::unknown) return false;
    c.rows[y] = c.rows[x];
    return c.rows[x] == Rows::shared || (to.rank() > 0 && to[0] == c.batch);
  }
};

Index packed_axes(const Dims& axes) {
  Index packed = 0;
  for (int i = 0; i < axes.rank(); ++i) packed |= axes[i] << (4 * i);
  return packed;
}
int axis_at(Index packed, int i) { return static_cast<int>(packed >> (4 * i) & 15); }

class TransposeOperator final : public Operator {
 public:
  constexpr TransposeOperator() : Operator("transpose") {}
  bool cheap(const Instruction&) const override { return true; }
  std::string describe(const Attributes& a) const override {
    std::string s = "axes";
    for (int i = 0; i < a[1]; ++i) s += fmt::format(" {}", axis_at(a[0], i));
    return s;
  }
  void gradient(Pullback& p) const override {
    int rank = p.type(0).shape.rank();
    Dims back;
    for (int i = 0; i < rank; ++i) back.push_back(0);
    for (int i = 0; i < rank; ++i) back[axis_at(p.node.attributes[0], i)] = i;
    p.add(0, transpose(p.g(), back));
  }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    Strides strides = contiguous_strides(in[0]->shape);
    for_each_index(out[0].shape, [&](std::span<const Index> index, Index n) {
      Index at = 0;
      for (int a = 0; a < out[0].shape.rank(); ++a) at += index[a] * strides[axis_at(i.attributes[0], a)];
      out[0].data[n] = in[0]->data[at];
    });
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot s = l.slot(i.inputs[0]), t = s;
    t.type = l.type(i.first);
    for (int a = 0; a < t.strides.rank(); ++a) t.strides[a] = s.strides[axis_at(i.attributes[0], a)];
    l.alias(i.first, t);
  }
  int lift(Lift& l) const override {
    Index packed = 0, rank = l.instruction.attributes[1];
    for (int i = 0; i < rank; ++i) packed |= Index(axis_at(l.instruction.attributes[0], i) + 1) << (4 * (i + 1));
    return l.outer.append(*this, {packed, rank + 1}, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = Rows::shared;
    c.rows[c.instruction.first] = c.rows[x];
    return c.rows[x] == Rows::shared || axis_at(c.instruction.attributes[0], 0) == 0;
  }
};

class BroadcastOperator final : public Operator {
 public:
  constexpr BroadcastOperator() : Operator("broadcast_to") {}
  bool cheap(const Instruction&) const override { return true; }
  void gradient(Pullback& p) const override { p.add(0, p.g()); }  // the driver sums to the operand's shape
  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    for_each_index(out[0].shape, [&](std::span<const Index> index, Index n) {
      out[0].data[n] = in[0]->data[broadcast_position(in[0]->shape, out[0].shape, index)];
    });
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot s = l.type(i.inputs[0]).weak ? l.converted(i.inputs[0], l.type(i.first).dtype) : l.slot(i.inputs[0]);
    s.strides = broadcast_strides(s.shape(), s.strides, l.type(i.first).shape);
    s.type = l.type(i.first);
    l.alias(i.first, s);
  }
  int lift(Lift& l) const override {
    Type type = l.outer.types[l.inputs[0]];
    int rank = l.type().shape.rank();
    if (type.shape.rank() < rank) {
      while (type.shape.rank() < rank) type.shape.insert(1, 1);
      l.inputs[0] = l.outer.append(reshape_operator, {}, {l.inputs[0]}, type);
    }
    return l.outer.append(*this, {}, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0], y = c.instruction.first;
    const Shape &from = c.program.types[x].shape, &to = c.program.types[y].shape;
    bool aligned = from.rank() == to.rank() && from.rank() > 0 && from[0] == to[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = aligned && to[0] == c.batch ? Rows::row : Rows::shared;
    c.rows[y] = c.rows[x];
    if (c.rows[x] == Rows::row) return aligned;
    if (!aligned && to.rank() > 0 && to[0] == c.batch) c.rows[y] = Rows::row;  // equal rows: as many as there are
    return true;
  }
};

class FlipOperator final : public Operator {
 public:
  constexpr FlipOperator() : Operator("flip") {}
  bool cheap(const Instruction&) const override { return true; }
  std::string describe(const Attributes& a) const override { return fmt::format("axes {:#b}", a[0]); }
  void gradient(Pullback& p) const override { p.add(0, record(*this, p.node.attributes, {local("flip", p.g())}, p.type(0))); }
  void interpret(const Program&, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    Strides strides = contiguous_strides(in[0]->shape);
    for_each_index(out[0].shape, [&](std::span<const Index> index, Index n) {
      Index at = 0;
      for (int a = 0; a < out[0].shape.rank(); ++a)
        at += (i.attributes[0] >> a & 1 ? out[0].shape[a] - 1 - index[a] : index[a]) * strides[a];
      out[0].data[n] = in[0]->data[at];
    });
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot s = l.slot(i.inputs[0]);
    for (int a = 0; a < s.strides.rank(); ++a) {
      if (!(i.attributes[0] >> a & 1) || s.shape()[a] == 0) continue;
      s.offset += (s.shape()[a] - 1) * s.strides[a];
      s.strides[a] = -s.strides[a];
    }
    l.alias(i.first, s);
  }
  int lift(Lift& l) const override { return l.outer.append(*this, {l.instruction.attributes[0] << 1}, l.inputs, l.type()); }
  bool rows(RowCheck& c) const override {
    int x = c.instruction.inputs[0];
    if (c.rows[x] == Rows::unknown) c.rows[x] = Rows::shared;
    c.rows[c.instruction.first] = c.rows[x];
    return c.rows[x] == Rows::shared || !(c.instruction.attributes[0] & 1);
  }
};

constexpr ReshapeOperator reshape_object;
constexpr TransposeOperator transpose_object;
constexpr BroadcastOperator broadcast_object;
constexpr FlipOperator flip_object;

/// Views of numbers are views of f32.
Type settled(Type type) {
  if (type.weak) type = {DType::f32, type.shape};
  return type;
}

}  // namespace

const Operator& reshape_operator = reshape_object;
const Operator& transpose_operator = transpose_object;
const Operator& broadcast_operator = broadcast_object;
const Operator& flip_operator = flip_object;

}  // namespace rw::detail

namespace rw {

using namespace detail;

Variable reshape(const Variable& x, const Shape& shape) {
  const Shape from = x.shape();
  Shape to = shape;
  int open = -1;
  Index known = 1;
  for (int i = 0; i < to.rank(); ++i) {
    if (to[i] < -1 || (to[i] == -1 && open >= 0)) fail<ShapeError>("reshape: extents must be >= 0, one may be -1: got {}", shape);
    if (to[i] == -1) {
      open = i;
    } else {
      known *= to[i];
    }
  }
  if (open >= 0 && known != 0 && from.size() % known == 0) to[open] = from.size() / known;
  if (open >= 0 && to[open] == -1) fail<ShapeError>("reshape: {} has {} elements, which {} cannot hold", from, from.size(), shape);
  if (to.size() != from.size())
    fail<ShapeError>("reshape: {} has {} elements, {} has {} (they must be equal)", from, from.size(), to, to.size());
  if (to == from) return x;
  Value* in = local("reshape", x.handle()->type.weak ? cast(x, DType::f32) : x);
  return record(reshape_operator, {}, {in}, Type{in->type.dtype, to});
}

Variable newaxis(const Variable& x, Index axis) {
  Shape shape = x.shape();
  shape.insert(normal_axis("newaxis", axis, x.rank() + 1), 1);
  return reshape(x, shape);
}

Variable transpose(const Variable& x, const Dims& axes) {
  int rank = x.rank();
  if (axes.rank() != rank) fail<ShapeError>("transpose: {} axes for {} (each axis must be named once)", axes.rank(), x.shape());
  std::uint32_t seen = 0;
  Dims order;
  Shape shape;
  for (Index a : axes) {
    int axis = normal_axis("transpose", a, rank);
    if (seen >> axis & 1) fail<ShapeError>("transpose: axis {} is named twice: {} (each axis must be named once)", a, to_string(axes));
    seen |= 1u << axis;
    order.push_back(axis);
    shape.push_back(x.shape()[axis]);
  }
  Value* in = local("transpose", x);
  return record(transpose_operator, {packed_axes(order), rank}, {in}, Type{settled(in->type).dtype, shape});
}

Variable transpose(const Variable& x) {
  int rank = x.rank();
  if (rank < 2) fail<ShapeError>("transpose: two axes are needed: x is {}", x.shape());
  Dims axes;
  for (int i = 0; i < rank; ++i) axes.push_back(i);
  std::swap(axes[rank - 1], axes[rank - 2]);
  return transpose(x, axes);
}

Variable broadcast_to(const Variable& x, const Shape& shape) {
  if (!broadcasts_to(x.shape(), shape))
    fail<ShapeError>("broadcast_to: {} does not broadcast to {} (aligned at the last axis, extents must be equal or 1)", x.shape(), shape);
  Value* in = local("broadcast_to", x);
  if (in->type.shape == shape && !in->type.weak) return x;
  return record(broadcast_operator, {}, {in}, Type{settled(in->type).dtype, shape});
}

Variable flip(const Variable& x, const Axes& axes) {
  Index mask = 0;
  for (Index a : axes.list()) mask ^= Index(1) << normal_axis("flip", a, x.rank());
  if (!mask) return x;
  Value* in = local("flip", x);
  return record(flip_object, {mask}, {in}, in->type);
}

}  // namespace rw

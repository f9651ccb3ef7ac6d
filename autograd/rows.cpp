// Rows by index: gather (embedding) and its adjoint, scatter_add.
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>

namespace rw::detail {

namespace {

class GatherOperator final : public Operator {
 public:
  constexpr GatherOperator() : Operator("gather") {}
  Keep keep(const Node&) const override { return {.operands = true}; }
  void gradient(Pullback& p) const override {
    if (p.needs(0)) p.add(0, scatter_add(p.g(), p.x(1), p.type(0).shape[0]));
  }
  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    Index width = in[0]->shape.size() / std::max<Index>(in[0]->shape[0], 1);
    for (std::size_t r = 0; r < in[1]->data.size(); ++r)
      for (Index c = 0; c < width; ++c)
        out[0].data[static_cast<Index>(r) * width + c] = in[0]->data[static_cast<Index>(in[1]->data[r]) * width + c];
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot table = l.slot(i.inputs[0]), index = l.slot(i.inputs[1]), y = l.result(i.first);
    l.emit({table, index, y}, [=](const Frame& f) { gather_rows(table.view(f), index.view(f), y.view(f)); });
  }
  int lift(Lift& l) const override {
    if (l.lifted[0]) return -1;
    return l.outer.append(*this, {}, l.inputs, l.type());
  }
  bool rows(RowCheck& c) const override {
    int index = c.instruction.inputs[1];
    if (c.rows[index] == Rows::unknown) {
      const Shape& s = c.program.types[index].shape;
      c.rows[index] = s.rank() && s[0] == c.batch ? Rows::row : Rows::shared;
    }
    c.rows[c.instruction.first] = c.rows[index];
    return c.require(c.instruction.inputs[0], Rows::shared);
  }
};

/// Attribute: rows of the result.
class ScatterAddOperator final : public Operator {
 public:
  constexpr ScatterAddOperator() : Operator("scatter_add") {}
  Keep keep(const Node&) const override { return {.operands = true}; }
  void gradient(Pullback& p) const override {
    if (p.needs(0)) p.add(0, gather(p.g(), p.x(1)));
  }
  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    Index rows = in[1]->shape.size(), width = rows ? in[0]->shape.size() / rows : 0;
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < width; ++c) out[0].data[static_cast<Index>(in[1]->data[r]) * width + c] += in[0]->data[r * width + c];
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot x = l.slot(i.inputs[0]), index = l.slot(i.inputs[1]), y = l.result(i.first);
    l.emit({x, index, y}, [=](const Frame& f) { scatter_add_rows(x.view(f), index.view(f), y.view(f)); });
  }
};

/// The same over time: x [T,R,N], index [T,R] -> [V,N], continued from a third operand [V,N] if there is one. Attributes: from the last
/// step to the first, rows of the result.
class ScatterAddStepsOperator final : public Operator {
 public:
  constexpr ScatterAddStepsOperator() : Operator("scatter_add_steps") {}
  std::string describe(const Attributes& a) const override { return a[0] ? "backward in time" : ""; }
  void interpret(const Program&, const Instruction&, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    const Index width = in[0]->shape[2];
    if (in.size() > 2) out[0].data = in[2]->data;
    for (std::size_t i = 0; i < in[0]->data.size(); ++i) {
      const Index row = static_cast<Index>(i) / width, column = static_cast<Index>(i) % width;
      out[0].data[static_cast<Index>(in[1]->data[row]) * width + column] += in[0]->data[i];
    }
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot x = l.slot(i.inputs[0]), index = l.slot(i.inputs[1]), y = l.result(i.first);
    const bool continues = i.inputs.size() > 2;
    if (continues) l.emit_copy(l.slot(i.inputs[2]), y);
    for (Slot* s : {&x, &index})
      if (const Index last = s->shape()[0] - 1; i.attributes[0] && last > 0) s->offset += last * s->strides[0], s->strides[0] *= -1;
    l.emit({x, index, y}, [=](const Frame& f) { scatter_add_rows(x.view(f), index.view(f), y.view(f), continues); });
  }
};

constexpr GatherOperator gather_object;
constexpr ScatterAddOperator scatter_add_object;
constexpr ScatterAddStepsOperator scatter_add_steps_object;

Value* index_of(const char* op, const Variable& index) {
  Value* value = local(op, index);
  if (value->type.dtype != DType::i32 && value->type.dtype != DType::i64)
    fail<DTypeError>("{}: the index must be i32 or i64: it is {} (cast it)", op, value->type.dtype);
  return value;
}

}  // namespace

const Operator& gather_operator = gather_object;
const Operator& scatter_add_operator = scatter_add_object;
const Operator& scatter_add_steps_operator = scatter_add_steps_object;

}  // namespace rw::detail

namespace rw {

using namespace detail;

Variable gather(const Variable& table, const Variable& index) {
  Value *t = local("gather", table), *i = index_of("gather", index);
  if (t->type.shape.rank() < 1) fail<ShapeError>("gather: the table needs an axis of rows: it is {}", t->type.shape);
  Type type{t->type.dtype, i->type.shape};
  for (int a = 1; a < t->type.shape.rank(); ++a) type.shape.push_back(t->type.shape[a]);
  return record(gather_object, {}, {t, i}, type);
}

Variable scatter_add(const Variable& x, const Variable& index, Index rows) {
  Value *in = local("scatter_add", x), *i = index_of("scatter_add", index);
  const Shape &s = in->type.shape, &n = i->type.shape;
  bool fits = s.rank() >= n.rank();
  for (int a = 0; fits && a < n.rank(); ++a) fits = s[a] == n[a];
  if (!fits) fail<ShapeError>("scatter_add: x is {}, the index {} (x's leading axes must be the index's)", s, n);
  if (rows < 0) fail<ValueError>("scatter_add: rows must be >= 0: got {}", rows);
  Type type{in->type.dtype, Shape{rows}};
  for (int a = n.rank(); a < s.rank(); ++a) type.shape.push_back(s[a]);
  return record(scatter_add_object, {rows}, {in, i}, type);
}

}  // namespace rw

// Elementwise operations on the tape: one Operator template for all of core/elementwise.hpp, and their public functions.
#include <cmath>
#include <limits>
#include <rewind/autograd/elementwise.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/format.hpp>
#include <tuple>

namespace rw::detail {

namespace {

/// Gives operand `i` its share: incoming gradient times a local derivative, which a rule may have written as a plain number.
template <class D>
void add_product(Pullback& p, int i, const Variable& g, const D& derivative) {
  if constexpr (std::is_same_v<D, op::None>) {
  } else if (!p.needs(i)) {
  } else if constexpr (std::is_arithmetic_v<D>) {
    if (derivative == 1) return p.add(i, g);
    if (derivative == -1) return p.add(i, -g);
    if (derivative != 0) p.add(i, g * derivative);
  } else {
    p.add(i, g * derivative);
  }
}

template <class D>
void add_whole(Pullback& p, int i, const D& pulled) {
  if constexpr (!std::is_same_v<D, op::None>)
    if (p.needs(i)) p.add(i, pulled);
}

/// Hands a rule's result, one formula or a tuple, to `give(operand, formula)`.
template <class R, class F>
void each_operand(const R& result, F give) {
  if constexpr (requires { std::tuple_size<R>::value; }) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (give(static_cast<int>(I), std::get<I>(result)), ...); }
    (std::make_index_sequence<std::tuple_size_v<R>>{});
  } else {
    give(0, result);
  }
}

template <class Op>
class Elementwise final : public Operator {
 public:
  constexpr Elementwise() : Operator(Op::name) {}

  bool differentiable() const override { return op::info[op::code<Op>].differentiable; }
  Keep keep(const Node&) const override { return {op::info[op::code<Op>].keeps_operands, op::info[op::code<Op>].keeps_result}; }
  bool cheap(const Instruction&) const override { return op::info[op::code<Op>].cheap; }

  void gradient(Pullback& p) const override {
    auto x = [&](int i) {  // a formula may compute with a number alone, which must not cost it digits
      if constexpr (Op::arity == 2 && std::is_base_of_v<op::Costly, Op>)
        if (p.type(i).weak) return cast(p.x(i), p.node.types[0].dtype);
      return p.x(i);
    };
    auto operands = [&](auto f) {
      if constexpr (Op::arity == 1) return f(x(0));
      if constexpr (Op::arity == 2) return f(x(0), x(1));
      if constexpr (Op::arity == 3) return f(x(0), x(1), x(2));
    };
    auto product = [&](const auto& derivatives) { each_operand(derivatives, [&](int i, const auto& d) { add_product(p, i, p.g(), d); }); };
    if constexpr (op::has_gradient<Op>) {
      product(Op::gradient());
    } else if constexpr (op::has_gradient_y<Op>) {
      product(Op::gradient_y(p.y()));
    } else if constexpr (op::has_gradient_x<Op>) {
      product(operands([](const auto&... x) { return Op::gradient_x(x...); }));
    } else if constexpr (op::has_gradient_xy<Op>) {
      product(operands([&](const auto&... x) { return Op::gradient_xy(x..., p.y()); }));
    } else if constexpr (op::has_pull_x<Op>) {
      each_operand(operands([&](const auto&... x) { return Op::pull_x(p.g(), x...); }), [&](int i, const auto& d) { add_whole(p, i, d); });
    }
  }

  void interpret(const Program& program, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext&) const override {
    interpret_elementwise(op::code<Op>, program.types[i.first], in, out[0]);
  }

  void lower(Lowering&, const Instruction&) const override {
    fail<Error>("{}: an elementwise operation reached the plan outside of a region (a fault of the fusion pass)", name());
  }

  int lift(Lift& l) const override {
    for (std::size_t k = 0; k < l.inputs.size(); ++k)
      if (l.lifted[k]) l.inputs[k] = lift_rank(l, static_cast<int>(k), l.body.types[l.instruction.first].shape.rank());
    return l.outer.append(*this, l.instruction.attributes, l.inputs, l.type());
  }

  bool rows(RowCheck& c) const override {
    int v = c.instruction.first;
    const Shape& out = c.program.types[v].shape;
    bool any = false;
    for (int in : c.instruction.inputs) any |= c.rows[in] == Rows::row;
    if (!any) {  // unknown inputs of the batch's extent are taken for rows where they are aligned with axis 0
      for (int in : c.instruction.inputs)
        any |= c.rows[in] == Rows::unknown && c.program.types[in].shape.rank() == out.rank() && out.rank() > 0 && out[0] == c.batch &&
               c.program.types[in].shape[0] == c.batch;
    }
    for (int in : c.instruction.inputs) {
      const Shape& s = c.program.types[in].shape;
      bool aligned = any && s.rank() == out.rank() && s.rank() > 0 && s[0] == out[0] && out[0] != 1;
      if (!c.require(in, aligned ? Rows::row : Rows::shared)) return false;
    }
    c.rows[v] = any ? Rows::row : Rows::shared;
    return true;
  }
};

template <class List>
struct Table;
template <class... Op>
struct Table<op::List<Op...>> {
  static constexpr std::tuple<Elementwise<Op>...> objects{};
  static constexpr const Operator* pointers[] = {&std::get<Elementwise<Op>>(objects)...};
};

/// Keeps integers as they are; others give floating results.
constexpr bool keeps_integers(op::Code code) {
  for (op::Code c :
       {op::code<op::Negate>, op::code<op::Abs>, op::code<op::Sign>, op::code<op::Square>, op::code<op::Add>, op::code<op::Subtract>,
        op::code<op::Multiply>, op::code<op::Maximum>, op::code<op::Minimum>, op::code<op::Where>, op::code<op::Clamp>, op::code<op::Relu>})
    if (c == code) return true;
  return false;
}

}  // namespace

const Operator& elementwise_operator(op::Code code) { return *Table<op::All>::pointers[code]; }

int elementwise_code(const Operator& op) {
  for (int i = 0; i < op::All::size; ++i)
    if (Table<op::All>::pointers[i] == &op) return i;
  return -1;
}

DType operand_dtype(op::Code code, std::span<const Type* const> types) {
  bool any = false;
  DType dtype = DType::boolean;
  for (std::size_t i = code == op::code<op::Where> ? 1 : 0; i < types.size(); ++i) {
    if (types[i]->weak) continue;
    dtype = promote(dtype, types[i]->dtype);
    any = true;
  }
  return any ? dtype : DType::f32;
}

Variable elementwise(op::Code code, std::initializer_list<const Variable*> operands) {
  const char* name = op::info[code].name;
  Value* in[3] = {};
  const Type* types[3] = {};
  std::size_t count = 0;
  Shape shape;
  for (const Variable* v : operands) {
    Value* value = local(name, *v);
    if (count == 0) {
      shape = value->type.shape;
    } else if (!(shape == value->type.shape)) {
      shape = broadcast(name, shape, value->type.shape);
    }
    types[count] = &value->type;
    in[count++] = value;
  }
  DType dtype = operand_dtype(code, std::span(types, count));
  if (op::info[code].boolean_result) {
    dtype = DType::boolean;
  } else if (!is_floating(dtype)) {
    if (!keeps_integers(code)) dtype = DType::f32;
    if (dtype == DType::boolean && code != op::code<op::Where>) dtype = DType::i32;
  }
  return record_one(elementwise_operator(code), {}, std::span(in, count), Type{dtype, shape});
}

int lift_rank(Lift& l, int input, int rank) {
  Type type = l.outer.types[l.inputs[input]];  // [T, ..]: axes of extent 1 go behind T until the ranks agree
  if (type.shape.rank() == rank + 1) return l.inputs[input];
  while (type.shape.rank() < rank + 1) type.shape.insert(1, 1);
  return l.outer.append(reshape_operator, {}, {l.inputs[input]}, type);
}

}  // namespace rw::detail

namespace rw {

#define REWIND_UNARY(function, Op) \
  Variable function(const Variable& x) { return detail::elementwise(op::code<op::Op>, {&x}); }
#define REWIND_BINARY(function, Op) \
  Variable function(const Variable& x, const Variable& y) { return detail::elementwise(op::code<op::Op>, {&x, &y}); }

REWIND_UNARY(operator-, Negate)
REWIND_UNARY(abs, Abs)
REWIND_UNARY(sign, Sign)
REWIND_UNARY(exp, Exp)
REWIND_UNARY(expm1, Expm1)
REWIND_UNARY(log, Log)
REWIND_UNARY(log1p, Log1p)
REWIND_UNARY(sqrt, Sqrt)
REWIND_UNARY(rsqrt, Rsqrt)
REWIND_UNARY(square, Square)
REWIND_UNARY(reciprocal, Reciprocal)
REWIND_UNARY(sin, Sin)
REWIND_UNARY(cos, Cos)
REWIND_UNARY(tanh, Tanh)
REWIND_UNARY(sigmoid, Sigmoid)
REWIND_UNARY(relu, Relu)
REWIND_UNARY(softplus, Softplus)
REWIND_UNARY(erf, Erf)
REWIND_UNARY(logical_not, LogicalNot)
REWIND_UNARY(is_finite, IsFinite)
REWIND_BINARY(operator+, Add)
REWIND_BINARY(operator-, Subtract)
REWIND_BINARY(operator*, Multiply)
REWIND_BINARY(operator/, Divide)
REWIND_BINARY(pow, Power)
REWIND_BINARY(maximum, Maximum)
REWIND_BINARY(minimum, Minimum)
REWIND_BINARY(operator<, Less)
REWIND_BINARY(operator<=, LessEqual)
REWIND_BINARY(operator>, Greater)
REWIND_BINARY(operator>=, GreaterEqual)
REWIND_BINARY(equal, Equal)
REWIND_BINARY(not_equal, NotEqual)
REWIND_BINARY(less, Less)
REWIND_BINARY(less_equal, LessEqual)
REWIND_BINARY(greater, Greater)
REWIND_BINARY(greater_equal, GreaterEqual)
REWIND_BINARY(logical_and, LogicalAnd)
REWIND_BINARY(logical_or, LogicalOr)
#undef REWIND_UNARY
#undef REWIND_BINARY

Variable where(const Variable& condition, const Variable& x, const Variable& y) {
  return detail::elementwise(op::code<op::Where>, {&condition, &x, &y});
}
Variable clamp(const Variable& x, const Variable& low, const Variable& high) {
  return detail::elementwise(op::code<op::Clamp>, {&x, &low, &high});
}

Variable& operator+=(Variable& x, const Variable& y) { return x = x + y; }
Variable& operator-=(Variable& x, const Variable& y) { return x = x - y; }
Variable& operator*=(Variable& x, const Variable& y) { return x = x * y; }
Variable& operator/=(Variable& x, const Variable& y) { return x = x / y; }

}  // namespace rw

#include <rewind/autograd/reference.hpp>

#include <algorithm>
#include <cmath>
#include <rewind/core/format.hpp>

namespace rw::detail {

Index broadcast_position(const Shape& from, const Shape& to, std::span<const Index> index) {
  Index at = 0;
  int skip = to.rank() - from.rank();
  for (int a = 0; a < from.rank(); ++a) at = at * from[a] + (from[a] == 1 ? 0 : index[static_cast<std::size_t>(a + skip)]);
  return at;
}

namespace {

using Function = double (*)(double, double, double);

struct Entry {
  op::Code code;
  Function value;
};

#define REWIND_REFERENCE(Op, formula)                                                                                  \
  Entry {                                                                                                              \
    op::code<op::Op>, [](double x, [[maybe_unused]] double y, [[maybe_unused]] double z) -> double { return formula; } \
  }

const Entry entries[] = {
    REWIND_REFERENCE(Negate, -x),
    REWIND_REFERENCE(Abs, std::fabs(x)),
    REWIND_REFERENCE(Sign, std::isnan(x) ? x : (x > 0) - (x < 0)),
    REWIND_REFERENCE(Exp, std::exp(x)),
    REWIND_REFERENCE(Expm1, std::expm1(x)),
    REWIND_REFERENCE(Log, std::log(x)),
    REWIND_REFERENCE(Log1p, std::log1p(x)),
    REWIND_REFERENCE(Sqrt, std::sqrt(x)),
    REWIND_REFERENCE(Rsqrt, 1 / std::sqrt(x)),
    REWIND_REFERENCE(Square, x* x),
    REWIND_REFERENCE(Reciprocal, 1 / x),
    REWIND_REFERENCE(Sin, std::sin(x)),
    REWIND_REFERENCE(Cos, std::cos(x)),
    REWIND_REFERENCE(Tanh, std::tanh(x)),
    REWIND_REFERENCE(Sigmoid, x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x))),
    REWIND_REFERENCE(Relu, x > 0 || std::isnan(x) ? x : 0),
    REWIND_REFERENCE(Softplus, (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x)))),
    REWIND_REFERENCE(Erf, std::erf(x)),
    REWIND_REFERENCE(LogicalNot, x == 0),
    REWIND_REFERENCE(IsFinite, std::isfinite(x)),
    REWIND_REFERENCE(Add, x + y),
    REWIND_REFERENCE(Subtract, x - y),
    REWIND_REFERENCE(Multiply, x* y),
    REWIND_REFERENCE(Divide, x / y),
    REWIND_REFERENCE(Power, std::pow(x, y)),
    REWIND_REFERENCE(Maximum, std::isnan(x) || x >= y ? x : y),
    REWIND_REFERENCE(Minimum, std::isnan(x) || x <= y ? x : y),
    REWIND_REFERENCE(Equal, x == y),
    REWIND_REFERENCE(NotEqual, x != y),
    REWIND_REFERENCE(Less, x < y),
    REWIND_REFERENCE(LessEqual, x <= y),
    REWIND_REFERENCE(Greater, x > y),
    REWIND_REFERENCE(GreaterEqual, x >= y),
    REWIND_REFERENCE(LogicalAnd, x != 0 && y != 0),
    REWIND_REFERENCE(LogicalOr, x != 0 || y != 0),
    REWIND_REFERENCE(Where, x != 0 ? y : z),
    REWIND_REFERENCE(Clamp, x<y ? y : x> z ? z : x),
};
#undef REWIND_REFERENCE

Function function_of(op::Code code) {
  for (const auto& e : entries)
    if (e.code == code) return e.value;
  fail<Error>("interpret: {} has no reference value (add it to autograd/reference.cpp)", op::info[code].name);
}

}  // namespace

void interpret_elementwise(op::Code code, const Type& type, std::span<const Array* const> in, Array& out) {
  Function f = function_of(code);
  for_each_index(type.shape, [&](std::span<const Index> index, Index n) {
    double v[3] = {};
    for (std::size_t k = 0; k < in.size(); ++k) v[k] = in[k]->data[broadcast_position(in[k]->shape, type.shape, index)];
    double y = f(v[0], v[1], v[2]);
    out.data[n] = type.dtype == DType::i32 || type.dtype == DType::i64 ? std::trunc(y) : y;
  });
}

std::vector<Array> interpret(const Program& program, std::vector<Array> inputs, const InterpretContext& context) {
  std::vector<Array> values(program.types.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) values[program.inputs[i]] = std::move(inputs[i]);
  for (const auto& i : program.code) {
    std::vector<const Array*> in;
    for (int v : i.inputs) in.push_back(&values[v]);
    std::vector<Array> out(static_cast<std::size_t>(i.count));
    for (int k = 0; k < i.count; ++k) {
      out[k].shape = program.types[i.first + k].shape;
      out[k].data.assign(static_cast<std::size_t>(out[k].shape.size()), 0.0);
    }
    i.op->interpret(program, i, in, out, {context.step, program.closures.empty() ? context.closures : program.closures});
    for (int k = 0; k < i.count; ++k) values[i.first + k] = std::move(out[k]);
  }
  std::vector<Array> outputs;
  for (int v : program.outputs) outputs.push_back(values[v]);
  return outputs;
}

Array to_array(const Tensor& tensor) {
  Tensor dense = tensor.cast(DType::f64).contiguous();
  const double* data = dense.data<double>();
  return {tensor.shape(), std::vector<double>(data, data + tensor.size())};
}

Tensor to_tensor(const Array& array, DType dtype) {
  return Tensor::of<double>(array.shape, std::span<const double>(array.data)).cast(dtype);
}

}  // namespace rw::detail

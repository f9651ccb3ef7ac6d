#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/kernels.hpp>

namespace rw::detail {

/// The closures of one call.
struct CustomCall {
  std::string name;
  std::function<Tensor(const Tensor&)> forward;
  std::function<Variable(const Variable&, const Variable&)> backward;
};

namespace {

Tensor checked(const CustomCall& call, const Tensor& x) {
  Tensor y = call.forward(x);
  if (!(y.shape() == x.shape()))
    fail<ShapeError>("{}: forward gave {} for {} (a custom operation keeps the shape)", call.name, y.shape(), x.shape());
  if (y.dtype() != x.dtype())
    fail<DTypeError>("{}: forward gave {} for {} (a custom operation keeps the dtype)", call.name, y.dtype(), x.dtype());
  return y;
}

class CustomOperator final : public Operator {
 public:
  constexpr CustomOperator() : Operator("custom") {}
  Keep keep(const Node&) const override { return {.operands = true}; }
  int closures(const Body*) const override { return 1; }
  void gradient(Pullback& p) const override {
    Variable found;
    {
      RuleScope formula(false);
      found = p.node.closures()[0]->backward(p.g(), p.x(0));
    }
    const auto& name = p.node.closures()[0]->name;
    if (found.empty()) fail<TapeError>("{}: backward gave an empty Variable (zeros(x.shape()) if there is no gradient)", name);
    if (!(found.shape() == p.type(0).shape))
      fail<ShapeError>("{}: backward gave {} for x of {} (the gradient has x's shape)", name, found.shape(), p.type(0).shape);
    p.add(0, found);
  }
  void interpret(const Program& program, const Instruction& i, std::span<const Array* const> in, std::span<Array> out,
                 const InterpretContext& context) const override {
    out[0] =
        to_array(checked(*context.closures[static_cast<std::size_t>(i.attributes[2])], to_tensor(*in[0], program.types[i.first].dtype)));
  }
  void lower(Lowering& l, const Instruction& i) const override {
    Slot x = l.dense(i.inputs[0]), y = l.dense_result(i.first);
    l.emit({x, y}, [x, y, number = i.attributes[2]](const Frame& f) {
      Tensor in(x.type.shape, x.type.dtype);
      copy(x.view(f), in.view());
      copy(checked(*f.customs[number], in).view(), y.view(f));
    });
    l.finish(i.first, y);
  }
};

constexpr CustomOperator custom_object;

}  // namespace

}  // namespace rw::detail

namespace rw {

Variable custom(const std::string& name, const Variable& x, std::function<Tensor(const Tensor&)> forward,
                std::function<Variable(const Variable& g, const Variable& x)> backward) {
  using namespace detail;
  if (!forward || !backward) fail<ValueError>("{}: both forward and backward must be given", name);
  Value* in = local(name.c_str(), x);
  auto call = std::make_shared<CustomCall>(CustomCall{name, std::move(forward), std::move(backward)});
  return std::move(record(custom_object, {}, {in}, {in->type}, {}, Closures{std::move(call)})[0]);
}

}  // namespace rw

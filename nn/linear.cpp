#include <rewind/autograd/ops.hpp>
#include <rewind/nn/check.hpp>
#include <rewind/nn/linear.hpp>

namespace rw::nn {
namespace {

Shape weight_shape(Index inputs, Index outputs, bool transposed) {
  inputs = detail::positive("Linear", "inputs", inputs);
  outputs = detail::positive("Linear", "outputs", outputs);
  return transposed ? Shape{outputs, inputs} : Shape{inputs, outputs};
}

}  // namespace

Linear::Linear(Index inputs, Index outputs, const LinearOptions& options)
    : weight(weight_shape(inputs, outputs, options.transposed)), transposed(options.transposed) {
  if (options.bias) bias.emplace(Shape{outputs});
}

Variable Linear::operator()(const Variable& x) const {
  detail::check_inputs("Linear", x, weight.shape()[transposed ? 1 : 0]);
  Variable y = matmul(x, transposed ? transpose(weight) : weight.variable());
  return bias ? y + *bias : y;
}

}  // namespace rw::nn

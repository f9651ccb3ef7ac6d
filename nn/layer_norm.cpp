#include <rewind/autograd/ops.hpp>
#include <rewind/core/format.hpp>
#include <rewind/nn/check.hpp>
#include <rewind/nn/layer_norm.hpp>

namespace rw::nn {

LayerNorm::LayerNorm(Index inputs, double epsilon)
    : gain({detail::positive("LayerNorm", "inputs", inputs)}, init::constant(1)), bias({inputs}), epsilon(epsilon) {
  if (!(epsilon > 0)) fail<ValueError>("LayerNorm: epsilon is {} (it must be positive)", epsilon);
}

Variable LayerNorm::operator()(const Variable& x) const {
  detail::check_inputs("LayerNorm", x, gain.shape()[0]);
  auto centred = x - mean(x, -1, true);
  auto variance = mean(square(centred), -1, true);
  return centred * rsqrt(variance + epsilon) * gain + bias;
}

}  // namespace rw::nn

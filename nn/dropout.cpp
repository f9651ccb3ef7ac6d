#include <rewind/autograd/ops.hpp>
#include <rewind/core/format.hpp>
#include <rewind/nn/dropout.hpp>

namespace rw::nn {

Dropout::Dropout(double rate) : rate(rate) {
  if (!(rate >= 0 && rate < 1)) fail<ValueError>("Dropout: rate is {} (it must lie in [0, 1))", rate);
}

Variable Dropout::operator()(const Variable& x) const {
  if (rate == 0 || !training()) return x;
  return x * bernoulli(x.shape(), 1 - rate, x.dtype()) / (1 - rate);
}

}  // namespace rw::nn

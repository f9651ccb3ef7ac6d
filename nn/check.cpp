#include <rewind/core/format.hpp>
#include <rewind/nn/check.hpp>

namespace rw::nn::detail {

Index positive(const char* layer, const char* what, Index value) {
  if (value < 1) fail<ValueError>("{}: {} is {} (it must be at least 1)", layer, what, value);
  return value;
}

void check_inputs(const char* layer, const Variable& x, Index inputs) {
  const Shape& shape = x.shape();
  if (shape.rank() > 0 && shape.back() == inputs) return;
  const char* kind = std::string_view(layer).ends_with("Cell") ? "cell" : "layer";
  fail<ShapeError>("{}: x is {}, but this {} takes inputs of {} (x's last axis must be {})", layer, shape, kind, inputs, inputs);
}

void check_step(const char* cell, const Variable& x, Index inputs, const char* name, const Variable& state, Index hidden) {
  if (x.rank() != 2) fail<ShapeError>("{}: x is {} (a cell takes one step: x must be [B, {}])", cell, x.shape(), inputs);
  check_inputs(cell, x, inputs);
  Shape wanted{x.shape()[0], hidden};
  if (state.shape() != wanted)
    fail<ShapeError>("{}: {} is {}, but x is {} ({} must be {})", cell, name, state.shape(), x.shape(), name, wanted);
}

}  // namespace rw::nn::detail

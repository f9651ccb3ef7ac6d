#include <rewind/core/format.hpp>
#include <rewind/nn/recurrent.hpp>

namespace rw::nn::detail {

void check_network(std::string_view cell, Index inputs, Index hidden, Index layers) {
  auto positive = [&](const char* what, Index value) {
    if (value < 1) fail<ValueError>("Recurrent<{}>: {} is {} (it must be at least 1)", cell, what, value);
  };
  positive("inputs", inputs);
  positive("hidden", hidden);
  positive("layers", layers);
}

void check_sequence(std::string_view cell, const Variable& x, Index inputs, std::size_t cells, std::size_t states) {
  if (x.rank() != 3) fail<ShapeError>("Recurrent<{}>: x is {} (it must be [T, B, {}]: time, batch, inputs)", cell, x.shape(), inputs);
  if (x.shape()[2] != inputs) {
    fail<ShapeError>("Recurrent<{}>: x is {}, but this network takes inputs of {} (x's last axis must be {})", cell, x.shape(), inputs,
                     inputs);
  }
  if (!is_floating(x.dtype())) fail<DTypeError>("Recurrent<{}>: x is {} (it must be f32 or f64)", cell, x.dtype());
  if (states != 0 && states != cells) no_state(cell, cells, states);
}

void check_layer(std::string_view cell, Index layer, Index layers, bool other_direction) {
  if (layer < 0 || layer >= layers) fail<ValueError>("Recurrent<{}>: there is no layer {} (layers are 0 to {})", cell, layer, layers - 1);
  if (other_direction) fail<ValueError>("Recurrent<{}>: there is no reverse cell (make the network with .bidirectional = true)", cell);
}

Variable first_of(std::span<const Variable> state) {
  if (state.empty())
    fail<ValueError>("Recurrent: the cell's state holds no variables, so it has no output (give the cell an output(state))");
  return state.front();
}

void no_state(std::string_view cell, std::size_t cells, std::size_t states) {
  fail<ValueError>(
      "Recurrent<{}>: the state is of {} cells, but this network has {} (give it what it returned; an empty state starts anew)", cell,
      states, cells);
}

}  // namespace rw::nn::detail

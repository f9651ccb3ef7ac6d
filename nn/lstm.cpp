#include <rewind/nn/check.hpp>
#include <rewind/nn/lstm.hpp>

namespace rw::nn {
namespace {

Tensor first_bias(Index hidden, double forget) {
  Tensor b = Tensor::zeros({4 * hidden});
  for (Index i = 0; i < hidden; ++i) b.data<float>()[i] = static_cast<float>(forget);
  return b;
}

}  // namespace

LstmCell::LstmCell(Index inputs, Index hidden, const LstmOptions& options)
    : wx({detail::positive("LstmCell", "inputs", inputs), 4 * detail::positive("LstmCell", "hidden", hidden)}),
      wh({hidden, 4 * hidden}, init::orthogonal()),
      b(first_bias(hidden, options.forget_bias)) {}

LstmCell::State LstmCell::operator()(const Variable& x, const State& s) const {
  detail::check_step("LstmCell", x, wx.shape()[0], "h", s.h, wh.shape()[0]);
  detail::check_step("LstmCell", x, wx.shape()[0], "c", s.c, wh.shape()[0]);
  auto [f, i, g, o] = split<4>(matmul(x, wx) + matmul(s.h, wh) + b);
  auto c = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
  return {sigmoid(o) * tanh(c), c};
}

LstmCell::State LstmCell::initial(Index batch) const {
  auto zero = zeros({batch, wh.shape()[0]}, wh.dtype());
  return {zero, zero};
}

template class Recurrent<LstmCell>;

}  // namespace rw::nn

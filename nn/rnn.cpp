#include <rewind/nn/check.hpp>
#include <rewind/nn/rnn.hpp>

namespace rw::nn {

RnnCell::RnnCell(Index inputs, Index hidden, const RnnOptions& options)
    : wx({detail::positive("RnnCell", "inputs", inputs), detail::positive("RnnCell", "hidden", hidden)}),
      wh({hidden, hidden}, init::orthogonal()),
      b({hidden}),
      activation(options.activation) {}

Variable RnnCell::operator()(const Variable& x, const Variable& h) const {
  detail::check_step("RnnCell", x, wx.shape()[0], "h", h, wh.shape()[0]);
  auto a = matmul(x, wx) + matmul(h, wh) + b;
  return activation == Activation::relu ? relu(a) : tanh(a);
}

Variable RnnCell::initial(Index batch) const { return zeros({batch, wh.shape()[0]}, wh.dtype()); }

template class Recurrent<RnnCell>;

}  // namespace rw::nn

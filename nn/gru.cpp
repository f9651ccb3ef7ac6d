#include <rewind/nn/check.hpp>
#include <rewind/nn/gru.hpp>

namespace rw::nn {

GruCell::GruCell(Index inputs, Index hidden, const GruOptions& options)
    : wx({detail::positive("GruCell", "inputs", inputs), 3 * detail::positive("GruCell", "hidden", hidden)}),
      wh({hidden, (options.reset == Reset::before ? 2 : 3) * hidden}, init::orthogonal()),
      b({3 * hidden}) {
  if (options.reset == Reset::before)
    wn.emplace(Shape{hidden, hidden}, init::orthogonal());
  else
    bn.emplace(Shape{hidden});
}

Variable GruCell::operator()(const Variable& x, const Variable& h) const {
  detail::check_step("GruCell", x, wx.shape()[0], "h", h, wh.shape()[0]);
  auto [xz, xr, xn] = split<3>(matmul(x, wx) + b);
  if (reset() == Reset::before) {
    auto [hz, hr] = split<2>(matmul(h, wh));
    auto z = sigmoid(xz + hz);
    auto r = sigmoid(xr + hr);
    auto n = tanh(xn + matmul(r * h, *wn));
    return (1 - z) * h + z * n;
  }
  auto [hz, hr, hn] = split<3>(matmul(h, wh));
  auto z = sigmoid(xz + hz);
  auto r = sigmoid(xr + hr);
  auto n = tanh(xn + r * (hn + *bn));
  return (1 - z) * n + z * h;
}

Variable GruCell::initial(Index batch) const { return zeros({batch, wh.shape()[0]}, wh.dtype()); }

template class Recurrent<GruCell>;

}  // namespace rw::nn

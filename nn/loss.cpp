#include <limits>
#include <rewind/autograd/ops.hpp>
#include <rewind/core/format.hpp>
#include <rewind/nn/loss.hpp>

namespace rw::nn {

Variable cross_entropy(const Variable& logits, const Variable& targets) {
  if (!is_floating(logits.dtype())) fail<DTypeError>("cross_entropy: logits are {} (they must be f32 or f64)", logits.dtype());
  if (targets.dtype() != DType::i32 && targets.dtype() != DType::i64) {
    fail<DTypeError>("cross_entropy: targets are {} (they are indices of classes: i32 or i64)", targets.dtype());
  }
  if (logits.rank() == 0) fail<ShapeError>("cross_entropy: logits are [] (they must be [.., V])");
  Dims rows = logits.shape();
  rows.erase(rows.rank() - 1);
  if (targets.shape() != Shape(rows)) {
    fail<ShapeError>("cross_entropy: targets are {}, but logits are {} (targets must be logits' shape without its last axis: {})",
                     targets.shape(), logits.shape(), Shape(rows));
  }
  if (logits.size() == 0)
    fail<ShapeError>("cross_entropy: logits are {}: a mean over nothing (every extent must be at least 1)", logits.shape());
  // The picked logit as a row sum: it fuses with the row's maximum and sum of exponentials. So do the numbers of classes if they are
  // floating, as long as they are exact.
  const DType numbers = logits.shape().back() <= Index(1) << 24 ? logits.dtype() : DType::f64;
  auto picked = sum(where(equal(positions(logits.shape(), numbers), newaxis(cast(targets, numbers), -1)), logits, 0), -1);
  auto valid = where(logical_and(targets >= 0, targets < logits.shape().back()), 1, std::numeric_limits<double>::quiet_NaN());
  return mean((logsumexp(logits, -1) - picked) * valid);
}

Variable mean_squared_error(const Variable& y, const Variable& target) {
  if (y.shape() != target.shape()) {
    fail<ShapeError>("mean_squared_error: shapes differ: y is {}, target {} (they must be equal)", y.shape(), target.shape());
  }
  if (y.size() == 0) fail<ShapeError>("mean_squared_error: y is {}: a mean over nothing (every extent must be at least 1)", y.shape());
  return mean(square(y - target));
}

}  // namespace rw::nn

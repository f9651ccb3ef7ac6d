#include <rewind/core/format.hpp>
#include <rewind/train/sampling.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace rw::train {

void check(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && std::isfinite(options.temperature)))
    fail<ValueError>("sampling: temperature must be finite and not negative: got {} (0 takes the likeliest symbol)", options.temperature);
  if (options.top_k < 0) fail<ValueError>("sampling: top_k must not be negative: got {} (0 draws from all symbols)", options.top_k);
}

Index draw(const Tensor& logits, const SamplingOptions& options, Generator& generator) {
  check(options);
  const Tensor row = logits.cast(DType::f64).contiguous();
  const Index n = row.size();
  const double* x = row.data<double>();
  if (n == 0) fail<ValueError>("sampling: no logits: shape {} (at least one symbol is needed)", logits.shape());
  const Index broken = std::find_if(x, x + n, [](double v) { return std::isnan(v) || v == HUGE_VAL; }) - x;
  if (broken != n) fail<ValueError>("sampling: logit {} is {} (has the training diverged?)", broken, x[broken]);

  std::vector<Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  const Index kept = options.temperature == 0 ? 1 : options.top_k == 0 ? n : std::min(options.top_k, n);
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [&](Index a, Index b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  if (!std::isfinite(x[order[0]])) fail<ValueError>("sampling: no logit is finite (has the training diverged?)");
  if (kept == 1) return order[0];

  double total = 0;
  std::vector<double> weights(static_cast<std::size_t>(kept));
  for (std::size_t i = 0; i < weights.size(); ++i) total += weights[i] = std::exp((x[order[i]] - x[order[0]]) / options.temperature);
  double uniform;
  fill_uniform(generator.next(), 0, &uniform, 1);
  uniform *= total;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if ((uniform -= weights[i]) < 0) return order[i];
  return order[0];
}

}  // namespace rw::train

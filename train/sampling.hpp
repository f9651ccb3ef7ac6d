// Drawing a symbol from logits.
#pragma once

#include <rewind/core/random.hpp>
#include <rewind/core/tensor.hpp>

namespace rw::train {

struct SamplingOptions {
  double temperature = 1;  ///< logits are divided by it: below 1 bolder in the likely, 0 takes the likeliest always; finite, >= 0
  Index top_k = 0;         ///< only the k likeliest are drawn from; 0: all
};

/// Throws ValueError for a temperature that is negative or not finite, or a negative top_k.
void check(const SamplingOptions& options);

/// The number of a symbol, drawn from softmax(logits / temperature) over the top_k likeliest (of equals, the first). logits [.., V] of one
/// row, f32 or f64. Throws ValueError if one is NaN or none is finite.
Index draw(const Tensor& logits, const SamplingOptions& options, Generator& generator);

}  // namespace rw::train

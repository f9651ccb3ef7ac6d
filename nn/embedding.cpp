#include <rewind/autograd/ops.hpp>
#include <rewind/core/format.hpp>
#include <rewind/nn/check.hpp>
#include <rewind/nn/embedding.hpp>

namespace rw::nn {

Embedding::Embedding(Index vocabulary, Index width, Initializer initializer)
    : weight({detail::positive("Embedding", "vocabulary", vocabulary), detail::positive("Embedding", "width", width)}, initializer) {}

Variable Embedding::operator()(const Variable& tokens) const {
  if (tokens.dtype() != DType::i32 && tokens.dtype() != DType::i64) {
    fail<DTypeError>("Embedding: tokens are {} (they are indices: i32 or i64)", tokens.dtype());
  }
  return gather(weight, tokens);
}

}  // namespace rw::nn

// Letting a language model write.
#pragma once

#include <rewind/autograd/structs.hpp>
#include <rewind/train/sampling.hpp>
#include <rewind/train/text.hpp>
#include <utility>

namespace rw::train {

/// A model that reads symbols and predicts the next: model.logits(symbols i32 [T,B], state) gives logits [T,B,V] and the state afterwards.
/// An empty state means "start here".
template <class M>
concept LanguageModel = requires(const M& model, const Variable& symbols, const typename M::State& state) {
  { model.logits(symbols, state) } -> std::same_as<std::pair<Variable, typename M::State>>;
  requires VariableStruct<typename M::State>;
};

struct GenerateOptions {
  Index length = 500;         ///< symbols to write
  std::string prompt = "\n";  ///< UTF-8: what the model reads first; empty stands for the vocabulary's first symbol
  SamplingOptions sampling = {};
  std::uint64_t seed = 1;  ///< of a generator of its own: the thread's is not touched
};

namespace detail {

/// Draws symbol after symbol; `step` reads one and gives the logits for the next.
template <class Step>
std::string generate(const Vocabulary& vocabulary, const GenerateOptions& options, Step&& step) {
  check(options.sampling);
  Generator generator(options.seed);
  Tensor prompt = vocabulary.encode(std::string_view(options.prompt), "prompt");
  if (prompt.size() == 0) prompt = Tensor::zeros({1}, DType::i32);
  std::string written;
  Tensor logits;
  for (Index i = 0; i < prompt.size(); ++i) logits = step(prompt.slice(0, i, i + 1).template item<std::int32_t>());
  for (Index i = 0; i < options.length; ++i) {
    const Index symbol = draw(logits, options.sampling, generator);
    written += vocabulary.decode(symbol);
    if (i + 1 < options.length) logits = step(static_cast<std::int32_t>(symbol));
  }
  return written;
}

}  // namespace detail

/// What the model writes after the prompt, as UTF-8 without the prompt. Each symbol runs the same one-step program. Throws ValueError for a
/// symbol of the prompt that the vocabulary lacks, and as `draw` does.
template <LanguageModel M>
std::string generate(const M& model, const Vocabulary& vocabulary, const GenerateOptions& options = {}) {
  Evaluation guard;
  typename M::State state;
  return detail::generate(vocabulary, options, [&](std::int32_t symbol) {
    auto [logits, next] = model.logits(Tensor::of<std::int32_t>({1, 1}, {symbol}), state);
    Tensor row = logits.value();
    state = detach(next);
    return row;
  });
}

}  // namespace rw::train

// A character language model: what it computes is said here, and nowhere else.
#pragma once

#include <rewind/rewind.hpp>

/// Symbols [T,B] -> embedding [T,B,E] -> recurrent layers [T,B,H] -> logits [T,B,V] for the symbols that follow. Dropout acts on the
/// embedding and before the head. Recurrent is rw::nn::Rnn, Lstm, Gru or any Recurrent<Cell>.
template <class Recurrent>
struct CharModel {
  rw::nn::Embedding embed;
  Recurrent rnn;
  rw::nn::Linear head;
  rw::nn::Dropout drop;
  using State = typename Recurrent::State;

  CharModel(rw::Index vocabulary, rw::Index embedding, rw::Index hidden, double dropout, const typename Recurrent::Options& options)
      : embed(vocabulary, embedding), rnn(embedding, hidden, options), head(hidden, vocabulary), drop(dropout) {}

  std::pair<rw::Variable, State> logits(const rw::Variable& symbols, const State& state) const {
    auto [y, last] = rnn(drop(embed(symbols)), state);
    return {head(drop(y)), last};
  }
  REWIND_FIELDS(embed, rnn, head)
};

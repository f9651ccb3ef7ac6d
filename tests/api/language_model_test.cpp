// A user's second program: a language model and its training.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>
using namespace rw;

namespace {

struct CharModel {
  nn::Embedding embed;
  nn::Lstm lstm;
  nn::Linear head;
  using State = nn::Lstm::State;
  CharModel(Index vocabulary, Index hidden) : embed(vocabulary, 64), lstm(64, hidden, {.layers = 2}), head(hidden, vocabulary) {}
  std::pair<Variable, State> loss(const Variable& tokens, const Variable& next, const State& s) const {
    auto [y, last] = lstm(embed(tokens), s);
    return {nn::cross_entropy(head(y), next), last};
  }
  REWIND_FIELDS(embed, lstm, head)
};

}  // namespace

TEST_CASE("api: a language model learns a text by heart") {
  seed(1);
  std::string corpus;
  for (int i = 0; i < 60; ++i) corpus += "the quick brown fox jumps over the lazy dog. ";
  auto text = train::Text::of(corpus);
  CharModel model(text.vocabulary().size(), 32);
  optim::Adam adam(parameters(model), {.rate = 1e-2});
  adam.clip_norm(5.0);  // belongs to the step: one norm over all groups, no loop can forget it
  auto stream = text.train().stream({.batch = 8, .time = 16});
  CharModel::State state;
  double first = 0, final = 0;
  for (int epoch = 0; epoch < 4; ++epoch) {
    for (auto [x, y] : stream.epoch()) {
      auto [loss, last] = model.loss(x, y, state);
      backward(loss);        // adds into the parameters' gradients
      adam.step();           // uses and clears them; throws before any write if one is not finite
      state = detach(last);  // truncated back-propagation through time
      final = loss.item();
      if (first == 0) first = final;
    }
  }
  CHECK(first > 3);  // about ln 28
  CHECK(final < 0.6 * first);
  CHECK(adam.number() == 4 * stream.batches());
  CHECK(adam.gradient_norm() > 0);
}

TEST_CASE("api: a training loop with a schedule makes no plan after its second step") {
  seed(1);
  CharModel model(11, 16);
  optim::Adam adam(parameters(model), {.rate = 1e-2});
  adam.schedule(optim::warmup(5) * optim::cosine(40));
  adam.clip_norm(1.0);
  Variable x = Tensor::arange(12).reshape({6, 2}).cast(DType::i32).slice(0, 0, 5);
  Variable y = Tensor::arange(12).reshape({6, 2}).cast(DType::i32).slice(0, 0, 5);
  CharModel::State state;
  std::uint64_t start = tape::statistics().plans, second = 0;
  for (int i = 0; i < 30; ++i) {
    auto [loss, last] = model.loss(x, y, state);
    backward(loss);
    adam.step();
    state = detach(last);
    if (i == 1) second = tape::statistics().plans;
  }
  CHECK(second - start <= 4);
  CHECK(tape::statistics().plans == second);
}

TEST_CASE("api: under Evaluation there is no dropout and no gradient") {
  seed(3);
  nn::Lstm lstm(4, 8, {.layers = 2, .dropout = 0.5});
  Variable x = random::normal({5, 2, 4});
  Evaluation guard;
  auto a = lstm(x).first.value(), b = lstm(x).first.value();
  CHECK(identical(a, b));
}

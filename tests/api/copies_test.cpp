// Copies, assignment and ties, as a user writes them.
#include <doctest/doctest.h>
#include <rewind/rewind.hpp>

#include "support.hpp"
using namespace rw;

namespace {

struct Tied {
  nn::Embedding embed;
  nn::Lstm lstm;
  nn::Linear head;
  Tied(Index vocabulary, Index width)
      : embed(vocabulary, width, init::normal(0, 0.1)), lstm(width, width), head(width, vocabulary, {.transposed = true}) {
    head.weight = share(embed.weight);  // one place for two names: stepped once, saved once
  }
  REWIND_FIELDS(embed, lstm, head)
};

}  // namespace

TEST_CASE("api: copy keeps values and ties, goes on living while the model trains, and assign brings it back") {
  seed(9);
  Tied model(7, 4);
  CHECK(parameters(model).size() == 5);
  REQUIRE(aliases(model).size() == 1);
  CHECK(aliases(model)[0].name == "head.weight");
  CHECK(aliases(model)[0].of == "embed.weight");

  auto best = copy(model);
  CHECK(best.head.weight.place() == best.embed.weight.place());
  CHECK(best.embed.weight.place() != model.embed.weight.place());
  Tensor before = model.embed.weight.value();

  optim::Adam adam(parameters(model), {.rate = 0.1});
  Variable tokens = Tensor::of<std::int32_t>({3, 2}, {0, 1, 2, 3, 4, 5});
  auto loss = [&](const Tied& m) { return nn::cross_entropy(m.head(m.lstm(m.embed(tokens)).first), tokens); };
  backward(loss(model));
  adam.step();
  CHECK(!identical(model.embed.weight.value(), before));
  CHECK(identical(model.embed.weight.value(), model.head.weight.value()));
  CHECK(identical(best.embed.weight.value(), before));

  assign(model, best);
  CHECK(identical(model.embed.weight.value(), before));
  CHECK(model.head.weight.place() == model.embed.weight.place());
  CHECK(loss(model).item() == loss(best).item());
  backward(loss(model));
  adam.step();  // the optimizer kept its hold
  CHECK(!identical(model.embed.weight.value(), before));
}

TEST_CASE("api: a tied parameter copied alone, and models of other sizes, say so") {
  Tied model(7, 4), wider(7, 5);
  CHECK(test::error_text<TapeError>([&] { Tied other = model; }) ==
        "Parameter: a shared parameter of shape [7, 4] was copied alone, which would untie it (copy the whole model with copy(model), or "
        "give the "
        "new one its value: Parameter(other.value()))");
  CHECK(test::error_text<ShapeError>([&] { assign(model, wider); }) ==
        "assign: parameter embed.weight is [7, 4], in the source [7, 5] (both models must have the same sizes)");
}

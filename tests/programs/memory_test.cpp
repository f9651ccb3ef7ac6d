// A program of its own, for it counts every operator new: what a training step takes from the system once it is under way.
#include <doctest/doctest.h>
#include <cstdlib>
#include <new>
#include <rewind/core/recycle.hpp>
#include <rewind/core/storage.hpp>
#include <rewind/core/team.hpp>
#include <rewind/rewind.hpp>

namespace {
long news = 0;  // of the one thread
}

void* operator new(std::size_t bytes) {
  ++news;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {  // std::stable_sort's
  ++news;
  return std::malloc(bytes ? bytes : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using namespace rw;

struct LanguageModel {
  nn::Embedding embed;
  nn::Lstm lstm;
  nn::Linear head;
  LanguageModel() : embed(17, 8), lstm(8, 16, {.layers = 2}), head(16, 17) {}
  REWIND_FIELDS(embed, lstm, head)
};

struct OtherModel {
  nn::Embedding embed;
  nn::Lstm lower, upper;
  nn::LstmCell cell;
  nn::Linear head;
  OtherModel()
      : embed(17, 8),
        lower(8, 16, {.checkpoint = checkpoint::sqrt()}),
        upper(16, 16, {.bidirectional = true, .dropout = 0.1}),
        cell(8, 16),
        head(32, 17) {}
  REWIND_FIELDS(embed, lower, upper, cell, head)
};

/// From the third on, steps take nothing from the system.
template <class Step>
void check_steps(const Step& step) {
  step();
  step();
  long counts[6];
  const auto blocks = pool_statistics().allocations;
  const Index held = pool_statistics().bytes_in_use;
  for (long& count : counts) {
    const long before = news;
    step();
    count = news - before;
  }
  CHECK(pool_statistics().allocations == blocks);
  CHECK(pool_statistics().bytes_in_use == held);
  for (long count : counts) CHECK(count == (recycles_blocks() ? 0 : counts[0]));
}

const Variable& tokens() {
  static const Variable x(Tensor::full({12, 4}, 3, DType::i64));
  return x;
}

}  // namespace

TEST_CASE("memory: a training step takes nothing from the system after the second") {
  set_threads(1);
  seed(1);
  const LanguageModel model;
  optim::Adam adam(parameters(model), {.rate = 1e-3});
  adam.clip_norm(5.0);
  nn::Lstm::State state;
  check_steps([&] {
    auto [y, last] = model.lstm(model.embed(tokens()), state);
    backward(nn::cross_entropy(model.head(y), tokens()));
    adam.step();
    state = detach(last);
  });
}

TEST_CASE("memory: nor does one with checkpoints, dropout, both directions, and a loop by hand") {
  set_threads(1);
  seed(1);
  const OtherModel model;
  optim::Sgd sgd(parameters(model), {.rate = 1e-3});
  check_steps([&] {
    const Variable x = model.embed(tokens());
    nn::LstmCell::State s = model.cell.initial(4);
    Variable loss = nn::cross_entropy(model.head(model.upper(model.lower(x).first).first), tokens());
    for (Index t = 0; t < 12; ++t) {
      s = model.cell(x[t], s);
      loss += sum(s.h);
    }
    backward(loss);
    sgd.step();
  });
}

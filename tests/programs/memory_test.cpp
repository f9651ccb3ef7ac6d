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

}  // namespace

TEST_CASE("memory: a training step takes nothing from the system after the second") {
  set_threads(1);
  seed(1);
  const LanguageModel model;
  optim::Adam adam(parameters(model), {.rate = 1e-3});
  adam.clip_norm(5.0);
  const Variable x(Tensor::full({12, 4}, 3, DType::i64)), next(Tensor::full({12, 4}, 5, DType::i64));
  nn::Lstm::State state;
  auto step = [&] {
    auto [y, last] = model.lstm(model.embed(x), state);
    backward(nn::cross_entropy(model.head(y), next));
    adam.step();
    state = detach(last);
  };
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

// Writing one symbol: a step of a two-layer LSTM language model at batch 1, recorded and replayed from the cache of plans, with sampling;
// beside the same packed products called directly in the same run.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>
#include <rewind/rewind.hpp>

namespace {

using namespace rw;
using Clock = std::chrono::steady_clock;

template <class Step>
double median_microseconds(int runs, const Step& step) {
  std::vector<double> times;
  for (int i = -20; i < runs; ++i) {
    const auto start = Clock::now();
    step();
    if (i >= 0) times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[static_cast<std::size_t>(runs / 2)];
}

void run(Index hidden, Index vocabulary, int runs) {
  const Evaluation guard;
  const nn::Embedding embed(vocabulary, std::min<Index>(hidden, 128));
  const nn::Lstm lstm(std::min<Index>(hidden, 128), hidden, {.layers = 2});
  const nn::Linear head(hidden, vocabulary);
  nn::Lstm::State state;
  Index symbol = 0;
  Generator dice(1);
  double whole = median_microseconds(runs, [&] {
    auto [y, last] = lstm(embed(Tensor::full({1, 1}, static_cast<double>(symbol), DType::i64)), state);
    const Tensor p = softmax(reshape(head(y), {vocabulary})).value();
    float u;
    fill_uniform(dice.next(), 0, &u, 1);
    for (symbol = 0; symbol + 1 < vocabulary && (u -= p.data<float>()[symbol]) > 0;) ++symbol;
    state = detach(last);
  });

  std::vector<const PackedMatrix*> products;
  for (const auto& p : parameters(lstm))
    if (p.place.value().rank() == 2) {
      const Tensor w = p.place.value().value();
      products.push_back(&packed(*w.storage().get(), w.offset() * 4, DType::f32, w.shape()[0], w.shape()[1], w.shape()[1], 1));
    }
  const Tensor w = head.weight.value();
  products.push_back(&packed(*w.storage().get(), w.offset() * 4, DType::f32, w.shape()[0], w.shape()[1], w.shape()[1], 1));
  std::vector<float> x(static_cast<std::size_t>(4 * hidden), 0.5f), y(static_cast<std::size_t>(4 * hidden + vocabulary));
  double bare = median_microseconds(runs, [&] {
    for (const auto* p : products) matmul(1, Matrix{x.data(), p->k(), 1}, *p, y.data(), p->n(), false, false);
  });
  fmt::print("LSTM 2x{:<5} {:>9.1f} us a symbol {:>9.1f} us its products {:>9.1f} us beyond them\n", hidden, whole, bare, whole - bare);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"One generated symbol of a two-layer LSTM: microseconds, beside its products alone."};
  int threads = 1, runs = 3000;
  bool profile = false;
  std::vector<Index> hidden{128, 256, 512};
  Index vocabulary = 65;
  app.add_option("--threads", threads, "threads of the team")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_option("--hidden", hidden, "sizes")->delimiter(',')->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--vocabulary", vocabulary, "symbols")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--runs", runs, "symbols a figure; the median is printed")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--profile", profile, "where the time went, at the end");
  CLI11_PARSE(app, argc, argv);
  set_threads(threads);
  seed(1);
  const train::ProfileAtEnd at_end(profile, stdout);
  for (Index h : hidden) run(h, vocabulary, runs);
}

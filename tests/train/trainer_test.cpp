#include <signal.h>
#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/nn/embedding.hpp>
#include <rewind/nn/linear.hpp>
#include <rewind/nn/lstm.hpp>
#include <rewind/optim/adam.hpp>
#include <rewind/train/trainer.hpp>

#include <cmath>
#include <fstream>
#include <sstream>

#include "../support.hpp"

using namespace rw;
using test::error_text;

namespace {

struct CharModel {
  nn::Embedding embed;
  nn::Lstm rnn;
  nn::Linear head;
  nn::Dropout drop{0.1};
  using State = nn::Lstm::State;
  CharModel(Index vocabulary, Index hidden) : embed(vocabulary, 8), rnn(8, hidden, {.layers = 2}), head(hidden, vocabulary) {}
  std::pair<Variable, State> logits(const Variable& symbols, const State& state) const {
    auto [y, last] = rnn(drop(embed(symbols)), state);
    return {head(drop(y)), last};
  }
  REWIND_FIELDS(embed, rnn, head)
};

/// Predicts nothing from anything, but breaks at a step of its own choice.
struct Broken {
  Parameter weight{Tensor::zeros({3})};
  mutable int calls = 0;
  int good;
  struct State {};
  explicit Broken(int good) : good(good) {}
  std::pair<Variable, State> logits(const Variable& symbols, const State&) const {
    const Shape& s = symbols.shape();
    const Variable row = training() && ++calls > good ? weight * Variable(NAN) : weight + 0;
    return {broadcast_to(row, {s[0], s[1], 3}), {}};
  }
  REWIND_FIELDS(weight)
};

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// metrics.csv without its last two columns, which depend on the clock.
std::string timeless(const std::string& path) {
  std::istringstream lines(content(path));
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    for (int i = 0; i < 2; ++i) line.resize(line.find_last_of(','));
    result += line + '\n';
  }
  return result;
}

train::Text text() {
  std::string words;
  for (int i = 0; i < 400; ++i) words += i % 3 == 0 ? "the cat " : i % 7 == 1 ? "sat on " : "a mat. ";
  return train::Text::of(words);
}

/// A run from the start or from `last`, in objects of its own.
train::Summary run(const train::Text& text, const train::TrainerOptions& options, std::uint64_t number = 3) {
  seed(number);
  CharModel model(text.vocabulary().size(), 12);
  optim::Adam adam(parameters(model), {.rate = 1e-2});
  adam.clip_norm(1);
  train::Trainer trainer(model, adam, text, options);
  return trainer.run();
}

}  // namespace

TEST_CASE("evaluate: columns side by side give what a single pass gives") {
  seed(2);
  const train::Text t = text();
  CharModel model(t.vocabulary().size(), 12);
  const double single = train::evaluate(model, t.train(), {.columns = 1});
  CHECK(single == doctest::Approx(std::log(static_cast<double>(t.vocabulary().size()))).epsilon(0.3));
  CHECK(test::close(train::evaluate(model, t.train(), {.columns = 1, .time = 1000}), single, 1e-6));
  // A fresh LSTM, whose forget gates begin open, still knows of what it read some 100 symbols ago: cold columns are off by 1e-4 and more.
  const train::EvaluationOptions columns{.columns = 5, .time = 17, .warm = 240};
  CHECK(train::EvaluationPlan(t.train().symbols(), columns).columns() == 2);
  CHECK(test::close(train::evaluate(model, t.train(), columns), single, 1e-5));
}

TEST_CASE("evaluate: equals the sum of single predictions") {
  seed(2);
  const train::Text t = train::Text::of("abcabcaabbcc", {.valid = 0.5});
  CharModel model(3, 4);
  Evaluation guard;
  CharModel::State state;
  double sum = 0;
  const Tensor symbols = t.train().symbols();
  for (Index i = 0; i + 1 < symbols.size(); ++i) {
    auto [logits, next] = model.logits(symbols.slice(0, i, i + 1).reshape({1, 1}), state);
    const auto row = test::doubles(logits.value());
    sum += std::log(std::exp(row[0]) + std::exp(row[1]) + std::exp(row[2])) - row[static_cast<std::size_t>(symbols.at({i + 1}))];
    state = detach(next);
  }
  CHECK(test::close(train::evaluate(model, t.train()), sum / static_cast<double>(symbols.size() - 1), 1e-6));
}

TEST_CASE("generate: the same seed writes the same, the thread's generator is not touched") {
  seed(2);
  const train::Text t = text();
  CharModel model(t.vocabulary().size(), 12);
  const RandomKey key = generator().state();
  const std::string first = train::generate(model, t.vocabulary(), {.length = 20, .prompt = "the"});
  CHECK(first.size() == 20);
  CHECK(train::generate(model, t.vocabulary(), {.length = 20, .prompt = "the"}) == first);
  CHECK(train::generate(model, t.vocabulary(), {.length = 20, .prompt = "the", .seed = 9}) != first);
  CHECK(train::generate(model, t.vocabulary(), {.length = 0, .prompt = ""}) == "");
  CHECK(generator().state() == key);
  CHECK(error_text<ValueError>([&] { train::generate(model, t.vocabulary(), {.prompt = "cat!"}); }) ==
        fmt::format("prompt: symbol '!' (U+0021) at place 3 is not in the vocabulary of {} symbols (use symbols of the training text)",
                    t.vocabulary().size()));
}

TEST_CASE("trainer: learns, and leaves what a run leaves") {
  test::Scratch scratch;
  const train::Text t = text();
  const train::Summary end = run(
      t,
      {.batch = 4, .time = 8, .steps = 150, .every = 60, .warmup = 5, .out = scratch.file("a/b"), .config = "{\"x\": 1}\n", .quiet = true});
  CHECK(end.step == 150);
  CHECK(end.tokens == 150 * 32);
  CHECK_FALSE(end.interrupted);
  CHECK(end.valid_nats < 1.2);
  train::MetricsLog log(scratch.file("a/b/metrics.csv"));
  log.read();
  REQUIRE(log.rows().size() == 3);
  CHECK(log.rows()[1].step == 120);
  CHECK(log.rows()[2].step == 150);
  CHECK(log.rows()[2].valid_nats == doctest::Approx(end.valid_nats).epsilon(1e-8));
  CHECK(log.rows()[2].rate > 0);
  CHECK(log.rows()[2].rate < 1e-5);
  CHECK(log.rows()[0].rate == doctest::Approx(1e-2 * (0.5 + 0.5 * std::cos(std::acos(-1.0) * 59 / 150))));
  CHECK(content(scratch.file("a/b/config.json")) == "{\"x\": 1}\n");
  CHECK(train::saved_config(scratch.file("a/b")) == "{\"x\": 1}\n");
  CHECK(train::saved_steps(scratch.file("a/b")) == 150);
  CHECK(train::Checkpoint::read(scratch.file("a/b/model.safetensors")).has("rnn.1.wh"));
}

TEST_CASE("trainer: a run that was stopped goes on to the last bit") {
  test::Scratch scratch;
  const train::Text t = text();
  train::TrainerOptions options{.batch = 4, .time = 8, .steps = 50, .every = 20, .warmup = 5, .out = scratch.file("whole"), .quiet = true};
  const train::Summary whole = run(t, options);

  options.out = scratch.file("parts");
  struct Stopper : CharModel {
    mutable int calls = 0;
    using CharModel::CharModel;
    std::pair<Variable, State> logits(const Variable& symbols, const State& state) const {
      if (training() && ++calls == 33) raise(SIGINT);
      return CharModel::logits(symbols, state);
    }
  };
  {
    seed(3);
    Stopper model(t.vocabulary().size(), 12);
    optim::Adam adam(parameters(model), {.rate = 1e-2});
    adam.clip_norm(1);
    train::Trainer trainer(model, adam, t, options);
    const train::Summary stopped = trainer.run();
    CHECK(stopped.interrupted);
    CHECK(stopped.step == 33);
    CHECK(timeless(scratch.file("parts/metrics.csv")).find("\n40,") == std::string::npos);
  }
  options.resume = true;
  const train::Summary end = run(t, options, 99);
  CHECK_FALSE(end.interrupted);
  CHECK(timeless(scratch.file("parts/metrics.csv")) == timeless(scratch.file("whole/metrics.csv")));
  CHECK(content(scratch.file("parts/model.safetensors")) == content(scratch.file("whole/model.safetensors")));
  CHECK(end.train_nats == whole.train_nats);
  CHECK(end.valid_nats == whole.valid_nats);
  const train::Summary again = run(t, options, 7);
  CHECK(again.valid_nats == whole.valid_nats);
  CHECK(timeless(scratch.file("parts/metrics.csv")) == timeless(scratch.file("whole/metrics.csv")));
}

TEST_CASE("trainer: a run by the clock ends, and its rate ends near 0") {
  test::Scratch scratch;
  const train::Summary end = run(text(), {.batch = 4, .time = 8, .seconds = 0.2, .every = 100000, .out = scratch.file("a"), .quiet = true});
  CHECK(end.step > 0);
  CHECK(end.seconds >= 0.2);
  train::MetricsLog log(scratch.file("a/metrics.csv"));
  log.read();
  CHECK(log.rows().size() == 1);
}

TEST_CASE("trainer: a loss that is no number changes no weight and no file") {
  test::Scratch scratch;
  const train::Text t = train::Text::of("abcabcabcabcabcabcabcabcabc");
  const train::TrainerOptions options{.batch = 2, .time = 3, .steps = 9, .every = 2, .out = scratch.folder(), .quiet = true};
  Broken model(5);
  optim::Adam adam(parameters(model));
  train::Trainer trainer(model, adam, t, options);
  std::vector<double> before;
  CHECK(error_text<ValueError>([&] { trainer.run(); }) ==
        "train: the loss is nan at step 6: no weight was changed in this step (a lower rate or a smaller clipping norm may help)");
  for (double w : test::doubles(model.weight.value())) CHECK(std::isfinite(w));
  CHECK(train::saved_steps(scratch.folder()) == 4);
  CHECK(train::Checkpoint::read(scratch.file("model.safetensors")).has("weight"));
  CHECK(model.weight.gradient().empty());
}

TEST_CASE("trainer: options that make no sense") {
  test::Scratch scratch;
  const train::Text t = text();
  auto error = [&](train::TrainerOptions options) {
    options.out = scratch.folder();
    options.batch = 4;
    options.time = 8;
    return error_text<ValueError>([&] { run(t, options); });
  };
  CHECK(error({}) == "train: just one of steps and seconds must be positive: got 0 and 0");
  CHECK(error({.steps = 5, .seconds = 1}) == "train: just one of steps and seconds must be positive: got 5 and 1");
  CHECK(error({.steps = -5, .seconds = 1}) == "train: just one of steps and seconds must be positive: got -5 and 1");
  CHECK(error({.seconds = NAN}) == "train: just one of steps and seconds must be positive: got 0 and nan");
  CHECK(error({.steps = 5, .every = 0}) == "train: every must be positive, warmup not negative: got 0 and 50");
  CHECK(error_text<IoError>([&] { run(t, {.batch = 4, .time = 8, .steps = 5, .out = "/proc/none/run"}); }) ==
        "train: /proc/none/run: no files can be made there: No such file or directory (choose another folder)");
  CHECK_THROWS_AS(run(t, {.batch = 4, .time = 8, .steps = 5, .out = scratch.file("empty"), .resume = true, .quiet = true}), IoError);
}

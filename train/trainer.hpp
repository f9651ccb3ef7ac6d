// The training of a language model: steps, evaluations, metrics, checkpoints, clean interruption.
//
//   train::Trainer trainer(model, adam, text, {.batch = 32, .time = 64, .steps = 2000, .out = "runs/first"});
//   auto summary = trainer.run();
//
// The folder gets metrics.csv (a row an evaluation), model.safetensors (the last weights), config.json, `last` (a checkpoint, from which a
// run goes on bit for bit) and curve.png. An older run's files there are replaced at the first save, not before.
#pragma once

#include <rewind/autograd/gradients.hpp>
#include <rewind/nn/loss.hpp>
#include <rewind/train/checkpoint.hpp>
#include <rewind/train/generate.hpp>
#include <rewind/train/report.hpp>

namespace rw::train {

struct TrainerOptions {
  Index batch = 32;                ///< columns of text side by side
  Index time = 64;                 ///< symbols through which gradients flow
  Index steps = 0;                 ///< length of the run; 0: given by `seconds`
  double seconds = 0;              ///< of training, evaluations not counted; 0: given by `steps`
  Index every = 200;               ///< steps from evaluation to evaluation; one stands at the end in any case
  Index warmup = 50;               ///< the rate rises over these steps, times half a cosine to 0 over the whole run
  std::string out = "runs/model";  ///< folder, made if it is not there
  bool resume = false;             ///< goes on from `last` in the folder
  std::string config = "{}\n";     ///< what config.json is to hold; also kept in `last`
  std::string title = "training";  ///< of the drawing
  double reference_bits = 0;       ///< bits a character of xz -9 of the text; 0: not known
  bool quiet = false;              ///< no table
};

/// Where a run stands; kept in checkpoints.
struct RunState {
  Index step = 0, tokens = 0;
  double nats_sum = 0;  ///< of the steps since the last evaluation
  Index nats_count = 0;
  double seconds = 0;       ///< of training
  Index marked_tokens = 0;  ///< at the last evaluation
  double marked_seconds = 0;
  double train_nats = 0, valid_nats = 0;  ///< of the last evaluation
};

/// What a run came to.
struct Summary {
  Index step = 0, tokens = 0;
  double train_nats = 0, valid_nats = 0, tokens_per_s = 0, seconds = 0;
  bool interrupted = false;
};

/// What `config` was of the run in a folder. Throws IoError if its file `last` is missing or damaged.
std::string saved_config(const std::string& folder);
/// The steps done by it.
Index saved_steps(const std::string& folder);

/// The part that does not depend on the model.
class TrainingLoop {
 public:
  virtual ~TrainingLoop();  ///< gives the optimizer a constant schedule again
  TrainingLoop(const TrainingLoop&) = delete;
  /// Trains to the end of the run, or until SIGINT or SIGTERM: then all is saved, and the evaluation goes to the terminal only. Throws
  /// ValueError if a loss or gradient is not finite (no weight is changed then), IoError if the folder cannot be written.
  Summary run();

 protected:
  /// Throws ValueError unless just one of steps and seconds is positive, and the other numbers make sense; IoError if the folder cannot
  /// be written.
  TrainingLoop(const TrainerOptions& options, optim::OptimizerBase& optimizer);
  virtual double step() = 0;            ///< one batch: nats a symbol
  virtual double validate() const = 0;  ///< nats a symbol over the held-out text
  virtual void save_last(const std::string& path, const Notes& notes) const = 0;
  virtual void load_last(const std::string& path, Notes& notes) = 0;
  virtual void save_model(const std::string& path) const = 0;
  /// Throws ValueError for a loss that is no number, gradients dropped.
  void require_finite(double nats);

 private:
  bool finished() const;
  double rate_factor() const;
  double seconds_left() const;
  std::string file(const char* name) const { return options_.out + '/' + name; }
  Metrics measure(double valid_nats) const;
  void record();
  void save();
  void begin();

  TrainerOptions options_;
  optim::OptimizerBase& optimizer_;
  RunState state_;
  double factor_ = 1;  // of the rate, in the step that is being taken
  MetricsLog log_;
  Report report_;
  bool saved_ = false;
};

/// Nats a symbol over a whole text: each symbol but the first is predicted once (see EvaluationPlan). Draws no random numbers.
template <LanguageModel M>
double evaluate(const M& model, const Passage& text, const EvaluationOptions& options = {}) {
  Evaluation guard;
  const EvaluationPlan plan(text.symbols(), options);
  typename M::State state;
  double sum = 0;
  for (Index i = 0; i < plan.batches(); ++i) {
    const EvaluationBatch batch = plan.batch(i);
    auto [nats, next] = [&] {
      auto [logits, last] = model.logits(batch.x, state);
      const bool all = batch.counted == plan.columns();
      return std::pair{all ? nn::cross_entropy(logits, batch.y)
                           : nn::cross_entropy(slice(logits, 1, 0, batch.counted), batch.y.slice(1, 0, batch.counted)),
                       last};
    }();
    sum += nats.item() * static_cast<double>(batch.counted * batch.x.shape()[0]);
    state = detach(next);
  }
  return sum / static_cast<double>(plan.predictions());
}

/// Trains `model` on text.train() with carried state, and evaluates on text.valid(). Model, optimizer and text must outlive it; the
/// optimizer's schedule becomes the run's.
template <LanguageModel M>
class Trainer final : public TrainingLoop {
 public:
  Trainer(M& model, optim::OptimizerBase& optimizer, const Text& text, const TrainerOptions& options)
      : TrainingLoop(options, optimizer),
        model_(model),
        optimizer_(optimizer),
        stream_(text.train().stream({.batch = options.batch, .time = options.time})),
        valid_(text.valid()) {}

 private:
  double step() override {
    auto [loss, last] = forward(stream_.next());
    backward(loss);
    const double nats = loss.item();
    require_finite(nats);
    optimizer_.step();
    state_ = detach(last);
    return nats;
  }
  std::pair<Variable, typename M::State> forward(const Batch& batch) const {
    auto [logits, last] = model_.logits(batch.x, state_);
    return {nn::cross_entropy(logits, batch.y), std::move(last)};
  }
  double validate() const override {
    const RandomKey key = generator().state();
    const double nats = evaluate(model_, valid_);
    generator().restore(key);
    return nats;
  }
  void save_last(const std::string& path, const Notes& notes) const override {
    train::save(path, model_, optimizer_, stream_, state_, notes);
  }
  void load_last(const std::string& path, Notes& notes) override { train::load(path, model_, optimizer_, stream_, state_, notes); }
  void save_model(const std::string& path) const override { io::save_safetensors(path, named_tensors(model_)); }

  M& model_;
  optim::OptimizerBase& optimizer_;
  Stream stream_;
  Passage valid_;
  typename M::State state_;
};

}  // namespace rw::train

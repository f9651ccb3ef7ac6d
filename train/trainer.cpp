#include <fcntl.h>
#include <unistd.h>
#include <rewind/core/format.hpp>
#include <rewind/train/curve.hpp>
#include <rewind/train/interrupt.hpp>
#include <rewind/train/trainer.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numbers>

namespace rw::train {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// f(name, number) for each number of a state.
template <class S, class F>
void each_number(S& s, F&& f) {
  f("step", s.step), f("tokens", s.tokens), f("nats_sum", s.nats_sum), f("nats_count", s.nats_count), f("seconds", s.seconds);
  f("marked_tokens", s.marked_tokens), f("marked_seconds", s.marked_seconds), f("train_nats", s.train_nats), f("valid_nats", s.valid_nats);
}

Notes to_notes(const RunState& state, const std::string& config) {
  Notes notes{{"config", config}};
  each_number(state, [&](const char* name, auto number) { notes[name] = fmt::format("{}", number); });
  return notes;
}

RunState from_notes(const Notes& notes, const std::string& path) {
  RunState state;
  each_number(state, [&](const char* name, auto& number) {
    const auto at = notes.find(name);
    char* end = nullptr;
    const double value = at == notes.end() ? 0 : std::strtod(at->second.c_str(), &end);
    if (!end || *end != '\0' || end == at->second.c_str())
      fail<IoError>("load: {}: no number {} in the file's notes (was it saved by a Trainer?)", path, name);
    number = static_cast<std::remove_reference_t<decltype(number)>>(value);
  });
  return state;
}

/// Makes the folder and tries whether files can be made in it.
void require_writable(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::string probe = folder + "/.rewind-probe";
  const int file = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0)
    fail<IoError>("train: {}: no files can be made there: {} (choose another folder)", folder,
                  error ? error.message() : std::strerror(errno));
  ::close(file);
  ::unlink(probe.c_str());
}

Notes saved_notes(const std::string& folder) {
  const Checkpoint file = Checkpoint::read(folder + "/last");
  Notes notes;
  detail::restore(file, "notes", notes);
  if (!notes.contains("config")) fail<IoError>("load: {}: no config in the file's notes (was it saved by a Trainer?)", file.path());
  return notes;
}

}  // namespace

std::string saved_config(const std::string& folder) { return saved_notes(folder)["config"]; }

Index saved_steps(const std::string& folder) { return from_notes(saved_notes(folder), folder + "/last").step; }

TrainingLoop::TrainingLoop(const TrainerOptions& options, optim::OptimizerBase& optimizer)
    : options_(options), optimizer_(optimizer), log_(file("metrics.csv")), report_(options.reference_bits) {
  if ((options.steps > 0) == (options.seconds > 0) || options.steps < 0 || !(options.seconds >= 0))
    fail<ValueError>("train: just one of steps and seconds must be positive: got {} and {}", options.steps, options.seconds);
  if (options.every < 1 || options.warmup < 0)
    fail<ValueError>("train: every must be positive, warmup not negative: got {} and {}", options.every, options.warmup);
  require_writable(options.out);
  optimizer.schedule([this](Index) { return factor_; });
}

TrainingLoop::~TrainingLoop() { optimizer_.schedule({}); }

void TrainingLoop::require_finite(double nats) {
  if (std::isfinite(nats)) return;
  optimizer_.clear();
  fail<ValueError>(
      "train: the loss is {} at step {}: no weight was changed in this step (a lower rate or a smaller clipping norm may help)", nats,
      state_.step + 1);
}

bool TrainingLoop::finished() const { return options_.steps > 0 ? state_.step >= options_.steps : state_.seconds >= options_.seconds; }

double TrainingLoop::rate_factor() const {
  const double gone =
      options_.steps > 0 ? static_cast<double>(state_.step) / static_cast<double>(options_.steps) : state_.seconds / options_.seconds;
  const double rise = options_.warmup > 0 ? std::min(1.0, static_cast<double>(state_.step + 1) / static_cast<double>(options_.warmup)) : 1;
  return rise * (0.5 + 0.5 * std::cos(std::numbers::pi * std::min(1.0, gone)));
}

double TrainingLoop::seconds_left() const {
  if (options_.steps == 0) return std::max(0.0, options_.seconds - state_.seconds);
  return state_.step == 0 ? NAN : state_.seconds / static_cast<double>(state_.step) * static_cast<double>(options_.steps - state_.step);
}

Metrics TrainingLoop::measure(double valid_nats) const {
  const double tokens = static_cast<double>(state_.tokens - state_.marked_tokens), seconds = state_.seconds - state_.marked_seconds;
  return {.step = state_.step,
          .tokens = state_.tokens,
          .train_nats = state_.nats_count > 0 ? state_.nats_sum / static_cast<double>(state_.nats_count) : state_.train_nats,
          .valid_nats = valid_nats,
          .gradient_norm = optimizer_.gradient_norm(),
          .rate = optimizer_.rate(),
          .tokens_per_s = seconds > 0 ? tokens / seconds : 0,
          .seconds = state_.seconds};
}

void TrainingLoop::record() {
  const Metrics row = measure(validate());
  if (!options_.quiet) report_.row(row, seconds_left());
  log_.write(row);
  state_.nats_sum = 0;
  state_.nats_count = 0;
  state_.marked_tokens = state_.tokens;
  state_.marked_seconds = state_.seconds;
  state_.train_nats = row.train_nats;
  state_.valid_nats = row.valid_nats;
  save();
}

void TrainingLoop::save() {
  if (!saved_) {
    io::write_file(file("config.json"), options_.config);
    if (log_.rows().empty()) log_.rewrite();
  }
  saved_ = true;
  save_last(file("last"), to_notes(state_, options_.config));
  save_model(file("model.safetensors"));
}

void TrainingLoop::begin() {
  if (!options_.resume) return;
  Notes notes;
  load_last(file("last"), notes);
  state_ = from_notes(notes, file("last"));
  log_.resume(state_.step);
}

Summary TrainingLoop::run() {
  Interrupt guard;
  begin();
  bool stopped = false;
  while (!finished() && !stopped) {
    const double start = now();
    factor_ = rate_factor();
    const double nats = step();
    state_.seconds += now() - start;
    ++state_.step;
    state_.tokens += options_.batch * options_.time;
    state_.nats_sum += nats;
    ++state_.nats_count;
    if (!options_.quiet) {
      const Metrics m = measure(0);
      report_.progress(m.step, m.train_nats, m.tokens_per_s, seconds_left());
    }
    stopped = Interrupt::requested() && !finished();
    if (finished() || state_.step % options_.every == 0) {
      record();
      stopped = Interrupt::requested() && !finished();
    } else if (stopped) {
      save();
      const Metrics row = measure(validate());
      state_.train_nats = row.train_nats;
      state_.valid_nats = row.valid_nats;
      if (!options_.quiet) report_.row(row, seconds_left());
    }
  }
  if (!log_.rows().empty()) {
    const std::string said =
        draw_curve(file("curve.png"), log_.path(),
                   {options_.title, options_.reference_bits, fmt::format("xz -9, {:.3f} bits a character", options_.reference_bits)});
    if (!said.empty() && !options_.quiet) report_.line("no loss curve is drawn: " + said);
  }
  return {.step = state_.step,
          .tokens = state_.tokens,
          .train_nats = state_.train_nats,
          .valid_nats = state_.valid_nats,
          .tokens_per_s = state_.seconds > 0 ? static_cast<double>(state_.tokens) / state_.seconds : 0,
          .seconds = state_.seconds,
          .interrupted = stopped};
}

}  // namespace rw::train

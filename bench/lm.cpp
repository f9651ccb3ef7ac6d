// Whole training steps of a language model, as a user writes it: embedding, recurrent layers with carried, detached state, linear head,
// cross entropy, backward, clipping by the global norm 5, Adam.
//
// A case is V,E,H,L,B,T,KIND: vocabulary, embedding, hidden, layers, batch, time. step_ms is the median after two steps. Each case runs in
// a process of its own, so that first_s, from the start of the process to the first training step done, holds for every one.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <rewind/rewind.hpp>
#include <sstream>

extern char** environ;

namespace {

using namespace rw;
using Clock = std::chrono::steady_clock;

struct Output {
  bool json = false, profile = false;
};

struct Case {
  std::string name;
  Index v, e, h, l, b, t;
  std::string kind;
};

const std::vector<Case> named{{"char-small", 65, 64, 128, 2, 32, 64, "LSTM"},     {"char-medium", 65, 128, 256, 2, 32, 64, "LSTM"},
                              {"char-gru", 65, 128, 256, 2, 32, 64, "GRU"},       {"char-large", 65, 256, 512, 2, 64, 100, "LSTM"},
                              {"word-small", 10000, 200, 200, 2, 20, 35, "LSTM"}, {"word-medium", 10000, 650, 650, 2, 20, 35, "LSTM"}};

template <class Layer>
struct LanguageModel {
  nn::Embedding embed;
  Layer rnn;
  nn::Linear head;
  using State = typename Layer::State;
  LanguageModel(const Case& c, const typename Layer::Options& options) : embed(c.v, c.e), rnn(c.e, c.h, options), head(c.h, c.v) {}
  std::pair<Variable, State> loss(const Variable& tokens, const Variable& next, const State& s) const {
    auto [y, last] = rnn(embed(tokens), s);
    return {nn::cross_entropy(head(y), next), last};
  }
  REWIND_FIELDS(embed, rnn, head)
};

/// Seconds since this process began, by the kernel's clock: at most a tick (10 ms) too long.
double process_seconds() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;  // the 22nd is the start, in ticks since boot
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec) - std::stod(field) / double(sysconf(_SC_CLK_TCK));
}

Tensor tokens(const Case& c) {
  Tensor result = Tensor::full({c.t, c.b}, 0, DType::i64);
  std::vector<float> u(static_cast<std::size_t>(c.t * c.b));
  static Generator dice(1);
  fill_uniform(dice.next(), 0, u.data(), c.t * c.b);
  auto* to = result.data<Index>();
  for (std::size_t i = 0; i < u.size(); ++i) to[i] = std::min(c.v - 1, static_cast<Index>(u[i] * float(c.v)));
  return result;
}

template <class Layer>
void run(const Case& c, const Output& output, const typename Layer::Options& options) {
  const LanguageModel<Layer> model(c, options);
  optim::Adam adam(parameters(model), {.rate = 1e-3});
  adam.clip_norm(5.0);
  const Variable x(tokens(c)), y(tokens(c));
  typename Layer::State state;
  auto step = [&] {
    auto [loss, last] = model.loss(x, y, state);
    backward(loss);
    adam.step();
    state = detach(last);
  };
  step();
  const double first = process_seconds();
  step();
  std::vector<double> times(c.h >= 500 ? 5 : 12);
  if (output.profile) profile::start();
  for (double& seconds : times) {
    const auto start = Clock::now();
    step();
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }
  profile::stop();
  std::sort(times.begin(), times.end());
  const double seconds = times[times.size() / 2], rate = double(c.b * c.t) / seconds;
  if (output.json) {
    fmt::print("{{\"case\": \"{}\", \"threads\": {}, \"step_ms\": {:.3f}, \"tokens_per_s\": {:.0f}, \"first_s\": {:.3f}}}\n", c.name,
               threads(), seconds * 1e3, rate, first);
  } else {
    fmt::print("{:<36}{:>8}{:>12.3f}{:>14.0f}{:>10.3f}\n", c.name, threads(), seconds * 1e3, rate, first);
  }
  std::fflush(stdout);
  if (output.profile)
    fmt::print(output.json ? stderr : stdout, "{}\n", train::profile_table(profile::report(), train::measure_profile_bounds()));
}

void run(const Case& c, const Output& output) {
  if (c.kind == "LSTM") run<nn::Lstm>(c, output, {.layers = c.l});
  if (c.kind == "GRU") run<nn::Gru>(c, output, {.layers = c.l, .cell = {nn::Reset::after}});
  if (c.kind == "RNN") run<nn::Rnn>(c, output, {.layers = c.l});
}

Case parse(const std::string& text) {
  Case c{text, 0, 0, 0, 0, 0, 0, std::string(8, '\0')};
  char end = 0;
  const int read = std::sscanf(text.c_str(), "%ld,%ld,%ld,%ld,%ld,%ld,%7[A-Z]%c", &c.v, &c.e, &c.h, &c.l, &c.b, &c.t, c.kind.data(), &end);
  c.kind.resize(c.kind.find('\0'));
  if (read != 7 || std::min({c.v, c.e, c.h, c.l, c.b, c.t}) < 1 || (c.kind != "LSTM" && c.kind != "GRU" && c.kind != "RNN"))
    throw CLI::ValidationError("--lm", "V,E,H,L,B,T,KIND is needed, positive numbers and LSTM, GRU or RNN: got " + text);
  return c;
}

/// Runs this program again for one case, named by `option`; gives its exit status.
int run_apart(const std::string& option, const Case& c, int threads, const Output& output) {
  std::vector<std::string> words{"lm", "--threads", std::to_string(threads), "--alone", option, c.name};
  if (output.json) words.push_back("--json");
  if (output.profile) words.push_back("--profile");
  std::vector<char*> arguments;
  for (auto& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  std::fflush(stdout);
  pid_t child = 0;
  int status = 0;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) != 0) return 1;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 1;
  return WEXITSTATUS(status);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Whole training steps of a language model: milliseconds a step, tokens a second, time to the first step."};
  int threads = 1;
  Output output;
  bool alone = false;
  std::string dimensions;
  std::vector<std::string> cases, names;
  for (const auto& c : named) names.push_back(c.name);
  cases = names;
  app.add_option("--threads", threads, "threads of the team")->capture_default_str()->check(CLI::Range(1, 1024));
  auto* by_name = app.add_option("--cases", cases, "names")->delimiter(',')->capture_default_str()->check(CLI::IsMember(names));
  app.add_option("--lm", dimensions, "V,E,H,L,B,T,KIND instead of a name (KIND: LSTM, GRU or RNN)")->excludes(by_name);
  app.add_flag("--json", output.json, "an object a line");
  app.add_flag("--profile", output.profile, "where the time went, after each line; with --json on the standard error");
  app.add_flag("--alone", alone, "without the table's head, in this process");
  try {
    app.parse(argc, argv);
    output.profile = train::profile_wanted(output.profile);
    if (!output.json && !alone) fmt::print("{:<36}{:>8}{:>12}{:>14}{:>10}\n", "case", "threads", "step ms", "tokens/s", "first s");
    std::vector<Case> chosen;
    if (!dimensions.empty()) chosen.push_back(parse(dimensions));
    if (dimensions.empty())
      for (const auto& name : cases)
        chosen.push_back(*std::find_if(named.begin(), named.end(), [&](const Case& c) { return c.name == name; }));
    for (const auto& c : chosen) {
      if (!alone) {  // a single one too: the script that became this process had begun before it
        if (int status = run_apart(dimensions.empty() ? "--cases" : "--lm", c, threads, output)) return status;
        continue;
      }
      set_threads(threads);
      seed(1);
      run(c, output);
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const Error& error) {
    fmt::print(stderr, "lm: {}\n", error.what());
    return 1;
  }
}

// Memory against time: a training step of an LSTM by how many carries are kept for the gradient. Peak bytes of the pool above what is in
// use before the step, the same without the output and its gradient, and the median time of a step.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <rewind/core/team.hpp>
#include <rewind/rewind.hpp>

#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace rw;
using Clock = std::chrono::steady_clock;

void run(const char* name, const Checkpoint& checkpoint, Index steps, Index batch, Index hidden, int runs) {
  const nn::Lstm lstm(hidden, hidden, {.checkpoint = checkpoint});
  Variable x = Tensor::zeros({steps, batch, hidden});
  const Index before = pool_statistics().bytes_in_use;
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const auto start = Clock::now();
    auto [y, last] = lstm(x);
    const Variable loss = sum(square(y)) + sum(last.cells[0].c);  // nobody holds what it is made of when backward runs
    backward(loss);
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  const Index peak = pool_statistics().peak_bytes - before, outputs = 2 * steps * batch * hidden * Index(sizeof(float));
  auto mib = [](Index bytes) { return static_cast<double>(bytes) / (1 << 20); };
  fmt::print("{:<12} {:>9.1f} MiB, {:>9.1f} beyond y and its gradient {:>10.1f} ms a step\n", name, mib(peak), mib(peak - outputs),
             times[static_cast<std::size_t>(runs / 2)]);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Peak memory and time of a training step of an LSTM, by what is kept for the gradient."};
  int threads = 1, runs = 3;
  Index every = 50, budget = 256;
  bool profile = false;
  std::string shape = "32x1000x512";
  std::vector<std::string> ways{"all", "sqrt", "every", "budget"};
  app.add_option("--threads", threads, "threads of the team")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_option("--shape", shape, "BxTxH")->capture_default_str();
  app.add_option("--ways", ways, "what is kept: all; a carry every sqrt(T) steps; every so many; within a budget")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::IsMember({"all", "sqrt", "every", "budget"}));
  app.add_option("--every", every, "steps between kept carries")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--budget", budget, "MiB that the history may take")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--runs", runs, "steps a figure; the median is printed")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--profile", profile, "where the time went, after each line");
  CLI11_PARSE(app, argc, argv);
  long long batch = 0, steps = 0, hidden = 0;
  char rest = 0;
  if (std::sscanf(shape.c_str(), "%lldx%lldx%lld%c", &batch, &steps, &hidden, &rest) != 3 || batch < 1 || steps < 1 || hidden < 1) {
    fmt::print(stderr, "checkpoint: --shape {}: BxTxH is needed, such as 32x1000x512\n", shape);
    return 1;
  }
  for (const auto& chosen : ways) {  // a process each: peaks are those of a whole process
    const auto [name, way] = chosen == "all"     ? std::pair{chosen, Checkpoint{}}
                             : chosen == "sqrt"  ? std::pair{chosen, checkpoint::sqrt()}
                             : chosen == "every" ? std::pair{fmt::format("every {}", every), checkpoint::every(every)}
                                                 : std::pair{fmt::format("{} MiB", budget), checkpoint::bytes(budget << 20)};
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      set_threads(threads);
      seed(1);
      {
        const train::ProfileAtEnd at_end(profile, stdout);
        run(name.c_str(), way, steps, batch, hidden, runs);
      }
      std::fflush(stdout);
      _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) return 1;
  }
}

// Every operation and product beside its bound on this machine: multiply-adds, or memory, measured in the same run.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>

#include <rewind/core/isa.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>
#include <rewind/train/profile_table.hpp>

#include "ops.hpp"

namespace rw::bench {

double best_seconds(const std::function<void()>& call, double span) {
  using Clock = std::chrono::steady_clock;
  call();
  double best = 1e300, total = 0;
  for (int burst = 0; total < span || burst < 5; ++burst) {
    const auto start = Clock::now();
    double elapsed = 0;
    int calls = 0;
    do {
      call();
      ++calls;
      elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    } while (elapsed < 3e-4);
    best = std::min(best, elapsed / calls);
    total += elapsed;
  }
  return best;
}

}  // namespace rw::bench

int main(int argc, char** argv) {
  using namespace rw;
  CLI::App app{"Operations and products at the shapes of recurrent nets, each beside its bound: the machine's peak, or its memory."};
  int threads = rw::threads();
  bool doubles = false;
  app.add_option("--threads", threads, "threads of the team")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_flag("--f64", doubles, "in double precision");
  CLI11_PARSE(app, argc, argv);
  try {
    rw::set_threads(threads);
    const DType dtype = doubles ? DType::f64 : DType::f32;
    const double peak = peak_flops(dtype, threads, 500, 0.001);  // bursts as short as those of the products
    const bench::Limits limits{peak, train::measure_profile_bounds().bytes, threads > 1};
    fmt::print("{} {}, {} thread{}, peak {:.1f} GF/s, memory {:.1f} GB/s\n", name(isa()), name(dtype), threads, threads == 1 ? "" : "s",
               limits.flops * 1e-9, limits.bytes * 1e-9);
    bench::products(dtype, limits);
    bench::operations(dtype, limits);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench: {}\n", error.what());
    return 1;
  }
}

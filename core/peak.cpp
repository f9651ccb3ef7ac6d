// The processor's limit: multiply-adds that wait for nothing.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <rewind/core/format.hpp>
#include <rewind/core/matmul_kernels.hpp>
#include <thread>
#include <vector>

namespace rw {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Operations a second of one burst of one thread.
template <class T>
double burst(const detail::ProductKernels<T>& kernels, double seconds) {
  alignas(64) T values[detail::burst_values];
  std::fill(std::begin(values), std::end(values), T(-2));  // v = v * -2 + v changes its sign
  constexpr Index rounds = 2000;                           // tens of microseconds
  Index done = 0;
  const auto start = Clock::now();
  double elapsed;
  do {
    kernels.burst(rounds, values);
    done += rounds;
    elapsed = since(start);
  } while (elapsed < seconds);
  return static_cast<double>(done) * static_cast<double>(kernels.burst_flops) / elapsed;
}

template <class T>
double best_burst(int threads, int bursts, double seconds) {
  const auto& kernels = detail::product_table(isa()).of<T>();
  std::vector<double> rates(static_cast<std::size_t>(threads));
  double best = 0;
  std::barrier together(threads, [&]() noexcept {  // before each burst, and after the last
    double sum = 0;
    for (double rate : rates) sum += rate;
    best = std::max(best, sum);
  });
  auto work = [&](int number) {
    for (int i = 0; i < bursts; ++i) {
      together.arrive_and_wait();
      rates[static_cast<std::size_t>(number)] = burst(kernels, seconds);
    }
    together.arrive_and_wait();
  };
  std::vector<std::jthread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  others.clear();
  return best;
}

}  // namespace

double peak_flops(DType dtype, int threads, int bursts, double seconds) {
  if (!is_floating(dtype)) fail<DTypeError>("peak_flops: dtype must be f32 or f64: got {} (those are what products compute in)", dtype);
  if (threads < 1 || threads > 1024) fail<ValueError>("peak_flops: threads must be from 1 to 1024: got {}", threads);
  if (bursts < 1) fail<ValueError>("peak_flops: bursts must be 1 or more: got {}", bursts);
  if (!(seconds > 0 && seconds <= 60)) fail<ValueError>("peak_flops: seconds must be in (0, 60]: got {}", seconds);
  return dtype == DType::f32 ? best_burst<float>(threads, bursts, seconds) : best_burst<double>(threads, bursts, seconds);
}

}  // namespace rw

// A hand-written scalar loop h = tanh(a h + b) over very many steps: recorded, differentiated, run and freed. Nothing recurses over the
// length of the tape: run it under `ulimit -s 256`. Prints times and the most memory it had.
//
// million_steps [steps, by default 1000000]
#include <sys/resource.h>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  const long steps = argc > 1 ? std::atol(argv[1]) : 1'000'000;
  if (steps < 1) return std::fprintf(stderr, "million_steps: steps must be at least 1: got %s\n", argv[1]), 1;
  rw::Parameter a(rw::Tensor::full({}, 0.9)), b(rw::Tensor::full({}, 0.05));
  auto seconds = [](Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); };

  auto start = Clock::now();
  double value = 0;
  {
    rw::Variable h = rw::zeros({});
    for (long t = 0; t < steps; ++t) h = tanh(a * h + b);
    std::printf("recorded %ld steps in %.2f s\n", steps, seconds(start));
    auto before_run = Clock::now();
    rw::backward(h);
    std::printf("differentiated and ran in %.2f s\n", seconds(before_run));
    value = h.item();
  }
  double da = a.gradient().item(), db = b.gradient().item();

  // The same by plain doubles: from the last step back, dh is multiplied by a (1 - h^2).
  std::vector<double> h(static_cast<std::size_t>(steps) + 1);
  double wa = static_cast<float>(0.9), wb = static_cast<float>(0.05), expected_a = 0, expected_b = 0, dh = 1;
  for (std::size_t t = 0; t + 1 < h.size(); ++t) h[t + 1] = std::tanh(wa * h[t] + wb);
  for (std::size_t t = h.size() - 1; t > 0; --t) {
    double dz = dh * (1 - h[t] * h[t]);
    expected_a += dz * h[t - 1];
    expected_b += dz;
    dh = dz * wa;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("value %.6f da %.6f db %.6f seconds %.2f peak_megabytes %ld\n", value, da, db, seconds(start), usage.ru_maxrss / 1024);
  auto close = [](double x, double reference) { return std::fabs(x - reference) <= 1e-3 * std::fabs(reference); };
  if (!close(value, h.back()) || !close(da, expected_a) || !close(db, expected_b)) {
    std::printf("expected %.6f %.6f %.6f\n", h.back(), expected_a, expected_b);
    return 1;
  }
}

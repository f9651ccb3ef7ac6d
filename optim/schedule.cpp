#include <algorithm>
#include <cmath>
#include <numbers>
#include <rewind/core/format.hpp>
#include <rewind/optim/schedule.hpp>

namespace rw::optim {
namespace {

double positive(const char* schedule, const char* what, Index steps) {
  if (steps < 1) fail<ValueError>("{}: {} is {} (it must be at least 1)", schedule, what, steps);
  return static_cast<double>(steps);
}

}  // namespace

Schedule operator*(const Schedule& a, const Schedule& b) {
  return [a, b](Index k) { return a(k) * b(k); };
}

Schedule constant(double factor) {
  return [factor](Index) { return factor; };
}

Schedule warmup(Index steps) {
  double n = positive("warmup", "steps", steps);
  return [n](Index k) { return std::min(1.0, static_cast<double>(k) / n); };
}

Schedule cosine(Index steps, double floor) {
  double n = positive("cosine", "steps", steps);
  return [n, floor](Index k) {
    double progress = std::min(1.0, static_cast<double>(k - 1) / n);
    return floor + (1 - floor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  };
}

Schedule step_decay(Index every, double factor) {
  positive("step_decay", "every", every);
  return [every, factor](Index k) { return std::pow(factor, static_cast<double>((k - 1) / every)); };
}

Schedule exponential(double factor) {
  return [factor](Index k) { return std::pow(factor, static_cast<double>(k - 1)); };
}

}  // namespace rw::optim

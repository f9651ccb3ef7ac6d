// Angles too large for the vector reduction: the C library's sin and cos, compiled for the base instruction set.
#include <cmath>
#include <rewind/core/simd/math.hpp>

namespace rw::op::math {

void sin_far(const float* x, float* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::sin(x[i]);
}
void sin_far(const double* x, double* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::sin(x[i]);
}
void cos_far(const float* x, float* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::cos(x[i]);
}
void cos_far(const double* x, double* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::cos(x[i]);
}

}  // namespace rw::op::math

// The matrix product on SSE2: multiply, then add (its bits differ from those of the sets that fuse).
#include <rewind/core/simd/matmul_kernels.inl.hpp>

namespace rw::detail {
namespace {
struct Sse2 {
  using arch = xsimd::sse2;
  static constexpr int rows = 4, vectors = 2, registers = 16;
  template <class B>
  REWIND_INLINE static void accumulate(B& sum, B a, B b) {
    sum = a * b + sum;
  }
};
}  // namespace

constinit const ProductTable product_sse2{product_kernels<Sse2, float>(), product_kernels<Sse2, double>()};
}  // namespace rw::detail

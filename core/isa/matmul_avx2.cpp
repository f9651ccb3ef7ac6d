// The matrix product on AVX2 with FMA.
#include <rewind/core/simd/matmul_kernels.inl.hpp>

namespace rw::detail {
namespace {
struct Avx2 {
  using arch = xsimd::fma3<xsimd::avx2>;
  static constexpr int rows = 6, vectors = 2, registers = 16;
  template <class B>
  REWIND_INLINE static B multiply_add(B a, B b, B c) {
    return xsimd::fma(a, b, c);
  }
};
}  // namespace

constinit const ProductTable product_avx2{product_kernels<Avx2, float>(), product_kernels<Avx2, double>()};
}  // namespace rw::detail

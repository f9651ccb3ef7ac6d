// The matrix product on AVX-512 (F, BW, DQ, VL).
#include <rewind/core/simd/matmul_kernels.inl.hpp>

namespace rw::detail {
namespace {
struct Avx512 {
  using arch = xsimd::avx512bw;
  static constexpr int rows = 8, vectors = 3, registers = 32;
  // xsimd 8.1 multiplies, then adds here.
  REWIND_INLINE static xsimd::batch<float, arch> multiply_add(xsimd::batch<float, arch> a, xsimd::batch<float, arch> b,
                                                              xsimd::batch<float, arch> c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  REWIND_INLINE static xsimd::batch<double, arch> multiply_add(xsimd::batch<double, arch> a, xsimd::batch<double, arch> b,
                                                               xsimd::batch<double, arch> c) {
    return _mm512_fmadd_pd(a, b, c);
  }
};
}  // namespace

constinit const ProductTable product_avx512{product_kernels<Avx512, float>(), product_kernels<Avx512, double>()};
}  // namespace rw::detail

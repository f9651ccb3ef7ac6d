// The matrix product on AVX2 with FMA.
#include <rewind/core/simd/matmul_kernels.inl.hpp>

namespace rw::detail {
namespace {
struct Avx2 {
  using arch = xsimd::fma3<xsimd::avx2>;
  static constexpr int rows = 6, vectors = 2, registers = 16;
  REWIND_INLINE static void accumulate(xsimd::batch<float, arch>& sum, xsimd::batch<float, arch> a, xsimd::batch<float, arch> b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum.data) : "x"(a.data), "x"(b.data));
  }
  REWIND_INLINE static void accumulate(xsimd::batch<double, arch>& sum, xsimd::batch<double, arch> a, xsimd::batch<double, arch> b) {
    asm("vfmadd231pd %2, %1, %0" : "+x"(sum.data) : "x"(a.data), "x"(b.data));
  }
};
}  // namespace

constinit const ProductTable product_avx2{product_kernels<Avx2, float>(), product_kernels<Avx2, double>()};
}  // namespace rw::detail

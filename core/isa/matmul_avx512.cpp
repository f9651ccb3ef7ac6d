// The matrix product on AVX-512 (F, BW, DQ, VL).
#include <rewind/core/simd/matmul_kernels.inl.hpp>

namespace rw::detail {
namespace {
struct Avx512 {
  using arch = xsimd::avx512bw;
  static constexpr int rows = 8, vectors = 3, registers = 32;
  REWIND_INLINE static void accumulate(xsimd::batch<float, arch>& sum, xsimd::batch<float, arch> a, xsimd::batch<float, arch> b) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum.data) : "v"(a.data), "v"(b.data));
  }
  REWIND_INLINE static void accumulate(xsimd::batch<double, arch>& sum, xsimd::batch<double, arch> a, xsimd::batch<double, arch> b) {
    asm("vfmadd231pd %2, %1, %0" : "+v"(sum.data) : "v"(a.data), "v"(b.data));
  }
};
}  // namespace

constinit const ProductTable product_avx512{product_kernels<Avx512, float>(), product_kernels<Avx512, double>()};
}  // namespace rw::detail

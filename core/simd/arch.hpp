// xsimd with native fused multiply-adds on AVX-512 (before 11.0 it multiplies, then adds). Only files compiled for one instruction set
// include this. The overloads are declared before xsimd's front end, so its own functions use them too.
#pragma once

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // false alarms in g++ 12's own intrinsics headers (gcc bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <cstddef>
#include <xsimd/config/xsimd_config.hpp>
#if defined(__AVX512F__) && XSIMD_VERSION_MAJOR < 11
#include <xsimd/types/xsimd_all_registers.hpp>
namespace xsimd {
template <class T, class A>
class batch;
namespace kernel {
#define REWIND_NATIVE_FMA(name, intrinsic, T, suffix) \
  template <class A>                                  \
  inline batch<T, A> name(batch<T, A> const& x, batch<T, A> const& y, batch<T, A> const& z, requires_arch<avx512f>) noexcept;
#define REWIND_NATIVE_FMAS                    \
  REWIND_NATIVE_FMA(fma, fmadd, float, ps)    \
  REWIND_NATIVE_FMA(fma, fmadd, double, pd)   \
  REWIND_NATIVE_FMA(fms, fmsub, float, ps)    \
  REWIND_NATIVE_FMA(fms, fmsub, double, pd)   \
  REWIND_NATIVE_FMA(fnma, fnmadd, float, ps)  \
  REWIND_NATIVE_FMA(fnma, fnmadd, double, pd) \
  REWIND_NATIVE_FMA(fnms, fnmsub, float, ps)  \
  REWIND_NATIVE_FMA(fnms, fnmsub, double, pd)
REWIND_NATIVE_FMAS
#undef REWIND_NATIVE_FMA
}  // namespace kernel
}  // namespace xsimd
#include <xsimd/xsimd.hpp>
namespace xsimd::kernel {
#define REWIND_NATIVE_FMA(name, intrinsic, T, suffix)                                                                          \
  template <class A>                                                                                                           \
  inline batch<T, A> name(batch<T, A> const& x, batch<T, A> const& y, batch<T, A> const& z, requires_arch<avx512f>) noexcept { \
    return _mm512_##intrinsic##_##suffix(x, y, z);                                                                             \
  }
REWIND_NATIVE_FMAS
#undef REWIND_NATIVE_FMA
#undef REWIND_NATIVE_FMAS
}  // namespace xsimd::kernel
#else
#include <xsimd/xsimd.hpp>
#endif

#include <rewind/core/isa.hpp>
#include <rewind/core/simd/math.hpp>

namespace rw::simd {

#if defined(__AVX512F__)
using Arch = xsimd::avx512bw;
inline constexpr Isa compiled_for = Isa::avx512;
#elif defined(__AVX2__)
using Arch = xsimd::fma3<xsimd::avx2>;
inline constexpr Isa compiled_for = Isa::avx2;
#else
using Arch = xsimd::sse2;
inline constexpr Isa compiled_for = Isa::sse2;
#endif
static_assert(Arch::supported());

template <class T>
using Pack = xsimd::batch<T, Arch>;

}  // namespace rw::simd

namespace rw::op::math {
#if defined(__AVX512F__)
template <>
inline constexpr bool fuses<xsimd::avx512bw> = true;
template <>
struct Scale<xsimd::avx512bw> {
  template <class T>
  using Pack = xsimd::batch<T, xsimd::avx512bw>;
  static Pack<float> by(Pack<float> x, Pack<float> k) { return _mm512_scalef_ps(x, k - biased<Pack<float>>()); }
  static Pack<double> by(Pack<double> x, Pack<double> k) { return _mm512_scalef_pd(x, k - biased<Pack<double>>()); }
};
#elif defined(__AVX2__)
template <>
inline constexpr bool fuses<xsimd::fma3<xsimd::avx2>> = true;
#endif
}  // namespace rw::op::math

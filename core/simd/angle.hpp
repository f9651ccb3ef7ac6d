// sin and cos on SIMD batches.
#pragma once

#include <rewind/core/simd/math.hpp>

namespace rw::op::math {

/// (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4 on z = r^2, |r| <= pi/4, to 2e-8, 2e-9 (f32), 2.1e-17, 1.3e-18 (f64).
template <class B>
B sin_tail(B z) {
  using T = Element<B>;
  if constexpr (single<T>) {
    return polynomial(z, {T(-0.1666666464), T(0.008332743595), T(-0.0001958688277)});
  } else {
    return polynomial(z, {T(-0.166666666666666646), T(0.00833333333333090042), T(-0.000198412698366860081), T(2.75573160649867715e-6),
                          T(-2.50511240313820776e-8), T(1.59175674789065717e-10)});
  }
}
template <class B>
B cos_tail(B z) {
  using T = Element<B>;
  if constexpr (single<T>) {
    return polynomial(z, {T(0.04166666464), T(-0.001388829835), T(2.454693184e-5)});
  } else {
    return polynomial(z, {T(0.0416666666666666654), T(-0.00138888888888873672), T(0.0000248015872987202923), T(-2.75573172482293661e-7),
                          T(2.08761413802949546e-9), T(-1.13822809577024903e-11)});
  }
}

/// sin(x + quarter pi/2) for |x| <= Format::far: x less the nearest multiple of pi/2, which is subtracted in four parts whose leading ones
/// have products without rounding; the quadrant then chooses polynomial and sign.
template <class B>
B sin_near(B x, int quarter) {
  using T = Element<B>;
  using F = Format<T>;
  using W = Words<B>;
  const B magic(F::magic);
  B k = x * B(T(0.63661977236758134308)) + magic;
  B n = k - magic;
  W quadrant = words(k) + W(static_cast<typename W::value_type>(quarter));
  B r = fnma(n, B(F::pio2[2]), fnma(n, B(F::pio2[1]), fnma(n, B(F::pio2[0]), x)));
  r = fnma(n, B(F::pio2[3]), r);
  B z = r * r;
  B s = fma(r * z, sin_tail(z), r);
  B c = fma(z * z, cos_tail(z), fnma(B(T(0.5)), z, B(1)));
  constexpr int top = sizeof(T) * 8 - 1;
  B odd = from_words<B>((quadrant << top) | W(F::one));
  B y = select(odd < B(0), c, s);
  return from_words<B>(words(y) ^ ((quadrant >> 1) << top));
}

template <class B, class Far>
B angle(B x, int quarter, Far far) {
  using T = Element<B>;
  auto beyond = abs(x) > B(Format<T>::far);
  B y = sin_near(x, quarter);
  if (any(beyond)) {
    alignas(64) T in[B::size], out[B::size];
    select(beyond, x, B(0)).store_aligned(in);
    far(in, out, static_cast<int>(B::size));
    y = select(beyond, B::load_aligned(out), y);
  }
  return y;
}

template <class B>
B sin(B x) {
  using T = Element<B>;
  B y = angle(x, 0, static_cast<void (*)(const T*, T*, int)>(sin_far));
  return select(x == B(0), x, y);
}
template <class B>
B cos(B x) {
  using T = Element<B>;
  return angle(x, 1, static_cast<void (*)(const T*, T*, int)>(cos_far));
}

}  // namespace rw::op::math

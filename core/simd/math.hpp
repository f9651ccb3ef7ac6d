// Mathematical functions on SIMD batches, for the operations whose xsimd form is slow or inexact: exp, expm1, log, log1p, tanh, sigmoid,
// softplus, erf (sin and cos: angle.hpp, power: power.hpp), in f32 and f64. Everything is a template on the batch type (so on the
// instruction set), and reaches xsimd's primitives through its arguments alone; this header includes nothing of xsimd.
//
// Coefficients: interpolation at Chebyshev nodes in 60 digits, of the functions that are named beside them. No table look-ups, no branches
// but for huge angles. min and max have the variable as second argument, for then x86 hands on a NaN.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

namespace rw::op::math {

/// sin and cos in f32 for |x| > 8192 and in f64 for |x| > 2^20, one element at a time by the C library (core/simd/math.cpp).
void sin_far(const float* x, float* y, int n);
void sin_far(const double* x, double* y, int n);
void cos_far(const float* x, float* y, int n);
void cos_far(const double* x, double* y, int n);

/// Whether fma of a batch of instruction set A rounds once; specialised where instruction sets are known.
template <class A>
inline constexpr bool fuses = false;

template <class B>
struct Batch;
template <template <class, class> class X, class T, class A>
struct Batch<X<T, A>> {
  using Element = T;
  using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  using Words = X<Word, A>;
  using Set = A;
  static constexpr bool fused = fuses<A>;
};
template <class B>
using Element = typename Batch<B>::Element;
template <class B>
using Words = typename Batch<B>::Words;

template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int mantissa = 23;
  static constexpr std::uint32_t one = 0x3f800000, root_half = 0x3f3504f3, fraction = 0x007fffff, sign = 0x80000000,
                                 two_mantissa = 0x4b000000;
  static constexpr float bias = 127, power = 8388608.0f, magic = 12582912.0f, split = 4097;  // 2^23, 1.5 * 2^23, 2^12 + 1
  static constexpr float ln2_high = 0.693115234375f, ln2_low = 3.194618494530941e-5f;
  static constexpr float exp_low = -104, exp_high = 89, expm1_low = -18, tanh_high = 10, sigmoid_high = 88, erf_high = 4;
  static constexpr float far = 8192, pio2[4] = {1.5703125f, 4.837512969970703e-4f, 7.549533620476723e-8f, 2.5633441515945188e-12f};
};
template <>
struct Format<double> {
  static constexpr int mantissa = 52;
  static constexpr std::uint64_t one = 0x3ff0000000000000, root_half = 0x3fe6a09e667f3bcd, fraction = 0x000fffffffffffff,
                                 sign = 0x8000000000000000, two_mantissa = 0x4330000000000000;
  static constexpr double bias = 1023, power = 4503599627370496.0, magic = 6755399441055744.0, split = 134217729;
  static constexpr double ln2_high = 0.6931471803691238, ln2_low = 1.9082149292705878e-10;
  static constexpr double exp_low = -746, exp_high = 710, expm1_low = -38, tanh_high = 20, sigmoid_high = 709, erf_high = 6;
  static constexpr double far = 1048576,
                          pio2[4] = {1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.478427660368900e-32};
};

/// c[0] + c[1] x + ...
template <class B, int n>
B polynomial(B x, const Element<B> (&c)[n]) {
  B y(c[n - 1]);
  for (int i = n - 2; i >= 0; --i) y = fma(y, x, B(c[i]));
  return y;
}

template <class T>
inline constexpr bool single = sizeof(T) == 4;

template <class B>
Words<B> words(B x) {
  return bitwise_cast<Words<B>>(x);
}
template <class B>
B from_words(Words<B> x) {
  return bitwise_cast<B>(x);
}
/// |x| (>= 0) with the sign of s.
template <class B>
B with_sign(B x, B s) {
  return from_words<B>(words(x) | (words(s) & Words<B>(Format<Element<B>>::sign)));
}
/// 1.5 * 2^mantissa + the bias of exponents: k = n + biased holds n + bias in its last bits, and `two_to` makes 2^n of it, n a normal
/// exponent.
template <class B>
B biased() {
  using F = Format<Element<B>>;
  return B(F::magic + F::bias);
}
template <class B>
B two_to(B k) {
  return from_words<B>(words(k) << Format<Element<B>>::mantissa);
}

/// (exp(r) - 1 - r) / r^2 on |r| <= 0.35, to 7e-8 (f32), 1.2e-16 (f64).
template <class B>
B exp_tail(B r) {
  using T = Element<B>;
  if constexpr (single<T>) {
    return polynomial(r, {T(0.5), T(0.1666657338), T(0.04166655011), T(0.008363773874), T(0.001392692661)});
  } else {
    return polynomial(r, {T(0.500000000000000113), T(0.166666666666666675), T(0.0416666666666206386), T(0.0083333333333297935),
                          T(0.00138888889189391678), T(0.000198412698643805133), T(0.0000248015186413959936), T(2.75572664186123037e-6),
                          T(2.76213386691429238e-7), T(2.51013469283503402e-8)});
  }
}

/// x (+ low) = n ln 2 + r with |r| <= 0.35; k = n + biased, p = exp(r) - 1. |x| < 2^11 ln 2.
template <class B>
struct Reduced {
  B k, p;
};
template <class B, class... Low>
Reduced<B> reduced(B x, Low... low) {
  using F = Format<Element<B>>;
  B k = fma(x, B(Element<B>(1.4426950408889634074)), biased<B>());
  B n = k - biased<B>();
  B r = (fnma(n, B(F::ln2_low), fnma(n, B(F::ln2_high), x)) + ... + low);
  return {k, fma(r * r, exp_tail(r), r)};
}

/// x 2^n for k = n + biased: in two factors, so that overflow and subnormal results come out right. Specialised for an instruction set A
/// that has an instruction for it.
template <class A>
struct Scale {
  template <class B>
  static B by(B x, B k) {
    B half = fma(k - biased<B>(), B(Element<B>(0.5)), biased<B>());
    B rest = k - (half - biased<B>());
    return x * two_to(half) * two_to(rest);
  }
};

/// (1 + p) 2^n.
template <class B>
B scaled(const Reduced<B>& e) {
  return Scale<typename Batch<B>::Set>::by(e.p + B(1), e.k);
}

template <class B>
B exp(B x) {
  using F = Format<Element<B>>;
  return scaled(reduced(max(B(F::exp_low), min(B(F::exp_high), x))));
}

template <class B>
B expm1(B x) {
  using F = Format<Element<B>>;
  using T = Element<B>;
  auto [k, p] = reduced(max(B(F::expm1_low), min(B(F::exp_high), x)));
  B half = two_to(k - B(1));
  B y = fma(p, half, half - B(T(0.5)));
  return select(abs(x) < B(T(1e-18)), x, y + y);
}

/// expm1(2|x|) / (expm1(2|x|) + 2) with the sign of x.
template <class B>
B tanh(B x) {
  B a = min(B(Format<Element<B>>::tanh_high), abs(x));
  auto [k, p] = reduced(a + a);
  B s = two_to(k);
  B t = fma(p, s, s - B(1));
  return with_sign(t / (t + B(2)), x);
}

/// e / (1 + e), e = exp(x): relative errors of e cancel where they would hurt.
template <class B>
B sigmoid(B x) {
  using F = Format<Element<B>>;
  B e = scaled(reduced(max(B(F::exp_low), min(B(F::sigmoid_high), x))));
  return e / (e + B(1));
}

/// (log((1 + s) / (1 - s)) / s - 2) / z for z = s^2, s <= 0.1717, to 1.2e-9 (f32), 2.1e-18 (f64).
template <class B>
B log_tail(B z) {
  using T = Element<B>;
  if constexpr (single<T>) {
    return polynomial(z, {T(0.6666666655), T(0.4000012239), T(0.2855075827), T(0.2333216796)});
  } else {
    return polynomial(z, {T(0.666666666666666665), T(0.400000000000008863), T(0.285714285707979319), T(0.222222223930006483),
                          T(0.181817955027394312), T(0.153862471703629635), T(0.13268573298944041), T(0.130887145077947009)});
  }
}

/// x = 2^e m with sqrt(1/2) <= m < sqrt(2), for normal x > 0.
template <class B>
struct Parts {
  B e, m;
};
template <class B>
Parts<B> parts(B x) {
  using F = Format<Element<B>>;
  using W = Words<B>;
  W u = words(x) + W(F::one - F::root_half);
  B e = from_words<B>((u >> F::mantissa) | W(F::two_mantissa)) - B(F::power + F::bias);
  return {e, from_words<B>((u & W(F::fraction)) + W(F::root_half))};
}
/// The same for subnormal x too.
template <class B>
Parts<B> parts_of_any(B x) {
  using T = Element<B>;
  auto tiny = x < B(std::numeric_limits<T>::min());
  auto [e, m] = parts(select(tiny, x * B(Format<T>::power * 2), x));
  return {select(tiny, e - B(T(Format<T>::mantissa + 1)), e), m};
}

/// e ln 2 + log m + c.
template <class B>
B log_of_parts(const Parts<B>& x, B c) {
  using F = Format<Element<B>>;
  B f = x.m - B(1), s = f / (x.m + B(1)), z = s * s;
  B half = B(Element<B>(0.5)) * f * f;
  B low = fma(s, fma(z, log_tail(z), half), fma(x.e, B(F::ln2_low), c));
  return fma(x.e, B(F::ln2_high), f - (half - low));
}

template <class B>
B log(B x) {
  using L = std::numeric_limits<Element<B>>;
  B y = log_of_parts(parts_of_any(x), B(0));
  y = select(x > B(0), y, select(x == B(0), B(-L::infinity()), B(L::quiet_NaN())));
  return select(x == B(L::infinity()), x, y);
}

/// log u + (1 + x - u) / u with u the rounded 1 + x.
template <class B>
B log1p(B x) {
  using T = Element<B>;
  using L = std::numeric_limits<T>;
  B u = x + B(1);
  B rest = select(x > B(1), B(1) - (u - x), x - (u - B(1)));
  B y = log_of_parts(parts(u), rest / u);
  y = select(x > B(-1), y, select(x == B(-1), B(-L::infinity()), B(L::quiet_NaN())));
  return select((abs(x) < B(T(1e-18))) | (x == B(L::infinity())), x, y);
}

template <class B>
B softplus(B x) {
  B e = math::exp(-abs(x));
  B u = e + B(1);
  B y = log_of_parts(parts(u), (e - (u - B(1))) / u);
  return max(B(0), x) + select(e < B(Element<B>(1e-18)), e, y);
}

/// (erf(x) / x - 1) on z = x^2 <= 1, and exp(x^2) erfc(x) for t = (x - 2) / (x + 2), 1 <= x <= 4 (f32), 6 (f64).
template <class B>
B erf_small(B z) {
  using T = Element<B>;
  if constexpr (single<T>) {
    return polynomial(z, {T(0.1283791658), T(-0.3761262667), T(0.1128359472), T(-0.02685421201), T(0.005189087423), T(-0.0008016864287),
                          T(7.875875063e-5)});
  } else {
    return polynomial(z, {T(0.128379167095512567), T(-0.376126389031835404), T(0.112837916709450063), T(-0.0268661706432377704),
                          T(0.00522397760711642273), T(-0.000854832597538969207), T(0.000120552949048397075), T(-0.0000149247369074196536),
                          T(1.64474247033172877e-6), T(-1.6208483801871182e-7), T(1.37200645467755917e-8), T(-7.7958988269985034e-10)});
  }
}
template <class B>
B erfc_scaled(B t) {
  using T = Element<B>;
  if constexpr (single<T>) {
    return polynomial(t, {T(0.2553956763), T(-0.4271858476), T(0.2416582111), T(-0.07897852327), T(0.003732141351), T(0.006994855414),
                          T(-0.0008365899736), T(-0.0009441596341)});
  } else {
    return polynomial(
        t, {T(0.255395676310505745), T(-0.427185847413958486), T(0.241658194242465846), T(-0.078978581015706104), T(0.00373289240439783377),
            T(0.00699746173697157874), T(-0.000847143252991950048), T(-0.000981976941103864265), T(0.000043555586865754816),
            T(0.000174359474002051576), T(0.0000275271755572272473), T(-0.000027562209161129353), T(-0.0000139982837727849769),
            T(1.30585771222780165e-6), T(4.01174964732506693e-6), T(1.27256766184022802e-6), T(-1.13525714772736264e-6)});
  }
}

template <class B>
B erf(B x) {
  using F = Format<Element<B>>;
  B a = abs(x), b = min(B(F::erf_high), a), z = min(B(1), b * b);
  auto [k, p] = reduced(-(b * b));
  B s = two_to(k);
  B large = B(1) - fma(p, s, s) * erfc_scaled((b - B(2)) / (b + B(2)));
  return with_sign(select(a < B(1), fma(b, erf_small(z), b), large), x);
}

}  // namespace rw::op::math

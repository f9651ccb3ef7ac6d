// x^y on SIMD batches.
#pragma once

#include <rewind/core/simd/math.hpp>

namespace rw::op::math {

/// An unevaluated sum.
template <class B>
struct Pair {
  B high, low;
};

/// a b = high + low without error: by fma, or by Dekker's splitting where there is none (then |a|, |b| < 2^115 in f32).
template <class B>
Pair<B> product(B a, B b) {
  B p = a * b;
  if constexpr (Batch<B>::fused) {
    return {p, fms(a, b, p)};
  } else {
    const B split(Format<Element<B>>::split);
    B ca = a * split, cb = b * split;
    B ah = ca - (ca - a), bh = cb - (cb - b), al = a - ah, bl = b - bh;
    return {p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)};
  }
}

template <class B>
Pair<B> product(Pair<B> a, Pair<B> b) {
  auto [high, low] = product(a.high, b.high);
  return {high, low + (a.high * b.low + a.low * b.high)};
}

/// a + b for |a| >= |b| or a = 0.
template <class B>
Pair<B> sum(B a, B b) {
  B s = a + b;
  return {s, b - (s - a)};
}

/// log x for x > 0, with about 10 bits more than the type: log m = 2s + s^3 L(s^2), s = (m - 1) / (m + 1), every leading term as a pair.
template <class B>
Pair<B> log_pair(B x) {
  using T = Element<B>;
  using F = Format<T>;
  constexpr long double two_thirds = 2.0L / 3;
  auto [e, m] = parts_of_any(x);
  B f = m - B(1), d = m + B(1), d_low = m - (d - B(1));
  B s_high = f / d;
  auto [q, q_low] = product(s_high, d);
  Pair<B> s{s_high, (((f - q) - q_low) - s_high * d_low) / d};
  Pair<B> z = product(s, s);
  auto [c, c_low] = sum(B(T(two_thirds)), (log_tail(z.high) - B(T(two_thirds))) + B(T(two_thirds - T(two_thirds))));
  Pair<B> t = product(s, product(z, Pair<B>{c, c_low}));
  auto [high, low] = sum(e * B(F::ln2_high), s.high + s.high);
  auto [high2, low2] = sum(high, t.high);
  return sum(high2, low2 + (low + (t.low + (s.low + s.low) + e * B(F::ln2_low))));
}

/// exp(y log |x|), then the sign and the special cases of C's pow.
template <class B>
B power(B x, B y) {
  using T = Element<B>;
  using F = Format<T>;
  const B infinity(std::numeric_limits<T>::infinity()), nan(std::numeric_limits<T>::quiet_NaN()), half(T(0.5));
  B a = abs(x);
  auto [high, low] = log_pair(a);
  high = select(a == B(0), -infinity, select(a == infinity, infinity, high));
  auto [p, p_low] = product(y, high);
  auto unit = a == B(1);
  p = select(unit, B(0), p);
  p_low = select(unit | (abs(p) > B(T(1000))), B(0), fma(y, low, p_low));
  B r = scaled(reduced(max(B(F::exp_low), min(B(F::exp_high), p)), p_low));
  auto whole = nearbyint(y) == y;
  auto odd = whole & !(nearbyint(y * half) == y * half);
  r = select(odd, with_sign(r, x), r);
  r = select(((x < B(0)) & (x > -infinity) & !whole) | isnan(x) | isnan(y), nan, r);
  return select((y == B(0)) | (x == B(1)), B(1), r);
}

}  // namespace rw::op::math

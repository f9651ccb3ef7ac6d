// Forward-mode dual numbers, and arrays of them: values and derivatives that share no code with the library.
#pragma once

#include <cmath>
#include <functional>
#include <rewind/core/shape.hpp>
#include <vector>

namespace rw::test {

using Real = long double;

/// A value and its derivative by one input.
struct Dual {
  Real v = 0, d = 0;
  Dual() = default;
  template <std::floating_point T>
  Dual(T value, Real derivative = 0) : v(value), d(derivative) {}
  Dual(int value) : v(value) {}
  friend Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
  friend Dual operator-(Dual a, Dual b) { return {a.v - b.v, a.d - b.d}; }
  friend Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
  friend Dual operator/(Dual a, Dual b) { return {a.v / b.v, (a.d - a.v / b.v * b.d) / b.v}; }
  friend Dual operator-(Dual a) { return {-a.v, -a.d}; }
  Dual& operator+=(Dual b) { return *this = *this + b; }
  friend bool operator<(Dual a, Dual b) { return a.v < b.v; }
  friend bool operator>(Dual a, Dual b) { return a.v > b.v; }
  friend bool operator<=(Dual a, Dual b) { return a.v <= b.v; }
  friend bool operator>=(Dual a, Dual b) { return a.v >= b.v; }
  friend bool operator==(Dual a, Dual b) { return a.v == b.v; }
};

// These names hide the library's, so that no number becomes a Variable here.
using std::exp, std::expm1, std::log, std::log1p, std::sqrt, std::sin, std::cos, std::tanh, std::erf, std::pow, std::fabs, std::isnan,
    std::isfinite;
inline Dual exp(Dual x) { return {exp(x.v), x.d * exp(x.v)}; }
inline Dual expm1(Dual x) { return {expm1(x.v), x.d * exp(x.v)}; }
inline Dual log(Dual x) { return {log(x.v), x.d / x.v}; }
inline Dual log1p(Dual x) { return {log1p(x.v), x.d / (1 + x.v)}; }
inline Dual sqrt(Dual x) { return {sqrt(x.v), x.d / (2 * sqrt(x.v))}; }
inline Dual sin(Dual x) { return {sin(x.v), x.d * cos(x.v)}; }
inline Dual cos(Dual x) { return {cos(x.v), -x.d * sin(x.v)}; }
inline Dual tanh(Dual x) { return {tanh(x.v), x.d / (std::cosh(x.v) * std::cosh(x.v))}; }
inline Dual erf(Dual x) { return {erf(x.v), x.d * 2 / sqrt(std::acos(Real(-1))) * exp(-x.v * x.v)}; }
inline Dual fabs(Dual x) { return x.v < 0 ? -x : x.v > 0 ? x : Dual(fabs(x.v)); }
inline Dual pow(Dual x, Dual y) {
  return {pow(x.v, y.v), (x.d != 0 ? x.d * y.v * pow(x.v, y.v - 1) : 0) + (y.d != 0 ? y.d * pow(x.v, y.v) * log(x.v) : 0)};
}
inline bool isnan(Dual x) { return isnan(x.v); }
inline bool isfinite(Dual x) { return isfinite(x.v); }
inline Real part(Real x) { return x; }
inline Real part(Dual x) { return x.v; }

/// A dense array.
template <class S>
struct Plain {
  Shape shape;
  std::vector<S> data;

  Plain() = default;
  explicit Plain(const Shape& s, S value = S(0)) : shape(s), data(static_cast<std::size_t>(s.size()), value) {}
  S& operator[](Index i) { return data[static_cast<std::size_t>(i)]; }
  const S& operator[](Index i) const { return data[static_cast<std::size_t>(i)]; }
  Index size() const { return shape.size(); }
};

/// Position in `from` of the element of `to` with this row-major number, aligned at the last axis, extents of 1 repeated.
inline Index aligned(const Shape& from, const Shape& to, Index number) {
  Index at = 0, step = 1;
  for (int a = to.rank() - 1, b = from.rank() - 1; b >= 0; --a, --b) {
    Index i = number % to[a];
    number /= to[a];
    if (from[b] != 1) at += i * step;
    step *= from[b];
  }
  return at;
}

/// A reference in plain loops, written once for values and for dual numbers.
struct Reference {
  template <class F>
  Reference(F f) : value(f), dual(f) {}
  std::function<Plain<Real>(const std::vector<Plain<Real>>&)> value;
  std::function<Plain<Dual>(const std::vector<Plain<Dual>>&)> dual;
};

/// f applied to each element of the broadcast operands.
template <class F>
auto each(F f) {
  return [f](const auto& in) {
    Shape shape = in[0].shape;
    for (const auto& x : in) {
      Shape s = x.shape, wide = shape.rank() < s.rank() ? s : shape;
      for (int a = 1; a <= wide.rank(); ++a) {
        Index m = a <= shape.rank() ? shape[shape.rank() - a] : 1, n = a <= s.rank() ? s[s.rank() - a] : 1;
        wide[wide.rank() - a] = m == 1 ? n : m;
      }
      shape = wide;
    }
    std::remove_cvref_t<decltype(in[0])> out(shape);
    for (Index i = 0; i < out.size(); ++i) {
      auto x = [&](std::size_t k) { return in[k][aligned(in[k].shape, shape, i)]; };
      if constexpr (requires { f(in[0][0]); })
        out[i] = f(x(0));
      else if constexpr (requires { f(in[0][0], in[0][0]); })
        out[i] = f(x(0), x(1));
      else
        out[i] = f(x(0), x(1), x(2));
    }
    return out;
  };
}

/// `f(vector of elements) -> element` over the axes of `mask`, which stay with extent 1 if `keep`.
template <class F>
auto over(unsigned mask, bool keep, F f) {
  return [=](const auto& in) {
    const auto& x = in[0];
    using S = std::remove_cvref_t<decltype(x[0])>;
    Shape kept = x.shape, shape;
    for (int a = 0; a < x.shape.rank(); ++a) {
      if (mask >> a & 1) kept[a] = 1;
      if (keep || !(mask >> a & 1)) shape.push_back(kept[a]);
    }
    std::vector<std::vector<S>> groups(static_cast<std::size_t>(kept.size()));
    for (Index i = 0; i < x.size(); ++i) groups[static_cast<std::size_t>(aligned(kept, x.shape, i))].push_back(x[i]);
    Plain<S> out(shape);
    for (Index i = 0; i < out.size(); ++i) out[i] = f(groups[static_cast<std::size_t>(i)]);
    return out;
  };
}

/// `f(line) -> line` along one axis.
template <class F>
auto along(int axis, F f) {
  return [=](const auto& in) {
    auto out = in[0];
    using S = std::remove_cvref_t<decltype(out[0])>;
    Index inner = 1, extent = out.shape[axis];
    for (int a = axis + 1; a < out.shape.rank(); ++a) inner *= out.shape[a];
    for (Index i = 0; i < out.size(); ++i) {
      if (i / inner % extent != 0) continue;
      std::vector<S> line;
      for (Index k = 0; k < extent; ++k) line.push_back(out[i + k * inner]);
      line = f(line);
      for (Index k = 0; k < extent; ++k) out[i + k * inner] = line[static_cast<std::size_t>(k)];
    }
    return out;
  };
}

/// Element i of the result is the element of operand `source(i).first` at `source(i).second`, or `filling` where that is negative.
template <class F>
auto picked(Shape shape, F source, double filling = 0) {
  return [=](const auto& in) {
    std::remove_cvref_t<decltype(in[0])> out(shape);
    for (Index i = 0; i < out.size(); ++i) {
      auto [k, at] = source(i);
      using S = std::remove_cvref_t<decltype(out[0])>;
      out[i] = at < 0 ? S(filling) : in[static_cast<std::size_t>(k)][at];
    }
    return out;
  };
}

/// a [B, M, K] times b [K, N] or [B, K, N], given these numbers.
inline auto product(Shape shape, Index B, Index M, Index K, Index N, bool batched) {
  return [=](const auto& in) {
    std::remove_cvref_t<decltype(in[0])> out(shape);
    for (Index b = 0; b < B; ++b)
      for (Index m = 0; m < M; ++m)
        for (Index n = 0; n < N; ++n)
          for (Index k = 0; k < K; ++k) out[(b * M + m) * N + n] += in[0][(b * M + m) * K + k] * in[1][((batched ? b : 0) * K + k) * N + n];
    return out;
  };
}

}  // namespace rw::test

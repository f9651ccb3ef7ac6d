// Element e of a stream is word e of the stream's blocks (f32) or their pair of words e (f64). Normal elements come in pairs, from two
// words (f32) or four (f64). Own series for log, sin and cos: plain loops that the compiler turns into vectors once those over terms are
// unrolled, with the same bits everywhere.
#include <rewind/core/convert.hpp>
#include <rewind/core/format.hpp>
#include <rewind/core/philox.hpp>
#include <rewind/core/random.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <type_traits>

namespace rw {

namespace {

// The unsigned integer from which an element is made.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T>
constexpr T uniform_of(Bits<T> w) {
  if constexpr (sizeof(T) == 4) return static_cast<float>(static_cast<std::int32_t>(w >> 8)) * 0x1p-24f;
  if constexpr (sizeof(T) == 8) return static_cast<double>(static_cast<std::int64_t>(w >> 11)) * 0x1p-53;
}

// Natural logarithm of normal u > 0: u = m 2^k with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m-1)/(m+1)), |(m-1)/(m+1)| < 0.1716.
// The first term left out is below 1e-8 (f32), 1e-17 (f64) of the whole.
template <class T>
inline T log_of(T u) {
  using S = std::make_signed_t<Bits<T>>;
  constexpr int digits = sizeof(T) == 4 ? 23 : 52, terms = sizeof(T) == 4 ? 5 : 11;
  constexpr S half_root = std::bit_cast<S>(static_cast<T>(std::numbers::sqrt2 / 2));
  S bits = std::bit_cast<S>(u), k = (bits - half_root) >> digits;
  T m = std::bit_cast<T>(static_cast<S>(bits - k * (S{1} << digits)));
  T s = (m - 1) / (m + 1), ss = s * s, sum = T(1) / (2 * terms - 1);
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; --i) sum = sum * ss + T(1) / static_cast<T>(2 * i + 1);
  return static_cast<T>(k) * static_cast<T>(std::numbers::ln2) + 2 * s * sum;
}

// sin and cos of the angle w / 2^bits of a full turn: the quadrant is exact, Taylor series on the rest, at most an eighth of a turn.
template <class T>
inline void sin_cos_of(Bits<T> w, T& sin, T& cos) {
  using S = std::make_signed_t<Bits<T>>;
  constexpr int bits = 8 * sizeof(T), terms = sizeof(T) == 4 ? 5 : 9;
  Bits<T> quadrant = (w + (Bits<T>{1} << (bits - 3))) >> (bits - 2);
  auto rest = static_cast<S>(w - (quadrant << (bits - 2)));
  T x = static_cast<T>(rest) * static_cast<T>(std::numbers::pi / 2 / static_cast<double>(Bits<T>{1} << (bits - 2))), xx = -x * x, s = 1,
    c = 1;
#pragma GCC unroll 16
  for (int i = terms - 1; i > 0; --i) {
    s = 1 + s * xx * (T(1) / static_cast<T>(2 * i * (2 * i + 1)));
    c = 1 + c * xx * (T(1) / static_cast<T>(2 * i * (2 * i - 1)));
  }
  s *= x;
  T a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
  sin = quadrant & 2 ? -a : a;
  cos = (quadrant + 1) & 2 ? -b : b;
}

// Box & Muller: u in (0, 1] from the first word, the angle from the second.
template <class T>
inline void normal_pair(Bits<T> w, Bits<T> angle, T& even, T& odd) {
  constexpr int bits = 8 * sizeof(T);
  T u = (static_cast<T>(static_cast<std::make_signed_t<Bits<T>>>(w >> 1)) + T(0.5)) * (T(1) / static_cast<T>(Bits<T>{1} << (bits - 1)));
  T radius = std::sqrt(-2 * log_of(u)), sin, cos;
  sin_cos_of(angle, sin, cos);
  even = radius * cos;
  odd = radius * sin;
}

enum class Kind { uniform, normal };

template <Kind kind, class T>
void make(const std::uint32_t* words, T* out, int n) {
  auto bits = [words](int i) {
    if constexpr (sizeof(T) == 4)
      return words[i];
    else
      return words[2 * i] | static_cast<std::uint64_t>(words[2 * i + 1]) << 32;
  };
  if constexpr (kind == Kind::uniform)
    for (int i = 0; i < n; ++i) out[i] = uniform_of<T>(bits(i));
  else
    for (int i = 0; i < n / 2; ++i) normal_pair<T>(bits(2 * i), bits(2 * i + 1), out[2 * i], out[2 * i + 1]);
}

template <Kind kind, class T>
void fill(RandomKey key, std::uint64_t first, T* out, Index n) {
  constexpr int per_block = 16 / sizeof(T), per_eight = 8 * per_block, eights = 8, chunk = eights * per_eight;
  std::uint32_t words[eights * 32];
  T values[chunk];
  auto skip = static_cast<Index>(first % per_block);
  for (std::uint64_t block = first / per_block; n > 0; block += 8 * eights) {
    Index here = std::min<Index>(n, chunk - skip);
    int needed = static_cast<int>((skip + here + per_eight - 1) / per_eight);
    detail::philox_words(key, block, words, needed);
    if (skip == 0 && here == chunk) {
      make<kind>(words, out, chunk);
    } else {
      make<kind>(words, values, needed * per_eight);
      std::copy_n(values + skip, here, out);
    }
    out += here;
    n -= here;
    skip = 0;
  }
}

}  // namespace

void fill_uniform(RandomKey key, std::uint64_t first, float* out, Index n) { fill<Kind::uniform>(key, first, out, n); }
void fill_uniform(RandomKey key, std::uint64_t first, double* out, Index n) { fill<Kind::uniform>(key, first, out, n); }
void fill_normal(RandomKey key, std::uint64_t first, float* out, Index n) { fill<Kind::normal>(key, first, out, n); }
void fill_normal(RandomKey key, std::uint64_t first, double* out, Index n) { fill<Kind::normal>(key, first, out, n); }

Generator& generator() {
  thread_local Generator instance;
  return instance;
}

void seed(std::uint64_t value) { generator() = Generator(value); }

namespace random {

namespace {

template <class F>
Tensor floating(const char* op, const Shape& shape, DType dtype, F&& make) {
  if (!is_floating(dtype)) fail<DTypeError>("{}: dtype must be f32 or f64: got {} (cast the result)", op, dtype);
  Tensor t(shape, dtype);
  dtype == DType::f32 ? make(t.data<float>(), t.size()) : make(t.data<double>(), t.size());
  return t;
}

}  // namespace

Tensor uniform(const Shape& shape, double low, double high, DType dtype, Generator& g) {
  if (!(low <= high) || !std::isfinite(high - low))
    fail<ValueError>("uniform: bounds must be finite, low <= high: got {} and {}", low, high);
  return floating("uniform", shape, dtype, [&](auto* p, Index n) {
    using T = std::remove_pointer_t<decltype(p)>;
    fill_uniform(g.next(), 0, p, n);
    T a = static_cast<T>(low), b = static_cast<T>(high), last = a < b ? std::nextafter(b, a) : a;
    for (Index i = 0; i < n; ++i) p[i] = std::min(a + (b - a) * p[i], last);
  });
}

Tensor normal(const Shape& shape, double mean, double deviation, DType dtype, Generator& g) {
  if (!(deviation >= 0) || !std::isfinite(deviation) || !std::isfinite(mean))
    fail<ValueError>("normal: mean and deviation must be finite, deviation >= 0: got {} and {}", mean, deviation);
  return floating("normal", shape, dtype, [&](auto* p, Index n) {
    using T = std::remove_pointer_t<decltype(p)>;
    fill_normal(g.next(), 0, p, n);
    for (Index i = 0; i < n; ++i) p[i] = static_cast<T>(mean) + static_cast<T>(deviation) * p[i];
  });
}

Tensor bernoulli(const Shape& shape, double probability, DType dtype, Generator& g) {
  if (!(probability >= 0 && probability <= 1)) fail<ValueError>("bernoulli: probability must be in [0, 1]: got {}", probability);
  Tensor t(shape, dtype);
  RandomKey key = g.next();
  visit(dtype, [&](auto element) {
    using T = decltype(element);
    T* p = t.data<T>();
    double uniform[256];
    for (Index i = 0; i < t.size(); i += 256) {
      Index n = std::min<Index>(256, t.size() - i);
      fill_uniform(key, static_cast<std::uint64_t>(i), uniform, n);
      for (Index j = 0; j < n; ++j) p[i + j] = convert<T>(uniform[j] < probability);
    }
  });
  return t;
}

Tensor permutation(Index n, Generator& g) {
  Tensor t = Tensor::arange(n, DType::i64);
  RandomKey key = g.next();
  auto* p = t.data<std::int64_t>();
  double uniform[256];
  for (Index i = 0; i + 1 < n; ++i) {
    if (i % 256 == 0) fill_uniform(key, static_cast<std::uint64_t>(i), uniform, std::min<Index>(256, n - i));
    // 53 bits choose among n - i places: biased by n 2^-53 at most.
    auto chosen = i + static_cast<Index>(uniform[i % 256] * static_cast<double>(n - i));
    std::swap(p[i], p[chosen]);
  }
  return t;
}

}  // namespace random
}  // namespace rw

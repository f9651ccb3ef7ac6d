#include <rewind/core/random.hpp>
#include <rewind/tests/support.hpp>

#include <algorithm>
#include <thread>

using namespace rw;
using namespace rw::test;

namespace {

using Block = std::array<std::uint32_t, 4>;

template <class T, class F>
std::vector<T> filled(F fill, RandomKey key, std::uint64_t first, Index n) {
  std::vector<T> out(static_cast<std::size_t>(n));
  fill(key, first, out.data(), n);
  return out;
}

template <class T>
void uniform(RandomKey key, std::uint64_t first, T* out, Index n) {
  fill_uniform(key, first, out, n);
}
template <class T>
void normal(RandomKey key, std::uint64_t first, T* out, Index n) {
  fill_normal(key, first, out, n);
}

// Any start and any length give the elements that one long call gives.
template <class T>
void check_splits(void (*fill)(RandomKey, std::uint64_t, T*, Index)) {
  RandomKey key{0x123456789ABCDEF0, 77};
  auto whole = filled<T>(fill, key, 0, 1100);
  for (Index first : {0, 1, 2, 3, 4, 5, 31, 32, 255, 256, 257, 511})
    for (Index n : {0, 1, 2, 3, 4, 7, 32, 33, 255, 256, 257, 500}) {
      auto part = filled<T>(fill, key, static_cast<std::uint64_t>(first), n);
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + first));
    }
  std::uint64_t far = (std::uint64_t{1} << 36) - 10;  // the block number passes 32 bits
  auto across = filled<T>(fill, key, far, 40);
  for (Index i = 0; i < 40; ++i)
    CHECK(filled<T>(fill, key, far + static_cast<std::uint64_t>(i), 1)[0] == across[static_cast<std::size_t>(i)]);
}

struct Moments {
  double mean = 0, variance = 0, skewness = 0, kurtosis = 0;
};
template <class T>
Moments moments(const std::vector<T>& x) {
  Moments m;
  auto n = static_cast<double>(x.size());
  for (T v : x) m.mean += v / n;
  for (T v : x) {
    double d = v - m.mean;
    m.variance += d * d / n;
    m.skewness += d * d * d / n;
    m.kurtosis += d * d * d * d / n;
  }
  m.skewness /= std::pow(m.variance, 1.5);
  m.kurtosis /= m.variance * m.variance;
  return m;
}

}  // namespace

// Known answers: Random123, kat_vectors, "philox4x32 10".
TEST_CASE("philox: known answers") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform: elements are the words of the stream's blocks") {
  RandomKey key{0x299f31d0a4093822, 0x0370734413198a2e};
  for (std::uint64_t b : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{1} << 40}) {
    auto low = static_cast<std::uint32_t>(b), high = static_cast<std::uint32_t>(b >> 32);
    Block words = philox({low, high, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
    auto f = filled<float>(uniform<float>, key, b * 4, 4);
    for (std::size_t i = 0; i < 4; ++i) CHECK(f[i] == static_cast<float>(words[i] >> 8) * 0x1p-24f);
    auto d = filled<double>(uniform<double>, key, b * 2, 2);
    CHECK(d[0] == static_cast<double>((words[0] | std::uint64_t{words[1]} << 32) >> 11) * 0x1p-53);
    CHECK(d[1] == static_cast<double>((words[2] | std::uint64_t{words[3]} << 32) >> 11) * 0x1p-53);
  }
}

TEST_CASE("random: whatever the split, an element is the same") {
  check_splits<float>(uniform<float>);
  check_splits<double>(uniform<double>);
  check_splits<float>(normal<float>);
  check_splits<double>(normal<double>);
}

TEST_CASE("uniform: range, moments and independence of streams") {
  auto x = filled<float>(uniform<float>, {1, 2}, 0, 400000);
  CHECK(*std::min_element(x.begin(), x.end()) >= 0.f);
  CHECK(*std::max_element(x.begin(), x.end()) < 1.f);
  Moments m = moments(x);  // bounds: about five standard errors
  CHECK(close(m.mean, 0.5, 0.0025));
  CHECK(close(m.variance, 1.0 / 12, 0.001));
  auto y = filled<float>(uniform<float>, {1, 3}, 0, 400000);
  double covariance = 0;
  for (std::size_t i = 0; i < x.size(); ++i) covariance += (x[i] - 0.5) * (y[i] - 0.5) / 400000;
  CHECK(close(covariance, 0, 0.0007));
  CHECK(filled<float>(uniform<float>, {2, 2}, 0, 4) != filled<float>(uniform<float>, {1, 2}, 0, 4));
}

TEST_CASE("normal: the formula of Box and Muller, against long double") {
  RandomKey key{5, 6};
  constexpr long double pi = 3.14159265358979323846264338327950288L;
  auto f = filled<float>(normal<float>, key, 0, 20000);
  auto d = filled<double>(normal<double>, key, 0, 20000);
  double worst_f = 0, worst_d = 0;
  for (std::uint32_t b = 0; b < 5000; ++b) {
    auto w = philox({b, 0, 6, 0}, {5, 0});
    for (std::size_t p = 0; p < 2; ++p) {
      long double u = (static_cast<float>(w[2 * p] >> 1) + 0.5f) * 0x1p-31f;
      long double r = std::sqrt(-2 * std::log(u)), angle = 2 * pi * w[2 * p + 1] * 0x1p-32L;
      worst_f = std::fmax(worst_f, std::abs(static_cast<double>(f[4 * b + 2 * p] - r * std::cos(angle))));
      worst_f = std::fmax(worst_f, std::abs(static_cast<double>(f[4 * b + 2 * p + 1] - r * std::sin(angle))));
    }
    std::uint64_t a = w[0] | std::uint64_t{w[1]} << 32, c = w[2] | std::uint64_t{w[3]} << 32;
    long double u = (static_cast<double>(a >> 1) + 0.5) * 0x1p-63;
    long double r = std::sqrt(-2 * std::log(u)), angle = 2 * pi * static_cast<long double>(c) * 0x1p-64L;
    worst_d = std::fmax(worst_d, std::abs(static_cast<double>(d[2 * b] - r * std::cos(angle))));
    worst_d = std::fmax(worst_d, std::abs(static_cast<double>(d[2 * b + 1] - r * std::sin(angle))));
  }
  CHECK(worst_f <= 1e-6);  // a few roundings of values up to 5
  CHECK(worst_d <= 2e-15);
}

TEST_CASE("normal: moments, tails, no infinity") {
  for (const auto& m :
       {moments(filled<float>(normal<float>, {3, 4}, 0, 400000)), moments(filled<double>(normal<double>, {3, 4}, 0, 400000))}) {
    CHECK(close(m.mean, 0, 0.008));
    CHECK(close(m.variance, 1, 0.012));
    CHECK(close(m.skewness, 0, 0.02));
    CHECK(close(m.kurtosis, 3, 0.02));
  }
  auto x = filled<float>(normal<float>, {3, 4}, 0, 400000);
  auto beyond = std::count_if(x.begin(), x.end(), [](float v) { return std::abs(v) > 2; });
  CHECK(close(static_cast<double>(beyond) / 400000, 0.0455, 0.002));
  CHECK(std::all_of(x.begin(), x.end(), [](float v) { return std::abs(v) < 7; }));
  CHECK(*std::max_element(x.begin(), x.end()) > 4);
}

TEST_CASE("generator: keys differ, seeds restart, states go on") {
  seed(7);
  RandomKey a = generator().next(), b = generator().next();
  CHECK(a != b);
  CHECK(a == RandomKey{7, 0});
  seed(7);
  CHECK(generator().next() == a);
  RandomKey state = generator().state();
  RandomKey next = generator().next();
  generator().restore(state);
  CHECK(generator().next() == next);
  RandomKey elsewhere;
  std::thread([&] {
    seed(9);
    elsewhere = generator().next();
  }).join();
  CHECK(elsewhere == RandomKey{9, 0});
  CHECK(generator().next().seed == 7);
  seed(0);
}

TEST_CASE("random::uniform and random::normal: range, dtype, one key a tensor") {
  Generator g(1);
  Tensor u = random::uniform({1000}, -2, 3, DType::f32, g);
  auto values = doubles(u);
  CHECK(*std::min_element(values.begin(), values.end()) >= -2);
  CHECK(*std::max_element(values.begin(), values.end()) < 3);
  CHECK(close(moments(values).mean, 0.5, 0.25));
  CHECK(g.state() == RandomKey{1, 1});
  Tensor n = random::normal({1000}, 5, 0.5, DType::f64, g);
  CHECK(n.dtype() == DType::f64);
  CHECK(close(moments(doubles(n)).mean, 5, 0.02));
  CHECK(close(std::sqrt(moments(doubles(n)).variance), 0.5, 0.06));
  Generator again(1);
  CHECK(identical(random::uniform({1000}, -2, 3, DType::f32, again), u));
  CHECK(close(doubles(random::uniform({3}, 2, 2, DType::f32, g)), std::vector<double>{2, 2, 2}, 0));
  CHECK(random::uniform({0}).size() == 0);
  CHECK(error_text<ValueError>([] { return random::uniform({2}, 1, 0); }) == "uniform: bounds must be finite, low <= high: got 1 and 0");
  CHECK(error_text<ValueError>([] { return random::uniform({2}, 0, HUGE_VAL); }) ==
        "uniform: bounds must be finite, low <= high: got 0 and inf");
  CHECK(error_text<ValueError>([] { return random::normal({2}, 0, -1); }) ==
        "normal: mean and deviation must be finite, deviation >= 0: got 0 and -1");
  CHECK(error_text<DTypeError>([] { return random::uniform({2}, 0, 1, DType::i32); }) ==
        "uniform: dtype must be f32 or f64: got i32 (cast the result)");
  CHECK(error_text<DTypeError>([] { return random::normal({2}, 0, 1, DType::boolean); }) ==
        "normal: dtype must be f32 or f64: got bool (cast the result)");
}

TEST_CASE("random::bernoulli: shares, certain cases, errors") {
  Generator g(2);
  for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::boolean}) {
    Tensor t = random::bernoulli({10000}, 0.3, dtype, g);
    CHECK(t.dtype() == dtype);
    CHECK(close(moments(doubles(t)).mean, 0.3, 0.025));
  }
  CHECK(close(moments(doubles(random::bernoulli({100}, 0))).mean, 0, 0));
  CHECK(close(moments(doubles(random::bernoulli({100}, 1))).mean, 1, 1e-12));
  CHECK(error_text<ValueError>([] { return random::bernoulli({2}, 1.5); }) == "bernoulli: probability must be in [0, 1]: got 1.5");
  CHECK(error_text<ValueError>([] { return random::bernoulli({2}, std::nan("")); }) == "bernoulli: probability must be in [0, 1]: got nan");
}

TEST_CASE("random::permutation: each number once, every order about equally often") {
  Generator g(3);
  for (Index n : {0, 1, 2, 255, 256, 257, 1000}) {
    Tensor p = random::permutation(n, g);
    auto values = doubles(p);
    std::sort(values.begin(), values.end());
    CHECK(close(values, doubles(Tensor::arange(n)), 0));
  }
  int counts[6] = {};
  for (int i = 0; i < 6000; ++i) {
    auto v = doubles(random::permutation(3, g));
    ++counts[static_cast<int>(v[0]) * 2 + (v[1] > v[2])];
  }
  for (int count : counts) CHECK(std::abs(count - 1000) < 150);
  CHECK(error_text<ShapeError>([] { return random::permutation(-1); }) == "tensor: extents must be >= 0: got [-1]");
}

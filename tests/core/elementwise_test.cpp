// Every operation on every instruction set: accuracy against long double, special values, sizes, forms of operands.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <rewind/core/elementwise.hpp>
#include <rewind/core/simd/tile_kernels.hpp>
#include <string>
#include <vector>

#include "core/elementwise_reference.hpp"

using namespace rw;
using namespace rw::test;

namespace {

/// The largest error in ULP that the header states; 0 for results that are exact, 0.5 for those rounded correctly.
double allowed(const std::string& op) {
  static const std::pair<const char*, double> stated[] = {
      {"add", .5},    {"subtract", .5}, {"multiply", .5}, {"divide", .5},   {"square", .5},   {"reciprocal", .5}, {"sqrt", .5},
      {"rsqrt", 1.5}, {"exp", 1.1},     {"expm1", 2.3},   {"log", .9},      {"log1p", .9},    {"power", 1.6},     {"sin", 2.5},
      {"cos", 2.5},   {"erf", 1.6},     {"tanh", 2.6},    {"sigmoid", 2.3}, {"softplus", 1.7}};
  for (auto [name, ulp] : stated)
    if (op == name) return ulp;
  return 0;
}

/// |got - wanted| in units of the last place of wanted (of the smallest subnormal at 0); infinite where NaN or infinity differ.
template <class T>
double ulps(T got, Real wanted) {
  T rounded = static_cast<T>(wanted);
  if (std::isnan(rounded)) return std::isnan(got) ? 0 : HUGE_VAL;
  if (std::isnan(got)) return HUGE_VAL;
  if (std::isinf(got) && got == rounded) return 0;
  if (std::isinf(got)) return rounded == std::copysign(std::numeric_limits<T>::max(), got) ? 1 : HUGE_VAL;
  if (std::isinf(rounded)) return got == std::copysign(std::numeric_limits<T>::max(), rounded) ? 1 : HUGE_VAL;
  T size = std::fabs(rounded);
  return static_cast<double>(std::fabs((got - wanted) / (std::nextafter(size, static_cast<T>(HUGE_VAL)) - size)));
}

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0 || (std::isnan(a) && std::isnan(b));
}

template <class T>
const simd::TileKernels::Set& set_of(Isa isa) {
  return simd::tile_kernels(isa).set(dtype_of<T>());
}

template <class F>
void for_isas(F&& f) {
  for (Isa isa : {Isa::sse2, Isa::avx2, Isa::avx512})
    if (supported(isa)) f(isa);
}

/// Calls one kernel on dense rows.
template <class T>
std::vector<T> apply(Isa isa, int code, const std::vector<std::vector<T>>& in) {
  std::vector<T> out(in[0].size());
  simd::Span spans[3];
  for (std::size_t i = 0; i < in.size(); ++i) spans[i] = {const_cast<T*>(in[i].data()), 0};
  Index n = static_cast<Index>(out.size());
  set_of<T>(isa).apply[code][0](1, n, spans, {out.data(), n});
  return out;
}

template <class T>
std::vector<T> special() {
  using L = std::numeric_limits<T>;
  std::vector<T> values{0,
                        T(0.5),
                        1,
                        2,
                        3,
                        T(2.5),
                        T(1e-3),
                        17,
                        88,
                        100,
                        104,
                        8192,
                        T(1 << 20),
                        T(16777217.),
                        L::min(),
                        L::min() / 2,
                        L::denorm_min(),
                        L::max(),
                        L::epsilon(),
                        1 + L::epsilon(),
                        1 - L::epsilon(),
                        L::infinity(),
                        T(709.5),
                        T(745),
                        T(88.7),
                        T(1.1754942e-38)};
  for (std::size_t i = 0, n = values.size(); i < n; ++i) values.push_back(-values[i]);
  values.push_back(L::quiet_NaN());
  return values;
}

/// Operands over the ranges that matter: moderate, all exponents, and near the turning points of the approximations.
template <class T>
std::vector<std::vector<T>> samples(const std::string& op, int arity, int count) {
  std::mt19937_64 bits(7);
  auto between = [&](double a, double b) { return std::uniform_real_distribution<double>(a, b)(bits); };
  double exponents = sizeof(T) == 4 ? 148 : 1070, top = sizeof(T) == 4 ? 105 : 750;
  std::vector<std::vector<T>> in(static_cast<std::size_t>(arity));
  for (int k = 0; k < count; ++k)
    for (int a = 0; a < arity; ++a) {
      double x = 0;
      switch (k % 4) {
        case 0: x = between(-3, 3); break;
        case 1: x = between(-top, top); break;
        case 2: x = std::exp2(between(-exponents, exponents * 0.85)) * (bits() & 1 ? 1 : -1); break;
        case 3: x = between(-20, 20); break;
      }
      if (op == "power" && a == 0 && k % 8 < 7) x = std::fabs(x);
      if (op == "power" && a == 1) x = k % 8 == 7 ? std::nearbyint(between(-9, 9)) : between(-12, 12);
      if ((op == "sin" || op == "cos") && k % 4 == 1) x *= sizeof(T) == 4 ? 78 : 1300;
      in[static_cast<std::size_t>(a)].push_back(static_cast<T>(x));
    }
  return in;
}

/// References of subnormal operands in f32 are fine in long double; results below the smallest subnormal count in units of it.
template <class T>
void check_accuracy(Isa isa) {
  for (int code = 0; code < op::All::size; ++code) {
    const auto& info = op::info[code];
    auto in = samples<T>(info.name, info.arity, 20000);
    auto out = apply<T>(isa, code, in);
    double worst = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      double e = ulps<T>(out[i], reference(info.name, in[0][i], info.arity > 1 ? in[1][i] : 0, info.arity > 2 ? in[2][i] : 0));
      if (!(e <= worst)) worst = e, at = i;
    }
    double bound = allowed(info.name);
    if (!(worst <= bound + 1e-9)) {
      FAIL_CHECK(std::string(info.name) << " on " << std::string(name(isa)) << ", " << std::string(name(dtype_of<T>())) << ": " << worst
                                        << " ULP at " << in[0][at] << ", " << (info.arity > 1 ? in[1][at] : 0) << ": " << out[at]);
    }
  }
}

/// Every pair of special values, to the same tolerance; infinities, NaN and the signs of exact results must agree.
template <class T>
void check_special(Isa isa) {
  auto values = special<T>();
  for (int code = 0; code < op::All::size; ++code) {
    const auto& info = op::info[code];
    std::vector<std::vector<T>> in(static_cast<std::size_t>(info.arity));
    for (T x : values)
      for (T y : values) {
        in[0].push_back(x);
        if (info.arity > 1) in[1].push_back(y);
        if (info.arity > 2) in[2].push_back(y + 1);
      }
    auto out = apply<T>(isa, code, in);
    for (std::size_t i = 0; i < out.size(); ++i) {
      Real x = in[0][i], y = info.arity > 1 ? in[1][i] : 0, z = info.arity > 2 ? in[2][i] : 0;
      double e = ulps<T>(out[i], reference(info.name, x, y, z));
      if (std::string(info.name) == "tanh" && std::fabs(x) < 2 * std::numeric_limits<T>::min()) e -= 0.5;  // stated: may lose its last bit
      if (!(e <= allowed(info.name) + 1e-9))
        FAIL_CHECK(std::string(info.name) << " on " << std::string(name(isa)) << ", " << std::string(name(dtype_of<T>())) << ": " << e
                                          << " ULP at " << x << ", " << y << ": " << out[i]);
    }
  }
}

template <class T>
void check_sizes_and_forms(Isa isa) {
  constexpr int lanes = 64 / sizeof(T), longest = 2 * lanes + 3, rows = 2;
  for (int code = 0; code < op::All::size; ++code) {
    const auto& info = op::info[code];
    auto in = samples<T>(info.name, info.arity, 4 * longest + 8);
    auto all = apply<T>(isa, code, in);
    for (int form = 0; form < (1 << info.arity); ++form)
      for (int n = 0; n <= longest; ++n)
        for (int offset : {0, 1, 3}) {
          // Row r of operand i begins at offset + r * longest; one-a-row operands take the first element there.
          std::vector<T> out(static_cast<std::size_t>(offset + rows * longest + 1), T(-77));
          simd::Span spans[3];
          for (int i = 0; i < info.arity; ++i) spans[i] = {in[static_cast<std::size_t>(i)].data() + offset, longest};
          set_of<T>(isa).apply[code][form](rows, n, spans, {out.data() + offset, longest});
          bool right = true;
          for (int r = 0; r < rows && right; ++r)
            for (int j = 0; j < longest && right; ++j) {
              T got = out[static_cast<std::size_t>(offset + r * longest + j)];
              if (j >= n) {
                right = got == T(-77);
              } else if (form == 0) {
                right = same_bits(got, all[static_cast<std::size_t>(offset + r * longest + j)]);
              } else {
                std::vector<std::vector<T>> one;
                for (int i = 0; i < info.arity; ++i)
                  one.push_back(
                      {in[static_cast<std::size_t>(i)][static_cast<std::size_t>(offset + r * longest + (form >> i & 1 ? 0 : j))]});
                right = n > 5 && j % 5 ? true : same_bits(got, apply<T>(isa, code, one)[0]);
              }
            }
          if (!right)
            FAIL_CHECK(std::string(info.name) << " on " << std::string(name(isa)) << ", " << std::string(name(dtype_of<T>())) << ": size "
                                              << n << " form " << form);
          // In place: the output is the first dense operand.
          if (form == 0 && offset == 1) {
            auto copy = in;
            for (int i = 0; i < info.arity; ++i) spans[i] = {copy[static_cast<std::size_t>(i)].data() + offset, longest};
            set_of<T>(isa).apply[code][0](rows, n, spans, spans[0]);
            for (int r = 0; r < rows; ++r)
              for (int j = 0; j < n; ++j) {
                auto k = static_cast<std::size_t>(offset + r * longest + j);
                if (!same_bits(copy[0][k], all[k]))
                  FAIL_CHECK(std::string(info.name) << " in place on " << std::string(name(isa)) << ": size " << n);
              }
          }
        }
  }
}

}  // namespace

TEST_CASE("elementwise: instruction sets that could not be run here") {
  int missing = 0;
  for (Isa isa : {Isa::sse2, Isa::avx2, Isa::avx512}) {
    if (supported(isa)) continue;
    ++missing;
    MESSAGE("NOT RUN: this processor lacks ", std::string(name(isa)));
  }
  CHECK(missing < 3);
}

TEST_CASE("elementwise: accuracy against long double, f32") { for_isas(check_accuracy<float>); }
TEST_CASE("elementwise: accuracy against long double, f64") { for_isas(check_accuracy<double>); }
TEST_CASE("elementwise: zeros, subnormals, infinities and NaN") {
  for_isas(check_special<float>);
  for_isas(check_special<double>);
}
TEST_CASE("elementwise: every size, alignment and form gives the same bits") {
  for_isas(check_sizes_and_forms<float>);
  for_isas(check_sizes_and_forms<double>);
}

TEST_CASE("elementwise: signs of zero and of NaN's neighbours") {
  for_isas([](Isa isa) {
    auto one = [&](op::Code code, std::vector<float> x) {
      std::vector<std::vector<float>> in;
      for (float v : x) in.push_back({v});
      return apply<float>(isa, code, in)[0];
    };
    for (op::Code code : {op::code<op::Tanh>, op::code<op::Expm1>, op::code<op::Log1p>, op::code<op::Sin>, op::code<op::Erf>,
                          op::code<op::Sqrt>, op::code<op::Sign>})
      CHECK(std::signbit(one(code, {-0.0f})));
    CHECK(std::signbit(one(op::code<op::Negate>, {0.0f})));
    CHECK(std::signbit(one(op::code<op::Power>, {-0.0f, 3})));
    CHECK(!std::signbit(one(op::code<op::Power>, {-0.0f, 2})));
    CHECK(one(op::code<op::Maximum>, {NAN, 1}) != one(op::code<op::Maximum>, {NAN, 1}));
    CHECK(one(op::code<op::Maximum>, {1, NAN}) != one(op::code<op::Maximum>, {1, NAN}));
    CHECK(one(op::code<op::Power>, {NAN, 0}) == 1);
    CHECK(one(op::code<op::Power>, {1, NAN}) == 1);
  });
}

TEST_CASE("elementwise: the table says what an operation is and keeps") {
  auto row = [](op::Code code) { return op::info[code]; };
  CHECK(std::string(row(op::code<op::Tanh>).name) == "tanh");
  CHECK((row(op::code<op::Tanh>).keeps_result && !row(op::code<op::Tanh>).keeps_operands && !row(op::code<op::Tanh>).cheap));
  CHECK((row(op::code<op::Multiply>).keeps_operands && !row(op::code<op::Multiply>).keeps_result && row(op::code<op::Multiply>).cheap));
  CHECK((!row(op::code<op::Add>).keeps_operands && !row(op::code<op::Add>).keeps_result && row(op::code<op::Add>).differentiable));
  CHECK((row(op::code<op::Less>).boolean_result && !row(op::code<op::Less>).differentiable && row(op::code<op::Less>).arity == 2));
  CHECK(row(op::code<op::Where>).arity == 3);
}

// Every operation on every instruction set: accuracy against long double, special values, sizes, forms of operands, derivatives.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <rewind/core/elementwise.hpp>
#include <rewind/core/simd/tile_kernels.hpp>
#include <string>
#include <vector>

using namespace rw;

namespace {

using Real = long double;
using Limits = std::numeric_limits<Real>;

Real sign_of(Real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

/// The reference values, written apart from the operations.
Real reference(const std::string& op, Real x, Real y, Real z) {
  if (op == "negate") return -x;
  if (op == "abs") return std::fabs(x);
  if (op == "sign") return sign_of(x);
  if (op == "add") return x + y;
  if (op == "subtract") return x - y;
  if (op == "multiply") return x * y;
  if (op == "divide") return x / y;
  if (op == "square") return x * x;
  if (op == "reciprocal") return 1 / x;
  if (op == "sqrt") return std::sqrt(x);
  if (op == "rsqrt") return 1 / std::sqrt(x);
  if (op == "exp") return std::exp(x);
  if (op == "expm1") return std::expm1(x);
  if (op == "log") return std::log(x);
  if (op == "log1p") return std::log1p(x);
  if (op == "power") return std::pow(x, y);
  if (op == "sin") return std::sin(x);
  if (op == "cos") return std::cos(x);
  if (op == "erf") return std::erf(x);
  if (op == "tanh") return std::tanh(x);
  if (op == "sigmoid") return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
  if (op == "relu") return std::isnan(x) ? x : x > 0 ? x : 0;
  if (op == "softplus") return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
  if (op == "maximum") return std::isnan(x) || std::isnan(y) ? Limits::quiet_NaN() : x >= y ? x : y;
  if (op == "minimum") return std::isnan(x) || std::isnan(y) ? Limits::quiet_NaN() : x <= y ? x : y;
  if (op == "where") return x != 0 ? y : z;
  if (op == "clamp") return x < y ? y : x > z ? z : x;
  if (op == "equal") return x == y;
  if (op == "not_equal") return x != y;
  if (op == "less") return x < y;
  if (op == "less_equal") return x <= y;
  if (op == "greater") return x > y;
  if (op == "greater_equal") return x >= y;
  if (op == "logical_and") return x != 0 && y != 0;
  if (op == "logical_or") return x != 0 || y != 0;
  if (op == "logical_not") return x == 0;
  if (op == "is_finite") return std::isfinite(x);
  FAIL("no reference for " << op);
  return 0;
}

/// The largest error in ULP that the header states; 0 for results that are exact, 0.5 for those rounded correctly.
double allowed(const std::string& op) {
  static const std::pair<const char*, double> stated[] = {
      {"add", .5},  {"subtract", .5}, {"multiply", .5}, {"divide", .5}, {"square", .5}, {"reciprocal", .5}, {"sqrt", .5},
      {"rsqrt", 1.5}, {"exp", 1.1},   {"expm1", 2.3},   {"log", .9},    {"log1p", .9},  {"power", 1.6},     {"sin", 2.5},
      {"cos", 2.5}, {"erf", 1.6},     {"tanh", 2.6},    {"sigmoid", 2.3}, {"softplus", 1.7}};
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
  std::vector<T> values{0, T(0.5), 1, 2, 3, T(2.5), T(1e-3), 17, 88, 100, 104, 8192, T(1 << 20), T(16777217.), L::min(), L::min() / 2, L::denorm_min(),
                        L::max(), L::epsilon(), 1 + L::epsilon(), 1 - L::epsilon(), L::infinity(), T(709.5), T(745), T(88.7), T(1.1754942e-38)};
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
      FAIL_CHECK(std::string(info.name) << " on " << std::string(name(isa)) << ", " << std::string(name(dtype_of<T>())) << ": " << worst << " ULP at " << in[0][at] << ", "
                           << (info.arity > 1 ? in[1][at] : 0) << ": " << out[at]);
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
        FAIL_CHECK(std::string(info.name) << " on " << std::string(name(isa)) << ", " << std::string(name(dtype_of<T>())) << ": " << e << " ULP at " << x << ", " << y << ": " << out[i]);
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
                  one.push_back({in[static_cast<std::size_t>(i)][static_cast<std::size_t>(offset + r * longest + (form >> i & 1 ? 0 : j))]});
                right = n > 5 && j % 5 ? true : same_bits(got, apply<T>(isa, code, one)[0]);
              }
            }
          if (!right) FAIL_CHECK(std::string(info.name) << " on " << std::string(name(isa)) << ", " << std::string(name(dtype_of<T>())) << ": size " << n << " form " << form);
          // In place: the output is the first dense operand.
          if (form == 0 && offset == 1) {
            auto copy = in;
            for (int i = 0; i < info.arity; ++i) spans[i] = {copy[static_cast<std::size_t>(i)].data() + offset, longest};
            set_of<T>(isa).apply[code][0](rows, n, spans, spans[0]);
            for (int r = 0; r < rows; ++r)
              for (int j = 0; j < n; ++j) {
                auto k = static_cast<std::size_t>(offset + r * longest + j);
                if (!same_bits(copy[0][k], all[k])) FAIL_CHECK(std::string(info.name) << " in place on " << std::string(name(isa)) << ": size " << n);
              }
          }
        }
  }
}

/// Enough of the language of Variables, on doubles, for the derivative formulas.
struct Number {
  double v;
  Number(double x) : v(x) {}
};
Number operator+(Number a, Number b) { return a.v + b.v; }
Number operator-(Number a, Number b) { return a.v - b.v; }
Number operator-(Number a) { return -a.v; }
Number operator*(Number a, Number b) { return a.v * b.v; }
Number operator/(Number a, Number b) { return a.v / b.v; }
Number sign(Number x) { return static_cast<double>(sign_of(x.v)); }
Number reciprocal(Number x) { return 1 / x.v; }
Number exp(Number x) { return std::exp(x.v); }
Number log(Number x) { return std::log(x.v); }
Number sin(Number x) { return std::sin(x.v); }
Number cos(Number x) { return std::cos(x.v); }
Number sigmoid(Number x) { return 1 / (1 + std::exp(-x.v)); }
Number pow(Number x, Number y) { return std::pow(x.v, y.v); }
Number equal(Number x, Number y) { return x.v == y.v; }
Number less(Number x, Number y) { return x.v < y.v; }
Number less_equal(Number x, Number y) { return x.v <= y.v; }
Number greater(Number x, Number y) { return x.v > y.v; }
Number greater_equal(Number x, Number y) { return x.v >= y.v; }
Number where(Number c, Number x, Number y) { return c.v != 0 ? x : y; }

double times(Number g, Number factor) { return g.v * factor.v; }
double times(Number, op::None) { return 0; }
double pulled(Number g) { return g.v; }
double pulled(op::None) { return 0; }

template <class... T>
std::tuple<T...> as_tuple(std::tuple<T...> t) {
  return t;
}
template <class T>
std::tuple<T> as_tuple(T t) {
  return {t};
}

/// What the incoming gradient g gives each operand.
template <class Op, class... X>
void gradient_entries(double g, double y, double (&out)[3], X... x) {
  int k = 0;
  auto put = [&](auto formula, auto&& entry) { std::apply([&](auto... e) { ((out[k++] = entry(e)), ...); }, as_tuple(formula)); };
  auto factor = [&](auto f) { return times(g, f); };
  if constexpr (op::has_gradient<Op>) put(Op::gradient(), factor);
  if constexpr (op::has_gradient_x<Op>) put(Op::gradient_x(Number(x)...), factor);
  if constexpr (op::has_gradient_y<Op>) put(Op::gradient_y(Number(y)), factor);
  if constexpr (op::has_gradient_xy<Op>) put(Op::gradient_xy(Number(x)..., Number(y)), factor);
  if constexpr (op::has_pull_x<Op>) put(Op::pull_x(Number(g), Number(x)...), [](auto e) { return pulled(e); });
}
template <class Op>
void gradient_entries(double g, const double (&x)[3], double (&out)[3]) {
  double y = static_cast<double>(reference(Op::name, x[0], x[1], x[2]));
  if constexpr (Op::arity == 1) gradient_entries<Op>(g, y, out, x[0]);
  if constexpr (Op::arity == 2) gradient_entries<Op>(g, y, out, x[0], x[1]);
  if constexpr (Op::arity == 3) gradient_entries<Op>(g, y, out, x[0], x[1], x[2]);
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
    for (op::Code code : {op::code<op::Tanh>, op::code<op::Expm1>, op::code<op::Log1p>, op::code<op::Sin>, op::code<op::Erf>, op::code<op::Sqrt>, op::code<op::Sign>})
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

TEST_CASE("elementwise: derivatives against central differences") {
  std::mt19937_64 bits(3);
  std::uniform_real_distribution<double> positive(0.3, 2);
  int differentiable = 0;
  op::for_each([&](auto op) {
    using Op = decltype(op);
    if constexpr (op::info_of<Op>.differentiable) {
      ++differentiable;
      for (int k = 0; k < 20; ++k) {
        double x[3] = {positive(bits), positive(bits), positive(bits) + 2}, g = 1.5, got[3] = {};
        if (std::string(Op::name) == "clamp") x[0] *= 2, x[1] *= 0.7;
        if (k % 2 && std::string(Op::name) != "power" && std::string(Op::name) != "log" && std::string(Op::name) != "sqrt" &&
            std::string(Op::name) != "rsqrt")
          x[0] = std::string(Op::name) == "log1p" ? -x[0] / 3 : -x[0];
        gradient_entries<Op>(g, x, got);
        for (int a = 0; a < Op::arity; ++a) {
          if (std::string(Op::name) == "where" && a == 0) continue;
          Real h = 1e-6L, up[3] = {x[0], x[1], x[2]}, down[3] = {x[0], x[1], x[2]};
          up[a] += h;
          down[a] -= h;
          Real slope = (reference(Op::name, up[0], up[1], up[2]) - reference(Op::name, down[0], down[1], down[2])) / (2 * h);
          double error = std::fabs(got[a] - static_cast<double>(g * slope));
          if (!(error <= 1e-8 * (1 + std::fabs(got[a])))) FAIL_CHECK(std::string(Op::name) << " by operand " << a << " at " << x[0] << ": " << got[a]);
        }
      }
    }
  });
  CHECK(differentiable == 26);
}

TEST_CASE("elementwise: derivatives at kinks and poles") {
  double got[3];
  gradient_entries<op::Abs>(1, {0, 0, 0}, got);
  CHECK(got[0] == 0);
  gradient_entries<op::Relu>(1, {0, 0, 0}, got);
  CHECK(got[0] == 0);
  gradient_entries<op::Maximum>(1, {2, 2, 0}, got);
  CHECK((got[0] == 1 && got[1] == 0));
  gradient_entries<op::Minimum>(1, {2, 2, 0}, got);
  CHECK((got[0] == 1 && got[1] == 0));
  for (double end : {-1.0, 1.0}) {
    gradient_entries<op::Clamp>(1, {end, -1, 1}, got);
    CHECK((got[0] == 1 && got[1] == 0 && got[2] == 0));
  }
  gradient_entries<op::Power>(1, {0, 2, 0}, got);
  CHECK((got[0] == 0 && got[1] == 0));
  gradient_entries<op::Power>(1, {0, 0, 0}, got);
  CHECK(got[0] == 0);
  gradient_entries<op::Where>(HUGE_VAL, {0, 1, 2}, got);
  CHECK((got[1] == 0 && got[2] == HUGE_VAL));
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

// Every elementwise operation, one struct each: its name, its value on a SIMD batch, its derivative as a formula.
//
//   value(x[, y[, z]])   on xsimd batches of any instruction set (this file does not include xsimd; arguments bring it). Truth is 1, else
//   0. gradient...          the derivative by each operand, as a formula on Variables; its name says what it reads, so what must be kept:
//     gradient()            nothing:         a plain number
//     gradient_x(x...)      the operands
//     gradient_y(y)         the result
//     gradient_xy(x..., y)  both
//     pull_x(g, x...)       the operands, where a product with the incoming gradient g would not do (0 * inf)
//   For more than one operand they return std::tuple, an entry an operand; `none` marks an operand without derivative.
//   An operation without any of them has no derivative (comparisons).
// The list at the end generates opcodes, kernels, gradient rules, tests of accuracy and the table in the docs.
//
// The bases are those of elementwise_form.hpp, which also tells what an operation has. Errors are the largest found against long double
// over the stated range, of all instruction sets; 0.5 ULP means rounded correctly. Where nothing is said, NaN gives NaN, infinities and
// zeros act as in IEEE 754, and the range is that of the type. Formulas avoid != on batches: in xsimd 8.1 it is false for NaN on AVX, true
// on SSE2. An element's result depends on the element and the instruction set alone, not on its place in a batch.
#pragma once

#include <rewind/core/elementwise_form.hpp>
#include <rewind/core/simd/angle.hpp>
#include <rewind/core/simd/math.hpp>
#include <rewind/core/simd/power.hpp>
#include <tuple>

namespace rw::op {

/// 1 where the mask holds, else 0.
template <class B>
B truth(const auto& mask) {
  return select(mask, B(1), B(0));
}

// ---- arithmetic ---------------------------------------------------------------------------------------------------------------------

/// -x. Exact.
struct Negate : Unary {
  static constexpr auto name = "negate";
  static auto value(auto x) { return x * decltype(x)(-1); }  // xsimd's own gives 0 for 0 on AVX-512
  static constexpr auto gradient() { return -1; }
};

/// |x|; derivative sign(x), 0 at 0. Exact.
struct Abs : Unary {
  static constexpr auto name = "abs";
  static auto value(auto x) { return abs(x); }
  static auto gradient_x(auto x) { return sign(x); }
};

/// -1, 0 or 1; a zero keeps its sign. No derivative.
struct Sign : Unary {
  static constexpr auto name = "sign";
  static auto value(auto x) {
    using B = decltype(x);
    return select(x > B(0), B(1), select(x < B(0), B(-1), x));
  }
};

/// x + y. 0.5 ULP.
struct Add : Binary {
  static constexpr auto name = "add";
  static auto value(auto x, auto y) { return x + y; }
  static constexpr auto gradient() { return std::tuple{1, 1}; }
};

/// x - y. 0.5 ULP.
struct Subtract : Binary {
  static constexpr auto name = "subtract";
  static auto value(auto x, auto y) { return x - y; }
  static constexpr auto gradient() { return std::tuple{1, -1}; }
};

/// x y; derivatives y, x. 0.5 ULP.
struct Multiply : Binary {
  static constexpr auto name = "multiply";
  static auto value(auto x, auto y) { return x * y; }
  static auto gradient_x(auto x, auto y) { return std::tuple{y, x}; }
};

/// z = x / y; derivatives 1/y, -z/y. 0.5 ULP.
struct Divide : Binary, Costly {
  static constexpr auto name = "divide";
  static auto value(auto x, auto y) { return x / y; }
  static auto gradient_xy(auto, auto y, auto z) { return std::tuple{reciprocal(y), -(z / y)}; }
};

/// x^2; derivative 2x. 0.5 ULP.
struct Square : Unary {
  static constexpr auto name = "square";
  static auto value(auto x) { return x * x; }
  static auto pull_x(auto g, auto x) { return 2 * g * x; }  // where g is one value a row, so is twice of it
};

/// 1/x; derivative -y^2. 0.5 ULP.
struct Reciprocal : Unary, Costly {
  static constexpr auto name = "reciprocal";
  static auto value(auto x) { return decltype(x)(1) / x; }
  static auto gradient_y(auto y) { return -(y * y); }
};

/// Square root; derivative 1/(2y). 0.5 ULP; NaN below 0.
struct Sqrt : Unary, Costly {
  static constexpr auto name = "sqrt";
  static auto value(auto x) { return sqrt(x); }
  static auto gradient_y(auto y) { return 0.5 / y; }
};

/// 1/sqrt(x); derivative -y^3/2. 1.5 ULP; inf at 0, NaN below.
struct Rsqrt : Unary, Costly {
  static constexpr auto name = "rsqrt";
  static auto value(auto x) { return decltype(x)(1) / sqrt(x); }
  static auto gradient_y(auto y) { return -0.5 * (y * y * y); }
};

// ---- exponentials -------------------------------------------------------------------------------------------------------------------

/// e^x. 1.1 ULP, subnormal results included; inf from 88.73 (f32), 709.8 (f64); 0 below -104, -746.
struct Exp : Unary, Costly {
  static constexpr auto name = "exp";
  static auto value(auto x) { return math::exp(x); }
  static auto gradient_y(auto y) { return y; }
};

/// e^x - 1; derivative y + 1. 2.3 ULP; -1 below -18 (f32), -38 (f64); zeros keep their sign.
struct Expm1 : Unary, Costly {
  static constexpr auto name = "expm1";
  static auto value(auto x) { return math::expm1(x); }
  static auto gradient_y(auto y) { return y + 1; }
};

/// Natural logarithm; derivative 1/x. 0.9 ULP, subnormal x included; -inf at 0, NaN below.
struct Log : Unary, Costly {
  static constexpr auto name = "log";
  static auto value(auto x) { return math::log(x); }
  static auto gradient_x(auto x) { return reciprocal(x); }
};

/// log(1 + x); derivative 1/(1+x). 0.9 ULP; -inf at -1, NaN below; zeros keep their sign.
struct Log1p : Unary, Costly {
  static constexpr auto name = "log1p";
  static auto value(auto x) { return math::log1p(x); }
  static auto gradient_x(auto x) { return reciprocal(x + 1); }
};

/// x^y; derivatives y x^(y-1), x^y log x (0 where y = 0, and where x = 0). 1.6 ULP. Special cases as C's pow: x^0 = 1 and 1^y = 1 even of
/// NaN, negative x with a whole y has the sign of its parity and is NaN with any other finite y, zeros and infinities as limits.
struct Power : Binary, Costly {
  static constexpr auto name = "power";
  static auto value(auto x, auto y) { return math::power(x, y); }
  static auto gradient_xy(auto x, auto y, auto z) {
    return std::tuple{where(equal(y, 0), 0, y * pow(x, y - 1)), where(equal(x, 0), 0, z * log(x))};
  }
};

// ---- circle and error function ------------------------------------------------------------------------------------------------------

/// Derivative cos x. 2.5 ULP for |x| <= 8192 (f32), 2^20 (f64), beyond as the C library; NaN at infinities.
struct Sin : Unary, Costly {
  static constexpr auto name = "sin";
  static auto value(auto x) { return math::sin(x); }
  static auto gradient_x(auto x) { return cos(x); }
};

/// Derivative -sin x. 2.5 ULP for |x| <= 8192 (f32), 2^20 (f64), beyond as the C library; NaN at infinities.
struct Cos : Unary, Costly {
  static constexpr auto name = "cos";
  static auto value(auto x) { return math::cos(x); }
  static auto gradient_x(auto x) { return -sin(x); }
};

/// Gauss's error function; derivative 2/sqrt(pi) exp(-x^2). 1.6 ULP.
struct Erf : Unary, Costly {
  static constexpr auto name = "erf";
  static auto value(auto x) { return math::erf(x); }
  static auto gradient_x(auto x) { return 1.1283791670955126 * exp(-(x * x)); }
};

// ---- activations --------------------------------------------------------------------------------------------------------------------

/// Derivative 1 - y^2. 2.6 ULP, odd to the last bit; a subnormal x may lose its last bit.
struct Tanh : Unary, Costly {
  static constexpr auto name = "tanh";
  static auto value(auto x) { return math::tanh(x); }
  static auto gradient_y(auto y) { return 1 - y * y; }
};

/// 1/(1+e^-x); derivative y(1-y). 2.3 ULP, subnormal results included; 0 below -104 (f32), -746 (f64).
struct Sigmoid : Unary, Costly {
  static constexpr auto name = "sigmoid";
  static auto value(auto x) { return math::sigmoid(x); }
  static auto gradient_y(auto y) { return y * (1 - y); }
};

/// x where x > 0, else 0; derivative 1 where y > 0, else 0.
struct Relu : Unary {
  static constexpr auto name = "relu";
  static auto value(auto x) { return select(x <= decltype(x)(0), decltype(x)(0), x); }
  static auto gradient_y(auto y) { return greater(y, 0); }
};

/// log(1 + e^x) = max(x, 0) + log1p(exp(-|x|)); derivative sigmoid(x). 1.7 ULP.
struct Softplus : Unary, Costly {
  static constexpr auto name = "softplus";
  static auto value(auto x) { return math::softplus(x); }
  static auto gradient_x(auto x) { return sigmoid(x); }
};

// ---- choices ------------------------------------------------------------------------------------------------------------------------

/// The larger; NaN if either is. Of equals the first, which also gets the derivative.
struct Maximum : Binary {
  static constexpr auto name = "maximum";
  static auto value(auto x, auto y) { return select((x >= y) | isnan(x), x, y); }
  static auto gradient_x(auto x, auto y) { return std::tuple{greater_equal(x, y), less(x, y)}; }
};

/// The smaller; NaN if either is. Of equals the first, which also gets the derivative.
struct Minimum : Binary {
  static constexpr auto name = "minimum";
  static auto value(auto x, auto y) { return select((x <= y) | isnan(x), x, y); }
  static auto gradient_x(auto x, auto y) { return std::tuple{less_equal(x, y), greater(x, y)}; }
};

/// x where c is not 0 (NaN is not), else y.
struct Where : Ternary {
  static constexpr auto name = "where";
  static auto value(auto c, auto x, auto y) { return select(c == decltype(c)(0), y, x); }
  static auto pull_x(auto g, auto c, auto, auto) { return std::tuple{none, where(c, g, 0), where(c, 0, g)}; }
};

/// x, or low where x < low, or high where x > high; a NaN x stays. The derivative goes to the one that is chosen, to x at the ends.
struct Clamp : Ternary {
  static constexpr auto name = "clamp";
  static auto value(auto x, auto low, auto high) { return select(x < low, low, select(x > high, high, x)); }
  static auto pull_x(auto g, auto x, auto low, auto high) {
    auto below = less(x, low), above = greater(x, high);
    return std::tuple{where(below, 0, where(above, 0, g)), where(below, g, 0), where(below, 0, where(above, g, 0))};
  }
};

// ---- truth --------------------------------------------------------------------------------------------------------------------------
// Comparisons with a NaN are false, but for not_equal. Logical operations take what is not 0 (NaN too) as true.

struct Equal : Binary, Truth {
  static constexpr auto name = "equal";
  static auto value(auto x, auto y) { return truth<decltype(x)>(x == y); }
};
struct NotEqual : Binary, Truth {
  static constexpr auto name = "not_equal";
  static auto value(auto x, auto y) { return truth<decltype(x)>(!(x == y)); }
};
struct Less : Binary, Truth {
  static constexpr auto name = "less";
  static auto value(auto x, auto y) { return truth<decltype(x)>(x < y); }
};
struct LessEqual : Binary, Truth {
  static constexpr auto name = "less_equal";
  static auto value(auto x, auto y) { return truth<decltype(x)>(x <= y); }
};
struct Greater : Binary, Truth {
  static constexpr auto name = "greater";
  static auto value(auto x, auto y) { return truth<decltype(x)>(x > y); }
};
struct GreaterEqual : Binary, Truth {
  static constexpr auto name = "greater_equal";
  static auto value(auto x, auto y) { return truth<decltype(x)>(x >= y); }
};
struct LogicalAnd : Binary, Truth {
  static constexpr auto name = "logical_and";
  static auto value(auto x, auto y) { return truth<decltype(x)>(!((x == decltype(x)(0)) | (y == decltype(x)(0)))); }
};
struct LogicalOr : Binary, Truth {
  static constexpr auto name = "logical_or";
  static auto value(auto x, auto y) { return truth<decltype(x)>(!((x == decltype(x)(0)) & (y == decltype(x)(0)))); }
};
struct LogicalNot : Unary, Truth {
  static constexpr auto name = "logical_not";
  static auto value(auto x) { return truth<decltype(x)>(x == decltype(x)(0)); }
};
/// Neither infinite nor NaN.
struct IsFinite : Unary, Truth {
  static constexpr auto name = "is_finite";
  static auto value(auto x) { return truth<decltype(x)>(x - x == decltype(x)(0)); }
};

// ---- the list -----------------------------------------------------------------------------------------------------------------------

using All = List<Negate, Abs, Sign, Add, Subtract, Multiply, Divide, Square, Reciprocal, Sqrt, Rsqrt, Exp, Expm1, Log, Log1p, Power, Sin,
                 Cos, Erf, Tanh, Sigmoid, Relu, Softplus, Maximum, Minimum, Where, Clamp, Equal, NotEqual, Less, LessEqual, Greater,
                 GreaterEqual, LogicalAnd, LogicalOr, LogicalNot, IsFinite>;

/// Position in All: the code of the operation in tile programs and on the tape.
template <class T>
inline constexpr Code code = position<T>(All{});

/// info[code] for every operation.
inline constexpr auto info = detail::table(All{});

/// Calls f(Op{}) for every operation, in the order of the list.
template <class F, class... Op>
constexpr void for_each(F&& f, List<Op...>) {
  (f(Op{}), ...);
}
template <class F>
constexpr void for_each(F&& f) {
  for_each(f, All{});
}

}  // namespace rw::op

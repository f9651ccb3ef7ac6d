// Folding: work on numbers that gradient rules and passes wrote is done when the plan is made, and what changes nothing goes. Inputs and
// the doubles of formulas are no such numbers: they may change without a new plan.
//
//   x * 1, x / 1, x - 0, x + -0, pow(x, 1)                      -> x       (x + 0 stays: it makes 0 of -0)
//   - - x, a cast, reshape or broadcast to the type that x has  -> x       (an f32 that was an f64 in between is what it was)
//   reshape of a reshape, a transposition of a transposition    -> one
//   + - * / and negation of constants, views of them            -> a constant
//   sum, max, min of equal elements                             -> a constant (sums: of whole numbers that are exact)
//
// Values keep their bits. x * 0 stays: x may be infinite.
#include <bit>
#include <cmath>
#include <optional>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/core/kernels.hpp>

namespace rw::detail {

namespace {

double rounded(double x, DType dtype) { return dtype == DType::f32 ? static_cast<double>(static_cast<float>(x)) : x; }

class Folder {
 public:
  explicit Folder(Program& program)
      : p_(program), made_(program.types.size(), -1), stands_(program.types.size()), uniform_(program.types.size()) {
    for (std::size_t v = 0; v < stands_.size(); ++v) stands_[v] = static_cast<int>(v);
  }

  void run() {
    std::vector<Instruction> code = std::exchange(p_.code, {});
    p_.code.reserve(code.size());
    for (auto& c : code) {
      for (int& v : c.inputs) v = stands_[v];
      if (int x = same_as(c); x >= 0) {
        stands_[c.first] = x;
        continue;
      }
      if (c.count == 1) uniform_[c.first] = number_of(c);
      if (uniform_[c.first] && c.op != &constant_operator && !is_view(c)) {
        emit_constant(c.first, *uniform_[c.first]);
        continue;
      }
      shorten(c);
      emit(std::move(c));
    }
    for (int& v : p_.outputs) v = stands_[v];
  }

 private:
  const Type& type(int v) const { return p_.types[v]; }
  const Instruction* maker(int v) const { return made_[v] >= 0 ? &p_.code[made_[v]] : nullptr; }
  bool is(int v, double number) const {
    return uniform_[v] && *uniform_[v] == number && std::signbit(*uniform_[v]) == std::signbit(number);
  }
  static bool is_view(const Instruction& c) { return !is_computed(*c.op); }

  void emit(Instruction c) {
    made_.resize(p_.types.size(), -1);
    for (int k = 0; k < c.count; ++k) made_[c.first + k] = static_cast<int>(p_.code.size());
    p_.code.push_back(std::move(c));
  }

  /// A constant in the place of value v.
  void emit_constant(int v, double number) {
    const Type whole = type(v);
    Instruction c, fill;
    c.op = &constant_operator;
    c.attributes = {std::bit_cast<std::int64_t>(number)};
    c.first = v;
    if (whole.shape.rank() == 0) return emit(std::move(c));
    c.first = p_.add_value({whole.dtype, Shape{}});
    fill.op = &broadcast_operator;
    fill.inputs = {c.first};
    fill.first = v;
    emit(std::move(c));
    emit(std::move(fill));
  }

  /// The operand that the result equals, bit for bit; -1 if there is none.
  int same_as(const Instruction& c) const {
    if (c.count != 1 || c.inputs.empty()) return -1;
    auto fits = [&](int v) { return type(v) == type(c.first) ? v : -1; };
    int x = c.inputs[0];
    const Instruction* before = maker(x);
    if (c.op == &cast_operator && before && before->op == &cast_operator && type(x).dtype == DType::f64 &&
        type(before->inputs[0]).dtype == DType::f32 && !type(before->inputs[0]).weak)
      if (int v = fits(before->inputs[0]); v >= 0) return v;
    if (c.op == &reshape_operator && before && before->op == c.op)
      if (int v = fits(before->inputs[0]); v >= 0) return v;
    if (c.op == &cast_operator || c.op == &reshape_operator || c.op == &broadcast_operator) return fits(x);
    if (c.op == &transpose_operator) {
      if (in_order(c.attributes[0], type(x).shape.rank())) return fits(x);
      return before && before->op == c.op && in_order(composed(c, *before), type(x).shape.rank()) ? fits(before->inputs[0]) : -1;
    }
    int code = elementwise_code(*c.op);
    if (code < 0 || !is_floating(type(c.first).dtype)) return -1;
    if (code == op::code<op::Negate> && before && before->op == c.op) return fits(before->inputs[0]);
    if (c.inputs.size() != 2) return -1;
    int y = c.inputs[1];
    if ((code == op::code<op::Multiply> || code == op::code<op::Divide> || code == op::code<op::Power>)&&is(y, 1)) return fits(x);
    if (code == op::code<op::Multiply> && is(x, 1)) return fits(y);
    if (code == op::code<op::Subtract> && is(y, 0.0)) return fits(x);
    if (code == op::code<op::Add> && is(y, -0.0)) return fits(x);
    if (code == op::code<op::Add> && is(x, -0.0)) return fits(y);
    return -1;
  }

  /// The number that every element of a result is, if that is known.
  std::optional<double> number_of(const Instruction& c) const {
    const Type& t = type(c.first);
    if (!is_floating(t.dtype) || t.shape.size() == 0) return {};
    if (c.op == &constant_operator) return rounded(std::bit_cast<double>(c.attributes[0]), t.weak ? DType::f64 : t.dtype);
    if (c.inputs.empty() || !uniform_[c.inputs[0]]) return {};
    double x = *uniform_[c.inputs[0]];
    if (c.op == &cast_operator || (is_view(c) && c.op != &detach_operator)) return rounded(x, t.weak ? DType::f64 : t.dtype);
    if (c.op == &reduce_operator) return reduced(c, x);
    int code = elementwise_code(*c.op);
    if (code == op::code<op::Negate>) return -rounded(x, t.dtype);
    if (c.inputs.size() != 2 || !uniform_[c.inputs[1]]) return {};
    double a = rounded(x, t.dtype),
           b = rounded(*uniform_[c.inputs[1]], t.dtype);  // a quotient in f64 rounds to the f32's: 53 >= 2 * 24 + 2
    if (code == op::code<op::Add>) return rounded(a + b, t.dtype);
    if (code == op::code<op::Subtract>) return rounded(a - b, t.dtype);
    if (code == op::code<op::Multiply>) return rounded(a * b, t.dtype);
    if (code == op::code<op::Divide>) return rounded(a / b, t.dtype);
    return {};
  }

  std::optional<double> reduced(const Instruction& c, double x) const {
    auto kind = static_cast<Reduction>(c.attributes[0]);
    if (kind == Reduction::max || kind == Reduction::min) return x;
    if (kind != Reduction::sum) return {};
    Index count = type(c.inputs[0]).shape.size() / type(c.first).shape.size();
    double total = x * static_cast<double>(count);
    constexpr double exact = 1 << 24;  // below it every partial sum of whole numbers is an f32
    if (x != std::trunc(x) || !(std::fabs(total) <= exact)) return {};
    return total + 0.0;
  }

  /// Axes are four bits each.
  static bool in_order(std::int64_t axes, int rank) {
    for (int i = 0; i < rank; ++i)
      if ((axes >> (4 * i) & 15) != i) return false;
    return true;
  }
  static std::int64_t composed(const Instruction& second, const Instruction& first) {
    std::int64_t axes = 0;
    for (int i = 0; i < static_cast<int>(second.attributes[1]); ++i)
      axes |= (first.attributes[0] >> (4 * (second.attributes[0] >> (4 * i) & 15)) & 15) << (4 * i);
    return axes;
  }

  /// A view of a view of the same kind reads what lies below.
  void shorten(Instruction& c) const {
    const Instruction* before = c.inputs.size() == 1 ? maker(c.inputs[0]) : nullptr;
    if (!before || before->op != c.op || type(before->inputs[0]).weak) return;
    if (c.op == &transpose_operator) c.attributes[0] = composed(c, *before);
    if (c.op == &reshape_operator || c.op == &broadcast_operator || c.op == &transpose_operator) c.inputs = before->inputs;
  }

  Program& p_;
  std::vector<int> made_, stands_;
  std::vector<std::optional<double>> uniform_;
};

}  // namespace

void fold(Program& program) { Folder(program).run(); }

}  // namespace rw::detail

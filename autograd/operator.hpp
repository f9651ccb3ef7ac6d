// Operator: what the tape knows of an operation. One object an operation, found by address. Internal to autograd.
//
// Structured operations are one file each: the public function with its shape rule, and an Operator with the gradient in the language,
// the reference in plain f64, and its lowering to a plan. Elementwise operations share one (elementwise.cpp).
#pragma once

#include <algorithm>
#include <rewind/autograd/program.hpp>
#include <rewind/core/elementwise.hpp>
#include <span>
#include <vector>

namespace rw::detail {

class Lowering;

/// One node's share of a differentiation. A rule reads operands and results as Variables, and adds to the operands' gradients.
class Pullback {
 public:
  virtual ~Pullback() = default;
  const Node& node;
  explicit Pullback(const Node& n) : node(n) {}
  const Type& type(int input) const { return node.inputs[input]->type; }
  virtual Variable x(int input) = 0;                 ///< an operand
  virtual Variable y(int output = 0) = 0;            ///< a result
  virtual Variable g(int output = 0) = 0;            ///< its incoming gradient, empty if it has none
  virtual bool needs(const Value* value) const = 0;  ///< whether anybody asked for this value's gradient, or for one behind it
  virtual bool asked(const Value* value) const = 0;  ///< whether it is itself among those that were asked for
  /// To the gradient of an operand, or of a value recorded before it. Is summed to the value's shape, once.
  virtual void add(Value* value, Variable contribution) = 0;
  bool needs(int input) const { return needs(node.inputs[input]); }
  void add(int input, Variable contribution) { add(node.inputs[input], std::move(contribution)); }
  /// The contribution `part` to elements start .. of `axis` of an operand, zero elsewhere: collected, so loops over x[t] stay linear.
  virtual void add_slice(int input, int axis, Variable start, Variable part) = 0;
};

/// A dense f64 array of the reference semantics.
struct Array {
  Shape shape;
  std::vector<double> data;
};

/// What an interpretation knows beside the values.
struct InterpretContext {
  std::uint64_t step = 0;                                      ///< steps of the enclosing scans, linear
  std::span<const std::shared_ptr<CustomCall>> closures = {};  ///< of the program's custom operations
};

/// Which of its values a gradient rule reads: what an early evaluation must keep.
struct Keep {
  bool operands = false, results = false;
};

/// The linear numbers of a scan's steps, which random numbers count by, of the attributes of a scan (scan_operator.hpp).
struct StepNumbers {
  Index around, first, each;
  explicit StepNumbers(const Attributes& scan) : around(scan[4] ? scan[4] : scan[1]), first(scan[5]), each(std::max<Index>(scan[3], 1)) {}
  /// Of step t, where `outer` is the number of the step of the loops around.
  std::uint64_t of(std::uint64_t outer, Index t) const {
    return outer * static_cast<std::uint64_t>(around) + static_cast<std::uint64_t>(first + each * t);
  }
};

/// Moving an instruction out of a loop: the same operation with a leading time axis on some operands.
struct Lift {
  Program& outer;
  const Program& body;
  const Instruction& instruction;
  std::vector<int> inputs;   ///< outer values
  std::vector<bool> lifted;  ///< which of them carry the time axis
  Index steps;
  StepNumbers numbers;
  Type type(int output = 0) const {  ///< of a lifted result
    Type t = body.types[instruction.first + output];
    t.shape.insert(0, steps);
    return t;
  }
};

/// How the rows (axis 0) of an operation's values relate, for splitting a scan's batch.
enum class Rows : std::uint8_t { unknown, row, group, shared };  ///< group: one of so many rows, of sum_groups
struct RowCheck {
  const Program& program;
  const Instruction& instruction;
  Index batch;
  std::vector<Rows>& rows;  ///< of all values; unknown inputs are fixed by their first use
  /// Requires value v to be `want`; false if it is known otherwise.
  bool require(int v, Rows want) const {
    if (rows[v] == Rows::unknown) rows[v] = want;
    return rows[v] == want;
  }
};

class Operator {
 public:
  constexpr explicit Operator(const char* name) : name_(name) {}  // operators are constants: there before any code runs
  Operator(const Operator&) = delete;
  constexpr const char* name() const { return name_; }

  /// Adds the gradients of the operands. Not called for nodes without incoming gradients. Default: no gradient.
  virtual void gradient(Pullback&) const {}
  virtual bool differentiable() const { return true; }
  virtual Keep keep(const Node&) const { return {}; }
  /// The reference: results in plain f64.
  virtual void interpret(const Program& program, const Instruction& instruction, std::span<const Array* const> inputs,
                         std::span<Array> outputs, const InterpretContext& context) const = 0;
  /// Emits the steps of a plan.
  virtual void lower(Lowering& lowering, const Instruction& instruction) const = 0;
  /// The value number of the lifted first result, or -1 if the operation cannot be lifted.
  virtual int lift(Lift&) const { return -1; }
  /// Whether results are rows if operands are; fixes unknown ones. Default: no.
  virtual bool rows(RowCheck&) const { return false; }
  /// May be done again in a backward pass rather than kept.
  virtual bool cheap(const Instruction&) const { return false; }
  /// How many closures of custom operations it calls: those of the program around it, from attribute 2 on.
  virtual int closures(const Body*) const { return 0; }
  /// Worth leaving a loop for: products and what costs like them.
  virtual bool heavy() const { return false; }
  /// Text of the attributes for dumps, such as "axis 1".
  virtual std::string describe(const Attributes&) const { return {}; }

 protected:
  ~Operator() = default;  // never deleted

 private:
  const char* name_;
};

// Operators that passes look for by identity.
// clang-format off
extern const Operator &matmul_operator, &slice_operator, &concatenate_operator, &scan_operator, &region_operator, &transpose_operator,
    &reshape_operator, &broadcast_operator, &reduce_operator, &constant_operator, &random_operator, &positions_operator,
    &matmul_steps_operator, &sum_steps_operator, &sum_groups_operator, &scatter_slices_operator, &cast_operator, &detach_operator, &flip_operator,
    &gather_operator, &scatter_add_operator, &scatter_add_steps_operator;
// clang-format on

/// Whether it sums rows: its result is complete when all of them have been read.
inline bool sums_rows(const Operator& op) { return &op == &sum_steps_operator || &op == &sum_groups_operator; }

const Operator& elementwise_operator(op::Code code);
/// The code of an elementwise operator, -1 for others.
int elementwise_code(const Operator& op);

}  // namespace rw::detail

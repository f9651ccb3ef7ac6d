// Program: a straight-line piece of the tape as flat data. What passes rewrite, the interpreter runs, plans are made of.
#pragma once

#include <memory>
#include <rewind/autograd/graph.hpp>
#include <string>
#include <vector>

namespace rw::detail {

struct Program;

struct Instruction {
  const Operator* op = nullptr;
  Attributes attributes{};
  std::vector<int> inputs;   ///< value numbers
  int first = 0, count = 1;  ///< results are values first .. first+count-1
  std::shared_ptr<const Body> body;
  bool history = true;  ///< false if recorded under NoGrad
};

struct Program {
  std::vector<Type> types;  ///< of each value
  std::vector<int> inputs;  ///< values bound from outside
  std::vector<Instruction> code;
  std::vector<int> outputs;
  Closures closures;  ///< what its custom operations call, each by its attribute 2; empty where they are bound when it runs

  int add_value(const Type& type) {
    types.push_back(type);
    return static_cast<int>(types.size()) - 1;
  }
  int add_input(const Type& type) { return inputs.emplace_back(add_value(type)); }
  /// Appends an instruction with new values of these types; gives the first.
  int append(const Operator& op, const Attributes& attributes, std::vector<int> inputs, const std::vector<Type>& results,
             std::shared_ptr<const Body> body = {});
  int append(const Operator& op, const Attributes& attributes, std::vector<int> inputs, const Type& result);
};

/// The body of a scan (or a fused region): a program that is compared by identity. Inputs: carries, xs, captures; outputs: next
/// carries, ys.
struct Body {
  Program program;
  std::uint64_t serial = 0;
  int carries = 0, xs = 0, closures = 0;
  mutable std::shared_ptr<void>
      derivatives;                 ///< differentiations made of it (scan_gradient.cpp); they may lead back here: the tape lets go
  mutable std::uint64_t used = 0;  ///< when it was last asked for, by the tape's marks

  int captures() const { return static_cast<int>(program.inputs.size()) - carries - xs; }
  int ys() const { return static_cast<int>(program.outputs.size()) - carries; }
};

std::shared_ptr<Body> make_body(Program program, int carries, int xs);

/// The text of a program: a line an instruction, bodies indented.
std::string to_string(const Program& program, int indent = 0);

/// The instruction that makes each value, -1 for inputs.
std::vector<int> producers(const Program& program);
/// The constant that makes a value zeros of one sign, as gradient rules and passes write them: alone, broadcast or cast. nullptr for
/// others.
const Instruction* zero_constant(const Program& program, const std::vector<int>& producers, int value);
/// How often each value is read, outputs included.
std::vector<int> count_uses(const Program& program);

/// Words that spell out a program's structure: equal words, equal plan.
using Key = std::vector<std::uint64_t>;
void append_key(Key& key, const Program& program);
void append_key(Key& key, const Type& type);
/// What stands before the types of the inputs, and before the operands of an instruction, which the types of its results follow.
void append_key_sizes(Key& key, std::size_t inputs, std::size_t instructions);
void append_key(Key& key, const Operator& op, const Attributes& attributes, const Body* body, std::size_t inputs, std::size_t results,
                bool history);
/// The operands, by their number.
template <class Operands, class Number>
void append_key_operands(Key& key, const Operands& operands, Number number) {
  std::size_t k = 0;
  for (; k + 1 < operands.size(); k += 2)
    key.push_back(static_cast<std::uint32_t>(number(operands[k])) | static_cast<std::uint64_t>(number(operands[k + 1])) << 32);
  if (k < operands.size()) key.push_back(static_cast<std::uint32_t>(number(operands[k])));
}

/// Runs a program as recorded operations of the current trace. inputs must be local; `closures` are those that its custom operations call.
List<Variable> replay(const Program& program, const List<Variable>& inputs, const Closures& closures = {},
                      List<Variable>* all_values = nullptr);

}  // namespace rw::detail

// A program that is being written, and which of its values are elements of stacked ones. Internal to autograd.
#pragma once

#include <bit>
#include <rewind/autograd/operator.hpp>

namespace rw::detail {

/// A value that is one element of a stacked one: `index` along axis 0 of `source`.
struct Element {
  int source = -1;
  Index index = 0;
};

class StackedProgram {
 protected:
  int number(Index i) {
    return append(constant_operator, {std::bit_cast<std::int64_t>(static_cast<double>(i))}, {}, {Type{DType::f64, Shape{}, true}});
  }

  /// Elements begin .. of a stacked value, seen as `type`.
  int range(int source, Index begin, Index count, const Type& type) {
    Type part = to_.types[source];
    if (count != part.shape[0]) {
      part.shape[0] = count;
      source = append(slice_operator, {0, count}, {source, number(begin)}, {part});
    }
    return part.shape == type.shape ? source : append(reshape_operator, {}, {source}, {type});
  }

  int element(int source, Index i, const Type& type) {
    Type one = to_.types[source];
    one.shape[0] = 1;
    int v = append(slice_operator, {0, 1}, {source, number(i)}, {one});
    return append(reshape_operator, {}, {v}, {type});
  }

  /// Whether values are elements of one stacked value, each `step` behind the one before.
  bool in_order(const std::vector<int>& values, Index step) const {
    const Element first = element_[values[0]];
    for (std::size_t k = 0; k < values.size(); ++k) {
      const Element& e = element_[values[k]];
      if (e.source < 0 || e.source != first.source || e.index != first.index + step * static_cast<Index>(k)) return false;
    }
    return true;
  }

  int add_input(const Type& type) {
    int v = to_.add_input(type);
    element_.resize(to_.types.size());
    return v;
  }

  int append(const Operator& op, const Attributes& attributes, std::vector<int> inputs, const std::vector<Type>& results,
             std::shared_ptr<const Body> body = {}) {
    int v = to_.append(op, attributes, std::move(inputs), results, std::move(body));
    note(to_.code.back());
    return v;
  }

  /// Remembers what is an element of what.
  void note(const Instruction& c) {
    element_.resize(to_.types.size());
    constants_.resize(to_.types.size(), -1);
    if (c.op == &constant_operator) constants_[c.first] = static_cast<Index>(std::bit_cast<double>(c.attributes[0]));
    if (c.op == &reshape_operator) element_[c.first] = element_[c.inputs[0]];
    if (c.op == &slice_operator && c.attributes[0] == 0 && c.attributes[1] == 1 && constants_[c.inputs[1]] >= 0)
      element_[c.first] = {c.inputs[0], constants_[c.inputs[1]]};
  }

  Program to_;
  std::vector<Element> element_;  ///< of each value

 private:
  std::vector<Index> constants_;  ///< the numbers behind values, -1 for others
};

}  // namespace rw::detail

// A pass alone on the program of some variables, for the tests of passes.
#pragma once

#include <rewind/autograd/passes/passes.hpp>

#include <doctest/doctest.h>

#include "compare.hpp"

namespace rw::test {

inline Variable leaf(const Shape& shape) {
  Tensor t(shape, DType::f64);
  for (Index i = 0; i < t.size(); ++i) t.data<double>()[i] = std::sin(1.7 * static_cast<double>(i) + 0.4);
  return t;
}

/// The text of the program of some variables after a pass, which must keep its values and leave it well formed. `before`: as recorded.
inline std::string after(void (*pass)(detail::Program&), const std::vector<Variable>& outputs, std::string* before = nullptr) {
  auto program = recorded(outputs);
  auto want = program.interpret();
  if (before) *before = "\n" + to_string(program.program);
  pass(program.program);
  CHECK(malformed(program.program) == "");
  CHECK(difference(program.interpret(), want, 1e-14) == "");
  return "\n" + to_string(program.program);
}

}  // namespace rw::test

// Plans against the reference semantics: the program behind some Variables, its values by plain f64 loops, and how far two results lie
// apart.
#pragma once

#include <cmath>
#include <cstdio>
#include <rewind/autograd/evaluate.hpp>
#include <rewind/autograd/reference.hpp>
#include <rewind/autograd/tape.hpp>
#include <string>
#include <vector>

#include "support.hpp"

namespace rw::test {

/// A recorded program with the values of its inputs.
struct Recorded {
  detail::Program program;
  std::vector<detail::Array> inputs;
  detail::Closures closures;
  std::vector<detail::Array> interpret() const { return detail::interpret(program, inputs, {0, closures}); }
};

inline detail::Array array_of(const detail::Value& value) {
  return value.number_set ? detail::Array{Shape{}, {value.number}} : detail::to_array(value.tensor());
}

/// What is wrong with a program's numbers: values read before they are made, or made twice, types without a maker. Empty if it is well
/// formed.
inline std::string malformed(const detail::Program& program) {
  std::vector<char> made(program.types.size());
  auto make = [&](int v) { return v >= 0 && v < static_cast<int>(made.size()) && !std::exchange(made[v], 1); };
  auto there = [&](int v) { return v >= 0 && v < static_cast<int>(made.size()) && made[v]; };
  for (int v : program.inputs)
    if (!make(v)) return "input %" + std::to_string(v);
  for (const auto& i : program.code) {
    for (int v : i.inputs)
      if (!there(v)) return std::string(i.op->name()) + " reads %" + std::to_string(v) + ", which is not there";
    for (int k = 0; k < i.count; ++k)
      if (!make(i.first + k)) return std::string(i.op->name()) + " makes %" + std::to_string(i.first + k) + " again";
    if (!i.body) continue;
    if (auto words = malformed(i.body->program); !words.empty()) return std::string(i.op->name()) + ": " + words;
    if (i.body->program.inputs.size() != i.inputs.size()) return std::string(i.op->name()) + ": inputs";
    if (static_cast<int>(i.body->program.outputs.size()) != i.count) return std::string(i.op->name()) + ": outputs";
  }
  for (int v : program.outputs)
    if (!there(v)) return "output %" + std::to_string(v) + " is not there";
  return {};
}

/// The whole history of some Variables, evaluated or not.
inline Recorded recorded(const std::vector<Variable>& variables) {
  std::vector<detail::Value*> roots;
  for (const auto& v : variables) roots.push_back(v.handle());
  auto pending = detail::pending_program(roots, true);
  Recorded result{std::move(pending.program), {}, {}};
  result.closures = std::exchange(result.program.closures, {});  // passes do not look at them
  for (const auto* v : pending.inputs) result.inputs.push_back(array_of(*v));
  return result;
}

inline std::vector<detail::Array> arrays(const std::vector<Variable>& variables) {
  evaluate(variables);
  std::vector<detail::Array> result;
  for (const auto& v : variables) result.push_back(detail::to_array(v.value()));
  return result;
}

/// Where `got` is farther from `want` than `tolerance` times the largest finite |want| of the same output (at least `floor`); infinities
/// must be equal, NaN stands against NaN alone. Empty if nowhere.
inline std::string difference(const std::vector<detail::Array>& got, const std::vector<detail::Array>& want, double tolerance,
                              double floor = 1e-3) {
  char words[200];
  if (got.size() != want.size()) return "different numbers of outputs";
  for (std::size_t o = 0; o < got.size(); ++o) {
    if (!(got[o].shape == want[o].shape))
      return "output " + std::to_string(o) + ": " + to_string(got[o].shape) + " against " + to_string(want[o].shape);
    double largest = floor;
    for (double x : want[o].data)
      if (std::isfinite(x)) largest = std::fmax(largest, std::fabs(x));
    for (std::size_t i = 0; i < want[o].data.size(); ++i) {
      double g = got[o].data[i], w = want[o].data[i];
      if (g == w || (std::isnan(g) && std::isnan(w)) || std::fabs(g - w) <= tolerance * largest) continue;
      std::snprintf(words, sizeof words, "output %zu %s, element %zu: %.17g against %.17g, tolerance %g of %g", o,
                    to_string(want[o].shape).c_str(), i, g, w, tolerance, largest);
      return words;
    }
  }
  return {};
}

/// A plan's results against the reference's.
inline std::string against_reference(const std::vector<Variable>& variables, double tolerance, double floor = 1e-3) {
  auto want = recorded(variables).interpret();
  return difference(arrays(variables), want, tolerance, floor);
}

}  // namespace rw::test

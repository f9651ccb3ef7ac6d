// Evaluation on demand: from pending values to a program, its plan, and back. Internal to autograd.
#pragma once

#include <rewind/autograd/program.hpp>
#include <span>

namespace rw::detail {

/// Computes what is pending of some values, and every other pending value that somebody holds. `keep` stores what the first gradient of
/// what is computed will read. `old`, if any, stands beside each value: the one it is for, which may be given up (evaluate_over). Throws
/// TapeError inside the body of a scan.
void evaluate_pending(const char* op, std::span<Value* const> values, bool keep, std::span<Value* const> old = {});
void evaluate(const char* op, Value* value);

/// The graph behind some values as a program, its leaves as inputs; evaluated values are inputs too unless `through`.
struct Pending {
  Program program;
  List<Value*> inputs;   ///< what each input is bound to
  List<Value*> outputs;  ///< what each output belongs to
};
Pending pending_program(std::span<Value* const> roots, bool through);

}  // namespace rw::detail

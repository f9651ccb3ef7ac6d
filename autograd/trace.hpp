// A trace of a loop's body while it is open. Internal to autograd.
#pragma once

#include <rewind/autograd/program.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <span>

namespace rw::detail {

/// Opens a trace on this thread's tape; what is recorded until it closes belongs to it.
class OpenTrace {
 public:
  OpenTrace();
  ~OpenTrace();
  OpenTrace(const OpenTrace&) = delete;

  /// A new input of the body.
  Variable parameter(const Type& type);
  /// The recorded program that computes `outputs`. Inputs: all parameters, then captures: those that are needed, or all. `captured`
  /// receives what these are outside, `made_by` the node of each instruction.
  Program program(std::span<const Variable> outputs, bool all_captures, std::vector<ValueRef>* captured = nullptr,
                  std::vector<Node*>* made_by = nullptr);
  void close();

 private:
  Tape& tape_;
  Trace trace_;
  bool open_ = true;
};

}  // namespace rw::detail

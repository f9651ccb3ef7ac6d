// A trace of a loop's body while it is open, and what it recorded. Internal to autograd.
#pragma once

#include <functional>
#include <initializer_list>
#include <rewind/autograd/program.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <span>

namespace rw::detail {

/// What a trace recorded, as a program would have it: the number of a value is its slot, until the next walk over the graph.
struct Recorded {
  List<Value*> inputs;  ///< all parameters, then captures
  List<Node*> nodes;    ///< an instruction each; results are numbered behind the inputs, in this order
  List<Value*> outputs;
  int values = 0;
  Closures closures;  ///< what its custom operations call, in order
};
/// The same without its closures.
Program to_program(const Recorded& recorded);
/// Spells out the structure: the words of its program.
void append_key(Key& key, const Recorded& recorded);

/// Opens a trace on this thread's tape; what is recorded until it closes belongs to it.
class OpenTrace {
 public:
  OpenTrace();
  ~OpenTrace();
  OpenTrace(const OpenTrace&) = delete;

  /// A new input of the body.
  Variable parameter(const Type& type);
  /// Says of a body that is differentiated which parameters are rows of others, tables, by index: `passes` as in Gathered,
  /// `in_chunks` if the body is a loop over chunks or one. Parameters behind those that may change from step to step are constants.
  void know(const Trace::Rows& rows) { trace_.gathered.push_back(rows); }
  void constants_follow() { trace_.constants = tape_.next_id; }
  /// What computes `outputs`. Captures: those that are needed, or all. `captured` receives what these are outside.
  Recorded record(std::span<const Variable> outputs, bool all_captures, List<ValueRef>* captured);
  void close();

 private:
  Tape& tape_;
  Trace trace_;
  bool open_ = true;
};

/// The body with this structure, one object for all scans of this thread that have it.
std::shared_ptr<const Body> intern_body(Program program, int carries, int xs);
std::shared_ptr<const Body> intern_body(const Recorded& recorded, int carries, int xs);
/// The body that is made of another one in a way that these words say; with as many carries and xs. `make` may not ask for bodies itself.
std::shared_ptr<const Body> derived_body(const Body& of, std::initializer_list<std::uint64_t> how, const std::function<Program()>& make);

}  // namespace rw::detail

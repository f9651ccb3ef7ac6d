// Runs: the stretches of a program that repeat. Internal to autograd.
//
// A run is `count` pieces of `period` instructions with equal operations, attributes and types, one behind the other, with a product (or
// something as heavy) in each. Operands of piece p are, where all pieces agree on it,
//   inside    what the piece itself made,
//   carry     what piece p-1 made (or p-2: a chain of two carries); the first comes from before the run,
//   capture   one value from before the run,
//   constant  the same, a constant of the structure,
//   x         another value from before the run for each piece.
//
// Views, constants and random numbers that depend on inputs alone move in front of all runs: a random element keeps its key and counter.
// The search compares each instruction with a bounded number of others: its time is linear in the program.
#pragma once

#include <map>
#include <rewind/autograd/operator.hpp>

namespace rw::detail {

struct Run {
  static constexpr int least_pieces = 4;
  int begin, period, count;
  int end() const { return begin + period * count; }
};

/// Whether two instructions are equal but for where their operands come from.
bool same_kind(const Program& p, const Instruction& a, const Instruction& b);

class Runs {
 protected:
  explicit Runs(Program& program);

  /// Gives each run, in order, to `use`, with the first instruction that no earlier one has; then the run is the one that is classified
  /// below. `use` gives the instruction behind what it took.
  template <class F>
  void each_run(F use) {
    int n = static_cast<int>(p_.code.size()), next = front_;
    work_ = 64L * n + 4096;
    for (int anchor = front_; anchor < n; ++anchor) {
      if (!p_.code[anchor].op->heavy()) continue;
      Run r;
      if (!find(anchor, next, r)) continue;
      next = use(r, next);
      anchor = next - 1;
    }
  }

  enum class Kind : std::uint8_t { inside, carry, x, capture, constant };
  struct Operand {
    Kind kind;
    int index;  ///< value of piece 0, or value from before the run, or number of the carry, x or capture
  };
  struct Carry {
    int made, first;  ///< the value of piece 0 that is carried, and its value before the run
    int behind;       ///< the carry whose value before the step is the next one, or -1
    Type type;
  };
  struct X {
    std::vector<int> values;  ///< one a piece
    Type type;
  };

  bool alike(int i, int j);
  /// The value of another piece that is what v is to its own.
  int peer(const Run& r, int v, int pieces) const {
    const auto& c = p_.code[made_[v]];
    return p_.code[made_[v] + pieces * r.period].first + (v - c.first);
  }
  /// Whether the value that v is in some piece from `from` on is read behind the run.
  bool read_behind(const Run& r, int v, int from, int to = -1) const;

  Program& p_;
  int front_;  ///< the first instruction that was not moved in front
  std::vector<int> made_, last_reader_;

  std::vector<Operand> operands_;  ///< of piece 0, instruction by instruction
  std::vector<Carry> carries_;
  std::vector<X> xs_;
  std::vector<int> captures_;

 private:
  bool find(int anchor, int least, Run& found);
  bool shorten(Run& r);
  Run best_phase(const Run& r, int length);
  int piece_of(const Run& r, int v) const {  // -1: from before the run
    return made_[v] < r.begin ? -1 : (made_[v] - r.begin) / r.period;
  }
  int carry(const std::vector<int>& firsts, int made);
  bool settle_number(const Instruction& c, std::size_t k, Type& type) const;
  bool classify(const Run& r);

  long work_ = 0;
  std::map<std::vector<int>, int> carry_of_, x_of_;
};

}  // namespace rw::detail

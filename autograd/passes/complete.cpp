// Complete: the first and the last piece of a run get the instructions that they lack, so that a loop's ends are part of its scan.
//
// A gradient that was recorded step by step differs at both ends. At its first piece a sum has one part only, for no later step gave it
// another; behind its last piece nothing is needed of what would go on to the next. So in front of a run (runs.hpp) stands a piece that
// lacks additions to a carry, and behind it one that lacks instructions whose results only lacking ones read. The former are put in as
// additions to -0, which leave every value as it is (0 would make 0 of -0), the latter as they stand in the piece before, with an x that
// the last piece does not read taken from there.
#include <algorithm>
#include <bit>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/passes/runs.hpp>
#include <utility>

namespace rw::detail {

namespace {

class Completer : Runs {
 public:
  explicit Completer(Program& program) : Runs(program) {}

  void run() {
    each_run([&](const Run& r, int least) {
      complete_first(r, least);
      return complete_last(r);
    });
    if (insertions_.empty()) return;
    std::stable_sort(insertions_.begin(), insertions_.end(), [](const auto& a, const auto& b) { return a.before < b.before; });
    std::vector<Instruction> code;
    code.reserve(p_.code.size() + insertions_.size());
    auto next = insertions_.begin();
    for (int i = 0; i <= static_cast<int>(p_.code.size()); ++i) {
      for (; next != insertions_.end() && next->before == i; ++next) code.push_back(std::move(next->instruction));
      if (i < static_cast<int>(p_.code.size())) code.push_back(std::move(p_.code[i]));
    }
    p_.code = std::move(code);
  }

 private:
  struct Insertion {
    int before;  ///< which instruction
    Instruction instruction;
  };

  /// Puts an instruction in front of another; its results are new values. Gives the first.
  int insert(int before, Instruction c, const std::vector<Type>& results) {
    c.first = static_cast<int>(p_.types.size());
    c.count = static_cast<int>(results.size());
    p_.types.insert(p_.types.end(), results.begin(), results.end());
    made_.resize(p_.types.size(), before - 1);
    last_reader_.resize(p_.types.size(), before);
    insertions_.push_back({before, std::move(c)});
    return insertions_.back().instruction.first;
  }

  /// Puts a copy of an instruction of the run, with these operands, in front of another.
  int insert_copy(int before, int of, std::vector<int> inputs) {
    Instruction c = p_.code[of];
    c.inputs = std::move(inputs);
    const auto types = p_.types.begin() + c.first;
    return insert(before, c, std::vector<Type>(types, types + c.count));
  }

  // ---- the piece beside the run ------------------------------------------------------------------------------------------------------

  /// f(instruction of piece 0, its operands) in order, while it is true.
  template <class F>
  bool each_of_piece(const Run& r, F f) const {
    const Operand* operands = operands_.data();
    for (int j = r.begin; j < r.begin + r.period; ++j) {
      if (!f(j, operands)) return false;
      operands += p_.code[j].inputs.size();
    }
    return true;
  }

  static constexpr int unknown = -1, lacking = -2;

  void begin_match(const Run& r) {
    stands_.resize(p_.types.size());
    for (int j = r.begin; j < r.begin + r.period; ++j)
      for (int k = 0; k < p_.code[j].count; ++k) stands_[p_.code[j].first + k] = unknown;
    x_stands_.assign(xs_.size(), unknown);
    matched_.clear();
  }

  /// Whether instruction i may stand for j of piece 0; then its results do. `carried` gives what must stand for a carry, or unknown.
  template <class F>
  bool match(int j, int i, const Operand* operands, F carried) {
    const Instruction &c = p_.code[j], &d = p_.code[i];
    if (!alike(j, i)) return false;
    auto wanted = [&](std::size_t k) {
      const Operand& o = operands[k];
      if (o.kind == Kind::inside) return stands_[o.index];
      if (o.kind == Kind::x) return x_stands_[o.index];
      return o.kind == Kind::carry ? carried(o.index) : c.inputs[k];
    };
    for (std::size_t k = 0; k < c.inputs.size(); ++k)
      if (int v = wanted(k); v != unknown && v != d.inputs[k]) return false;
    for (std::size_t k = 0; k < c.inputs.size(); ++k) {
      if (operands[k].kind == Kind::inside) stands_[operands[k].index] = d.inputs[k];
      if (operands[k].kind == Kind::x) x_stands_[operands[k].index] = d.inputs[k];
    }
    for (int k = 0; k < c.count; ++k) stands_[c.first + k] = d.first + k;
    matched_.emplace_back(j, i);
    return true;
  }

  // ---- in front of the run -----------------------------------------------------------------------------------------------------------

  /// The operand that an addition gives to a carry, or -1 if the instruction is something else.
  int added_to_carry(const Instruction& c, const Operand* operands) const {
    if (elementwise_code(*c.op) != op::code<op::Add>) return -1;
    const int other = operands[0].kind == Kind::carry ? 1 : 0;
    const Type& type = p_.types[c.first];
    if (operands[1 - other].kind != Kind::carry || !is_floating(type.dtype) || type.weak) return -1;
    if (!(p_.types[c.inputs[0]] == type && p_.types[c.inputs[1]] == type)) return -1;
    return operands[other].kind == Kind::inside || operands[other].kind == Kind::x ? other : -1;
  }

  void complete_first(const Run& r, int least) {
    for (const auto& c : carries_)
      if (c.behind >= 0) return;
    int most = 0;
    each_of_piece(r, [&](int j, const Operand* operands) {
      most += added_to_carry(p_.code[j], operands) >= 0;
      return true;
    });
    for (int lacks = 1; lacks <= most; ++lacks) {
      int begin = r.begin - r.period + lacks;
      if (begin >= std::max(least, front_) && complete_first(r, begin, lacks)) return;
    }
  }

  bool complete_first(const Run& r, int begin, int lacks) {
    begin_match(r);
    struct Sum {
      int j, before, other;
      const Operand* operands;
    };
    std::vector<Sum> sums;
    int i = begin;
    bool fits = each_of_piece(r, [&](int j, const Operand* operands) {
      if (i < r.begin && match(j, i, operands, [](int) { return unknown; })) return ++i, true;
      int other = added_to_carry(p_.code[j], operands);
      if (other < 0 || --lacks < 0) return false;
      const Operand& o = operands[other];
      stands_[p_.code[j].first] = o.kind == Kind::inside ? stands_[o.index] : x_stands_[o.index];
      sums.push_back({j, i, other, operands});
      return true;
    });
    if (!fits || i != r.begin) return false;
    std::vector<int> parts;  // what each sum is of; one of an x is known by who reads the sum
    for (auto s = sums.rbegin(); s != sums.rend(); ++s) {
      int part = stands_[p_.code[s->j].first];
      if (part == unknown) return false;
      if (const Operand& o = s->operands[s->other]; o.kind == Kind::inside) stands_[o.index] = part;
      parts.push_back(part);
    }
    for (const auto& c : carries_)
      if (stands_[c.made] != c.first) return false;
    for (const auto& s : sums) {
      const int result = p_.code[s.j].first;
      const Operand& o = s.operands[s.other];
      std::vector<int> inputs(2, o.kind == Kind::inside ? stands_[o.index] : parts.back());
      parts.pop_back();
      inputs[1 - s.other] = zeros(begin, p_.types[result]);
      stands_[result] = insert_copy(s.before, s.j, std::move(inputs));
    }
    auto is_sum = [&](int v) { return std::any_of(sums.begin(), sums.end(), [&](const Sum& s) { return p_.code[s.j].first == v; }); };
    auto at = matched_.begin();
    each_of_piece(r, [&](int j, const Operand* operands) {
      bool matched = at != matched_.end() && at->first == j;
      for (std::size_t k = 0; k < p_.code[j].inputs.size(); ++k) {
        if (matched && operands[k].kind == Kind::inside && is_sum(operands[k].index))
          p_.code[at->second].inputs[k] = stands_[operands[k].index];
        if (operands[k].kind == Kind::carry && is_sum(carries_[operands[k].index].made))
          p_.code[j].inputs[k] = stands_[carries_[operands[k].index].made];
      }
      at += matched;
      return true;
    });
    return true;
  }

  int zeros(int before, const Type type) {
    Instruction zero, whole;
    zero.op = &constant_operator;
    zero.attributes = {std::bit_cast<std::int64_t>(-0.0)};
    const int v = insert(before, zero, {{type.dtype, Shape{}}});
    if (type.shape.rank() == 0) return v;
    whole.op = &broadcast_operator;
    whole.inputs = {v};
    return insert(before, whole, {type});
  }

  // ---- behind it ---------------------------------------------------------------------------------------------------------------------

  /// Gives the end of the run with what belongs to it.
  int complete_last(const Run& r) {
    begin_match(r);
    auto carried = [&](int carry) {
      int ago = 0;
      for (int c = carry; c >= 0; c = carries_[c].behind) ++ago;
      return peer(r, carries_[carry].made, r.count - ago);
    };
    struct Lack {
      int j, before;
      const Operand* operands;
    };
    std::vector<Lack> lacks;
    int i = r.end(), n = static_cast<int>(p_.code.size()), heavy = 0;
    each_of_piece(r, [&](int j, const Operand* operands) {
      if (i < n && match(j, i, operands, carried)) {
        heavy += p_.code[i++].op->heavy();
        return true;
      }
      for (int k = 0; k < p_.code[j].count; ++k) stands_[p_.code[j].first + k] = lacking;
      lacks.push_back({j, i, operands});
      return true;
    });
    if (heavy == 0 || lacks.empty() || lacks.size() > matched_.size()) return r.end();
    for (const auto& l : lacks) {
      const Instruction c = p_.code[l.j];
      std::vector<int> inputs = c.inputs;
      for (std::size_t k = 0; k < inputs.size(); ++k) {
        const Operand& o = l.operands[k];
        if (o.kind == Kind::inside) inputs[k] = stands_[o.index];
        if (o.kind == Kind::x) inputs[k] = x_stands_[o.index] != unknown ? x_stands_[o.index] : xs_[o.index].values.back();
        if (o.kind == Kind::carry) inputs[k] = carried(o.index);
      }
      int first = insert_copy(l.before, l.j, std::move(inputs));
      for (int k = 0; k < c.count; ++k) stands_[c.first + k] = first + k;
    }
    return i;
  }

  std::vector<Insertion> insertions_;
  std::vector<int> stands_, x_stands_;        ///< in the piece beside the run, for a value of piece 0 and for an x
  std::vector<std::pair<int, int>> matched_;  ///< instructions of piece 0, and what stands for them
};

}  // namespace

void complete_loops(Program& program) { Completer(program).run(); }

}  // namespace rw::detail

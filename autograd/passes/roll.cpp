// Roll: a loop that was written by hand and recorded step by step becomes a scan, and so does the part of it that `gradients` recorded.
//
// A run is a stretch of the program that repeats: `count` pieces of `period` instructions with equal operations, attributes and types, one
// behind the other, with a product (or something as heavy) in each. Operands of piece p become, where all pieces agree on it,
//   inside   what the piece itself made,
//   carry    what piece p-1 made (or p-2: a chain of two carries); the first comes from before the run,
//   capture  one value from before the run,
//   x        another value from before the run for each piece: elements of one stacked value in order (forward or backward in time), else
//            a concatenation. Parts x[t] are read where their starts point when the plan runs, so any starts are right.
// Values that are read behind the run become ys, or the last value of a carry. A run whose wiring does not fit stays as it is.
//
// Views, constants and random numbers that depend on inputs alone move in front of all runs: a random element keeps its key and counter.
// The search compares each instruction with a bounded number of others: its time is linear in the program.
#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/lift.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/passes/stacked.hpp>
#include <utility>

namespace rw::detail {

namespace {

constexpr int least_pieces = 4;

struct Run {
  int begin, period, count;
  int end() const { return begin + period * count; }
};

bool moves_in_front(const Operator& op) {
  for (const Operator* o : {&slice_operator, &reshape_operator, &constant_operator, &broadcast_operator, &random_operator})
    if (o == &op) return true;
  return false;
}

/// The program with what depends on inputs alone in front, so that pieces are alike; gives how many instructions that are.
int bring_forward(Program& p) {
  std::vector<char> early(p.types.size());
  for (int v : p.inputs) early[v] = 1;
  std::vector<Instruction> front, rest;
  for (auto& c : p.code) {
    bool first = moves_in_front(*c.op) && std::all_of(c.inputs.begin(), c.inputs.end(), [&](int v) { return early[v] != 0; });
    if (first) early[c.first] = 1;
    (first ? front : rest).push_back(std::move(c));
  }
  int count = static_cast<int>(front.size());
  p.code = std::move(front);
  p.code.insert(p.code.end(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
  return count;
}

bool same_kind(const Program& p, const Instruction& a, const Instruction& b) {
  if (a.op != b.op || a.attributes != b.attributes || a.body != b.body || a.history != b.history || a.count != b.count ||
      a.inputs.size() != b.inputs.size())
    return false;
  for (std::size_t k = 0; k < a.inputs.size(); ++k)
    if (!(p.types[a.inputs[k]] == p.types[b.inputs[k]])) return false;
  for (int k = 0; k < a.count; ++k)
    if (!(p.types[a.first + k] == p.types[b.first + k])) return false;
  return true;
}

class Roller : StackedProgram {
 public:
  explicit Roller(Program& program) : p_(program), front_(bring_forward(p_)), made_(producers(p_)), last_reader_(p_.types.size(), -1) {
    int n = static_cast<int>(p_.code.size());
    for (int i = 0; i < n; ++i)
      for (int v : p_.code[i].inputs) last_reader_[v] = i;
    for (int v : p_.outputs) last_reader_[v] = std::numeric_limits<int>::max();
  }

  /// False if nothing repeats.
  bool run() {
    number_.assign(p_.types.size(), -1);
    for (int v : p_.inputs) number_[v] = add_input(p_.types[v]);
    int n = static_cast<int>(p_.code.size()), next = 0;
    bool any = false;
    work_ = 64L * n + 4096;
    for (int anchor = front_; anchor < n; ++anchor) {
      if (!p_.code[anchor].op->heavy()) continue;
      Run r;
      if (!find(anchor, next, r)) continue;
      for (; next < r.begin; ++next) keep(p_.code[next]);
      emit(r);
      next = r.end();
      anchor = next - 1;
      any = true;
    }
    if (!any) return false;
    for (; next < n; ++next) keep(p_.code[next]);
    for (int v : p_.outputs) to_.outputs.push_back(number_[v]);
    p_ = std::move(to_);
    return true;
  }

 private:
  // ---- the search ------------------------------------------------------------------------------------------------------------------

  bool alike(int i, int j) {
    --work_;
    const auto& c = p_.code[i];
    return same_kind(p_, c, p_.code[j]) && !differs_by_step(c) && c.op->closures(c.body.get()) == 0;
  }

  /// A run whose pieces repeat at the anchor's distance to one of the next instructions of its kind, from `least` on.
  bool find(int anchor, int least, Run& found) {
    constexpr int tries = 12;  // as many equal products may stand in one piece
    int n = static_cast<int>(p_.code.size()), seen = 0;
    least = std::max(least, front_);
    for (int other = anchor + 1; other < n && seen < tries && work_ > 0; ++other) {
      --work_;
      if (!p_.code[other].op->heavy() || !alike(anchor, other)) continue;
      ++seen;
      int period = other - anchor;
      if (anchor + (least_pieces - 1) * period >= n) return false;
      bool repeats = true;  // look at the anchors before at whole pieces
      for (int k = 2; k < least_pieces && repeats; ++k) repeats = alike(anchor, anchor + k * period);
      if (!repeats) continue;
      int begin = anchor, end = anchor;  // [begin, end) is like what stands a period later
      while (begin > least && alike(begin - 1, begin - 1 + period)) --begin;
      while (end + period < n && alike(end, end + period)) ++end;
      for (bool whole : {true, false})  // else as far as it goes: another loop of the same kind may follow
        for (int peel = 0; peel < 3 && work_ > 0; ++peel) {
          Run r{begin + peel * period, period, (end - begin) / period + 1 - peel};
          if (r.count < least_pieces) break;
          if (whole ? !classify(r) : !shorten(r)) continue;
          found = best_phase(r, whole ? end + period - r.begin : (r.count + 1) * period - 1);
          return classify(found);
        }
    }
    return false;
  }

  /// Keeps the pieces whose wiring fits, from the first on, of a run that does not fit as a whole; false if they are too few.
  bool shorten(Run& r) {
    int fits = least_pieces, fails = std::exchange(r.count, fits);
    if (fails == fits || !classify(r)) return false;
    while (fails - fits > 1) {
      r.count = (fits + fails) / 2;
      (classify(r) ? fits : fails) = r.count;
    }
    r.count = fits;
    return classify(r);
  }

  /// Where pieces are cut so that the fewest values cross from one to the next: judged by the first few pieces.
  Run best_phase(const Run& r, int length) {
    constexpr int longest = 256;
    Run best = r;
    auto fewest = carries_.size();
    for (int shift = 1; shift < std::min(r.period, longest); ++shift) {
      Run moved{r.begin + shift, r.period, (length - shift) / r.period};
      if (moved.count < least_pieces) break;
      if (!classify({moved.begin, moved.period, least_pieces}) || carries_.size() >= fewest) continue;
      if (!classify(moved) || carries_.size() >= fewest) continue;
      fewest = carries_.size();
      best = moved;
    }
    return best;
  }

  // ---- the wiring ------------------------------------------------------------------------------------------------------------------

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

  int piece_of(const Run& r, int v) const {  // -1: from before the run
    return made_[v] < r.begin ? -1 : (made_[v] - r.begin) / r.period;
  }
  /// The value of another piece that is what v is to its own.
  int peer(const Run& r, int v, int pieces) const {
    const auto& c = p_.code[made_[v]];
    return p_.code[made_[v] + pieces * r.period].first + (v - c.first);
  }

  /// A carry that holds `made` of `firsts.size()` pieces ago.
  int carry(const std::vector<int>& firsts, int made) {
    auto key = firsts;
    key.push_back(made);
    if (auto there = carry_of_.find(key); there != carry_of_.end()) return there->second;
    int behind = firsts.size() > 1 ? carry(std::vector<int>(firsts.begin() + 1, firsts.end()), made) : -1;
    carries_.push_back({made, firsts[0], behind, p_.types[made]});
    return carry_of_[key] = static_cast<int>(carries_.size()) - 1;
  }

  /// The type of a number that differs from piece to piece: that of what it meets, as it would take it; false if that is not known.
  bool settle_number(const Instruction& c, std::size_t k, Type& type) const {
    if (!type.weak) return true;
    type.weak = false;
    if (c.op == &slice_operator) return k == 1;  // f64, as it is
    if (elementwise_code(*c.op) < 0) return false;
    for (int v : c.inputs)
      if (!p_.types[v].weak) type.dtype = p_.types[v].dtype;
    return is_floating(type.dtype) && std::any_of(c.inputs.begin(), c.inputs.end(), [&](int v) { return !p_.types[v].weak; });
  }

  bool classify(const Run& r) {
    operands_.clear(), carries_.clear(), xs_.clear(), captures_.clear();
    carry_of_.clear(), x_of_.clear();
    bool heavy = false;
    std::vector<int> seq(static_cast<std::size_t>(r.count));
    for (int j = r.begin; j < r.begin + r.period; ++j) {
      heavy |= p_.code[j].op->heavy();
      for (std::size_t k = 0; k < p_.code[j].inputs.size(); ++k) {
        work_ -= r.count / 4;
        for (int q = 0; q < r.count; ++q) seq[q] = p_.code[j + q * r.period].inputs[k];
        int last = seq.back(), from = piece_of(r, last);
        if (from >= 0) {  // made in the run: always as many pieces ago
          int ago = r.count - 1 - from;
          if (ago > 2 || ago > r.count - 2) return false;
          for (int q = ago; q < r.count; ++q)
            if (seq[q] != peer(r, last, q - (r.count - 1))) return false;
          int made = peer(r, last, -from);
          if (ago == 0) {
            operands_.push_back({Kind::inside, made});
            continue;
          }
          for (int q = 0; q < ago; ++q)
            if (piece_of(r, seq[q]) >= 0 || !(p_.types[seq[q]] == p_.types[made]) || p_.types[made].weak) return false;
          operands_.push_back({Kind::carry, carry(std::vector<int>(seq.begin(), seq.begin() + ago), made)});
          continue;
        }
        for (int v : seq)
          if (piece_of(r, v) >= 0) return false;
        if (std::all_of(seq.begin(), seq.end(), [&](int v) { return v == seq[0]; })) {
          if (made_[seq[0]] >= 0 && p_.code[made_[seq[0]]].op == &constant_operator) {  // structure stays structure
            operands_.push_back({Kind::constant, seq[0]});
            continue;
          }
          auto at = std::find(captures_.begin(), captures_.end(), seq[0]) - captures_.begin();
          if (at == static_cast<std::ptrdiff_t>(captures_.size())) captures_.push_back(seq[0]);
          operands_.push_back({Kind::capture, static_cast<int>(at)});
          continue;
        }
        Type type = p_.types[seq[0]];
        if (!settle_number(p_.code[j], k, type)) return false;
        auto key = seq;
        key.push_back(static_cast<int>(type.dtype));
        auto [there, fresh] = x_of_.try_emplace(std::move(key), static_cast<int>(xs_.size()));
        if (fresh) xs_.push_back({seq, type});
        operands_.push_back({Kind::x, there->second});
      }
    }
    for (int j = r.begin; j < r.begin + r.period; ++j)
      for (int k = 0; k < p_.code[j].count; ++k)
        if (p_.types[p_.code[j].first + k].weak && read_behind(r, p_.code[j].first + k, 0)) return false;
    return heavy && !carries_.empty();
  }

  /// Whether the value that v is in some piece from `from` on is read behind the run.
  bool read_behind(const Run& r, int v, int from, int to = -1) const {
    for (int q = from; q < (to < 0 ? r.count : to); ++q)
      if (last_reader_[peer(r, v, q)] >= r.end()) return true;
    return false;
  }

  // ---- the scan --------------------------------------------------------------------------------------------------------------------

  void emit(const Run& r) {
    bool reverse = false;
    for (const auto& x : xs_) {
      const Element &a = element_[number_[x.values[0]]], &b = element_[number_[x.values[1]]];
      reverse |= a.source >= 0 && a.source == b.source && b.index == a.index - 1;
    }
    Program body;
    std::vector<int> inner(p_.types.size(), -1), carry_in, x_in, capture_in, inputs;
    for (const auto& c : carries_) carry_in.push_back(body.add_input(c.type)), inputs.push_back(number_[c.first]);
    for (const auto& x : xs_) x_in.push_back(body.add_input(x.type)), inputs.push_back(stacked(x, reverse));
    for (int v : captures_) capture_in.push_back(body.add_input(p_.types[v])), inputs.push_back(number_[v]);
    std::size_t at = 0;
    for (int j = r.begin; j < r.begin + r.period; ++j) {
      Instruction c = p_.code[j];
      for (int& v : c.inputs) {
        const Operand& o = operands_[at++];
        if (o.kind == Kind::constant) {
          v = inner[o.index] >= 0
                  ? inner[o.index]
                  : inner[o.index] = body.append(constant_operator, p_.code[made_[o.index]].attributes, {}, p_.types[o.index]);
          continue;
        }
        v = o.kind == Kind::inside ? inner[o.index] : (o.kind == Kind::carry ? carry_in : o.kind == Kind::x ? x_in : capture_in)[o.index];
      }
      int first = static_cast<int>(body.types.size());
      for (int k = 0; k < c.count; ++k) inner[c.first + k] = body.add_value(p_.types[c.first + k]);
      c.first = first;
      body.code.push_back(std::move(c));
    }
    std::vector<Type> results;
    std::map<int, int> carried;  // value of piece 0 -> the carry that holds it last
    for (std::size_t c = 0; c < carries_.size(); ++c) {
      body.outputs.push_back(carries_[c].behind < 0 ? inner[carries_[c].made] : carry_in[carries_[c].behind]);
      results.push_back(carries_[c].type);
      if (carries_[c].behind < 0) carried[carries_[c].made] = static_cast<int>(c);
    }
    struct Y {
      int value, result;
    };
    std::vector<Y> ys, lasts;
    for (int j = r.begin; j < r.begin + r.period; ++j)
      for (int v = p_.code[j].first; v < p_.code[j].first + p_.code[j].count; ++v) {
        auto c = carried.find(v);
        bool has_last = c != carried.end();
        if (has_last) lasts.push_back({v, c->second});
        if (!read_behind(r, v, 0, has_last ? r.count - 1 : r.count)) continue;
        ys.push_back({v, static_cast<int>(results.size())});
        body.outputs.push_back(inner[v]);
        Type type = p_.types[v];
        type.shape.insert(0, r.count);
        results.push_back(type);
      }
    auto made = make_body(std::move(body), static_cast<int>(carries_.size()), static_cast<int>(xs_.size()));
    int first = append(scan_operator, {reverse, r.count}, std::move(inputs), results, std::move(made));
    for (const auto& y : lasts) number_[peer(r, y.value, r.count - 1)] = first + y.result;
    for (const auto& y : ys)
      for (int q = 0; q < r.count; ++q)
        if (int v = peer(r, y.value, q); last_reader_[v] >= r.end())
          number_[v] = element(first + y.result, reverse ? r.count - 1 - q : q, p_.types[v]);
  }

  /// What an x reads, in the order of time.
  int stacked(const X& x, bool reverse) {
    std::vector<int> values;
    for (int v : x.values) values.push_back(number_[v]);
    if (reverse) std::reverse(values.begin(), values.end());
    Type type = x.type;
    auto count = static_cast<Index>(values.size());
    type.shape.insert(0, count);
    const Element first = element_[values[0]];
    bool weak = p_.types[x.values[0]].weak;
    if (!weak && in_order(values, 1)) return range(first.source, first.index, count, type);
    if (!weak && in_order(values, -1))
      return append(flip_operator, {1}, {range(first.source, first.index - count + 1, count, type)}, {type});
    std::vector<int> parts;
    Type one = type;
    one.shape[0] = 1;
    for (int part : values) {
      if (weak) part = append(cast_operator, {}, {part}, {x.type});
      parts.push_back(append(reshape_operator, {}, {part}, {one}));
    }
    return append(concatenate_operator, {0}, parts, {type});
  }

  // ---- the program that comes out --------------------------------------------------------------------------------------------------

  void keep(const Instruction& c) {
    Instruction i = c;
    for (int& v : i.inputs) v = number_[v];
    if (c.op == &concatenate_operator && c.attributes[0] == 0 && i.inputs.size() > 1 && in_order(i.inputs, 1)) {  // it is stacked already
      const Element first = element_[i.inputs[0]];
      number_[c.first] = range(first.source, first.index, static_cast<Index>(i.inputs.size()), p_.types[c.first]);
      return;
    }
    i.first = static_cast<int>(to_.types.size());
    for (int k = 0; k < c.count; ++k) number_[c.first + k] = to_.add_value(p_.types[c.first + k]);
    to_.code.push_back(std::move(i));
    note(to_.code.back());
  }

  Program& p_;
  int front_;
  std::vector<int> made_, last_reader_, number_;
  long work_ = 0;

  std::vector<Operand> operands_;
  std::vector<Carry> carries_;
  std::vector<X> xs_;
  std::vector<int> captures_;
  std::map<std::vector<int>, int> carry_of_, x_of_;
};

}  // namespace

void roll(Program& program) {
  auto heavy = std::count_if(program.code.begin(), program.code.end(), [](const auto& c) { return c.op->heavy(); });
  if (heavy < least_pieces) return;
  Program trial = program;
  if (!Roller(trial).run()) return;
  program = std::move(trial);
  remove_dead_code(program);
  merge_common(program);
}

}  // namespace rw::detail

#include <rewind/autograd/passes/runs.hpp>

#include <algorithm>
#include <iterator>
#include <limits>
#include <rewind/autograd/passes/lift.hpp>
#include <utility>

namespace rw::detail {

namespace {

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

}  // namespace

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

Runs::Runs(Program& program) : p_(program), front_(bring_forward(p_)), made_(producers(p_)), last_reader_(p_.types.size(), -1) {
  int n = static_cast<int>(p_.code.size());
  for (int i = 0; i < n; ++i)
    for (int v : p_.code[i].inputs) last_reader_[v] = i;
  for (int v : p_.outputs) last_reader_[v] = std::numeric_limits<int>::max();
}

// ---- the search ---------------------------------------------------------------------------------------------------------------------

bool Runs::alike(int i, int j) {
  --work_;
  const auto& c = p_.code[i];
  return same_kind(p_, c, p_.code[j]) && !differs_by_step(c) && c.op->closures(c.body.get()) == 0;
}

/// A run whose pieces repeat at the anchor's distance to one of the next instructions of its kind, from `least` on.
bool Runs::find(int anchor, int least, Run& found) {
  constexpr int tries = 12;  // as many equal products may stand in one piece
  int n = static_cast<int>(p_.code.size()), seen = 0;
  least = std::max(least, front_);
  for (int other = anchor + 1; other < n && seen < tries && work_ > 0; ++other) {
    --work_;
    if (!p_.code[other].op->heavy() || !alike(anchor, other)) continue;
    ++seen;
    int period = other - anchor;
    if (anchor + (Run::least_pieces - 1) * period >= n) return false;
    bool repeats = true;  // look at the anchors before at whole pieces
    for (int k = 2; k < Run::least_pieces && repeats; ++k) repeats = alike(anchor, anchor + k * period);
    if (!repeats) continue;
    int begin = anchor, end = anchor;  // [begin, end) is like what stands a period later
    while (begin > least && alike(begin - 1, begin - 1 + period)) --begin;
    while (end + period < n && alike(end, end + period)) ++end;
    for (bool whole : {true, false})  // else as far as it goes: another loop of the same kind may follow
      for (int peel = 0; peel < 3 && work_ > 0; ++peel) {
        Run r{begin + peel * period, period, (end - begin) / period + 1 - peel};
        if (r.count < Run::least_pieces) break;
        if (whole ? !classify(r) : !shorten(r)) continue;
        found = best_phase(r, whole ? end + period - r.begin : (r.count + 1) * period - 1);
        return classify(found);
      }
  }
  return false;
}

/// Keeps the pieces whose wiring fits, from the first on, of a run that does not fit as a whole; false if they are too few.
bool Runs::shorten(Run& r) {
  int fits = Run::least_pieces, fails = std::exchange(r.count, fits);
  if (fails == fits || !classify(r)) return false;
  while (fails - fits > 1) {
    r.count = (fits + fails) / 2;
    (classify(r) ? fits : fails) = r.count;
  }
  r.count = fits;
  return classify(r);
}

/// Where pieces are cut so that the fewest values cross from one to the next: judged by the first few pieces.
Run Runs::best_phase(const Run& r, int length) {
  constexpr int longest = 256;
  Run best = r;
  auto fewest = carries_.size();
  for (int shift = 1; shift < std::min(r.period, longest); ++shift) {
    Run moved{r.begin + shift, r.period, (length - shift) / r.period};
    if (moved.count < Run::least_pieces) break;
    if (!classify({moved.begin, moved.period, Run::least_pieces}) || carries_.size() >= fewest) continue;
    if (!classify(moved) || carries_.size() >= fewest) continue;
    fewest = carries_.size();
    best = moved;
  }
  return best;
}

// ---- the wiring ---------------------------------------------------------------------------------------------------------------------

/// A carry that holds `made` of `firsts.size()` pieces ago.
int Runs::carry(const std::vector<int>& firsts, int made) {
  auto key = firsts;
  key.push_back(made);
  if (auto there = carry_of_.find(key); there != carry_of_.end()) return there->second;
  int behind = firsts.size() > 1 ? carry(std::vector<int>(firsts.begin() + 1, firsts.end()), made) : -1;
  carries_.push_back({made, firsts[0], behind, p_.types[made]});
  return carry_of_[key] = static_cast<int>(carries_.size()) - 1;
}

/// The type of a number that differs from piece to piece: that of what it meets, as it would take it; false if that is not known.
bool Runs::settle_number(const Instruction& c, std::size_t k, Type& type) const {
  if (!type.weak) return true;
  type.weak = false;
  if (c.op == &slice_operator) return k == 1;  // f64, as it is
  if (elementwise_code(*c.op) < 0) return false;
  for (int v : c.inputs)
    if (!p_.types[v].weak) type.dtype = p_.types[v].dtype;
  return is_floating(type.dtype) && std::any_of(c.inputs.begin(), c.inputs.end(), [&](int v) { return !p_.types[v].weak; });
}

bool Runs::classify(const Run& r) {
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

bool Runs::read_behind(const Run& r, int v, int from, int to) const {
  for (int q = from; q < (to < 0 ? r.count : to); ++q)
    if (last_reader_[peer(r, v, q)] >= r.end()) return true;
  return false;
}

}  // namespace rw::detail

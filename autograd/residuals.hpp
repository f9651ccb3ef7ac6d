// The choice of residuals: what the backward pass of a loop reads of the forward pass is kept, or made again. Internal to autograd.
#pragma once

#include <rewind/autograd/operator.hpp>
#include <set>
#include <vector>

namespace rw::detail {

/// Which forward values of a joint program are kept and which are made again: `kept[v]`, `again[v]`.
///
/// What is cheap to make of what is there is made again. So is what is cheap to make of a product, which is in memory anyway where the
/// value would be written beside it, and of little else: of x - mean(x), where x is a product, x and the mean are kept.
class Cut {
 public:
  /// Instructions below `boundary` are forward. `free` marks values that cost nothing to have (xs, captures).
  /// With `everything`, all instructions are made again, from inputs.
  Cut(const Program& joint, std::size_t boundary, std::vector<char> free, bool everything)
      : joint_(joint), made_(producers(joint)), boundary_(boundary), have_(std::move(free)) {
    kept.assign(joint.types.size(), 0);
    again.assign(joint.types.size(), 0);
    std::vector<char> read(joint.types.size());
    for (std::size_t i = boundary; i < joint.code.size(); ++i)
      for (int v : joint.code[i].inputs) read[v] = 1;
    for (int v : joint.outputs) read[v] = 1;
    auto forward = [&](int v) { return made_[v] < 0 || made_[v] < static_cast<int>(boundary_); };
    for (std::size_t v = 0; v < read.size(); ++v)
      if (read[v] && forward(static_cast<int>(v)) && !cheap(static_cast<int>(v)) && !everything) keep(static_cast<int>(v));
    if (everything) {
      for (std::size_t i = boundary; i-- > 0;) {
        const auto& c = joint.code[i];
        bool any = false;
        for (int k = 0; k < c.count; ++k) any |= read[c.first + k] != 0;
        again[c.first] = any;
        if (any)
          for (int v : c.inputs) read[v] = 1;
      }
      for (int v : joint.inputs)
        if (read[v]) keep(v);
      return;
    }
    for (std::size_t v = 0; v < read.size(); ++v) {
      if (!read[v] || !forward(static_cast<int>(v)) || have_[v]) continue;
      std::set<int> missing;
      if (reachable(static_cast<int>(v), 4, static_cast<int>(v), missing) && little(missing, static_cast<int>(v))) {
        for (int x : missing) keep(x);
        make(static_cast<int>(v));
      } else {
        keep(static_cast<int>(v));
      }
    }
  }
  std::vector<char> kept, again;

 private:
  bool cheap(int v) const { return made_[v] >= 0 && joint_.code[made_[v]].op->cheap(joint_.code[made_[v]]); }
  void keep(int v) {
    if (!have_[v]) kept[v] = 1;
    have_[v] = 1;
  }
  /// Whether v can be made in `depth` cheap operations of what is there and of `missing`: what is not cheap to make, or small beside
  /// `whole`.
  bool reachable(int v, int depth, int whole, std::set<int>& missing) const {
    if (have_[v]) return true;
    if (made_[v] < 0) return false;
    std::set<int> below;
    bool made = cheap(v) && depth > 0;
    for (int x : joint_.code[made_[v]].inputs) made = made && reachable(x, depth - 1, whole, below);
    if (made && (below.empty() || 8 * bytes(v) > bytes(whole))) {
      missing.insert(below.begin(), below.end());
      return true;
    }
    if (cheap(v) && 8 * bytes(v) > bytes(whole)) return false;
    missing.insert(v);
    return true;
  }
  /// Products of v's size in all, and a small part of that beside them.
  bool little(const std::set<int>& missing, int v) const {
    Index products = 0, others = 0;
    for (int x : missing) (joint_.code[made_[x]].op->heavy() ? products : others) += bytes(x);
    return products <= bytes(v) && 8 * others <= bytes(v);
  }
  Index bytes(int v) const { return joint_.types[v].shape.size() * size_of(joint_.types[v].dtype); }
  void make(int v) {
    if (have_[v]) return;
    for (int x : joint_.code[made_[v]].inputs) make(x);
    again[v] = 1;
    have_[v] = 1;
  }
  const Program& joint_;
  std::vector<int> made_;
  std::size_t boundary_;
  std::vector<char> have_;
};

}  // namespace rw::detail

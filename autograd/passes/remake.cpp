// Making values again where they are read. A value that a few cheap operations make of one other value of its size, as x - mean(x) or a
// normalised x, would be written by its region and read by others, which could read that other value as well: so they do, and make it
// again in registers. What others read alone, the first region then does not write.
//
// The other value must be in memory anyway, and operands beside it small: they are written where they are made.
#include <algorithm>
#include <rewind/autograd/elementwise.hpp>
#include <rewind/autograd/passes/regions.hpp>

namespace rw::detail {

namespace {

class Remaking {
 public:
  Remaking(const Regions& all, std::vector<std::vector<int>>& groups, std::vector<char>& written)
      : all_(all), program_(all.program), groups_(groups), written_(written), readers_(program_.types.size()) {
    for (std::size_t n = 0; n < program_.code.size(); ++n)
      for (int v : program_.code[n].inputs) readers_[v].push_back(static_cast<int>(n));
    for (int v : program_.outputs) readers_[v].push_back(-1);
  }

  void run() {
    for (std::size_t n = 0; n < program_.code.size(); ++n) {
      const int v = program_.code[n].first;
      if (all_.member[n] < 0 || !written_[v]) continue;
      chain_.clear();
      small_.clear();
      auto homes = regions_that_read(v);
      if (homes.empty() || !follow(v) || !std::all_of(homes.begin(), homes.end(), [&](int r) { return takes(r, v); })) continue;
      for (int r : homes) add(groups_[r]);
      for (int x : small_) written_[x] = 1;
      written_[v] = 0;
    }
  }

 private:
  static constexpr std::size_t longest = 3;  // operations: 0.07 ns an element each, where a write and a read cost 0.4 and more

  int home(int v) const { return all_.made[v] < 0 ? -1 : all_.member[all_.made[v]]; }
  bool in_memory(int v) const { return home(v) < 0 || written_[v]; }

  /// The regions beside its own that read v; none if something else reads it.
  std::vector<int> regions_that_read(int v) const {
    std::vector<int> homes;
    for (int n : readers_[v]) {
      const int r = n < 0 ? -1 : all_.member[n];
      if (r < 0) return {};
      if (r != home(v) && std::find(homes.begin(), homes.end(), r) == homes.end()) homes.push_back(r);
    }
    return homes;
  }

  /// Collects what makes v of one value of its size that is in memory; false if there is no such.
  bool follow(int v) {
    const Instruction& c = program_.code[all_.made[v]];
    const Type& type = program_.types[v];
    if (elementwise_code(*c.op) < 0 || !c.op->cheap(c) || chain_.size() == longest) return false;
    chain_.push_back(all_.made[v]);
    int base = -1;
    for (int x : c.inputs) {
      const Type& of = program_.types[x];
      if (!is_repeated(of, all_.regions[home(v)].space)) {
        if (!(of == type) || (base >= 0 && base != x)) return false;
        base = x;
      } else if (!in_memory(x)) {
        if (of.shape.size() * 8 > type.shape.size()) return false;
        small_.push_back(x);
      }
    }
    return base >= 0 && (in_memory(base) || follow(base));
  }

  /// Whether region r computes on the same points and has room.
  bool takes(int r, int v) const {
    const Space &a = all_.regions[r].space, &b = all_.regions[home(v)].space;
    return fits(a, b) && (a.columns == b.columns || !b.columns) && a.dtype == b.dtype &&
           groups_[r].size() + chain_.size() < static_cast<std::size_t>(all_.largest);
  }

  void add(std::vector<int>& group) const {
    for (int n : chain_)
      if (auto at = std::lower_bound(group.begin(), group.end(), n); at == group.end() || *at != n) group.insert(at, n);
  }

  const Regions& all_;
  const Program& program_;
  std::vector<std::vector<int>>& groups_;
  std::vector<char>& written_;
  std::vector<std::vector<int>> readers_;  ///< of each value: instructions, -1 for the program's outputs
  std::vector<int> chain_, small_;         ///< of the value at hand
};

}  // namespace

void remake(const Regions& all, std::vector<std::vector<int>>& groups, std::vector<char>& written) { Remaking(all, groups, written).run(); }

}  // namespace rw::detail

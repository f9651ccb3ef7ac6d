// Regions that wait for their reader, and regions that read the same.
#include <algorithm>
#include <map>
#include <rewind/autograd/passes/regions.hpp>
#include <set>

namespace rw::detail {

namespace {

/// A region that one other alone reads joins it, if what it reads is no more than what it would write: it only had to wait. What it repeats
/// along an axis, as a bias or a mean, is not counted. Levels of what it reads are lower still, so nothing leaves the region that it joins
/// and comes back.
class Joining {
 public:
  explicit Joining(const Regions& all)
      : all_(all), program_(all.program), regions_(all.regions), members_(regions_.size()), readers_(program_.types.size()) {
    for (std::size_t n = 0; n < program_.code.size(); ++n) {
      if (all.member[n] >= 0) members_[home(static_cast<int>(n))].push_back(static_cast<int>(n));
      for (int v : program_.code[n].inputs) readers_[v].push_back(static_cast<int>(n));
    }
    for (int v : program_.outputs) readers_[v].push_back(-1);
  }

  void run() {
    std::vector<int> order;
    for (std::size_t r = 0; r < regions_.size(); ++r)
      if (regions_[r].into < 0) order.push_back(static_cast<int>(r));
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return regions_[a].level > regions_[b].level; });
    constexpr int rounds = 2;  // a region may have waited for one below to join it
    for (int round = 0; round < rounds; ++round)
      for (int r : order) {
        const int reader = regions_[r].into < 0 ? only_reader(r) : -1;
        if (reader >= 0) join(r, reader);
      }
  }

 private:
  int home(int instruction) const { return all_.member[instruction] >= 0 ? home_of(regions_, all_.member[instruction]) : -1; }
  void join(int r, int reader) {
    Region &from = regions_[r], &to = regions_[reader];
    if (!fits(from.space, to.space) || from.size + to.size >= all_.largest) return;
    widen(to.space, from.space);
    to.size += from.size;
    from.into = reader;
    members_[reader].insert(members_[reader].end(), members_[r].begin(), members_[r].end());
  }
  Index bytes(int v) const { return program_.types[v].shape.size() * size_of(program_.types[v].dtype); }

  /// The region that reads all that `r` writes; -1 if there is no such, or if it would read more in its place.
  int only_reader(int r) const {
    if (regions_[r].space.order) return -1;  // sums are read when they are complete
    int reader = -1;
    Index written = 0, read = 0;
    std::set<int> operands;
    for (int n : members_[r]) {
      const auto& c = program_.code[n];
      bool outside = false;
      for (int user : readers_[c.first]) {
        const int there = user < 0 ? -1 : home(user);
        if (there < 0) return -1;
        if (there == r) continue;
        if (reader >= 0 && there != reader) return -1;
        reader = there;
        outside = true;
      }
      if (outside) written += bytes(c.first);
      for (int v : c.inputs)
        if (!is_repeated(program_.types[v], regions_[r].space) && (all_.made[v] < 0 || home(all_.made[v]) != r)) operands.insert(v);
    }
    for (int v : operands) read += bytes(v);
    return read <= written ? reader : -1;
  }

  const Regions& all_;
  const Program& program_;
  std::vector<Region>& regions_;
  std::vector<std::vector<int>> members_;  ///< of each region
  std::vector<std::vector<int>> readers_;  ///< of each value: instructions, -1 for the program's outputs
};

}  // namespace

void join_neighbours(const Regions& all) {
  std::map<std::pair<int, int>, int> reader;  // level and value -> region
  for (std::size_t n = 0; n < all.program.code.size(); ++n) {
    if (all.member[n] < 0) continue;
    for (int v : all.program.code[n].inputs) {
      const int r = home_of(all.regions, all.member[n]);
      Region& region = all.regions[r];
      const bool inside = all.made[v] >= 0 && all.member[all.made[v]] >= 0 && home_of(all.regions, all.member[all.made[v]]) == r;
      if (inside || is_repeated(all.program.types[v], region.space)) continue;
      auto [there, fresh] = reader.try_emplace({region.level, v}, r);
      const int other = home_of(all.regions, there->second);
      Region& to = all.regions[other];
      if (fresh || other == r || to.space.unsorted || region.space.unsorted || !fits(to.space, region.space) ||
          to.size + region.size >= all.largest)
        continue;
      widen(to.space, region.space);
      to.size += region.size;
      region.into = other;
    }
  }
}

void join_readers(const Regions& all) { Joining(all).run(); }

}  // namespace rw::detail

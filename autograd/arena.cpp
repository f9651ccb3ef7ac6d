// Where a plan's temporaries lie: one arena, laid out by liveness.
#include <algorithm>
#include <iterator>
#include <map>
#include <rewind/autograd/plan.hpp>
#include <set>
#include <vector>

namespace rw::detail {

namespace {

/// Free stretches of an arena that grows at its end.
class Gaps {
 public:
  Index take(Index size) {
    auto best = by_size_.lower_bound({size, 0});
    if (best == by_size_.end()) {
      auto last = gaps_.empty() ? gaps_.end() : std::prev(gaps_.end());
      Index begin = end_;
      if (last != gaps_.end() && last->first + last->second == end_) {
        begin = last->first;
        remove(last);
      }
      end_ = begin + size;
      return begin;
    }
    auto [extent, begin] = *best;
    remove(gaps_.find(begin));
    if (extent > size) add(begin + size, extent - size);
    return begin;
  }
  void give(Index begin, Index size) {
    auto after = gaps_.lower_bound(begin);
    if (after != gaps_.end() && after->first == begin + size) {
      size += after->second;
      after = remove(after);
    }
    if (after != gaps_.begin())
      if (auto before = std::prev(after); before->first + before->second == begin) {
        begin = before->first;
        size += before->second;
        remove(before);
      }
    add(begin, size);
  }
  Index end() const { return end_; }

 private:
  using Map = std::map<Index, Index>;
  void add(Index begin, Index size) {
    gaps_.emplace(begin, size);
    by_size_.emplace(size, begin);
  }
  Map::iterator remove(Map::iterator gap) {
    by_size_.erase({gap->second, gap->first});
    return gaps_.erase(gap);
  }
  Map gaps_;                                   // begin -> size
  std::set<std::pair<Index, Index>> by_size_;  // size, begin
  Index end_ = 0;
};

}  // namespace

/// Offsets in the arena: buffers by first use, each over another that ends there if it may, or in the smallest gap that takes it for as
/// long as it lives.
void Lowering::layout() {
  constexpr Index alignment = 64;
  auto size_of_buffer = [&](int b) { return (plan_.buffers[b].bytes + alignment - 1) / alignment * alignment; };
  std::vector<int> order;
  for (std::size_t b = 0; b < plan_.buffers.size(); ++b)
    if (plan_.buffers[b].kind == Buffer::Kind::arena && plan_.buffers[b].first >= 0 && plan_.buffers[b].bytes > 0)
      order.push_back(static_cast<int>(b));
  std::vector<int> ends = order;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return plan_.buffers[a].first < plan_.buffers[b].first; });
  std::stable_sort(ends.begin(), ends.end(), [&](int a, int b) { return plan_.buffers[a].last < plan_.buffers[b].last; });
  Gaps gaps;
  auto ended = ends.begin();
  std::vector<char> taken(plan_.buffers.size());
  for (int b : order) {
    Buffer& buffer = plan_.buffers[b];
    for (; plan_.buffers[*ended].last < buffer.first; ++ended)
      if (!taken[*ended]) gaps.give(plan_.buffers[*ended].offset, size_of_buffer(*ended));
    const int over = buffer.over;
    if (over >= 0 && !taken[over] && plan_.buffers[over].last == buffer.first) {
      taken[over] = 1;
      buffer.offset = plan_.buffers[over].offset;
    } else {
      buffer.offset = gaps.take(size_of_buffer(b));
    }
  }
  plan_.arena_bytes = gaps.end();
}

}  // namespace rw::detail

// Which thread does what of a large product: its own share first, then what others have not begun. Inside the library only.
#pragma once

#include <algorithm>
#include <atomic>
#include <rewind/core/recycle.hpp>
#include <rewind/core/team.hpp>

namespace rw::detail {

/// Where B is packed as it is used: groups of its columns are so in turn, for each block of A's rows, for each block of k. A thread takes
/// its own share of the groups, so that C stays in its cache, block after block; when that is done it takes turns of the others'. A turn
/// adds to C when the block before is in it.
class Turns {
 public:
  struct Turn {
    Index block, group;
  };

  Turns(Index groups, Index blocks, int takers)
      : groups_(groups),
        blocks_(blocks),
        next_(static_cast<std::size_t>(takers)),
        done_(takers > 1 ? static_cast<std::size_t>(groups) : 0) {}
  /// The next turn; false if all are taken.
  bool take(int taker, Turn& turn) {
    const int takers = static_cast<int>(next_.size());
    for (int t = 0; t < takers; ++t) {
      const int share = (taker + t) % takers;
      if (numbered(share, next_[static_cast<std::size_t>(share)].fetch_add(1, std::memory_order_relaxed), turn)) return true;
    }
    return false;
  }
  /// The columns of a taker's own share: groups of `columns` of n.
  Share share(int taker, Index columns, Index n) const {
    const Share groups = share_of(groups_, taker, static_cast<int>(next_.size()));
    return {groups.begin * columns, std::min(groups.end * columns, n)};
  }
  /// The turn that the taker has next, likely; false if its own share is taken.
  bool peek(int taker, Turn& turn) const {
    return numbered(taker, next_[static_cast<std::size_t>(taker)].load(std::memory_order_relaxed), turn);
  }
  /// Until C has what comes before the turn.
  void wait(Turn turn) const {
    if (done_.empty()) return;
    const auto& in = done_[static_cast<std::size_t>(turn.group)];
    for (Index old; (old = in.load(std::memory_order_acquire)) < turn.block;) in.wait(old, std::memory_order_acquire);
  }
  /// C has the turn.
  void finish(Turn turn) {
    if (done_.empty()) return;
    auto& in = done_[static_cast<std::size_t>(turn.group)];
    in.store(turn.block + 1, std::memory_order_release);
    in.notify_all();
  }

 private:
  bool numbered(int share, Index number, Turn& turn) const {
    const Share groups = share_of(groups_, share, static_cast<int>(next_.size()));
    const Index count = groups.end - groups.begin;
    if (number >= blocks_ * count) return false;
    turn = {number / count, groups.begin + number % count};
    return true;
  }

  const Index groups_, blocks_;
  List<std::atomic<Index>> next_;  ///< turn of each share
  List<std::atomic<Index>> done_;  ///< blocks of each group that are in C; none for one thread
};

}  // namespace rw::detail

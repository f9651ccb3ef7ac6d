// Which thread does what of a large product: its own share first, then what others have not begun. Inside the library only.
#pragma once

#include <algorithm>
#include <atomic>
#include <rewind/core/recycle.hpp>
#include <rewind/core/team.hpp>

namespace rw::detail {

/// The columns of a product are cut into a share for each thread, and a share into groups of columns. Groups are in turn, for each block of
/// the work that adds to all columns. A thread takes its own share, so that C stays in its cache, block after block; when that is done it
/// takes turns of the others'. A turn adds to C when the block before is in it.
class Turns {
 public:
  struct Turn {
    Index block, group;  ///< the group of the share
    int share;
  };

  Turns(Index groups, Index blocks, int takers)
      : groups_(groups),
        blocks_(blocks),
        next_(static_cast<std::size_t>(takers)),
        done_(takers > 1 ? static_cast<std::size_t>(groups * takers) : 0) {}
  int takers() const { return static_cast<int>(next_.size()); }
  /// The next turn; false if all are taken.
  bool take(int taker, Turn& turn) {
    for (int t = 0; t < takers(); ++t) {
      const int share = (taker + t) % takers();
      if (numbered(share, next_[static_cast<std::size_t>(share)].fetch_add(1, std::memory_order_relaxed), turn)) return true;
    }
    return false;
  }
  /// The turn that the taker has next, likely; false if its own share is taken.
  bool peek(int taker, Turn& turn) const {
    return numbered(taker, next_[static_cast<std::size_t>(taker)].load(std::memory_order_relaxed), turn);
  }
  /// Until C has what comes before the turn.
  void wait(Turn turn) const {
    if (done_.empty()) return;
    const auto& in = done_[place_of(turn)];
    for (Index old; (old = in.load(std::memory_order_acquire)) < turn.block;) in.wait(old, std::memory_order_acquire);
  }
  /// C has the turn.
  void finish(Turn turn) {
    if (done_.empty()) return;
    auto& in = done_[place_of(turn)];
    in.store(turn.block + 1, std::memory_order_release);
    in.notify_all();
  }

 private:
  std::size_t place_of(Turn turn) const { return static_cast<std::size_t>(turn.share * groups_ + turn.group); }
  bool numbered(int share, Index number, Turn& turn) const {
    if (number >= blocks_ * groups_) return false;
    turn = {number / groups_, number % groups_, share};
    return true;
  }

  const Index groups_, blocks_;    ///< groups of a share
  List<std::atomic<Index>> next_;  ///< turn of each share
  List<std::atomic<Index>> done_;  ///< blocks of each group that are in C; none for one thread
};

}  // namespace rw::detail

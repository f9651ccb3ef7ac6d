// The fixed team of threads: made once; work is split into equal shares, or taken piece by piece.
#pragma once

#include <atomic>
#include <rewind/core/dtype.hpp>
#include <type_traits>

namespace rw {

/// A non-owning reference to a callable.
template <class Signature>
class FunctionRef;
template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* o, A... a) -> R { return (*static_cast<std::remove_reference_t<F>*>(o))(a...); }) {}
  R operator()(A... a) const { return call_(object_, a...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

/// Threads of the team, the caller among them: at first the processors this process may use.
int threads();

/// Throws ValueError unless 1 <= count <= 1024.
void set_threads(int count);

/// Runs body(part) for part = 0 .. parts-1, each once, spread over the team, and returns when all are done. parts is the caller's
/// choice (usually threads()); results must not depend on it. Parts p, p + threads(), .. are one thread's, the caller's where that
/// thread has not begun when the caller is done with its own. A caller who finds the team busy, or who is in it, runs alone.
/// An exception of a part is thrown on by the caller, the first by part.
void parallel(int parts, FunctionRef<void(int)> body);

/// Says that calls of parallel follow soon: threads of the team that sleep wake meanwhile, which takes some 30 us, and then wait awake for
/// as long as they do after work. Changes no result; does nothing where the team is busy, or for a caller who is in it.
void wake_team();

/// [begin, end) of part `part` of `parts` equal shares of n, in multiples of `grain` but for the last.
struct Share {
  Index begin, end;
};
constexpr Share share_of(Index n, int part, int parts, Index grain = 1) {
  Index blocks = (n + grain - 1) / grain;
  Index begin = blocks * part / parts * grain, end = blocks * (part + 1) / parts * grain;
  return {begin < n ? begin : n, end < n ? end : n};
}

/// The range 0 .. n-1 as the threads of a team take it: each begins with three quarters of an equal share, then takes ever smaller pieces
/// of the rest, in multiples of `grain` while they are larger than it. So a thread that is slower than the others, as on a processor with a
/// busy neighbour, takes less, where of equal shares all would wait for its own.
class Pieces {
 public:
  Pieces(Index n, Index grain, int takers) : n_(n), grain_(grain), takers_(takers), first_(whole(n / takers * 3 / 4)) {}
  /// The next piece; an empty one when all are taken.
  Share take() {
    Index begin = begin_.load(std::memory_order_relaxed), count = 0;
    do {
      const Index shares = 2 * takers_;
      count = begin < takers_ * first_ ? first_ : whole((n_ - begin + shares - 1) / shares);
    } while (count > 0 && !begin_.compare_exchange_weak(begin, begin + count, std::memory_order_relaxed));
    return {begin, begin + count};
  }

 private:
  Index whole(Index count) const { return count > grain_ ? count - count % grain_ : count; }

  const Index n_, grain_, takers_, first_;
  std::atomic<Index> begin_{0};
};

/// body(begin, end) for pieces of 0 .. n-1, in multiples of `grain` but for the last, taken by `parts` threads of the team; one takes all
/// at once.
void parallel(int parts, Index n, Index grain, FunctionRef<void(Index, Index)> body);

}  // namespace rw

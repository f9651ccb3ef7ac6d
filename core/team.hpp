// The fixed team of threads: made once, work split statically.
#pragma once

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

/// [begin, end) of part `part` of `parts` equal shares of n, in multiples of `grain` but for the last.
struct Share {
  Index begin, end;
};
constexpr Share share_of(Index n, int part, int parts, Index grain = 1) {
  Index blocks = (n + grain - 1) / grain;
  Index begin = blocks * part / parts * grain, end = blocks * (part + 1) / parts * grain;
  return {begin < n ? begin : n, end < n ? end : n};
}

}  // namespace rw

// What the products of a loop fetch: at each step the pointwise part reads and writes memory that no step before touched, and waits for it,
// while a product leaves the way to memory idle.
#include <algorithm>
#include <rewind/autograd/plan.hpp>
#include <vector>

namespace rw::detail {

namespace {

constexpr Index line = 64;  // of the cache, in bytes

}  // namespace

/// What a region touches is fetched by the last product before it; before the first product of a step it is the last one of the step
/// before.
void Lowering::look_ahead() {
  auto is = [&](std::size_t s, const Operator& op) {
    const StepNote& note = plan_.notes[s];
    return note.instruction && note.instruction->op == &op && !note.copy;
  };
  auto moves = [&](int buffer) {
    const Buffer& b = plan_.buffers[buffer];
    return b.bytes >= line && (b.kind == Buffer::Kind::output || (b.kind == Buffer::Kind::input && b.index < options_.constants_from));
  };
  std::size_t product = touched_.size();
  for (std::size_t s = 0; s < touched_.size(); ++s)
    if (is(s, matmul_operator)) product = s;
  if (product == touched_.size()) return;
  plan_.ahead.resize(touched_.size());
  bool next = true;
  for (std::size_t s = 0; s < touched_.size(); ++s) {
    if (is(s, matmul_operator)) {
      product = s;
      next = false;
    } else if (is(s, region_operator)) {
      auto& list = plan_.ahead[product];
      for (int b : touched_[s]) {
        const auto& own = touched_[product];
        const bool known = std::find(own.begin(), own.end(), b) != own.end() ||
                           std::any_of(list.begin(), list.end(), [&](const Touched& t) { return t.buffer == b; });
        if (moves(b) && !known) list.push_back({b, next});
      }
    }
  }
}

std::span<const Ahead> Plan::ahead_of(std::size_t s, const Frame& frame) const {
  if (ahead.empty() || ahead[s].empty()) return {};
  thread_local std::vector<Ahead> pieces;
  pieces.clear();
  for (const auto& [buffer, next] : ahead[s]) {
    const Index moved = next && frame.advance ? frame.advance[buffer] : 0;
    if (next && moved == 0) continue;
    pieces.push_back({frame.base[buffer] + moved, buffers[buffer].bytes / line, line, line});
  }
  return pieces;
}

void Plan::run_fetching(const Frame& frame) const {
  Frame own = frame;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    own.ahead = ahead_of(s, frame);
    steps[s]->run(own);
  }
}

}  // namespace rw::detail

// Common subexpressions: equal operation, attributes and operands give equal results, so they are computed once. A scan's equal ys too, a y
// that is an x, and what is detached is what it was.
#include <algorithm>
#include <bit>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

bool same(const Program& p, const Instruction& a, const Instruction& b) {
  return a.op == b.op && a.attributes == b.attributes && a.body == b.body && a.inputs == b.inputs && p.types[a.first] == p.types[b.first];
}

std::uint64_t hash_of(const Instruction& c) {
  std::uint64_t h = reinterpret_cast<std::uintptr_t>(c.op);
  auto mix = [&](std::uint64_t word) {
    h = (h ^ word) * 0xD6E8FEB86659FD93ull;
    h ^= h >> 32;
  };
  for (auto a : c.attributes) mix(static_cast<std::uint64_t>(a));
  mix(reinterpret_cast<std::uintptr_t>(c.body.get()));
  for (int v : c.inputs) mix(static_cast<std::uint64_t>(v));
  return h;
}

/// Instructions by their structure: open addressing, half full at most.
class Seen {
 public:
  explicit Seen(const Program& program) : program_(program), places_(std::bit_ceil(2 * program.code.size() + 1), -1) {}

  /// An equal instruction that was given before, or -1; then this one is remembered.
  int find(int i) {
    const Instruction& c = program_.code[i];
    for (std::size_t at = hash_of(c);; ++at) {
      int& place = places_[at & (places_.size() - 1)];
      if (place < 0) return place = i, -1;
      if (same(program_, program_.code[place], c)) return place;
    }
  }

 private:
  const Program& program_;
  std::vector<int> places_;
};

}  // namespace

void merge_common(Program& program) {
  std::vector<int> number(program.types.size());
  for (std::size_t v = 0; v < number.size(); ++v) number[v] = static_cast<int>(v);
  std::vector<char> keep(program.code.size(), 1);
  Seen seen(program);
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    auto& c = program.code[i];
    for (int& v : c.inputs) v = number[v];
    if (c.op == &detach_operator) {  // a plan knows no gradients
      number[c.first] = c.inputs[0];
      keep[i] = 0;
      continue;
    }
    if (int earlier = seen.find(static_cast<int>(i)); earlier >= 0) {
      for (int k = 0; k < c.count; ++k) number[c.first + k] = number[program.code[earlier].first + k];
      keep[i] = 0;
    } else if (c.op == &scan_operator) {
      const auto& outputs = c.body->program.outputs;
      const auto x = c.body->program.inputs.begin() + c.body->carries, end = x + c.body->xs;
      for (int y = c.body->carries; y < static_cast<int>(outputs.size()); ++y) {
        if (auto at = std::find(x, end, outputs[y]); at != end) {
          number[c.first + y] = c.inputs[c.body->carries + (at - x)];
          continue;
        }
        for (int z = c.body->carries; z < y; ++z)
          if (outputs[y] == outputs[z]) {
            number[c.first + y] = c.first + z;
            break;
          }
      }
    }
  }
  for (int& v : program.outputs) v = number[v];
  compact(program, keep);
}

}  // namespace rw::detail

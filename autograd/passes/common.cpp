// Common subexpressions: equal operation, attributes and operands give equal results, so they are computed once. A scan's equal ys
// and carries too, a y that is an x, and what is detached is what it was.
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

/// Whether two carries of a loop that begin alike stay alike: what comes next is made of them in the same way.
class Alike {
 public:
  explicit Alike(const Body& body) : p_(body.program), made_(producers(p_)) {}
  bool operator()(int a, int b) const { return equal(p_.outputs[a], p_.outputs[b], p_.inputs[a], p_.inputs[b], deepest); }

 private:
  static constexpr int deepest = 4;
  bool equal(int v, int w, int a, int b, int depth) const {
    if (v == a || w == b) return v == a && w == b;
    if (v == w) return true;
    if (depth == 0 || made_[v] < 0 || made_[w] < 0) return false;
    const Instruction &x = p_.code[made_[v]], &y = p_.code[made_[w]];
    if (x.op != y.op || x.attributes != y.attributes || x.body != y.body || x.count != 1 || x.inputs.size() != y.inputs.size() ||
        !(p_.types[v] == p_.types[w]))
      return false;
    for (std::size_t k = 0; k < x.inputs.size(); ++k)
      if (!equal(x.inputs[k], y.inputs[k], a, b, depth - 1)) return false;
    return true;
  }
  const Program& p_;
  std::vector<int> made_;
};

/// Calls f(carry, earlier one that is always equal).
template <class F>
void each_equal_carry(const Instruction& scan, const F& f) {
  const Alike alike(*scan.body);
  for (int b = 1; b < scan.body->carries; ++b)
    for (int a = 0; a < b; ++a)
      if (scan.inputs[a] == scan.inputs[b] && alike(a, b)) {
        f(b, a);
        break;
      }
}

}  // namespace

void merge_common(Program& program) {
  std::vector<int> number(program.types.size());
  for (std::size_t v = 0; v < number.size(); ++v) number[v] = static_cast<int>(v);
  std::vector<char> keep(program.code.size(), 1);
  Seen seen(program);
  bool carries = false;
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
      each_equal_carry(c, [&](int carry, int earlier) {
        number[c.first + carry] = number[c.first + earlier];
        carries = true;
      });
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
  if (carries) remove_dead_code(program);  // before the loop goes into another
}

}  // namespace rw::detail

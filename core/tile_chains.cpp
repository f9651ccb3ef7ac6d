// Which operations of a tile program go through it together.
//
// An operation of one instruction begins a chain: what it takes, then itself. Where an operand is such too, its chain comes first, and the
// operation goes on with it; of two such operands the first is put aside meanwhile. So an operand is made where it is read. It is made
// nowhere else if nobody else reads it; and if others do, but making it again costs no more than writing and reading it.
#include <algorithm>
#include <optional>
#include <rewind/core/tile_plan.hpp>

namespace rw::tile {

namespace {

using simd::Chain;
using simd::Link;

/// An operation as a link: on its first operand, or on its second.
struct AsLink {
  Link first, second;
};
std::optional<AsLink> as_link(const TileProgram::Instruction& i) {
  if (i.kind != Kind::apply) return {};
  if (i.code == op::code<op::Add>) return AsLink{Link::add, Link::add};
  if (i.code == op::code<op::Subtract>) return AsLink{Link::subtract, Link::subtract_from};
  if (i.code == op::code<op::Multiply>) return AsLink{i.a == i.b ? Link::square : Link::multiply, Link::multiply};
  if (i.code == op::code<op::Square>) return AsLink{Link::square, Link::square};
  if (i.code == op::code<op::Divide>) return AsLink{Link::divide, Link::divide_from};
  if (i.code == op::code<op::Sqrt>) return AsLink{Link::root, Link::root};
  if (i.code == op::code<op::Negate>) return AsLink{Link::negate, Link::negate};
  return {};
}

/// False if there is no room. `value` is not looked at where the link reads none.
bool append(Instruction& to, Link link, int value = -1) {
  const auto* found = simd::reads(link) ? std::find(to.in, to.in + to.inputs, value) : to.in;
  const auto at = static_cast<std::int8_t>(found - to.in);
  if (to.chain.count == Chain::most || at == Chain::most_inputs) return false;
  if (at == to.inputs) to.in[to.inputs++] = value;
  to.chain.links[to.chain.count] = link;
  to.chain.operands[to.chain.count++] = at;
  return true;
}

/// What there was is put aside.
bool append(Instruction& to, const Instruction& links) {
  const auto& chain = links.chain;
  for (int k = 0; k < chain.count; ++k)
    if (!append(to, k == 0 && to.chain.count > 0 ? Link::aside : chain.links[k], links.in[chain.operands[k]])) return false;
  return true;
}

bool puts_aside(const Instruction& i) {
  return std::find(i.chain.links, i.chain.links + i.chain.count, Link::aside) != i.chain.links + i.chain.count;
}

class Chains {
 public:
  Chains(const TileProgram& program, const std::vector<bool>& narrow)
      : program_(program), narrow_(narrow), made_(program.code.size()), uses_(program.code.size()), read_(program.code.size()) {
    for (std::size_t n = 0; n < program.code.size(); ++n) {
      const auto& i = program.code[n];
      const bool joins = as_link(i) || i.kind == Kind::sum || i.kind == Kind::total;
      for (int v : {i.a, i.b == i.a ? -1 : i.b, i.c}) {
        if (v < 0) continue;
        ++uses_[v].all;
        uses_[v].alone |= !joins;
        uses_[v].summed |= i.kind == Kind::sum;
      }
    }
  }

  std::vector<Instruction> run() {
    const int count = static_cast<int>(program_.code.size());
    for (int n = 0; n < count; ++n) made_[n] = make(n);
    std::vector<int> number(made_.size(), -1);
    std::vector<Instruction> code;
    auto emit = [&](int n, const Instruction& i) {
      number[n] = static_cast<int>(code.size());
      code.push_back(i);
      for (int k = 0; k < i.inputs; ++k) code.back().in[k] = number[i.in[k]];
    };
    for (int n = 0; n < count; ++n) {
      if (number[n] >= 0 || (uses_[n].all > 0 && read_[n] == uses_[n].all)) continue;
      const int sum = sum_of(n);
      const bool alone = made_[n].kind == Kind::apply && made_[n].chain.count == 2 && sum < 0;
      emit(n, alone ? plain(n) : made_[n]);
      if (sum >= 0) emit(sum, made_[sum]);  // at once: both are made in one pass
    }
    return code;
  }

 private:
  struct Uses {
    int all = 0;
    bool alone = false;  ///< by an operation that is no part of a chain
    bool summed = false;
  };

  /// The sum that reads `v` from where it was made, or -1.
  int sum_of(int v) const {
    if (!uses_[v].summed) return -1;
    auto reads = [&](const Instruction& i) { return i.kind == Kind::sum && i.chain.count == 0 && i.in[0] == v; };
    const auto found = std::find_if(made_.begin() + v, made_.end(), reads);
    return found == made_.end() ? -1 : static_cast<int>(found - made_.begin());
  }

  /// Whether a reader makes `v` itself.
  bool made_by_reader(int v, bool narrow) const {
    if (v < 0 || !as_link(program_.code[v]) || narrow_[v] != narrow || uses_[v].alone) return false;
    if (uses_[v].all == 1) return true;
    const auto& i = made_[v];
    if (std::any_of(i.chain.links, i.chain.links + i.chain.count, simd::slow)) return false;
    const auto full = std::count_if(i.in, i.in + i.inputs, [&](int in) { return !narrow_[in]; });
    return full == 1 ? i.chain.count <= 3 : i.chain.count == 2 && uses_[v].all == 2;
  }

  /// The chain of operation `n` with those of its first and second operand, or with what they leave in registers.
  std::optional<Instruction> chain_of(int n, bool first, bool second) const {
    const auto& i = program_.code[n];
    const AsLink link = *as_link(i);
    Instruction to = plain(n);
    to.inputs = 0;
    bool fits;
    if (!first && !second) {
      fits = append(to, Link::take, i.a) && append(to, link.first, i.b);
    } else if (first && second) {
      const bool turned = puts_aside(made_[i.b]);
      if (turned && puts_aside(made_[i.a])) return {};
      fits = append(to, made_[turned ? i.b : i.a]) && append(to, made_[turned ? i.a : i.b]) &&
             append(to, with(turned ? link.first : link.second, simd::Form::aside));
    } else {
      fits = append(to, made_[first ? i.a : i.b]) && append(to, first ? link.first : link.second, first ? i.b : i.a);
    }
    return fits ? std::optional(to) : std::nullopt;
  }

  Instruction plain(int n) const {
    const auto& i = program_.code[n];
    Instruction to{.kind = i.kind, .code = i.code, .narrow = narrow_[n], .operand = i.operand, .index = i.index, .group = i.group};
    for (int v : {i.a, i.b, i.c})
      if (v >= 0) to.in[to.inputs++] = v;
    return to;
  }

  Instruction make(int n) {
    const auto& i = program_.code[n];
    if (i.kind == Kind::sum || i.kind == Kind::total) {
      Instruction to = plain(n);
      const bool makes = made_by_reader(i.a, false);
      if (!makes && i.kind == Kind::sum) return to;
      to.inputs = 0;
      makes ? append(to, made_[i.a]) : append(to, Link::take, i.a);
      read_[i.a] += makes;
      return to;
    }
    if (!as_link(i)) return plain(n);
    const bool twice = i.b == i.a && as_link(i)->first != Link::square;
    const bool first = !twice && made_by_reader(i.a, narrow_[n]), second = i.b != i.a && made_by_reader(i.b, narrow_[n]);
    const bool longer = first && (!second || made_[i.a].chain.count >= made_[i.b].chain.count);
    for (auto [a, b] : {std::pair(first, second), std::pair(longer, second && !longer), std::pair(first && !longer, second && longer)}) {
      auto to = chain_of(n, a, b);
      if (!to) continue;
      read_[i.a] += a;
      if (i.b >= 0) read_[i.b] += b;
      return *to;
    }
    return *chain_of(n, false, false);
  }

  const TileProgram& program_;
  const std::vector<bool>& narrow_;
  std::vector<Instruction> made_;
  std::vector<Uses> uses_;
  std::vector<int> read_;  ///< how many of a value's readers make it themselves
};

}  // namespace

std::vector<Instruction> with_chains(const TileProgram& program, const std::vector<bool>& narrow) { return Chains(program, narrow).run(); }

}  // namespace rw::tile

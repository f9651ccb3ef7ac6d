// Loops that sum rows, for the tests of what becomes of such sums.
#pragma once

#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include "after.hpp"

namespace rw::test {

using Variables = std::vector<Variable>;

inline void sink_and_fuse(detail::Program& p) {
  detail::sink(p);
  detail::fold(p);
  detail::fuse(p);
}

/// A loop backward in time whose state is a y, so it is stacked, with sums of rows: `addends(next, x)`.
template <class F>
std::string summed(const F& addends, Index batch = 2, void (*passes)(detail::Program&) = sink_and_fuse) {
  auto x = leaf({3, batch, 4}), h = leaf({batch, 4});
  const auto sums = addends(h, h).size();
  Variables first{h};
  for (std::size_t k = 0; k < sums; ++k) first.push_back(leaf({4}));
  auto [last, y] = scan(
      [&](const Variables& s, const Variable& x) {
        auto next = tanh(s[0] + x);
        Variables carry{next};
        auto rows = addends(next, x);
        for (std::size_t k = 0; k < sums; ++k) carry.push_back(s[1 + k] + sum(rows[k], 0));
        return std::pair{carry, next};
      },
      first, x, {.reverse = true});
  last.push_back(y);
  return after(passes, last);
}

inline std::size_t count(const std::string& text, const std::string& word) {
  std::size_t n = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}
inline std::size_t stacked(const std::string& text) {
  auto line = text.substr(text.rfind('\n', text.find("scan(")) + 1);
  return count(line.substr(0, line.find('=')), "%") - 1;
}

}  // namespace rw::test

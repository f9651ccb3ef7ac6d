// Common subexpressions: equal operation, attributes and operands give equal results, so they are computed once. A scan's equal ys too.
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>
#include <rewind/autograd/tape_state.hpp>
#include <unordered_map>

namespace rw::detail {

void merge_common(Program& program) {
  std::vector<int> number(program.types.size());
  for (std::size_t v = 0; v < number.size(); ++v) number[v] = static_cast<int>(v);
  std::unordered_map<Key, int, KeyHash> seen;
  std::vector<char> keep(program.code.size(), 1);
  Key key;
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    auto& c = program.code[i];
    for (int& v : c.inputs) v = number[v];
    key.clear();
    key.push_back(reinterpret_cast<std::uintptr_t>(c.op));
    for (auto a : c.attributes) key.push_back(static_cast<std::uint64_t>(a));
    key.push_back(c.body ? c.body->serial : 0);
    const Type& type = program.types[c.first];
    key.push_back(static_cast<std::uint64_t>(type.dtype) | static_cast<std::uint64_t>(type.shape.rank()) << 8);
    for (Index extent : type.shape) key.push_back(static_cast<std::uint64_t>(extent));
    for (int v : c.inputs) key.push_back(static_cast<std::uint64_t>(v));
    auto [place, fresh] = seen.try_emplace(key, c.first);
    if (!fresh) {
      for (int k = 0; k < c.count; ++k) number[c.first + k] = place->second + k;
      keep[i] = 0;
    } else if (c.op == &scan_operator) {
      const auto& outputs = c.body->program.outputs;
      for (int y = c.body->carries; y < static_cast<int>(outputs.size()); ++y)
        for (int z = c.body->carries; z < y; ++z)
          if (outputs[y] == outputs[z]) {
            number[c.first + y] = c.first + z;
            break;
          }
    }
  }
  for (int& v : program.outputs) v = number[v];
  compact(program, keep);
}

}  // namespace rw::detail

#include <atomic>
#include <bit>
#include <rewind/autograd/operator.hpp>
#include <rewind/core/format.hpp>

namespace rw::detail {

int Program::append(const Operator& op, const Attributes& attributes, std::vector<int> in, const std::vector<Type>& results,
                    std::shared_ptr<const Body> body) {
  Instruction i;
  i.op = &op;
  i.attributes = attributes;
  i.inputs = std::move(in);
  i.first = static_cast<int>(types.size());
  i.count = static_cast<int>(results.size());
  i.body = std::move(body);
  types.insert(types.end(), results.begin(), results.end());
  code.push_back(std::move(i));
  return code.back().first;
}

int Program::append(const Operator& op, const Attributes& attributes, std::vector<int> in, const Type& result) {
  return append(op, attributes, std::move(in), std::vector<Type>{result});
}

std::shared_ptr<Body> make_body(Program program, int carries, int xs) {
  static std::atomic<std::uint64_t> next{1};
  auto body = std::make_shared<Body>();
  body->program = std::move(program);
  body->serial = next++;
  body->carries = carries;
  body->xs = xs;
  for (const auto& i : body->program.code) body->closures += i.op->closures(i.body.get());
  return body;
}

std::vector<int> producers(const Program& program) {
  std::vector<int> made(program.types.size(), -1);
  for (std::size_t i = 0; i < program.code.size(); ++i)
    for (int k = 0; k < program.code[i].count; ++k) made[program.code[i].first + k] = static_cast<int>(i);
  return made;
}

const Instruction* zero_constant(const Program& program, const std::vector<int>& producers, int value) {
  for (int i; (i = producers[value]) >= 0; value = program.code[i].inputs[0]) {
    const Instruction& c = program.code[i];
    if (c.op == &constant_operator) return std::bit_cast<double>(c.attributes[0]) == 0 ? &c : nullptr;
    if (c.op != &broadcast_operator && c.op != &cast_operator) return nullptr;
  }
  return nullptr;
}

std::vector<int> count_uses(const Program& program) {
  std::vector<int> uses(program.types.size());
  for (const auto& i : program.code)
    for (int v : i.inputs) ++uses[v];
  for (int v : program.outputs) ++uses[v];
  return uses;
}

std::string to_string(const Program& program, int indent) {
  std::string text, margin(static_cast<std::size_t>(indent), ' ');
  auto type = [&](int v) {
    const auto& t = program.types[v];
    return t.weak ? std::string("number") : fmt::format("{} {}", t.dtype, t.shape);
  };
  auto list = [](const auto& values) {
    std::string s;
    for (int v : values) s += fmt::format("{}%{}", s.empty() ? "" : ", ", v);
    return s;
  };
  for (int v : program.inputs) text += fmt::format("{}%{} = input : {}\n", margin, v, type(v));
  for (const auto& i : program.code) {
    std::string results, types;
    for (int k = 0; k < i.count; ++k) {
      results += fmt::format("{}%{}", k ? ", " : "", i.first + k);
      types += fmt::format("{}{}", k ? ", " : "", type(i.first + k));
    }
    text += fmt::format("{}{} = {}({})", margin, results, i.op->name(), list(i.inputs));
    if (auto words = i.op->describe(i.attributes); !words.empty()) text += " " + words;
    text += " : " + types + "\n";
    if (i.body) text += to_string(i.body->program, indent + 4);
  }
  if (!program.outputs.empty()) text += fmt::format("{}return {}\n", margin, list(program.outputs));
  return text;
}

void append_key(Key& key, const Type& type) {
  constexpr int few = 3, bits = 18;  // axes and extents that find room in one word, as most do
  auto word = static_cast<std::uint64_t>(type.dtype) | static_cast<std::uint64_t>(type.weak) << 4 |
              static_cast<std::uint64_t>(type.shape.rank()) << 5;
  std::uint64_t extents = 0, all = 0;
  for (Index extent : type.shape) {
    extents = extents << bits | static_cast<std::uint64_t>(extent);
    all |= static_cast<std::uint64_t>(extent);
  }
  if (type.shape.rank() <= few && all >> bits == 0) return key.push_back(word | extents << 9);
  key.push_back(word | std::uint64_t{1} << 63);
  for (Index extent : type.shape) key.push_back(static_cast<std::uint64_t>(extent));
}

void append_key_sizes(Key& key, std::size_t inputs, std::size_t instructions) { key.push_back(inputs | instructions << 24); }

void append_key(Key& key, const Operator& op, const Attributes& attributes, const Body* body, std::size_t inputs, std::size_t results,
                bool history) {
  key.push_back(reinterpret_cast<std::uintptr_t>(&op));
  const std::size_t sizes = key.size();
  key.push_back(inputs | results << 24 | static_cast<std::uint64_t>(body != nullptr) << 62 | static_cast<std::uint64_t>(history) << 63);
  for (std::size_t i = 0; i < attributes.size(); ++i)
    if (attributes[i] != 0) {
      key[sizes] |= std::uint64_t{1} << (48 + i);
      key.push_back(static_cast<std::uint64_t>(attributes[i]));
    }
  if (body) key.push_back(body->serial);
}

void append_key(Key& key, const Program& program) {
  append_key_sizes(key, program.inputs.size(), program.code.size());
  for (int v : program.inputs) append_key(key, program.types[v]);
  for (const auto& i : program.code) {
    append_key(key, *i.op, i.attributes, i.body.get(), i.inputs.size(), static_cast<std::size_t>(i.count), i.history);
    append_key_operands(key, i.inputs, [](int v) { return v; });
    for (int k = 0; k < i.count; ++k) append_key(key, program.types[i.first + k]);
  }
  for (int v : program.outputs) key.push_back(static_cast<std::uint64_t>(v));
}

List<Variable> replay(const Program& program, const List<Variable>& inputs, const Closures& closures, List<Variable>* all_values) {
  List<Variable> values(program.types.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) values[program.inputs[i]] = inputs[i];
  for (const auto& i : program.code) {
    List<Value*> in;
    in.reserve(i.inputs.size());
    for (int v : i.inputs) in.push_back(local(i.op->name(), values[v]));
    List<Type> types(program.types.begin() + i.first, program.types.begin() + i.first + i.count);
    Closures own;
    if (int count = i.op->closures(i.body.get()))
      own.assign(closures.begin() + i.attributes[2], closures.begin() + i.attributes[2] + count);
    auto made = record(*i.op, i.attributes, std::move(in), std::move(types), i.body, std::move(own));
    made[0].handle()->node->history &= i.history;
    for (int k = 0; k < i.count; ++k) values[i.first + k] = std::move(made[k]);
  }
  List<Variable> outputs;
  for (int v : program.outputs) outputs.push_back(values[v]);
  if (all_values) *all_values = std::move(values);
  return outputs;
}

}  // namespace rw::detail

#include <algorithm>
#include <atomic>
#include <iterator>
#include <rewind/autograd/operator.hpp>
#include <rewind/autograd/passes/passes.hpp>

namespace rw::detail {

namespace {

constexpr Pass passes[] = {{"dead code", remove_dead_code},
                           {"common", merge_common},
                           {"roll", roll},
                           {"merge products", merge_products},
                           {"group sums", group_sums},
                           {"chunk", chunk},
                           {"hoist", hoist},
                           {"sink", sink},
                           {"concatenations", share_concatenations},
                           {"gather product", gather_product},
                           {"fold", fold},
                           {"slices", push_slices},
                           {"row sums", take_row_sums},
                           {"fuse", fuse}};

constexpr void (*order[])(Program&) = {remove_dead_code,
                                       merge_common,
                                       roll,
                                       merge_products,
                                       group_sums,
                                       chunk,
                                       hoist,
                                       sink,
                                       share_concatenations,
                                       gather_product,
                                       fold,
                                       merge_common,
                                       push_slices,
                                       merge_common,
                                       remove_dead_code,
                                       take_row_sums,
                                       fuse};

std::atomic<PassSet> left_out{0};

bool runs(void (*pass)(Program&)) {
  auto at = std::find_if(std::begin(passes), std::end(passes), [&](const Pass& p) { return p.run == pass; }) - std::begin(passes);
  return !(passes_left_out() >> at & 1);
}

}  // namespace

std::span<const Pass> all_passes() { return passes; }

PassSet passes_left_out() { return left_out.load(std::memory_order_relaxed); }
WithoutPasses::WithoutPasses(PassSet set) { left_out = set; }
WithoutPasses::~WithoutPasses() { left_out = 0; }

void run_passes(Program& program) {
  for (auto pass : order)
    if (runs(pass)) pass(program);
  if (!runs(fuse)) fuse_nothing(program);
}

bool is_computed(const Operator& op) {
  for (const Operator* view :
       {&reshape_operator, &transpose_operator, &broadcast_operator, &slice_operator, &constant_operator, &detach_operator, &flip_operator})
    if (view == &op) return false;
  return true;
}

bool rewrite_loops(Program& program, const LoopRewrite& rewrite) {
  auto is_loop = [](const Instruction& c) { return c.op == &scan_operator && c.attributes[1] > 0; };
  if (std::none_of(program.code.begin(), program.code.end(), is_loop)) return false;
  Program to;
  std::vector<int> number(program.types.size(), -1);
  for (int v : program.inputs) number[v] = to.add_input(program.types[v]);
  for (const auto& was : program.code) {
    Instruction now = was;
    for (int& v : now.inputs) v = number[v];
    if (is_loop(was) && rewrite(was, now, to, number)) continue;
    now.first = static_cast<int>(to.types.size());
    for (int k = 0; k < was.count; ++k) number[was.first + k] = to.add_value(program.types[was.first + k]);
    to.code.push_back(std::move(now));
  }
  for (int v : program.outputs) to.outputs.push_back(number[v]);
  program = std::move(to);
  return true;
}

void compact(Program& program, const std::vector<char>& keep) {
  std::vector<int> number(program.types.size(), -1);
  Program result;
  result.types.reserve(program.types.size());
  result.code.reserve(program.code.size());
  for (int v : program.inputs) number[v] = result.add_input(program.types[v]);
  for (std::size_t i = 0; i < program.code.size(); ++i) {
    if (!keep[i]) continue;
    Instruction& instruction = program.code[i];
    for (int& v : instruction.inputs) v = number[v];
    int first = static_cast<int>(result.types.size());
    for (int k = 0; k < instruction.count; ++k) number[instruction.first + k] = result.add_value(program.types[instruction.first + k]);
    instruction.first = first;
    result.code.push_back(std::move(instruction));
  }
  for (int v : program.outputs) result.outputs.push_back(number[v]);
  program = std::move(result);
}

}  // namespace rw::detail

// Random programs: plans against the interpreter, passes against themselves, threads against each other. A failure prints its seed and its
// program. REWIND_LONG=1 tries many more, from REWIND_SEED (else 0) on, and says what it tried.
#include "random_program.hpp"

#include <rewind/autograd/passes/passes.hpp>
#include <rewind/core/team.hpp>

#include <cstdlib>
#include <cstring>

#include "compare.hpp"
#include "random_cell.hpp"

using namespace rw;
using namespace rw::test;

namespace {

bool long_run() { return std::getenv("REWIND_LONG") != nullptr; }
std::uint64_t first_seed() {
  const char* given = std::getenv("REWIND_SEED");
  return given && long_run() ? std::strtoull(given, nullptr, 10) : 0;
}
int programs(int usual, int many) { return long_run() ? many : usual; }

std::map<std::string, int> tried;

/// Records the program of a seed and gives it to `check`, whose words (empty if all is well) are reported with the seed and the program.
template <class F>
void each_program(const char* what, int count, RandomProgramOptions options, F check) {
  int failures = 0;
  for (std::uint64_t n = 0; n < static_cast<std::uint64_t>(count) && failures < 3; ++n) {
    std::uint64_t seed = first_seed() + n;
    options.gradients = static_cast<int>(n % 3);
    RandomProgram program(seed, options);
    std::string words, text;
    try {
      auto outputs = program.record();
      text = dump(outputs);
      words = check(seed, options, outputs);
    } catch (const std::exception& e) {
      words = std::string("threw: ") + e.what();
    }
    for (const auto& [kind, times] : program.counts()) tried[kind] += times;
    if (words.empty()) continue;
    ++failures;
    FAIL_CHECK(what << ", seed " << seed << ": " << words << "\n" << text);
  }
  CHECK(failures == 0);
}

bool same_bits(const std::vector<Variable>& a, const std::vector<Variable>& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = identical(a[i].value(), b[i].value());
  return same;
}

using Pass = void (*)(detail::Program&);
struct NamedPass {
  const char* name;
  Pass run;
};
void no_pass(detail::Program&) {}
constexpr NamedPass passes[] = {{"no pass", no_pass},
                                {"remove_dead_code", detail::remove_dead_code},
                                {"merge_common", detail::merge_common},
                                {"push_slices", detail::push_slices},
                                {"hoist", detail::hoist},
                                {"roll", detail::roll},
                                {"merge_products", detail::merge_products},
                                {"sink", detail::sink},
                                {"gather_product", detail::gather_product},
                                {"fold", detail::fold},
                                {"fuse", detail::fuse},
                                {"run_passes", detail::run_passes}};

}  // namespace

TEST_CASE("random program: the plan agrees with the interpreter in f64") {
  each_program("f64 plan", programs(200, 2000), {}, [](std::uint64_t, const RandomProgramOptions&, const std::vector<Variable>& outputs) {
    return against_reference(outputs, 1e-9);
  });
}

TEST_CASE("random program: each pass alone keeps the values") {
  each_program("passes", programs(100, 1000), {}, [](std::uint64_t, const RandomProgramOptions&, const std::vector<Variable>& outputs) {
    auto before = recorded(outputs);
    auto want = before.interpret();
    std::string words;
    for (const auto& pass : passes) {
      if (!words.empty()) break;
      auto after = before;
      pass.run(after.program);
      words = malformed(after.program);
      if (words.empty()) words = difference(after.interpret(), want, 1e-9);
      if (!words.empty()) words = std::string(pass.name) + ": " + words + "\n" + to_string(after.program) + "was";
    }
    return words;
  });
}

TEST_CASE("random program: the plan in f32 is near the interpreter in f64") {
  RandomProgramOptions options{.dtype = DType::f32, .smooth = true};
  each_program(
      "f32 plan", programs(100, 1000), options, [](std::uint64_t, const RandomProgramOptions&, const std::vector<Variable>& outputs) {
        return against_reference(outputs, 2e-3, 0.1);  // a few dozen roundings of 6e-8, magnified by quotients and second derivatives
      });
}

TEST_CASE("random program: any number of threads gives the same bits") {
  int before = threads();
  RandomProgramOptions options{.dtype = DType::f32, .large = true, .operations = 9};
  each_program("threads", programs(12, 100), options,
               [](std::uint64_t seed, const RandomProgramOptions& o, const std::vector<Variable>& outputs) {
                 set_threads(1);
                 evaluate(outputs);
                 std::string words;
                 for (int count : {2, 3, 5}) {
                   set_threads(count);
                   auto again = RandomProgram(seed, o).record();
                   evaluate(again);
                   if (!same_bits(outputs, again)) words = std::to_string(count) + " threads give other bits than one";
                 }
                 return words;
               });
  set_threads(before);
}

TEST_CASE("random program: a loop over a batch that threads divide gives the same bits, near the interpreter's values") {
  int before = threads();
  for (std::uint64_t n = 0; n < static_cast<std::uint64_t>(programs(8, 80)); ++n) {
    std::uint64_t seed = first_seed() + n;
    INFO("seed " << seed);
    set_threads(1);
    auto one = RandomCell(seed, DType::f32).record();
    if (n % 4 == 0) CHECK(against_reference(one, 1e-4, 0.1) == "");  // f32: sums of thousands of products
    evaluate(one);
    for (int count : {2, 3, 5}) {
      set_threads(count);
      auto many = RandomCell(seed, DType::f32).record();
      evaluate(many);
      CHECK_MESSAGE(same_bits(one, many), count << " threads give other bits than one\n" << dump(many));
    }
  }
  set_threads(before);
}

TEST_CASE("random program: found once: loops around products with batched constants, loops of constants, empty and single columns") {
  auto leaf = [](const Shape& shape) {
    Tensor t(shape, DType::f64);
    for (Index i = 0; i < t.size(); ++i) t.data<double>()[i] = std::cos(0.7 * static_cast<double>(i) + 0.2);
    return Variable(t);
  };
  auto gradients_too = [](const Variable& y, std::vector<Variable> xs) {
    auto g = detail::gradients(sum(square(y)), xs);
    auto second = detail::gradients(sum(sin(g[0])), xs);
    g.push_back(y);
    g.insert(g.end(), second.begin(), second.end());
    return g;
  };
  const auto x = leaf({3, 2, 4, 5}), batched = leaf({2, 5, 4}), h = leaf({2, 4});
  auto [last, y] = scan([&](const Variable& c, const Variable& v) { return std::pair{tanh(c + sum(matmul(v, batched), -1)), c}; }, h, x);
  CHECK(against_reference(gradients_too(last, {x, batched, h}), 1e-12) == "");
  auto inner = [&](const Variable& start) {
    return scan([&](const Variable& c, const Variable& v) { return std::pair{tanh(c * v), c}; }, start, leaf({4, 2, 4})).first;
  };
  auto [sum_of, ys] = scan([&](const Variable& c, const Variable& v) { return std::pair{c + v, inner(h)}; }, h, leaf({3, 2, 4}));
  CHECK(against_reference(gradients_too(sum_of + sum(ys, 0), {h}), 1e-12) == "");
  auto [nested, all] = scan([&](const Variable& c, const Variable& v) { return std::pair{inner(c + v), v}; }, h, leaf({3, 2, 4}));
  CHECK(against_reference(gradients_too(nested, {h}), 1e-12) == "");
  const auto none = leaf({3, 0}), one = leaf({3, 1}), none_too = leaf({2, 3, 0}), weight = leaf({0, 4});
  CHECK(against_reference({tanh(one) + 1, tanh(one) * none, sum(exp(one) + none), one * positions({3, 1}, DType::f64) + leaf({3, 4})},
                          1e-12) == "");
  CHECK(against_reference(gradients_too(softmax(max(one, 1, true) + one, 1) * one, {one}), 1e-12) == "");
  CHECK(against_reference(gradients_too(matmul(none_too, weight), {none_too, weight}), 1e-12) == "");
}

TEST_CASE("random program: the same program again takes the same plan and gives the same bits") {
  each_program("again", programs(40, 400), {}, [](std::uint64_t seed, const RandomProgramOptions& o, const std::vector<Variable>& outputs) {
    evaluate(outputs);
    auto before = tape::statistics();
    auto again = RandomProgram(seed, o).record();
    evaluate(again);
    auto after = tape::statistics();
    if (!same_bits(outputs, again)) return std::string("other bits");
    return after.plans - before.plans == 0 ? std::string() : std::to_string(after.plans - before.plans) + " plans were made again";
  });
  if (long_run())
    for (const auto& [kind, times] : tried) MESSAGE(kind << ": " << times);
}

// Random programs by the hundred: each is recorded and checked, and one that fails is made smaller before it is shown, with its seed.
// REWIND_LONG=1 tries many more, from REWIND_SEED (else 0) on, and says what it tried.
#pragma once

#include <rewind/autograd/passes/passes.hpp>

#include <cstdlib>

#include "compare.hpp"
#include "random_loop.hpp"
#include "random_program.hpp"

namespace rw::test {

inline bool long_run() { return std::getenv("REWIND_LONG") != nullptr; }
inline std::uint64_t first_seed() {
  const char* given = std::getenv("REWIND_SEED");
  return given && long_run() ? std::strtoull(given, nullptr, 10) : 0;
}
inline int programs(int usual, int many) { return long_run() ? many : usual; }

/// How many programs were tried, and how often each kind of operation and feature was in one.
inline std::map<std::string, int>& tried() {
  static std::map<std::string, int> counts;
  return counts;
}

inline std::vector<RandomProgramOptions> smaller(const RandomProgramOptions& o, const RandomProgram&) {
  std::vector<RandomProgramOptions> all;
  for (int n : {o.operations / 2, o.operations - 1})
    if (n > 0 && n < o.operations) all.push_back(o), all.back().operations = n;
  for (int g = 0; g < o.gradients; ++g) all.push_back(o), all.back().gradients = g;
  return all;
}
inline std::vector<RandomLoopOptions> smaller(const RandomLoopOptions& o, const RandomLoop& program) {
  std::vector<RandomLoopOptions> all;
  for (int g = 0; g < o.gradients; ++g) all.push_back(o), all.back().gradients = g;
  for (int k = 0; k < std::min(program.features(), 64); ++k)
    if (!(o.without >> k & 1)) all.push_back(o), all.back().without |= std::uint64_t{1} << k;
  return all;
}
inline std::string describe(const RandomProgramOptions& o) {
  return std::to_string(o.operations) + " operations, gradients " + std::to_string(o.gradients);
}
inline std::string describe(const RandomLoopOptions& o) {
  return "without " + std::to_string(o.without) + ", gradients " + std::to_string(o.gradients);
}

/// Records `count` programs of a generator and gives each to `check(seed, options, outputs)`, whose words (empty if all is well) are
/// reported with the seed and the program, as small as it can be made with the failure still there.
template <class Generator, class Options, class F>
void each_program(const std::string& what, int count, Options options, F check) {
  struct Outcome {
    std::string words, text;
  };
  int failures = 0;
  for (std::uint64_t n = 0; n < static_cast<std::uint64_t>(count) && failures < 3; ++n) {
    const std::uint64_t seed = first_seed() + n;
    INFO(what << ", seed " << seed);
    options.gradients = static_cast<int>(seed % 3);
    auto attempt = [&](const Options& o, Generator& program) {
      Outcome outcome;
      try {
        auto outputs = program.record();
        outcome.text = dump(outputs);
        outcome.words = check(seed, o, outputs);
      } catch (const std::exception& e) {
        outcome.words = std::string("threw: ") + e.what();
      }
      return outcome;
    };
    Generator program(seed, options);
    Outcome outcome = attempt(options, program);
    for (const auto& [kind, times] : program.counts()) tried()[kind] += times;
    ++tried()["programs"];
    if (outcome.words.empty()) continue;
    ++failures;
    Options least = options;
    int attempts = failures == 1 ? 100 : 0;  // of the first alone: the others may be the same
    for (bool shrunk = true; shrunk && attempts > 0;) {
      shrunk = false;
      for (const auto& o : smaller(least, program)) {
        if (--attempts < 0) break;
        Generator again(seed, o);
        Outcome other = attempt(o, again);
        if (other.words.empty()) continue;
        least = o, outcome = std::move(other), shrunk = true;
        break;
      }
    }
    FAIL_CHECK(what << ", seed " << seed << " (made small: " << describe(least) << "; it is the first of REWIND_LONG=1 REWIND_SEED=" << seed
                    << "): " << outcome.words << "\n"
                    << outcome.text);
  }
  CHECK(failures == 0);
}

/// Says in a long run what was tried since the last time.
inline void say_what_was_tried(const std::string& what) {
  if (long_run()) {
    std::string words;
    for (const auto& [kind, times] : tried()) words += "\n  " + kind + ": " + std::to_string(times);
    MESSAGE(what << ", seeds from " << first_seed() << " on:" << words);
  }
  tried().clear();
}

inline bool same_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = identical(a[i], b[i]);
  return same;
}
inline std::vector<Tensor> tensors(const std::vector<Variable>& variables) {
  evaluate(variables);
  std::vector<Tensor> result;
  for (const auto& v : variables) result.push_back(v.value());
  return result;
}

/// Programs through passes one at a time, by the interpreter: well formed and of the same values. Counts in `changed` what found work.
inline std::string each_pass_alone(const std::vector<Variable>& outputs, std::map<std::string, int>& changed) {
  const auto before = recorded(outputs);
  const auto want = before.interpret();
  auto try_pass = [&](const char* name, void (*run)(detail::Program&)) {
    auto after = before;
    if (run == detail::take_row_sums) detail::sink(after.program);  // which makes what it reads
    const auto text = to_string(after.program);
    if (run == detail::chunk)  // no loop here is large enough
      detail::chunk_within(after.program, 1, 2);
    else
      run(after.program);
    changed[name] += to_string(after.program) != text;
    auto words = malformed(after.program);
    if (words.empty()) words = difference(after.interpret(), want, 1e-9);
    return words.empty() ? words : std::string(name) + ": " + words + "\n" + to_string(after.program) + "was";
  };
  for (const auto& pass : detail::all_passes())
    if (auto words = try_pass(pass.name, pass.run); !words.empty()) return words;
  return try_pass("all passes", detail::run_passes);
}

/// Plans of the program of a seed with each pass left out: near the interpreter's values, and where no sum is reordered of the same bits.
/// `sink` reorders sums over time, `group_sums` those over rows and time, `merge_products` those over gates and `fuse` those over several
/// axes: without the first three, leaving out another but these changes no bit.
template <class Generator, class Options>
std::string each_pass_left_out(std::uint64_t seed, const Options& options, const std::vector<Variable>& outputs) {
  const auto passes = detail::all_passes();
  const auto want = recorded(outputs).interpret();
  auto run = [&](detail::PassSet set) {
    detail::WithoutPasses without(set);
    return tensors(Generator(seed, options).record());
  };
  auto compared = [&](const std::vector<Tensor>& got) {
    std::vector<detail::Array> values;
    for (const auto& t : got) values.push_back(detail::to_array(t));
    return options.dtype == DType::f64 ? difference(values, want, 1e-9) : difference(values, want, 2e-3, 0.1);
  };
  auto set_of = [&](void (*pass)(detail::Program&)) {
    for (std::size_t i = 0; i < passes.size(); ++i)
      if (passes[i].run == pass) return detail::PassSet{1} << i;
    return detail::PassSet{0};
  };
  const auto sums = set_of(detail::sink) | set_of(detail::group_sums) | set_of(detail::merge_products), fuse = set_of(detail::fuse);
  const auto unsunk = run(sums), neither = run(sums | fuse);
  if (dump(outputs).find("reduce(") == std::string::npos && !same_bits(unsunk, neither)) return "other bits without fuse";
  for (std::size_t i = 0; i < passes.size(); ++i) {
    const auto set = detail::PassSet{1} << i;
    if (auto words = compared(run(set)); !words.empty()) return std::string("without ") + passes[i].name + ": " + words;
    if (!(set & (sums | fuse)) && !same_bits(run(set | sums), unsunk)) return std::string("other bits without ") + passes[i].name;
  }
  return same_bits(run((detail::PassSet{1} << passes.size()) - 1), neither) ? "" : "other bits without any pass";
}

}  // namespace rw::test

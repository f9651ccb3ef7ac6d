// Random recurrent nets in loops by hand and in scans: plans against the interpreter, passes against themselves, threads against each
// other.
#include <rewind/core/team.hpp>

#include "random_each.hpp"

using namespace rw;
using namespace rw::test;

namespace {

template <class F>
void each_loop(const char* what, int count, const RandomLoopOptions& options, F check) {
  each_program<RandomLoop>(what, count, options, check);
  say_what_was_tried(what);
}

}  // namespace

TEST_CASE("random program of loops: the plan agrees with the interpreter in f64") {
  const int before = threads();
  each_loop("f64 loops", programs(300, 2400), {}, [](std::uint64_t seed, const RandomLoopOptions&, const std::vector<Variable>& outputs) {
    set_threads(1 + seed % 2);  // one has passes of its own
    return against_reference(outputs, 1e-9);
  });
  set_threads(before);
}

TEST_CASE("random program of loops: each pass alone keeps the values, and finds work") {
  std::map<std::string, int> changed;
  const int count = programs(120, 600);
  auto check = [&](std::uint64_t, const RandomLoopOptions&, const std::vector<Variable>& outputs) {
    return each_pass_alone(outputs, changed);
  };
  each_loop("passes on loops", count, {}, check);
  each_loop("passes on large loops", count / 10, {.large = true}, check);
  for (const auto& pass : detail::all_passes()) {
    INFO(std::string(pass.name) << " changed " << changed[pass.name] << " of " << count << " programs");
    const bool rare = pass.run == detail::merge_products;  // products merge in large loops alone
    CHECK(changed[pass.name] >= (rare ? 1 : count / 20));
  }
}

TEST_CASE("random program of loops: whichever pass is left out, values and gradients stay") {
  auto check = [](std::uint64_t seed, const RandomLoopOptions& o, const std::vector<Variable>& outputs) {
    return each_pass_left_out<RandomLoop>(seed, o, outputs);
  };
  each_loop("loops without a pass", programs(80, 600), {}, check);
  each_loop("large loops without a pass", programs(12, 90), {.dtype = DType::f32, .large = true, .smooth = true}, check);
}

TEST_CASE("random program of loops: checkpoints change no bit of values and gradients") {
  const int before = threads();
  for (bool large : {false, true})
    each_loop(large ? "checkpoints, large loops" : "checkpoints, small loops", programs(large ? 24 : 200, large ? 240 : 2000),
              {.dtype = DType::f32, .large = large}, [](std::uint64_t seed, RandomLoopOptions o, const std::vector<Variable>& outputs) {
                if (o.gradients == 2) return std::string();  // a gradient of chunks meets the steps in another order
                set_threads(1 + seed % 2);
                const auto with = tensors(outputs);
                o.checkpoints = false;
                return same_bits(tensors(RandomLoop(seed, o).record()), with) ? std::string() : "other bits without checkpoints";
              });
  set_threads(before);
}

TEST_CASE("random program of loops: any number of threads gives the same bits") {
  const int before = threads();
  for (bool large : {false, true})
    each_loop(large ? "threads, large loops" : "threads, small loops", programs(large ? 24 : 40, large ? 240 : 400),
              {.dtype = DType::f32, .large = large},
              [](std::uint64_t seed, const RandomLoopOptions& o, const std::vector<Variable>& outputs) {
                set_threads(1);
                // A few dozen roundings of 6e-8, magnified by sums of thousands of products and by second derivatives.
                if (seed % 4 == 0)
                  if (auto words = against_reference(outputs, 2e-3, 0.1); !words.empty()) return words;
                const auto one = tensors(outputs);
                for (int count : {2, 3, 5}) {
                  set_threads(count);
                  if (!same_bits(tensors(RandomLoop(seed, o).record()), one))
                    return std::to_string(count) + " threads give other bits than one";
                }
                return std::string();
              });
  set_threads(before);
}

TEST_CASE("random program of loops: the same program again takes the same plan and gives the same bits") {
  each_loop("loops again", programs(60, 400), {}, [](std::uint64_t seed, const RandomLoopOptions& o, const std::vector<Variable>& outputs) {
    const auto first = tensors(outputs);
    const auto plans = tape::statistics().plans;
    if (!same_bits(tensors(RandomLoop(seed, o).record()), first)) return std::string("other bits");
    const auto more = tape::statistics().plans - plans;
    return more == 0 ? std::string() : std::to_string(more) + " plans were made again";
  });
}

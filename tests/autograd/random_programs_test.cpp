// Random straight-line programs, scans among them: plans against the interpreter, passes against themselves, threads against each other.
#include <rewind/core/team.hpp>

#include "random_cell.hpp"
#include "random_each.hpp"

using namespace rw;
using namespace rw::test;

namespace {

template <class F>
void each(const char* what, int count, const RandomProgramOptions& options, F check) {
  each_program<RandomProgram>(what, count, options, check);
  say_what_was_tried(what);
}

}  // namespace

TEST_CASE("random program: the plan agrees with the interpreter in f64") {
  each("f64 plan", programs(200, 2000), {},
       [](std::uint64_t, const RandomProgramOptions&, const std::vector<Variable>& outputs) { return against_reference(outputs, 1e-9); });
}

TEST_CASE("random program: each pass alone keeps the values") {
  std::map<std::string, int> changed;
  each("passes", programs(100, 1000), {},
       [&](std::uint64_t, const RandomProgramOptions&, const std::vector<Variable>& outputs) { return each_pass_alone(outputs, changed); });
}

TEST_CASE("random program: whichever pass is left out, values and gradients stay") {
  each("without a pass", programs(100, 800), {},
       [](std::uint64_t seed, const RandomProgramOptions& o, const std::vector<Variable>& outputs) {
         return each_pass_left_out<RandomProgram>(seed, o, outputs);
       });
}

TEST_CASE("random program: the plan in f32 is near the interpreter in f64") {
  RandomProgramOptions options{.dtype = DType::f32, .smooth = true};
  each("f32 plan", programs(100, 1000), options, [](std::uint64_t, const RandomProgramOptions&, const std::vector<Variable>& outputs) {
    return against_reference(outputs, 2e-3, 0.1);  // a few dozen roundings of 6e-8, magnified by quotients and second derivatives
  });
}

TEST_CASE("random program: any number of threads gives the same bits") {
  const int before = threads();
  for (bool large : {false, true})
    each(large ? "threads, large" : "threads, small", programs(large ? 12 : 40, large ? 100 : 400),
         {.dtype = DType::f32, .large = large, .operations = 9},
         [](std::uint64_t seed, const RandomProgramOptions& o, const std::vector<Variable>& outputs) {
           set_threads(1);
           const auto one = tensors(outputs);
           for (int count : {2, 3, 5}) {
             set_threads(count);
             if (!same_bits(tensors(RandomProgram(seed, o).record()), one))
               return std::to_string(count) + " threads give other bits than one";
           }
           return std::string();
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
    if (seed % 4 == 0) CHECK(against_reference(one, 1e-4, 0.1) == "");  // f32: sums of thousands of products
    const auto want = tensors(one);
    for (int count : {2, 3, 5}) {
      set_threads(count);
      auto many = RandomCell(seed, DType::f32).record();
      CHECK_MESSAGE(same_bits(tensors(many), want), count << " threads give other bits than one\n" << dump(many));
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

TEST_CASE("random program: found once: a carry emitted twice, where nothing merges the two") {
  detail::PassSet common = 0;
  for (std::size_t i = 0; i < detail::all_passes().size(); ++i)
    if (detail::all_passes()[i].run == detail::merge_common) common = detail::PassSet{1} << i;
  REQUIRE(common != 0);
  const detail::WithoutPasses without(common);
  const Variable start = Tensor::full({2, 3}, 0.25, DType::f64), x = Tensor::full({4, 2, 3}, 0.5, DType::f64);
  for (bool reverse : {false, true}) {
    auto [last, ys] = scan(
        [](const Variable& c, const Variable& v) {
          const auto n = tanh(c + v);
          return std::pair{n, std::vector<Variable>{c, n, c, n}};
        },
        start, x, {.reverse = reverse});
    CHECK(against_reference({last, ys[0], ys[1], ys[2], ys[3]}, 1e-14) == "");
  }
}

TEST_CASE("random program: the same program again takes the same plan and gives the same bits") {
  each("again", programs(40, 400), {}, [](std::uint64_t seed, const RandomProgramOptions& o, const std::vector<Variable>& outputs) {
    const auto first = tensors(outputs);
    const auto plans = tape::statistics().plans;
    if (!same_bits(tensors(RandomProgram(seed, o).record()), first)) return std::string("other bits");
    const auto more = tape::statistics().plans - plans;
    return more == 0 ? std::string() : std::to_string(more) + " plans were made again";
  });
}

// Sums over steps and rows: what is summed is made again behind the loop where that costs less than stacking it, and runs together with the
// sum.
#include <algorithm>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/passes/groups.hpp>
#include <rewind/autograd/profile.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include "after.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Variables = std::vector<Variable>;

void sink_and_fuse(detail::Program& p) {
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

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t n = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}
std::size_t stacked(const std::string& text) {
  auto line = text.substr(text.rfind('\n', text.find("scan(")) + 1);
  return count(line.substr(0, line.find('=')), "%") - 1;
}

}  // namespace

TEST_CASE("passes: sink: what is cheap to make of stacked values is summed behind the loop and not stacked") {
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{g, g * (x * x)}; })) == 1);
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{g * exp(x)}; })) == 2);  // not cheap
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{x * (g * g + x)}; })) ==
        1);  // what is read twice counts once
  CHECK(stacked(summed([](const Variable& g, const Variable& x) { return Variables{x * exp(g) * g, x * exp(g)}; })) == 3);
}

TEST_CASE("passes: sink: with one thread, rows that a sum alone would stack are summed in the loop") {
  const int before = threads();
  set_threads(1);
  auto addends = [](const Variable& next, const Variable& x) { return Variables{next * x, x, next}; };
  CHECK(summed(addends, 4, detail::sink) == R"(
%0 = input : f64 [4, 4]
%1 = input : f64 [4]
%2 = input : f64 [4]
%3 = input : f64 [4]
%4 = input : f64 [3, 4, 4]
%5, %6, %7 = scan(%0, %1, %4) steps 3 backward in time : f64 [4, 4], f64 [4], f64 [3, 4, 4]
    %0 = input : f64 [4, 4]
    %1 = input : f64 [4]
    %2 = input : f64 [4, 4]
    %3 = add(%0, %2) : f64 [4, 4]
    %4 = tanh(%3) : f64 [4, 4]
    %5 = multiply(%4, %2) : f64 [4, 4]
    %6 = sum_steps(%5, %1) : f64 [4]
    return %4, %6, %4
%8 = reshape(%2) : f64 [4]
%9 = sum_steps(%4, %8) backward in time : f64 [4]
%10 = reshape(%9) : f64 [4]
%11 = reshape(%3) : f64 [4]
%12 = sum_steps(%7, %11) backward in time : f64 [4]
%13 = reshape(%12) : f64 [4]
return %5, %6, %10, %13, %7
)");
  CHECK(count(summed(addends, 3), "backward in time : f64 [4]") == 3);  // of few rows the sum is not much less than they
  set_threads(2);
  CHECK(count(summed(addends, 4), "backward in time : f64 [4]") == 3);
  set_threads(before);
}

TEST_CASE("passes: sink: rows that a sum alone would stack are summed in groups, whose sums are stacked") {
  const int before = threads();
  auto addends = [](const Variable& next, const Variable& x) { return Variables{next * x, next}; };
  set_threads(2);
  CHECK(summed(addends, 8, detail::sink) == R"(
%0 = input : f64 [8, 4]
%1 = input : f64 [4]
%2 = input : f64 [4]
%3 = input : f64 [3, 8, 4]
%4, %5, %6 = scan(%0, %3) steps 3 backward in time : f64 [8, 4], f64 [3, 8, 4], f64 [3, 2, 4]
    %0 = input : f64 [8, 4]
    %1 = input : f64 [8, 4]
    %2 = add(%0, %1) : f64 [8, 4]
    %3 = tanh(%2) : f64 [8, 4]
    %4 = multiply(%3, %1) : f64 [8, 4]
    %5 = sum_groups(%4) of 4 rows : f64 [2, 4]
    return %3, %3, %5
%7 = reshape(%1) : f64 [4]
%8 = sum_steps(%6, %7) backward in time : f64 [4]
%9 = reshape(%8) : f64 [4]
%10 = reshape(%2) : f64 [4]
%11 = sum_steps(%5, %10) backward in time : f64 [4]
%12 = reshape(%11) : f64 [4]
return %4, %9, %12, %5
)");
  set_threads(1);
  CHECK(summed(addends, 8, detail::sink) == R"(
%0 = input : f64 [8, 4]
%1 = input : f64 [4]
%2 = input : f64 [4]
%3 = input : f64 [3, 8, 4]
%4, %5, %6 = scan(%0, %1, %3) steps 3 backward in time : f64 [8, 4], f64 [4], f64 [3, 8, 4]
    %0 = input : f64 [8, 4]
    %1 = input : f64 [4]
    %2 = input : f64 [8, 4]
    %3 = add(%0, %2) : f64 [8, 4]
    %4 = tanh(%3) : f64 [8, 4]
    %5 = multiply(%4, %2) : f64 [8, 4]
    %6 = sum_groups(%5) of 4 rows : f64 [2, 4]
    %7 = sum_steps(%6, %1) : f64 [4]
    return %4, %7, %4
%7 = reshape(%2) : f64 [4]
%8 = sum_steps(%6, %7) backward in time : f64 [4]
%9 = reshape(%8) : f64 [4]
return %4, %5, %9, %6
)");
  set_threads(3);  // they would have 8, 4 and 4 rows
  auto apart = summed(addends, 16, detail::sink);
  CHECK(apart.find(R"(
%6 = multiply(%5, %3) : f64 [3, 16, 4]
%7 = sum_groups(%6) of 4 rows : f64 [3, 4, 4]
%8 = reshape(%1) : f64 [4]
%9 = sum_steps(%7, %8) backward in time : f64 [4]
)") != std::string::npos);
  CHECK(count(apart, "sum_groups") == 1);
  set_threads(2);
  const std::pair<Index, Index> groups[] = {{8, 4}, {10, 5}, {12, 6}, {16, 4}, {18, 9}, {20, 5}, {24, 6}, {32, 4}, {48, 6}, {100, 5}};
  for (const auto& [batch, rows] : groups) {
    CAPTURE(batch);
    CHECK(count(summed(addends, batch, detail::sink), "of " + std::to_string(rows) + " rows") == 1);
  }
  for (Index batch : {1, 4, 6, 7, 9, 15, 21, 34}) {
    CAPTURE(batch);
    CHECK(count(summed(addends, batch, detail::sink), "sum_groups") == 0);
  }
  set_threads(before);
}

TEST_CASE("passes: sink: teams divide groups of rows if they can do so nearly as evenly as rows") {
  auto evenly = [](Index batch, int team) { return detail::divides_evenly(batch, detail::rows_of_group(batch), team); };
  for (int team : {1, 2, 4, 8}) CHECK(evenly(32, team));
  for (int team : {3, 6}) CHECK(evenly(64, team));  // 24 rows, not 22; 12, not 11
  CHECK(evenly(32, 5));                             // 8, not 7
  CHECK(!evenly(32, 6));                            // 8, not 6
  CHECK(!evenly(16, 3));                            // 8, not 6
  CHECK(evenly(16, 6));                             // of 3 rows products are divided instead
  CHECK(evenly(8, 5));
  CHECK(!evenly(18, 4));  // 9, not 5
}

TEST_CASE("passes: sink: sums that stay in the loop have the form of their carry, and the same bits") {
  const int before = threads();
  for (Index batch : {5, 8}) {
    Tensor x = random::normal({3, batch, 2, 33}), first[] = {random::normal({33}), random::normal({1, 33}), random::normal({1, 1, 33}),
                                                             random::normal({33, 1}), random::normal({1, 1, 1, 33})};
    auto run = [&](int team) {
      const NoGrad values_only;
      set_threads(team);
      auto [last, y] = scan(
          [&](const Variables& s, const Variable& x) {
            auto next = tanh(s[0] + x), other = exp(next), rows = reshape(other, {2 * batch, 33});
            auto sum_as = [](const Variable& v, const Variable& carry) { return carry + reshape(sum(v, Axes{0, 1}), carry.shape()); };
            return std::pair{Variables{next, s[1] + sum(rows, 0), s[2] + sum(rows, 0, true), sum_as(other, s[3]), sum_as(other * x, s[4]),
                                       sum_as(other + x, s[5]), s[6] + sum(rows * 0.5, 0),
                                       s[7] + sum(reshape(other * 0.25, {batch, 2, 1, 33}), Axes{0, 1, 2}),
                                       s[8] + reshape(sum(mean(other, -1, true), Axes{0, 1}), Shape{})},
                             x};
          },
          Variables{zeros({batch, 2, 33}), Variable(first[0]), Variable(first[1]), Variable(first[2]), Variable(first[3]),
                    Variable(first[4]), Variable(first[0]), Variable(first[0]), zeros(Shape{})},
          Variable(x));
      evaluate(last);
      return last;
    };
    const auto one = run(1), two = run(2);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(i);
      CHECK(identical(one[i].value(), two[i].value()));
    }
  }
  set_threads(before);
}

TEST_CASE("passes: fuse: sums of the same rows are one region, a lone one is none") {
  CHECK(count(summed([](const Variable& g, const Variable&) { return Variables{g}; }), "region(") == 0);
  auto two = summed([](const Variable& g, const Variable& x) { return Variables{g, g * x}; });
  CHECK(two.find(R"(
%6, %7 = region(%5, %3, %1, %2) : f64 [4], f64 [4]
    %0 = input : f64 [3, 2, 4]
    %1 = input : f64 [3, 2, 4]
    %3 = input : f64 [4]
    %5 = input : f64 [4]
    %2 = multiply(%0, %1) : f64 [3, 2, 4]
    %4 = sum_steps(%0, %3) backward in time : f64 [4]
    %6 = sum_steps(%2, %5) backward in time : f64 [4]
    return %4, %6
)") != std::string::npos);
  auto scaled = summed([](const Variable& g, const Variable& x) { return Variables{x * exp(g), g}; });  // it is stacked
  CHECK(count(scaled, "region(") == 0);
  auto apart = summed([](const Variable& g, const Variable& x) { return Variables{g, x}; });  // no value is read by both
  CHECK(count(apart, "region(") == 0);
}

TEST_CASE("scan: a loop that normalises rows of x and of the state is divided among the team, with the same bits") {
  const NoGrad values_only;
  const int before = threads();
  constexpr Index steps = 40, rows = 8, units = 128;
  Variable x(random::normal({steps, rows, units})), h(random::normal({rows, units})), w(random::normal({units, units}, 0, 0.1));
  auto run = [&](int team) {
    set_threads(team);
    profile::start();
    auto y = scan(
                 [&](const Variable& h, const Variable& x) {
                   auto p = matmul(h, w);
                   auto next = tanh((x - mean(x, -1, true)) + (p - mean(p, -1, true)));
                   return std::pair{next, next};
                 },
                 h, x)
                 .second;
    Tensor value = y.value();
    profile::stop();
    return value;
  };
  auto whole = run(1);
  CHECK(identical(run(2), whole));
  bool divided = false;
  for (const auto& row : profile::report().rows) divided |= row.kind == "matmul" && row.shape == "[4, 128] x [128, 128]";
  CHECK(divided);
  CHECK(identical(run(3), whole));
  set_threads(before);
}

TEST_CASE("passes: fuse: what reads a sum runs behind it, though it computes on the same points") {
  const NoGrad values_only;
  auto x = leaf({3, 2, 4}), h = leaf({2, 4}), zero = leaf({4});
  auto [last, y] = scan(
      [&](const Variables& s, const Variable& x) {
        auto next = tanh(s[0] + x);
        return std::pair{Variables{next, s[1] + sum(next, 0), s[2] + sum(next * x, 0)}, next};
      },
      Variables{h, zero, zero}, x);
  CHECK(against_reference({y - last[1], last[2] * y}, 1e-13) == "");
}

TEST_CASE("passes: sink: rows of no and of one column, and many rows a point of the batch, are summed like others") {
  const int before = threads();
  for (int team : {1, 2})
    for (const Shape& shape : {Shape{3, 8, 0}, Shape{3, 8, 1}, Shape{3, 8, 5}, Shape{3, 8, 3, 5}, Shape{3, 8, 3, 1}}) {
      CAPTURE(shape);
      set_threads(team);
      Shape state = shape;
      state.erase(0);
      auto x = leaf(shape), h = leaf(state), gain = leaf({shape.back()}), bias = leaf({shape.back()}), scale = leaf({1});
      auto y = scan(
                   [&](const Variable& h, const Variable& x) {
                     auto next = tanh(sin(h + x) * gain + bias) * exp(sum(h, -1, true) * scale);
                     return std::pair{next, next};
                   },
                   h, x)
                   .second;
      auto g = detail::gradients(sum(square(y)), Variables{gain, bias, scale, x, h});
      CHECK(against_reference(g, 1e-13) == "");
    }
  set_threads(before);
}

TEST_CASE("gradient of a loop: many rows a point of the batch, the same bits for any team") {
  const int before = threads();
  Tensor start[] = {random::normal({128}), random::normal({16, 16, 3, 128}), random::normal({16, 3, 128}),
                    random::normal({128, 128}, 0, 0.1)};
  auto run = [&](int team) {
    set_threads(team);
    Variable gain(start[0]), x(start[1]), h(start[2]), w(start[3]);
    profile::start();
    auto y = scan(
                 [&](const Variable& h, const Variable& x) {
                   auto next = tanh(sin(matmul(h, w)) * gain + x);
                   return std::pair{next, next};
                 },
                 h, x)
                 .second;
    auto g = detail::gradients(sum(square(y)), Variables{gain, x, h, w});
    evaluate(g);
    profile::stop();
    return g;
  };
  auto ran_on = [](const std::string& shape) {
    const auto report = profile::report().rows;
    return std::any_of(report.begin(), report.end(), [&](const auto& row) { return row.shape.ends_with(" ops " + shape); });
  };
  const auto want = run(1);
  CHECK(ran_on("[16, 3, 128]"));
  for (int team : {2, 4}) {
    const auto got = run(team);
    CHECK(ran_on("[" + std::to_string(16 / team) + ", 3, 128]"));
    CHECK(!ran_on("[16, 3, 128]"));
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(identical(got[i].value(), want[i].value()));
    }
  }
  set_threads(before);
}

TEST_CASE("gradient of a loop: normalised rows, the same bits for any team, with checkpoints, and without fusion") {
  const int before = threads();
  for (Index rows : {12, 16, 20, 21}) {
    CAPTURE(rows);
    constexpr Index steps = 8, units = 272;
    Tensor start[] = {random::normal({units, units}, 0, 0.1), random::normal({units}), random::normal({units}),
                      random::normal({steps, rows, units}), random::normal({rows, units})};
    auto run = [&](int team, const Checkpoint& checkpoint, detail::PassSet without, bool early) {
      set_threads(team);
      const detail::WithoutPasses left_out(without);
      Variable w(start[0]), gain(start[1]), bias(start[2]), x(start[3]), h(start[4]);
      auto y = scan(
                   [&](const Variable& h, const Variable& x) {
                     auto p = matmul(h, w);
                     auto centred = p - mean(p, -1, true);
                     auto next = tanh(centred * rsqrt(mean(square(centred), -1, true) + 1e-5) * gain + bias + x);
                     return std::pair{next, next};
                   },
                   h, x, {.checkpoint = checkpoint})
                   .second;
      auto loss = sum(square(y));
      if (early) loss.item();
      auto g = detail::gradients(loss, Variables{w, gain, bias, x, h});
      evaluate(g);
      return g;
    };
    detail::PassSet fuse = 0;
    for (std::size_t i = 0; i < detail::all_passes().size(); ++i)
      if (detail::all_passes()[i].run == detail::fuse) fuse = detail::PassSet{1} << i;
    REQUIRE(fuse != 0);
    auto want = run(1, {}, 0, false);
    auto same = [&](const Variables& got) {
      for (std::size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(identical(got[i].value(), want[i].value()));
      }
    };
    for (int team : {2, 3}) {
      profile::start();
      same(run(team, {}, 0, false));
      profile::stop();
      const auto share = "[" + std::to_string(rows / team) + ", 272] x [272, 272]T";
      const auto report = profile::report().rows;
      CHECK(std::any_of(report.begin(), report.end(), [&](const auto& row) { return row.kind == "matmul" && row.shape == share; }));
    }
    same(run(5, {}, 0, false));
    same(run(1, checkpoint::every(2), 0, false));
    same(run(3, checkpoint::every(4), 0, false));
    same(run(2, {}, 0, true));
    same(run(1, {}, fuse, false));
    same(run(2, {}, fuse, false));
  }
  set_threads(before);
}

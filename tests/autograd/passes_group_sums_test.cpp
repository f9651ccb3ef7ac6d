// Sums over rows by groups of rows: programs, division among threads, bits.
#include <algorithm>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/passes/groups.hpp>
#include <rewind/autograd/profile.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include "summed_rows.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("passes: group sums: sums over rows of the state are added up by groups of rows") {
  auto addends = [](const Variable& next, const Variable& x) { return Variables{next * x, x, next}; };
  CHECK(summed(addends, 8, detail::group_sums) == R"(
%0 = input : f64 [8, 4]
%1 = input : f64 [4]
%2 = input : f64 [4]
%3 = input : f64 [4]
%4 = input : f64 [3, 8, 4]
%5 = constant() 0 : f64 []
%6 = broadcast_to(%5) : f64 [2, 4]
%7 = constant() 0 : f64 []
%8 = broadcast_to(%7) : f64 [2, 4]
%9, %10, %11, %12, %13 = scan(%0, %6, %2, %8, %4) steps 3 backward in time : f64 [8, 4], f64 [2, 4], f64 [4], f64 [2, 4], f64 [3, 8, 4]
    %0 = input : f64 [8, 4]
    %1 = input : f64 [2, 4]
    %2 = input : f64 [4]
    %3 = input : f64 [2, 4]
    %4 = input : f64 [8, 4]
    %5 = add(%0, %4) : f64 [8, 4]
    %6 = tanh(%5) : f64 [8, 4]
    %7 = multiply(%6, %4) : f64 [8, 4]
    %8 = sum_groups(%7, %1) of 4 rows : f64 [2, 4]
    %9 = reduce(%4) sum over 0 : f64 [4]
    %10 = add(%2, %9) : f64 [4]
    %11 = sum_groups(%6, %3) of 4 rows : f64 [2, 4]
    return %6, %8, %10, %11, %6
%14 = reshape(%1) : f64 [4]
%15 = sum_steps(%10, %14) : f64 [4]
%16 = reshape(%15) : f64 [4]
%17 = reshape(%3) : f64 [4]
%18 = sum_steps(%12, %17) : f64 [4]
%19 = reshape(%18) : f64 [4]
return %9, %16, %11, %19, %13
)");
  const std::pair<Index, Index> groups[] = {{8, 4}, {10, 5}, {12, 6}, {16, 4}, {18, 9}, {20, 5}, {24, 6}, {32, 4}, {48, 6}, {100, 5}};
  for (const auto& [batch, rows] : groups) {
    CAPTURE(batch);
    CHECK(count(summed(addends, batch, detail::group_sums), "of " + std::to_string(rows) + " rows") == 2);
  }
  for (Index batch : {1, 4, 6, 7, 9, 15, 21, 34}) {
    CAPTURE(batch);
    CHECK(count(summed(addends, batch, detail::group_sums), "sum_groups") == 0);
  }
}

TEST_CASE("passes: group sums: what is read otherwise, or sums otherwise, stays as it is") {
  const auto x = leaf({3, 8, 4}), h = leaf({8, 4}), zero = leaf({4});
  const auto groups = [&](const auto& body) {
    auto [last, y] = scan(
        [&](const Variables& s, const Variable& x) {
          auto next = tanh(s[0] + x);
          auto [total, y] = body(s[1], next, x);
          return std::pair{Variables{next, total}, y};
        },
        Variables{h, zero}, x);
    last.push_back(y);
    return count(after(detail::group_sums, last), "sum_groups(");
  };
  using Two = std::pair<Variable, Variable>;
  CHECK(groups([](auto& total, auto& next, auto&) { return Two{total + sum(next, 0), next}; }) == 1);
  CHECK(groups([](auto& total, auto& next, auto&) { return Two{sum(next, 0) + total + sum(exp(next), 0), next}; }) == 2);
  CHECK(groups([](auto& total, auto& next, auto&) { return Two{total + sum(next, 0), total}; }) == 0);
  CHECK(groups([](auto& total, auto& next, auto&) {
          auto more = total + sum(next, 0);
          return Two{more, more};
        }) == 0);
  CHECK(groups([](auto& total, auto& next, auto&) {
          auto more = sum(next, 0);
          return Two{total + more, more};
        }) == 0);
  CHECK(groups([](auto& total, auto& next, auto&) {
          auto more = reshape(sum(next, 0, true), {4});
          return Two{total + more, more};
        }) == 0);
  CHECK(groups([](auto& total, auto& next, auto&) {
          return Two{total + sum(next, 0) + sum(concatenate(Variables{next, next}, 0), 0), next};
        }) == 0);
  CHECK(groups([](auto& total, auto& next, auto& x) { return Two{total + sum(exp(x), 0), next}; }) == 0);  // hoist and sink see to it
  CHECK(groups([](auto& total, auto& next, auto&) { return Two{total * 0.5 + sum(next, 0), next}; }) == 0);
  CHECK(groups([](auto& total, auto& next, auto&) { return Two{total + max(next, 0), next}; }) == 0);
  CHECK(groups([](auto& total, auto& next, auto&) { return Two{total + sum(reshape(next, {4, 8}), 1), next}; }) == 0);
}

TEST_CASE("passes: group sums: a loop over chunks of time goes on with the sums of its chunks") {
  auto program = [](const Checkpoint& checkpoint) {
    const auto x = leaf({8, 16, 4}), h = leaf({16, 4}), gain = leaf({4});
    auto y = scan(
                 [&](const Variable& h, const Variable& x) {
                   auto next = tanh(sin(h) * gain + x);
                   return std::pair{next, next};
                 },
                 h, x, {.checkpoint = checkpoint})
                 .second;
    return detail::gradients(sum(square(y)), Variables{gain});
  };
  auto grouped = [](detail::Program& p) {
    detail::merge_products(p);
    detail::group_sums(p);
  };
  for (const auto& checkpoint : {Checkpoint{}, checkpoint::every(2), checkpoint::every(3)}) {
    const auto text = after(grouped, program(checkpoint));
    CHECK(count(text, "sum_groups(") == (checkpoint.every == 3 ? 2 : 1));  // what is left is a chunk of its own
    CHECK(count(text, "sum_steps(") == 1);
    CHECK(text.find("\n", text.find("sum_steps(")) > text.rfind("    return "));
  }
}

TEST_CASE("passes: sink: sums by groups stay in the loop if threads can divide the groups") {
  const int before = threads();
  auto passes = [](detail::Program& p) {
    detail::group_sums(p);
    detail::sink(p);
  };
  auto addends = [](const Variable& next, const Variable& x) { return Variables{next * exp(x), next * x}; };
  set_threads(2);
  CHECK(stacked(summed(addends, 16, passes)) == 3);  // the carry, its y and two sums
  set_threads(3);                                    // they would have 8, 4 and 4 rows
  const auto apart = summed(addends, 16, passes);
  CHECK(apart.find(R"(
%7 = multiply(%5, %3) : f64 [3, 16, 4]
%8 = sum_groups(%6) of 4 rows, steps 3 backward in time : f64 [4, 4]
%9 = sum_groups(%7) of 4 rows, steps 3 backward in time : f64 [4, 4]
)") != std::string::npos);
  CHECK(count(apart, "sum_groups") == 2);
  set_threads(before);
}

TEST_CASE("passes: sink: sums by groups of what leaves the loop leave it too") {
  const auto h = leaf({8, 4}), w = leaf({4, 5}), zero = leaf({5}), x = leaf({3, 8, 4});
  auto last = scan(
                  [&](const Variables& s, const Variable& x) {
                    auto next = tanh(s[0] + x);
                    return std::pair{Variables{next, s[1] + sum(exp(matmul(next, w)), 0)}, x};
                  },
                  Variables{h, zero}, x)
                  .first;
  const auto text = after(
      [](detail::Program& p) {
        detail::group_sums(p);
        detail::sink(p);
      },
      last);
  CHECK(text.find("\n%8 = sum_groups(%7) of 4 rows, steps 3 : f64 [2, 5]\n") != std::string::npos);
  CHECK(count(text, "sum_groups") == 1);
  CHECK(against_reference(last, 1e-13) == "");
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

TEST_CASE("gradient of a loop: a bias whose rows are stacked all the same, the same bits for any team") {
  const int before = threads();
  Tensor start[] = {random::normal({64}), random::normal({6, 16, 64}), random::normal({16, 64})};
  auto run = [&](int team) {
    set_threads(team);
    Variable bias(start[0]), x(start[1]), h(start[2]);
    auto y = scan(
                 [&](const Variable& h, const Variable& x) {
                   auto next = tanh(sin(h) + bias + x);
                   return std::pair{next, next};
                 },
                 h, x)
                 .second;
    auto g = detail::gradients(sum(square(y)), Variables{bias, x});
    evaluate(g);
    return g[0].value();
  };
  const auto want = run(1);
  for (int team : {2, 3}) CHECK(identical(run(team), want));  // three threads sum behind the loop
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

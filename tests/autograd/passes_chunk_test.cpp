// The pass that cuts time into chunks: alone on a printed program, and the bits of a loop that is large enough for it.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/core/team.hpp>

#include "after.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("passes: chunk: products of x_t that take more than the budget are made a chunk of time at a time") {
  auto w = leaf({2, 3}), u = leaf({3, 3}), x = leaf({12, 2, 2}), h = leaf({2, 3});
  auto [last, y] = scan(
      [&](const Variable& h, const Variable& x) {
        auto next = tanh(matmul(x, w) + matmul(h, u));
        return std::pair{next, next};
      },
      h, x);
  std::string text = after([](detail::Program& p) { detail::chunk_within(p, 5 * 2 * 3 * 8, 4); }, {last, y});  // five steps of x w
  CHECK(text == R"(
%0 = input : f64 [2, 3]
%1 = input : f64 [12, 2, 2]
%2 = input : f64 [3, 3]
%3 = input : f64 [2, 3]
%4 = reshape(%1) : f64 [3, 4, 2, 2]
%5, %6 = scan(%0, %4, %2, %3) steps 3 over chunks of 4 : f64 [2, 3], f64 [3, 4, 2, 3]
    %0 = input : f64 [2, 3]
    %1 = input : f64 [4, 2, 2]
    %2 = input : f64 [3, 3]
    %3 = input : f64 [2, 3]
    %4, %5 = scan(%0, %1, %2, %3) steps 4 : f64 [2, 3], f64 [4, 2, 3]
        %0 = input : f64 [2, 3]
        %1 = input : f64 [2, 2]
        %2 = input : f64 [3, 3]
        %3 = input : f64 [2, 3]
        %4 = matmul(%0, %2) : f64 [2, 3]
        %5 = matmul(%1, %3) : f64 [2, 3]
        %6 = add(%5, %4) : f64 [2, 3]
        %7 = tanh(%6) : f64 [2, 3]
        return %7, %7
    return %4, %5
%7 = reshape(%6) : f64 [12, 2, 3]
return %5, %7
)");
  CHECK(after([](detail::Program& p) { detail::chunk_within(p, 12 * 2 * 3 * 8, 4); }, {last, y}).find("steps 12") != std::string::npos);
  auto g = gradients(sum(square(y)), {w, u, x, h});
  CHECK(after([](detail::Program& p) { detail::chunk_within(p, 1, 4); }, {g.begin(), g.end()}).find("steps 4 backward in time") !=
        std::string::npos);
}

TEST_CASE("passes: chunk: what remains is a chunk of its own, behind, and random numbers are those of the step") {
  auto w = leaf({2, 3}), u = leaf({3, 3}), x = leaf({7, 2, 2}), h = leaf({2, 3});
  for (bool reverse : {false, true}) {
    auto [last, y] = scan(
        [&](const Variable& h, const Variable& x) {
          auto next = tanh(matmul(x, w) + matmul(h, u)) * uniform({2, 3}, f64);
          return std::pair{next, next};
        },
        h, x, {.reverse = reverse});
    auto chunk = [](detail::Program& p) { detail::chunk_within(p, 3 * 2 * 3 * 8, 2); };  // three steps of x w
    const std::string text = after(chunk, {last, y});
    const auto first = text.find("scan("), second = text.find("scan(", text.find("over chunks of 3"));
    CHECK(text.find(reverse ? "steps 2 backward in time over chunks of 3 from 1 :" : "steps 2 over chunks of 3 :", first) < second);
    CHECK(text.find(reverse ? "steps 1 backward in time over chunks of 1 :" : "steps 1 over chunks of 1 from 6 :", second) !=
          std::string::npos);
    CHECK(text.find("concatenate(") != std::string::npos);
    auto within = [](detail::Program& p) {  // a loop over chunks, of chunks of which the loop over one takes too much again
      detail::chunk_within(p, 3 * 2 * 3 * 8, 2);
      for (auto& i : p.code) {
        if (!i.body || i.op != &detail::scan_operator) continue;
        auto inner = i.body->program;
        detail::chunk_within(inner, 1, 1);
        i.body = make_body(std::move(inner), i.body->carries, i.body->xs);
      }
    };
    CHECK(after(within, {last, y}) != text);
    auto g = gradients(sum(square(y)), {w, u, x, h});
    after(chunk, {g.begin(), g.end()});
    after(within, {g.begin(), g.end()});
  }
}

TEST_CASE("passes: chunk: a loop that was recorded in chunks becomes part of the program around it") {
  auto u = leaf({3, 3}), x = leaf({7, 2, 3}), h = leaf({2, 3});
  auto [last, y] = scan(
      [&](const Variable& h, const Variable& x) {
        auto next = tanh(matmul(h, u) + x);
        return std::pair{next, next};
      },
      h, x, {.checkpoint = checkpoint::every(3)});
  std::string before, text = after(detail::chunk, {last, y}, &before);
  CHECK(before.find("\n    %") < before.find("over chunks"));
  CHECK(text.find("over chunks of 3") < text.find("\n    %"));
  CHECK(text.find("over chunks of 1 from 6") != std::string::npos);
}

TEST_CASE("passes: chunk: random numbers from a later one on are those of all that come there") {
  Variable key(Tensor::of<std::int64_t>({2}, {5, 7}));
  auto random = [&](Index count, Index first) {
    return detail::record(detail::random_operator, {0, count, first}, {detail::local("random", key)}, detail::Type{f64, {count}});
  };
  auto all = random(11, 0), rest = random(7, 4);
  CHECK(against_reference({all, rest}, 0) == "");
  CHECK(identical(rest.value(), slice(all, 0, 4, 7).value()));
}

TEST_CASE("passes: chunk: random numbers that leave a loop over chunks are those of the step") {
  auto w = leaf({3, 2}), x = leaf({7, 2, 2}), h = leaf({2, 2});
  auto [last, y] = scan(
      [&](const Variable& h, const Variable& x) {
        auto next = tanh(h + matmul(uniform({2, 3}, f64), w)) * x;  // the product leaves, and what it reads
        return std::pair{next, next};
      },
      h, x, {.steps = 7, .checkpoint = checkpoint::every(3)});
  auto hoisted = [](detail::Program& p) {
    detail::chunk(p);
    for (auto& i : p.code) {
      if (i.op != &detail::scan_operator) continue;
      auto inner = i.body->program;
      detail::hoist(inner);
      i.body = make_body(std::move(inner), i.body->carries, i.body->xs);
    }
    detail::chunk_within(p, 1, 1);  // what is in chunks stays as it is
    detail::hoist(p);
  };
  const auto text = after(hoisted, {last, y});
  CHECK(text.find("random(") < text.find("scan("));
}

TEST_CASE("passes: chunk: a loop whose products take 33 MiB and whose steps are a prime number has the bits that it has without the pass") {
  const int before = threads();
  const Index steps = 1061, batch = 4, hidden = 512;
  auto run = [&](detail::PassSet left_out, bool reverse) {
    detail::WithoutPasses without(left_out);
    seed(5);
    Lstm lstm(8, hidden, DType::f32);
    Variable x = draw({steps, batch, 8}, DType::f32), h = draw({batch, hidden}, DType::f32);
    auto [last, y] = scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
          n.h = n.h * bernoulli({batch, hidden}, 0.9);
          return std::pair{n, n.h};
        },
        State{h, h}, x, {.reverse = reverse});
    auto g = detail::gradients(sum(square(y)) + sum(last.c), std::vector<Variable>{x, h, lstm.wx, lstm.wh, lstm.b});
    g.push_back(last.h);
    evaluate(g);
    return g;
  };
  detail::PassSet chunk = 0;
  for (std::size_t i = 0; i < detail::all_passes().size(); ++i)
    if (detail::all_passes()[i].run == detail::chunk) chunk = detail::PassSet{1} << i;
  REQUIRE(chunk != 0);
  for (bool reverse : {false, true}) {
    set_threads(1);
    auto want = run(chunk, reverse);
    set_threads(2);
    auto got = run(0, reverse);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(identical(got[i].value(), want[i].value()));
    }
  }
  set_threads(before);
}

// Profiles: what is counted, that nothing counts twice, and that results do not notice.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/profile.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/team.hpp>

#include <thread>

#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

namespace {

struct Taken {
  Taken() { profile::start(); }
  ~Taken() { profile::stop(); }
};

template <class F>
Profile profile_of(const F& f) {
  {
    Taken guard;
    f();
  }
  return profile::report();
}

const ProfileRow* find(const Profile& p, const std::string& kind, const std::string& shape) {
  for (const auto& row : p.rows)
    if (row.kind == kind && row.shape == shape) return &row;
  return nullptr;
}

double flops(const Profile& p) {
  double sum = 0;
  for (const auto& row : p.rows) sum += row.flops;
  return sum;
}

/// Times are no negative ones and add up to at most the whole, where one thread at a time runs plans.
void check_times(const Profile& p) {
  double sum = 0;
  for (const auto& row : p.rows) {
    CHECK(row.seconds >= 0);
    CHECK(row.calls > 0);
    sum += row.seconds;
  }
  CHECK(sum <= p.plans * (1 + 1e-9));
  CHECK(p.plans <= p.elapsed);
  CHECK(p.rows.empty() == (p.plans == 0));
}

/// A step of training: gradients of x and of all weights.
std::vector<Variable> train(const Lstm& cell, const Variable& x, Index hidden, DType dtype) {
  const Index batch = x.shape()[1];
  auto ys = cell(x, {zeros({batch, hidden}, dtype), zeros({batch, hidden}, dtype)}).second;
  auto [dx, dwx, dwh, db] = gradients(sum(square(ys)), {x, cell.wx, cell.wh, cell.b});
  std::vector<Variable> result{dx, dwx, dwh, db};
  evaluate(result);
  return result;
}

}  // namespace

TEST_CASE("profile: calls, operations and bytes of a product") {
  seed(1);
  Variable x = draw({5, 7}, DType::f32), w = draw({7, 3}, DType::f32);
  auto p = profile_of([&] {
    for (int i = 0; i < 3; ++i) matmul(x, w).value();
  });
  const auto* product = find(p, "matmul", "[5, 7] x [7, 3]");
  REQUIRE(product);
  CHECK(product->calls == 3);
  CHECK(product->flops == 3 * 2 * 5 * 7 * 3);
  CHECK(product->bytes == 3 * 4 * (5 * 7 + 7 * 3 + 5 * 3));
  CHECK(product->dtype == DType::f32);
  check_times(p);
  p = profile_of([&] { gradients(sum(matmul(x, w)), {w})[0].value(); });
  const auto* gradient = find(p, "matmul", "[5, 7]T x [5, 3]");
  REQUIRE(gradient);
  CHECK(gradient->calls == 1);
  CHECK(gradient->flops == 2 * 5 * 7 * 3);
}

TEST_CASE("profile: bytes of rows that are gathered, and of operands that are broadcast") {
  Variable table = Tensor::full({1000, 4}, 1, DType::f32), index = Tensor::full({3}, 7, DType::i64), row = Tensor::full({8}, 2, DType::f32);
  auto p = profile_of([&] {
    gather(table, index).value();
    broadcast_to(row, {6, 8}).value();
  });
  const auto* gathered = find(p, "gather", "[3, 4]");
  REQUIRE(gathered);
  CHECK(gathered->bytes == 3 * 4 * 4 + 3 * 8 + 3 * 4 * 4);
  CHECK(gathered->flops == 0);
  const auto* copied = find(p, "output (copy)", "");
  REQUIRE(copied);
  CHECK(copied->calls == 1);
  CHECK(copied->bytes == 4 * (8 + 6 * 8));
}

TEST_CASE("profile: loops show their inside, and nothing counts twice") {
  constexpr Index T = 6, B = 4, I = 3, H = 5;
  seed(2);
  Lstm cell(I, H, f64);
  Variable x = draw({T, B, I});
  train(cell, x, H, f64);  // plans are made
  auto p = profile_of([&] { train(cell, x, H, f64); });
  const auto* step = find(p, "matmul", "[4, 5] x [5, 20]");
  REQUIRE(step);
  CHECK(step->calls == T);
  CHECK(step->flops == T * 2 * B * H * 4 * H);
  CHECK(step->dtype == f64);
  const auto* hoisted = find(p, "matmul", "[6, 4, 3] x [3, 20]");
  REQUIRE(hoisted);
  CHECK(hoisted->calls == 1);
  const auto* loops = find(p, "scan", "6 steps");
  REQUIRE(loops);
  CHECK(loops->calls == 2);
  CHECK(loops->flops == 0);
  CHECK(flops(p) == 3 * 2 * B * T * (I + H) * 4 * H);  // forward, gradients of operands, gradients of weights
  check_times(p);
}

TEST_CASE("profile: loops in loops, and loops that are divided among threads") {
  constexpr Index T = 150, B = 24, H = 128;  // enough work to divide
  const int before = threads();
  seed(3);
  Lstm cell(H, H, DType::f32);
  Variable x = draw({T, B, H}, DType::f32), nested = draw({3, 4, B, H}, DType::f32), w = draw({H, H}, DType::f32);
  auto inner = [&](const Variable& h, const Variable& x) {
    auto n = tanh(matmul(h, w) + x);
    return std::pair{n, n};
  };
  auto outer = [&](const Variable& h, const Variable& xs) { return scan(inner, h, xs); };
  std::vector<Tensor> alone;
  for (int count : {1, 2, 3}) {
    set_threads(count);
    for (bool on : {false, true}) {
      std::vector<Tensor> results;
      auto run = [&] {
        for (auto& v : train(cell, x, H, DType::f32)) results.push_back(v.value());
        results.push_back(scan(outer, zeros({B, H}), nested).second.value());
      };
      if (on) {  // the plans are made
        auto p = profile_of(run);
        CHECK(flops(p) == 3.0 * 2 * B * T * 2 * H * 4 * H + 3.0 * 4 * 2 * B * H * H);
        const std::string rows = std::to_string(B / count);
        const auto* step = find(p, "matmul", "[" + rows + ", 128] x [128, 512]");
        REQUIRE(step);
        CHECK(step->calls == static_cast<std::uint64_t>(T * count));
        CHECK(find(p, "pack", ""));
        check_times(p);
      } else {
        run();
      }
      if (alone.empty()) alone = results;
      REQUIRE(results.size() == alone.size());
      for (std::size_t i = 0; i < results.size(); ++i) CHECK(identical(results[i], alone[i]));
    }
  }
  set_threads(before);
}

TEST_CASE("profile: loops of few rows are divided by units, with the same bits") {
  const int before = threads();
  seed(4);
  struct Case {
    Index batch, hidden;
    bool rows;  ///< are divided, among two threads
  };
  for (auto [batch, hidden, rows] :
       {Case{2, 200, false}, Case{6, 200, false}, Case{12, 120, true}, Case{2, 40, true}, Case{8, 400, false}}) {
    const Index steps = batch * hidden > 1000 ? 5 : 400;
    Lstm cell(hidden, hidden, DType::f32);
    Variable x = draw({steps, batch, hidden}, DType::f32);
    std::vector<Tensor> alone;
    for (int count : {1, 2, 3}) {
      set_threads(count);
      std::vector<Tensor> results;
      auto run = [&] {
        for (auto& v : train(cell, x, hidden, DType::f32)) results.push_back(v.value());
      };
      auto p = profile_of(run);
      if (count == 2) {
        const std::string per_thread = std::to_string(rows ? batch / 2 : batch), width = std::to_string(4 * hidden);
        CHECK(find(p, "matmul", "[" + per_thread + ", " + std::to_string(hidden) + "] x [" + std::to_string(hidden) + ", " + width + "]"));
      }
      if (alone.empty()) alone = results;
      for (std::size_t i = 0; i < results.size(); ++i) CHECK(identical(results[i], alone[i]));
    }
  }
  set_threads(before);
}

TEST_CASE("profile: start forgets, and what runs before it or after stop does not count") {
  Variable x = Tensor::full({4, 4}, 1, DType::f32);
  auto run = [&] { matmul(x, x).value(); };
  run();
  CHECK(!profile::running());
  CHECK(find(profile_of(run), "matmul", "[4, 4] x [4, 4]"));
  run();
  CHECK(find(profile::report(), "matmul", "[4, 4] x [4, 4]")->calls == 1);
  profile::start();
  CHECK(profile::running());
  CHECK(profile::report().rows.empty());
  profile::stop();
  const double elapsed = profile::report().elapsed;
  profile::stop();
  CHECK(profile::report().elapsed == elapsed);
}

TEST_CASE("profile: of all threads, those that have ended too, and after an exception") {
  auto work = [] {
    Variable x = Tensor::full({4, 4}, 1, DType::f32);
    matmul(x, x).value();
  };
  auto p = profile_of([&] {
    std::thread(work).join();
    std::thread(work).join();
    work();
    auto fails = custom(
        "fails", Variable(Tensor::full({2}, 1)), [](const Tensor&) -> Tensor { throw ValueError("fails: now"); },
        [](auto& g, auto&) { return g; });
    CHECK(error_text<ValueError>([&] { fails.value(); }) == "fails: now");
  });
  REQUIRE(find(p, "matmul", "[4, 4] x [4, 4]"));
  CHECK(find(p, "matmul", "[4, 4] x [4, 4]")->calls == 3);
  check_times(p);
}

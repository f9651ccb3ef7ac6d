// The pass that merges products of a loop: alone on printed programs, and the values and gradients of cells written a product a gate.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/core/team.hpp>

#include <functional>

#include "after.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

namespace {

std::string merged(const std::vector<Variable>& outputs) { return after(detail::merge_products, outputs); }

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t n = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
  return n;
}

/// An LSTM with weights of its own for each gate.
struct FourProducts {
  std::vector<Variable> wx, wh, b;
  FourProducts(Index inputs, Index hidden, DType dtype) {
    for (int g = 0; g < 4; ++g) {
      wx.push_back(draw({inputs, hidden}, dtype));
      wh.push_back(draw({hidden, hidden}, dtype));
      b.push_back(draw({hidden}, dtype));
    }
  }
  std::pair<State, Variable> operator()(const Variable& x, const State& start, const ScanOptions& options = {}) const {
    return scan(
        [&](const State& s, const Variable& x) {
          auto gate = [&](int g) { return matmul(x, wx[g]) + matmul(s.h, wh[g]) + b[g]; };
          auto c = sigmoid(gate(0)) * s.c + sigmoid(gate(1)) * tanh(gate(2));
          State n{sigmoid(gate(3)) * tanh(c), c};
          return std::pair{n, n.h};
        },
        start, x, options);
  }
  /// The outputs, and gradients of everything; of gradients too, if wished.
  std::vector<Variable> outputs(const Variable& x, const State& start, const ScanOptions& options = {}, bool second = false) const {
    auto [last, y] = (*this)(x, start, options);
    std::vector<Variable> all{x, start.h, start.c};
    for (const auto* list : {&wx, &wh, &b}) all.insert(all.end(), list->begin(), list->end());
    auto g = detail::gradients(sum(square(y)) + sum(last.c * last.c), all);
    if (second) {
      auto more = detail::gradients(sum(sin(g[0])) + sum(sin(g[3])), all);
      g.insert(g.end(), more.begin(), more.end());
    }
    g.push_back(last.h);
    g.push_back(last.c);
    g.push_back(y);
    return g;
  }
};

std::vector<detail::Array> without_merging(const std::function<std::vector<Variable>()>& outputs) {
  auto passes = detail::all_passes();
  std::size_t i = 0;
  while (std::string(passes[i].name) != "merge products") ++i;
  detail::WithoutPasses without(detail::PassSet{1} << i);
  return arrays(outputs());
}

}  // namespace

TEST_CASE("passes: merge products: products of a carry with constants become slices of one") {
  rw::seed(1);
  auto x = draw({32, 8, 2}), u = draw({2, 3}), v = draw({2, 2}), h = draw({8, 2}), w = draw({2, 2});
  auto [last, y] = scan(
      [&](const Variable& c, const Variable& in) {
        auto gate = sigmoid(matmul(c, v));
        auto next = tanh(matmul(in, w) + sum(matmul(c, u), 1, true)) * gate;
        return std::pair{next, next};
      },
      h, x);
  CHECK(merged({last}) == R"(
%0 = input : f64 [8, 2]
%1 = input : f64 [32, 8, 2]
%2 = input : f64 [2, 2]
%3 = input : f64 [2, 3]
%4 = input : f64 [2, 2]
%5 = scan(%0, %1, %2, %3, %4) steps 32 : f64 [8, 2]
    %0 = input : f64 [8, 2]
    %1 = input : f64 [8, 2]
    %2 = input : f64 [2, 2]
    %3 = input : f64 [2, 3]
    %4 = input : f64 [2, 2]
    %5 = concatenate(%2, %3) axis 1 : f64 [2, 5]
    %6 = matmul(%0, %5) : f64 [8, 5]
    %7 = constant() 0 : number
    %8 = slice(%6, %7) axis 1 extent 2 : f64 [8, 2]
    %9 = constant() 2 : number
    %10 = slice(%6, %9) axis 1 extent 3 : f64 [8, 3]
    %11 = sigmoid(%8) : f64 [8, 2]
    %12 = reduce(%10) sum over 1 : f64 [8, 1]
    %13 = matmul(%1, %4) : f64 [8, 2]
    %14 = add(%13, %12) : f64 [8, 2]
    %15 = tanh(%14) : f64 [8, 2]
    %16 = multiply(%15, %11) : f64 [8, 2]
    return %16
return %5
)");
  (void)y;
}

TEST_CASE("passes: merge products: gradients of products a gate run over joined weights, and are accumulated as one") {
  rw::seed(1);
  auto h = draw({8, 2}), x = draw({32, 8, 2}), u = draw({2, 2}), v = draw({2, 2}), b = draw({2});
  auto [last, y] = scan(
      [&](const Variable& c, const Variable& in) {
        auto next = tanh(matmul(c, u) + b) * sigmoid(matmul(c, v)) + in;
        return std::pair{next, next};
      },
      h, x);
  CHECK(merged(detail::gradients(sum(last), std::vector<Variable>{h, u, v, b})) == R"(
%0 = input : f64 [8, 2]
%1 = input : f64 [32, 8, 2]
%2 = input : f64 [2, 2]
%3 = input : f64 [2, 2]
%4 = input : f64 [2]
%5, %6, %7, %8 = scan(%0, %1, %2, %3, %4) steps 32 : f64 [8, 2], f64 [32, 8, 2], f64 [32, 8, 2], f64 [32, 8, 2]
    %0 = input : f64 [8, 2]
    %1 = input : f64 [8, 2]
    %2 = input : f64 [2, 2]
    %3 = input : f64 [2, 2]
    %4 = input : f64 [2]
    %5 = concatenate(%2, %3) axis 1 : f64 [2, 4]
    %6 = matmul(%0, %5) : f64 [8, 4]
    %7 = constant() 0 : number
    %8 = slice(%6, %7) axis 1 extent 2 : f64 [8, 2]
    %9 = constant() 2 : number
    %10 = slice(%6, %9) axis 1 extent 2 : f64 [8, 2]
    %11 = sigmoid(%8) : f64 [8, 2]
    %12 = add(%10, %4) : f64 [8, 2]
    %13 = tanh(%12) : f64 [8, 2]
    %14 = multiply(%13, %11) : f64 [8, 2]
    %15 = add(%14, %1) : f64 [8, 2]
    return %15, %0, %11, %13
%9 = constant() 1 : f64 []
%10 = reshape(%9) : f64 [1, 1]
%11 = broadcast_to(%10) : f64 [8, 2]
%12 = constant() 0 : f64 []
%13 = broadcast_to(%12) : f64 [2]
%14 = constant() 0 : f64 []
%15 = broadcast_to(%14) : f64 [2, 4]
%16, %17, %18 = scan(%11, %13, %15, %6, %7, %8, %2, %3) steps 32 backward in time : f64 [8, 2], f64 [2], f64 [2, 4]
    %0 = input : f64 [8, 2]
    %1 = input : f64 [2]
    %2 = input : f64 [2, 4]
    %3 = input : f64 [8, 2]
    %4 = input : f64 [8, 2]
    %5 = input : f64 [8, 2]
    %6 = input : f64 [2, 2]
    %7 = input : f64 [2, 2]
    %8 = multiply(%0, %4) : f64 [8, 2]
    %9 = multiply(%0, %5) : f64 [8, 2]
    %10 = multiply(%5, %5) : f64 [8, 2]
    %11 = constant() 1 : number
    %12 = subtract(%11, %10) : f64 [8, 2]
    %13 = multiply(%8, %12) : f64 [8, 2]
    %14 = reduce(%13) sum over 0 : f64 [1, 2]
    %15 = reshape(%14) : f64 [2]
    %16 = subtract(%11, %4) : f64 [8, 2]
    %17 = multiply(%4, %16) : f64 [8, 2]
    %18 = multiply(%9, %17) : f64 [8, 2]
    %19 = concatenate(%18, %13) axis 1 : f64 [8, 4]
    %20 = concatenate(%6, %7) axis 1 : f64 [2, 4]
    %21 = matmul(%19, %20) right transposed : f64 [8, 2]
    %22 = add(%1, %15) : f64 [2]
    %23 = matmul(%3, %19) left transposed : f64 [2, 4]
    %24 = add(%2, %23) : f64 [2, 4]
    return %21, %22, %24
%19 = constant() 0 : number
%20 = slice(%18, %19) axis 1 extent 2 : f64 [2, 2]
%21 = constant() 2 : number
%22 = slice(%18, %21) axis 1 extent 2 : f64 [2, 2]
return %16, %22, %20, %17
)");
  (void)y;
}

TEST_CASE("passes: merge products: few rows stay as they are, and what can leave the loop behind it stays apart") {
  rw::seed(1);
  auto x = draw({31, 8, 2}), u = draw({2, 2}), v = draw({2, 2}), h = draw({8, 2});
  auto loop = [&](const Variable& in, auto body) { return scan(body, h, in).first; };
  auto gates = [&](const Variable& c, const Variable& in) { return std::pair{tanh(matmul(c, u)) * sigmoid(matmul(c, v)) + in, c}; };
  auto sum_with_x = [&](const Variable& c, const Variable& in) {
    return std::pair{detail::product(tanh(c), u, false, true) + detail::product(in, v, false, true), c};
  };
  auto sum_of_two = [&](const Variable& c, const Variable& in) {
    return std::pair{detail::product(tanh(c), u, false, true) + (in + detail::product(sin(c), v, false, true)), c};
  };
  CHECK(count(merged({loop(x, gates)}), "matmul") == 2);
  CHECK(count(merged({loop(draw({32, 8, 2}), gates)}), "matmul") == 1);
  CHECK(count(merged({loop(x, sum_with_x)}), "matmul") == 2);
  CHECK(count(merged({loop(x, sum_of_two)}), "matmul") == 1);
  CHECK(count(merged({scan(sum_of_two, draw({7, 2}), draw({31, 7, 2})).first}), "matmul") == 2);
  auto [last, y] = scan(
      [&](const Variable& c, const Variable& in) {
        return std::pair{tanh(matmul(c, u) + in), matmul(c, v)};
      },
      h, draw({32, 8, 2}));
  CHECK(count(merged({last, y}), "matmul") == 2);
}

TEST_CASE("passes: merge products: an LSTM written as four products has the plan of the stacked one") {
  rw::seed(2);
  auto x = draw({40, 8, 3});
  State start{draw({8, 4}), draw({8, 4})};
  auto program = recorded(FourProducts(3, 4, f64).outputs(x, start)).program;
  detail::run_passes(program);
  int scans = 0, steps = 0, sums = 0;
  for (const auto& c : program.code) {
    if (c.op == &detail::matmul_steps_operator) ++steps, sums += static_cast<int>(c.attributes[1]);
    CHECK(c.op != &detail::sum_steps_operator);
    if (c.op != &detail::scan_operator) continue;
    ++scans;
    auto body = c.body->program;
    detail::run_passes(body);
    CHECK(count(to_string(body), "matmul(") == 1);
    CHECK(count(to_string(body), "= region(") == 1);
  }
  CHECK(scans == 2);
  CHECK(steps == 2);
  CHECK(sums == 1);
}

TEST_CASE("passes: merge products: values and gradients are the interpreter's, with loops in loops, from any first values") {
  for (Index batch : {1, 7, 8, 33}) {
    INFO("batch " << batch);
    rw::seed(static_cast<std::uint64_t>(batch));
    FourProducts lstm(3, 5, f64);
    auto x = draw({40, batch, 3});
    State start{draw({batch, 5}), draw({batch, 5})};
    CHECK(against_reference(lstm.outputs(x, start, {}, true), 1e-11) == "");
    CHECK(against_reference(lstm.outputs(x, start, {.reverse = true}), 1e-11) == "");
    CHECK(against_reference(lstm.outputs(x, start, {.checkpoint = checkpoint::every(20)}), 1e-11) == "");
    auto run = [&] { return lstm.outputs(x, start); };
    CHECK(difference(arrays(run()), without_merging(run), 1e-11) == "");
  }
}

TEST_CASE("passes: merge products: accumulators of other forms keep their values") {
  rw::seed(6);
  auto x = draw({32, 8, 2}), deep = draw({3, 8, 2}), left = draw({8, 5});
  using Carry = std::vector<Variable>;
  auto run = [&](bool stacked, bool whole) {
    Carry first{stacked ? draw({3, 2, 2}) : draw({5, 2}), stacked ? draw({3, 2, 2}) : draw({5, 2}), draw({2}), draw({1, 2})};
    auto [last, y] = scan(
        [&](const Carry& c, const Variable& in) {
          auto a = tanh(in), b = sin(in);
          auto one = detail::product(stacked ? deep : left, a, true, false), two = detail::product(stacked ? deep : left, b, true, false);
          auto joined = concatenate({a, whole ? b : b * 2}, 1);
          return std::pair{Carry{c[0] + one, two + c[1], c[2] + sum(a, 0), c[3] + sum(b, 0, true)}, joined};
        },
        first, x);
    last.push_back(y);
    return merged(last);
  };
  CHECK(count(run(false, true), "add(") == 2);  // a product and a sum, of first values that are no zeros
  CHECK(count(run(false, false), "add(") == 4);
  CHECK(count(run(true, true), "matmul") == 2);
}

TEST_CASE("passes: merge products: the same bits with checkpoints, and for any number of threads") {
  int before = threads();
  for (Index batch : {9, 65}) {  // of which a thread may get two rows, and the pass asks for eight
    rw::seed(4);
    FourProducts lstm(24, 64, DType::f32);
    auto x = draw({36, batch, 24}, DType::f32);
    State start{draw({batch, 64}, DType::f32), draw({batch, 64}, DType::f32)};
    auto run = [&](const ScanOptions& options = {}) { return arrays(lstm.outputs(x, start, options)); };
    set_threads(1);
    auto want = run();
    for (Index every : {2, 12, 18}) CHECK(difference(run({.checkpoint = checkpoint::every(every)}), want, 0) == "");
    for (int count : {2, 3, 5}) {
      set_threads(count);
      CHECK(difference(run(), want, 0) == "");
      CHECK(difference(run({.checkpoint = checkpoint::every(18)}), want, 0) == "");
    }
  }
  set_threads(before);
}

TEST_CASE("passes: a product of many rows with a matrix that was computed has the bits of the same product with few") {
  rw::seed(5);
  auto x = draw({3, 300, 7}), w = draw({7, 50}), v = draw({50, 7});
  auto many = matmul(x, tanh(w)), transposed = detail::product(x, tanh(v), false, true);
  CHECK(against_reference({many, transposed}, 1e-14) == "");
  for (Index i = 0; i < 3; ++i)
    CHECK(difference(arrays({select(many, 0, i), select(transposed, 0, i)}),
                     arrays({matmul(select(x, 0, i), tanh(w)), detail::product(select(x, 0, i), tanh(v), false, true)}), 0) == "");
}

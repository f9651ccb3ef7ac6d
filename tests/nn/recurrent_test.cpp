// The driver of recurrent layers: names, states, directions, users' cells, rules for cells, errors.
#include <rewind/autograd/gradients.hpp>
#include <rewind/core/random.hpp>
#include <rewind/nn/gru.hpp>
#include <rewind/nn/lstm.hpp>
#include <rewind/nn/recurrent.hpp>
#include <rewind/nn/rnn.hpp>

#include "support.hpp"

using namespace rw;
using test::doubles;
using test::error_text;

namespace {

std::vector<std::string> names_of(const ParameterList& list) {
  std::vector<std::string> names;
  for (const auto& p : list) names.push_back(p.name);
  return names;
}

/// Adds up its inputs: everything that a cell may declare.
struct Sum {
  struct Options {
    double start = 0;
    bool twice = false;
  };
  struct State {
    std::vector<Variable> parts;
  };
  Parameter scale;
  Options options;
  Sum(Index inputs, Index, const Options& options) : scale({inputs}, init::constant(1)), options(options) {}
  State initial(Index batch) const { return {{full({batch, scale.shape()[0]}, options.start), zeros({batch, 1})}}; }
  State operator()(const Variable& x, const State& s) const { return {{s.parts[0] + x * scale, s.parts[1] + 1}}; }
  Variable output(const State& s) const { return s.parts[0] * (options.twice ? 2 : 1); }
  REWIND_FIELDS(scale)
};

// One class a rule, broken at it.
struct NoState {};
struct BadState {
  struct State {
    int n;
  };
};
struct NoConstructor {
  using State = Variable;
};
struct NoCall : NoConstructor {
  NoCall(Index, Index) {}
};
struct CallNotConst : NoCall {
  using NoCall::NoCall;
  State operator()(const Variable&, const State&);
};
struct NoFields : NoCall {
  using NoCall::NoCall;
  State operator()(const Variable&, const State&) const;
};
struct Whole : NoFields {
  using NoFields::NoFields;
  REWIND_FIELDS()
};
struct BadInitial : Whole {
  using Whole::Whole;
  int* initial(Index) const;
};
struct BadOutput : Whole {
  using Whole::Whole;
  std::string output(const State&) const;
};
struct EmptyState {
  struct State {};
  EmptyState(Index, Index) {}
  State operator()(const Variable&, const State&) const { return {}; }
  REWIND_FIELDS()
};
struct NoCopy : Whole {
  using Whole::Whole;
  NoCopy(const NoCopy&) = delete;
};
static_assert(nn::detail::broken_rule<NoState>() == 1);
static_assert(nn::detail::broken_rule<BadState>() == 2);
static_assert(nn::detail::broken_rule<NoConstructor>() == 3);
static_assert(nn::detail::broken_rule<NoCall>() == 4);
static_assert(nn::detail::broken_rule<CallNotConst>() == 4);
static_assert(nn::detail::broken_rule<NoFields>() == 5);
static_assert(nn::detail::broken_rule<BadInitial>() == 6);
static_assert(nn::detail::broken_rule<BadOutput>() == 7);
static_assert(nn::detail::broken_rule<EmptyState>() == 8);
static_assert(nn::detail::broken_rule<NoCopy>() == 9);
static_assert(nn::detail::broken_rule<Whole>() == 0);
static_assert(nn::detail::broken_rule<Sum>() == 0);
static_assert(nn::detail::broken_rule<nn::LstmCell>() == 0);

}  // namespace

TEST_CASE("recurrent: names and counts of the library's cells") {
  nn::Lstm lstm(3, 5, {.layers = 2, .bidirectional = true});
  CHECK(names_of(parameters(lstm)) == std::vector<std::string>{"0.wx", "0.wh", "0.b", "0.reverse.wx", "0.reverse.wh", "0.reverse.b", "1.wx",
                                                               "1.wh", "1.b", "1.reverse.wx", "1.reverse.wh", "1.reverse.b"});
  CHECK(count(lstm) == 2 * (3 * 20 + 5 * 20 + 20) + 2 * (10 * 20 + 5 * 20 + 20));
  CHECK(lstm.layers() == 2);
  CHECK(names_of(parameters(nn::Gru(3, 5))) == std::vector<std::string>{"0.wx", "0.wh", "0.b", "0.bn"});
  CHECK(count(nn::Gru(3, 5)) == 3 * 15 + 5 * 15 + 15 + 5);
  nn::Gru before(3, 5, {.cell = {.reset = nn::Reset::before}});
  CHECK(names_of(parameters(before)) == std::vector<std::string>{"0.wx", "0.wh", "0.b", "0.wn"});
  CHECK(count(before) == 3 * 15 + 5 * 10 + 15 + 25);
  CHECK(names_of(parameters(nn::Rnn(3, 5))) == std::vector<std::string>{"0.wx", "0.wh", "0.b"});
}

TEST_CASE("recurrent: the forget gate's bias begins with 1, or as asked") {
  nn::Lstm one(3, 2), five(3, 2, {.cell = {.forget_bias = 5}});
  CHECK(doubles(one.cell(0).b.value()) == std::vector<double>{1, 1, 0, 0, 0, 0, 0, 0});
  CHECK(doubles(five.cell(0).b.value()) == std::vector<double>{5, 5, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("recurrent: a user's cell with options, initial and output, in both directions") {
  nn::Recurrent<Sum> sum(2, 2, {.bidirectional = true, .cell = {.start = 100, .twice = true}});
  Variable x = Tensor::of<float>({3, 1, 2}, {1, 10, 2, 20, 3, 30});
  auto [y, last] = sum(x);
  CHECK(y.shape() == Shape{3, 1, 4});
  CHECK(doubles(y.value()) == std::vector<double>{202, 220, 212, 320, 206, 260, 210, 300, 212, 320, 206, 260});
  CHECK(doubles(sum.output(last).value()) == std::vector<double>{212, 320, 212, 320});
  CHECK(doubles(last.cells[1].parts[1].value()) == std::vector<double>{3});
  auto [again, end] = sum(x, last);
  CHECK(doubles(end.cells[0].parts[0].value()) == std::vector<double>{112, 220});
}

TEST_CASE("recurrent: a state of empty variables means start here, like an empty state") {
  seed(1);
  nn::Lstm lstm(3, 4, {.layers = 2});
  Variable x = random::normal({5, 2, 3});
  nn::Lstm::State empty{{{}, {}}};
  CHECK(identical(lstm(x, empty).first.value(), lstm(x).first.value()));
}

TEST_CASE("recurrent: zero steps give the state back") {
  seed(2);
  nn::Gru gru(3, 4);
  Variable h = random::normal({2, 4});
  auto [y, last] = gru(zeros({0, 2, 3}), {{h}});
  CHECK(y.shape() == Shape{0, 2, 4});
  CHECK(identical(last.cells[0].value(), h.value()));
}

TEST_CASE("recurrent: dropout acts between layers while training, and on one layer not at all") {
  seed(3);
  nn::Rnn two(3, 50, {.layers = 2, .dropout = 0.5}), one(3, 50, {.dropout = 0.5});
  Variable x = random::normal({4, 2, 3});
  CHECK(!identical(two(x).first.value(), two(x).first.value()));
  CHECK(identical(one(x).first.value(), one(x).first.value()));
  Evaluation guard;
  CHECK(identical(two(x).first.value(), two(x).first.value()));
}

TEST_CASE("recurrent: copies stand alone, and layers can be tied") {
  seed(4);
  nn::Gru gru(4, 4, {.layers = 2});
  gru.cell(1).wh = share(gru.cell(0).wh);
  CHECK(parameters(gru).size() == 7);
  auto other = copy(gru);
  CHECK(other.cell(1).wh.place() == other.cell(0).wh.place());
  Variable x = random::normal({3, 2, 4});
  CHECK(identical(gru(x).first.value(), other(x).first.value()));
  backward(sum(gru(x).first));
  CHECK(other.cell(0).wh.gradient().empty());
  CHECK(!gru.cell(0).wh.gradient().empty());
}

TEST_CASE("recurrent: errors name the cell, what was got, and what to do") {
  nn::Lstm lstm(64, 8, {.layers = 2});
  CHECK(error_text<ShapeError>([&] {
          return lstm(zeros({32, 64}));
        }) == "Recurrent<LstmCell>: x is [32, 64] (it must be [T, B, 64]: time, batch, inputs)");
  CHECK(error_text<ShapeError>([&] {
          return lstm(zeros({35, 32, 100}));
        }) == "Recurrent<LstmCell>: x is [35, 32, 100], but this network takes inputs of 64 (x's last axis must be 64)");
  CHECK(error_text<DTypeError>([&] {
          return lstm(zeros({35, 32, 64}, DType::i32));
        }) == "Recurrent<LstmCell>: x is i32 (it must be f32 or f64)");
  CHECK(error_text<ValueError>([&] {
          return lstm(zeros({3, 2, 64}), {{{}}});
        }) ==
        "Recurrent<LstmCell>: the state is of 1 cells, but this network has 2 (give it what it returned; an empty state starts anew)");
  CHECK(error_text<ValueError>([&] { return lstm.output({}); }) ==
        "Recurrent<LstmCell>: the state is of 0 cells, but this network has 2 (give it what it returned; an empty state starts anew)");
  auto narrow = lstm(zeros({1, 16, 64})).second;
  CHECK(error_text<ShapeError>([&] {
          return lstm(zeros({3, 32, 64}), narrow);
        }) == "LstmCell: h is [16, 8], but x is [32, 64] (h must be [32, 8])");
  CHECK(error_text<ValueError>([] { return nn::Lstm(0, 8); }) == "Recurrent<LstmCell>: inputs is 0 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { return nn::Gru(1, -8); }) == "Recurrent<GruCell>: hidden is -8 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { return nn::Rnn(1, 8, {.layers = 0}); }) == "Recurrent<RnnCell>: layers is 0 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { return nn::Rnn(1, 8, {.dropout = 2}); }) == "Dropout: rate is 2 (it must lie in [0, 1))");
  CHECK(error_text<ValueError>([&] { return lstm.cell(2); }) == "Recurrent<LstmCell>: there is no layer 2 (layers are 0 to 1)");

  nn::RnnCell rnn(3, 4);
  CHECK(error_text<ShapeError>([&] {
          return rnn(zeros({7, 2, 3}), zeros({2, 4}));
        }) == "RnnCell: x is [7, 2, 3] (a cell takes one step: x must be [B, 3])");
  nn::GruCell gru(3, 4);
  CHECK(error_text<ShapeError>([&] {
          return gru(zeros({2, 3}), zeros({1, 4}));
        }) == "GruCell: h is [1, 4], but x is [2, 3] (h must be [2, 4])");
  CHECK(error_text<ValueError>([] { return nn::LstmCell(0, 4); }) == "LstmCell: inputs is 0 (it must be at least 1)");
  CHECK(error_text<ValueError>([] { return nn::GruCell(2, 0); }) == "GruCell: hidden is 0 (it must be at least 1)");
}

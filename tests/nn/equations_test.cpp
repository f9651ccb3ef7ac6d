// The library's cells against their equations in plain loops: values, and every gradient through up to a thousand steps.
#include "equations.hpp"

#include <functional>
#include <rewind/autograd/gradients.hpp>
#include <rewind/core/random.hpp>
#include <rewind/nn/gru.hpp>
#include <rewind/nn/lstm.hpp>
#include <rewind/nn/rnn.hpp>

#include "support.hpp"

using namespace rw;
using namespace rw::test;

namespace {

const double tolerance = 1e-10;  // of each gradient's largest entry: f64, sums of up to some thousand terms in other orders

using Layer = std::function<LayerResult(const Extents&, const Named&, const Numbers& x, const Named& start, const Incoming&)>;

Tensor drawn(const Shape& shape, double scale = 1) { return random::uniform(shape, -scale, scale, DType::f64); }

/// Small random weights, so that nothing expands over a thousand steps.
template <class M>
void shrink(M& model) {
  cast(model, DType::f64);
  for (auto& p : parameters(model)) p.place.set_value(drawn(p.place.value().shape(), 0.4));
}
Named weights_of(const ParameterList& list, const std::string& prefix) {
  Named result;
  for (const auto& p : list)
    if (p.name.starts_with(prefix)) result[p.name.substr(prefix.size())] = doubles(p.place.value().value());
  return result;
}
std::vector<std::string> state_names(const std::string& cell) {
  return cell == "LstmCell" ? std::vector<std::string>{"h", "c"} : std::vector<std::string>{"h"};
}

void check_same(const Variable& got, const Numbers& wanted, const std::string& what) {
  double error = max_relative_error(doubles(got.value()), wanted);
  CHECK_MESSAGE(error <= tolerance, what << " is off by " << error);
}

/// One layer from a given state; the loss weighs all outputs and the last state.
template <class Cell>
void check_layer(const std::string& cell, const Extents& e, const typename nn::Recurrent<Cell>::Options& options, const Layer& layer) {
  CAPTURE(cell);
  CAPTURE(e.T);
  seed(11);
  nn::Recurrent<Cell> network(e.I, e.H, options);
  shrink(network);
  Variable x = drawn({e.T, e.B, e.I}), wy = drawn({e.T, e.B, e.H});
  typename nn::Recurrent<Cell>::State start{{network.cell(0).initial(e.B)}};
  std::vector<Variable> carried, weighed;
  flatten(start, carried);
  for (auto& v : carried) {
    v = drawn(v.shape());
    weighed.push_back(drawn(v.shape()));
  }
  start = unflatten_like(start, carried);

  auto [y, last] = network(x, start);
  std::vector<Variable> ends;
  flatten(last, ends);
  Variable loss = sum(y * wy);
  for (std::size_t i = 0; i < ends.size(); ++i) loss += sum(ends[i] * weighed[i]);
  auto dx = gradients(loss, x);
  auto dstart = gradients(loss, start);
  backward(loss);

  Incoming in{doubles(wy.value()), {}};
  Named begin;
  auto names = state_names(cell);
  for (std::size_t i = 0; i < names.size(); ++i) {
    begin[names[i]] = doubles(carried[i].value());
    in.last[names[i]] = doubles(weighed[i].value());
  }
  auto list = parameters(network);
  LayerResult wanted = layer(e, weights_of(list, "0."), doubles(x.value()), begin, in);
  check_same(y, wanted.y, "y");
  check_same(dx, wanted.gradients.at("x"), "dx");
  std::vector<Variable> dcarried;
  flatten(dstart, dcarried);
  for (std::size_t i = 0; i < names.size(); ++i) {
    check_same(ends[i], wanted.last.at(names[i]), "last " + names[i]);
    check_same(dcarried[i], wanted.gradients.at(names[i]), "d first " + names[i]);
  }
  for (const auto& p : list) check_same(p.place.gradient(), wanted.gradients.at(p.name.substr(2)), "d " + p.name);
}

const Extents short_one{3, 2, 3, 5}, long_one{1000, 2, 3, 4};

Layer rnn(bool relu) {
  return [relu](const auto& e, const auto& w, const auto& x, const auto& start, const auto& in) {
    return rnn_layer(e, w, x, start, in, relu);
  };
}
Layer gru(bool before) {
  return [before](const auto& e, const auto& w, const auto& x, const auto& start, const auto& in) {
    return gru_layer(e, w, x, start, in, before);
  };
}

/// [T,B,H] from the last step to the first.
Numbers reversed(const Numbers& x, Index steps) {
  Numbers result;
  Index size = static_cast<Index>(x.size()) / steps;
  for (Index t = steps - 1; t >= 0; --t) result.insert(result.end(), x.begin() + t * size, x.begin() + (t + 1) * size);
  return result;
}
/// [R,A+B] from [R,A] and [R,B], and back.
Numbers joined(const Numbers& a, const Numbers& b, Index rows) {
  Numbers result;
  Index m = static_cast<Index>(a.size()) / rows, n = static_cast<Index>(b.size()) / rows;
  for (Index i = 0; i < rows; ++i) {
    result.insert(result.end(), a.begin() + i * m, a.begin() + (i + 1) * m);
    result.insert(result.end(), b.begin() + i * n, b.begin() + (i + 1) * n);
  }
  return result;
}
Numbers half(const Numbers& x, Index rows, bool second) {
  Numbers result;
  Index n = static_cast<Index>(x.size()) / rows / 2;
  for (Index i = 0; i < rows; ++i)
    result.insert(result.end(), x.begin() + (2 * i + (second ? 1 : 0)) * n, x.begin() + (2 * i + (second ? 2 : 1)) * n);
  return result;
}

/// A layer in both directions, from zeros, without a loss on the last state: y [T,B,2H], gradients prefixed by direction.
LayerResult both(const Layer& layer, const std::vector<std::string>& names, const Extents& e, const Named (&w)[2], const Numbers& x,
                 const Numbers& dy) {
  Named zero;
  for (const auto& n : names) zero[n] = nothing(e.B * e.H);
  Index rows = e.T * e.B;
  LayerResult forward = layer(e, w[0], x, zero, {half(dy, rows, false), zero});
  LayerResult backward = layer(e, w[1], reversed(x, e.T), zero, {reversed(half(dy, rows, true), e.T), zero});
  LayerResult r{joined(forward.y, reversed(backward.y, e.T), rows), {}, {}};
  for (auto& [name, g] : forward.gradients) r.gradients["0." + name] = g;
  for (auto& [name, g] : backward.gradients) r.gradients["1." + name] = g;
  Numbers dx = forward.gradients.at("x"), back = reversed(backward.gradients.at("x"), e.T);
  for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += back[i];
  r.gradients["x"] = dx;
  return r;
}

template <class Cell>
void check_stack(const std::string& cell, Index T, const Layer& layer) {
  CAPTURE(cell);
  seed(12);
  const Extents e{T, 2, 3, 4}, upper{T, 2, 8, 4};
  nn::Recurrent<Cell> network(e.I, e.H, {.layers = 2, .bidirectional = true});
  shrink(network);
  Variable x = drawn({e.T, e.B, e.I}), wy = drawn({e.T, e.B, 2 * e.H});
  auto [y, last] = network(x);
  auto loss = sum(y * wy);
  auto dx = gradients(loss, x);
  backward(loss);

  auto list = parameters(network);
  auto names = state_names(cell);
  Named bottom[2] = {{}, weights_of(list, "0.reverse.")}, top[2] = {{}, weights_of(list, "1.reverse.")};
  for (const auto& [name, value] : weights_of(list, "0."))
    if (!name.starts_with("reverse")) bottom[0][name] = value;
  for (const auto& [name, value] : weights_of(list, "1."))
    if (!name.starts_with("reverse")) top[0][name] = value;
  Numbers first = both(layer, names, e, bottom, doubles(x.value()), nothing(e.T * e.B * 2 * e.H)).y;
  LayerResult above = both(layer, names, upper, top, first, doubles(wy.value()));
  LayerResult below = both(layer, names, e, bottom, doubles(x.value()), above.gradients.at("x"));
  check_same(y, above.y, "y");
  check_same(dx, below.gradients.at("x"), "dx");
  for (const auto& p : list) {
    bool reverse = p.name.find("reverse") != std::string::npos;
    auto name = (reverse ? "1." : "0.") + p.name.substr(p.name.rfind('.') + 1);
    check_same(p.place.gradient(), (p.name[0] == '0' ? below : above).gradients.at(name), "d " + p.name);
  }
  CHECK(network.output(last).shape() == Shape{e.B, 2 * e.H});
  Variable forward_end = slice(select(y, 0, T - 1), -1, 0, e.H), backward_end = slice(select(y, 0, 0), -1, e.H, e.H);
  check_same(network.output(last), doubles(concatenate({forward_end, backward_end}).value()), "output");
}

}  // namespace

TEST_CASE("equations: RnnCell, tanh and relu, values and gradients through time") {
  for (const auto& e : {short_one, long_one}) {
    check_layer<nn::RnnCell>("RnnCell", e, {}, rnn(false));
    check_layer<nn::RnnCell>("RnnCell", e, {.cell = {.activation = nn::Activation::relu}}, rnn(true));
  }
}

TEST_CASE("equations: LstmCell, values and gradients through time") {
  for (const auto& e : {short_one, long_one}) check_layer<nn::LstmCell>("LstmCell", e, {}, lstm_layer);
}

TEST_CASE("equations: GruCell, reset before and after the product, values and gradients through time") {
  for (const auto& e : {short_one, long_one}) {
    check_layer<nn::GruCell>("GruCell", e, {.cell = {.reset = nn::Reset::before}}, gru(true));
    check_layer<nn::GruCell>("GruCell", e, {.cell = {.reset = nn::Reset::after}}, gru(false));
  }
}

TEST_CASE("equations: two layers in both directions") {
  check_stack<nn::RnnCell>("RnnCell", 9, rnn(false));
  check_stack<nn::LstmCell>("LstmCell", 9, lstm_layer);
  check_stack<nn::GruCell>("GruCell", 9, gru(false));
  check_stack<nn::LstmCell>("LstmCell", 200, lstm_layer);
}

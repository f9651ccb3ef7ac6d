#include <rewind/nn/linear.hpp>
#include <rewind/nn/lstm.hpp>
#include <rewind/optim/adam.hpp>
#include <rewind/train/checkpoint.hpp>

#include <fstream>

#include "../support.hpp"

using namespace rw;
using test::error_text;

namespace {

struct Pair {
  nn::Linear first, second;
  Pair(Index in, Index out) : first(in, out), second(out, in) {}
  REWIND_FIELDS(first, second)
};

/// A gradient without a tape: something for an optimizer to do.
void give_gradients(const Pair& model) {
  for (const auto& [name, place] : parameters(model)) place.set_gradient(Variable(random::normal(place.value().shape())));
}

struct Nested {
  Variable h;
  std::vector<std::pair<Variable, Variable>> layers;
  std::array<Variable, 2> two;
};

bool same(const Pair& a, const Pair& b) {
  const NamedTensors x = named_tensors(a), y = named_tensors(b);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!identical(x[i].second, y[i].second)) return false;
  return true;
}

Tensor symbols() { return Tensor::arange(50, DType::i32); }

}  // namespace

TEST_CASE("checkpoint: everything comes back, and training goes on bit for bit") {
  test::Scratch scratch;
  const std::string path = scratch.file("last");
  seed(5);
  Pair model(3, 4);
  optim::Adam adam(parameters(model), {.rate = 0.1});
  train::Stream stream(symbols(), {.batch = 2, .time = 3});
  nn::Lstm::State state{{{Tensor::full({2, 4}, 1), Tensor::full({2, 4}, 2)}, {Tensor::full({2, 4}, 3), Tensor::full({2, 4}, 4)}}};
  train::Notes notes{{"config", "{\"a\": \"b\"}\n"}, {"empty", ""}};
  for (int i = 0; i < 3; ++i) give_gradients(model), adam.step(), stream.next();
  train::save(path, model, adam, stream, state, notes);
  const RandomKey key = generator().state();

  Pair other(3, 4);
  optim::Adam other_adam(parameters(other), {.rate = 0.1});
  train::Stream other_stream(symbols(), {.batch = 2, .time = 3});
  nn::Lstm::State other_state;
  train::Notes other_notes{{"old", "x"}};
  seed(77);
  train::load(path, other, other_adam, other_stream, other_state, other_notes);
  CHECK(same(model, other));
  CHECK(generator().state() == key);
  CHECK(other_adam.number() == 3);
  CHECK(other_stream.position() == stream.position());
  CHECK(other_notes == notes);
  REQUIRE(other_state.cells.size() == 2);
  CHECK(other_state.cells[1].c.value().at({0, 0}) == 4);
  CHECK(other_state.cells[0].h.value().at({1, 3}) == 1);

  give_gradients(model), adam.step();
  generator().restore(key);
  give_gradients(other), other_adam.step();
  CHECK(same(model, other));
}

TEST_CASE("checkpoint: states of any shape, also empty ones") {
  test::Scratch scratch;
  const Variable v(Tensor::full({2}, 7));
  Nested state{v, {{v, v}, {v, v}, {v, v}}, {v, {}}}, empty, found{v, {}, {v, v}}, none = state;
  train::save(scratch.file("a"), state, empty);
  train::load(scratch.file("a"), found, none);
  CHECK(found.layers.size() == 3);
  CHECK(found.layers[2].second.value().at({1}) == 7);
  CHECK(found.two[1].empty());
  CHECK(every_empty(none));
  CHECK(none.layers.empty());
}

TEST_CASE("checkpoint: a random key of 64 bits comes back exactly") {
  test::Scratch scratch;
  seed(0xfedcba9876543211u);
  generator().next();
  train::save(scratch.file("a"));
  seed(1);
  train::load(scratch.file("a"));
  CHECK(generator().state() == RandomKey{0xfedcba9876543211u, 1});
}

TEST_CASE("checkpoint: the weights' file by itself") {
  test::Scratch scratch;
  Pair a(3, 4), b(3, 4);
  io::save_safetensors(scratch.file("model"), named_tensors(a));
  train::load_parameters(train::Checkpoint::read(scratch.file("model")), "", parameters(b));
  CHECK(same(a, b));
}

TEST_CASE("checkpoint: what does not fit is named, and nothing is changed") {
  test::Scratch scratch;
  const std::string path = scratch.file("last");
  Pair small(3, 4), large(3, 5);
  optim::Adam adam(parameters(small)), other(parameters(large));
  train::Stream stream(symbols(), {.batch = 2, .time = 3}), moved(symbols(), {.batch = 2, .time = 3});
  for (int i = 0; i < 10; ++i) moved.next();
  train::save(path, small, adam, moved);
  const Pair before = copy(large);
  CHECK(error_text<ShapeError>([&] { train::load(path, large, other, stream); }) ==
        "load: " + path + ": parameter first.weight is [3, 4] in the file, [3, 5] in the model (same sizes as when it was saved?)");
  CHECK(same(large, before));
  CHECK(stream.position() == 0);

  nn::Linear linear(3, 4);
  CHECK(error_text<IoError>([&] { train::load(path, linear); }) ==
        "load: " + path + ": parameter weight is not in the file (same layers as when it was saved?)");
  train::save(path, linear);
  struct One {
    Parameter weight{Shape{3, 4}};
    REWIND_FIELDS(weight)
  } one;
  CHECK(error_text<IoError>([&] { train::load(path, one); }) ==
        "load: " + path + ": parameter bias of the file is not in the model (same layers as when it was saved?)");
  CHECK(error_text<IoError>([&] { train::load(path, linear, stream); }) ==
        "load: " + path + ": no tensor stream in the file (was it saved from the same pieces?)");

  train::Stream shorter(Tensor::arange(20, DType::i32), {.batch = 2, .time = 3});
  train::save(path, moved);
  CHECK(error_text<ValueError>([&] { train::load(path, shorter); }) ==
        "stream: position 30 lies outside the text of 20 symbols (is it the same text?)");

  io::save_safetensors(path, {{"random", Tensor::zeros({2})}});
  CHECK(error_text<IoError>([&] { train::load(path); }) ==
        "load: " + path + ": random is f32 [2] in the file, not i64 [2] (was it saved by train::save?)");
  io::save_safetensors(path, {{"random", Tensor::zeros({2}, DType::i64)}, {"stream", Tensor::zeros({2})}});
  CHECK(error_text<IoError>([&] { train::load(path, stream); }) ==
        "load: " + path + ": stream is f32 [2] in the file, not one i64 (was it saved from the same pieces?)");
  std::ofstream(path) << "broken";
  CHECK_THROWS_AS(train::load(path, stream), IoError);
  CHECK_THROWS_AS(train::load(scratch.file("none"), stream), IoError);
}

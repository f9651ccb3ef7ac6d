#include <rewind/train/stream.hpp>
#include <rewind/train/text.hpp>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;
using test::doubles;
using test::error_text;

namespace {
Tensor row(Index n) { return Tensor::arange(n, DType::i32); }
}  // namespace

template <class S>
concept HasEpoch = requires(S&& s) {
  std::forward<S>(s).epoch();
};
static_assert(HasEpoch<Stream&> && !HasEpoch<Stream>, "an epoch of a temporary stream would dangle");

TEST_CASE("stream: y follows x, and each column goes on where it ended") {
  Stream stream(row(10), {.batch = 2, .time = 3});
  CHECK(stream.batches() == 1);
  Batch first = stream.next();
  CHECK(first.x.shape() == Shape{3, 2});
  CHECK(first.x.dtype() == DType::i32);
  CHECK(doubles(first.x) == std::vector<double>{0, 5, 1, 6, 2, 7});
  CHECK(doubles(first.y) == std::vector<double>{1, 6, 2, 7, 3, 8});
  Batch second = stream.next();
  CHECK(doubles(second.x) == std::vector<double>{3, 8, 4, 9, 5, 0});
  CHECK(doubles(second.y) == std::vector<double>{4, 9, 5, 0, 6, 1});
  CHECK(stream.position() == 6);
}

TEST_CASE("stream: in N steps every column meets every symbol once, whatever N, B and T are") {
  for (Index n : {7, 12, 31})
    for (Index b : {1, 2, 3})
      for (Index t : {1, 2}) {
        Stream stream(row(n), {.batch = b, .time = t});
        std::vector<int> met(static_cast<std::size_t>(n));
        for (Index i = 0; i < n; ++i)
          for (double x : doubles(stream.next().x)) ++met[static_cast<std::size_t>(x)];
        CHECK(met == std::vector<int>(static_cast<std::size_t>(n), static_cast<int>(b * t)));
        CHECK(stream.position() == 0);
      }
}

TEST_CASE("stream: an epoch is a range, and the next one goes on") {
  Stream stream(row(20), {.batch = 3, .time = 2});
  Index batches = 0;
  for (auto [x, y] : stream.epoch()) {
    CHECK(x.at({0, 0}) == 2. * static_cast<double>(batches));
    CHECK(y.at({0, 0}) == x.at({0, 0}) + 1);
    ++batches;
  }
  CHECK(batches == 3);
  CHECK(stream.batches() == 3);
  for (auto [x, y] : stream.epoch()) {
    CHECK(x.at({0, 0}) == 6);
    break;
  }
}

TEST_CASE("stream: seek gives the same batches again") {
  Stream a(row(30), {.batch = 2, .time = 4}), b(row(30), {.batch = 2, .time = 4});
  for (int i = 0; i < 9; ++i) a.next();
  b.seek(a.position());
  for (int i = 0; i < 9; ++i) CHECK(identical(a.next().x, b.next().x));
}

TEST_CASE("stream: errors") {
  auto error = [](Index n, Index batch, Index time) {
    return error_text<ValueError>([&] { Stream(row(n), {.batch = batch, .time = time}); });
  };
  CHECK(error(6, 2, 3) == "stream: the text is shorter than a batch: 6 symbols for 2 columns of 3 steps (take fewer columns or steps)");
  CHECK(error(6, Index{1} << 62, 4) ==
        "stream: the text is shorter than a batch: 6 symbols for 4611686018427387904 columns of 4 steps (take fewer columns or steps)");
  CHECK(error(6, 0, 3) == "stream: batch and time must be positive: got 0 and 3");
  CHECK(error(6, 1, -1) == "stream: batch and time must be positive: got 1 and -1");
  CHECK(error_text<DTypeError>([] { Stream(Tensor(Shape{9}), {}); }) ==
        "stream: symbols must be i32: got f32 (Vocabulary::encode makes them)");
  CHECK(error_text<ShapeError>([] {
          Stream(Tensor(Shape{3, 3}, DType::i32), {});
        }) == "stream: symbols must have one axis: got [3, 3] (a text is one row of symbols)");
  Stream stream(row(10), {.batch = 2, .time = 3});
  CHECK(error_text<ValueError>([&] { stream.seek(10); }) ==
        "stream: position 10 lies outside the text of 10 symbols (is it the same text?)");
  CHECK(error_text<ValueError>([&] { stream.seek(-1); }) ==
        "stream: position -1 lies outside the text of 10 symbols (is it the same text?)");
}

TEST_CASE("evaluation: every symbol but the first is predicted exactly once, after its own past") {
  for (Index n : {2, 3, 17, 64, 100, 1001})
    for (Index columns : {1, 2, 5, 32})
      for (Index time : {1, 7, 64})
        for (Index warm : {0, 1, 4}) {
          const EvaluationPlan plan(row(n), {.columns = columns, .time = time, .warm = warm});
          CHECK(plan.columns() <= columns);
          std::vector<int> predicted(static_cast<std::size_t>(n)), expected(static_cast<std::size_t>(n), 1);
          expected[0] = 0;
          Index read = 0, earliest = n;
          for (Index i = 0; i < plan.batches(); ++i) {
            const EvaluationBatch batch = plan.batch(i);
            REQUIRE(batch.x.shape() == batch.y.shape());
            REQUIRE(batch.counted > 0);
            REQUIRE(batch.counted <= plan.columns());
            for (Index step = 0; step < batch.x.shape()[0]; ++step, ++read)
              for (Index column = 0; column < batch.counted; ++column) {
                REQUIRE(batch.y.at({step, column}) == batch.x.at({step, column}) + 1);
                ++predicted[static_cast<std::size_t>(batch.y.at({step, column}))];
                if (column > 0) earliest = std::min(earliest, read);
              }
          }
          CHECK(predicted == expected);
          if (plan.columns() > 1) CHECK(earliest == warm);
        }
}

TEST_CASE("evaluation: columns are contiguous, the uneven end counts in all but the last") {
  const EvaluationPlan plan(row(14), {.columns = 2, .time = 4, .warm = 1});
  CHECK(plan.columns() == 2);
  CHECK(plan.batches() == 3);
  CHECK(doubles(plan.batch(0).x) == std::vector<double>{0, 6});
  CHECK(plan.batch(0).counted == 1);
  CHECK(doubles(plan.batch(1).x) == std::vector<double>{1, 7, 2, 8, 3, 9, 4, 10});
  CHECK(doubles(plan.batch(2).y) == std::vector<double>{6, 12, 7, 13});
  const EvaluationPlan uneven(row(13), {.columns = 2, .time = 9, .warm = 1});
  CHECK(uneven.batches() == 3);
  CHECK(doubles(uneven.batch(2).x) == std::vector<double>{6, 11});
  CHECK(uneven.batch(2).counted == 1);
}

TEST_CASE("evaluation: errors") {
  auto error = [](Index n, const EvaluationOptions& options) { return error_text<ValueError>([&] { EvaluationPlan(row(n), options); }); };
  CHECK(error(1, {}) == "evaluation: nothing to predict: 1 symbols (at least 2 are needed)");
  CHECK(error(9, {.columns = 0}) == "evaluation: columns and time must be positive, warm not negative: got 0, 64 and 256");
  CHECK(error(9, {.time = 0}) == "evaluation: columns and time must be positive, warm not negative: got 32, 0 and 256");
  CHECK(error(9, {.warm = -1}) == "evaluation: columns and time must be positive, warm not negative: got 32, 64 and -1");
}

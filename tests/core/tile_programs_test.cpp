// Programs that layers are made of, on the tile machine: softmax, layer norm, cross entropy, embeddings, dropout masks, conversions.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <rewind/core/random.hpp>
#include <string>

#include "core/tile_support.hpp"

using namespace rw;
using namespace rw::test;

namespace {

template <class T>
void check_normalised(Isa isa, Index rows, Index columns, double tolerance) {
  DType dtype = dtype_of<T>();
  auto x = random_buffer(dtype, static_cast<std::size_t>(rows * columns), 5);
  Buffer soft(dtype, static_cast<std::size_t>(rows * columns)), norm = soft, count(dtype, 1);
  count.set(0, static_cast<double>(columns));
  Builder b(dtype);
  int in = b.load(b.operand(dtype));
  int n = b.load(b.operand(dtype), true);
  b.store(softmax(b, in), b.operand(dtype));
  int mean = b.apply<op::Divide>(b.reduce(Kind::sum, in), n, -1, true);
  int centred = b.apply<op::Subtract>(in, mean);
  int variance = b.apply<op::Divide>(b.reduce(Kind::sum, b.apply<op::Square>(centred)), n, -1, true);
  int scale = b.apply<op::Rsqrt>(
      b.apply<op::Add>(variance, b.apply<op::Reciprocal>(b.apply<op::Exp>(n, -1, -1, true), -1, -1, true), -1, true), -1, -1, true);
  b.store(b.apply<op::Multiply>(centred, scale), b.operand(dtype));
  Operand operands[] = {operand(x, {columns, 1}), operand(count, {0, 0}), operand(soft, {columns, 1}), operand(norm, {columns, 1})};
  Machine(b.program, isa).run({rows, columns}, operands, false);
  double worst = 0;
  for (Index r = 0; r < rows; ++r) {
    long double top = -HUGE_VALL, total = 0, sum = 0, squares = 0;
    for (Index c = 0; c < columns; ++c) top = std::fmax(top, static_cast<long double>(x.get(r * columns + c)));
    for (Index c = 0; c < columns; ++c) {
      total += std::exp(x.get(r * columns + c) - top);
      sum += x.get(r * columns + c);
    }
    for (Index c = 0; c < columns; ++c) squares += std::pow(x.get(r * columns + c) - sum / columns, 2);
    long double scale_wanted = 1 / std::sqrt(squares / columns + std::exp(static_cast<long double>(-columns)));
    for (Index c = 0; c < columns; ++c) {
      long double s = std::exp(x.get(r * columns + c) - top) / total, l = (x.get(r * columns + c) - sum / columns) * scale_wanted;
      double e =
          static_cast<double>(std::fabs(soft.get(r * columns + c) - s) / s) + static_cast<double>(std::fabs(norm.get(r * columns + c) - l));
      if (!(e <= worst)) worst = e;
    }
  }
  CHECK_MESSAGE(worst <= tolerance, std::string(name(isa)) << " " << rows << " x " << columns << ": " << worst);
}

}  // namespace

TEST_CASE("tile: softmax and layer norm of short and long rows") {
  for_isas([](Isa isa) {
    for (Index columns : {1, 7, 256, 1000, 10000, 50000}) {
      check_normalised<float>(isa, columns > 1000 ? 2 : 9, columns, 2e-5);
      check_normalised<double>(isa, columns > 1000 ? 2 : 9, columns, 2e-14);
    }
  });
}

TEST_CASE("tile: cross entropy picks the target's logit by a narrow gather, and its gradient compares columns") {
  for_isas([](Isa isa) {
    for (Index classes : {3, 65, 30000}) {
      Index rows = 5;
      auto logits = random_buffer(DType::f32, static_cast<std::size_t>(rows * classes), 11);
      Buffer targets(DType::i64, 5), loss(DType::f32, 5), gradient(DType::f32, static_cast<std::size_t>(rows * classes));
      for (Index r = 0; r < rows; ++r) targets.set(r, static_cast<double>((r * 7 + 2) % classes));
      Builder b(DType::f32);
      int x = b.load(b.operand(DType::f32));
      int picks = b.operand(DType::f32), rows_of = b.operand(DType::i64);
      int target = b.add({.kind = Kind::gather, .narrow = true, .operand = picks, .index = rows_of});
      int number = b.load(rows_of, true);
      int top = b.reduce(Kind::max, x);
      int e = b.apply<op::Exp>(b.apply<op::Subtract>(x, top));
      int total = b.reduce(Kind::sum, e);
      int log_total = b.apply<op::Add>(b.apply<op::Log>(total, -1, -1, true), top, -1, true);
      b.store(b.apply<op::Subtract>(log_total, target, -1, true), b.operand(DType::f32));
      int hit = b.apply<op::Equal>(b.add({.kind = Kind::column}), number);
      b.store(b.apply<op::Subtract>(b.apply<op::Divide>(e, total), hit), b.operand(DType::f32));
      Operand operands[] = {operand(logits, {classes, 1}), operand(logits, {classes, 0}), operand(targets, {1, 0}), operand(loss, {1, 0}),
                            operand(gradient, {classes, 1})};
      operands[1].rows = classes;
      operands[1].across = 1;
      Machine(b.program, isa).run({rows, classes}, operands, false);
      for (Index r = 0; r < rows; ++r) {
        long double sum = 0;
        Index t = static_cast<Index>(targets.get(r));
        for (Index c = 0; c < classes; ++c) sum += std::exp(static_cast<long double>(logits.get(r * classes + c)));
        CHECK(test::close(loss.get(r), static_cast<double>(std::log(sum) - logits.get(r * classes + t)), 3e-6));
        for (Index c = 0; c < classes; c += 1 + classes / 50)
          CHECK(test::close(gradient.get(r * classes + c),
                            static_cast<double>(std::exp(static_cast<long double>(logits.get(r * classes + c))) / sum) - (c == t), 3e-6));
      }
    }
  });
}

TEST_CASE("tile: random numbers are those of their stream, whatever the strides") {
  RandomKey key{77, 3};
  std::vector<float> uniform(400);
  std::vector<double> normal(400);
  fill_uniform(key, 10, uniform.data(), 400);
  fill_normal(key, 10, normal.data(), 400);
  Buffer words(DType::i64, 2);
  words.set(0, 77);
  words.set(1, 3);
  struct Case {
    Index row, column;
  };
  for (auto [row, column] : {Case{20, 1}, Case{30, 1}, Case{1, 10}, Case{0, 1}, Case{1, 0}, Case{0, 0}})
    for (bool wide : {false, true}) {
      DType dtype = wide ? DType::f64 : DType::f32;
      Builder b(dtype);
      int drawn = b.add({.kind = wide ? Kind::normal : Kind::uniform, .operand = b.operand(DType::i64)});
      b.store(drawn, b.operand(dtype));
      Buffer out(dtype, 200);
      Operand operands[] = {operand(words, {row, column}), operand(out, {20, 1})};
      operands[0].counter = 10;
      Machine(b.program).run({10, 20}, operands, false);
      for (Index r = 0; r < 10; ++r)
        for (Index c = 0; c < 20; ++c) {
          auto e = static_cast<std::size_t>(r * row + c * column);
          CHECK(out.get(r * 20 + c) == (wide ? normal[e] : static_cast<double>(uniform[e])));
        }
    }
}

TEST_CASE("tile: gathers rows, by one index a row or a point, and checks them first") {
  auto table = random_buffer(DType::f64, 7 * 5, 41);
  Buffer index(DType::i32, 12), out(DType::f32, 12 * 5);
  for (Index i = 0; i < 12; ++i) index.set(i, static_cast<double>(i * 5 % 7));
  Builder b(DType::f32);
  int data = b.operand(DType::f64), rows = b.operand(DType::i32);
  b.store(b.add({.kind = Kind::gather, .operand = data, .index = rows}), b.operand(DType::f32));
  Machine tile(b.program);
  Operand by_row[] = {operand(table, {0, 0, 1}), operand(index, {4, 1, 0}), operand(out, {20, 5, 1})};
  by_row[0].rows = 7;
  by_row[0].across = 5;
  tile.run({3, 4, 5}, by_row, false);
  for (Index i = 0; i < 12; ++i)
    for (Index c = 0; c < 5; ++c) CHECK(out.get(i * 5 + c) == static_cast<float>(table.get(i * 5 % 7 * 5 + c)));
  Operand by_point[] = {operand(table, {0, 1}), operand(index, {4, 1}), operand(out, {4, 1})};
  by_point[0].rows = 7;
  by_point[0].across = 5;
  tile.run({3, 4}, by_point, false);
  for (Index i = 0; i < 12; ++i) CHECK(out.get(i) == static_cast<float>(table.get(i * 5 % 7 * 5 + i % 4)));
  auto before = out.bytes;
  for (int wrong : {7, 70, -1}) {
    index.set(11, wrong);
    CHECK(test::error_text<ValueError>([&] {
            tile.run({3, 4}, by_point, false);
          }) == "gather: index " + std::to_string(wrong) + " lies outside 0 .. 6");
  }
  CHECK(out.bytes == before);
  tile.run({3, 4}, by_point, 0, 2);  // the rows at hand are in order
}

TEST_CASE("tile: reductions of max and min give NaN if there is one") {
  for_isas([](Isa isa) {
    for (Index columns : {1, 3, 40, 300, 1000})
      for (Index at : {Index(0), columns / 2, columns - 1}) {
        auto x = random_buffer(DType::f32, static_cast<std::size_t>(columns), 51);
        Buffer out(DType::f32, 2);
        Builder b(DType::f32);
        int in = b.load(b.operand(DType::f32));
        b.store(b.reduce(Kind::max, in), b.operand(DType::f32));
        b.store(b.reduce(Kind::min, in), b.operand(DType::f32));
        Operand operands[] = {operand(x, {columns, 1}), operand(out, {1, 0}), operand(out, {1, 0}, 1)};
        Machine tile(b.program, isa);
        tile.run({1, columns}, operands, false);
        double top = -HUGE_VAL, low = HUGE_VAL;
        for (Index i = 0; i < columns; ++i) top = std::fmax(top, x.get(i)), low = std::fmin(low, x.get(i));
        CHECK((out.get(0) == top && out.get(1) == low));
        x.set(at, NAN);
        tile.run({1, columns}, operands, false);
        CHECK((std::isnan(out.get(0)) && std::isnan(out.get(1))));
      }
  });
}

TEST_CASE("tile: stores to integers saturate, to bool say what is not zero") {
  const double in[] = {0, 1.9, -1.9, 1e30, -1e30, NAN, HUGE_VAL, 0.25, 2147483648.0, -2147483649.0, 7, -0.0};
  const double as_i32[] = {0, 1, -1, 2147483647, -2147483648.0, 0, 2147483647, 0, 2147483647, -2147483648.0, 7, 0};
  const double truth[] = {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0};
  for_isas([&](Isa isa) {
    for (DType dtype : {DType::f32, DType::f64}) {
      Buffer x(dtype, 12), i32(DType::i32, 12), i64(DType::i64, 12), truths(DType::boolean, 12);
      for (Index i = 0; i < 12; ++i) x.set(i, in[i]);
      Builder b(dtype);
      int v = b.load(b.operand(dtype));
      for (DType to : {DType::i32, DType::i64, DType::boolean}) b.store(v, b.operand(to));
      Operand operands[] = {operand(x, {1}), operand(i32, {1}), operand(i64, {1}), operand(truths, {1})};
      Machine(b.program, isa).run({12}, operands, false);
      for (Index i = 0; i < 12; ++i) {
        if (dtype == DType::f64 || i < 8) CHECK(i32.get(i) == as_i32[i]);
        CHECK(truths.get(i) == truth[i]);
      }
      std::int64_t wide[12];
      std::memcpy(wide, i64.bytes.data(), sizeof wide);
      CHECK((wide[3] == INT64_MAX && wide[4] == INT64_MIN && wide[5] == 0 && wide[2] == -1));
    }
  });
}

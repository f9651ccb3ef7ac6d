// Totals of columns: of all rows, and of groups of rows.
#include <algorithm>
#include <cmath>
#include <rewind/core/team.hpp>

#include "core/tile_support.hpp"

using namespace rw;
using namespace rw::test;

TEST_CASE("tile: totals are one chain a column, row after row, whatever the division") {
  const int before = threads();
  constexpr Index most = 9000;  // chunks
  for (Index columns : {Index(1), Index(3), Index(100), Index(700), most})
    for (bool backward : {false, true}) {
      const Index steps = 3, rows = 5;
      auto size = static_cast<std::size_t>(steps * rows * columns);
      auto x = random_buffer(DType::f32, size, 71), scale = random_buffer(DType::f32, 15, 72), row = random_buffer(DType::f32, most, 73);
      Builder b(DType::f32);
      int in = b.load(b.operand(DType::f32)), a = b.load(b.operand(DType::f32), true), bias = b.load(b.operand(DType::f32));
      int scaled = b.apply<op::Multiply>(in, a);
      b.add({.kind = Kind::total, .a = in, .operand = b.operand(DType::f32)});
      b.add({.kind = Kind::total, .a = scaled, .operand = b.operand(DType::f32)});
      b.add({.kind = Kind::total, .a = bias, .operand = b.operand(DType::f32)});
      b.store(b.apply<op::Add>(scaled, bias), b.operand(DType::f32));
      // From the last step to the first, rows ascending in each: as the first of the sums of a loop's gradient.
      Index step = backward ? -1 : 1, first = backward ? steps - 1 : 0;
      std::vector<float> want[3];
      auto start = random_buffer(DType::f32, 3 * most, 74);
      for (Index t = 0; t < 3; ++t)
        for (Index c = 0; c < columns; ++c) {
          auto sum = static_cast<float>(start.get(t * most + c));
          for (Index s = first; s >= 0 && s < steps; s += step)
            for (Index r = 0; r < rows; ++r) {
              auto at = static_cast<float>(x.get((s * rows + r) * columns + c)), by = static_cast<float>(scale.get(s * rows + r));
              sum += t == 0 ? at : t == 1 ? at * by : static_cast<float>(row.get(c));
            }
          want[t].push_back(sum);
        }
      for_isas([&](Isa isa) {
        Machine tile(b.program, isa);
        for (int way = 0; way < 4; ++way) {
          CAPTURE(columns);
          CAPTURE(way);
          auto totals = start;
          Buffer out(DType::f32, size);
          Index whole = rows * columns;
          Operand operands[] = {operand(x, {step * whole, columns, 1}, first * whole),
                                operand(scale, {step * rows, 1, 0}, first * rows),
                                operand(row, {0, 0, 1}),
                                operand(totals, {0, 0, 1}),
                                operand(totals, {0, 0, 1}, most),
                                operand(totals, {0, 0, 1}, 2 * most),
                                operand(out, {step * whole, columns, 1}, first * whole)};
          Shape space{steps, rows, columns};
          set_threads(way == 3 ? 3 : 1);
          if (way == 0) tile.run(space, operands, false);
          if (way == 1)
            for (Index r = 0; r < steps * rows; ++r) tile.run(space, operands, r, r + 1);
          if (way == 2)
            for (Index r = 0; r < steps * rows; r += 7) tile.run(space, operands, r, std::min(r + 7, steps * rows));
          if (way == 3) tile.run(space, operands, true);
          int wrong = 0;
          for (Index t = 0; t < 3; ++t)
            for (Index c = 0; c < most; ++c)
              wrong += totals.get(t * most + c) !=
                       (c < columns ? static_cast<double>(want[t][static_cast<std::size_t>(c)]) : start.get(t * most + c));
          for (std::size_t i = 0; i < size; ++i) {
            auto n = static_cast<Index>(i);
            auto product = static_cast<float>(x.get(n)) * static_cast<float>(scale.get(n / columns));
            wrong += out.get(n) != static_cast<double>(product + static_cast<float>(row.get(n % columns)));
          }
          CHECK(wrong == 0);
        }
      });
    }
  set_threads(before);
}

TEST_CASE("tile: each group of rows has totals of its own, the same whatever the division") {
  const int before = threads();
  for (DType dtype : {DType::f32, DType::f64})
    for (Index columns : {1, 2, 5, 8, 17, 31, 64, 100, 128, 257, 512, 30000})
      for (Index group : {1, 2, 4, 5, 30}) {
        if (columns == 30000 && group != 4) continue;  // chunks
        const Index steps = 2, rows = 11, all = steps * rows;
        const Index turns = columns % 4 == 1 ? 3 : 0, groups = turns ? turns : (all + group - 1) / group;  // the first sum goes on, or not
        const auto size = static_cast<std::size_t>(all * columns);
        auto x = random_buffer(dtype, size, 75), scale = random_buffer(dtype, 22, 76);
        Builder b(dtype);
        const int in = b.load(b.operand(dtype)), a = b.load(b.operand(dtype), true), mean = b.reduce(Kind::sum, in);
        const int scaled = b.apply<op::Multiply>(in, a), shifted = b.apply<op::Subtract>(b.apply<op::Tanh>(scaled), mean);
        const int out = b.operand(dtype);
        b.store(shifted, out);
        for (int value : {in, scaled, shifted}) b.add({.kind = Kind::total, .a = value, .operand = b.operand(dtype), .group = group});
        const Index across = columns + 3, by_step = columns % 2 ? rows : 0;  // 0: rows along two axes that do not join
        const auto start = random_buffer(dtype, static_cast<std::size_t>(3 * groups * across), 77);
        for_isas([&](Isa isa) {
          Machine tile(b.program, isa);
          for (int way = 0; way < 4; ++way) {
            CAPTURE(columns);
            CAPTURE(group);
            CAPTURE(way);
            Buffer totals = start, made(dtype, size);
            std::vector<Operand> operands{operand(x, {rows * columns, columns, 1}), operand(scale, {by_step, 1, 0}),
                                          operand(made, {rows * columns, columns, 1})};
            for (Index t = 0; t < 3; ++t) {
              operands.push_back(operand(totals, {0, 0, 1}, t * groups * across));
              operands.back().across = across;
              operands.back().rows = turns;
            }
            const Shape space{steps, rows, columns};
            set_threads(way == 3 ? 3 : 1);
            if (way == 0) tile.run(space, operands.data(), false);
            if (way == 1)
              for (Index r = 0; r < all; ++r) tile.run(space, operands.data(), r, r + 1);
            if (way == 2)
              for (Index r = 0; r < all; r += 7) tile.run(space, operands.data(), r, std::min(r + 7, all));
            if (way == 3) tile.run(space, operands.data(), true);
            int wrong = 0;
            for (Index t = 0; t < 3; ++t)
              for (Index g = 0; g < groups; ++g)
                for (Index c = 0; c < across; ++c) {
                  const Index at_sum = (t * groups + g) * across + c;
                  visit(dtype, [&](auto zero) {
                    auto sum = static_cast<decltype(zero)>(start.get(at_sum));
                    for (Index r = 0; r < all && c < columns; ++r) {
                      if (r / group % groups != g) continue;
                      const auto at = static_cast<decltype(zero)>(x.get(r * columns + c));
                      sum += t == 0   ? at
                             : t == 1 ? at * static_cast<decltype(zero)>(scale.get(by_step ? r : r % rows))
                                      : static_cast<decltype(zero)>(made.get(r * columns + c));
                    }
                    wrong += !(totals.get(at_sum) == static_cast<double>(sum));
                  });
                }
            CHECK(wrong == 0);
          }
        });
      }
  set_threads(before);
}

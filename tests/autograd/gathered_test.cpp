// Gradients through rows of a small table: products of sums by index. The reference takes the rows by a product with ones and zeros, which
// no rule knows.
#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/matmul.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/team.hpp>

#include <functional>

#include "compare.hpp"
#include "lstm.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Rows = std::function<Variable(const Variable& table, const Variable& index)>;
using List = std::vector<Variable>;

Variable tokens(const Shape& shape, Index rows, DType dtype = DType::i64) {
  Tensor t(shape, DType::i64);
  for (Index i = 0; i < t.size(); ++i) t.data<std::int64_t>()[i] = (i * i + 3 * i + i / 5) % rows;
  return t.cast(dtype);
}

Variable one_hot(const Variable& table, const Variable& index) {
  Shape shape = index.shape();
  shape.push_back(table.shape()[0]);
  return matmul(cast(equal(newaxis(cast(index, table.dtype()), -1), positions(shape, table.dtype())), table.dtype()), table);
}

/// How often an operation of this result stands in the recorded gradients, bodies included.
std::size_t count(const List& outputs, const std::string& operation, const std::string& type) {
  const std::string text = to_string(recorded(outputs).program);
  std::size_t n = 0;
  for (auto at = text.find("= " + operation + "("); at != std::string::npos; at = text.find("= " + operation + "(", at + 1)) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    n += line.size() >= type.size() && line.compare(line.size() - type.size(), type.size(), type) == 0;
  }
  return n;
}

/// Gradients by each of `in` of a loss made by `f`, with rows taken by gather and by products: how far they lie apart.
double apart(const std::function<Variable(const Rows&)>& f, const List& in) {
  const auto rows = detail::gradients(f([](auto& t, auto& i) { return gather(t, i); }), in);
  const auto products = detail::gradients(f(one_hot), in);
  return worst(rows, products);
}

constexpr Index steps = 6, batch = 4, vocabulary = 5, width = 3, hidden = 7;

struct Model {
  Variable table = draw({vocabulary, width}), index = tokens({steps, batch}, vocabulary);
  Lstm lstm{width, hidden, f64};
  State start{draw({batch, hidden}), draw({batch, hidden})};
  List in{table, lstm.wx, lstm.wh, lstm.b, start.h};

  Variable loss(const Rows& rows, const ScanOptions& options = {}) const {
    auto [last, ys] = scan(
        [&](const State& s, const Variable& x) {
          auto n = lstm_step(x, s, lstm.wx, lstm.wh, lstm.b);
          return std::pair{n, n.h};
        },
        start, rows(table, index), options);
    return sum(square(ys)) + sum(last.c);
  }
};

}  // namespace

TEST_CASE("gathered: gradients of a product of rows are products of the table's rows") {
  seed(31);
  const Variable table = draw({3, 4}), w = draw({4, 5}), t = draw({5, 4});
  for (DType dtype : {DType::i64, DType::i32})
    for (const Shape& shape : {Shape{6}, Shape{2, 3}, Shape{2, 1, 5}}) {
      const Variable index = tokens(shape, 3, dtype);
      CHECK(apart([&](auto& rows) { return sum(tanh(matmul(rows(table, index), w))); }, {table, w}) < 1e-13);
      CHECK(apart([&](auto& rows) { return sum(tanh(detail::product(rows(table, index), t, false, true))); }, {table, t}) < 1e-13);
      CHECK(apart([&](auto& rows) { return sum(tanh(matmul(reshape(rows(table, index), {index.size(), 4}), w))); }, {table, w}) < 1e-13);
      const auto of = [&](const List& v) { return sum(sin(matmul(gather(v[0], index), v[1]))); };
      const auto report = gradcheck(of, {table, w}, {.second_order = true});
      CHECK_MESSAGE(report.passed, report.message);
      const auto g = detail::gradients(of({table, w}), List{table, w});
      CHECK(count(g, "matmul", "f64 [4, 5]") == 1);
      CHECK(count(g, "scatter_add", "f64 [3, 5]") == 1);
      CHECK(count(g, "scatter_add", "f64 [3, 4]") == 0);
      CHECK(against_reference(g, 1e-14) == "");
    }
}

TEST_CASE("gathered: rows that are read elsewhere too, of which one more gradient is asked, or whose table is fixed") {
  seed(32);
  const Variable table = draw({3, 4}), w = draw({4, 5}), index = tokens({8}, 3);
  CHECK(apart(
            [&](auto& rows) {
              auto x = rows(table, index);
              return sum(tanh(matmul(x, w))) + sum(square(x)) + sum(sin(matmul(x, 2 * w)));
            },
            {table, w}) < 1e-13);
  const auto x = gather(table, index);
  const auto loss = sum(tanh(matmul(x, w)));
  const auto g = detail::gradients(loss, List{x, table, w});
  CHECK(g[0].shape() == Shape{8, 4});
  CHECK(worst({scatter_add(g[0], index, 3)}, {g[1]}) < 1e-14);
  const auto view = reshape(slice(x, 0, 2, 6), {2, 3, 4});
  const auto other = sum(tanh(matmul(view, w)));
  for (const Variable& one : {view, x}) {
    const auto of = detail::gradients(other, List{one, table});
    CHECK(of[0].shape() == one.shape());
    CHECK(worst({of[1]}, {detail::gradients(other, List{table})[0]}) < 1e-14);
    CHECK(worst({sum(of[0] * one)}, {sum(of[1] * table)}) < 1e-13);
  }
  const auto alone = detail::gradients(loss, List{w});
  CHECK(identical(alone[0].value(), g[2].value()));
  CHECK(worst({detail::gradients(loss, List{x})[0]}, {g[0]}) == 0);
}

TEST_CASE("gathered: large tables, those of more axes, batched operands and rows without history are as others") {
  seed(33);
  const Variable w = draw({4, 5}), index = tokens({2, 3}, 3);
  const auto sums = [&](const Variable& x, const Variable& y) {
    return count(detail::gradients(sum(tanh(y)), List{x}), "scatter_add", "5]");
  };
  const Variable table = draw({3, 4}), large = draw({4, 4}), deep = draw({3, 2, 4});
  CHECK(sums(w, matmul(gather(table, index), w)) == 1);
  CHECK(sums(w, matmul(gather(large, index), w)) == 0);
  CHECK(sums(w, matmul(gather(deep, index), w)) == 0);
  CHECK(sums(table, matmul(gather(table, index), draw({2, 4, 5}))) == 0);
  CHECK(sums(w, matmul(detach(gather(table, index)), w)) == 0);
  CHECK(sums(w, matmul(2 * gather(table, index), w)) == 0);
  CHECK(sums(w, matmul(slice(gather(table, index), 0, 0, 1), w)) == 0);  // three rows
  const Variable narrow = draw({2, 5});
  CHECK(sums(narrow, matmul(slice(gather(table, index), -1, 1, 2), narrow)) == 0);
  for (bool early : {false, true}) {
    Variable x;
    {
      NoGrad guard;
      x = gather(table, index);
      if (early) x.value();
    }
    CHECK(sums(w, matmul(x, w)) == 0);
  }
  CHECK(apart([&](auto& rows) { return sum(tanh(matmul(reshape(rows(reshape(deep, {3, 8}), index), {12, 4}), w))); }, {deep, w}) < 1e-13);
  const Variable wrong = Tensor::of<std::int64_t>({6}, {0, 1, 2, 3, 0, 1});
  const std::string words = "row out of range: element 3 of the index is 3, the table has 3 rows (indices run from 0)";
  const auto g = detail::gradients(sum(tanh(matmul(gather(table, wrong), w))), List{w});
  CHECK(error_text<ValueError>([&] { g[0].value(); }).find(words) != std::string::npos);
}

TEST_CASE("gathered: in a loop, sums by index are what accumulates") {
  seed(34);
  const Model m;
  const auto g = detail::gradients(m.loss([](auto& t, auto& i) { return gather(t, i); }), m.in);
  CHECK(count(g, "scatter_add", "f64 [5, 28]") == 1);  // in the body
  CHECK(count(g, "scatter_add", "f64 [5, 3]") == 0);   // of the rows' own gradient
  CHECK(count(g, "matmul", "f64 [4, 3]") == 0);        // which is not made
  CHECK(against_reference(g, 1e-13) == "");
  for (bool reverse : {false, true}) {
    CHECK(apart([&](auto& rows) { return m.loss(rows, {.reverse = reverse}); }, m.in) < 1e-12);
    CHECK(apart([&](auto& rows) { return m.loss(rows, {.reverse = reverse, .checkpoint = checkpoint::every(2)}); }, m.in) < 1e-12);
  }
  for (const Checkpoint& c : {Checkpoint{}, checkpoint::every(3), checkpoint::every(4)}) {
    const auto report = gradcheck(
        [&](const List& v) {
          Model own = m;
          own.table = v[0], own.lstm.wx = v[1], own.lstm.wh = v[2];
          return own.loss([](auto& t, auto& i) { return gather(t, i); }, {.checkpoint = c});
        },
        {m.table, m.lstm.wx, m.lstm.wh}, {.second_order = true});
    CHECK_MESSAGE(report.passed, report.message);
  }
}

TEST_CASE("gathered: in a loop, cells of any wiring give the gradients of products with ones and zeros") {
  seed(35);
  const Variable table = draw({vocabulary, width}), other = draw({4, width}), index = tokens({steps, batch}, vocabulary);
  const Variable a = draw({width, width}), b = draw({width, width}), u = draw({width, width}), h = draw({batch, width});
  const Variable words = tokens({steps, batch}, 4, DType::i32);
  using Cell = std::function<Variable(const Variable& h, const Variable& x, const Variable& y)>;
  const Cell cells[] = {
      [&](auto& h, auto& x, auto&) { return tanh(matmul(x, a) + matmul(x, b) * sigmoid(matmul(x, a)) + matmul(h, u)); },
      [&](auto& h, auto& x, auto&) { return tanh(matmul(x, a) + x * matmul(h, u)); },                              // x_t itself too
      [&](auto& h, auto& x, auto&) { return tanh(detail::product(x, a, false, true) + matmul(h, u)); },            // W^T
      [&](auto& h, auto& x, auto&) { return tanh(matmul(x, tanh(a)) + matmul(h, transpose(u))); },                 // W made in the body
      [&](auto& h, auto& x, auto& y) { return tanh(matmul(x, a) + matmul(y, a) + matmul(h + x, u)); },             // two tables, a sum
      [&](auto& h, auto& x, auto&) { return tanh(matmul(x, a) + matmul(matmul(h, u), transpose(table))[0][0]); },  // the table itself too
      [&](auto& h, auto& x, auto&) {  // a loop inside, where x_t is constant
        const auto body = [&](const Variable& c, const List&) { return std::pair{tanh(matmul(x, a) + matmul(c, b)), c}; };
        return scan(body, h, List{}, {.steps = 2}).first;
      },
  };
  int number = 0;
  for (const Cell& cell : cells) {
    CAPTURE(number++);
    for (const Checkpoint& c : {Checkpoint{}, checkpoint::every(2), checkpoint::every(4)}) {
      const auto loss = [&](const Rows& rows) {
        auto [last, ys] = scan(
            [&](const Variable& h, const std::pair<Variable, Variable>& x) {
              auto n = cell(h, x.first, x.second);
              return std::pair{n, n};
            },
            h, std::pair{rows(table, index), rows(other, words)}, {.checkpoint = c});
        return sum(square(ys)) + sum(last);
      };
      CHECK(apart(loss, {table, other, a, b, u, h}) < 1e-12);
      CHECK(apart(loss, {a, h}) < 1e-12);
      CHECK(apart(loss, {table}) < 1e-12);
      CHECK(apart(
                [&](auto& rows) {
                  auto g = detail::gradients(loss(rows), List{table, a, u});
                  return sum(square(g[0])) + sum(sin(g[1])) + sum(square(g[2]));
                },
                {table, a, h}) < 1e-11);
    }
  }
}

TEST_CASE("gathered: in a loop, products with what changes from step to step, of more axes or of loops inside are as others") {
  seed(39);
  const Variable table = draw({vocabulary, width}), w = draw({width, hidden}), index = tokens({steps, 2, batch}, vocabulary);
  using Step = std::function<std::pair<Variable, Variable>(const Variable& c, const Variable& x)>;
  const auto sums = [&](const Step& step) {
    auto [last, ys] = scan(step, w, gather(table, index));
    return count(detail::gradients(sum(last) + sum(ys), List{table, w}), "scatter_add", "f64 [5, 7]");
  };
  CHECK(sums([&](auto& c, auto& x) { return std::pair{c, tanh(matmul(x[0], w))}; }) == 0);  // not all of the rows
  CHECK(sums([&](auto& c, auto& x) { return std::pair{c, tanh(matmul(reshape(x, {2 * batch, width}), w))}; }) == 1);
  CHECK(sums([&](auto& c, auto& x) { return std::pair{c, tanh(matmul(x, w))}; }) == 0);
  CHECK(sums([&](auto& c, auto& x) { return std::pair{0.9 * c, tanh(matmul(reshape(x, {2 * batch, width}), c))}; }) == 0);
  CHECK(sums([&](auto& c, auto& x) { return std::pair{c, tanh(matmul(reshape(x, {2 * batch, width}), tanh(w)))}; }) == 0);
  CHECK(sums([&](auto& c, auto& x) {
          return std::pair{c, scan(
                                  [&](const Variable& h, const Variable& x) {
                                    return std::pair{h + tanh(matmul(x, w)), h};
                                  },
                                  zeros({batch, hidden}, f64), x)
                                  .first};
        }) == 0);
}

TEST_CASE("gathered: in loops in loops, with and without checkpoints of either") {
  seed(38);
  const Variable table = draw({vocabulary, width}), wx = draw({width, width}), wh = draw({width, width}), h = draw({batch, width});
  const Variable index = tokens({4, 6, batch}, vocabulary);
  const Checkpoint none, two = checkpoint::every(2), odd = checkpoint::every(3), even = checkpoint::every(4);
  for (bool inside : {false, true}) {
    CAPTURE(inside);
    const auto loss = [&](const Rows& rows, const Checkpoint& outer, const Checkpoint& inner) {
      const auto step = [&](const Variable& h, const Variable& x) {
        auto n = tanh(matmul(x, wx) + matmul(h, wh));
        return std::pair{n, n};
      };
      const auto round = [&](const Variable& h, const Variable& x) {
        auto [last, ys] = scan(step, h, inside ? rows(table, x) : x, {.checkpoint = inner});
        return std::pair{last, sum(square(ys))};
      };
      auto [last, ys] = scan(round, h, inside ? index : rows(table, index), {.reverse = true, .checkpoint = outer});
      return sum(last) + sum(ys);
    };
    const auto by_index = [](auto& t, auto& i) { return gather(t, i); };
    const List in{table, wx, wh, h};
    const auto want = detail::gradients(loss(by_index, none, none), in);
    for (const Checkpoint& outer : {none, two, odd})
      for (const Checkpoint& inner : {none, two, even}) {
        CHECK(apart([&](auto& rows) { return loss(rows, outer, inner); }, in) < 1e-12);
        const auto got = detail::gradients(loss(by_index, outer, inner), in);
        for (std::size_t i = 0; i < in.size(); ++i) CHECK(identical(got[i].value(), want[i].value()));
      }
  }
}

TEST_CASE("gathered: in a loop, the gradient of the rows is there for who asks for it") {
  seed(36);
  const Model m;
  Variable x;
  const auto loss = m.loss([&](auto& t, auto& i) { return x = gather(t, i); });
  const auto g = detail::gradients(loss, List{x, m.table, m.lstm.wx});
  CHECK(worst({scatter_add(g[0], m.index, vocabulary), detail::gradients(loss, List{m.lstm.wx})[0]}, {g[1], g[2]}) < 1e-14);
  CHECK(worst({g[1]}, {detail::gradients(loss, List{m.table})[0]}) < 1e-13);
}

TEST_CASE("gathered: same bits whatever is read early, for any threads, checkpoints and chunks") {
  seed(37);
  const Index t = 12, rows = 5;
  const Variable index = tokens({t, 9}, rows), table = draw({rows, 16}, DType::f32);
  const Lstm first(16, 24, DType::f32), second(24, 24, DType::f32);
  const Variable head = draw({24, rows}, DType::f32), tie = draw({24, 16}, DType::f32), zero = zeros({9, 24});
  const auto run = [&](bool early, const Checkpoint& c, int team, bool hold) {
    set_threads(team);
    const auto x = gather(table, index);
    Variable held = hold ? x : Variable(0);
    const auto gates = split<4>(first.wx);
    auto layer = [&](const Variable& wx, const Lstm& l, const Variable& x) {  // the first with four products
      return scan(
          [&](const State& s, const Variable& x) {
            auto of_x = wx.empty() ? concatenate({matmul(x, gates[0]), matmul(x, gates[1]), matmul(x, gates[2]), matmul(x, gates[3])})
                                   : matmul(x, wx);
            auto [f, i, o, g] = split<4>(of_x + matmul(s.h, l.wh) + l.b);
            auto n = sigmoid(f) * s.c + sigmoid(i) * tanh(g);
            return std::pair{State{sigmoid(o) * tanh(n), n}, sigmoid(o) * tanh(n)};
          },
          State{zero, zero}, x, {.checkpoint = c});
    };
    auto y = layer(second.wx, second, layer({}, first, x).second).second;
    if (hold) held = matmul(x, first.wx);
    if (early && hold) x.value();
    auto loss = sum(square(matmul(y, head))) + sum(matmul(x, first.wx)) + sum(sin(matmul(matmul(y, tie), transpose(table))));
    if (early) loss.item();
    auto g = detail::gradients(loss, List{table, first.wx, first.wh, first.b, second.wx, head});
    if (early) g[0].value();
    std::vector<Tensor> values;
    for (auto& v : g) values.push_back(v.value());
    return values;
  };
  const int before = threads();
  const auto want = run(false, {}, 1, false);
  for (bool early : {false, true})
    for (bool hold : {false, true})
      for (const Checkpoint& c : {Checkpoint{}, checkpoint::every(1), checkpoint::every(4), checkpoint::every(5), checkpoint::every(7),
                                  checkpoint::sqrt(), checkpoint::bytes(1)})
        for (int team : {1, 2, 3}) {
          CAPTURE(early);
          CAPTURE(hold);
          CAPTURE(c.every);
          CAPTURE(team);
          const auto got = run(early, c, team, hold);
          for (std::size_t i = 0; i < got.size(); ++i) CHECK(identical(got[i], want[i]));
        }
  set_threads(before);
}

// A tape belongs to a thread; what is evaluated travels; after an exception everything is as it was.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/scan.hpp>
#include <rewind/autograd/tape.hpp>

#include <barrier>
#include <functional>
#include <memory>
#include <thread>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

void on_another_thread(const std::function<void()>& f) { std::thread(f).join(); }

double first(const Variable& v) { return v.value().at({0}); }

/// Twenty steps of gradient descent on a small recurrent model; gives all its weights.
std::vector<Tensor> train(std::uint64_t number) {
  seed(number);
  Parameter w({6, 6}), u({3, 6}), out({6, 1});
  for (int k = 0; k < 20; ++k) {
    Variable x = random::normal({5, 4, 3});
    auto [last, ys] = scan(
        [&](const Variable& h, const Variable& x) {
          auto n = tanh(matmul(h, w) + matmul(x, u)) * bernoulli({4, 6}, 0.9);
          return std::pair{n, n};
        },
        zeros({4, 6}), x);
    backward(mean(square(matmul(ys, out) - sum(x, -1, true))));
    NoGrad guard;
    std::vector<PlaceRef> places{w.place(), u.place(), out.place()};
    std::vector<Variable> next;
    for (const auto& p : places) next.push_back(p.value() - 0.05 * p.gradient());
    evaluate(next);
    for (std::size_t i = 0; i < places.size(); ++i) places[i].set_value(next[i].value()), places[i].set_gradient({});
  }
  return {w.value(), u.value(), out.value()};
}

}  // namespace

TEST_CASE("threads: a pending variable of another thread is an error that says what to do") {
  Variable pending = Variable(Tensor::full({2}, 1)) * 2;
  std::string texts;
  on_another_thread([&] {
    texts += error_text<TapeError>([&] { return pending + 1; }) + '\n';
    texts += error_text<TapeError>([&] { return pending.value(); }) + '\n';
    texts += error_text<TapeError>([&] { backward(sum(pending)); }) + '\n';
    texts += error_text<TapeError>([&] { gradients(sum(Variable(1.0)), {pending}); }) + '\n';
    CHECK((Variable(Tensor::full({2}, 1)) + 1).value().at({0}) == 2);  // the thread's own tape goes on
  });
  CHECK(texts ==
        "add: an operand is pending on another thread's tape (evaluate it there first: value())\n"
        "value: the variable is pending on another thread's tape (evaluate it there first: value())\n"
        "sum: an operand is pending on another thread's tape (evaluate it there first: value())\n"
        "gradients: an operand is pending on another thread's tape (evaluate it there first: value())\n");
  CHECK(first(pending) == 2);
}

TEST_CASE("threads: evaluated variables travel, their histories do not") {
  Variable x = Tensor::full({2}, 3);
  auto y = x * x;
  y.value();
  auto loss = sum(y * y);
  loss.item();
  double value = 0, product = 0, gradient = 0;
  std::string text, text_of_gradients;
  on_another_thread([&] {
    value = first(y);
    product = first(y * x + 1);
    auto own = sum(y * y * x);
    auto [dy] = gradients(own, {y});  // a leaf here
    gradient = first(dy);
    text = error_text<TapeError>([&] { backward(loss); });
    text_of_gradients = error_text<TapeError>([&] { gradients(loss, {x}); });
  });
  CHECK(value == 9);
  CHECK(product == 28);
  CHECK(gradient == 2 * 9 * 3);
  CHECK(text == "backward: the loss was recorded on another thread's tape (differentiate it there: values travel, histories do not)");
  CHECK(text_of_gradients ==
        "gradients: the loss was recorded on another thread's tape (differentiate it there: values travel, histories do not)");
  auto [dx] = gradients(loss, {x});  // here it has one
  CHECK(first(dx) == 4 * 27);
}

TEST_CASE("threads: results of a thread that has ended are values like others") {
  Variable y;
  on_another_thread([&] {
    Variable x = Tensor::full({2}, 3);
    y = x * x;
    y.value();
  });
  CHECK(first(y + 1) == 10);
  auto [g] = gradients(sum(y * y), {y});
  CHECK(first(g) == 18);
  on_another_thread([&] { CHECK(first(y + 1) == 10); });
}

TEST_CASE("threads: a pending variable of a thread that has ended troubles nobody") {
  Variable lost, kept = Variable(Tensor::full({2}, 1)) + 1;
  int calls = 0;
  on_another_thread([&] {
    lost = custom(
        "counted", Variable(Tensor::full({2}, 3)),
        [&](const Tensor& t) {
          ++calls;
          return t;
        },
        [](auto& g, auto&) { return g; });
  });
  CHECK(error_text<TapeError>([&] { return lost + 1; }) ==
        "add: an operand is pending on another thread's tape (evaluate it there first: value())");
  on_another_thread([&] { CHECK((Variable(Tensor::full({2}, 1)) + 1).value().at({0}) == 2); });  // may get the same tape
  CHECK(calls == 0);
  lost = 0;
  CHECK(first(kept) == 2);
}

TEST_CASE("threads: handles that are dropped on another thread are fine, pending or evaluated") {
  for (int round = 0; round < 20; ++round) {
    Variable x = Tensor::full({2}, 3);
    std::vector<Variable> many;
    for (int i = 0; i < 50; ++i) many.push_back(tanh(x * i));
    for (int i = 0; i < 50; i += 2) many[i].value();
    auto also = many[1];
    std::thread other([moved = std::move(many)]() mutable { moved.clear(); });
    auto y = sum(x * x);  // this thread records and runs meanwhile
    CHECK(y.item() == 18);
    auto [g] = gradients(y, {x});
    CHECK(first(g) == 6);
    other.join();
    CHECK(first(also) == doctest::Approx(std::tanh(3.0)));
  }
  CHECK((Variable(Tensor::full({2}, 3)) + 1).value().at({0}) == 4);
}

TEST_CASE("threads: handles that several threads copy and drop at once are counted") {
  auto token = std::make_shared<int>(3);
  const std::weak_ptr<int> alive = token;
  {
    Variable y = custom(
        "held", Variable(Tensor::full({2}, 3)), [token = std::move(token)](const Tensor& t) { return t; },
        [](auto& g, auto&) { return g; });
    y.value();
    const auto copy_and_drop = [copy = y] {
      for (int i = 0; i < 300; ++i) {
        std::vector<Variable> many(7, copy);
        many.resize(3);
        many.push_back(many[0]);
      }
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) threads.emplace_back(copy_and_drop);
    copy_and_drop();
    for (auto& t : threads) t.join();
    CHECK(!alive.expired());
    CHECK(first(y + 1) == 4);
  }
  CHECK((Variable(Tensor::full({2}, 1)) + 1).value().at({0}) == 2);  // this thread takes over what the others dropped
  CHECK(alive.expired());
}

TEST_CASE("threads: two threads train at the same time with the same bits as alone") {
  auto alone = train(1), other_alone = train(2);
  std::vector<Tensor> a, b;
  std::thread one([&] { a = train(1); }), two([&] { b = train(2); });
  one.join();
  two.join();
  for (std::size_t i = 0; i < alone.size(); ++i) {
    CHECK(identical(a[i], alone[i]));
    CHECK(identical(b[i], other_alone[i]));
  }
}

TEST_CASE("threads: several threads read one model at the same time") {
  seed(4);
  Parameter w({16, 16}), b({16});
  auto shared = tanh(w * 2);
  shared.value();
  auto run = [&] {
    Evaluation guard;
    double total = 0;
    for (int i = 0; i < 50; ++i) {
      Variable x = Tensor::full({4, 16}, 0.01 * i);
      auto [last, ys] = scan(
          [&](const Variable& h, const std::vector<Variable>&) {
            auto n = tanh(matmul(h, w) + b + sum(shared));
            return std::pair{n, n};
          },
          x, std::vector<Variable>{}, {.steps = 3});
      total += sum(ys).item();
    }
    return total;
  };
  double alone = run();
  std::vector<double> got(3);
  std::barrier start(3);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < got.size(); ++t)
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      got[t] = run();
    });
  for (auto& t : threads) t.join();
  for (double g : got) CHECK(g == alone);
}

TEST_CASE("threads: a model made here can be trained there") {
  Parameter p(Tensor::full({2}, 3)), frozen(Tensor::full({2}, 5));
  frozen.freeze();
  on_another_thread([&] {
    for (int k = 0; k < 3; ++k) {
      backward(sum(p * p * frozen));
      NoGrad guard;
      auto next = p - 0.01 * p.gradient();
      p.place().set_value(next.value());
      p.clear_gradient();
    }
    backward(sum(p * p));
  });
  CHECK(frozen.gradient().empty());
  CHECK(first(p) == doctest::Approx(3 * 0.9 * 0.9 * 0.9));
  CHECK(first(p.gradient()) == doctest::Approx(6 * 0.9 * 0.9 * 0.9));
  backward(sum(p * 2));
  CHECK(first(p.gradient()) == doctest::Approx(2 + 6 * 0.9 * 0.9 * 0.9));
}

TEST_CASE("threads: a model that is gone leaves what another thread recorded with it harmless") {
  std::barrier step(2);
  auto p = std::make_unique<Parameter>(Tensor::full({2}, 3));
  std::thread other([&] {
    auto loss = sum(*p * *p);
    step.arrive_and_wait();
    step.arrive_and_wait();  // the parameter is gone
    backward(loss);
    CHECK(loss.item() == 18);
  });
  step.arrive_and_wait();
  p.reset();
  step.arrive_and_wait();
  other.join();
}

TEST_CASE("exceptions: at recording nothing is recorded, and the tape goes on") {
  Variable x = Tensor::full({2}, 3), y = Tensor::full({3}, 3);
  auto before = tape::statistics().records;
  CHECK(error_text<ShapeError>([&] { return x + y; }) != "(nothing was thrown)");
  CHECK(error_text<ShapeError>([&] { return reshape(x, {7}); }) != "(nothing was thrown)");
  CHECK(tape::statistics().records == before);
  CHECK(first(x + 1) == 4);
}

TEST_CASE("exceptions: inside a run leave values pending, gradients and parameters as they were") {
  Parameter w(Tensor::full({2}, 3)), u(Tensor::full({2}, 5));
  backward(sum(w * u));
  bool fails = true;
  auto fragile = [&](const Variable& x) {
    return custom(
        "fragile", x,
        [&](const Tensor& t) {
          if (fails) throw ValueError("fragile: out of order");
          return t;
        },
        [](auto& g, auto&) { return g; });
  };
  auto held = w * 10;
  auto loss = sum(fragile(w * u) * held);
  CHECK(error_text<ValueError>([&] { backward(loss); }) == "fragile: out of order");
  CHECK(first(w.gradient()) == 5);  // as before
  CHECK(first(u.gradient()) == 3);
  CHECK(first(w) == 3);
  CHECK(first(held) == 30);
  CHECK((w + u).value().at({1}) == 8);  // the failed loss is still held, and is not tried again
  CHECK(error_text<ValueError>([&] { loss.item(); }) == "fragile: out of order");
  fails = false;
  backward(loss);  // its history is whole
  CHECK(loss.item() == 2 * 15 * 30);
  CHECK(first(w.gradient()) == 5 + 2 * 10 * 3 * 5);
}

TEST_CASE("exceptions: an index out of range inside a run") {
  Parameter table(Tensor::full({4, 2}, 1));
  Variable index = Tensor::of<std::int64_t>({2}, {1, 4});
  auto row = sum(gather(table, index));
  CHECK(error_text<ValueError>([&] { row.item(); }) ==
        "gather: row out of range: element 1 of the index is 4, the table has 4 rows (indices run from 0)");
  CHECK(error_text<ValueError>([&] { backward(row); }) != "(nothing was thrown)");
  CHECK(table.gradient().empty());
  backward(sum(gather(table, Tensor::of<std::int64_t>({2}, {1, 3}))));
  CHECK(table.gradient().value().at({3, 1}) == 1);
}

TEST_CASE("exceptions: a rule that throws leaves gradients and history as they were") {
  Parameter w(Tensor::full({2}, 3));
  bool fails = true;
  auto y = custom(
      "ruled", w, [](const Tensor& t) { return t; },
      [&](auto& g, auto&) {
        if (fails) throw ValueError("ruled: no rule today");
        return g * 2;
      });
  auto loss = sum(y);
  CHECK(error_text<ValueError>([&] { backward(loss); }) == "ruled: no rule today");
  CHECK(w.gradient().empty());
  fails = false;
  backward(loss);
  CHECK(first(w.gradient()) == 2);
}

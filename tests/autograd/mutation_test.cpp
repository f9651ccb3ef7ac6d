// Storage that a tape has seen does not change under it.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/parameter.hpp>
#include <rewind/autograd/tape.hpp>
#include <rewind/core/xtensor.hpp>

#include "support.hpp"

using namespace rw;

namespace {

double first(const Variable& v) { return v.value().at({0}); }

/// Whether two values share memory.
bool alias(const Variable& a, const Variable& b) { return a.value().storage() == b.value().storage(); }

}  // namespace

TEST_CASE("mutation: writing a tensor that a tape has seen copies it") {
  Tensor t = Tensor::full({3}, 1);
  Variable x = t;
  auto y = x * 2;
  t.data<float>()[0] = 50;
  CHECK(t.at({0}) == 50);
  CHECK(first(x) == 1);
  CHECK(first(y) == 2);
}

TEST_CASE("mutation: writing a tensor read from the tape changes nothing on it") {
  Variable x = Tensor::full({3}, 1);
  auto y = x * 2, z = y + 1;
  Tensor seen = y.value();
  seen.data<float>()[0] = 70;
  CHECK(first(y) == 2);
  CHECK(first(z) == 3);
  CHECK(first(y + 1) == 3);
}

TEST_CASE("mutation: a pending reader keeps the value although every handle to the leaf is gone") {
  Variable y;
  {
    Tensor t = Tensor::full({3}, 1);
    Variable x = t;
    y = x * 2;
    x = 0;
    t.data<float>()[0] = 50;
  }
  CHECK(first(y) == 2);
}

TEST_CASE("mutation: an update rebinds the parameter, pending readers and gradients keep the old value") {
  Parameter p(Tensor::full({2}, 3));
  auto reader = p * 2;
  auto loss = sum(square(p.variable()));
  p.place().set_value(Tensor::full({2}, 10));
  CHECK(first(p) == 10);
  CHECK(first(reader) == 6);
  CHECK(loss.item() == 18);
  auto [g] = gradients(sum(square(p.variable())), {p});
  CHECK(first(g) == 20);
}

TEST_CASE("mutation: an update between the forward pass and its early value does not reach the gradient") {
  Variable x = Tensor::full({2}, 3);
  Tensor t = Tensor::full({2}, 5);
  Variable w = t;
  auto loss = sum(x * w);
  loss.item();
  t.data<float>()[0] = 100;
  auto [g] = gradients(loss, {x});
  CHECK(first(g) == 5);
}

TEST_CASE("mutation: while a mutable view lives, recording copies") {
  Tensor t = Tensor::full({3}, 1);
  auto view = as_xtensor<float>(t);
  Variable x = t;
  auto y = x + 1;
  view(0) = 40;
  CHECK(t.at({0}) == 40);
  CHECK(first(x) == 1);
  CHECK(first(y) == 2);
  Variable later = t;  // sees what was written up to now, and no more
  view(0) = 41;
  CHECK(first(later) == 40);
}

TEST_CASE("mutation: a mutable view of what a tape has seen unshares first") {
  Tensor t = Tensor::full({3}, 1);
  Variable x = t;
  auto y = x + 1;
  {
    auto view = as_xtensor<float>(t);
    view(0) = 40;
  }
  CHECK(t.at({0}) == 40);
  CHECK(first(y) == 2);
  CHECK(first(x) == 1);
}

TEST_CASE("mutation: strided tensors become leaves with the right elements") {
  Tensor t = Tensor::arange(6, DType::f32).reshape({2, 3});
  Variable x = t.transpose(), row = t.select(0, 1);
  CHECK((x * 1).value().at({2, 1}) == 5);
  CHECK(first(row + 0) == 3);
}

TEST_CASE("mutation: the outputs of two replays never alias") {
  NoGrad guard;
  Variable x = Tensor::full({64}, 1);
  std::vector<Variable> all;
  for (int i = 0; i < 5; ++i) {
    auto y = x * i;
    y.value();
    all.push_back(y);
  }
  for (int i = 0; i < 5; ++i) {
    CHECK(first(all[i]) == i);
    for (int j = 0; j < i; ++j) CHECK(!alias(all[i], all[j]));
  }
}

TEST_CASE("mutation: the output of one replay feeds the next") {
  NoGrad guard;
  tape::clear_plans();
  auto before = tape::statistics().plans;
  Variable h = Tensor::full({64}, 1), w = Tensor::full({64, 64}, 1.0 / 64);
  std::vector<Variable> seen;
  for (int i = 0; i < 10; ++i) {
    h = matmul(h, w) + 1;
    h.value();
    seen.push_back(h);
  }
  for (int i = 0; i < 10; ++i) CHECK(first(seen[i]) == doctest::Approx(i + 2));
  CHECK(tape::statistics().plans - before == 1);
}

TEST_CASE("mutation: two results of one plan do not write over each other, equal ones may share") {
  Variable x = Tensor::arange(64, DType::f32);
  auto a = x * 2, b = a + 1, c = reshape(a, {8, 8}), d = x * 2, e = detach(a);
  std::vector<Variable> all{a, b, c, d, e};
  evaluate(all);
  CHECK(first(a) == 0);
  CHECK(b.value().at({63}) == 127);
  CHECK(c.value().at({7, 7}) == 126);
  CHECK(d.value().at({63}) == 126);
  Tensor mine = c.value();
  mine.data<float>()[0] = 99;  // a copy of one's own
  CHECK(first(a) == 0);
  CHECK(first(d) == 0);
  CHECK(first(e) == 0);
}

TEST_CASE("mutation: an output that is a view of an input shares it, and writing either leaves the other alone") {
  Tensor t = Tensor::arange(6, DType::f32);
  Variable x = t;
  auto y = reshape(x, {2, 3});
  Tensor read = y.value();
  t.data<float>()[0] = 9;
  CHECK(read.at({0, 0}) == 0);
  CHECK(y.value().at({0, 0}) == 0);
}

TEST_CASE("mutation: packed weights follow the value") {
  Parameter w(Tensor::full({64, 64}, 1));
  Variable x = Tensor::full({32, 64}, 1);
  NoGrad guard;
  for (int i = 1; i <= 4; ++i) {
    CHECK(matmul(x, w).value().at({31, 63}) == 64 * i);
    w = Tensor::full({64, 64}, i + 1);
  }
  Tensor raw = Tensor::full({64, 64}, 1);
  for (int i = 1; i <= 4; ++i) {
    CHECK(matmul(x, Variable(raw)).value().at({31, 63}) == 64 * i);
    float* p = raw.data<float>();  // in place or not: a version or a storage of its own
    for (Index e = 0; e < raw.size(); ++e) p[e] = static_cast<float>(i + 1);
  }
}

// Parameters as places: copies, moves, assignment, ties, gradients.
#include <rewind/autograd/fields.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>

#include "support.hpp"

using namespace rw;
using test::error_text;

namespace {

Parameter of(double value) { return Parameter(Tensor::full({2}, value)); }
double first(const Parameter& p) { return p.value().at({0}); }

}  // namespace

TEST_CASE("parameter: matrices begin with glorot, vectors with zeros, braces mean a shape") {
  seed(1);
  Parameter w({30, 20}), b({20}), s(Shape{}), n({std::vector<int>(3).size(), 2});
  CHECK(w.shape() == Shape{30, 20});
  CHECK(w.dtype() == DType::f32);
  for (double v : test::doubles(w.value())) CHECK(std::abs(v) <= std::sqrt(6.0 / 50));
  for (double v : test::doubles(b.value())) CHECK(v == 0);
  CHECK(s.shape() == Shape{});
  CHECK(n.shape() == Shape{3, 2});
  static_assert(!std::is_convertible_v<Tensor, Parameter>);
  static_assert(std::is_nothrow_move_constructible_v<Parameter>);
}

TEST_CASE("parameter: a copy is a place of its own, a move keeps the place") {
  Parameter a = of(1);
  a.freeze();
  Parameter b = a;
  CHECK(b.place() != a.place());
  CHECK(b.frozen());
  CHECK(first(b) == 1);
  auto place = a.place();
  CHECK(place.owners() == 1);
  Parameter c = std::move(a);
  CHECK(c.place() == place);
  CHECK(place.owners() == 1);

  std::vector<Parameter> grown;
  std::vector<PlaceRef> places;
  for (int i = 0; i < 20; ++i) {
    grown.emplace_back(Shape{2});
    places.push_back(grown.back().place());
  }
  for (std::size_t i = 0; i < 20; ++i) CHECK(grown[i].place() == places[i]);
}

TEST_CASE("parameter: assignment writes the value into the place") {
  Parameter a = of(1), b = of(2);
  auto place = a.place();
  Variable before = a;
  a = b;
  CHECK(a.place() == place);
  CHECK(first(a) == 2);
  CHECK(before.value().at({0}) == 1);
  a = of(3);
  CHECK(a.place() == place);
  CHECK(first(a) == 3);
  a = Tensor::full({2}, 4);
  CHECK(first(a) == 4);
  auto& same = a;
  a = same;
  CHECK(first(a) == 4);
  auto other = b.place();
  std::swap(a, b);
  CHECK(a.place() == other);
  CHECK(b.place() == place);

  CHECK(error_text<ShapeError>([&] { a = Tensor::full({3}, 1); }) ==
        "Parameter: shapes differ: the parameter is [2], what it gets [3] (they must be equal)");
  CHECK(error_text<DTypeError>([&] { a = Tensor::full({2}, 1, DType::f64); }) ==
        "Parameter: dtypes differ: the parameter is f32, what it gets f64 (cast the value, or the model with cast(model, dtype))");
  CHECK(error_text<DTypeError>([&] { Parameter(Tensor::full({2}, 1, DType::i32)); }) ==
        "Parameter: it is trained, so it must be f32 or f64: got i32 (cast the value)");
}

TEST_CASE("parameter: one that was moved from can be assigned to and destroyed, and says so otherwise") {
  Parameter a = of(1);
  Parameter b = std::move(a);
  const char* text = "Parameter: it was moved from: it has no value (assign one, or use the parameter that it was moved to)";
  CHECK(error_text<TapeError>([&] { return a.value(); }) == text);
  CHECK(error_text<TapeError>([&] { return a.variable() + 1; }) == text);
  CHECK(error_text<TapeError>([&] { Parameter c = a; }) == text);
  CHECK(error_text<TapeError>([&] { b = a; }) == text);
  CHECK(error_text<TapeError>([&] { return parameters(a); }) == text);
  a = b;
  CHECK(first(a) == 1);
  CHECK(a.place() != b.place());
  Parameter c = std::move(a);
  a = of(5);
  CHECK(first(a) == 5);
}

TEST_CASE("parameter: share makes two names one place") {
  Parameter a = of(1), b = of(2);
  b = share(a);
  CHECK(b.place() == a.place());
  CHECK(a.place().owners() == 2);
  b = Tensor::full({2}, 7);
  CHECK(first(a) == 7);
  CHECK(error_text<TapeError>([&] { Parameter c = a; }) ==
        "Parameter: a shared parameter of shape [2] was copied alone, which would untie it (copy the whole model with copy(model), or give "
        "the new "
        "one its value: Parameter(other.value()))");
  Parameter wide({3});
  CHECK(error_text<ShapeError>([&] { wide = share(a); }) ==
        "share: shapes differ: the parameter is [3], what it gets [2] (they must be equal)");
  b = share(b);
  CHECK(a.place().owners() == 2);
  PlaceRef place = a.place();
  { Parameter gone = std::move(a), also = std::move(b); }
  CHECK(place.owners() == 0);
  CHECK(place.value().value().at({0}) == 7);
}

TEST_CASE("parameter: gradients add up, are dropped, and frozen parameters get none") {
  Parameter a = of(3), b = of(4);
  backward(sum(a * b));
  backward(sum(a * b));
  CHECK(a.gradient().value().at({0}) == 8);
  CHECK(b.gradient().value().at({1}) == 6);
  a.clear_gradient();
  CHECK(a.gradient().empty());
  a.freeze();
  b.clear_gradient();
  backward(sum(a * b));
  CHECK(a.gradient().empty());
  CHECK(b.gradient().value().at({0}) == 3);
  a.freeze(false);
  backward(sum(a[0] * 2));
  CHECK(a.gradient().value().at({0}) == 2);
  CHECK(a.gradient().value().at({1}) == 0);
  CHECK(error_text<ShapeError>([&] { a.place().set_gradient(zeros({3})); }) ==
        "Parameter: a gradient has the parameter's shape: the parameter is [2], the gradient [3] (they must be equal)");
  Parameter copied = b;
  CHECK(copied.gradient().empty());
}

TEST_CASE("parameter: an old leaf gets no gradient after a new value was set, the new one does") {
  Parameter a = of(3);
  Variable recorded = sum(square(a.variable()));
  a = Tensor::full({2}, 5);
  CHECK(recorded.item() == 18);
  backward(sum(square(a.variable())));
  CHECK(a.gradient().value().at({0}) == 10);
}

TEST_CASE("parameter: places that no list names are found if they have a gradient") {
  Parameter forgotten = of(2);
  CHECK(detail::unlisted_place_with_gradient() == nullptr);
  backward(sum(forgotten.variable()));
  CHECK(detail::unlisted_place_with_gradient() == forgotten.place().get());
  parameters(forgotten);
  CHECK(detail::unlisted_place_with_gradient() == nullptr);
}

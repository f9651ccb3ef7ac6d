#include <rewind/core/xtensor.hpp>
#include <rewind/tests/support.hpp>

#include <xtensor/xio.hpp>

#include <sstream>
#include <type_traits>

using namespace rw;
using namespace rw::test;

namespace {

Tensor numbers(const Shape& shape) { return Tensor::arange(shape.size(), DType::f32).reshape(shape); }

}  // namespace

TEST_CASE("xtensor: a tensor from any expression, as in the documentation") {
  Tensor t = xt::random::randn<float>({3, 4}) * 2.f + 1.f;
  CHECK(t.shape() == Shape{3, 4});
  CHECK(t.dtype() == DType::f32);
  {
    auto view = as_xtensor<float>(t);
    xt::view(view, xt::all(), 0) = 0.f;
  }
  for (Index i = 0; i < 3; ++i) {
    CHECK(t.at({i, 0}) == 0);
    CHECK(t.at({i, 1}) != 0);
  }
}

TEST_CASE("xtensor: element types are kept or widened") {
  CHECK(Tensor(xt::xarray<double>{1.5, 2.5}).dtype() == DType::f64);
  CHECK(Tensor(xt::xarray<std::int32_t>{1, 2}).dtype() == DType::i32);
  CHECK(Tensor(xt::xarray<std::int64_t>{1, 2}).dtype() == DType::i64);
  CHECK(Tensor(xt::xarray<bool>{true, false}).dtype() == DType::boolean);
  CHECK(Tensor(xt::xarray<std::int8_t>{-1, 2}).dtype() == DType::i32);
  CHECK(Tensor(xt::xarray<std::uint16_t>{1, 65535}).dtype() == DType::i32);
  CHECK(Tensor(xt::xarray<std::uint32_t>{1, 4294967295u}).dtype() == DType::i64);
  CHECK(Tensor(xt::xarray<long long>{1, 2}).dtype() == DType::i64);
  CHECK(Tensor(xt::xarray<std::uint32_t>{1, 4294967295u}).at({1}) == 4294967295.0);
  CHECK(Tensor(xt::xarray<std::int8_t>{-1, 2}).at({0}) == -1);
  CHECK(Tensor(xt::xarray<bool>{true, false}).at({0}) == 1);
}

TEST_CASE("xtensor: lazy, column-major, fixed and scalar expressions, empty ones too") {
  xt::xarray<float, xt::layout_type::column_major> column = {{1, 2, 3}, {4, 5, 6}};
  CHECK(close(doubles(Tensor(column)), std::vector<double>{1, 2, 3, 4, 5, 6}, 0));
  CHECK(close(doubles(Tensor(xt::transpose(column))), std::vector<double>{1, 4, 2, 5, 3, 6}, 0));
  xt::xarray<float> row = {10, 20, 30};
  CHECK(close(doubles(Tensor(column + row)), std::vector<double>{11, 22, 33, 14, 25, 36}, 0));
  CHECK(close(doubles(Tensor(xt::view(column, xt::all(), xt::range(1, 3)))), std::vector<double>{2, 3, 5, 6}, 0));
  CHECK(Tensor(xt::xarray<float>(2.5f)).shape() == Shape{});
  CHECK(Tensor(xt::xarray<float>(2.5f)).item<float>() == 2.5f);
  CHECK(Tensor(xt::xarray<float>::from_shape({0, 3})).shape() == Shape{0, 3});
  CHECK(Tensor(xt::arange<double>(0, 3)).at({2}) == 2);
  CHECK(error_text<ShapeError>([] {
          return Tensor(xt::xarray<float>::from_shape({1, 1, 1, 1, 1, 1, 1, 1, 1}));
        }) == "shape: too many axes: got more than 8 (join axes with reshape)");
}

TEST_CASE("xtensor: a mutable view writes the tensor's memory without a copy") {
  Tensor t = numbers({2, 3});
  const void* address = t.view().data;
  {
    auto view = as_xtensor<float>(t);
    CHECK(static_cast<const void*>(view.data()) == address);
    view(1, 2) = 50;
    view += 1.f;
    view = view * 2.f;
    xt::view(view, 0, xt::range(1, 3)) = xt::xarray<float>{7, 8};
  }
  CHECK(t.view().data == address);
  CHECK(close(doubles(t), std::vector<double>{2, 7, 8, 8, 10, 102}, 0));
}

TEST_CASE("xtensor: a mutable view unshares first") {
  Tensor t = numbers({2, 3}), other = t, turned = t.transpose();
  as_xtensor<float>(t)(0, 1) = -1;
  CHECK(t.at({0, 1}) == -1);
  CHECK(other.at({0, 1}) == 1);
  as_xtensor<float>(turned)(0, 1) = -2;
  CHECK(turned.is_contiguous());
  CHECK(turned.at({0, 1}) == -2);
  CHECK(other.at({1, 0}) == 3);
}

TEST_CASE("xtensor: two mutable views of one tensor write the same memory") {
  Tensor t = numbers({4});
  auto a = as_xtensor<float>(t);
  auto b = as_xtensor<float>(t);
  a(0) = 10;
  b(1) = 20;
  CHECK(close(doubles(t), std::vector<double>{10, 20, 2, 3}, 0));
  CHECK(t.storage()->writers() == 2);
}

TEST_CASE("xtensor: while a mutable view lives the storage counts it, and its version has moved when it ends") {
  Tensor t = numbers({2, 3});
  auto version = t.storage()->version();
  CHECK(t.storage()->writers() == 0);
  {
    auto view = as_xtensor<float>(t);
    CHECK(t.storage()->writers() == 1);
    CHECK(t.storage()->version() > version);
    auto copy = view;
    CHECK(t.storage()->writers() == 2);
    auto moved = std::move(copy);
    version = t.storage()->version();
  }
  CHECK(t.storage()->writers() == 0);
  CHECK(t.storage()->version() > version);
}

TEST_CASE("xtensor: a mutable view outlives its tensor") {
  auto view = [] {
    Tensor t = numbers({3});
    return as_xtensor<float>(t);
  }();
  view(0) = 4;
  CHECK(view(0) + view(2) == 6);
}

TEST_CASE("xtensor: assigning to a mutable view keeps its size") {
  Tensor t = numbers({2, 3});
  auto view = as_xtensor<float>(t);
  view = xt::xarray<float>{{9, 8, 7}, {6, 5, 4}};
  CHECK(close(doubles(t), std::vector<double>{9, 8, 7, 6, 5, 4}, 0));
  CHECK(error_text<ShapeError>([&] {
          view = xt::xarray<float>{1, 2};
        }) == "as_xtensor: a view cannot change its size: got 2 elements for 6 (assign a new Tensor)");
  CHECK(close(doubles(t), std::vector<double>{9, 8, 7, 6, 5, 4}, 0));
}

TEST_CASE("xtensor: a read-only view takes any strides and copies nothing") {
  const Tensor t = numbers({2, 3, 4});
  auto same = [](const Tensor& x) {
    auto view = as_xtensor<float>(x);
    xt::xarray<float> values = view;
    bool shapes = values.dimension() == static_cast<std::size_t>(x.rank());
    return shapes && close(std::vector<float>(values.begin(), values.end()), doubles(x), 0) && close(doubles(Tensor(view)), doubles(x), 0);
  };
  CHECK(same(t));
  CHECK(same(t.transpose()));
  CHECK(same(t.transpose(Dims(Shape{2, 0, 1}))));
  CHECK(same(t.flip(0).flip(2)));
  CHECK(same(t.slice(2, 1, 4, 2)));
  CHECK(same(t.select(1, 2)));
  CHECK(same(t.newaxis(0).broadcast_to({5, 2, 3, 4})));
  CHECK(same(t.select(0, 0).select(0, 0).select(0, 0)));
  CHECK(same(t.slice(1, 1, 1)));
  CHECK(as_xtensor<float>(t)(1, 2, 3) == 23);
  CHECK(as_xtensor<float>(t.flip(0))(0, 0, 0) == 12);
  CHECK(static_cast<const void*>(&as_xtensor<float>(t)(0, 0, 0)) == t.view().data);
  static_assert(std::is_const_v<std::remove_reference_t<decltype(as_xtensor<float>(t)(0))>>);
}

TEST_CASE("xtensor: a read-only view keeps the old values when the tensor is written") {
  Tensor t = numbers({3});
  auto view = as_xtensor<float>(std::as_const(t));
  t.data<float>()[0] = 5;
  CHECK(view(0) == 0);
  CHECK(t.at({0}) == 5);
}

TEST_CASE("xtensor: a read-only view serves in expressions, slices and printing") {
  const Tensor t = numbers({2, 3});
  auto view = as_xtensor<float>(t);
  CHECK(xt::sum(view)() == 15);
  CHECK(xt::amax(view)() == 5);
  Tensor doubled = xt::view(view, xt::all(), xt::newaxis(), xt::range(0, 2)) * 2.f;
  CHECK(doubled.shape() == Shape{2, 1, 2});
  CHECK(close(doubles(doubled), std::vector<double>{0, 2, 6, 8}, 0));
  Tensor sums = xt::sum(view, {1});
  CHECK(close(doubles(sums), std::vector<double>{3, 12}, 0));
  Tensor last = xt::strided_view(view, {xt::ellipsis(), 2});
  CHECK(close(doubles(last), std::vector<double>{2, 5}, 0));
  std::ostringstream out;
  out << view;
  CHECK(out.str() == "{{ 0.,  1.,  2.},\n { 3.,  4.,  5.}}");
}

TEST_CASE("xtensor: the wrong element type is refused") {
  Tensor t = numbers({2});
  CHECK(error_text<DTypeError>([&] { return as_xtensor<double>(t); }) ==
        "tensor: wrong element type: asked for f64, the tensor is f32 (cast converts)");
  CHECK(error_text<DTypeError>([&] { return as_xtensor<double>(std::as_const(t)); }) ==
        "tensor: wrong element type: asked for f64, the tensor is f32 (cast converts)");
}

TEST_CASE("xtensor: bool and integer views") {
  Tensor b = Tensor::of<bool>({3}, {true, false, true});
  as_xtensor<bool>(b)(1) = true;
  CHECK(close(doubles(b), std::vector<double>{1, 1, 1}, 0));
  Tensor i = Tensor::arange(3, DType::i64);
  CHECK(xt::sum(as_xtensor<std::int64_t>(std::as_const(i)))() == 3);
}

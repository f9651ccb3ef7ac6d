#include <rewind/tests/support.hpp>

#include <limits>
#include <sstream>

using namespace rw;
using namespace rw::test;

namespace {

Tensor numbers(const Shape& shape, DType dtype = DType::f32) { return Tensor::arange(shape.size(), dtype).reshape(shape); }

std::string printed(const Tensor& t) {
  std::ostringstream out;
  out << t;
  return out.str();
}

}  // namespace

TEST_CASE("tensor: construction") {
  CHECK(Tensor().size() == 0);
  CHECK(Tensor(Shape{2, 3}).dtype() == DType::f32);
  CHECK(Tensor(Shape{2, 3}).bytes() == 24);
  CHECK(Tensor(Shape{}).size() == 1);
  CHECK(Tensor(Shape{0, 3}).bytes() == 0);
  CHECK(close(doubles(Tensor::zeros({2, 2}, DType::i64)), std::vector<double>{0, 0, 0, 0}, 0));
  CHECK(close(doubles(Tensor::full({2}, 2.75, DType::f64)), std::vector<double>{2.75, 2.75}, 0));
  CHECK(close(doubles(Tensor::full({2}, 2.75, DType::i32)), std::vector<double>{2, 2}, 0));
  CHECK(close(doubles(Tensor::arange(4)), std::vector<double>{0, 1, 2, 3}, 0));
  CHECK(Tensor::arange(4).dtype() == DType::i64);
  CHECK(close(doubles(Tensor::arange(3, DType::f64)), std::vector<double>{0, 1, 2}, 0));
  CHECK(Tensor::of<float>({2, 2}, {1, 2, 3, 4}).at({1, 0}) == 3);
  CHECK(Tensor::of({2}, {true, false}).dtype() == DType::boolean);
  CHECK(Tensor::scalar(2.5).item<double>() == 2.5);
  CHECK(Tensor::scalar(2.5).rank() == 0);
}

TEST_CASE("tensor: shapes that cannot be are refused") {
  CHECK(error_text<ShapeError>([] { return Tensor(Shape{2, -1}); }) == "tensor: extents must be >= 0: got [2, -1]");
  CHECK(error_text<ShapeError>([] { return Tensor::arange(-3); }) == "tensor: extents must be >= 0: got [-3]");
  constexpr Index big = Index{1} << 40;
  CHECK(error_text<ShapeError>([] {
          return Tensor(Shape{big, big}, DType::f64);
        }) == "tensor: too large: got [1099511627776, 1099511627776] of f64 (its bytes must fit into 63 bits)");
  CHECK(error_text<ShapeError>([] {
          return Tensor(Shape{0, big, big});
        }) == "tensor: too large: got [0, 1099511627776, 1099511627776] of f32 (its bytes must fit into 63 bits)");
  CHECK(error_text<ValueError>([] {
          return Tensor(Shape{big, 1024});
        }) == "storage: impossible size: got 4503599627370496 bytes (0 to 70368744177664)");
  CHECK(error_text<ShapeError>([] {
          return Tensor::of<float>({2, 2}, {1, 2, 3});
        }) == "tensor: number of values differs from the shape's size: got 3 values for [2, 2], which holds 4");
}

TEST_CASE("tensor: item and at convert") {
  CHECK(Tensor::scalar(2.75).item<float>() == 2.75f);
  CHECK(Tensor::scalar(2.75).item<std::int32_t>() == 2);
  CHECK(Tensor::scalar(0.5).item<bool>());
  CHECK(Tensor::scalar(std::numeric_limits<double>::quiet_NaN()).item<std::int64_t>() == 0);
  CHECK(Tensor::scalar(1e300).item<std::int32_t>() == std::numeric_limits<std::int32_t>::max());
  CHECK(Tensor::of<float>({1, 1}, {3}).item<double>() == 3);
  CHECK(numbers({2, 3}).transpose().at({2, 1}) == 5);
  CHECK(error_text<ShapeError>([] { return numbers({2, 3}).item<float>(); }) == "item: one element needed: got a tensor of shape [2, 3]");
  CHECK(error_text<ShapeError>([] { return numbers({2, 3}).at({1}); }) == "at: one index for each axis needed: got [1] for shape [2, 3]");
  CHECK(error_text<ValueError>([] {
          return numbers({2, 3}).at({1, 3});
        }) == "at: position outside the tensor: got [1, 3] for shape [2, 3]");
  CHECK(error_text<ValueError>([] {
          return numbers({2, 3}).at({-1, 0});
        }) == "at: position outside the tensor: got [-1, 0] for shape [2, 3]");
}

TEST_CASE("tensor: data has the dtype's type") {
  Tensor t = numbers({3});
  CHECK(t.data<float>()[2] == 2);
  CHECK(error_text<DTypeError>([&] { return t.data<double>(); }) ==
        "tensor: wrong element type: asked for f64, the tensor is f32 (cast converts)");
  CHECK(error_text<DTypeError>([&] { return std::as_const(t).data<bool>(); }) ==
        "tensor: wrong element type: asked for bool, the tensor is f32 (cast converts)");
}

TEST_CASE("tensor: copies share until one is written") {
  Tensor a = numbers({4}), b = a;
  CHECK(a.storage() == b.storage());
  b.data<float>()[0] = 9;
  CHECK(a.storage() != b.storage());
  CHECK(a.at({0}) == 0);
  CHECK(b.at({0}) == 9);
  const void* address = b.view().data;
  auto version = b.storage()->version();
  b.data<float>()[1] = 8;
  CHECK(b.view().data == address);
  CHECK(b.storage()->version() > version);
  Tensor turned = numbers({2, 3}).transpose();
  turned.data<float>()[1] = 50;
  CHECK(close(doubles(turned), std::vector<double>{0, 50, 1, 4, 2, 5}, 0));
}

TEST_CASE("tensor: select and slice are views") {
  Tensor t = numbers({3, 4});
  Tensor row = t.select(0, -1), column = t.select(-1, 1);
  CHECK(row.storage() == t.storage());
  CHECK(row.shape() == Shape{4});
  CHECK(close(doubles(row), std::vector<double>{8, 9, 10, 11}, 0));
  CHECK(close(doubles(column), std::vector<double>{1, 5, 9}, 0));
  CHECK(close(doubles(t.slice(0, 1, 3)), std::vector<double>{4, 5, 6, 7, 8, 9, 10, 11}, 0));
  CHECK(close(doubles(t.slice(1, 0, 4, 3)), std::vector<double>{0, 3, 4, 7, 8, 11}, 0));
  CHECK(close(doubles(t.slice(1, -2, -1)), std::vector<double>{2, 6, 10}, 0));
  CHECK(t.slice(0, 3, 3).shape() == Shape{0, 4});
  CHECK(t.slice(0, 0, 3, 99).shape() == Shape{1, 4});
  CHECK(error_text<ValueError>([&] { return t.select(0, 3); }) ==
        "select: position out of range: got 3 along axis 0 of [3, 4] (-extent to extent - 1)");
  CHECK(error_text<ShapeError>([&] { return t.select(2, 0); }) == "select: axis out of range: got 2 for rank 2 (axes run from -2 to 1)");
  CHECK(error_text<ValueError>([&] { return t.slice(0, 2, 1); }) ==
        "slice: range out of bounds: got 2 to 1 along axis 0 of [3, 4] (0 <= start <= stop <= extent; negative counts from the end)");
  CHECK(error_text<ValueError>([&] { return t.slice(1, 0, 5); }) ==
        "slice: range out of bounds: got 0 to 5 along axis 1 of [3, 4] (0 <= start <= stop <= extent; negative counts from the end)");
  CHECK(error_text<ValueError>([&] { return t.slice(1, -5, 2); }) ==
        "slice: range out of bounds: got -5 to 2 along axis 1 of [3, 4] (0 <= start <= stop <= extent; negative counts from the end)");
  CHECK(error_text<ValueError>([&] { return t.slice(1, 0, 2, 0); }) == "slice: step must be >= 1: got 0 (flip runs backward)");
}

TEST_CASE("tensor: transpose, flip, newaxis and broadcast_to are views") {
  Tensor t = numbers({2, 3});
  CHECK(close(doubles(t.transpose()), std::vector<double>{0, 3, 1, 4, 2, 5}, 0));
  Tensor cube = numbers({2, 3, 4});
  Tensor turned = cube.transpose(Dims(Shape{2, 0, -2}));
  CHECK(turned.shape() == Shape{4, 2, 3});
  CHECK(turned.at({3, 1, 2}) == cube.at({1, 2, 3}));
  CHECK(turned.storage() == cube.storage());
  CHECK(close(doubles(t.flip(1)), std::vector<double>{2, 1, 0, 5, 4, 3}, 0));
  CHECK(close(doubles(t.flip(0).flip(-1)), std::vector<double>{5, 4, 3, 2, 1, 0}, 0));
  CHECK(Tensor(Shape{0, 2}).flip(0).size() == 0);
  CHECK(t.newaxis(0).shape() == Shape{1, 2, 3});
  CHECK(t.newaxis(-1).shape() == Shape{2, 3, 1});
  CHECK(t.newaxis(1).is_contiguous());
  CHECK(close(doubles(numbers({2, 1}).broadcast_to({2, 2, 3})), std::vector<double>{0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1}, 0));
  CHECK(error_text<ShapeError>([&] {
          return t.transpose(Dims(Shape{0, 0}));
        }) == "transpose: axes must name each axis once: got [0, 0] for shape [2, 3]");
  CHECK(error_text<ShapeError>([&] { return t.transpose(Dims(Shape{0})); }) ==
        "transpose: axes must name each axis once: got [0] for shape [2, 3]");
  CHECK(error_text<ShapeError>([&] {
          return t.transpose(Dims(Shape{0, 2}));
        }) == "transpose: axis out of range: got 2 for rank 2 (axes run from -2 to 1)");
  CHECK(error_text<ShapeError>([] { return numbers({3}).transpose(); }) == "transpose: two axes needed: got shape [3]");
  CHECK(error_text<ShapeError>([&] { return t.newaxis(3); }) == "newaxis: axis out of range: got 3 for rank 3 (axes run from -3 to 2)");
  CHECK(error_text<ShapeError>([&] { return t.flip(2); }) == "flip: axis out of range: got 2 for rank 2 (axes run from -2 to 1)");
  CHECK(error_text<ShapeError>([&] {
          return t.broadcast_to({2, 4});
        }) ==
        "broadcast_to: shapes do not fit: [2, 3] does not repeat to [2, 4] (axes are aligned at the last; extents must be equal or one of "
        "them 1)");
}

TEST_CASE("tensor: reshape views where it can, copies where it must") {
  Tensor t = numbers({2, 6});
  CHECK(t.reshape({3, -1}).shape() == Shape{3, 4});
  CHECK(t.reshape({3, 4}).storage() == t.storage());
  CHECK(t.slice(1, 0, 4).reshape({2, 2, 2}).storage() == t.storage());
  Tensor copied = t.transpose().reshape({12});
  CHECK(copied.storage() != t.storage());
  CHECK(close(doubles(copied), std::vector<double>{0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11}, 0));
  CHECK(Tensor(Shape{0, 3}).reshape({3, -1}).shape() == Shape{3, 0});
  CHECK(Tensor::scalar(1.f).reshape({1, 1}).shape() == Shape{1, 1});
  CHECK(error_text<ShapeError>([&] { return t.reshape({5}); }) == "reshape: sizes differ: [2, 6] has 12 elements, [5] has 5");
  CHECK(error_text<ShapeError>([&] { return t.reshape({5, -1}); }) == "reshape: no extent for -1: [2, 6] has 12 elements, got [5, -1]");
  CHECK(error_text<ShapeError>([&] { return t.reshape({-1, -1}); }) == "reshape: extents must be >= 0, one may be -1: got [-1, -1]");
  CHECK(error_text<ShapeError>([&] { return t.reshape({-2, 6}); }) == "reshape: extents must be >= 0, one may be -1: got [-2, 6]");
  CHECK(error_text<ShapeError>([] {
          return Tensor(Shape{0}).reshape({0, -1});
        }) == "reshape: no extent for -1: [0] has 0 elements, got [0, -1]");
  CHECK(error_text<ShapeError>([&] {
          return t.reshape({Index{1} << 62, 4});
        }) == "reshape: sizes differ: [2, 6] has 12 elements, [4611686018427387904, 4] has more than 63 bits can count");
  CHECK(error_text<ShapeError>([] {
          return Tensor(Shape{0}).reshape({0, Index{1} << 62, 4});
        }) == "tensor: too large: got [0, 4611686018427387904, 4] of f32 (its bytes must fit into 63 bits)");
}

TEST_CASE("tensor: contiguous, copy and cast") {
  Tensor t = numbers({2, 3});
  CHECK(t.contiguous().storage() == t.storage());
  CHECK(t.copy().storage() != t.storage());
  CHECK(t.transpose().contiguous().is_contiguous());
  CHECK(identical(t.transpose().contiguous(), t.transpose()));
  CHECK(t.cast(DType::f32).storage() == t.storage());
  CHECK(t.transpose().cast(DType::i64).dtype() == DType::i64);
  CHECK(close(doubles(t.transpose().cast(DType::i64)), std::vector<double>{0, 3, 1, 4, 2, 5}, 0));
}

TEST_CASE("tensor: identical compares dtype, shape and bits") {
  float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(identical(Tensor::of<float>({2}, {1, nan}), Tensor::of<float>({2}, {1, nan})));
  CHECK_FALSE(identical(Tensor::of<float>({1}, {nan}), Tensor::of<float>({1}, {-nan})));
  CHECK_FALSE(identical(Tensor::of<float>({1}, {0.f}), Tensor::of<float>({1}, {-0.f})));
  CHECK_FALSE(identical(Tensor::zeros({2}), Tensor::zeros({2, 1})));
  CHECK_FALSE(identical(Tensor::zeros({2}), Tensor::zeros({2}, DType::i32)));
  CHECK(identical(numbers({2, 3}).transpose(), Tensor::of<float>({3, 2}, {0, 3, 1, 4, 2, 5})));
  CHECK(identical(Tensor(Shape{0}), Tensor()));
}

TEST_CASE("tensor: printing") {
  CHECK(printed(Tensor::of<float>({2, 2}, {1, 2.5, -3.14159f, 100000})) == "[[     1,    2.5],\n [-3.142,  1e+05]]  f32 [2, 2]");
  CHECK(printed(Tensor::scalar(1.5)) == "1.5  f64 []");
  CHECK(printed(Tensor(Shape{0, 3})) == "[]  f32 [0, 3]");
  CHECK(printed(Tensor::of({2}, {true, false})) == "[ true, false]  bool [2]");
  CHECK(printed(Tensor::of<std::int64_t>({1}, {9007199254740993})) == "[9007199254740993]  i64 [1]");
  CHECK(printed(Tensor::arange(100)) == "[ 0,  1,  2,  3, ..., 96, 97, 98, 99]  i64 [100]");
  CHECK(printed(numbers({2, 1, 2})) == "[[[0, 1]],\n\n [[2, 3]]]  f32 [2, 1, 2]");
  CHECK(printed(numbers({13, 1})) == "[[ 0],\n [ 1],\n [ 2],\n [ 3],\n ...,\n [ 9],\n [10],\n [11],\n [12]]  f32 [13, 1]");
  float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(printed(Tensor::of<float>({2}, {nan, -std::numeric_limits<float>::infinity()})) == "[ nan, -inf]  f32 [2]");
}

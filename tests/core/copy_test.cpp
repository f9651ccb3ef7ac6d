#include <rewind/core/convert.hpp>
#include <rewind/core/kernels.hpp>
#include <rewind/tests/support.hpp>

#include <limits>

using namespace rw;
using namespace rw::test;

namespace {

Tensor numbers(const Shape& shape, DType dtype = DType::f32) { return Tensor::arange(shape.size(), dtype).reshape(shape); }

// Element by element through positions: what a copy must give.
std::vector<double> by_position(const Tensor& t) {
  std::vector<double> values;
  for (Index e = 0; e < t.size(); ++e) {
    Tensor element = t;
    Index rest = e;
    for (int i = t.rank() - 1; i >= 0; --i) {
      element = element.select(i, rest % t.shape()[i]);
      rest /= t.shape()[i];
    }
    values.push_back(element.item<double>());
  }
  return values;
}

std::vector<Tensor> forms(DType dtype) {
  Tensor t = numbers({3, 4, 5}, dtype), m = numbers({37, 21}, dtype);
  return {t,
          t.transpose(),
          t.transpose(Dims(Shape{2, 1, 0})),
          t.transpose(Dims(Shape{1, 2, 0})),
          t.flip(0),
          t.flip(2),
          t.transpose().flip(1),
          t.slice(2, 1, 5, 2),
          t.slice(0, 1, 3).select(1, 2),
          t.newaxis(1).broadcast_to({3, 2, 4, 5}),
          t.select(2, 0).newaxis(2).broadcast_to({3, 4, 6}),
          m.transpose(),
          m.transpose().slice(0, 2, 21).slice(1, 3, 37),
          numbers({16, 32}, dtype).transpose(),
          numbers({2, 17, 19}, dtype).transpose(),
          numbers({0, 3}, dtype),
          numbers({}, dtype),
          numbers({1, 1}, dtype)};
}

}  // namespace

TEST_CASE("copy: any strides, every dtype, into dense memory") {
  for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::boolean})
    for (const Tensor& in : forms(dtype)) {
      INFO(name(dtype), " ", to_string(in.shape()), " ", to_string(in.strides()));
      Tensor out = Tensor::full(in.shape(), 1, dtype);
      copy(in.view(), out.view());
      CHECK(out.is_contiguous());
      auto expected = by_position(in), got = by_position(out);
      CHECK(close(got, expected, 0));
    }
}

TEST_CASE("copy: into strided memory, and only there") {
  for (const Tensor& in : forms(DType::f32)) {
    if (in.rank() == 0) continue;
    Shape wide = in.shape();
    wide[wide.rank() - 1] = wide.back() * 2 + 1;
    Tensor canvas = Tensor::full(wide, -7);
    Tensor out = canvas.slice(-1, 1, wide.back(), 2);
    copy(in.view(), out.view());
    CHECK(close(by_position(out), by_position(in), 0));
    for (double v : by_position(canvas.slice(-1, 0, wide.back(), 2))) CHECK(v == -7);
    Dims axes;
    for (int i = in.rank() - 1; i >= 0; --i) axes.push_back(i);
    Tensor turned = in.transpose(axes);
    Tensor into = Tensor(turned.shape()).transpose(axes);
    copy(in.view(), into.view());
    CHECK(close(by_position(into), by_position(in), 0));
    Tensor flipped = Tensor(in.shape()).flip(0);
    copy(in.view(), flipped.view());
    CHECK(close(by_position(flipped), by_position(in), 0));
  }
}

TEST_CASE("copy: conversions truncate, saturate and take NaN to 0") {
  double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  Tensor in = Tensor::of<double>({8}, {1.9, -1.9, 0, nan, inf, -inf, 3e9, 0.25});
  constexpr double most = std::numeric_limits<std::int32_t>::max(), least = std::numeric_limits<std::int32_t>::lowest();
  CHECK(close(doubles(in.cast(DType::i32)), std::vector<double>{1, -1, 0, 0, most, least, most, 0}, 0));
  CHECK(close(doubles(in.cast(DType::boolean)), std::vector<double>{1, 1, 0, 1, 1, 1, 1, 1}, 0));
  auto wide = in.cast(DType::i64);
  CHECK(wide.slice(0, 4, 5).item<std::int64_t>() == std::numeric_limits<std::int64_t>::max());
  CHECK(wide.slice(0, 5, 6).item<std::int64_t>() == std::numeric_limits<std::int64_t>::lowest());
  CHECK(wide.slice(0, 6, 7).item<std::int64_t>() == 3000000000);
  CHECK(std::isinf(in.cast(DType::f32).at({4})));
  CHECK(Tensor::of<double>({1}, {1e300}).cast(DType::f32).at({0}) == inf);
  CHECK(Tensor::of<std::int64_t>({1}, {(std::int64_t{1} << 32) + 5}).cast(DType::i32).at({0}) == 5);
  CHECK(close(doubles(Tensor::of<bool>({2}, {true, false}).cast(DType::f32)), std::vector<double>{1, 0}, 0));
  static_assert(convert<std::int32_t>(2147483647.0) == 2147483647 && convert<std::int32_t>(2147483648.0) == 2147483647);
  static_assert(convert<std::int32_t>(-2147483648.9) == -2147483647 - 1);
  for (DType from : {DType::f32, DType::f64, DType::i32, DType::i64})
    for (DType to : {DType::f32, DType::f64, DType::i32, DType::i64}) {
      Tensor t = numbers({3, 4}, from).transpose();
      CHECK(close(doubles(t.cast(to)), std::vector<double>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}, 0));
    }
}

TEST_CASE("copy: shapes must agree") {
  CHECK(error_text<ShapeError>([] {
          copy(numbers({2, 3}).view(), numbers({3}).view());
        }) == "copy: shapes differ: in is [2, 3], out is [3] (broadcast first)");
}

TEST_CASE("fill: dense and strided memory, every dtype") {
  for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::boolean}) {
    Tensor t = Tensor::zeros({3, 4}, dtype);
    fill(t.slice(1, 1, 4, 2).view(), 1);
    CHECK(close(doubles(t), std::vector<double>{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}, 0));
    fill(t.flip(0).select(0, 0).view(), 0);
    CHECK(close(doubles(t), std::vector<double>{0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0}, 0));
    fill(t.view(), 1);
    CHECK(close(doubles(t), std::vector<double>(12, 1), 0));
    fill(Tensor(Shape{0}, dtype).view(), 1);
    Tensor s(Shape{}, dtype);
    fill(s.view(), 1);
    CHECK(s.item<double>() == 1);
  }
}

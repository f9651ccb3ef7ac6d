#include <rewind/core/kernels.hpp>
#include <rewind/tests/support.hpp>

using namespace rw;
using namespace rw::test;

namespace {

Tensor numbers(const Shape& shape, DType dtype = DType::f32) { return Tensor::arange(shape.size(), dtype).reshape(shape); }

Tensor gathered(const Tensor& table, const Tensor& index) {
  Shape shape = index.shape();
  for (int i = 1; i < table.rank(); ++i) shape.push_back(table.shape()[i]);
  Tensor out(shape, table.dtype());
  gather_rows(table.view(), index.view(), out.view());
  return out;
}

Tensor scattered(const Tensor& in, const Tensor& index, const Shape& table) {
  Tensor out = Tensor::full(table, 99, in.dtype());
  scatter_add_rows(in.view(), index.view(), out.view());
  return out;
}

Tensor summed(const Tensor& in, int axis, bool reverse) {
  Tensor out(in.shape(), in.dtype());
  cumsum(in.view(), axis, reverse, out.view());
  return out;
}

}  // namespace

TEST_CASE("gather_rows: any shape of index, any strides, every dtype") {
  for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64}) {
    Tensor table = numbers({4, 3}, dtype);
    Tensor index = Tensor::of<std::int64_t>({2, 2}, {3, 0, 1, 3});
    Tensor out = gathered(table, index);
    CHECK(out.shape() == Shape{2, 2, 3});
    CHECK(close(doubles(out), std::vector<double>{9, 10, 11, 0, 1, 2, 3, 4, 5, 9, 10, 11}, 0));
    CHECK(identical(gathered(table, index.cast(DType::i32)), out));
    CHECK(close(doubles(gathered(table, index.transpose())), std::vector<double>{9, 10, 11, 3, 4, 5, 0, 1, 2, 9, 10, 11}, 0));
    CHECK(
        close(doubles(gathered(numbers({3, 4}, dtype).transpose(), index)), std::vector<double>{3, 7, 11, 0, 4, 8, 1, 5, 9, 3, 7, 11}, 0));
    CHECK(close(doubles(gathered(table.flip(0), index)), std::vector<double>{0, 1, 2, 9, 10, 11, 6, 7, 8, 0, 1, 2}, 0));
  }
  CHECK(gathered(numbers({4}), Tensor::scalar(std::int64_t{2})).item<float>() == 2);
  CHECK(gathered(numbers({4, 2, 2}), Tensor::of<std::int64_t>({1}, {3})).at({0, 1, 1}) == 15);
  CHECK(gathered(numbers({4, 3}), Tensor(Shape{0}, DType::i64)).shape() == Shape{0, 3});
  CHECK(gathered(Tensor(Shape{0, 3}), Tensor(Shape{0}, DType::i64)).shape() == Shape{0, 3});
  CHECK(gathered(numbers({4, 0}), Tensor::of<std::int64_t>({1}, {3})).shape() == Shape{1, 0});
}

TEST_CASE("scatter_add_rows: adds in order, clears what no index names") {
  for (DType dtype : {DType::f32, DType::f64}) {
    Tensor index = Tensor::of<std::int64_t>({3}, {2, 0, 2});
    CHECK(close(doubles(scattered(numbers({3, 2}, dtype), index, {4, 2})), std::vector<double>{2, 3, 0, 0, 4, 6, 0, 0}, 0));
    CHECK(close(doubles(scattered(numbers({2, 3}, dtype).transpose(), index, {4, 2})), std::vector<double>{1, 4, 0, 0, 2, 8, 0, 0}, 0));
    CHECK(close(doubles(scattered(numbers({3}, dtype), index, {3})), std::vector<double>{1, 0, 2}, 0));
    Tensor row = numbers({1, 2}, dtype).broadcast_to({3, 2});
    CHECK(close(doubles(scattered(row, index, {3, 2})), std::vector<double>{0, 1, 0, 0, 0, 2}, 0));
  }
  Tensor order = Tensor::of<float>({3}, {1e8f, 1.f, -1e8f});  // (1e8 + 1) - 1e8 in f32
  CHECK(scattered(order, Tensor::zeros({3}, DType::i64), {1}).item<float>() == 0);
  CHECK(close(doubles(scattered(Tensor(Shape{0, 2}), Tensor(Shape{0}, DType::i64), {2, 2})), std::vector<double>{0, 0, 0, 0}, 0));
}

TEST_CASE("scatter_add_rows: continues from what is there, in the order that strides give") {
  Tensor out = Tensor::of<float>({2, 1}, {5.f, 7.f});
  Tensor in = Tensor::of<float>({3, 1, 1}, {1.f, 2.f, 4.f}), index = Tensor::of<std::int64_t>({3, 1}, {1, 0, 1});
  scatter_add_rows(in.view(), index.view(), out.view(), true);
  CHECK(close(doubles(out), std::vector<double>{7, 12}, 0));
  Tensor order = Tensor::of<float>({3, 1, 1}, {1.f, -1e8f, 1e8f});  // backward: (1e8 - 1e8) + 1 in f32
  Tensor one = Tensor::zeros({1, 1}), zeros = Tensor::zeros({3, 1}, DType::i64);
  scatter_add_rows(order.flip(0).view(), zeros.flip(0).view(), one.view(), true);
  CHECK(one.item<float>() == 1);
  scatter_add_rows(order.view(), zeros.view(), one.view());
  CHECK(one.item<float>() == 0);
}

TEST_CASE("scatter_add_rows is the transpose of gather_rows: <gather(t), y> = <t, scatter(y)>") {
  Tensor table = numbers({5, 3}, DType::f64), index = Tensor::of<std::int64_t>({2, 2}, {4, 1, 1, 0}), y = numbers({2, 2, 3}, DType::f64);
  auto a = doubles(gathered(table, index)), b = doubles(y), c = doubles(table), d = doubles(scattered(y, index, {5, 3}));
  double left = 0, right = 0;
  for (std::size_t i = 0; i < a.size(); ++i) left += a[i] * b[i];
  for (std::size_t i = 0; i < c.size(); ++i) right += c[i] * d[i];
  CHECK(left == right);
}

TEST_CASE("gather and scatter: errors, before anything is written") {
  Tensor table = numbers({4, 3}), out = Tensor::full({2, 3}, 7);
  auto text = [&](std::initializer_list<std::int64_t> rows) {
    Tensor index = Tensor::of<std::int64_t>({2}, rows);
    return error_text<ValueError>([&] { gather_rows(table.view(), index.view(), out.view()); });
  };
  CHECK(text({0, 4}) == "gather: row out of range: element 1 of the index is 4, the table has 4 rows (indices run from 0)");
  CHECK(text({-1, 0}) == "gather: row out of range: element 0 of the index is -1, the table has 4 rows (indices run from 0)");
  CHECK(close(doubles(out), std::vector<double>(6, 7), 0));
  Tensor into = Tensor::full({4, 3}, 7), index = Tensor::of<std::int64_t>({2}, {0, 9});
  CHECK(error_text<ValueError>([&] { scatter_add_rows(out.view(), index.view(), into.view()); }) ==
        "scatter_add: row out of range: element 1 of the index is 9, the table has 4 rows (indices run from 0)");
  CHECK(close(doubles(into), std::vector<double>(12, 7), 0));
  CHECK(error_text<DTypeError>([&] { gather_rows(table.view(), Tensor::zeros({2}).view(), out.view()); }) ==
        "gather: index must be i32 or i64: got f32");
  CHECK(error_text<DTypeError>([&] {
          gather_rows(table.view(), index.view(), Tensor(Shape{2, 3}, DType::f64).view());
        }) == "gather: dtypes differ: table is f32, rows are f64");
  CHECK(error_text<ShapeError>([&] {
          gather_rows(table.view(), index.view(), Tensor(Shape{2, 4}).view());
        }) ==
        "gather: shapes do not fit: table is [4, 3], index is [2], rows are [2, 4] (rows must be index's shape, then table's without its "
        "first axis)");
  CHECK(error_text<DTypeError>([&] {
          scatter_add_rows(numbers({2, 3}, DType::i32).view(), index.view(), numbers({4, 3}, DType::i32).view());
        }) == "scatter_add: dtype must be f32 or f64: got i32");
}

TEST_CASE("cumsum: every axis, both directions, any strides") {
  Tensor t = numbers({2, 3});
  CHECK(close(doubles(summed(t, 1, false)), std::vector<double>{0, 1, 3, 3, 7, 12}, 0));
  CHECK(close(doubles(summed(t, 1, true)), std::vector<double>{3, 3, 2, 12, 9, 5}, 0));
  CHECK(close(doubles(summed(t, 0, false)), std::vector<double>{0, 1, 2, 3, 5, 7}, 0));
  CHECK(close(doubles(summed(t, 0, true)), std::vector<double>{3, 5, 7, 3, 4, 5}, 0));
  for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64})
    for (int axis : {0, 1, 2})
      for (bool reverse : {false, true}) {
        Tensor cube = numbers({3, 4, 5}, dtype);
        Tensor expected = summed(cube, axis, reverse);
        Tensor turned = cube.transpose().contiguous().transpose();
        CHECK(identical(summed(turned, axis, reverse), expected));
        CHECK(identical(summed(cube.flip(axis), axis, !reverse).flip(axis), expected));
        for (Index i = 0; i < 3; ++i)
          for (Index j = 0; j < 4; ++j)
            for (Index k = 0; k < 5; ++k) {
              double sum = 0;
              Index at[3] = {i, j, k};
              Index own = at[axis];
              for (at[axis] = reverse ? own : 0; at[axis] < (reverse ? cube.shape()[axis] : own + 1); ++at[axis])
                sum += cube.at({at[0], at[1], at[2]});
              CHECK(expected.at({i, j, k}) == sum);
            }
      }
  CHECK(summed(Tensor(Shape{0, 3}), 0, false).size() == 0);
  CHECK(close(doubles(summed(numbers({5}), 0, false)), std::vector<double>{0, 1, 3, 6, 10}, 0));
  CHECK(error_text<DTypeError>([] { summed(Tensor::zeros({2}, DType::boolean), 0, false); }) ==
        "cumsum: one dtype other than bool needed: in is bool, out is bool");
  CHECK(error_text<ShapeError>([] { cumsum(numbers({2}).view(), 0, false, numbers({3}).view()); }) ==
        "cumsum: shapes differ: in is [2], out is [3]");
}

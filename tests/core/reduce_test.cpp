#include <rewind/core/kernels.hpp>
#include <rewind/core/random.hpp>
#include <rewind/core/team.hpp>
#include <rewind/tests/support.hpp>

#include <limits>

using namespace rw;
using namespace rw::test;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

Shape reduced_shape(Shape shape, std::uint32_t mask) {
  for (int i = 0; i < shape.rank(); ++i)
    if (mask >> i & 1) shape[i] = 1;
  return shape;
}

bool is_arg(Reduction kind) { return kind == Reduction::argmax || kind == Reduction::argmin; }

Tensor reduced(Reduction kind, const Tensor& in, std::uint32_t mask, bool split = false) {
  bool to_i64 = is_arg(kind) || (kind == Reduction::sum && in.dtype() == DType::boolean);
  Tensor out(reduced_shape(in.shape(), mask), to_i64 ? DType::i64 : in.dtype());
  reduce(kind, in.view(), mask, out.view(), split);
  return out;
}

// The definition, over plain doubles, element by element.
Tensor reference(Reduction kind, const Tensor& in, std::uint32_t mask) {
  Shape shape = in.shape(), to = reduced_shape(shape, mask);
  auto x = doubles(in);
  std::vector<double> best(static_cast<std::size_t>(to.size())), result(best.size());
  std::vector<Index> seen(best.size());
  Strides strides = broadcast_strides(to, contiguous_strides(to), shape);
  for (Index e = 0; e < shape.size(); ++e) {
    Index rest = e, target = 0;
    for (int i = shape.rank() - 1; i >= 0; --i) {
      target += rest % shape[i] * strides[i];
      rest /= shape[i];
    }
    auto t = static_cast<std::size_t>(target);
    double v = x[static_cast<std::size_t>(e)];
    bool greater = kind == Reduction::max || kind == Reduction::argmax;
    bool better = seen[t] == 0 || (std::isnan(v) && !std::isnan(best[t])) || (greater ? v > best[t] : v < best[t]);
    if (better) best[t] = v;
    if (kind == Reduction::sum)
      result[t] += v;
    else if (!is_arg(kind))
      result[t] = best[t];
    else if (better)
      result[t] = static_cast<double>(seen[t]);
    ++seen[t];
  }
  return Tensor::of<double>(to, std::span<const double>(result));
}

constexpr Reduction kinds[] = {Reduction::sum, Reduction::max, Reduction::min, Reduction::argmax, Reduction::argmin};

// Small integers with repeats: sums are exact, and ties occur.
Tensor sample(const Shape& shape, DType dtype) {
  Generator g(11);
  return random::uniform(shape, -5, 6, DType::f64, g).cast(DType::i64).cast(dtype);
}

}  // namespace

TEST_CASE("reduce: every kind, dtype and set of axes, dense and strided, against the definition") {
  for (DType dtype : {DType::f32, DType::f64, DType::i32, DType::i64, DType::boolean})
    for (const Shape& shape :
         {Shape{}, Shape{1}, Shape{7}, Shape{3, 5}, Shape{4, 1, 6}, Shape{2, 3, 4, 5}, Shape{1, 300}, Shape{300, 2}, Shape{70, 33}}) {
      Tensor dense = sample(shape, dtype);
      std::vector<Tensor> forms = {dense};
      if (shape.rank() >= 2) forms.push_back(sample(shape, dtype).transpose().contiguous().transpose());
      if (shape.rank() >= 1) forms.push_back(dense.flip(-1));
      if (shape.rank() >= 1) {
        Shape wide = shape;
        wide[0] *= 2;
        forms.push_back(sample(wide, dtype).slice(0, 0, wide[0], 2));
      }
      for (const Tensor& in : forms)
        for (std::uint32_t mask = 0; mask < 1u << shape.rank(); ++mask)
          for (Reduction kind : kinds) {
            INFO(static_cast<int>(kind), " ", name(dtype), " ", to_string(shape), " mask ", mask);
            CHECK(close(reduced(kind, in, mask), reference(kind, in, mask), 0));
          }
    }
}

TEST_CASE("reduce: every size of a row and of a column") {
  for (Index n = 0; n < 70; ++n)
    for (Reduction kind : {Reduction::sum, Reduction::argmax}) {
      Tensor row = sample({n}, DType::f32), column = sample({n, 3}, DType::f32), wide = sample({2, n}, DType::f32);
      CHECK(close(reduced(kind, row, 1), reference(kind, row, 1), 0));
      if (n > 0 || kind == Reduction::sum) CHECK(close(reduced(kind, column, 1), reference(kind, column, 1), 0));
      CHECK(close(reduced(kind, wide, 1), reference(kind, wide, 1), 0));
    }
  for (Index n : {255, 256, 257, 512, 1000, 65535, 65536, 65537, 200000}) {
    Tensor row = sample({n}, DType::f32), column = sample({n, 2}, DType::f32);
    for (Reduction kind : kinds) {
      CHECK(close(reduced(kind, row, 1), reference(kind, row, 1), 0));
      CHECK(close(reduced(kind, column, 1), reference(kind, column, 1), 0));
    }
  }
  for (Index n : {1023, 1024, 1025, 2500}) {  // columns in one piece, and in several
    const Tensor wide = sample({40, n}, DType::f32);
    for (Reduction kind : kinds) CHECK(close(reduced(kind, wide, 1), reference(kind, wide, 1), 0));
  }
}

TEST_CASE("reduce: no elements") {
  Tensor none(Shape{0, 2});
  CHECK(close(doubles(reduced(Reduction::sum, none, 1)), std::vector<double>{0, 0}, 0));
  CHECK(close(doubles(reduced(Reduction::max, none, 1)), std::vector<double>{-inf, -inf}, 0));
  CHECK(close(doubles(reduced(Reduction::min, none, 1)), std::vector<double>{inf, inf}, 0));
  CHECK(close(doubles(reduced(Reduction::argmax, none, 1)), std::vector<double>{0, 0}, 0));
  CHECK(reduced(Reduction::sum, none, 2).shape() == Shape{0, 1});
  CHECK(reduced(Reduction::max, Tensor(Shape{0}, DType::i32), 1).item<std::int32_t>() == std::numeric_limits<std::int32_t>::lowest());
  CHECK(reduced(Reduction::min, Tensor(Shape{0}, DType::i64), 1).item<std::int64_t>() == std::numeric_limits<std::int64_t>::max());
  CHECK(reduced(Reduction::max, Tensor(Shape{0}, DType::boolean), 1).item<bool>() == false);
  CHECK(reduced(Reduction::min, Tensor(Shape{0}, DType::boolean), 1).item<bool>() == true);
}

TEST_CASE("reduce: NaN and infinities") {
  double nan = std::nan("");
  for (Index at : {0, 1, 17, 299}) {
    Tensor row = Tensor::zeros({300}, DType::f64), column;
    row.data<double>()[at] = nan;
    column = row.reshape({300, 1}).broadcast_to({300, 3});
    for (const Tensor& in : {row, column})
      for (Reduction kind : {Reduction::sum, Reduction::max, Reduction::min})
        for (double v : doubles(reduced(kind, in, 1))) CHECK(std::isnan(v));
    CHECK(reduced(Reduction::argmax, row, 1).item<Index>() == at);
    CHECK(reduced(Reduction::argmin, row, 1).item<Index>() == at);
  }
  Tensor t = Tensor::of<double>({4}, {-inf, nan, inf, nan});
  CHECK(reduced(Reduction::argmax, t, 1).item<Index>() == 1);
  Tensor infinite = Tensor::full({40}, -inf);
  CHECK(reduced(Reduction::max, infinite, 1).item<double>() == -inf);
  CHECK(reduced(Reduction::min, Tensor::full({40}, inf), 1).item<double>() == inf);
  CHECK(reduced(Reduction::sum, infinite, 1).item<double>() == -inf);
}

TEST_CASE("reduce: the order is the shape's alone, whatever strides and threads") {
  Generator g(5);
  int before = threads();
  for (const Shape& shape : {Shape{1000, 37}, Shape{37, 2500}, Shape{11, 13, 400}, Shape{90000}, Shape{300000}, Shape{5000, 600}}) {
    Tensor dense = random::normal(shape, 0, 1, DType::f32, g);
    Dims axes;
    for (int i = shape.rank() - 1; i >= 0; --i) axes.push_back(i);
    Tensor strided = dense.transpose(axes).contiguous().transpose(axes);
    for (std::uint32_t mask = 1; mask < 1u << shape.rank(); ++mask) {
      Tensor one = reduced(Reduction::sum, dense, mask);
      CHECK(identical(one, reduced(Reduction::sum, strided, mask)));
      for (int count : {1, 2, 3}) {
        set_threads(count);
        CHECK(identical(one, reduced(Reduction::sum, dense, mask, true)));
        CHECK(identical(reduced(Reduction::max, dense, mask), reduced(Reduction::max, dense, mask, true)));
        CHECK(identical(reduced(Reduction::argmax, dense, mask), reduced(Reduction::argmax, dense, mask, true)));
      }
    }
  }
  set_threads(before);
}

TEST_CASE("reduce: large f32 sums stay accurate") {
  double exact = 1e6 * static_cast<double>(0.1f);
  Tensor row = Tensor::full({1000000}, 0.1);
  CHECK(std::abs(reduced(Reduction::sum, row, 1).item<double>() / exact - 1) <= 1e-6);
  CHECK(std::abs(reduced(Reduction::sum, row.reshape({1, 1000000}), 2).item<double>() / exact - 1) <= 1e-6);
  Tensor column = row.reshape({1000000, 1}).broadcast_to({1000000, 2});
  for (double v : doubles(reduced(Reduction::sum, column, 1))) CHECK(std::abs(v / exact - 1) <= 1e-6);
  Generator g(6);
  Tensor x = random::uniform({300, 4000}, 0, 1, DType::f32, g);
  for (std::uint32_t mask : {1u, 2u, 3u})
    CHECK(max_relative_error(reduced(Reduction::sum, x, mask), reference(Reduction::sum, x, mask)) <= 1e-6);
}

TEST_CASE("reduce: integers wrap") {
  constexpr auto most = std::numeric_limits<std::int32_t>::max();
  CHECK(reduced(Reduction::sum, Tensor::of<std::int32_t>({2}, {most, 1}), 1).item<std::int32_t>() ==
        std::numeric_limits<std::int32_t>::lowest());
}

TEST_CASE("reduce: a strided result") {
  Tensor in = sample({4, 5}, DType::f32), out = Tensor::zeros({4, 2});
  reduce(Reduction::sum, in.view(), 2, out.slice(1, 1, 2).view(), false);
  Tensor expected = reference(Reduction::sum, in, 2);
  for (Index i = 0; i < 4; ++i) {
    CHECK(out.at({i, 0}) == 0);
    CHECK(out.at({i, 1}) == expected.at({i, 0}));
  }
}

TEST_CASE("reduce: errors") {
  Tensor in = Tensor::zeros({2, 3}), out = Tensor::zeros({1, 3});
  auto attempt = [&](std::uint32_t mask, Reduction kind, const Tensor& to) { reduce(kind, in.view(), mask, to.view(), false); };
  CHECK(error_text<ShapeError>([&] { attempt(2, Reduction::sum, out); }) ==
        "reduce: out does not fit: in is [2, 3], mask is 0b10, out is [1, 3]");
  CHECK(error_text<ShapeError>([&] { attempt(1, Reduction::sum, Tensor::zeros({3})); }) ==
        "reduce: ranks differ: in is [2, 3], out is [3]");
  CHECK(error_text<DTypeError>([&] { attempt(1, Reduction::argmax, out); }) == "reduce: out must be i64 for f32: got f32");
  CHECK(error_text<DTypeError>([&] {
          attempt(1, Reduction::sum, Tensor::zeros({1, 3}, DType::f64));
        }) == "reduce: out must be f32 for f32: got f64");
}

TEST_CASE("sum_steps: one chain over steps and rows, any division of columns, of steps, of threads") {
  Generator g(8);
  int before = threads();
  for (DType dtype : {DType::f32, DType::f64})
    for (Index columns : {1, 3, 16, 100, 600, 4100}) {
      constexpr Index steps = 9, rows = 7;
      Tensor in = random::normal({steps, rows, columns}, 0, 1, dtype, g);
      Tensor out(Shape{columns}, dtype), parts(Shape{columns}, dtype), backward(Shape{columns}, dtype);
      Index step = rows * columns;
      auto* first = static_cast<std::byte*>(in.view().data);
      auto from = [&](Index s) { return first + s * step * size_of(dtype); };
      sum_steps(dtype, columns, rows, steps, first, columns, step, out.view().data, false, false);

      visit(dtype, [&](auto element) {
        using T = decltype(element);
        if constexpr (std::is_floating_point_v<T>) {
          const T* x = std::as_const(in).template data<T>();
          for (Index c = 0; c < columns; ++c) {
            T chain = 0;
            for (Index i = 0; i < steps * rows; ++i) chain += x[i * columns + c];
            CHECK(std::as_const(out).template data<T>()[c] == chain);
          }
        }
      });
      sum_steps(dtype, columns, rows, 4, from(0), columns, step, parts.view().data, false, true);
      sum_steps(dtype, columns, rows, 5, from(4), columns, step, parts.view().data, true, true);
      CHECK(identical(parts, out));
      sum_steps(dtype, columns, rows, steps, from(steps - 1), columns, -step, backward.view().data, false, false);
      CHECK(close(backward, out, 1e-5));
      for (int count : {2, 3}) {
        set_threads(count);
        sum_steps(dtype, columns, rows, steps, first, columns, step, parts.view().data, false, true);
        CHECK(identical(parts, out));
      }
    }
  set_threads(before);
  Tensor out = Tensor::full({2}, 3);
  sum_steps(DType::f32, 2, 0, 5, nullptr, 2, 0, out.view().data, false, false);
  CHECK(close(doubles(out), std::vector<double>{0, 0}, 0));
  CHECK(error_text<DTypeError>([] { sum_steps(DType::i32, 1, 1, 1, nullptr, 0, 0, nullptr, false, false); }) ==
        "sum_steps: dtype must be f32 or f64: got i32");
}

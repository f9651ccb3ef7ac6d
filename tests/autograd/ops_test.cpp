// What the table of operations cannot say: dtypes, ends and ties, random leaves, and every error by its text.
#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>

#include <limits>

#include "support.hpp"

using namespace rw;
using rw::test::close;
using rw::test::doubles;
using rw::test::error_text;

namespace {

using List = std::vector<double>;
const double inf = std::numeric_limits<double>::infinity(), not_a_number = std::numeric_limits<double>::quiet_NaN();

List values(const Variable& v) { return doubles(v.value()); }
List gradient(const Variable& y, const Variable& x) { return values(gradients(sum(y), {x})[0]); }
Variable f64(std::initializer_list<double> x) { return Tensor::of<double>({x.size()}, x); }
Variable i64(std::initializer_list<std::int64_t> x) { return Tensor::of<std::int64_t>({x.size()}, x); }
Variable of_type(DType dtype) { return Tensor::full({2}, 1, dtype); }
Dims axes(std::initializer_list<Index> list) {
  Dims d;
  for (Index a : list) d.push_back(a);
  return d;
}

}  // namespace

// ---- dtypes ----------------------------------------------------------------------------------------------------------------------------

TEST_CASE("ops: operands are promoted to the later of bool, i32, i64, f32, f64; numbers take what they meet") {
  const DType order[] = {DType::boolean, DType::i32, DType::i64, DType::f32, DType::f64};
  for (int a = 0; a < 5; ++a)
    for (int b = 0; b < 5; ++b) {
      Variable x = of_type(order[a]), y = of_type(order[b]);
      DType later = order[std::max(a, b)];
      CHECK((x + y).dtype() == (later == DType::boolean ? DType::i32 : later));
      CHECK((x / y).dtype() == (later == DType::f64 ? DType::f64 : DType::f32));
      CHECK(maximum(x, y).dtype() == (later == DType::boolean ? DType::i32 : later));
      CHECK(less(x, y).dtype() == DType::boolean);
      CHECK(where(x, y, y).dtype() == order[b]);
      CHECK(values(x + y) == List{2, 2});
    }
  for (DType d : order) CHECK((of_type(d) * 2).dtype() == (d == DType::boolean ? DType::i32 : d));
  CHECK((Variable(1) + 2).dtype() == DType::f32);
  CHECK(matmul(Tensor::full({2, 2}, 1, DType::f32), Tensor::full({2, 2}, 1, DType::f64)).dtype() == DType::f64);
}

TEST_CASE("ops: integers stay whole") {
  Variable x = i64({7, -7, 3}), y = Tensor::of<std::int32_t>({3}, {2, 2, -5});
  CHECK(values(x + y) == List{9, -5, -2});
  CHECK(values(x * y) == List{14, -14, -15});
  CHECK(values(x * 0.5) == List{3, -3, 1});  // a number takes the operand's dtype, results are cut
  CHECK(values(-x) == List{-7, 7, -3});
  CHECK(values(abs(x)) == List{7, 7, 3});
  CHECK(values(sign(x)) == List{1, -1, 1});
  CHECK(values(square(y)) == List{4, 4, 25});
  CHECK(values(relu(x)) == List{7, 0, 3});
  CHECK(values(clamp(x, -2, 4)) == List{4, -2, 3});
  CHECK(values(where(greater(x, 0), x, y)) == List{7, 2, 3});
  CHECK(values(sum(x)) == List{3});
  CHECK(sum(x).dtype() == DType::i64);
  CHECK(values(max(y)) == List{2});
  CHECK(values(min(y)) == List{-5});
  CHECK(values(cumsum(x, 0)) == List{7, 0, 3});
  CHECK(mean(x).dtype() == DType::f32);
  CHECK(mean(x).item() == 1);
  CHECK(sum(greater(x, 0)).dtype() == DType::i64);
  CHECK(sum(greater(x, 0)).item() == 2);
  CHECK(values(flip(concatenate({x, x}), 0)) == List{3, -7, 7, 3, -7, 7});
  CHECK(values(pad(x, 0, 1, 1, -1)) == List{-1, 7, -7, 3, -1});
  CHECK(values(x / 2) == List{3.5, -3.5, 1.5});
  auto chain = (x + 1) * 2 - x;
  CHECK(values(chain) == List{9, -5, 5});
  Variable large = i64({(std::int64_t{1} << 40) + 1, -5});
  CHECK(values(large + large) == List{2199023255554.0, -10});
}

TEST_CASE("ops: casts truncate, saturate and ask whether a value is there") {
  Variable x = f64({1.9, -1.9, not_a_number, 1e30, 0});
  CHECK(values(cast(x, DType::i64)) == List{1, -1, 0, 9223372036854775807.0, 0});
  CHECK(values(cast(x, DType::i32)) == List{1, -1, 0, 2147483647.0, 0});
  CHECK(values(cast(f64({0, -0.0, 0.1, not_a_number}), DType::boolean)) == List{0, 0, 1, 1});
  CHECK(values(cast(f64({0.1}), DType::f32)) == List{static_cast<double>(0.1f)});
  Variable y = f64({0.5, 2});
  CHECK(gradient(cast(square(cast(y, DType::f32)), DType::f64), y) == List{1, 4});
  CHECK(gradient(cast(cast(y, DType::i64), DType::f64) * y, y) == List{0, 2});  // nothing through integers
  CHECK(cast(y, DType::f64).handle() == y.handle());
}

// ---- ends and ties ---------------------------------------------------------------------------------------------------------------------

TEST_CASE("ops: derivatives at kinks are those the contracts name") {
  Variable zero = f64({0, -0.0});
  CHECK(gradient(abs(zero), zero) == List{0, 0});
  CHECK(gradient(relu(zero), zero) == List{0, 0});
  CHECK(gradient(norm(zero), zero) == List{0, 0});
  Variable mixed = Tensor::of<double>({2, 2}, {0, 0, 3, 4});
  CHECK(close(gradient(norm(mixed, 1), mixed), List{0, 0, 0.6, 0.8}, 1e-15));
  Variable x = f64({1, 1, 2}), y = f64({1, 2, 1});
  CHECK(gradient(maximum(x, y), x) == List{1, 0, 1});  // of equals the first
  CHECK(gradient(maximum(x, y), y) == List{0, 1, 0});
  CHECK(gradient(minimum(x, y), x) == List{1, 1, 0});
  CHECK(gradient(minimum(x, y), y) == List{0, 0, 1});
  CHECK(gradient(clamp(x, 1, 1.5), x) == List{1, 1, 0});  // inside the closed interval
  CHECK(gradient(max(x), x) == List{0, 0, 1});
  CHECK(gradient(max(y), y) == List{0, 1, 0});
  Variable ties = f64({2, 1, 2, 2});
  for (double g : gradient(max(ties) * 3, ties)) CHECK((g == 1 || g == 0));  // equals share
  CHECK(gradient(min(ties), ties) == List{0, 1, 0, 0});
}

TEST_CASE("ops: no derivative runs through an unchosen infinity") {
  Variable x = f64({0, 4});
  CHECK(gradient(where(greater(x, 0), sqrt(where(greater(x, 0), x, 1)), 0), x) == List{0, 0.25});
  CHECK(gradient(where(equal(x, 0), 0, x * x), x) == List{0, 8});
  Variable p = f64({0, 2});
  CHECK(gradient(pow(p, 2), p) == List{0, 4});
  CHECK(gradient(pow(p, 0), p) == List{0, 0});
  CHECK(gradient(pow(p, p + 1), p)[0] == 1);
}

TEST_CASE("ops: softmax, log_softmax and logsumexp neither overflow nor lose infinities") {
  Variable big = f64({1000, 1001}), low = f64({-inf, -inf}), high = f64({inf, 0});
  CHECK(close(values(softmax(big)), List{1 / (1 + std::exp(1.0)), 1 / (1 + std::exp(-1.0))}, 1e-15));
  CHECK(close(values(log_softmax(big)), List{-std::log1p(std::exp(1.0)), -std::log1p(std::exp(-1.0))}, 1e-13));
  CHECK(close(logsumexp(big, 0).item(), 1000 + std::log1p(std::exp(1.0)), 1e-15));
  CHECK(logsumexp(low, 0).item() == -inf);
  CHECK(logsumexp(high, 0).item() == inf);
  CHECK(std::isnan(logsumexp(f64({not_a_number, 0}), 0).item()));
  CHECK(values(softmax(f64({-inf, 3}))) == List{0, 1});
  Variable masked = f64({-inf, 0, 0});
  CHECK(close(gradient(logsumexp(masked, 0), masked), List{0, 0.5, 0.5}, 1e-15));
}

TEST_CASE("ops: sums of nothing are 0, other reductions of nothing are errors") {
  Variable none = Tensor::zeros({0, 3}, DType::f64);
  CHECK(sum(none).item() == 0);
  CHECK(values(sum(none, 0)) == List{0, 0, 0});
  CHECK(sum(none, 1).shape() == Shape{0});
  CHECK(error_text<ShapeError>([&] { return max(none, 0); }) ==
        "max: there are no elements: x is [0, 3] (only a sum of nothing has a value)");
  CHECK(error_text<ShapeError>([&] { return min(none); }) == "min: there are no elements: x is [0, 3] (only a sum of nothing has a value)");
  CHECK(error_text<ShapeError>([&] { return mean(none); }) ==
        "mean: there are no elements: x is [0, 3] (only a sum of nothing has a value)");
  CHECK(error_text<ShapeError>([&] { return argmax(none, 0); }) ==
        "argmax: there are no elements: x is [0, 3] (only a sum of nothing has a value)");
  CHECK(gradient(none * 2, none).empty());
}

TEST_CASE("ops: detach is a constant, of pending and of evaluated values") {
  Variable x = f64({2, 3});
  CHECK(gradient(x * detach(x * x), x) == List{4, 9});
  auto y = x * x;
  y.value();
  CHECK(gradient(x * detach(y), x) == List{4, 9});
  CHECK(gradient(detach(x) * 1.0, x) == List{0, 0});
}

TEST_CASE("ops: positions count along the last axis, zeros, ones and full fill") {
  CHECK(values(positions({2, 3})) == List{0, 1, 2, 0, 1, 2});
  CHECK(positions({2, 3}).dtype() == DType::f32);
  CHECK(values(positions({3, 1}, DType::f64)) == List{0, 0, 0});
  CHECK(positions({4}, DType::i32).dtype() == DType::i32);
  CHECK(values(positions({4}, DType::i32)) == List{0, 1, 2, 3});
  CHECK(values(positions({3, 1}, DType::f64) + f64({1, 2})) == List{1, 2, 1, 2, 1, 2});
  CHECK(values(zeros({2})) == List{0, 0});
  CHECK(values(ones({2}, DType::i64)) == List{1, 1});
  CHECK(ones({2}, DType::i64).dtype() == DType::i64);
  CHECK(values(full({2}, 0.1, DType::f64)) == List{0.1, 0.1});
  CHECK(zeros({0, 2}).value().size() == 0);
}

// ---- random leaves ---------------------------------------------------------------------------------------------------------------------

TEST_CASE("ops: random leaves have their moments") {
  seed(11);
  for (DType dtype : {DType::f32, DType::f64}) {
    const Shape s{200, 300};  // 60,000 elements: standard errors 0.0012, 0.0041, 0.0019
    auto u = uniform(s, dtype), n = normal(s, dtype), b = bernoulli(s, 0.3, dtype);
    CHECK(u.dtype() == dtype);
    CHECK(std::fabs(mean(u).item() - 0.5) < 0.006);
    CHECK(std::fabs(variance(u).item() - 1.0 / 12) < 0.002);
    CHECK(min(u).item() >= 0);
    CHECK(max(u).item() < 1);
    CHECK(std::fabs(mean(n).item()) < 0.02);
    CHECK(std::fabs(variance(n).item() - 1) < 0.03);
    CHECK(std::fabs(mean(pow(n, 4)).item() - 3) < 0.2);
    CHECK(std::fabs(mean(b).item() - 0.3) < 0.01);
    CHECK(sum(logical_and(not_equal(b, 0), not_equal(b, 1))).item() == 0);
  }
  CHECK(bernoulli({3}, 1, DType::boolean).dtype() == DType::boolean);
  CHECK(values(bernoulli({3}, 1, DType::i64)) == List{1, 1, 1});
  CHECK(values(bernoulli({3}, 0)) == List{0, 0, 0});
}

TEST_CASE("ops: a random leaf is drawn once, takes a key of its own, and comes again from the same seed") {
  seed(5);
  auto a = normal({16}), b = normal({16});
  CHECK(identical(a.value(), a.value()));
  CHECK(!identical(a.value(), b.value()));
  CHECK(values(a - a) == List(16, 0.0));
  seed(5);
  auto before = generator().state();
  auto c = normal({16});
  CHECK(generator().state().stream == before.stream + 1);  // at the recording, not at the run
  CHECK(identical(a.value(), c.value()));
  seed(5);
  CHECK(identical(Tensor(normal({4, 4}).value()), a.value().reshape({4, 4})));  // the shape is only how they are seen
  auto x = f64({1, 2});
  CHECK(gradient(x * uniform({2}, DType::f64) * 0, x) == List{0, 0});
  auto u = uniform({2}, DType::f64);
  CHECK(gradient(x * u, x) == values(u));  // the same numbers forward and backward
}

// ---- errors ----------------------------------------------------------------------------------------------------------------------------

TEST_CASE("ops: shapes that do not fit are errors at the call") {
  Variable a = Tensor::zeros({2, 3}), b = Tensor::zeros({4}), s = Tensor::zeros({}), c = Tensor::zeros({2, 3, 4});
  auto shape_error = [](auto f) { return error_text<ShapeError>(f); };
  CHECK(shape_error([&] { return a + b; }) ==
        "add: shapes do not broadcast: a is [2, 3], b is [4] (axes are aligned at the last; extents must be equal or one of them 1)");
  CHECK(shape_error([&] { return where(a, a, b); }) ==
        "where: shapes do not broadcast: a is [2, 3], b is [4] (axes are aligned at the last; extents must be equal or one of them 1)");
  CHECK(shape_error([&] { return matmul(a, a); }) ==
        "matmul: inner dimensions differ: a is [2, 3], b is [2, 3] (a's last axis must equal b's first)");
  CHECK(shape_error([&] { return matmul(c, c); }) ==
        "matmul: inner dimensions differ: a is [2, 3, 4], b is [2, 3, 4] (a's last axis must equal b's last but one)");
  CHECK(shape_error([&] {
          return matmul(c, Tensor::zeros({3, 4, 5}));
        }) == "matmul: leading axes differ: a is [2, 3, 4], b is [3, 4, 5] (they must be equal, or b of rank 2)");
  CHECK(shape_error([&] { return matmul(s, a); }) == "matmul: operands need an axis: a is [], b is [2, 3] (multiply numbers with *)");
  CHECK(shape_error([&] { return sum(a, {0, -2}); }) == "sum: axis -2 is named twice (name each once)");
  CHECK(shape_error([&] { return sum(a, 2); }) == error_text<ShapeError>([&] { return normal_axis("sum", 2, 2); }));
  CHECK(shape_error([&] { return softmax(a, 2); }) == error_text<ShapeError>([&] { return normal_axis("max", 2, 2); }));
  CHECK(shape_error([&] { return reshape(a, {4}); }) == "reshape: [2, 3] has 6 elements, [4] has 4 (they must be equal)");
  CHECK(shape_error([&] { return reshape(a, {4, -1}); }) == "reshape: [2, 3] has 6 elements, which [4, -1] cannot hold");
  CHECK(shape_error([&] { return reshape(a, {-1, -1}); }) == "reshape: extents must be >= 0, one may be -1: got [-1, -1]");
  CHECK(shape_error([&] { return reshape(a, {-2}); }) == "reshape: extents must be >= 0, one may be -1: got [-2]");
  CHECK(shape_error([&] { return transpose(b); }) == "transpose: two axes are needed: x is [4]");
  CHECK(shape_error([&] { return transpose(a, axes({0})); }) == "transpose: 1 axes for [2, 3] (each axis must be named once)");
  CHECK(shape_error([&] {
          return transpose(a, axes({1, -1}));
        }) == "transpose: axis -1 is named twice: [1, -1] (each axis must be named once)");
  CHECK(shape_error([&] {
          return broadcast_to(a, {2, 4});
        }) == "broadcast_to: [2, 3] does not broadcast to [2, 4] (aligned at the last axis, extents must be equal or 1)");
  CHECK(shape_error([&] { return split(a, 2); }) ==
        "split: axis 1 of [2, 3] has extent 3, which is no multiple of 2 (equal parts are needed)");
  CHECK(shape_error([&] { return split(a, 0); }) ==
        "split: axis 1 of [2, 3] has extent 3, which is no multiple of 0 (equal parts are needed)");
  CHECK(shape_error([&] { return concatenate(std::span<const Variable>()); }) == "concatenate: there are no parts (give one or more)");
  CHECK(shape_error([&] {
          return concatenate({a, b});
        }) == "concatenate: [4] beside [2, 3] along axis 1 (all other extents must be equal)");
  CHECK(shape_error([&] { return stack(std::span<const Variable>()); }) == "stack: there are no parts (give one or more)");
  CHECK(shape_error([&] { return stack({a, b}); }) == "stack: [4] beside [2, 3] (shapes must be equal)");
  CHECK(shape_error([&] { return gather(s, i64({0})); }) == "gather: the table needs an axis of rows: it is []");
  CHECK(shape_error([&] {
          return scatter_add(a, i64({0, 1, 2}), 4);
        }) == "scatter_add: x is [2, 3], the index [3] (x's leading axes must be the index's)");
  CHECK(shape_error([&] { return positions({}); }) == "positions: an axis is needed: the shape is []");
  CHECK(shape_error([&] { return full({2}, b); }) == "full: one value is needed: got [4]");
}

TEST_CASE("ops: ranges and dtypes that do not fit are errors at the call") {
  Variable a = Tensor::zeros({2, 3}), n = i64({1, 2});
  auto value_error = [](auto f) { return error_text<ValueError>(f); };
  auto dtype_error = [](auto f) { return error_text<DTypeError>(f); };
  CHECK(value_error([&] { return slice(a, 1, 2, 2); }) == "slice: 2 .. 4 lies outside axis 1 of [2, 3]");
  CHECK(value_error([&] { return slice(a, -1, -1, 1); }) == "slice: -1 .. 0 lies outside axis 1 of [2, 3]");
  CHECK(value_error([&] { return select(a, 0, 2); }) == "select: position 2 lies outside axis 0 of [2, 3]");
  CHECK(value_error([&] { return a[-3]; }) == "select: position -3 lies outside axis 0 of [2, 3]");
  CHECK(value_error([&] { return pad(a, 0, -1, 0); }) == "pad: -1 before and 0 after (both must be >= 0)");
  CHECK(value_error([&] { return scatter_add(a, i64({0, 1}), -1); }) == "scatter_add: rows must be >= 0: got -1");
  CHECK(value_error([&] { return custom("mine", a, {}, {}); }) == "mine: both forward and backward must be given");
  CHECK(dtype_error([&] { return matmul(n, n); }) == "matmul: f32 or f64 is needed: a is i64, b is i64 (cast first)");
  CHECK(dtype_error([&] { return concatenate({f64({1}), n}); }) == "concatenate: i64 beside f64 (cast to one dtype)");
  CHECK(dtype_error([&] { return gather(a, a); }) == "gather: the index must be i32 or i64: it is f32 (cast it)");
  CHECK(dtype_error([&] { return uniform({2}, DType::i64); }) == "uniform: f32 or f64 is needed, not i64");
  CHECK(dtype_error([&] { return normal({2}, DType::boolean); }) == "normal: f32 or f64 is needed, not bool");
}

TEST_CASE("ops: what only a run can find is an error of the run, and leaves the tape usable") {
  Variable table = Tensor::zeros({3, 2});
  for (std::int64_t bad : {std::int64_t{3}, std::int64_t{-1}}) {
    auto y = gather(table, i64({0, bad}));
    CHECK(error_text<ValueError>([&] { return y.value(); }).find(std::to_string(bad)) != std::string::npos);
    CHECK(error_text<ValueError>([&] {
            return scatter_add(table, i64({0, 1, bad}), 3).value();
          }).find(std::to_string(bad)) != std::string::npos);
  }
  auto same = [](const Tensor& t) { return t; };
  auto rule = [](const Variable& g, const Variable&) { return g; };
  CHECK(error_text<ShapeError>([&] {
          return custom(
                     "mine", table, [](const Tensor&) { return Tensor::zeros({2}); }, rule)
              .value();
        }) == "mine: forward gave [2] for [3, 2] (a custom operation keeps the shape)");
  CHECK(error_text<DTypeError>([&] {
          return custom(
                     "mine", table, [](const Tensor& t) { return t.cast(DType::f64); }, rule)
              .value();
        }) == "mine: forward gave f64 for f32 (a custom operation keeps the dtype)");
  CHECK(custom("mine", table, same, rule).value().shape() == Shape{3, 2});
  CHECK(values(table + 1) == List(6, 1.0));
}

#include <rewind/core/shape.hpp>
#include <rewind/tests/support.hpp>

#include <sstream>

using namespace rw;
using namespace rw::test;

namespace {

Strides strides(std::initializer_list<Index> values) { return Strides(Dims(std::span<const Index>(values.begin(), values.size()))); }

}  // namespace

TEST_CASE("Shape: rank, size, comparison, and any integral type") {
  std::vector<int> v(3);
  CHECK(Shape{v.size(), 4, Index{2}} == Shape{3, 4, 2});
  CHECK(Shape{}.rank() == 0);
  CHECK(Shape{}.size() == 1);
  CHECK(Shape{2, 0, 3}.size() == 0);
  CHECK(Shape{2, 3}.size() == 6);
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2, 3}.back() == 3);
  Shape s{1, 2};
  s.insert(1, 7);
  CHECK(s == Shape{1, 7, 2});
  s.insert(3, 9);
  s.erase(0);
  CHECK(s == Shape{7, 2, 9});
}

TEST_CASE("Shape: more than eight axes are refused") {
  CHECK(Shape{1, 2, 3, 4, 5, 6, 7, 8}.rank() == 8);
  CHECK(error_text<ShapeError>([] { return Shape{1, 2, 3, 4, 5, 6, 7, 8, 9}; }) ==
        "shape: too many axes: got more than 8 (join axes with reshape)");
}

TEST_CASE("Shape: printing") {
  std::ostringstream out;
  out << Shape{32, 64} << Shape{} << Shape{5};
  CHECK(out.str() == "[32, 64][][5]");
  CHECK(to_string(strides({-1, 0})) == "[-1, 0]");
}

TEST_CASE("strides: contiguous ones, and what counts as contiguous") {
  CHECK(contiguous_strides(Shape{2, 3, 4}) == strides({12, 4, 1}));
  CHECK(contiguous_strides(Shape{}) == strides({}));
  CHECK(is_contiguous(Shape{2, 3}, strides({3, 1})));
  CHECK(is_contiguous(Shape{1, 3}, strides({99, 1})));
  CHECK(is_contiguous(Shape{0, 3}, strides({7, 7})));
  CHECK_FALSE(is_contiguous(Shape{2, 3}, strides({1, 2})));
  CHECK_FALSE(is_contiguous(Shape{2, 3}, strides({4, 1})));
  CHECK_FALSE(is_contiguous(Shape{2, 3}, strides({0, 1})));
}

TEST_CASE("broadcast: aligned at the last axis, equal or 1, symmetric") {
  struct Case {
    Shape a, b, result;
  };
  for (const Case& c : {Case{{2, 3}, {3}, {2, 3}}, Case{{2, 3}, {}, {2, 3}}, Case{{2, 1}, {1, 3}, {2, 3}},
                        Case{{4, 1, 3}, {2, 1}, {4, 2, 3}}, Case{{0, 3}, {1, 3}, {0, 3}}, Case{{1}, {0}, {0}}}) {
    CHECK(broadcast("add", c.a, c.b) == c.result);
    CHECK(broadcast("add", c.b, c.a) == c.result);
    CHECK(broadcasts_to(c.a, c.result));
    CHECK(broadcasts_to(c.b, c.result));
  }
  CHECK_FALSE(broadcasts_to(Shape{2, 3}, Shape{3}));
  CHECK_FALSE(broadcasts_to(Shape{2}, Shape{3}));
  CHECK_FALSE(broadcasts_to(Shape{2}, Shape{0}));
  CHECK(error_text<ShapeError>([] {
          return broadcast("add", Shape{2, 3}, Shape{4});
        }) == "add: shapes do not broadcast: a is [2, 3], b is [4] (axes are aligned at the last; extents must be equal or one of them 1)");
}

TEST_CASE("broadcast_strides: 0 along repeated axes") {
  CHECK(broadcast_strides(Shape{2, 1}, strides({5, 7}), Shape{4, 2, 3}) == strides({0, 5, 0}));
  CHECK(broadcast_strides(Shape{2, 3}, strides({3, 1}), Shape{2, 3}) == strides({3, 1}));
  CHECK(broadcast_strides(Shape{}, strides({}), Shape{2}) == strides({0}));
  CHECK(error_text<ShapeError>([] {
          return broadcast_strides(Shape{2}, strides({1}), Shape{2, 3});
        }) ==
        "broadcast_to: shapes do not fit: [2] does not repeat to [2, 3] (axes are aligned at the last; extents must be equal or one of "
        "them 1)");
}

TEST_CASE("normal_axis: from the front, from the back, out of range") {
  CHECK(normal_axis("sum", 0, 3) == 0);
  CHECK(normal_axis("sum", -1, 3) == 2);
  CHECK(normal_axis("sum", -3, 3) == 0);
  CHECK(error_text<ShapeError>([] { return normal_axis("sum", 3, 3); }) ==
        "sum: axis out of range: got 3 for rank 3 (axes run from -3 to 2)");
  CHECK(error_text<ShapeError>([] { return normal_axis("sum", -4, 3); }) ==
        "sum: axis out of range: got -4 for rank 3 (axes run from -3 to 2)");
  CHECK(error_text<ShapeError>([] { return normal_axis("sum", 0, 0); }) ==
        "sum: axis out of range: got 0 for a scalar (a scalar has no axes)");
}

TEST_CASE("reshape_strides: views where strides allow, and only there") {
  struct Case {
    Shape shape;
    Strides strides;
    Shape to;
    bool fits;
    Strides result;
  };
  const Case cases[] = {
      {{2, 3, 4}, strides({12, 4, 1}), {6, 4}, true, strides({4, 1})},
      {{2, 3, 4}, strides({12, 4, 1}), {4, 6}, true, strides({6, 1})},
      {{2, 3, 4}, strides({12, 4, 1}), {2, 1, 12, 1}, true, strides({12, 12, 1, 1})},
      {{4, 3}, strides({1, 4}), {2, 2, 3}, true, strides({2, 1, 4})},
      {{4, 3}, strides({1, 4}), {12}, false, {}},
      {{4, 3}, strides({1, 4}), {2, 6}, false, {}},
      {{4}, strides({-1}), {2, 2}, true, strides({-2, -1})},
      {{3, 4}, strides({0, 1}), {3, 2, 2}, true, strides({0, 2, 1})},
      {{3, 4}, strides({0, 1}), {12}, false, {}},
      {{3, 4}, strides({0, 0}), {12}, true, strides({0})},
      {{1, 1}, strides({5, 9}), {}, true, strides({})},
      {{}, strides({}), {1, 1}, true, strides({1, 1})},
      {{0, 4}, strides({9, 9}), {2, 0}, true, strides({0, 1})},
      {{2, 3}, strides({3, 1}), {5}, false, {}},
      {{2, 2, 3}, strides({12, 3, 1}), {2, 6}, true, strides({12, 1})},
      {{2, 2, 3}, strides({12, 3, 1}), {4, 3}, false, {}},
  };
  for (const Case& c : cases) {
    INFO(to_string(c.shape), to_string(c.strides), to_string(c.to));
    Strides result;
    CHECK(reshape_strides(c.shape, c.strides, c.to, result) == c.fits);
    if (!c.fits) continue;
    for (int i = 0; i < c.to.rank(); ++i)
      if (c.to[i] != 1 && c.to.size() != 0) CHECK(result[i] == c.result[i]);
  }
}

TEST_CASE("DType: sizes, names, promotion, C++ types") {
  CHECK(size_of(DType::f32) == 4);
  CHECK(size_of(DType::f64) == 8);
  CHECK(size_of(DType::i32) == 4);
  CHECK(size_of(DType::i64) == 8);
  CHECK(size_of(DType::boolean) == 1);
  CHECK(std::string(name(DType::boolean)) == "bool");
  const DType order[] = {DType::boolean, DType::i32, DType::i64, DType::f32, DType::f64};
  for (int i = 0; i < 5; ++i)
    for (int j = 0; j < 5; ++j) CHECK(promote(order[i], order[j]) == order[i > j ? i : j]);
  for (DType d : order) CHECK(visit(d, [](auto x) { return dtype_of<decltype(x)>(); }) == d);
}

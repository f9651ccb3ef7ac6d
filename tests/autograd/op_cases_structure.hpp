// The table of operations, those with a structure: reductions, products, parts.
#pragma once

#include <algorithm>

#include "op_case.hpp"

namespace rw::test::cases {

// ---- reductions ------------------------------------------------------------------------------------------------------------------------

template <class S>
S total(const std::vector<S>& x) {
  S s(0);
  for (const S& v : x) s += v;
  return s;
}
template <class S>
S average(const std::vector<S>& x) {
  return total(x) / S(static_cast<Real>(x.size()));
}
template <class S>
S largest(const std::vector<S>& x) {
  S best = x[0];
  for (const S& v : x)
    if (v > best || isnan(v)) best = v;
  return best;
}
template <class S>
S spread(const std::vector<S>& x) {
  S mean = average(x), s(0);
  for (const S& v : x) s += (v - mean) * (v - mean);
  return s / S(static_cast<Real>(x.size()));
}
template <class S>
S length(const std::vector<S>& x) {
  S s(0);
  for (const S& v : x) s += v * v;
  return s == S(0) ? S(0) : sqrt(s);
}
template <class S>
S log_of_sum(const std::vector<S>& x) {
  S top(part(largest(x))), s(0);
  if (!isfinite(top)) top = S(0);
  for (const S& v : x) s += exp(v - top);
  return log(s) + top;
}

inline void reductions(std::vector<OpCase>& list) {
  struct Choice {
    std::vector<Shape> shapes;
    Dims axes;
    unsigned mask;
  };
  auto dims = [](std::initializer_list<Index> axes) {
    Dims d;
    for (Index a : axes) d.push_back(a);
    return d;
  };
  const Choice choices[] = {{{{3, 5}, {1, 4}, {4, 1}, {2, 37}}, dims({1}), 2},
                            {{{3, 5}, {1, 1}, {33, 3}}, dims({-2}), 1},
                            {{{3, 5}, {1, 1}}, dims({0, 1}), 3},
                            {{{2, 3, 4}, {2, 1, 5}}, dims({0, -1}), 5},
                            {{{2, 3, 4}}, dims({1}), 2},
                            {{{7}, {1}}, dims({0}), 1}};
  const Choice with_nothing[] = {{{{0, 3}}, dims({1}), 2}, {{{3, 0}, {0, 3}, {0, 0}}, dims({1}), 2}, {{{2, 0, 3}}, dims({0}), 1}};
  auto add = [&](const char* name, auto f, auto reference, const Choice& c, bool differentiable = true) {
    for (bool keep : {false, true})
      for (const Shape& s : c.shapes)
        list.push_back({std::string(name) + " over " + to_string(c.axes) + (keep ? ", kept" : ""),
                        [f, axes = Axes(c.axes), keep](const Operands& x) { return f(x[0], axes, keep); },
                        over(c.mask, keep, reference),
                        {{s}},
                        -2,
                        2,
                        {},
                        differentiable});
  };
  for (const auto& c : choices) {
    add(
        "sum", [](auto& x, auto& a, bool k) { return sum(x, a, k); }, [](const auto& x) { return total(x); }, c);
    add(
        "mean", [](auto& x, auto& a, bool k) { return mean(x, a, k); }, [](const auto& x) { return average(x); }, c);
    add(
        "max", [](auto& x, auto& a, bool k) { return max(x, a, k); }, [](const auto& x) { return largest(x); }, c);
    add(
        "min", [](auto& x, auto& a, bool k) { return min(x, a, k); },
        [](auto x) {
          for (auto& v : x) v = -v;
          return -largest(x);
        },
        c);
    add(
        "variance", [](auto& x, auto& a, bool k) { return variance(x, a, k); }, [](const auto& x) { return spread(x); }, c);
    add(
        "norm", [](auto& x, auto& a, bool k) { return norm(x, a, k); }, [](const auto& x) { return length(x); }, c);
    add(
        "logsumexp", [](auto& x, auto& a, bool k) { return logsumexp(x, a, k); }, [](const auto& x) { return log_of_sum(x); }, c);
  }
  for (const auto& c : with_nothing)
    add(
        "sum", [](auto& x, auto& a, bool k) { return sum(x, a, k); }, [](const auto& x) { return total(x); }, c);
  auto whole = [&](const char* name, auto f, auto reference) {
    list.push_back({name, function(f), over(7, false, reference), {{{2, 3, 4}}, {{5}}, {{}}, {{1, 1}}}});
  };
  whole("sum of all", REWIND_LIFT(sum), [](const auto& x) { return total(x); });
  whole("mean of all", REWIND_LIFT(mean), [](const auto& x) { return average(x); });
  whole("max of all", REWIND_LIFT(max), [](const auto& x) { return largest(x); });
  whole("variance of all", REWIND_LIFT(variance), [](const auto& x) { return spread(x); });
  whole("norm of all", REWIND_LIFT(norm), [](const auto& x) { return length(x); });
  for (bool smallest : {false, true}) {
    for (int axis : {0, 1})
      list.push_back({smallest ? "argmin" : "argmax",
                      [=](const Operands& x) { return smallest ? argmin(x[0], axis) : argmax(x[0], axis - 2); },
                      over(axis ? 2u : 1u, false,
                           [=](const auto& x) {
                             std::size_t best = 0;
                             for (std::size_t i = 1; i < x.size(); ++i)
                               if (!isnan(x[best]) && (isnan(x[i]) || (smallest ? x[i] < x[best] : x[i] > x[best]))) best = i;
                             return std::remove_cvref_t<decltype(x[0])>(static_cast<Real>(best));
                           }),
                      {{{3, 5}}, {{1, 4}}, {{4, 1}}, {{17, 33}}},
                      -2,
                      2,
                      {},
                      false});
  }
  auto lines = [&](const char* name, auto f, auto reference) {
    for (int axis : {0, 1, 2})
      list.push_back({std::string(name) + " along " + std::to_string(axis),
                      [=](const Operands& x) { return f(x[0], axis); },
                      along(axis, reference),
                      {{{3, 5, 4}}, {{1, 2, 1}}, {{2, 1, 3}}}});
  };
  lines(
      "softmax", [](auto& x, Index a) { return softmax(x, a); },
      [](auto x) {
        auto top = part(largest(x));
        for (auto& v : x) v = exp(v - std::remove_cvref_t<decltype(v)>(top));
        auto s = total(x);
        for (auto& v : x) v = v / s;
        return x;
      });
  lines(
      "log_softmax", [](auto& x, Index a) { return log_softmax(x, a - 3); },
      [](auto x) {
        auto s = log_of_sum(x);
        for (auto& v : x) v = v - s;
        return x;
      });
  lines(
      "cumsum", [](auto& x, Index a) { return cumsum(x, a); },
      [](auto x) {
        for (std::size_t i = 1; i < x.size(); ++i) x[i] += x[i - 1];
        return x;
      });
}

// ---- products and parts ----------------------------------------------------------------------------------------------------------------

inline void products(std::vector<OpCase>& list) {
  struct Ranks {
    Shape a, b, y;
    Index B, M, K, N;
    bool batched;
  };
  for (const Ranks& r : std::initializer_list<Ranks>{{{3, 5}, {5, 4}, {3, 4}, 1, 3, 5, 4, false},
                                                     {{1, 1}, {1, 1}, {1, 1}, 1, 1, 1, 1, false},
                                                     {{13, 7}, {7, 33}, {13, 33}, 1, 13, 7, 33, false},
                                                     {{2, 3, 5}, {5, 4}, {2, 3, 4}, 1, 6, 5, 4, false},
                                                     {{2, 2, 3, 2}, {2, 4}, {2, 2, 3, 4}, 1, 12, 2, 4, false},
                                                     {{2, 3, 5}, {2, 5, 4}, {2, 3, 4}, 2, 3, 5, 4, true},
                                                     {{2, 1, 3, 2}, {2, 1, 2, 4}, {2, 1, 3, 4}, 2, 3, 2, 4, true},
                                                     {{5}, {5, 4}, {4}, 1, 1, 5, 4, false},
                                                     {{3, 5}, {5}, {3}, 1, 3, 5, 1, false},
                                                     {{2, 3, 5}, {5}, {2, 3}, 1, 6, 5, 1, false},
                                                     {{5}, {5}, {}, 1, 1, 5, 1, false},
                                                     {{3, 0}, {0, 4}, {3, 4}, 1, 3, 0, 4, false},
                                                     {{2, 3, 0}, {0, 4}, {2, 3, 4}, 1, 6, 0, 4, false},
                                                     {{0, 5}, {5, 4}, {0, 4}, 1, 0, 5, 4, false},
                                                     {{0, 2, 5}, {5, 4}, {0, 2, 4}, 1, 0, 5, 4, false},
                                                     {{0, 2, 5}, {0, 5, 4}, {0, 2, 4}, 0, 2, 5, 4, true},
                                                     {{3, 5}, {5, 0}, {3, 0}, 1, 3, 5, 0, false}})
    list.push_back({"matmul " + to_string(r.a) + " " + to_string(r.b),
                    function(REWIND_LIFT(matmul)),
                    product(r.y, r.B, r.M, r.K, r.N, r.batched),
                    {{r.a, r.b}}});
  list.push_back({"a product with itself",
                  [](const Operands& x) { return matmul(x[0], x[0]); },
                  [](const auto& in) {
                    return product({3, 3}, 1, 3, 3, 3, false)(std::vector{in[0], in[0]});
                  },
                  {{{3, 3}}}});
}

inline void parts(std::vector<OpCase>& list) {
  using std::pair;
  auto from = [](auto f) { return [f](Index i) { return pair<int, Index>(0, f(i)); }; };
  auto add = [&](const char* name, auto f, auto reference, std::vector<Shape> shapes) {
    list.push_back({name, [f](const Operands& x) { return f(x); }, reference, {shapes}});
  };
  auto same = from([](Index i) { return i; });
  add("reshape", [](auto& x) { return reshape(x[0], {2, -1}); }, picked({2, 6}, same), {{3, 4}});
  add("reshape to a scalar", [](auto& x) { return reshape(x[0], {}); }, picked({}, same), {{1, 1}});
  add("reshape of nothing", [](auto& x) { return reshape(x[0], {0, 7}); }, picked({0, 7}, same), {{3, 0}});
  add("reshape of a transposition", [](auto& x) { return reshape(transpose(x[0]), {12}); },
      picked({12}, from([](Index i) { return i % 3 * 4 + i / 3; })), {{3, 4}});
  add("newaxis", [](auto& x) { return newaxis(x[0], 1); }, picked({3, 1, 4}, same), {{3, 4}});
  add("newaxis at the end", [](auto& x) { return newaxis(x[0], -1); }, picked({3, 4, 1}, same), {{3, 4}});
  add("transpose", [](auto& x) { return transpose(x[0]); },
      picked({2, 4, 3}, from([](Index i) { return i / 12 * 12 + i % 3 * 4 + i / 3 % 4; })), {{2, 3, 4}});
  add("transpose of axes",
      [](auto& x) {
        Dims d;
        for (Index a : {2, 0, 1}) d.push_back(a);
        return transpose(x[0], d);
      },
      picked({4, 2, 3}, from([](Index i) { return i % 6 * 4 + i / 6; })), {{2, 3, 4}});
  add("broadcast_to",
      [](auto& x) {
        return broadcast_to(x[0], {2, 3, 4});
      },
      picked({2, 3, 4}, from([](Index i) { return i / 4 % 3; })), {{3, 1}});
  add("broadcast_to nothing", [](auto& x) { return broadcast_to(x[0], {0, 3}); }, picked({0, 3}, same), {{1, 3}});
  add("flip", [](auto& x) { return flip(x[0], {0, -1}); }, picked({3, 4}, from([](Index i) { return 11 - i; })), {{3, 4}});
  add("flip of one axis", [](auto& x) { return flip(x[0], 1); }, picked({3, 4}, from([](Index i) { return i / 4 * 4 + 3 - i % 4; })),
      {{3, 4}});
  add("slice", [](auto& x) { return slice(x[0], 1, 1, 2); }, picked({3, 2}, from([](Index i) { return i / 2 * 4 + i % 2 + 1; })), {{3, 4}});
  add("slice of rows", [](auto& x) { return slice(x[0], 0, 2, 1); }, picked({1, 4}, from([](Index i) { return i + 8; })), {{3, 4}});
  add("slice of nothing", [](auto& x) { return slice(x[0], 0, 3, 0); }, picked({0, 4}, same), {{3, 4}});
  add("select", [](auto& x) { return select(x[0], 1, -1); }, picked({3}, from([](Index i) { return i * 4 + 3; })), {{3, 4}});
  add("operator[]", [](auto& x) { return x[0][1]; }, picked({4}, from([](Index i) { return i + 4; })), {{3, 4}});
  add(
      "overlapping slices", [](auto& x) { return slice(x[0], 0, 0, 2) * slice(x[0], 0, 1, 2); },
      [](const auto& in) {
        auto y = in[0];
        y.shape = Shape{2};
        y.data = {in[0][0] * in[0][1], in[0][1] * in[0][2]};
        return y;
      },
      {{3}});
  add("pad", [](auto& x) { return pad(x[0], 0, 1, 2, 0.5); },
      picked({5, 2}, from([](Index i) { return i < 2 || i >= 6 ? -1 : i - 2; }), 0.5), {{2, 2}});
  add("pad of the last axis", [](auto& x) { return pad(x[0], -1, 0, 1); },
      picked({2, 3}, from([](Index i) { return i % 3 == 2 ? -1 : i / 3 * 2 + i % 3; })), {{2, 2}});
  add("concatenate",
      [](auto& x) {
        return concatenate({x[0], x[1], x[0]});
      },
      picked({2, 5},
             [](Index i) {
               Index r = i / 5, c = i % 5;
               return c == 2 ? pair<int, Index>(1, r) : pair<int, Index>(0, r * 2 + (c < 2 ? c : c - 3));
             }),
      {{2, 2}, {2, 1}});
  add("concatenate rows, one empty", [](auto& x) { return concatenate({x[0], x[1]}, 0); }, picked({2, 2}, same), {{2, 2}, {0, 2}});
  add("stack",
      [](auto& x) {
        return stack({x[0], x[1]}, 1);
      },
      picked({3, 2}, [](Index i) { return pair<int, Index>(static_cast<int>(i % 2), i / 2); }), {{3}, {3}});
  add(
      "split",
      [](auto& x) {
        auto [a, b, c] = split<3>(x[0]);
        return a * c + b;
      },
      [](const auto& in) {
        std::remove_cvref_t<decltype(in[0])> y(Shape{2, 2});
        for (Index i = 0; i < 4; ++i) y[i] = in[0][i / 2 * 6 + i % 2] * in[0][i / 2 * 6 + i % 2 + 4] + in[0][i / 2 * 6 + i % 2 + 2];
        return y;
      },
      {{2, 6}});
  add(
      "split of axis 0, parts in another order",
      [](auto& x) {
        auto p = split(x[0], 2, 0);
        return concatenate({tanh(p[1]), p[0]}, 0);
      },
      [](const auto& in) {
        auto y = in[0];
        for (Index i = 0; i < 8; ++i) y[i] = i < 4 ? tanh(in[0][i + 4]) : in[0][i - 4];
        return y;
      },
      {{4, 2}});
  static const Tensor index = Tensor::of<std::int64_t>({2, 3}, {2, 0, 2, 1, 1, 2}), narrow = Tensor::of<std::int32_t>({3}, {3, 0, 3});
  add("gather", [](auto& x) { return gather(x[0], index); }, picked({2, 3, 2}, from([](Index i) {
                                                                      const Index at[] = {2, 0, 2, 1, 1, 2};
                                                                      return at[i / 2] * 2 + i % 2;
                                                                    })),
      {{4, 2}});
  add("gather of a vector", [](auto& x) { return gather(x[0], narrow); }, picked({3}, from([](Index i) { return i == 1 ? 0 : 3; })), {{4}});
  add("gather by one number", [](auto& x) { return gather(x[0], Tensor::scalar(std::int64_t{1})); },
      picked({2}, from([](Index i) { return i + 2; })), {{4, 2}});
  add(
      "scatter_add", [](auto& x) { return scatter_add(x[0], narrow, 5); },
      [](const auto& in) {
        std::remove_cvref_t<decltype(in[0])> y(Shape{5, 2});
        for (Index i = 0; i < 6; ++i) y[(i / 2 == 1 ? 0 : 3) * 2 + i % 2] += in[0][i];
        return y;
      },
      {{3, 2}});
  add(
      "full of a computed value",
      [](auto& x) {
        return full({2, 3}, sum(x[0]), x[0].dtype());
      },
      [](const auto& in) {
        return std::remove_cvref_t<decltype(in[0])>(Shape{2, 3}, total(in[0].data));
      },
      {{3}});
  add(
      "through reshape, transpose, slice and back",
      [](auto& x) {
        return reshape(slice(transpose(reshape(x[0], {3, 4})), 0, 1, 2), {6}) * 2;
      },
      [](const auto& in) {
        std::remove_cvref_t<decltype(in[0])> y(Shape{6});
        for (Index i = 0; i < 6; ++i) y[i] = in[0][i % 3 * 4 + i / 3 + 1] + in[0][i % 3 * 4 + i / 3 + 1];
        return y;
      },
      {{12}});
}

}  // namespace rw::test::cases

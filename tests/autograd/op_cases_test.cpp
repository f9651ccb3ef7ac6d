// Every operation of the table in every mode.
#include "op_cases.hpp"

#include <rewind/autograd/gradcheck.hpp>
#include <rewind/autograd/gradients.hpp>

#include <limits>
#include <random>

#include "compare.hpp"

using namespace rw;
using namespace rw::test;

namespace {

using Data = std::vector<Plain<Real>>;

/// Values of the domain that keep off the kinks, the same for equal cases.
Data data_of(const OpCase& c, const std::vector<Shape>& shapes) {
  std::mt19937_64 random(shapes.size() + 17);
  Data data;
  for (const Shape& s : shapes) {
    Plain<Real> x(s);
    for (auto& v : x.data) {
      bool near = true;
      while (near) {
        v = c.low + (c.high - c.low) * static_cast<double>(random() >> 11) * 0x1p-53;
        v = static_cast<float>(v);  // so that f32 starts from the same values
        near = std::any_of(c.kinks.begin(), c.kinks.end(), [&](double k) { return std::fabs(static_cast<double>(v) - k) < 0.05; });
      }
    }
    data.push_back(std::move(x));
  }
  return data;
}

Tensor tensor_of(const Plain<Real>& x, DType dtype) {
  std::vector<double> values(x.data.begin(), x.data.end());
  return Tensor::of<double>(x.shape, std::span<const double>(values)).cast(dtype);
}
Operands leaves_of(const Data& data, DType dtype) {
  Operands leaves;
  for (const auto& x : data) leaves.push_back(tensor_of(x, dtype));
  return leaves;
}

/// Weights that make a scalar of a result: fixed, and different from entry to entry.
double weight(Index i) { return std::cos(1.3 * static_cast<double>(i) + 0.7); }
Variable weighted(const Variable& y) {
  Tensor w(y.shape(), DType::f64);
  for (Index i = 0; i < w.size(); ++i) w.data<double>()[i] = weight(i);
  return sum(y * Variable(w.cast(y.dtype())));
}

/// Derivatives of the weighted result by every entry of every operand, one dual number at a time.
std::vector<std::vector<double>> dual_gradients(const OpCase& c, const Data& data) {
  std::vector<Plain<Dual>> in;
  for (const auto& x : data) {
    Plain<Dual> d(x.shape);
    for (Index i = 0; i < x.size(); ++i) d[i] = x[i];
    in.push_back(std::move(d));
  }
  std::vector<std::vector<double>> result;
  for (auto& x : in) {
    auto& gradient = result.emplace_back();
    for (auto& v : x.data) {
      v.d = 1;
      auto y = c.reference.dual(in);
      Real s = 0;
      for (Index i = 0; i < y.size(); ++i) s += Real(weight(i)) * y[i].d;
      gradient.push_back(static_cast<double>(s));
      v.d = 0;
    }
  }
  return result;
}

std::vector<double> expected(const OpCase& c, const Data& data, Shape* shape = nullptr) {
  auto y = c.reference.value(data);
  if (shape) *shape = y.shape;
  std::vector<double> values;
  for (Real v : y.data) values.push_back(static_cast<double>(v));
  return values;
}

std::string words(const OpCase& c, const std::vector<Shape>& shapes) {
  std::string s = c.name;
  for (const auto& shape : shapes) s += " " + to_string(shape);
  return s;
}

/// Calls f(case, shapes, data) for every case and every set of shapes.
template <class F>
void each_case(F f) {
  int count = 0;
  for (const auto& c : op_cases())
    for (const auto& shapes : c.shapes) {
      INFO(words(c, shapes));
      f(c, shapes, data_of(c, shapes));
      ++count;
    }
  CHECK(count > 300);
}

bool same(double got, double want, double tolerance) {
  return got == want || (std::isnan(got) && std::isnan(want)) || std::fabs(got - want) <= tolerance;
}
/// Within `tolerance` of the largest finite entry; NaN stands against NaN.
Verdict near(const std::vector<double>& got, const std::vector<double>& want, double tolerance) {
  if (got.size() != want.size()) return {false, "sizes differ"};
  double largest = 0;
  for (double w : want)
    if (std::isfinite(w)) largest = std::fmax(largest, std::fabs(w));
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!same(got[i], want[i], tolerance * largest))
      return {false, "element " + std::to_string(i) + ": " + std::to_string(got[i]) + " against " + std::to_string(want[i]) + ", off by " +
                         std::to_string((got[i] - want[i]) / largest * 1e15) + "e-15 of the largest"};
  return {};
}

/// Another way to hold the same values: a leaf, and the view of it that gives them.
struct Layout {
  const char* name;
  std::function<bool(const Shape&)> fits;
  std::function<Tensor(const Tensor&)> leaf;
  std::function<Variable(const Variable&, const Shape&)> view;
};
Tensor framed(const Tensor& t) {  // NaN around it along every axis
  Shape s = t.shape();
  for (int a = 0; a < s.rank(); ++a) s[a] += 3;
  Tensor whole = Tensor::full(s, std::numeric_limits<double>::quiet_NaN(), t.dtype());
  Index at[max_rank] = {};
  for (Index i = 0; i < t.size(); ++i) {
    Index to = 0, rest = i;
    for (int a = s.rank() - 1; a >= 0; --a) at[a] = rest % t.shape()[a] + 1, rest /= t.shape()[a];
    for (int a = 0; a < s.rank(); ++a) to = to * s[a] + at[a];
    t.dtype() == DType::f64 ? whole.data<double>()[to] = t.data<double>()[i] : whole.data<float>()[to] = t.data<float>()[i];
  }
  return whole;
}
const Layout layouts[] = {
    {"transposed", [](const Shape& s) { return s.rank() >= 2; }, [](const Tensor& t) { return t.transpose().contiguous(); },
     [](const Variable& v, const Shape&) { return transpose(v); }},
    {"flipped", [](const Shape& s) { return s.rank() >= 1; }, [](const Tensor& t) { return t.flip(-1).contiguous(); },
     [](const Variable& v, const Shape&) { return flip(v, -1); }},
    {"sliced", [](const Shape& s) { return s.rank() >= 1; }, framed,
     [](const Variable& v, const Shape& s) {
       Variable x = v;
       for (int a = 0; a < s.rank(); ++a) x = slice(x, a, 1, s[a]);
       return x;
     }},
    {"strided", [](const Shape& s) { return s.rank() >= 1; }, [](const Tensor& t) { return framed(t).slice(0, 1, t.shape()[0] + 1); },
     [](const Variable& v, const Shape& s) {
       Variable x = v;
       for (int a = 1; a < s.rank(); ++a) x = slice(x, a, 1, s[a]);
       return x;
     }},
};

}  // namespace

TEST_CASE("op cases: values in f64 against plain loops in long double") {
  each_case([](const OpCase& c, const std::vector<Shape>&, const Data& data) {
    Shape shape;
    auto want = expected(c, data, &shape);
    auto y = c.function(leaves_of(data, DType::f64));
    CHECK(y.shape() == shape);
    CHECK(near(doubles(y.value()), want, c.tolerance));
  });
}

TEST_CASE("op cases: plans against the reference semantics") {
  each_case([](const OpCase& c, const std::vector<Shape>&, const Data& data) {
    auto x = leaves_of(data, DType::f64);
    std::vector<Variable> results{c.function(x)};
    if (c.differentiable)
      for (auto& g : detail::gradients(weighted(results[0]), x)) results.push_back(g);
    CHECK(against_reference(results, 1e-13) == "");
  });
}

TEST_CASE("op cases: gradients against dual numbers") {
  each_case([](const OpCase& c, const std::vector<Shape>&, const Data& data) {
    auto x = leaves_of(data, DType::f64);
    auto loss = weighted(cast(c.function(x), DType::f64));
    auto found = detail::gradients(loss, x);
    auto want = dual_gradients(c, data);
    for (std::size_t k = 0; k < x.size(); ++k) {
      CHECK(found[k].shape() == x[k].shape());
      CHECK(found[k].dtype() == DType::f64);
      if (!c.differentiable) want[k].assign(want[k].size(), 0.0);
      CHECK(near(doubles(found[k].value()), want[k], 1e-12));
    }
  });
}

TEST_CASE("op cases: first and second order against central differences") {
  each_case([](const OpCase& c, const std::vector<Shape>& shapes, const Data& data) {
    Index elements = 0;
    for (const auto& s : shapes) elements += s.size();
    if (!c.differentiable || elements > 120) return;
    auto report = gradcheck([&](const Operands& x) { return weighted(c.function(x)); }, leaves_of(data, DType::f64),
                            {.step = 3e-5, .tolerance = 1e-6, .second_order = true});  // the step balances h^2 with 1e-16 / h
    CHECK_MESSAGE(report.passed, report.message << " " << report.worst);
  });
}

TEST_CASE("op cases: f32 against f64, values and gradients") {
  each_case([](const OpCase& c, const std::vector<Shape>&, const Data& data) {
    auto x = leaves_of(data, DType::f32);
    auto y = c.function(x);
    if (is_floating(y.dtype())) CHECK(y.dtype() == DType::f32);
    CHECK(near(doubles(y.value()), expected(c, data), 3e-6));
    if (!c.differentiable) return;
    auto found = detail::gradients(weighted(y), x);
    auto want = dual_gradients(c, data);
    for (std::size_t k = 0; k < x.size(); ++k) {
      CHECK(found[k].dtype() == DType::f32);
      CHECK(near(doubles(found[k].value()), want[k], 1e-5));
    }
  });
}

TEST_CASE("op cases: operands of any layout, values and gradients") {
  each_case([](const OpCase& c, const std::vector<Shape>& shapes, const Data& data) {
    auto want = expected(c, data);
    auto gradients = dual_gradients(c, data);
    for (DType dtype : {DType::f32, DType::f64})
      for (const auto& layout : layouts)
        for (std::size_t k = 0; k < shapes.size(); ++k) {
          if (!layout.fits(shapes[k])) continue;
          INFO(layout.name << " operand " << k << " of " << name(dtype));
          auto x = leaves_of(data, dtype);
          Variable leaf = layout.leaf(tensor_of(data[k], dtype));
          x[k] = layout.view(leaf, shapes[k]);
          auto y = c.function(x);
          CHECK(near(doubles(y.value()), want, dtype == DType::f32 ? 3e-6 : c.tolerance));
          if (!c.differentiable) continue;
          auto g = detail::gradients(weighted(y), std::span<const Variable>(&leaf, 1))[0];
          CHECK(near(doubles(layout.view(g, shapes[k]).value()), gradients[k], dtype == DType::f32 ? 1e-5 : 1e-12));
          double whole = 0, part = 0;
          for (double v : doubles(g.value())) whole += std::fabs(v);
          for (double v : doubles(layout.view(g, shapes[k]).value())) part += std::fabs(v);
          CHECK(same(whole, part, 1e-5 * part));  // nothing lands outside of the view
        }
  });
}

TEST_CASE("op cases: broadcast operands equal the same values in full") {
  each_case([](const OpCase& c, const std::vector<Shape>& shapes, Data data) {
    for (std::size_t k = 0; k < shapes.size(); ++k)
      for (int a = 0; a < shapes[k].rank(); ++a) {
        if (shapes[k][a] < 2) continue;
        INFO("operand " << k << " repeated along axis " << a);
        Shape narrow = shapes[k];
        narrow[a] = 1;
        Plain<Real> few(narrow);
        Data full = data;
        for (Index i = 0; i < full[k].size(); ++i) {
          Index at = aligned(narrow, shapes[k], i);
          few[at] = full[k][at];
          full[k][i] = few[at];
        }
        auto x = leaves_of(full, DType::f64);
        x[k] = broadcast_to(tensor_of(few, DType::f64), shapes[k]);
        CHECK(near(doubles(c.function(x).value()), expected(c, full), std::max(c.tolerance, 1e-14)));
      }
  });
}

TEST_CASE("op cases: infinities and NaN are treated as in plain loops") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::vector<double>> specials = {{nan}, {inf}, {-inf}, {0}, {inf, -inf}, {nan, inf}, {0, inf}, {-inf, 0, nan, inf}};
  each_case([&](const OpCase& c, const std::vector<Shape>& shapes, const Data& data) {
    for (const auto& list : specials)
      for (std::size_t k = 0; k < shapes.size(); ++k) {
        Data changed = data;
        for (std::size_t i = 0; i < changed[k].data.size(); ++i)
          if (i % 3 < list.size()) changed[k].data[i] = list[i % list.size()];
        for (DType dtype : {DType::f64, DType::f32}) {
          INFO("operand " << k << " with " << list[0] << " of " << list.size() << " in " << name(dtype));
          CHECK(near(doubles(c.function(leaves_of(changed, dtype)).value()), expected(c, changed), dtype == DType::f64 ? 1e-13 : 3e-6));
        }
      }
  });
}

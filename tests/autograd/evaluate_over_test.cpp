// Results that are written over values which their holders give up.
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/place.hpp>
#include <rewind/autograd/tape.hpp>

#include "support.hpp"

using namespace rw;
using rw::detail::evaluate_over;
using test::doubles;

namespace {

const void* place(const Variable& v) { return v.value().view().data; }
Tensor some(const Shape& shape = {150, 150}) { return normal(shape).value(); }

/// old - 1, not computed yet.
Variable less(const Variable& old) {
  NoGrad guard;
  return old - 1;
}
std::vector<double> less(std::vector<double> values) {
  for (double& x : values) x = static_cast<float>(x) - 1.f;
  return values;
}

}  // namespace

TEST_CASE("evaluate_over: a result takes the place of what is given up, from a plan of its own") {
  Variable old(some());
  const auto before = doubles(old.value());
  const void* at = place(old);
  {
    const auto apart = less(old);  // the same structure, without giving up
    CHECK(place(apart) != at);
  }
  Variable result = less(old);
  evaluate_over(std::span(&result, 1), std::vector<const Variable*>{&old});
  CHECK(place(result) == at);
  CHECK(doubles(result.value()) == less(before));
  {
    Variable other(some());
    const auto kept = doubles(other.value());
    const auto apart = less(other);
    CHECK(place(apart) != place(other));
    CHECK(doubles(other.value()) == kept);
  }
}

TEST_CASE("evaluate_over: what else is computed gets the old value") {
  Variable old(some());
  const auto before = doubles(old.value());
  const Variable copy(Tensor::of<double>({150, 150}, before).cast(DType::f32)), x(some({20, 150}));
  auto over = [&](const Variable& result) { evaluate_over(std::span(&result, 1), std::vector<const Variable*>{&old}); };
  Variable result;
  SUBCASE("a product that is recorded later") {
    result = less(old);
    NoGrad guard;
    const Variable y = matmul(x, old);
    over(result);
    CHECK(doubles(y.value()) == doubles(matmul(x, copy).value()));
  }
  SUBCASE("a view") {
    result = less(old);
    NoGrad guard;
    const Variable y = reshape(old, {-1});
    over(result);
    CHECK(doubles(y.value()) == before);
  }
  SUBCASE("an operation whose gradient is still to come") {
    const Variable w(some()), y = sum(w * old);
    result = less(old);
    over(result);
    CHECK(doubles(gradients(y, {w})[0].value()) == before);
  }
  SUBCASE("two results of one value") {
    result = less(old);
    const Variable also = less(less(old));
    evaluate_over(std::vector<Variable>{result, also}, std::vector<const Variable*>{&old, &old});
    CHECK(doubles(also.value()) == less(less(before)));
  }
  CHECK(doubles(result.value()) == less(before));
}

TEST_CASE("evaluate_over: a result of which an element depends on others of the old value does not overwrite it") {
  Variable old(some());
  const auto before = doubles(old.value());
  NoGrad guard;
  Variable result = old - slice(old, 0, 0, 1);  // all rows read the first
  evaluate_over(std::span(&result, 1), std::vector<const Variable*>{&old});
  const auto after = doubles(result.value());
  bool right = true;
  for (std::size_t i = 0; i < after.size(); ++i)
    right = right && after[i] == static_cast<float>(before[i]) - static_cast<float>(before[i % 150]);
  CHECK(right);
}

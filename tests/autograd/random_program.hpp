// A random straight-line program over Variables, from a seed: what random_programs_test.cpp feeds to plans, passes and the interpreter.
//
// Values stay of moderate size, and kinks are moved off the places where exact values meet (0, equal operands), so that two ways of
// computing the same thing agree to rounding. Programs use every operation of the language; equal seeds give equal programs.
#pragma once

#include <rewind/autograd/custom.hpp>
#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include <map>
#include <vector>

#include "random_source.hpp"

namespace rw::test {

struct RandomProgramOptions {
  DType dtype = DType::f64;
  bool smooth = false;  ///< no decisions on computed values: what f32 needs to be comparable with f64
  bool large = false;   ///< extents that are worth dividing among threads
  bool early = true;    ///< evaluates some values on the way
  int gradients = 2;    ///< the highest order
  int operations = 14;
};

class RandomProgram : private RandomSource {
 public:
  RandomProgram(std::uint64_t seed, const RandomProgramOptions& options) : RandomSource(seed, options.dtype), options_(options) {
    rw::seed(seed);
    for (int i = 0; i < 3; ++i) extents_.push_back(options.large ? Index(17 + pick(48)) : one_in(14) ? 0 : Index(1 + pick(5)));
    if (one_in(4)) extents_[0] = 1;
  }

  /// Records the program: its outputs, and gradients of a loss made of them.
  std::vector<Variable> record() {
    Pool pool;
    for (int i = 0, n = 2 + pick(3); i < n; ++i) {
      leaves_.push_back(leaf(random_shape(1 + pick(3)), 1));
      pool.floats.push_back(leaves_.back());
    }
    pool.ints.push_back(integers(random_shape(pick(3)), 5, integer_type()));
    pool.bools.push_back(less(pool.floats[0], 0.37));
    for (int i = 0; i < options_.operations; ++i) operation(pool, 0);
    std::vector<Variable> outputs;
    for (int i = 0, n = 1 + pick(3); i < n; ++i)
      outputs.push_back(pool.floats[pool.floats.size() - 1 - pick(std::min<int>(4, size(pool.floats)))]);
    if (one_in(3)) outputs.push_back(pool.ints.back());
    if (one_in(3)) outputs.push_back(pool.bools.back());
    if (options_.gradients == 0) return outputs;
    Variable loss = full(Shape{}, 0.0, options_.dtype);
    for (const auto& v : outputs)
      if (is_floating(v.dtype())) loss = loss + sum(square(v) * 0.5 + v) * (1.0 / static_cast<double>(std::max<Index>(v.size(), 1)));
    append_gradients(outputs, loss, leaves_, options_.gradients);
    return outputs;
  }

  /// How often each kind of operation was recorded.
  const std::map<std::string, int>& counts() const { return counts_; }

 private:
  struct Pool {
    std::vector<Variable> floats, ints, bools;
  };

  template <class V>
  static int size(const V& v) {
    return static_cast<int>(v.size());
  }
  Index extent() { return extents_[pick(3)]; }
  Shape random_shape(int rank) {
    Shape s;
    while (s.rank() < rank) s.push_back(extent());
    return s;
  }
  DType integer_type() { return one_in(2) ? DType::i64 : DType::i32; }
  /// One weight for each pair of extents: shared between its uses.
  const Variable& weight(Index k, Index n) {
    auto [place, fresh] = weights_.try_emplace({k, n});
    if (fresh) {
      place->second = leaf(Shape{k, n}, 1 / std::sqrt(static_cast<double>(std::max<Index>(k, 1))));
      leaves_.push_back(place->second);
    }
    return place->second;
  }

  void operation(Pool& pool, int depth) {
    int kind = pick(20);
    if (kind < 3) return add(pool, "unary", unary(any(pool.floats)));
    if (kind < 6) return add(pool, "binary", binary(pool));
    if (kind < 9) return product(pool);
    if (kind < 11) return reduction(pool);
    if (kind < 13) return view(pool);
    if (kind < 15) return part(pool);
    if (kind == 15) return rows(pool);
    if (kind == 16) return source(pool);
    if (kind == 17) return whole_numbers(pool);
    if (depth < 2) return loop(pool, depth + 1);
    add(pool, "unary", unary(any(pool.floats)));
  }

  void add(Pool& pool, const char* kind, Variable v) {
    ++counts_[kind];
    if (v.rank() > 4 || v.size() > (options_.large ? 300'000 : 2'000)) v = v.rank() > 4 ? sum(v, {0, 1}) * 0.3 : mean(v, v.rank() - 1);
    if (one_in(2)) v = tanh(v);
    if (options_.early && one_in(24) && !in_loop_) v.value(), ++counts_["early value"];
    pool.floats.push_back(std::move(v));
  }

  Variable unary(const Variable& x) {
    switch (pick(21)) {
      case 0: return tanh(x);
      case 1: return sigmoid(x);
      case 2: return -x;
      case 3: return abs(x + 0.3713);
      case 4: return square(tanh(x));
      case 5: return relu(x + 0.3117);
      case 6: return softplus(x);
      case 7: return sin(x);
      case 8: return cos(x);
      case 9: return erf(x);
      case 10: return exp(tanh(x));
      case 11: return expm1(tanh(x));
      case 12: return log(square(x) + 0.5);
      case 13: return log1p(square(x));
      case 14: return sqrt(square(x) + 0.3);
      case 15: return rsqrt(square(x) + 0.3);
      case 16: return reciprocal(square(x) + 1);
      case 17: return clamp(x, -0.7131, 0.8317);
      case 18: return detach(x) * x;
      case 19: return options_.smooth && one_in(2) ? cast(cast(x, DType::f64), options_.dtype) : 2 - x;
      default:
        return custom(
            "cube", x,
            [](const Tensor& t) {
              Tensor y = t.cast(DType::f64).copy();
              for (Index i = 0; i < y.size(); ++i) y.data<double>()[i] *= 0.1 * y.data<double>()[i] * y.data<double>()[i];
              return y.cast(t.dtype());
            },
            [](const Variable& g, const Variable& v) { return g * (0.3 * square(v)); });
    }
  }

  Variable binary(Pool& pool) {
    const Variable x = any(pool.floats), y = partner(pool.floats, x);
    switch (pick(10)) {
      case 0: return x + y;
      case 1: return x - y * 0.5;
      case 2: return tanh(x) * y;
      case 3: return x / (square(y) + 1);
      case 4: return maximum(x, y + 0.1237);
      case 5: return minimum(x, y - 0.1239);
      case 6: return pow(square(tanh(x)) + 0.5, tanh(y));
      case 7: return where(partner(pool.bools, x + y), x, y);
      case 8: return clamp(x, -square(tanh(y)) - 0.217, square(tanh(y)) + 0.3119);
      default: return x * any_number() + y;
    }
  }
  Variable any_number() {
    if (numbers_.empty() || one_in(3)) numbers_.push_back(number());
    return numbers_[pick(size(numbers_))];
  }

  Variable permuted(const Variable& x) {
    Dims axes;
    for (int a = 0; a < x.rank(); ++a) axes.insert(pick(a + 1), a);
    return transpose(x, axes);
  }

  void product(Pool& pool) {
    Variable x = any(pool.floats);
    if (x.rank() >= 3 && one_in(2)) x = permuted(x);
    if (x.rank() == 0) return add(pool, "unary", unary(x));
    if (x.rank() >= 2 && one_in(3)) {
      if (x.rank() >= 3 && one_in(3)) {
        const Variable y = permuted(x);
        if (y.shape() == transpose(x).shape()) return add(pool, "matmul", tanh(matmul(x, y)));
      }
      if (one_in(2)) return add(pool, "matmul", tanh(matmul(x, transpose(same_shape(pool.floats, x.shape())))));
      return add(pool, "matmul", tanh(matmul(transpose(x), same_shape(pool.floats, x.shape()))));
    }
    if (one_in(6)) return add(pool, "matmul", matmul(x, tanh(reshape(weight(x.shape().back(), 1), {-1}))));
    Index n = extent();
    if (one_in(4)) return add(pool, "matmul", matmul(x, transpose(weight(n, x.shape().back()))));
    add(pool, "matmul", matmul(x, weight(x.shape().back(), n)));
  }

  void reduction(Pool& pool) {
    const Variable x = any(pool.floats);
    if (x.rank() == 0) return add(pool, "unary", unary(x));
    Axes axes = random_axes(x);
    bool keep = one_in(2);
    Index axis = pick(x.rank());
    if (x.size() == 0) return add(pool, "reduction", one_in(2) ? sum(x, axes, keep) : cumsum(x, axis));
    double some = 1 / std::sqrt(static_cast<double>(x.size()));
    if (x.rank() == 2 && x.shape()[0] == x.shape()[1] && one_in(2)) return add(pool, "reduction", sum(x, 0) * some - tanh(sum(x, 1)));
    switch (pick(10)) {
      case 0: return add(pool, "reduction", sum(x, axes, keep) * some);
      case 1: return add(pool, "reduction", mean(x, axes, keep));
      case 2: return add(pool, "reduction", options_.smooth ? mean(x) : max(x, axes, keep));
      case 3: return add(pool, "reduction", options_.smooth ? sum(x) * some : min(x, axes, keep));
      case 4: return add(pool, "reduction", variance(x, axes, keep));
      case 5: return add(pool, "reduction", norm(x + 0.2319, axes, keep) * some);
      case 6: return add(pool, "reduction", logsumexp(x, axes, keep));
      case 7: return add(pool, "reduction", softmax(x, axis));
      case 8: return add(pool, "reduction", log_softmax(x, axis) * 0.5);
      default: return add(pool, "reduction", cumsum(x, axis) * (1 / std::sqrt(static_cast<double>(x.shape()[static_cast<int>(axis)]))));
    }
  }

  void view(Pool& pool) {
    const Variable x = any(pool.floats);
    switch (pick(5)) {
      case 0: return add(pool, "view", permuted(x));
      case 1: {
        Shape s = x.shape();
        if (s.rank() >= 2) {
          int a = pick(s.rank() - 1);
          s[a] *= s[a + 1];
          s.erase(a + 1);
        } else if (s.rank() == 1 && s[0] % 2 == 0) {
          s = Shape{s[0] / 2, 2};
        }
        return add(pool, "view", reshape(x, s));
      }
      case 2: {
        Shape s = x.shape();
        if (s.rank() < 3) s.insert(0, extent());
        return add(pool, "view", broadcast_to(x, s));
      }
      case 3: return add(pool, "view", x.rank() < 4 ? newaxis(x, pick(x.rank() + 1)) : x);
      default: return add(pool, "view", x.rank() ? flip(x, random_axes(x)) : x * 1.25);
    }
  }

  void part(Pool& pool) {
    const Variable x = any(pool.floats);
    if (x.rank() == 0) return add(pool, "unary", unary(x));
    int axis = pick(x.rank());
    Index n = x.shape()[axis];
    switch (pick(8)) {
      case 0:
      case 1: {
        Index start = pick(static_cast<int>(n) + 1);
        return add(pool, "slice", slice(x, axis, start, pick(static_cast<int>(n - start) + 1)));
      }
      case 2: return n ? add(pool, "slice", select(x, axis, pick(static_cast<int>(n)) - (one_in(2) ? n : 0))) : view(pool);
      case 3: return add(pool, "concatenate", pad(x, axis, pick(3), pick(3), 0.5));
      case 4: return add(pool, "concatenate", concatenate({x, same_shape(pool.floats, x.shape()) * 0.5, x}, axis));
      case 5: return add(pool, "concatenate", stack({x, sin(x), same_shape(pool.floats, x.shape())}, pick(x.rank() + 1)));
      default: {
        Variable gates = one_in(2) ? concatenate({x, sin(x)}, axis) : matmul(x, weight(x.shape().back(), 2 * extents_[0]));
        if (gates.shape().back() != 2 * extents_[0] || one_in(2)) {
          auto parts = split(concatenate({x + 0.1, x}, axis) * 0.5, 2, axis);
          return add(pool, "split", sigmoid(parts[0]) * tanh(parts[1]));
        }
        auto parts = split(gates, 2);
        add(pool, "split", sigmoid(parts[0]));
        return add(pool, "split", tanh(parts[1]));
      }
    }
  }

  void rows(Pool& pool) {
    const Variable table = any(pool.floats);
    if (table.rank() == 0 || table.shape()[0] == 0) return view(pool);
    Index v = table.shape()[0];
    Variable index = integers(random_shape(pick(3)), v, integer_type());
    if (!options_.smooth && one_in(3) && table.rank() > 1 && table.size() > 0) index = argmax(table, 0);
    Variable found = gather(table, index);
    if (one_in(2)) return add(pool, "gather", found);
    add(pool, "scatter_add", scatter_add(found, index, v + pick(2)));
  }

  void source(Pool& pool) {
    Shape s = random_shape(pick(4));
    switch (pick(6)) {
      case 0: return add(pool, "random", uniform(s, options_.dtype) * same_shape(pool.floats, s));
      case 1: return add(pool, "random", one_in(2) ? bernoulli(s, 0.6, options_.dtype) : normal(s, options_.dtype) * 0.5);
      case 2: return add(pool, "constant", same_shape(pool.floats, s) * (s.rank() ? positions(s) * 0.25 + 1 : ones(s)));
      case 3: return add(pool, "constant", full(s, any_number(), options_.dtype));
      case 4: return add(pool, "constant", s.rank() ? sin(positions(s, options_.dtype)) : zeros(s, options_.dtype));
      default: return add(pool, "constant", where(partner(pool.bools, zeros(s)), ones(s, options_.dtype), 0.5));
    }
  }

  void whole_numbers(Pool& pool) {
    ++counts_["integers and booleans"];
    const Variable i = any(pool.ints), j = partner(pool.ints, i), b = any(pool.bools);
    switch (pick(8)) {
      case 0: pool.ints.push_back(where(less(i + j, 9), i + j, i - j)); break;
      case 1: pool.ints.push_back(maximum(i, j) - minimum(j, 3)); break;
      case 2: pool.ints.push_back(clamp(i * 1.75 - j * 0.75, -7, 7)); break;
      case 3: pool.bools.push_back(logical_or(logical_not(b), partner(pool.bools, b))); break;
      case 4: pool.bools.push_back(logical_and(equal(i, j), greater_equal(i, 1))); break;
      case 5: pool.ints.push_back(clamp(i.rank() ? sum(i, random_axes(i)) : -i, -9, 9)); break;
      case 6: pool.ints.push_back(b.rank() ? clamp(sum(b), 0, 6) : cast(b, DType::i64)); break;
      default:
        if (!options_.smooth) pool.bools.push_back(less(any(pool.floats), 0.2371));
    }
    if (pool.ints.back().rank() > 3) pool.ints.push_back(clamp(sum(pool.ints.back(), {0, 1}), -9, 9));
    if (one_in(2)) add(pool, "integers", cast(pool.ints.back(), options_.dtype) * 0.25);
  }

  void loop(Pool& pool, int depth) {
    ++counts_[depth == 1 ? "scan" : "scan in a scan"];
    Index steps = one_in(12) ? 0 : options_.large ? 3 + pick(6) : 1 + pick(4);
    std::vector<Variable> carry, xs;
    Shape batch = random_shape(1 + pick(2));
    for (int i = 0, n = 1 + pick(3); i < n; ++i) {
      Shape s = one_in(3) ? random_shape(pick(3)) : batch;
      carry.push_back(one_in(3) ? zeros(s, options_.dtype) : same_shape(pool.floats, s));
    }
    if (one_in(5)) carry.push_back(cast(same_shape(pool.ints, one_in(2) ? Shape{} : batch), DType::i64));
    if (one_in(6)) carry.push_back(same_shape(pool.bools, one_in(2) ? Shape{} : batch));
    for (int i = 0, n = pick(3); i < n; ++i) {
      Shape s = one_in(3) ? random_shape(pick(3)) : batch;
      s.insert(0, steps);
      xs.push_back(same_shape(pool.floats, s));
    }
    if (one_in(5)) xs.push_back(same_shape(pool.ints, Shape{steps}));
    bool before = std::exchange(in_loop_, true);
    ScanOptions options{.reverse = one_in(3), .steps = steps};
    if (one_in(4)) options.checkpoint = one_in(3) ? checkpoint::sqrt() : checkpoint::every(1 + pick(4)), ++counts_["checkpoint"];
    auto [last, ys] =
        scan([&](const std::vector<Variable>& c, const std::vector<Variable>& x) { return body(pool, c, x, depth); }, carry, xs, options);
    in_loop_ = before;
    for (auto* list : {&last, &ys})
      for (auto& v : *list) {
        if (v.dtype() == DType::boolean) {
          pool.bools.push_back(v);
        } else if (!is_floating(v.dtype())) {
          pool.ints.push_back(clamp(v, -9, 9));
        } else if (!one_in(4)) {
          add(pool, "result of a scan", v);
        }
      }
  }

  std::pair<std::vector<Variable>, std::vector<Variable>> body(const Pool& outside, const std::vector<Variable>& carry,
                                                               const std::vector<Variable>& xs, int depth) {
    Pool pool;
    for (int i = 0; i < 2; ++i) pool.floats.push_back(outside.floats[pick(size(outside.floats))]);
    pool.ints.push_back(outside.ints[pick(size(outside.ints))]);
    pool.bools.push_back(outside.bools[pick(size(outside.bools))]);
    for (const auto* list : {&xs, &carry})
      for (const auto& v : *list)
        (v.dtype() == DType::boolean ? pool.bools : is_floating(v.dtype()) ? pool.floats : pool.ints).push_back(v);
    for (int i = 0, n = 2 + pick(6); i < n; ++i) operation(pool, depth);
    std::vector<Variable> next, ys;
    for (const auto& c : carry) {
      const Shape& s = c.shape();
      if (c.dtype() == DType::boolean) {
        next.push_back(one_in(3) ? c : shaped_bool(pool, s));
      } else if (!is_floating(c.dtype())) {
        next.push_back(one_in(2) ? clamp(c + cast(shaped_int(pool, s), DType::i64), -9, 9) : c + 1);
      } else {
        switch (pick(6)) {
          case 0: next.push_back(c + same_shape(pool.floats, s) * 0.3); break;
          case 1: next.push_back(c + tanh(same_shape(pool.floats, s))); break;
          case 2: next.push_back(c); break;
          default: next.push_back(tanh(same_shape(pool.floats, s) + 0.5 * c)); break;
        }
        if (!(next.back().shape() == s)) next.back() = broadcast_to(next.back(), s);
      }
    }
    if (next.size() > 1 && one_in(4) && next[0].shape() == next[1].shape() && next[0].dtype() == next[1].dtype())
      std::swap(next[0], next[1]);
    for (int i = 0, n = pick(4); i < n; ++i) {
      switch (pick(6)) {
        case 0: ys.push_back(next[pick(size(next))]); break;
        case 1: ys.push_back(carry[pick(size(carry))]); break;
        case 2: ys.push_back(xs.empty() ? any(pool.floats) : xs[pick(size(xs))]); break;
        default: ys.push_back(any(pool.floats)); break;
      }
    }
    return {next, ys};
  }
  Variable shaped_bool(Pool& pool, const Shape& s) { return cast(shaped_int(pool, s), DType::boolean); }
  Variable shaped_int(Pool& pool, const Shape& s) {
    Variable v = any(pool.ints);
    return broadcasts_to(v.shape(), s) ? broadcast_to(v, s) : broadcast_to(sum(v), s);
  }

  RandomProgramOptions options_;
  std::vector<Index> extents_;
  std::vector<Variable> leaves_, numbers_;
  std::map<std::pair<Index, Index>, Variable> weights_;
  std::map<std::string, int> counts_;
  bool in_loop_ = false;
};

}  // namespace rw::test

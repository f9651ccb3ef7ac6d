// A random program around a recurrent net, from a seed: layers in loops by hand and in scans, their losses and gradients. What the passes
// on loops are made for: products in and around bodies, tables of rows, reversed and skipped steps, checkpoints, loops in loops.
//
// Equal seeds and options give equal programs. Extents start at 0: no step, no row, no unit.
#pragma once

#include <algorithm>

#include "random_layer.hpp"

namespace rw::test {

class RandomLoop : public RandomLayers {
 public:
  RandomLoop(std::uint64_t seed, const RandomLoopOptions& options) : RandomLayers(seed, options) {}

  /// Records the program: results, and gradients of a loss made of them.
  std::vector<Variable> record() {
    steps_ = options_.large ? 4 + pick(5) : one_in(20) ? 0 : one_in(3) ? 1 + pick(3) : 4 + pick(6);
    const Index inputs = extent(16, 17, 25), tokens = 1 + pick(6);
    token_ = integers({steps_, batch_}, tokens);
    const Variable ends = integers({batch_, 1}, steps_ + 1);
    there_ = less(reshape(cast(positions({steps_}), DType::i64), {steps_, 1, 1}), ends);
    Variable x = source(inputs, tokens);
    loss_ = full(Shape{}, 0.0, options_.dtype);
    std::vector<Variable> outputs;
    for (int i = 0, n = feature("two layers", 2) ? 2 : 1; i < n; ++i) {
      const Index hidden = feature("as many units as inputs", 4) ? x.shape().back() : extent(16, 25, 25);
      Layer below = layer(x.shape().back(), hidden, tokens);
      if (feature("two layers in one loop", 5)) below.above.push_back(layer(hidden, extent(16, 25, 25), tokens));
      const Loop l = loop(std::move(below));
      auto result = feature("rounds", 8) ? rounds(l, x) : run(l, x, start(l));
      x = result.y;
      parts_ = std::move(result.each);
      for (const auto& v : result.last)
        if (feature("last state", 2)) outputs.push_back(v);
      if (!result.also.empty() && feature("second output", 2)) outputs.push_back(result.also);
      if (x.shape()[0] != steps_) break;  // steps were skipped
    }
    if (feature("outputs", 2) || outputs.empty()) outputs.push_back(x);
    for (const auto& v : outputs) loss_ = loss_ + mean_of(square(v) * 0.5 + v);
    if (x.shape()[0] == steps_ && x.size() > 0 && feature("cross entropy", 2)) loss_ = loss_ + cross_entropy(x);
    outputs.push_back(loss_);
    if (options_.early && feature("early value", 10)) outputs[0].value();
    append_gradients(outputs, loss_, leaves_, options_.gradients);
    return outputs;
  }

 private:
  struct Loop {
    Layer layer, other;  ///< that of one step has another weight
    bool by_hand = false, reverse = false, in_pieces = false, emits = false, sums = false, odd = false, schedule = false, early = false,
         direct = false, odd_weight = false;
    Checkpoint checkpoint;
    std::vector<Index> order;  ///< the steps of a loop by hand
    Variable projection, first;
  };
  struct Result {
    LayerState last;
    Variable y, also;            ///< [T, B, H]; another y, or empty
    std::vector<Variable> each;  ///< of a loop by hand: the parts of y
  };

  static Variable mean_of(const Variable& v) { return sum(v) * (1.0 / static_cast<double>(std::max<Index>(v.size(), 1))); }

  /// [T, B, I]: a leaf, rows of a table, or something made of these.
  Variable source(Index inputs, Index tokens) {
    if (feature("embedding", 3)) {
      const Index width = 1 + pick(4);
      if (feature("embedding times weights", 2)) return matmul(gather(parameter({tokens, width}), token_), weights(width, inputs));
      return gather(parameter({tokens, inputs}), token_);
    }
    Variable x = parameter({steps_, batch_, inputs});
    if (feature("flipped input", 8)) x = flip(x, 0);
    if (feature("scaled input", 6)) x = tanh(x * 1.25);
    return x;
  }

  Loop loop(Layer layer) {
    Loop l;
    l.layer = std::move(layer);
    l.by_hand = feature("loop by hand", 2);
    l.reverse = feature("reversed", 3);
    if (feature("checkpoint", 3)) l.checkpoint = checkpoint();
    l.in_pieces = !l.by_hand && feature("scan after scan", 8);
    l.emits = feature("emitted product", 3);
    if (l.emits) l.projection = weights(l.layer.top_layer().hidden, 1 + pick(3));
    l.sums = feature("sum in the loop", 3);
    l.odd = feature("an odd step", 9);
    l.schedule = feature("another number each step", 6);
    l.odd_weight = feature("another weight in one step", 6);
    if (l.odd_weight) {
      l.other = l.layer;
      auto& w = l.other.w[static_cast<std::size_t>(pick(static_cast<int>(l.other.w.size())))];
      w = parameter(w.shape());
    }
    l.direct = feature("steps of the loop before, unstacked", 2);
    l.early = options_.early && feature("early value in a loop", 14);
    if (feature("start is learnt", 2)) l.first = parameter({batch_, l.layer.top_layer().hidden});
    for (Index t = 0; t < steps_; ++t) l.order.push_back(l.reverse ? steps_ - 1 - t : t);
    if (feature("steps skipped", 8))
      for (std::size_t k = 1; k < l.order.size(); ++k) l.order.erase(l.order.begin() + static_cast<std::ptrdiff_t>(k));
    if (feature("two steps exchanged", 5) && l.order.size() > 3) std::swap(l.order[l.order.size() - 2], l.order[l.order.size() - 1]);
    if (feature("steps in any order", 10))
      for (auto& t : l.order) t = pick(static_cast<int>(steps_));
    return l;
  }

  LayerState start(const Loop& l) const {
    LayerState s;
    for (const auto& above : l.layer.above) s.assign(static_cast<std::size_t>(above.fields), zeros({batch_, above.hidden}, options_.dtype));
    s.insert(s.end(), static_cast<std::size_t>(l.layer.fields), zeros({batch_, l.layer.hidden}, options_.dtype));
    if (!l.first.empty()) s[0] = l.first;
    return s;
  }

  Result run(const Loop& l, const Variable& x, const LayerState& s) {
    if (l.by_hand) return by_hand(l, x, s);
    if (!l.in_pieces || steps_ < 2) return scanned(l, x, s, 0, steps_);
    const Index half = steps_ / 2, rest = steps_ - half;
    const auto a = scanned(l, x, s, l.reverse ? half : 0, l.reverse ? rest : half);
    auto b = scanned(l, x, a.last, l.reverse ? 0 : half, l.reverse ? half : rest);
    const Variable parts[] = {l.reverse ? b.y : a.y, l.reverse ? a.y : b.y};
    b.y = concatenate(parts, 0);
    return b;
  }

  Result scanned(const Loop& l, const Variable& x, const LayerState& s, Index begin, Index count) {
    auto part = [&](const Variable& v) { return count == steps_ ? v : slice(v, 0, begin, count); };
    struct Carry {
      LayerState s;
      Variable total;
    };
    auto body = [&](const Carry& c, const StepInput& in) {
      Carry n{step(l.layer, in, c.s), c.total};
      if (l.sums) n.total = c.total + mean_of(square(n.s[0]));
      std::vector<Variable> ys{n.s[0]};
      if (l.emits) ys.push_back(matmul(n.s[0], l.projection));
      if (l.schedule) ys.push_back(0.5 * in.x);
      if (l.odd) ys.push_back(n.s[0]), ys.push_back(ys[1]);
      return std::pair{n, ys};
    };
    auto [last, ys] = scan(body, Carry{s, full(Shape{}, 0.0, options_.dtype)}, StepInput{part(x), part(there_), part(token_)},
                           {.reverse = l.reverse, .checkpoint = l.checkpoint});
    Result r{last.s, ys[0], ys.size() > 1 ? ys.back() : Variable(), {}};
    if (l.sums && !in_rounds_) loss_ = loss_ + last.total;
    return r;
  }

  Result by_hand(const Loop& l, const Variable& x, LayerState s) {
    std::vector<Variable> ys, also;
    Variable total = full(Shape{}, 0.0, options_.dtype);
    for (std::size_t k = 0; k < l.order.size(); ++k) {
      const Index t = l.order[k];
      const bool one = k == 2 * l.order.size() / 3;
      s = step(l.odd_weight && one ? l.other : l.layer,
               {l.direct && !parts_.empty() ? parts_[static_cast<std::size_t>(t)] : x[t], there_[t], token_[t]}, s);
      if (l.schedule) s[0] = s[0] * (1.0 - 0.1 * static_cast<double>(k % 4));
      if (l.odd && k == l.order.size() / 2) s[0] = sin(s[0]) + 0.1;
      if (l.early && !in_rounds_ && k == l.order.size() / 2) s[0].value();
      if (l.sums) total = total + mean_of(square(s[0]));
      ys.push_back(s[0]);
      if (l.emits) also.push_back(matmul(s[0], l.projection));
    }
    if (l.reverse) std::reverse(ys.begin(), ys.end());
    if (l.sums && !in_rounds_) loss_ = loss_ + total;
    const Variable y = ys.empty() ? zeros({0, batch_, l.layer.top_layer().hidden}, options_.dtype) : stack(ys);
    return {s, y, also.empty() ? Variable() : stack(also), ys};
  }

  /// The whole loop some times over, in a loop around it: its inputs and weights are captures.
  Result rounds(const Loop& l, const Variable& x) {
    in_rounds_ = true;
    ScanOptions options{.steps = Index(1 + pick(3))};
    if (feature("checkpoint of rounds", 3)) options.checkpoint = checkpoint();
    auto body = [&](const LayerState& s, const std::vector<Variable>&) {
      auto r = run(l, x, s);
      return std::pair{r.last, std::vector<Variable>{r.y}};
    };
    auto [last, ys] = scan(body, start(l), std::vector<Variable>{}, options);
    in_rounds_ = false;
    return {last, ys[0][-1] + 0.1 * mean(ys[0], 0), Variable(), {}};
  }

  /// Of classes picked by the targets, as nn writes it; now and then one row of logits for each step at a time.
  Variable cross_entropy(const Variable& y) {
    const Index classes = 1 + pick(options_.large ? 40 : 5);
    const Variable w = weights(y.shape().back(), classes), b = parameter({classes}), targets = integers({steps_, batch_}, classes);
    auto of = [&](const Variable& rows, const Variable& target) {
      auto logits = matmul(rows, w) + b;
      auto hit = equal(positions(logits.shape(), options_.dtype), newaxis(cast(target, options_.dtype), -1));
      return mean(logsumexp(logits, -1) - sum(where(hit, logits, 0), -1));
    };
    if (!feature("loss step by step", 4)) return of(y, targets);
    Variable total = full(Shape{}, 0.0, options_.dtype);
    for (Index t = 0; t < steps_; ++t) total = total + of(y[t], targets[t]);
    return total;
  }

  Index steps_ = 0;
  Variable token_, there_, loss_;
  std::vector<Variable> parts_;  ///< of the input of the loop that comes next, if one by hand made it
  bool in_rounds_ = false;
};

}  // namespace rw::test

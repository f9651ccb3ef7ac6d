// A layer of a random recurrent net, from a seed: weights, and the formula of one step. All choices are made when the layer is drawn, so
// that each call of `step` records the same: what loops by hand, scans and loops in loops are made of (random_loop.hpp).
#pragma once

#include <rewind/autograd/gradients.hpp>
#include <rewind/autograd/ops.hpp>
#include <rewind/autograd/scan.hpp>

#include <map>
#include <string>
#include <vector>

#include "random_source.hpp"

namespace rw::test {

struct RandomLoopOptions {
  DType dtype = DType::f64;
  bool large = false;         ///< extents that are worth dividing among threads
  bool smooth = false;        ///< no decisions on computed values: what f32 needs to be comparable with f64
  bool early = true;          ///< evaluates some values on the way
  bool checkpoints = true;    ///< those that are drawn are taken
  int gradients = 2;          ///< the highest order
  std::uint64_t without = 0;  ///< features that are left out, a bit each: how a failure is made small
};

/// What a step reads beside its state.
struct StepInput {
  Variable x, there, token;  ///< [B, I]; bool [B, 1]: sequences that have not ended; i64 [B]
};

/// Its first field is the output [B, H].
using LayerState = std::vector<Variable>;

class RandomLayers : protected RandomSource {
 public:
  /// How often each feature was drawn.
  const std::map<std::string, int>& counts() const { return counts_; }
  int features() const { return features_; }

 protected:
  RandomLayers(std::uint64_t seed, const RandomLoopOptions& options) : RandomSource(seed, options.dtype), options_(options) {
    rw::seed(seed);
    batch_ = extent(17, 48, 20);
    if (!options.large && one_in(8)) batch_ = 8 + pick(9);  // rows that are summed in groups
  }

  /// True once in n, unless it is left out.
  bool feature(const char* name, int n) {
    bool drawn = one_in(n);
    int k = features_++;
    if (k < 64 && (options_.without >> k & 1)) drawn = false;
    if (drawn) ++counts_[name];
    return drawn;
  }
  /// Of small programs mostly 1 to 4, once in `none` nothing at all.
  Index extent(int least, int more, int none) {
    if (options_.large) return least + pick(more);
    return one_in(none) ? 0 : 1 + pick(4);
  }
  Variable parameter(const Shape& shape) {
    double rows = shape.rank() > 1 ? static_cast<double>(std::max<Index>(shape[0], 1)) : 4;
    leaves_.push_back(leaf(shape, 1.2 / std::sqrt(rows)));
    return leaves_.back();
  }
  /// Weights [k, n], now and then those of another place.
  Variable weights(Index k, Index n) {
    if (feature("shared weights", 5))
      for (const auto& w : leaves_) {
        if (w.shape() == Shape{k, n}) return w;
        if (w.shape() == Shape{n, k}) return transpose(w);
      }
    return parameter({k, n});
  }

  struct Layer {
    int kind = 0;
    Index inputs = 0, hidden = 0, fields = 1;
    std::vector<Variable> w;
    Variable scale, memory, table, embedded, inner, notes, own, factor;
    bool number = false, mask = false, dropout = false, whole_batch = false, outer = false, top = false, descends = false, held = false;
    bool inner_by_hand = false, inner_reverse = false;
    Checkpoint inner_checkpoint;
    std::vector<Layer> above;  ///< at most one, which steps with this one: its state comes first

    const Layer& top_layer() const { return above.empty() ? *this : above[0]; }
  };

  Layer layer(Index inputs, Index hidden, Index tokens) {
    static const char* const kinds[] = {"plain cell",   "stacked gates", "a product a gate", "gated unit",
                                        "joined input", "weight twice",  "transposed",       "two steps back"};
    Layer l;
    l.inputs = inputs, l.hidden = hidden;
    l.kind = pick(8);
    ++counts_[kinds[l.kind]];
    const Index I = inputs, H = hidden;
    auto add = [&](Index k, Index n) { l.w.push_back(weights(k, n)); };
    switch (l.kind) {
      case 0: add(I, H), add(H, H), l.w.push_back(parameter({H})); break;
      case 1: add(I, 4 * H), add(H, 4 * H), l.w.push_back(parameter({4 * H})), l.fields = 2; break;
      case 2:
        for (int g = 0; g < 3; ++g) add(I, H), add(H, H);
        l.w.push_back(parameter({H})), l.fields = 2;
        break;
      case 3: add(I, 3 * H), add(H, 2 * H), add(H, H); break;
      case 4: add(I + H, H), l.w.push_back(parameter({H})); break;
      case 5: add(H, H), add(I, H); break;
      case 6: add(H, H), add(H, I); break;
      default: add(H, H), add(H, H), add(I, H), l.fields = 2; break;
    }
    const bool some = H > 0 && batch_ > 0;  // a mean of nothing is an error
    if (feature("layer norm", 5) && some) l.scale = parameter({H});
    if (feature("attention", 6) && some) l.memory = parameter({batch_, Index(1 + pick(3)), H});
    if (feature("tokens in the loop", 5)) l.table = parameter({tokens, Index(1 + pick(3))}), l.embedded = weights(l.table.shape()[1], H);
    if (feature("own value by the step", 6)) l.own = parameter({batch_, H});
    l.number = feature("numbers in the loop", 3);
    l.factor = number();
    l.mask = feature("mask", 4);
    l.dropout = feature("dropout", 5);
    l.whole_batch = feature("mean of the batch", 7) && some;
    l.outer = feature("product over the batch", 9);
    l.top = feature("maximum of the row", 7) && some && !options_.smooth;
    l.descends = feature("gradient in the step", 10);
    l.held = feature("detached", 8);
    if (feature("loop in the step", 5)) {
      l.inner = weights(H, H);
      l.notes = parameter({one_in(9) ? 0 : Index(1 + pick(5)), batch_, H});
      l.inner_by_hand = feature("loop in the step by hand", 2);
      l.inner_reverse = feature("reversed loop in the step", 3);
      if (feature("checkpoint in the step", 3)) l.inner_checkpoint = checkpoint();
    }
    return l;
  }

  Checkpoint checkpoint() {
    const Index k = 1 + pick(9);  // of some ten steps
    const auto drawn = one_in(4) ? rw::checkpoint::sqrt() : one_in(5) ? rw::checkpoint::bytes(k * 100) : rw::checkpoint::every(k);
    return options_.checkpoints ? drawn : Checkpoint{};
  }

  LayerState step(const Layer& l, const StepInput& in, const LayerState& s) const {
    if (l.above.empty()) return step_of(l, in, s);
    const auto own = s.begin() + static_cast<std::ptrdiff_t>(l.above[0].fields);
    auto n = step_of(l, in, LayerState(own, s.end()));
    auto above = step_of(l.above[0], {n[0], in.there, in.token}, LayerState(s.begin(), own));
    above.insert(above.end(), n.begin(), n.end());
    return above;
  }

  std::vector<Variable> leaves_;
  std::map<std::string, int> counts_;
  RandomLoopOptions options_;
  Index batch_;

 private:
  LayerState step_of(const Layer& l, const StepInput& in, const LayerState& s) const {
    const auto& h = s[0];
    LayerState n = cell(l, in.x, s);
    if (!l.scale.empty()) n[0] = (n[0] - mean(n[0], -1, true)) * rsqrt(variance(n[0], -1, true) + 0.05) * l.scale;
    if (!l.table.empty()) n[0] = tanh(n[0] + matmul(gather(l.table, in.token), l.embedded));
    if (!l.memory.empty()) {
      auto scores = softmax(sum(l.memory * newaxis(n[0], 1), -1), -1);
      n[0] = n[0] + 0.5 * sum(newaxis(scores, -1) * l.memory, 1);
    }
    if (!l.inner.empty()) n[0] = inner(l, n[0]);
    if (!l.own.empty()) n[0] = n[0] + 0.3 * l.own * h;
    if (l.descends) n[0] = n[0] - 0.2 * gradients(sum(square(tanh(matmul(n[0], l.w[0].shape()[0] == l.hidden ? l.w[0] : l.w[1])))), n[0]);
    if (l.dropout) n[0] = n[0] * (uniform(n[0].shape(), options_.dtype) < 0.8);
    if (l.whole_batch) n[0] = n[0] - 0.5 * mean(n[0], 0, true) - 0.1 * mean(n[0], 1, true);
    if (l.outer) n[0] = tanh(n[0] + 0.1 * matmul(n[0], matmul(transpose(n[0]), h)));
    if (l.top) n[0] = n[0] - 0.3 * max(n[0] + 0.0123 * positions(n[0].shape(), options_.dtype), -1, true);
    if (l.number) n[0] = 0.6 * n[0] + l.factor * (0.3 * h);
    if (l.held) n[0] = n[0] + 0.1 * detach(h);
    if (l.mask)
      for (std::size_t i = 0; i < n.size(); ++i) n[i] = where(in.there, n[i], s[i]);
    return n;
  }
  static Variable gradients(const Variable& loss, const Variable& x) { return rw::gradients(loss, x); }

  LayerState cell(const Layer& l, const Variable& x, const LayerState& s) const {
    const auto& h = s[0];
    const auto& w = l.w;
    switch (l.kind) {
      case 0: return {tanh(matmul(x, w[0]) + matmul(h, w[1]) + w[2])};
      case 1: {
        auto [f, i, o, g] = split<4>(matmul(x, w[0]) + matmul(h, w[1]) + w[2]);
        auto c = sigmoid(f) * s[1] + sigmoid(i) * tanh(g);
        return {sigmoid(o) * tanh(c), c};
      }
      case 2: {
        auto f = sigmoid(matmul(x, w[0]) + matmul(h, w[1]) + w[6]);
        auto c = f * s[1] + (1 - f) * tanh(matmul(x, w[2]) + matmul(h, w[3]));
        return {sigmoid(matmul(x, w[4]) + matmul(h, w[5])) * tanh(c), c};
      }
      case 3: {
        auto [xz, xr, xg] = split<3>(matmul(x, w[0]));
        auto [hz, hr] = split<2>(matmul(h, w[1]));
        auto z = sigmoid(xz + hz);
        return {(1 - z) * h + z * tanh(xg + matmul(sigmoid(xr + hr) * h, w[2]))};
      }
      case 4: return {tanh(matmul(concatenate({x, h}, -1), w[0]) + w[1])};
      case 5: return {tanh(matmul(tanh(matmul(h, w[0])), w[0]) + matmul(x, w[1]))};
      case 6: return {tanh(matmul(h, transpose(w[0])) + matmul(x, transpose(w[1])))};
      default: return {tanh(matmul(h, w[0]) + matmul(s[1], w[1]) + matmul(x, w[2])), h};
    }
  }

  Variable inner(const Layer& l, const Variable& start) const {
    auto note = [&](const Variable& c, const Variable& v) { return tanh(matmul(c, l.inner) + v); };
    if (!l.inner_by_hand) {
      return scan(
                 [&](const Variable& c, const Variable& v) {
                   return std::pair{note(c, v), c};
                 },
                 start, l.notes, {.reverse = l.inner_reverse, .checkpoint = l.inner_checkpoint})
          .first;
    }
    Variable c = start;
    const Index n = l.notes.shape()[0];
    for (Index k = 0; k < n; ++k) c = note(c, l.notes[l.inner_reverse ? n - 1 - k : k]);
    return c;
  }

  int features_ = 0;
};

}  // namespace rw::test

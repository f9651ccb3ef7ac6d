// The equations of recurrent cells as plain loops in double, with back-propagation through time derived by hand: the second opinion on what
// the tape derives. Nothing of the library computes here.
#pragma once

#include <rewind/core/dtype.hpp>

#include <cmath>
#include <map>
#include <string>
#include <vector>

namespace rw::test {

using Numbers = std::vector<double>;
using Named = std::map<std::string, Numbers>;

struct Extents {
  Index T, B, I, H;
};

/// What a layer gives: y [T,B,H], last states, and gradients by name (parameters, "x", "h" and "c" of the first state).
struct LayerResult {
  Numbers y;
  Named last, gradients;
};

/// What a loss says of a layer's results: its derivatives by y [T,B,H] and by the last states [B,H].
struct Incoming {
  Numbers y;
  Named last;
};

inline double sigmoid_of(double a) { return 1 / (1 + std::exp(-a)); }

/// c [M,N] += a [M,K] b [K,N], all dense.
inline void add_product(const double* a, const double* b, double* c, Index m, Index k, Index n) {
  for (Index i = 0; i < m; ++i)
    for (Index p = 0; p < k; ++p)
      for (Index j = 0; j < n; ++j) c[i * n + j] += a[i * k + p] * b[p * n + j];
}
/// c [K,N] += a^T b with a [M,K], b [M,N].
inline void add_transposed_left(const double* a, const double* b, double* c, Index m, Index k, Index n) {
  for (Index i = 0; i < m; ++i)
    for (Index p = 0; p < k; ++p)
      for (Index j = 0; j < n; ++j) c[p * n + j] += a[i * k + p] * b[i * n + j];
}
/// c [M,K] += a b^T with a [M,N], b [K,N].
inline void add_transposed_right(const double* a, const double* b, double* c, Index m, Index k, Index n) {
  for (Index i = 0; i < m; ++i)
    for (Index p = 0; p < k; ++p)
      for (Index j = 0; j < n; ++j) c[i * k + p] += a[i * n + j] * b[p * n + j];
}

inline Numbers nothing(Index n) { return Numbers(static_cast<std::size_t>(n), 0.0); }
inline double* at(Numbers& v, Index i) { return v.data() + i; }
inline const double* at(const Numbers& v, Index i) { return v.data() + i; }

/// Bias b [N] in each of m rows.
inline Numbers rows_of(const Numbers& b, Index m) {
  Numbers result;
  for (Index i = 0; i < m; ++i) result.insert(result.end(), b.begin(), b.end());
  return result;
}
inline void add_rows(const Numbers& a, Index m, Numbers& b) {
  Index n = static_cast<Index>(b.size());
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) *at(b, j) += *at(a, i * n + j);
}

/// h' = f(x wx + h wh + b), f tanh or relu.
inline LayerResult rnn_layer(const Extents& e, const Named& w, const Numbers& x, const Named& start, const Incoming& in, bool relu) {
  auto [T, B, I, H] = e;
  const Numbers &wx = w.at("wx"), &wh = w.at("wh"), &b = w.at("b");
  Numbers h = start.at("h");  // [T+1,B,H]
  for (Index t = 0; t < T; ++t) {
    Numbers a = rows_of(b, B);
    add_product(at(x, t * B * I), wx.data(), a.data(), B, I, H);
    add_product(at(h, t * B * H), wh.data(), a.data(), B, H, H);
    for (double v : a) h.push_back(relu ? (v > 0 ? v : 0) : std::tanh(v));
  }
  LayerResult r{Numbers(h.begin() + B * H, h.end()), {{"h", Numbers(h.end() - B * H, h.end())}}, {}};
  Numbers dwx = nothing(I * H), dwh = nothing(H * H), db = nothing(H), dx = nothing(T * B * I), dh = in.last.at("h");
  for (Index t = T - 1; t >= 0; --t) {
    Numbers da = nothing(B * H);
    for (Index i = 0; i < B * H; ++i) {
      double y = *at(h, (t + 1) * B * H + i);
      *at(da, i) = (*at(dh, i) + *at(in.y, t * B * H + i)) * (relu ? (y > 0 ? 1 : 0) : 1 - y * y);
    }
    add_transposed_left(at(x, t * B * I), da.data(), dwx.data(), B, I, H);
    add_transposed_left(at(h, t * B * H), da.data(), dwh.data(), B, H, H);
    add_rows(da, B, db);
    add_transposed_right(da.data(), wx.data(), at(dx, t * B * I), B, I, H);
    dh = nothing(B * H);
    add_transposed_right(da.data(), wh.data(), dh.data(), B, H, H);
  }
  r.gradients = {{"wx", dwx}, {"wh", dwh}, {"b", db}, {"x", dx}, {"h", dh}};
  return r;
}

/// f, i, g, o = x wx + h wh + b;  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c').
inline LayerResult lstm_layer(const Extents& e, const Named& w, const Numbers& x, const Named& start, const Incoming& in) {
  auto [T, B, I, H] = e;
  const Numbers &wx = w.at("wx"), &wh = w.at("wh"), &b = w.at("b");
  Numbers h = start.at("h"), c = start.at("c"), gates;  // [T+1,B,H] twice, [T,B,4H] after their functions
  for (Index t = 0; t < T; ++t) {
    Numbers a = rows_of(b, B);
    add_product(at(x, t * B * I), wx.data(), a.data(), B, I, 4 * H);
    add_product(at(h, t * B * H), wh.data(), a.data(), B, H, 4 * H);
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < 4 * H; ++j) {
        double v = *at(a, i * 4 * H + j);
        gates.push_back(j / H == 2 ? std::tanh(v) : sigmoid_of(v));
      }
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < H; ++j) {
        const double* g = at(gates, (t * B + i) * 4 * H + j);
        c.push_back(g[0] * *at(c, (t * B + i) * H + j) + g[H] * g[2 * H]);
        h.push_back(g[3 * H] * std::tanh(c.back()));
      }
  }
  LayerResult r{
      Numbers(h.begin() + B * H, h.end()), {{"h", Numbers(h.end() - B * H, h.end())}, {"c", Numbers(c.end() - B * H, c.end())}}, {}};
  Numbers dwx = nothing(I * 4 * H), dwh = nothing(H * 4 * H), db = nothing(4 * H), dx = nothing(T * B * I);
  Numbers dh = in.last.at("h"), dc = in.last.at("c");
  for (Index t = T - 1; t >= 0; --t) {
    Numbers da = nothing(B * 4 * H);
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < H; ++j) {
        const double* g = at(gates, (t * B + i) * 4 * H + j);
        double f = g[0], p = g[H], candidate = g[2 * H], o = g[3 * H];
        double before = *at(c, (t * B + i) * H + j), s = std::tanh(*at(c, ((t + 1) * B + i) * H + j));
        double dy = *at(dh, i * H + j) + *at(in.y, (t * B + i) * H + j);
        double d = *at(dc, i * H + j) + dy * o * (1 - s * s);
        double* a = at(da, i * 4 * H + j);
        a[0] = d * before * f * (1 - f);
        a[H] = d * candidate * p * (1 - p);
        a[2 * H] = d * p * (1 - candidate * candidate);
        a[3 * H] = dy * s * o * (1 - o);
        *at(dc, i * H + j) = d * f;
      }
    add_transposed_left(at(x, t * B * I), da.data(), dwx.data(), B, I, 4 * H);
    add_transposed_left(at(h, t * B * H), da.data(), dwh.data(), B, H, 4 * H);
    add_rows(da, B, db);
    add_transposed_right(da.data(), wx.data(), at(dx, t * B * I), B, I, 4 * H);
    dh = nothing(B * H);
    add_transposed_right(da.data(), wh.data(), dh.data(), B, H, 4 * H);
  }
  r.gradients = {{"wx", dwx}, {"wh", dwh}, {"b", db}, {"x", dx}, {"h", dh}, {"c", dc}};
  return r;
}

/// z, r = sigmoid(x wx + h wh + b), and
///   before: n = tanh(x wx_n + b_n + (r h) wn),          h' = (1 - z) h + z n
///   after:  n = tanh(x wx_n + b_n + r (h wh_n + bn)),   h' = (1 - z) n + z h
inline LayerResult gru_layer(const Extents& e, const Named& w, const Numbers& x, const Named& start, const Incoming& in, bool before) {
  auto [T, B, I, H] = e;
  const Numbers &wx = w.at("wx"), &wh = w.at("wh"), &b = w.at("b");
  const Index blocks = before ? 2 : 3, C = blocks * H;
  Numbers h = start.at("h"), gates, product;  // [T+1,B,H], [T,B,3H] after their functions, [T,B,H]: (r h) wn, or h wh_n + bn
  for (Index t = 0; t < T; ++t) {
    Numbers a = rows_of(b, B), q = nothing(B * C), rh = nothing(B * H), m = nothing(B * H);
    add_product(at(x, t * B * I), wx.data(), a.data(), B, I, 3 * H);
    add_product(at(h, t * B * H), wh.data(), q.data(), B, H, C);
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < H; ++j) {
        for (Index k = 0; k < 2; ++k) {
          double& v = *at(a, i * 3 * H + k * H + j);
          v = sigmoid_of(v + *at(q, i * C + k * H + j));
        }
        *at(rh, i * H + j) = *at(a, i * 3 * H + H + j) * *at(h, (t * B + i) * H + j);
        if (!before) *at(m, i * H + j) = *at(q, i * C + 2 * H + j) + *at(w.at("bn"), j);
      }
    if (before) add_product(rh.data(), w.at("wn").data(), m.data(), B, H, H);
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < H; ++j) {
        double* g = at(a, i * 3 * H + j);
        double p = *at(m, i * H + j), z = g[0], previous = *at(h, (t * B + i) * H + j);
        g[2 * H] = std::tanh(g[2 * H] + (before ? p : g[H] * p));
        h.push_back(before ? (1 - z) * previous + z * g[2 * H] : (1 - z) * g[2 * H] + z * previous);
      }
    gates.insert(gates.end(), a.begin(), a.end());
    product.insert(product.end(), m.begin(), m.end());
  }
  LayerResult r{Numbers(h.begin() + B * H, h.end()), {{"h", Numbers(h.end() - B * H, h.end())}}, {}};
  Numbers dwx = nothing(I * 3 * H), dwh = nothing(H * C), db = nothing(3 * H), dx = nothing(T * B * I), dh = in.last.at("h");
  Numbers dwn = nothing(H * H), dbn = nothing(H);
  for (Index t = T - 1; t >= 0; --t) {
    Numbers da = nothing(B * 3 * H), dq = nothing(B * C), dn = nothing(B * H), rh = nothing(B * H), drh = nothing(B * H),
            down = nothing(B * H);
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < H; ++j) {
        const double* g = at(gates, (t * B + i) * 3 * H + j);
        double z = g[0], reset = g[H], n = g[2 * H], previous = *at(h, (t * B + i) * H + j);
        double dy = *at(dh, i * H + j) + *at(in.y, (t * B + i) * H + j);
        *at(da, i * 3 * H + j) = dy * (before ? n - previous : previous - n) * z * (1 - z);
        *at(dn, i * H + j) = dy * (before ? z : 1 - z) * (1 - n * n);
        *at(da, i * 3 * H + 2 * H + j) = *at(dn, i * H + j);
        *at(down, i * H + j) = dy * (before ? 1 - z : z);
        *at(rh, i * H + j) = reset * previous;
      }
    if (before) {
      add_transposed_left(rh.data(), dn.data(), dwn.data(), B, H, H);
      add_transposed_right(dn.data(), w.at("wn").data(), drh.data(), B, H, H);
    }
    for (Index i = 0; i < B; ++i)
      for (Index j = 0; j < H; ++j) {
        const double* g = at(gates, (t * B + i) * 3 * H + j);
        double reset = g[H], previous = *at(h, (t * B + i) * H + j), d = *at(dn, i * H + j);
        double dr = before ? *at(drh, i * H + j) * previous : d * *at(product, (t * B + i) * H + j);
        *at(da, i * 3 * H + H + j) = dr * reset * (1 - reset);
        if (before) *at(down, i * H + j) += *at(drh, i * H + j) * reset;
        for (Index k = 0; k < 2; ++k) *at(dq, i * C + k * H + j) = *at(da, i * 3 * H + k * H + j);
        if (!before) *at(dq, i * C + 2 * H + j) = d * reset;
        if (!before) *at(dbn, j) += d * reset;
      }
    add_transposed_left(at(x, t * B * I), da.data(), dwx.data(), B, I, 3 * H);
    add_transposed_left(at(h, t * B * H), dq.data(), dwh.data(), B, H, C);
    add_rows(da, B, db);
    add_transposed_right(da.data(), wx.data(), at(dx, t * B * I), B, I, 3 * H);
    add_transposed_right(dq.data(), wh.data(), down.data(), B, H, C);
    dh = down;
  }
  r.gradients = {{"wx", dwx}, {"wh", dwh}, {"b", db}, {"x", dx}, {"h", dh}};
  r.gradients[before ? "wn" : "bn"] = before ? dwn : dbn;
  return r;
}

}  // namespace rw::test

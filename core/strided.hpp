// Loops over strided memory that several operands share: axes merged where all allow it, then an odometer over the outer ones.
#pragma once

#include <rewind/core/shape.hpp>

#include <utility>

namespace rw {

/// An iteration space with the strides of N operands along its axes.
template <int N>
struct Strided {
  Dims extents;
  Dims strides[N];

  void push_back(Index extent, const Index (&steps)[N]) {
    extents.push_back(extent);
    for (int k = 0; k < N; ++k) strides[k].push_back(steps[k]);
  }

  /// Drops axes of extent 1 and joins neighbours that all operands walk as one axis. The order of the elements stays.
  void merge() {
    Strided result;
    for (int i = 0; i < extents.rank(); ++i) {
      if (extents[i] == 1) continue;
      int last = result.extents.rank() - 1;
      bool joins = last >= 0;
      for (int k = 0; joins && k < N; ++k) joins = result.strides[k][last] == strides[k][i] * extents[i];
      if (!joins) {
        result.extents.push_back(extents[i]);
        for (int k = 0; k < N; ++k) result.strides[k].push_back(strides[k][i]);
      } else {
        result.extents[last] *= extents[i];
        for (int k = 0; k < N; ++k) result.strides[k][last] = strides[k][i];
      }
    }
    *this = result;
  }

  /// Exchanges two axes of the loop.
  void swap(int a, int b) {
    std::swap(extents[a], extents[b]);
    for (Dims& s : strides) std::swap(s[a], s[b]);
  }

  Index size(int axes) const {
    Index n = 1;
    for (int i = 0; i < axes; ++i) n *= extents[i];
    return n;
  }

  /// Calls f(offsets) for positions begin .. end-1 (row-major) of the first `axes` axes; offsets[k] is operand k's, in elements.
  template <class F>
  void walk(int axes, Index begin, Index end, F f) const {
    Index at[max_rank] = {}, offsets[N] = {};
    Index rest = begin;
    for (int i = axes - 1; i >= 0 && begin < end; --i) {
      at[i] = rest % extents[i];
      rest /= extents[i];
      for (int k = 0; k < N; ++k) offsets[k] += at[i] * strides[k][i];
    }
    for (Index position = begin; position < end; ++position) {
      f(offsets);
      for (int i = axes - 1; i >= 0; --i) {
        for (int k = 0; k < N; ++k) offsets[k] += strides[k][i];
        if (++at[i] < extents[i]) break;
        for (int k = 0; k < N; ++k) offsets[k] -= strides[k][i] * extents[i];
        at[i] = 0;
      }
    }
  }
  template <class F>
  void walk(int axes, F f) const {
    walk(axes, 0, size(axes), f);
  }
};

}  // namespace rw

// Numbers to multiply, in vectors and in storage, on each instruction set.
#pragma once

#include <doctest/doctest.h>
#include <rewind/core/isa.hpp>
#include <rewind/core/storage.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

namespace rw::test {

/// Numbers in [-1, 1] that do not repeat soon.
template <class T>
std::vector<T> numbers(Index count, unsigned seed) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (auto& v : values) {
    seed = seed * 1664525u + 1013904223u;
    v = static_cast<T>(static_cast<int>(seed >> 8) % 10007 - 5003) / T(5003);
  }
  return values;
}

/// The same bits, or both NaN.
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](T x, T y) { return std::memcmp(&x, &y, sizeof(T)) == 0 || (std::isnan(x) && std::isnan(y)); });
}

/// Storage that holds values.
template <class T>
StorageRef stored(const std::vector<T>& values) {
  auto storage = StorageRef::allocate(static_cast<Index>(values.size() * sizeof(T)));
  std::memcpy(storage->data(), values.data(), values.size() * sizeof(T));
  return storage;
}

/// f(isa) for those that the processor has.
template <class F>
void each_isa(F f) {
  for (Isa isa : {Isa::sse2, Isa::avx2, Isa::avx512}) {
    if (supported(isa))
      f(isa);
    else
      MESSAGE("NOT RUN: this processor lacks ", std::string(name(isa)));
  }
}

}  // namespace rw::test

// The element types of tensors.
#pragma once

#include <cstdint>

namespace rw {

using Index = std::int64_t;  ///< sizes, extents, positions: signed everywhere

enum class DType : std::uint8_t { f32, f64, i32, i64, boolean };

/// Bytes of one element.
constexpr Index size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::f64:
    case DType::i64: return 8;
    case DType::boolean: return 1;
  }
  return 0;
}

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

/// "f32", "f64", "i32", "i64", "bool".
constexpr const char* name(DType dtype) {
  constexpr const char* names[] = {"f32", "f64", "i32", "i64", "bool"};
  return names[static_cast<int>(dtype)];
}

/// The dtype of an operation on a and b: the later in the order bool, i32, i64, f32, f64.
constexpr DType promote(DType a, DType b) {
  constexpr int rank[] = {3, 4, 1, 2, 0};
  return rank[static_cast<int>(a)] >= rank[static_cast<int>(b)] ? a : b;
}

template <class T>
inline constexpr bool is_element = false;
template <>
inline constexpr bool is_element<float> = true;
template <>
inline constexpr bool is_element<double> = true;
template <>
inline constexpr bool is_element<std::int32_t> = true;
template <>
inline constexpr bool is_element<std::int64_t> = true;
template <>
inline constexpr bool is_element<bool> = true;

/// The DType of a C++ element type.
template <class T>
requires is_element<T>
constexpr DType dtype_of() {
  if constexpr (sizeof(T) == 1) return DType::boolean;
  if constexpr (T(0.5) != T(0)) return sizeof(T) == 4 ? DType::f32 : DType::f64;
  return sizeof(T) == 4 ? DType::i32 : DType::i64;
}

/// Calls f with a value-initialised element of the C++ type of `dtype`.
template <class F>
decltype(auto) visit(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::i32: return f(std::int32_t{});
    case DType::i64: return f(std::int64_t{});
    case DType::boolean: break;
  }
  return f(bool{});
}

}  // namespace rw

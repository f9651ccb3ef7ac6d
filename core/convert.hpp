// Conversion of one element to another element type.
#pragma once

#include <limits>
#include <type_traits>

namespace rw {

/// x as a To. Floating to integer truncates toward 0 and saturates, NaN gives 0; nonzero (NaN too) gives true; i64 to i32 wraps; the rest
/// rounds to nearest.
template <class To, class From>
constexpr To convert(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());  // a power of two: exact
    if (!(x == x)) return 0;
    if (x < low) return std::numeric_limits<To>::min();
    return x < -low ? static_cast<To>(x) : std::numeric_limits<To>::max();
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace rw

// How messages are worded: the light header of fmt, for source files only. What does the work is compiled once, in format.cpp.
#pragma once

#include <fmt/core.h>
#include <rewind/core/dtype.hpp>
#include <rewind/core/error.hpp>
#include <rewind/core/shape.hpp>

namespace rw {

/// Throws E with a message worded by fmt.
template <class E, class... A>
[[noreturn, gnu::cold]] void fail(fmt::format_string<A...> text, A&&... arguments) {
  throw E(fmt::format(text, std::forward<A>(arguments)...));
}

}  // namespace rw

// Without format specifications: "{}" only.
template <>
struct fmt::formatter<rw::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  auto format(const rw::Shape& shape, fmt::format_context& context) const {
    return fmt::format_to(context.out(), "{}", rw::to_string(shape));
  }
};

template <>
struct fmt::formatter<rw::DType> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  auto format(rw::DType dtype, fmt::format_context& context) const { return fmt::format_to(context.out(), "{}", name(dtype)); }
};

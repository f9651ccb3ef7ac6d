// The form of elementwise operations: what a struct of core/elementwise.hpp may have, and how the rest of the library finds it out.
#pragma once

#include <cstdint>
#include <type_traits>

namespace rw::op {

/// Marks an operand without derivative.
struct None {};
inline constexpr None none;

/// Bases: the number of operands, and what kind of operation it is.
struct Unary {
  static constexpr int arity = 1;
};
struct Binary {
  static constexpr int arity = 2;
};
struct Ternary {
  static constexpr int arity = 3;
};
struct Truth {};   ///< the result is 1 or 0
struct Costly {};  ///< more than a few instructions: transcendental functions, divisions, roots

template <class... T>
struct List {
  static constexpr int size = sizeof...(T);
};

/// Code of an operation in tile programs and on the tape: its position in the list.
using Code = std::uint8_t;
template <class T, class... U>
constexpr Code position(List<U...>) {
  Code i = 0, found = 255;
  ((std::is_same_v<T, U> ? (found = i, ++i) : ++i), ...);
  return found;
}

namespace detail {
// A name that both bases have is ambiguous, so taking its address fails exactly where the operation has it; its body stays unread.
struct Names {
  int gradient, gradient_x, gradient_y, gradient_xy, pull_x;
};
template <class Op>
struct Both : Op, Names {};
}  // namespace detail

/// Which form of derivative Op has.
template <class Op>
inline constexpr bool has_gradient = !requires {
  &detail::Both<Op>::gradient;
};
template <class Op>
inline constexpr bool has_gradient_x = !requires {
  &detail::Both<Op>::gradient_x;
};
template <class Op>
inline constexpr bool has_gradient_y = !requires {
  &detail::Both<Op>::gradient_y;
};
template <class Op>
inline constexpr bool has_gradient_xy = !requires {
  &detail::Both<Op>::gradient_xy;
};
template <class Op>
inline constexpr bool has_pull_x = !requires {
  &detail::Both<Op>::pull_x;
};

/// The same at run time, by code.
struct Info {
  const char* name;
  int arity;
  bool boolean_result;  ///< 1 or 0: the tape gives it dtype bool
  bool keeps_operands;  ///< the derivative reads the operands
  bool keeps_result;    ///< the derivative reads the result
  bool differentiable;
  bool cheap;  ///< a few instructions: computing it again costs less than keeping it
};
template <class Op>
inline constexpr Info info_of{Op::name,
                              Op::arity,
                              std::is_base_of_v<Truth, Op>,
                              has_gradient_x<Op> || has_gradient_xy<Op> || has_pull_x<Op>,
                              has_gradient_y<Op> || has_gradient_xy<Op>,
                              has_gradient<Op> || has_gradient_x<Op> || has_gradient_y<Op> || has_gradient_xy<Op> || has_pull_x<Op>,
                              !std::is_base_of_v<Costly, Op>};

namespace detail {
template <class... Op>
struct Table {
  Info row[sizeof...(Op)] = {info_of<Op>...};
  constexpr const Info& operator[](int i) const { return row[i]; }
};
template <class... Op>
constexpr Table<Op...> table(List<Op...>) {
  return {};
}
}  // namespace detail

}  // namespace rw::op

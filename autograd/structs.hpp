// Structs of Variables: carries, states, slots of optimizers. A Variable, an aggregate of up to eight fields that are such structs, or a
// std::pair, std::array or std::vector of them. The empty struct is one. A Parameter is not: it is a place, not a value.
#pragma once

#include <array>
#include <rewind/autograd/variable.hpp>
#include <rewind/core/recycle.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rw {

Variable detach(const Variable& x);

namespace detail {

inline constexpr int max_fields = 8;

/// Converts to whatever the field of an aggregate T wants.
template <class T>
struct Anything {
  template <class U>
  requires(!std::is_same_v<U, T>) operator U() const;
};
/// Converts to T's bases only: an aggregate that takes it first has one.
template <class T>
struct AnyBase {
  template <class U>
  requires(std::is_base_of_v<U, T> && !std::is_same_v<U, T>) operator U() const;
};
template <class T, std::size_t>
using AnythingAt = Anything<T>;

template <class T, std::size_t... I>
consteval bool takes(std::index_sequence<I...>) {
  return requires { T{AnythingAt<T, I>{}...}; };
}
/// How many initialisers T takes, counting each element of a C array; at most 12 are tried.
template <class T, std::size_t N = 12>
consteval int initialisers() {
  if constexpr (N == 0 || takes<T>(std::make_index_sequence<N>{}))
    return N;
  else
    return initialisers<T, N - 1>();
}
template <class T, std::size_t... I, std::size_t... J, std::size_t... K>
consteval bool takes_nested(std::index_sequence<I...>, std::index_sequence<J...>, std::index_sequence<K...>) {
  return requires { T{AnythingAt<T, I>{}..., {AnythingAt<T, J>{}...}, AnythingAt<T, K>{}...}; };
}
/// Braces around M initialisers from the I-th stand for a C array if that uses up all M: a class field would use up one.
template <class T, std::size_t N, std::size_t I, std::size_t M>
consteval bool array_at() {
  using std::make_index_sequence;
  if constexpr (I + M > N)
    return false;
  else if constexpr (takes_nested<T>(make_index_sequence<I>{}, make_index_sequence<M>{}, make_index_sequence<N - I - M>{}))
    return !takes_nested<T>(make_index_sequence<I>{}, make_index_sequence<M>{}, make_index_sequence<N - I - M + 1>{});
  else
    return false;
}
template <class T, std::size_t N, std::size_t... Q>
consteval bool has_array(std::index_sequence<Q...>) {
  return (array_at<T, N, Q / N, Q % N + 2>() || ...);
}

/// f(fields...) for an aggregate of N fields.
template <int N, class S, class F>
constexpr decltype(auto) with_fields(S& s, F&& f) {
  if constexpr (N == 0) {
    return f();
  } else if constexpr (N == 1) {
    auto& [a] = s;
    return f(a);
  } else if constexpr (N == 2) {
    auto& [a, b] = s;
    return f(a, b);
  } else if constexpr (N == 3) {
    auto& [a, b, c] = s;
    return f(a, b, c);
  } else if constexpr (N == 4) {
    auto& [a, b, c, d] = s;
    return f(a, b, c, d);
  } else if constexpr (N == 5) {
    auto& [a, b, c, d, e] = s;
    return f(a, b, c, d, e);
  } else if constexpr (N == 6) {
    auto& [a, b, c, d, e, g] = s;
    return f(a, b, c, d, e, g);
  } else if constexpr (N == 7) {
    auto& [a, b, c, d, e, g, h] = s;
    return f(a, b, c, d, e, g, h);
  } else {
    auto& [a, b, c, d, e, g, h, i] = s;
    return f(a, b, c, d, e, g, h, i);
  }
}

/// Why a type is no struct of Variables.
enum class StructFault { none, c_array, too_many_fields, no_aggregate, foreign_field };

template <class S>
struct Fault;
template <class S>
inline constexpr StructFault fault = Fault<S>::value();

constexpr StructFault first_fault(std::initializer_list<StructFault> faults) {
  for (StructFault f : faults)
    if (f != StructFault::none) return f == StructFault::no_aggregate ? StructFault::foreign_field : f;
  return StructFault::none;
}

template <class S>
struct Fault {
  static consteval StructFault value() {
    if constexpr (std::is_array_v<S>) {
      return StructFault::c_array;
    } else if constexpr (!std::is_aggregate_v<S> || std::is_union_v<S> || std::is_const_v<S>) {
      return StructFault::no_aggregate;
    } else if constexpr (requires { S{AnyBase<S>{}}; }) {
      return StructFault::no_aggregate;
    } else {
      constexpr int n = initialisers<S>();
      if constexpr (n == 0)
        return std::is_empty_v<S> ? StructFault::none : StructFault::no_aggregate;
      else if constexpr (has_array<S, n>(std::make_index_sequence<n*(n - 1)>{}))
        return StructFault::c_array;
      else if constexpr (n > max_fields)
        return StructFault::too_many_fields;
      else
        return decltype(with_fields<n>(std::declval<S&>(), Collect{}))::value;
    }
  }
  struct Collect {
    template <class... T>
    auto operator()(T&...) const -> std::integral_constant<StructFault, first_fault({fault<T>...})>;
  };
};
template <>
struct Fault<Variable> {
  static consteval StructFault value() { return StructFault::none; }
};
template <class T, class A>
struct Fault<std::vector<T, A>> {
  static consteval StructFault value() { return first_fault({fault<T>}); }
};
template <class T, std::size_t N>
struct Fault<std::array<T, N>> {
  static consteval StructFault value() { return first_fault({fault<T>}); }
};
template <class A, class B>
struct Fault<std::pair<A, B>> {
  static consteval StructFault value() { return first_fault({fault<A>, fault<B>}); }
};

template <class S>
constexpr void require_struct() {
  constexpr StructFault found = fault<S>;
  static_assert(found != StructFault::c_array, "rw: a struct of Variables cannot hold a C array: use std::array<Variable, N>");
  static_assert(found != StructFault::too_many_fields,
                "rw: a struct of Variables has at most eight fields: group some of them in a struct");
  static_assert(
      found != StructFault::foreign_field,
      "rw: a struct of Variables holds Variables, such structs, and std::pair, std::array, std::vector of them, and nothing else");
  static_assert(
      found != StructFault::no_aggregate,
      "rw: this is no struct of Variables: it must be a Variable or a plain struct without bases, constructors and private members");
}

template <class S>
inline constexpr bool is_list = false;
template <class T, class A>
inline constexpr bool is_list<std::vector<T, A>> = true;
template <class T, std::size_t N>
inline constexpr bool is_list<std::array<T, N>> = true;
template <class S>
inline constexpr bool is_pair = false;
template <class A, class B>
inline constexpr bool is_pair<std::pair<A, B>> = true;

/// f(variable) for each Variable in order; s may be const.
template <class S, class F>
void each(S& s, F& f) {
  using T = std::remove_const_t<S>;
  if constexpr (std::is_same_v<T, Variable>) {
    f(s);
  } else if constexpr (is_list<T>) {
    for (auto& element : s) each(element, f);
  } else if constexpr (is_pair<T>) {
    each(s.first, f);
    each(s.second, f);
  } else {
    with_fields<initialisers<T>()>(s, [&](auto&... fields) { (each(fields, f), ...); });
  }
}

/// An object that is never made, whose members' addresses spell their names.
template <class T>
union Ghost {
  char none;
  T value;
  constexpr Ghost() : none{} {}
  constexpr ~Ghost() {}
};
template <class T>
inline constexpr Ghost<T> ghost;
template <auto* member>
constexpr std::string_view spelling() {
  return __PRETTY_FUNCTION__;
}
template <class T>
constexpr std::string_view type_spelling() {
  return __PRETTY_FUNCTION__;
}
template <int I>
struct AddressOf {
  template <class... T>
  constexpr auto operator()(const T&... fields) const {
    return pick<0>(&fields...);
  }
  template <int J, class First, class... Rest>
  static constexpr auto pick(First first, Rest... rest) {
    if constexpr (J == I)
      return first;
    else
      return pick<J + 1>(rest...);
  }
};
/// "c" out of "... value.State::c); std::string_view ...".
std::string_view member_name(std::string_view spelling);
/// "Adam" out of "... [with T = rw::optim::rule::Adam; ...": the last word of a type's name, without template arguments.
std::string_view type_name(std::string_view spelling);

template <class T, int N, int I>
std::string_view field_name() {
  constexpr auto address = with_fields<N>(ghost<T>.value, AddressOf<I>{});
  return member_name(spelling<address>());
}
std::string join(const std::string& path, std::string_view name);

template <class S>
void names(const S& s, const std::string& path, std::vector<std::string>& out) {
  if constexpr (std::is_same_v<S, Variable>) {
    out.push_back(path);
  } else if constexpr (is_list<S>) {
    for (std::size_t i = 0; i < s.size(); ++i) names(s[i], join(path, std::to_string(i)), out);
  } else if constexpr (is_pair<S>) {
    names(s.first, join(path, "first"), out);
    names(s.second, join(path, "second"), out);
  } else {
    constexpr int n = initialisers<S>();
    [&]<int... I>(std::integer_sequence<int, I...>) {
      with_fields<n>(s, [&](const auto&... fields) { (names(fields, join(path, field_name<S, n, I>()), out), ...); });
    }
    (std::make_integer_sequence<int, n>{});
  }
}

[[noreturn]] void struct_mismatch(const char* op, std::size_t wanted, std::size_t got);

}  // namespace detail

/// A Variable, or a struct of Variables as this file's head says.
template <class S>
concept VariableStruct = detail::fault<S>
== detail::StructFault::none;

/// Appends the Variables of s to `out`, in the order of the fields.
template <class S, class A>
void flatten(const S& s, std::vector<Variable, A>& out) {
  detail::require_struct<S>();
  auto push = [&](const Variable& v) { out.push_back(v); };
  detail::each(s, push);
}

/// A struct like `pattern` (lengths of its vectors included) that holds `values`. Throws ValueError if their number differs.
template <class S, class A>
S unflatten_like(const S& pattern, const std::vector<Variable, A>& values) {
  detail::require_struct<S>();
  S result = pattern;
  std::size_t used = 0;
  auto take = [&](Variable& v) {
    if (used < values.size()) v = values[used];
    ++used;
  };
  detail::each(result, take);
  if (used != values.size()) detail::struct_mismatch("unflatten_like", used, values.size());
  return result;
}

/// Appends the path of each Variable of s, in the order of flatten: "h", "0.c", "first"; "" for a Variable alone.
template <class S>
void field_names(const S& s, std::vector<std::string>& out) {
  detail::require_struct<S>();
  detail::names(s, {}, out);
}

/// The struct of f(v) for each Variable v of s.
template <VariableStruct S, class F>
S map_struct(const S& s, F&& f) {
  S result = s;
  auto apply = [&](Variable& v) { v = f(std::as_const(v)); };
  detail::each(result, apply);
  return result;
}

/// The struct of f(v, w) for each Variable v of a and its counterpart w of b. Throws ValueError if their numbers differ.
template <VariableStruct S, class F>
S zip_struct(const S& a, const S& b, F&& f) {
  detail::List<Variable> v, w;
  flatten(a, v);
  flatten(b, w);
  if (v.size() != w.size()) detail::struct_mismatch("zip_struct", v.size(), w.size());
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = f(std::as_const(v[i]), std::as_const(w[i]));
  return unflatten_like(a, v);
}

/// The same values without their history; empty Variables stay empty.
template <VariableStruct S>
S detach(const S& s) {
  return map_struct(s, [](const Variable& v) { return v.empty() ? v : detach(v); });
}

/// Whether no Variable of s has a value: it means "start here". True for a struct without Variables.
template <VariableStruct S>
bool every_empty(const S& s) {
  bool every = true;
  auto look = [&](const Variable& v) { every = every && v.empty(); };
  detail::each(s, look);
  return every;
}

}  // namespace rw

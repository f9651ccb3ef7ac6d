// The one list of a module's members, from which names, counting, saving, copying and sharing follow.
//
//   struct Mlp { nn::Linear first, second; REWIND_FIELDS(first, second) };     // "first.weight", "first.bias", "second.weight", ...
#pragma once

#include <array>
#include <optional>
#include <rewind/autograd/parameter.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rw {

/// A walk over a module's fields. `list` is called by REWIND_FIELDS with the members' names and references.
class Fields {
 public:
  virtual ~Fields() = default;
  virtual void parameter(const std::string& path, const Parameter& parameter) = 0;  ///< path such as "lstm.0.wh"

  /// Members may be Parameters, modules (anything with REWIND_FIELDS), std::vector, std::array, std::pair or std::optional of them.
  template <class... M>
  void list([[maybe_unused]] std::string_view names, const M&... members) {
    (member(next_name(names), members), ...);
  }
  /// One member under a name of the module's choice.
  template <class M>
  void member(std::string_view name, const M& member);

 private:
  static std::string_view next_name(std::string_view& names);  ///< takes the first name off "wx, wh, b"
  std::size_t enter(std::string_view name);
  void leave(std::size_t length) { prefix_.resize(length); }
  std::string prefix_;
};

template <class M>
concept Module = requires(const M& m, Fields& walk) {
  m.rewind_fields(walk);
};

struct NamedParameter {
  std::string name;
  PlaceRef place;
};
/// The parameters of a module, in the order of its list; a tied place stands once, under its first name.
using ParameterList = std::vector<NamedParameter>;
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

namespace detail {

/// Collects every name of a module, tied ones too, and marks the places as listed.
class Collector : public Fields {
 public:
  void parameter(const std::string& path, const Parameter& parameter) override;
  ParameterList all;
};
template <class M>
ParameterList walk(const M& module) {
  Collector collector;
  module.rewind_fields(collector);
  return std::move(collector.all);
}
ParameterList distinct(ParameterList all);
Index count(const ParameterList& list);
void assign(const ParameterList& to, const ParameterList& from);
void cast(const ParameterList& list, DType dtype);
NamedTensors values(const ParameterList& list);

template <class M>
inline constexpr bool is_sequence = false;
template <class T, class A>
inline constexpr bool is_sequence<std::vector<T, A>> = true;
template <class T, std::size_t N>
inline constexpr bool is_sequence<std::array<T, N>> = true;
template <class M>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class M>
inline constexpr bool is_couple = false;
template <class A, class B>
inline constexpr bool is_couple<std::pair<A, B>> = true;

}  // namespace detail

template <class M>
void Fields::member(std::string_view name, const M& member) {
  std::size_t length = enter(name);
  if constexpr (std::is_same_v<M, Parameter>) {
    parameter(prefix_, member);
  } else if constexpr (Module<M>) {
    member.rewind_fields(*this);
  } else if constexpr (detail::is_sequence<M>) {
    for (std::size_t i = 0; i < member.size(); ++i) this->member(std::to_string(i), member[i]);
  } else if constexpr (detail::is_couple<M>) {
    this->member("first", member.first);
    this->member("second", member.second);
  } else if constexpr (detail::is_optional<M>) {
    leave(length);
    if (member) this->member(name, *member);
  } else {
    static_assert(
        std::is_same_v<M, Parameter>,
        "REWIND_FIELDS: a member is neither a Parameter, nor a module (a class with REWIND_FIELDS), nor a std::vector, std::array, "
        "std::pair or std::optional of those: leave it out of the list");
  }
  leave(length);
}

/// Each place of the module once: what optimizers take.
template <Module M>
ParameterList parameters(const M& module) {
  return detail::distinct(detail::walk(module));
}
/// A parameter by itself, named "parameter".
ParameterList parameters(const Parameter& parameter);

/// A name that stands for the place of an earlier one.
struct Alias {
  std::string name, of;
};
/// The names of tied places beyond their first, in the order of the list.
std::vector<Alias> aliases(const ParameterList& all);
template <Module M>
std::vector<Alias> aliases(const M& module) {
  return aliases(detail::walk(module));
}

/// The values by name, each place once.
template <Module M>
NamedTensors named_tensors(const M& module) {
  return detail::values(parameters(module));
}

/// Elements of all parameters, tied ones counted once.
template <Module M>
Index count(const M& module) {
  return detail::count(parameters(module));
}

/// A line of a model's table.
struct ParameterRow {
  std::string name;
  Shape shape;
  DType dtype;
  Index elements, bytes;  ///< of the value; 0 for an alias
  std::string alias_of;   ///< the first name of its place, if this is a later one
};
std::vector<ParameterRow> table(const ParameterList& all);
template <Module M>
std::vector<ParameterRow> table(const M& module) {
  return table(detail::walk(module));
}

/// A model of its own with the same values. Ties are kept, gradients are not.
template <Module M>
M copy(const M& model) {
  static_assert(std::is_copy_constructible_v<M>, "copy(model): the model's class must be copyable");
  detail::CopyScope scope;
  return M(model);
}

/// Gives `to` the values of `from`. Throws ValueError if their names differ, ShapeError if a shape, DTypeError if a dtype does: all are
/// checked before anything is written.
template <Module M>
void assign(M& to, const M& from) {
  detail::assign(detail::walk(to), detail::walk(from));
}

/// Converts all parameters to f32 or f64 (DTypeError for others), dropping gradients; do it before an optimizer is made.
template <Module M>
void cast(M& model, DType dtype) {
  detail::cast(parameters(model), dtype);
}

}  // namespace rw

#define REWIND_FIELDS(...) \
  void rewind_fields(::rw::Fields& walk) const { walk.list(#__VA_ARGS__ __VA_OPT__(, ) __VA_ARGS__); }

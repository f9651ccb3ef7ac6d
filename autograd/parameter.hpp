// Parameter: a place that holds a value to be trained, and its gradient.
#pragma once

#include <rewind/autograd/init.hpp>
#include <rewind/autograd/variable.hpp>

namespace rw {

class Parameter;

namespace detail {
struct Place;
void hold(Place* place) noexcept;
void drop(Place* place) noexcept;

/// While one lives, copies of this thread's Parameters keep their ties: each place has one copy, which all copies of its owners share.
class [[nodiscard]] CopyScope {
 public:
  CopyScope();
  ~CopyScope();
  CopyScope(const CopyScope&) = delete;

 private:
  struct Map;
  friend class rw::Parameter;
  Map* map_;
  CopyScope* outer_;
  static thread_local CopyScope* innermost_;
};
}  // namespace detail

/// A counted reference to the place of a parameter: what optimizers and lists of parameters keep.
class PlaceRef {
 public:
  PlaceRef() = default;
  explicit PlaceRef(detail::Place* place) noexcept;  ///< adds a count
  PlaceRef(const PlaceRef& other) noexcept;
  PlaceRef(PlaceRef&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
  PlaceRef& operator=(PlaceRef other) noexcept {
    std::swap(place_, other.place_);
    return *this;
  }
  ~PlaceRef();
  bool operator==(const PlaceRef&) const = default;
  detail::Place* get() const { return place_; }

  // All below throw TapeError if the reference is empty: its Parameter was moved from.
  const Variable& value() const;     ///< the leaf that formulas see
  const Variable& gradient() const;  ///< empty if there is none
  bool frozen() const;
  /// A new value of the same shape and dtype (ShapeError, DTypeError). Variables recorded before keep the old one.
  void set_value(const Tensor& value) const;
  void set_gradient(const Variable& gradient) const;  ///< of the value's shape (ShapeError); empty clears it
  void set_frozen(bool frozen) const;
  /// Modules' parameters that stand for this place now (ties count each).
  int owners() const;

 private:
  detail::Place* place_ = nullptr;
};

/// What `share` gives: assigning it to a Parameter makes both one place.
struct Shared {
  PlaceRef place;
};

/// A trained tensor of a module. Copying makes a new place with the same value, frozen if it was, without the gradient; moving keeps the
/// place; assignment writes the value into the place, so that optimizers keep their hold. A tied place copied outside `copy(model)` throws
/// TapeError. A Parameter that was moved from can be assigned to and destroyed; any other use throws TapeError.
class Parameter {
 public:
  /// f32, filled by `initializer`: by default glorot for rank >= 2 and zeros below.
  // Templates, so that `b({3 * hidden})` means a shape and nothing else: neither a tensor nor another Parameter is made from braces.
  template <std::same_as<Shape> S = Shape>
  explicit(false) Parameter(const S& shape, Initializer initializer = init::standard()) {
    make(initializer(shape));
  }
  template <std::same_as<Tensor> T>
  explicit Parameter(const T& value) {  ///< throws DTypeError unless it is f32 or f64
    make(value);
  }
  Parameter(const Parameter& other);
  Parameter(Parameter&& other) noexcept;
  Parameter& operator=(const Parameter& other);  ///< writes other's value here. Throws ShapeError, DTypeError
  Parameter& operator=(Parameter&& other);       ///< likewise; takes over other's place if this was moved from
  Parameter& operator=(const Tensor& value);
  Parameter& operator=(Shared other);  ///< from now on the same place as other. Throws ShapeError, DTypeError if they differ
  ~Parameter();

  operator const Variable&() const { return place_.value(); }
  Variable variable() const { return place_.value(); }
  Tensor value() const { return place_.value().value(); }
  const Shape& shape() const { return place_.value().shape(); }
  DType dtype() const { return place_.value().dtype(); }
  const Variable& gradient() const { return place_.gradient(); }  ///< empty if there is none
  void clear_gradient() { place_.set_gradient({}); }
  /// A frozen parameter gets no gradient, and optimizers skip it.
  void freeze(bool frozen = true) { place_.set_frozen(frozen); }
  bool frozen() const { return place_.frozen(); }
  Variable operator[](Index i) const { return place_.value()[i]; }
  const PlaceRef& place() const { return place_; }

 private:
  void make(const Tensor& value);
  void own() noexcept;
  void disown() noexcept;
  PlaceRef place_;
};

/// One place for two names: `head.weight = share(embed.weight)`. Stepped once, saved once.
Shared share(const Parameter& parameter);

}  // namespace rw

// Variable: a handle to a value on the tape.
//
// Operations on Variables check shapes and dtypes at once and record; arithmetic happens when a value is needed (item(), value(),
// the end of backward, an optimizer's step). The language of operations is in <rewind/autograd/ops.hpp>.
#pragma once

#include <concepts>
#include <rewind/core/tensor.hpp>
#include <type_traits>
#include <utility>

namespace rw {

namespace detail {
struct Value;
void hold(Value* value) noexcept;
void drop(Value* value) noexcept;
Value* record_number(double number);
}  // namespace detail

/// A number that may stand where a Variable is expected: arithmetic, but neither bool nor a character.
template <class T>
concept Number = std::is_arithmetic_v<T> && !std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
                 !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

/// A counted handle to a value of the tape: a leaf (a tensor, a number) or the result of an operation, evaluated or pending.
class Variable {
 public:
  /// Empty: no value at all. An empty State means "start here". Operations on it throw TapeError.
  Variable() = default;
  /// A number, of the dtype of what it meets (f32 among numbers). An input of plans: another number replans nothing.
  template <Number T>
  Variable(T number) : value_(detail::record_number(static_cast<double>(number))) {}
  /// A leaf with this value. Shares the storage, which is from now on not written in place.
  Variable(const Tensor& tensor);

  Variable(const Variable& other) noexcept : value_(other.value_) {
    if (value_) detail::hold(value_);
  }
  Variable(Variable&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  Variable& operator=(const Variable& other) & noexcept {
    Variable copy(other);
    std::swap(value_, copy.value_);
    return *this;
  }
  Variable& operator=(Variable&& other) & noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Variable() {
    if (value_) detail::drop(value_);
  }
  explicit operator bool() const = delete;  // `if (loss < best)` would always be true: compare loss.item()

  bool empty() const { return value_ == nullptr; }
  const Shape& shape() const;
  DType dtype() const;
  int rank() const { return shape().rank(); }
  Index size() const { return shape().size(); }

  /// The concrete tensor; evaluates what is pending. Throws TapeError inside the body of a scan.
  Tensor value() const;
  /// The number of a variable of one element; evaluates. Throws ShapeError if there are more.
  double item() const;

  /// Position i of axis 0, without the axis. i is an input of plans. Throws ValueError if it lies outside. Negative counts from the end.
  Variable operator[](Index i) const;

  // For the engine.
  detail::Value* handle() const { return value_; }
  static Variable adopt(detail::Value* value) noexcept {  ///< takes over one count
    Variable v;
    v.value_ = value;
    return v;
  }

 private:
  detail::Value* value_ = nullptr;
};

/// While one lives, this thread records values only: what is computed has no history.
class [[nodiscard]] NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// While one lives, this thread is not training: dropout is the identity, and there are no gradients.
class [[nodiscard]] Evaluation {
 public:
  Evaluation();
  ~Evaluation();
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

 private:
  NoGrad no_grad_;
  bool before_;
};

/// Whether this thread is training (no Evaluation lives).
bool training();

}  // namespace rw

// Few: a short list, in place up to N elements. Internal to autograd.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>

namespace rw::detail {

/// A list of plain elements that mostly has no more than N: most nodes of a tape have one result and up to three operands, and a tape of a
/// million steps has no room for vectors.
template <class T, std::uint32_t N>
class Few {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Few() {}
  Few(const Few&) = delete;
  ~Few() {
    if (size_ > N) delete[] many_;
  }
  void assign(std::span<const T> values) {
    T* to = values.size() > N ? new T[values.size()] : few_;
    std::copy(values.begin(), values.end(), to);
    if (size_ > N) delete[] many_;
    size_ = static_cast<std::uint32_t>(values.size());
    if (size_ > N) many_ = to;
  }
  /// Allocates each time past N: for the rare list that grows after it was made.
  void push_back(T value) {
    if (size_ < N) {
      few_[size_++] = value;
      return;
    }
    T* to = new T[size_ + 1];
    std::copy(begin(), end(), to);
    to[size_] = value;
    if (size_ > N) delete[] many_;
    many_ = to;
    ++size_;
  }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return size_ > N ? many_ : few_; }
  T* end() { return begin() + size_; }
  const T* begin() const { return size_ > N ? many_ : few_; }
  const T* end() const { return begin() + size_; }
  T& operator[](std::size_t i) { return begin()[i]; }
  const T& operator[](std::size_t i) const { return begin()[i]; }

 private:
  union {
    T few_[N];
    T* many_;
  };
  std::uint32_t size_ = 0;
};

}  // namespace rw::detail

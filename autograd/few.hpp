// Few: a list that has its first elements in place. Internal to autograd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <rewind/core/recycle.hpp>
#include <span>
#include <type_traits>

namespace rw::detail {

/// A list of plain values. The first N need no block of their own.
template <class T, std::uint32_t N>
class Few {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  Few() = default;
  Few(const Few&) = delete;
  ~Few() {
    if (data_ != here()) give_block(data_, capacity_ * sizeof(T));
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }

  void assign(std::span<const T> values) {
    reserve(values.size());
    std::uninitialized_copy(values.begin(), values.end(), data_);
    size_ = static_cast<std::uint32_t>(values.size());
  }
  void assign(std::size_t n, const T& value) {
    reserve(n);
    std::uninitialized_fill_n(data_, n, value);
    size_ = static_cast<std::uint32_t>(n);
  }
  void push_back(const T& value) {
    if (size_ == capacity_) reserve(2 * std::size_t{capacity_});
    new (data_ + size_++) T(value);
  }

 private:
  T* here() { return reinterpret_cast<T*>(here_); }
  void reserve(std::size_t n) {
    if (n <= capacity_) return;
    T* block = static_cast<T*>(take_block(n * sizeof(T)));
    std::uninitialized_copy_n(data_, size_, block);
    if (data_ != here()) give_block(data_, capacity_ * sizeof(T));
    data_ = block;
    capacity_ = static_cast<std::uint32_t>(n);
  }

  T* data_ = here();
  std::uint32_t size_ = 0, capacity_ = N;
  alignas(T) std::byte here_[N * sizeof(T)];  // unset: written with its first elements
};

}  // namespace rw::detail

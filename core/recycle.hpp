// Small blocks that are used again: for the short-lived objects and lists that every step makes and drops.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace rw {

/// At least `bytes`, aligned to 16, from the free blocks of this thread; where it has none, from a chain that another thread passed on, and
/// from the system only where there is none either. So work that repeats takes nothing from the system, whichever thread drops what
/// another made; and of each size there are never more blocks than were once in use at the same time, but for two chains (of 16 KB, or
/// one block) a thread. Blocks of more than 1 MB are the system's at once. Built with a sanitizer all are: it sees what is used after its
/// end.
void* take_block(std::size_t bytes);
/// Gives a block back, from any thread, with the bytes that it was taken for.
void give_block(void* block, std::size_t bytes) noexcept;
/// Asks for the cache lines of a block that is about to be written, the first four at most. Of any address, null too.
inline void fetch_block(const void* block, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes && at < 256; at += 64) __builtin_prefetch(static_cast<const char*>(block) + at, 1);
}

/// Whether blocks are kept at all: not in a library built with a sanitizer.
bool recycles_blocks();
/// Gives the system what lies between threads.
void trim_blocks() noexcept;

/// An allocator of recycled blocks.
template <class T>
struct Recycled {
  static_assert(alignof(T) <= 16);
  using value_type = T;
  Recycled() = default;
  template <class U>
  Recycled(const Recycled<U>&) {}
  T* allocate(std::size_t n) {
    if (n > std::size_t(-1) / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(take_block(n * sizeof(T)));
  }
  void deallocate(T* block, std::size_t n) noexcept { give_block(block, n * sizeof(T)); }
  bool operator==(const Recycled&) const = default;
};

namespace detail {

/// A vector that lives for a step.
template <class T>
using List = std::vector<T, Recycled<T>>;

/// Base of classes whose objects are made by `new` in recycled blocks.
struct RecycledObject {
  static void* operator new(std::size_t bytes) { return take_block(bytes); }
  static void operator delete(void* block, std::size_t bytes) noexcept { give_block(block, bytes); }
};

}  // namespace detail

}  // namespace rw

// Counted, 64-byte aligned blocks from a recycling pool.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <rewind/core/dtype.hpp>
#include <utility>

namespace rw {

/// Bytes shared by tensors. Freed blocks go back to a pool by size class, so steady work allocates nothing. Behind the last byte 64 more
/// may be read (and hold anything), so a kernel may load a whole vector at the end.
class Storage {
 public:
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  Index bytes() const { return bytes_; }

  /// Grows with each write in place and each recycling, and never repeats at an address: together they key what was derived from the
  /// contents (packed weights).
  std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void touch() { version_.fetch_add(1, std::memory_order_relaxed); }

  int holders() const { return holders_.load(std::memory_order_acquire); }

  /// Mutable views (as_xtensor) that are alive: while there are any, a tape copies what it records.
  int writers() const { return writers_.load(std::memory_order_relaxed); }
  void add_writer() { writers_.fetch_add(1, std::memory_order_relaxed); }
  void drop_writer() { writers_.fetch_sub(1, std::memory_order_relaxed); }

  /// What was derived from the contents and dies with them (a list owned by core/matmul.cpp).
  struct Derived {
    virtual ~Derived() = default;
    Derived* next = nullptr;
  };
  std::atomic<Derived*> derived{nullptr};

 private:
  friend class StorageRef;
  friend struct StoragePool;
  std::byte* data_ = nullptr;
  Index bytes_ = 0;
  Storage* next_ = nullptr;  // in a free list of the pool
  struct Slab* slab_ = nullptr;
  int size_class_ = 0;
  std::atomic<int> holders_{0}, writers_{0};
  std::atomic<std::uint64_t> version_{0};
};

/// A counted reference to a Storage.
class StorageRef {
 public:
  StorageRef() = default;
  StorageRef(const StorageRef& other) : storage_(other.storage_) {
    if (storage_) storage_->holders_.fetch_add(1, std::memory_order_relaxed);
  }
  StorageRef(StorageRef&& other) noexcept : storage_(std::exchange(other.storage_, nullptr)) {}
  StorageRef& operator=(StorageRef other) noexcept {
    std::swap(storage_, other.storage_);
    return *this;
  }
  ~StorageRef() {
    if (storage_ && storage_->holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) recycle(storage_);
  }

  /// A block of at least `bytes`, aligned to 64, its contents unset. Throws ValueError if the machine has no such memory.
  static StorageRef allocate(Index bytes);

  Storage* operator->() const { return storage_; }
  Storage* get() const { return storage_; }
  explicit operator bool() const { return storage_ != nullptr; }
  bool operator==(const StorageRef&) const = default;

 private:
  static void recycle(Storage* storage) noexcept;
  Storage* storage_ = nullptr;
};

/// Counters of the pool since the start of the process. Bytes are those of whole blocks (up to a quarter more than was asked for).
struct PoolStatistics {
  std::uint64_t requests = 0;     ///< blocks asked for
  std::uint64_t allocations = 0;  ///< of them, those the system had to give
  Index bytes_in_use = 0;         ///< held by somebody
  Index bytes_cached = 0;         ///< free, kept for the next request
  Index peak_bytes = 0;           ///< the most that was in use at once
};
PoolStatistics pool_statistics();

/// Gives cached blocks, and those of recycle.hpp that lie between threads, back to the system. Blocks of 64 KB to 2 MB are parts of larger
/// ones, which go back when all of their parts are cached.
void trim_pool();

}  // namespace rw

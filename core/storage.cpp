#include <rewind/core/format.hpp>
#include <rewind/core/recycle.hpp>
#include <rewind/core/storage.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>

namespace rw {

namespace {

constexpr Index unit = 64;  // alignment, header, guard, and the step of the smallest classes
constexpr Index huge_page = Index{1} << 21;
constexpr Index least_in_slab = Index{1} << 16, slab_bytes = 4 * huge_page;
constexpr Index largest_request = Index{1} << 46;  // half of what an x86-64 process can address
constexpr int size_classes = 4 * 40;

// Classes in units: 1, 2, 3, 4, then four steps to each next power of two: 5 6 7 8, 10 12 14 16, ...
constexpr int class_of(Index bytes) {
  auto units = static_cast<std::uint64_t>(std::max<Index>((bytes + unit - 1) / unit, 1));
  if (units <= 4) return static_cast<int>(units) - 1;
  int power = std::bit_width(units - 1) - 1;
  return 4 * (power - 1) + static_cast<int>((units - 1 - (std::uint64_t{1} << power)) >> (power - 2));
}

constexpr Index capacity_of(int size_class) {
  if (size_class < 4) return unit * (size_class + 1);
  int power = size_class / 4 + 1;
  return unit * ((Index{1} << power) + (size_class % 4 + 1) * (Index{1} << (power - 2)));
}

static_assert(capacity_of(class_of(0)) == 64 && capacity_of(class_of(257)) == 320 && capacity_of(class_of(1025)) == 1280);
static_assert(class_of(largest_request) < size_classes);

void* from_system(Index bytes) {
  const bool large = bytes >= huge_page;
  void* block = nullptr;
  if (posix_memalign(&block, static_cast<std::size_t>(large ? huge_page : unit), static_cast<std::size_t>(bytes)) != 0) return nullptr;
  if (large) madvise(block, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);  // rows far apart: fewer misses of the TLB; a wish only
  return block;
}

}  // namespace

/// A block of the system from which smaller ones are cut, so that they lie in huge pages too: the first touch of so much memory in small
/// pages takes four times as long.
struct Slab {
  Index blocks = 0, cached = 0;
};
static_assert(sizeof(Slab) <= unit);

/// A block: the Storage itself, then its bytes, then the guard.
struct StoragePool {
  std::mutex mutex;
  Storage* free[size_classes] = {};
  Slab* slab = nullptr;  // the last, and what is left of it
  std::byte *rest = nullptr, *end = nullptr;
  PoolStatistics statistics;
  std::uint64_t first_version = 0;  // above every version of a block that went back to the system

  Storage* take(int size_class) {
    std::lock_guard lock(mutex);
    ++statistics.requests;
    Storage* storage = free[size_class];
    if (!storage) return nullptr;
    free[size_class] = storage->next_;
    if (storage->slab_) --storage->slab_->cached;
    statistics.bytes_cached -= capacity_of(size_class);
    count_use(size_class);
    return storage;
  }

  void count_use(int size_class) {
    statistics.bytes_in_use += capacity_of(size_class);
    statistics.peak_bytes = std::max(statistics.peak_bytes, statistics.bytes_in_use);
  }

  /// Of the slab; null where the system gives no more.
  void* cut(Index bytes) {
    if (end - rest < bytes) {
      void* memory = from_system(slab_bytes);
      if (!memory) return nullptr;
      slab = new (memory) Slab;
      rest = static_cast<std::byte*>(memory) + unit;
      end = rest - unit + slab_bytes;
    }
    ++slab->blocks;
    return std::exchange(rest, rest + bytes);
  }

  Storage* make(int size_class) {
    static_assert(sizeof(Storage) <= unit);
    const Index bytes = unit + capacity_of(size_class) + unit;
    std::lock_guard lock(mutex);
    // Not where a sanitizer is to see the end of each block.
    void* block = bytes >= least_in_slab && bytes < huge_page && recycles_blocks() ? cut(bytes) : nullptr;
    Slab* const of = block ? slab : nullptr;
    if (!block) block = from_system(bytes);
    if (!block) return nullptr;
    auto* storage = new (block) Storage;
    storage->data_ = static_cast<std::byte*>(block) + unit;
    storage->slab_ = of;
    storage->size_class_ = size_class;
    storage->version_.store(first_version, std::memory_order_relaxed);
    ++statistics.allocations;
    count_use(size_class);
    return storage;
  }

  Storage* get(Index bytes) {
    int size_class = class_of(bytes);
    Storage* storage = take(size_class);
    if (!storage) storage = make(size_class);
    if (!storage) {
      trim_pool();
      storage = make(size_class);
    }
    if (!storage) fail<ValueError>("storage: out of memory: the system refuses {} bytes (use a smaller batch or model)", bytes);
    storage->bytes_ = bytes;
    storage->holders_.store(1, std::memory_order_relaxed);
    return storage;
  }

  void put(Storage* storage) {
    for (auto* d = storage->derived.exchange(nullptr, std::memory_order_acquire); d;) delete std::exchange(d, d->next);
    storage->touch();
    std::lock_guard lock(mutex);
    statistics.bytes_in_use -= capacity_of(storage->size_class_);
    statistics.bytes_cached += capacity_of(storage->size_class_);
    if (storage->slab_) ++storage->slab_->cached;
    storage->next_ = std::exchange(free[storage->size_class_], storage);
  }

  void trim() {
    std::lock_guard lock(mutex);
    for (Storage*& list : free)
      for (Storage** at = &list; *at;) {
        Storage* storage = *at;
        Slab* const of = storage->slab_;
        if (of && of->cached < of->blocks) {
          at = &storage->next_;
          continue;
        }
        *at = storage->next_;
        first_version = std::max(first_version, storage->version() + 1);
        statistics.bytes_cached -= capacity_of(storage->size_class_);
        storage->~Storage();
        if (of) {
          --of->cached;
          if (--of->blocks > 0) continue;
          if (of == slab) slab = nullptr, rest = end = nullptr;
          std::free(of);
        } else {
          std::free(storage);
        }
      }
  }
};

namespace {
constinit StoragePool pool;  // trivially destroyed: tensors with static lifetime may outlive main
static_assert(std::is_trivially_destructible_v<StoragePool>);
}  // namespace

StorageRef StorageRef::allocate(Index bytes) {
  if (bytes < 0 || bytes > largest_request) fail<ValueError>("storage: impossible size: got {} bytes (0 to {})", bytes, largest_request);
  StorageRef result;
  result.storage_ = pool.get(bytes);
  return result;
}

void StorageRef::recycle(Storage* storage) noexcept { pool.put(storage); }

PoolStatistics pool_statistics() {
  std::lock_guard lock(pool.mutex);
  return pool.statistics;
}

void trim_pool() {
  pool.trim();
  trim_blocks();
}

}  // namespace rw

#include <rewind/core/recycle.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <mutex>
#include <utility>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REWIND_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define REWIND_SANITIZED 1
#endif
#endif

namespace rw {
namespace {

#ifdef REWIND_SANITIZED
constexpr bool kept = false;
#else
constexpr bool kept = true;
#endif

constexpr std::size_t largest = 1 << 20;
constexpr int size_classes = 60;

// Classes in units of 16 bytes: 1, 2, 3, 4, then four steps to each next power of two: 5 6 7 8, 10 12 14 16, ...
constexpr int class_of(std::size_t bytes) {
  const std::size_t units = (bytes + 15) / 16;
  if (units <= 4) return units == 0 ? 0 : static_cast<int>(units) - 1;
  const int power = std::bit_width(units - 1) - 1;
  return 4 * (power - 1) + static_cast<int>((units - 1 - (std::size_t{1} << power)) >> (power - 2));
}
constexpr std::size_t capacity_of(int size_class) {
  if (size_class < 4) return 16 * (static_cast<std::size_t>(size_class) + 1);
  const int power = size_class / 4 + 1;
  return 16 * ((std::size_t{1} << power) + (static_cast<std::size_t>(size_class) % 4 + 1) * (std::size_t{1} << (power - 2)));
}
static_assert(capacity_of(class_of(0)) == 16 && capacity_of(class_of(65)) == 80 && capacity_of(class_of(129)) == 160);
static_assert(class_of(largest) == size_classes - 1 && capacity_of(size_classes - 1) == largest);

/// The classes of small blocks, by units: most are.
constexpr auto small_classes = [] {
  std::array<std::uint8_t, 65> table{};
  for (std::size_t units = 0; units < table.size(); ++units) table[units] = static_cast<std::uint8_t>(class_of(16 * units));
  return table;
}();
[[gnu::always_inline]] inline int find_class(std::size_t bytes) {
  const std::size_t units = (bytes + 15) / 16;
  return units < small_classes.size() ? small_classes[units] : class_of(bytes);
}

constexpr int chain_length(int size_class) { return static_cast<int>(std::clamp<std::size_t>((1 << 14) / capacity_of(size_class), 1, 64)); }

struct Block {
  Block *next, *next_chain;
};

/// One size's free blocks of one thread: a list in use, and a full chain beside it.
struct FreeBlocks {
  Block* list = nullptr;
  Block* spare = nullptr;
  int count = 0;  // of the list
  int limit = 0;  // length of a chain; 0 before the first use and once the thread ends
};
constinit thread_local FreeBlocks own[size_classes];

/// Full chains that threads have passed on.
struct Chains {
  std::mutex mutex;
  Block* first[size_classes] = {};

  void put(Block* chain, int size_class) {
    std::lock_guard lock(mutex);
    chain->next_chain = std::exchange(first[size_class], chain);
  }
  Block* take(int size_class) {
    std::lock_guard lock(mutex);
    Block* chain = first[size_class];
    if (chain) first[size_class] = chain->next_chain;
    return chain;
  }
};
constinit Chains chains;  // trivially destroyed: values with static lifetime may outlive main
static_assert(std::is_trivially_destructible_v<Chains>);

void drop(Block* list) noexcept {
  while (list) ::operator delete(std::exchange(list, list->next));
}

/// Empties a thread's lists when it ends; what it drops after that goes to the system.
struct Ending {
  bool over = false;
  ~Ending() {
    over = true;
    for (FreeBlocks& free : own) {
      drop(std::exchange(free.list, nullptr));
      drop(std::exchange(free.spare, nullptr));
      free.count = free.limit = 0;
    }
  }
};

/// Whether this thread keeps blocks: until it ends.
bool open(FreeBlocks& free, int size_class) noexcept {
  static thread_local Ending ending;
  if (ending.over) return false;
  free.limit = chain_length(size_class);
  return true;
}

[[gnu::noinline]] void* take_chain(FreeBlocks& free, int size_class) {
  if (open(free, size_class))
    if (Block* chain = free.spare ? std::exchange(free.spare, nullptr) : chains.take(size_class)) {
      free.list = chain->next;
      free.count = free.limit - 1;
      return chain;
    }
  return ::operator new(capacity_of(size_class));
}

/// Gives a block back where the list is full: passes a chain on, or gives the block to the system if the thread ends.
[[gnu::noinline]] void give_to_full(FreeBlocks& free, void* memory, int size_class) noexcept {
  if (!open(free, size_class)) return ::operator delete(memory);
  if (free.count == free.limit) {
    if (free.spare) chains.put(free.spare, size_class);
    free.spare = std::exchange(free.list, nullptr);
    free.count = 0;
  }
  free.list = new (memory) Block{free.list, nullptr};
  ++free.count;
}

}  // namespace

void* take_block(std::size_t bytes) {
  if (!kept || bytes > largest) return ::operator new(bytes);
  const int size_class = find_class(bytes);
  FreeBlocks& free = own[size_class];
  Block* block = free.list;
  if (!block) return take_chain(free, size_class);
  free.list = block->next;
  --free.count;
  fetch_block(free.list, bytes);  // the next one taken: it has been out of the cache for a step
  return block;
}

void give_block(void* memory, std::size_t bytes) noexcept {
  if (!kept || bytes > largest) return ::operator delete(memory);
  const int size_class = find_class(bytes);
  FreeBlocks& free = own[size_class];
  if (free.count == free.limit) return give_to_full(free, memory, size_class);
  free.list = new (memory) Block{free.list, nullptr};
  ++free.count;
}

bool recycles_blocks() { return kept; }

void trim_blocks() noexcept {
  for (int size_class = 0; size_class < size_classes; ++size_class)
    while (Block* chain = chains.take(size_class)) drop(chain);
}

}  // namespace rw

#include <rewind/core/recycle.hpp>
#include <rewind/tests/support.hpp>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>

using namespace rw;

namespace {

/// Takes `count` blocks of one size, and gives their addresses.
std::vector<void*> take(std::size_t count, std::size_t bytes) {
  std::vector<void*> blocks(count);
  for (void*& block : blocks) {
    block = take_block(bytes);
    std::memset(block, 0x5A, bytes);
  }
  return blocks;
}
void give(const std::vector<void*>& blocks, std::size_t bytes) {
  for (void* block : blocks) give_block(block, bytes);
}

}  // namespace

TEST_CASE("recycle: blocks are aligned, apart, and as large as asked") {
  for (std::size_t bytes : {0, 1, 16, 17, 64, 65, 80, 81, 500, 4096, 4097, 1 << 20, (1 << 20) + 1}) {
    auto blocks = take(100, bytes);
    std::set<std::uintptr_t> starts;
    for (void* block : blocks) {
      CHECK(reinterpret_cast<std::uintptr_t>(block) % 16 == 0);
      starts.insert(reinterpret_cast<std::uintptr_t>(block));
    }
    CHECK(starts.size() == 100);
    std::uintptr_t previous = 0;
    for (auto start : starts) {
      if (previous) CHECK(start - previous >= bytes);
      previous = start;
    }
    give(blocks, bytes);
  }
}

TEST_CASE("recycle: what was given back is taken again, on any thread") {
  if (!recycles_blocks()) return;  // a sanitizer watches every block
  constexpr std::size_t count = 10'000, bytes = 720;
  auto blocks = take(count, bytes);
  const std::set<void*> known(blocks.begin(), blocks.end());
  auto unknown = [&] {
    std::size_t fresh = 0;
    for (void* block : blocks) fresh += known.count(block) == 0;
    return fresh;
  };
  give(blocks, bytes);
  blocks = take(count, bytes);
  CHECK(unknown() == 0);

  // One thread takes, another gives: the blocks come back in chains, all but the few that the giver keeps until it ends.
  for (int round = 0; round < 3; ++round) {
    std::thread([&] { give(blocks, bytes); }).join();
    blocks = take(count, bytes);
  }
  CHECK(unknown() <= 3 * 2 * 64);
  give(blocks, bytes);
}

TEST_CASE("recycle: a block may be given back while its thread ends") {
  struct Late {
    void* block = nullptr;
    ~Late() { give_block(block, 96); }
  };
  std::thread([] {
    static thread_local Late late;  // made first: ends after the thread's free blocks
    late.block = take_block(96);
    give(take(200, 96), 96);
  }).join();
  auto blocks = take(10, 96);
  CHECK(std::set<void*>(blocks.begin(), blocks.end()).size() == 10);
  give(blocks, 96);
}

TEST_CASE("recycle: threads that pass blocks on to each other never share one") {
  std::atomic<int> wrong{0};
  std::vector<void*> mailbox[2];
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> team;
    for (int t = 0; t < 2; ++t)
      team.emplace_back([&, t] {
        give(mailbox[t], 48);
        mailbox[t] = take(3000, 48);
        for (void* block : mailbox[t]) std::memset(block, t + 1, 48);
        for (void* block : mailbox[t])
          for (int i = 0; i < 48; ++i) wrong += static_cast<unsigned char*>(block)[i] != t + 1;
      });
    for (auto& thread : team) thread.join();
    std::swap(mailbox[0], mailbox[1]);
  }
  CHECK(wrong == 0);
  for (auto& blocks : mailbox) give(blocks, 48);
  trim_blocks();
}

TEST_CASE("recycle: a list keeps its values when it grows and moves") {
  detail::List<int> list;
  for (int i = 0; i < 1000; ++i) list.push_back(i);
  auto moved = std::move(list);
  list = {1, 2};
  for (int i = 0; i < 1000; ++i) CHECK(moved[static_cast<std::size_t>(i)] == i);
  CHECK(list == detail::List<int>{1, 2});
}

#include <rewind/core/recycle.hpp>
#include <rewind/core/storage.hpp>
#include <rewind/tests/support.hpp>

#include <cstring>
#include <map>
#include <thread>

using namespace rw;
using namespace rw::test;

TEST_CASE("storage: aligned, counted, and as large as asked") {
  for (Index bytes : {0, 1, 63, 64, 65, 256, 257, 1000, 4096, 5000, 1 << 20, (1 << 20) + 1}) {
    StorageRef a = StorageRef::allocate(bytes);
    CHECK(a->bytes() == bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(a->data()) % 64 == 0);
    CHECK(a->holders() == 1);
    std::memset(a->data(), 1, static_cast<std::size_t>(bytes) + 64);  // the guard may be touched too
    {
      StorageRef b = a;
      CHECK(a->holders() == 2);
      StorageRef c = std::move(b);
      CHECK(a->holders() == 2);
      CHECK_FALSE(b);
      c = a;
      CHECK(a->holders() == 2);
      CHECK(c == a);
    }
    CHECK(a->holders() == 1);
  }
}

TEST_CASE("storage: blocks are recycled by size class") {
  trim_pool();
  const void* first = nullptr;
  { first = StorageRef::allocate(5000)->data(); }
  auto before = pool_statistics();
  {
    StorageRef again = StorageRef::allocate(4900);
    CHECK(again->data() == first);
    CHECK(again->bytes() == 4900);
  }
  auto after = pool_statistics();
  CHECK(after.requests == before.requests + 1);
  CHECK(after.allocations == before.allocations);
  StorageRef other = StorageRef::allocate(50000);
  CHECK(pool_statistics().allocations == before.allocations + 1);
}

TEST_CASE("storage: steady work allocates nothing after its first round") {
  auto round = [] {
    std::vector<StorageRef> held;
    for (Index bytes : {100, 100, 3000, 70000, 3000}) held.push_back(StorageRef::allocate(bytes));
  };
  round();
  auto before = pool_statistics().allocations;
  for (int i = 0; i < 100; ++i) round();
  CHECK(pool_statistics().allocations == before);
}

TEST_CASE("storage: statistics count whole blocks in use, cached and at the peak") {
  trim_pool();
  auto before = pool_statistics();
  CHECK(before.bytes_cached == 0);
  {
    StorageRef a = StorageRef::allocate(1000), b = StorageRef::allocate(1025);
    auto now = pool_statistics();
    CHECK(now.bytes_in_use == before.bytes_in_use + 1024 + 1280);
    CHECK(now.peak_bytes >= now.bytes_in_use);
  }
  CHECK(pool_statistics().bytes_in_use == before.bytes_in_use);
  CHECK(pool_statistics().bytes_cached == 1024 + 1280);
  trim_pool();
  CHECK(pool_statistics().bytes_cached == 0);
}

TEST_CASE("storage: blocks that are cut from a larger one are apart, and go back to the system when all of them are free") {
  trim_pool();
  const auto before = pool_statistics();
  std::vector<StorageRef> held;
  for (Index bytes : {100'000, 1'000'000, 1'700'000, 100'000, 1'700'000, 1'700'000, 1'700'000, 1'700'000, 2'500'000, 70'000}) {
    held.push_back(StorageRef::allocate(bytes));
    CHECK(reinterpret_cast<std::uintptr_t>(held.back()->data()) % 64 == 0);
    std::memset(held.back()->data(), static_cast<int>(held.size()), static_cast<std::size_t>(bytes + 64));
  }
  for (std::size_t i = 0; i < held.size(); ++i)
    for (Index at : {Index{0}, held[i]->bytes() / 2, held[i]->bytes() + 63}) CHECK(held[i]->data()[at] == std::byte(i + 1));
  CHECK(pool_statistics().allocations == before.allocations + held.size());
  StorageRef kept = held[3];
  held.clear();
  const Index cached = pool_statistics().bytes_cached;
  trim_pool();
  CHECK(pool_statistics().bytes_cached < cached);  // what did not fit beside the kept one
  CHECK((pool_statistics().bytes_cached > 0) == recycles_blocks());
  CHECK(kept->data()[99'999] == std::byte(4));
  StorageRef again = StorageRef::allocate(1'000'000);
  CHECK(pool_statistics().allocations == before.allocations + 10 + !recycles_blocks());
  std::memset(again->data(), 20, 1'000'000);
  kept = {};
  trim_pool();
  CHECK((pool_statistics().bytes_cached > 0) == recycles_blocks());
  CHECK(again->data()[999'999] == std::byte(20));
  again = {};
  trim_pool();
  CHECK(pool_statistics().bytes_cached == 0);
  CHECK(pool_statistics().bytes_in_use == before.bytes_in_use);
}

TEST_CASE("storage: a size class wastes at most a quarter") {
  trim_pool();
  Index base = pool_statistics().bytes_in_use;
  for (Index bytes = 64; bytes < 1 << 16; bytes += 61) {
    StorageRef a = StorageRef::allocate(bytes);
    Index block = pool_statistics().bytes_in_use - base;
    CHECK(block >= bytes);
    CHECK(block <= bytes + std::max<Index>(bytes / 4, 64));
  }
}

TEST_CASE("storage: a version never repeats at an address, through writes, recycling and trimming") {
  std::map<const Storage*, std::uint64_t> last;
  for (int i = 0; i < 400; ++i) {
    StorageRef a = StorageRef::allocate(i % 2 ? 2000 : 200'000);
    auto found = last.find(a.get());
    if (found != last.end()) CHECK(a->version() > found->second);
    for (int k = 0; k < i % 7; ++k) a->touch();
    last[a.get()] = a->version();
    if (i % 10 == 9) {
      a = {};
      trim_pool();
    }
  }
}

TEST_CASE("storage: what was derived dies with the contents") {
  static int alive = 0;
  struct Counted : Storage::Derived {
    Counted() { ++alive; }
    ~Counted() override { --alive; }
  };
  {
    StorageRef a = StorageRef::allocate(10);
    auto* first = new Counted;
    auto* second = new Counted;
    second->next = first;
    a->derived = second;
    CHECK(alive == 2);
  }
  CHECK(alive == 0);
  StorageRef again = StorageRef::allocate(10);
  CHECK(again->derived.load() == nullptr);
}

TEST_CASE("storage: writers are counted") {
  StorageRef a = StorageRef::allocate(10);
  a->add_writer();
  CHECK(a->writers() == 1);
  a->drop_writer();
  CHECK(a->writers() == 0);
}

TEST_CASE("storage: impossible sizes are refused") {
  CHECK(error_text<ValueError>([] { return StorageRef::allocate(-1); }) == "storage: impossible size: got -1 bytes (0 to 70368744177664)");
  CHECK(error_text<ValueError>([] { return StorageRef::allocate(Index{1} << 60); }) ==
        "storage: impossible size: got 1152921504606846976 bytes (0 to 70368744177664)");
}

TEST_CASE("storage: several threads take and give blocks, across threads too") {
  auto before = pool_statistics().bytes_in_use;
  std::vector<StorageRef> shared(64);
  auto work = [&](int id) {
    for (int i = 0; i < 2000; ++i) {
      StorageRef a = StorageRef::allocate(64 + (i * 37 + id) % 3000);
      *a->data() = std::byte(id);
      StorageRef b = a;
      if (*b->data() != std::byte(id)) std::abort();
      if (i % 100 == 0) shared[static_cast<std::size_t>(id * 16 + i / 100 % 16)] = a;
    }
  };
  std::vector<std::thread> team;
  for (int id = 0; id < 4; ++id) team.emplace_back(work, id);
  for (auto& t : team) t.join();
  shared.clear();
  CHECK(pool_statistics().bytes_in_use == before);
}

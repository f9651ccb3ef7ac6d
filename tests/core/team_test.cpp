#include <rewind/core/team.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <support.hpp>
#include <thread>
#include <vector>

using namespace rw;

namespace {
/// Sets the number of threads for a block.
struct Threads {
  explicit Threads(int count) { set_threads(count); }
  ~Threads() { set_threads(before); }
  int before = threads();
};

/// How often each part ran.
std::vector<int> counts(int parts) {
  std::vector<std::atomic<int>> ran(static_cast<std::size_t>(parts));
  parallel(parts, [&](int part) { ++ran[static_cast<std::size_t>(part)]; });
  return {ran.begin(), ran.end()};
}
}  // namespace

TEST_CASE("parallel: every part runs once, whatever the number of parts and threads") {
  for (int count : {1, 2, 3, 8}) {
    const Threads guard(count);
    CHECK(threads() == count);
    for (int parts : {0, 1, 2, 3, 7, 100}) CHECK(counts(parts) == std::vector<int>(static_cast<std::size_t>(parts), 1));
  }
}

TEST_CASE("parallel: parts p modulo the team run on one thread, part 0 on the caller") {
  const Threads guard(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<std::thread::id> at(9);
    parallel(9, [&](int part) { at[static_cast<std::size_t>(part)] = std::this_thread::get_id(); });
    CHECK(at[0] == std::this_thread::get_id());
    for (std::size_t p = 0; p < 9; ++p) CHECK(at[p] == at[p % 3]);
  }
}

TEST_CASE("parallel: while the caller works the others do") {
  const Threads guard(3);
  std::atomic<int> arrived{0};
  std::vector<std::thread::id> at(3);
  parallel(3, [&](int part) {
    at[static_cast<std::size_t>(part)] = std::this_thread::get_id();
    ++arrived;
    while (arrived < 3) std::this_thread::yield();
  });
  CHECK(at[1] != at[0]);
  CHECK(at[2] != at[0]);
  CHECK(at[1] != at[2]);
}

TEST_CASE("parallel: inside of a part all parts run in its thread") {
  const Threads guard(2);
  std::atomic<int> ran{0}, elsewhere{0};
  parallel(4, [&](int) {
    const auto self = std::this_thread::get_id();
    parallel(5, [&](int) {
      ++ran;
      if (std::this_thread::get_id() != self) ++elsewhere;
    });
  });
  CHECK(ran == 20);
  CHECK(elsewhere == 0);
}

TEST_CASE("parallel: a caller who finds the team busy runs alone") {
  const Threads guard(2);
  std::mutex mutex;
  std::condition_variable changed;
  bool busy = false, release = false;
  std::thread other([&] {
    parallel(2, [&](int part) {
      if (part == 0) return;
      std::unique_lock lock(mutex);
      busy = true;
      changed.notify_all();
      changed.wait(lock, [&] { return release; });
    });
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return busy; });
  }
  int ran = 0, elsewhere = 0;  // no atomics: one thread
  const auto self = std::this_thread::get_id();
  parallel(6, [&](int) {
    ++ran;
    if (std::this_thread::get_id() != self) ++elsewhere;
  });
  CHECK(ran == 6);
  CHECK(elsewhere == 0);
  {
    const std::lock_guard lock(mutex);
    release = true;
  }
  changed.notify_all();
  other.join();
}

TEST_CASE("parallel: the first exception by part comes out, all parts run, the team goes on") {
  for (int count : {1, 2, 3}) {
    const Threads guard(count);
    std::atomic<int> ran{0};
    auto text = test::error_text<std::runtime_error>([&] {
      parallel(10, [&](int part) {
        ++ran;
        if (part == 4 || part == 5 || part == 9) throw std::runtime_error("part " + std::to_string(part));
      });
    });
    CHECK(text == "part 4");
    CHECK(ran == 10);
    CHECK(counts(5) == std::vector<int>(5, 1));
  }
}

TEST_CASE("parallel: many calls in quick succession, from several threads") {
  const Threads guard(2);
  std::vector<int> sums(2);
  for (int i = 0; i < 20000; ++i) parallel(2, [&](int part) { ++sums[static_cast<std::size_t>(part)]; });
  CHECK(sums == std::vector<int>{20000, 20000});
  std::atomic<int> total{0};
  {
    std::vector<std::jthread> callers;
    for (int c = 0; c < 3; ++c)
      callers.emplace_back([&] {
        for (int i = 0; i < 500; ++i) parallel(3, [&](int) { ++total; });
      });
  }
  CHECK(total == 4500);
}

TEST_CASE("parallel: what sleeps is woken") {
  const Threads guard(2);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<int> ran{0};
    parallel(2, [&](int part) {
      if (part == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++ran;
    });
    CHECK(ran == 2);
  }
}

TEST_CASE("wake_team: parts run once, whether threads were woken for them, for nothing, from inside of them or by several callers") {
  const Threads guard(3);
  wake_team();  // starts the team
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (int w = 0; w < i % 3; ++w) wake_team();
    CHECK(counts(7) == std::vector<int>(7, 1));
  }
  std::atomic<int> total{0};
  {
    std::vector<std::jthread> callers;
    for (int c = 0; c < 3; ++c)
      callers.emplace_back([&, c] {
        for (int i = 0; i < 2000; ++i) {
          if (i % (c + 1) == 0) wake_team();
          parallel(3, [&](int) {
            wake_team();
            ++total;
          });
        }
      });
  }
  CHECK(total == 18000);
  set_threads(1);
  wake_team();
  CHECK(counts(2) == std::vector<int>{1, 1});
}

TEST_CASE("set_threads: errors") {
  using test::error_text;
  const Threads guard(2);
  CHECK(error_text<ValueError>([] { set_threads(0); }) ==
        "set_threads: count must be from 1 to 1024: got 0 (the default is one for each processor)");
  CHECK(error_text<ValueError>([] { set_threads(1025); }) ==
        "set_threads: count must be from 1 to 1024: got 1025 (the default is one for each processor)");
  CHECK(error_text<ValueError>([] { parallel(2, [](int part) { set_threads(part + 3); }); }) ==
        "set_threads: the team is running: got 3 inside of parallel (call it outside)");
  CHECK(threads() == 2);
}

TEST_CASE("share_of: shares cover everything once, in multiples of the grain") {
  for (Index n : {0, 1, 5, 16, 17, 100})
    for (int parts : {1, 2, 3, 7})
      for (Index grain : {1, 4, 16}) {
        Index at = 0;
        for (int part = 0; part < parts; ++part) {
          const auto [begin, end] = share_of(n, part, parts, grain);
          CHECK(begin == at);
          CHECK(end >= begin);
          if (end != n) CHECK(end % grain == 0);
          at = end;
        }
        CHECK(at == n);
      }
}

TEST_CASE("Pieces: all of a range once, whole grains until the last are small; the first share is the largest, none is much of the rest") {
  for (int takers : {1, 2, 3, 7})
    for (Index grain : {1, 5, 64})
      for (Index n : {0, 1, 4, 63, 64, 1000, 100'003}) {
        CAPTURE(takers);
        CAPTURE(grain);
        CAPTURE(n);
        Pieces pieces(n, grain, takers);
        Index at = 0, count = 0;
        for (Share piece = pieces.take(); piece.begin < piece.end; piece = pieces.take(), ++count) {
          CHECK(piece.begin == at);
          at = piece.end;
          const Index size = piece.end - piece.begin;
          CHECK(static_cast<bool>(size < grain || size % grain == 0 || n / takers * 3 / 4 <= grain));
          if (count >= takers) CHECK(size <= std::max<Index>((n - piece.begin + 2 * takers - 1) / (2 * takers), 1));
          if (count < takers && n / takers * 3 / 4 > 0) CHECK(size <= n / takers * 3 / 4);
        }
        CHECK(at == n);
        const Share none = pieces.take();
        CHECK(none.begin == n);
        CHECK(none.end == n);
        CHECK(count <= 40 * takers);
      }
}

TEST_CASE("Pieces: threads that take at once get what no other has") {
  const Threads guard(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> taken(2000);
    Pieces pieces(2000, 1, 100);  // many small ones
    std::atomic<int> arrived{0};
    parallel(3, [&](int) {
      for (++arrived; arrived < 2;) std::this_thread::yield();
      for (Share piece = pieces.take(); piece.begin < piece.end; piece = pieces.take())
        for (Index i = piece.begin; i < piece.end; ++i) ++taken[static_cast<std::size_t>(i)];
    });
    REQUIRE(std::all_of(taken.begin(), taken.end(), [](const auto& times) { return times == 1; }));
  }
}

TEST_CASE("parallel: pieces of a range cover it once, in multiples of the grain, for any number of threads; one takes all at once") {
  for (int count : {1, 2, 3})
    for (int parts : {1, 2, 5})
      for (Index grain : {1, 64})
        for (Index n : {0, 1, 64, 200, 10'000}) {
          const Threads guard(count);
          std::vector<std::atomic<int>> taken(static_cast<std::size_t>(n));
          std::atomic<int> calls{0}, uneven{0};
          parallel(parts, n, grain, [&](Index begin, Index end) {
            ++calls;
            if (begin % grain != 0 || (end % grain != 0 && end != n) || begin >= end) ++uneven;
            for (Index i = begin; i < end; ++i) ++taken[static_cast<std::size_t>(i)];
          });
          CHECK(std::all_of(taken.begin(), taken.end(), [](const auto& times) { return times == 1; }));
          CHECK(uneven == 0);
          if (parts == 1) CHECK(calls == (n > 0));
        }
}

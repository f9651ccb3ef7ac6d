// The team: one mailbox a worker, waited for by a bounded spin and then by sleeping. A task that lies in it untouched when the caller has
// done its own share is taken back and run by the caller, so a worker that is slow to wake costs no more than its help.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <rewind/core/format.hpp>
#include <rewind/core/team.hpp>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace rw {
namespace {

constexpr int most_threads = 1024;
/// How long a thread waits awake: longer than the gaps inside a training step, too short to be seen in an idle process.
constexpr std::chrono::microseconds spin_time{30};

int processors() {
  static const int count = [] {
    cpu_set_t set;
    const int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(std::thread::hardware_concurrency());
    return n < 1 ? 1 : n > most_threads ? most_threads : n;
  }();
  return count;
}

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Returns the value of `word` as soon as it differs from `old`.
int await(std::atomic<int>& word, int old, bool spin) {
  if (spin) {
    const auto start = std::chrono::steady_clock::now();
    do {
      for (int i = 0; i < 16; ++i) {
        if (const int now = word.load(std::memory_order_acquire); now != old) return now;
        relax();
      }
    } while (std::chrono::steady_clock::now() - start < spin_time);
  }
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

/// The first exception by part, of the parts that one thread runs.
struct Failure {
  int part = -1;
  std::exception_ptr error;
};

/// Keeps the failure of the lower part.
void merge(Failure& first, Failure&& other) {
  if (other.error && (!first.error || other.part < first.part)) first = std::move(other);
}

Failure run_parts(FunctionRef<void(int)> body, int first, int parts, int step) {
  Failure failure;
  for (int part = first; part < parts; part += step) try {
      body(part);
    } catch (...) {
      if (!failure.error) failure = {part, std::current_exception()};
    }
  return failure;
}

thread_local bool in_team = false;

class Team {
 public:
  /// Called by one thread at a time, as is stop.
  void run(int parts, FunctionRef<void(int)> body) {
    if (!started_) start();
    const int members = static_cast<int>(workers_.size()) + 1, helpers = std::min(parts, members) - 1;
    parts_ = parts;
    body_ = &body;
    pending_.store(helpers, std::memory_order_relaxed);
    for (int w = 0; w < helpers; ++w) {
      workers_[w]->mail.fetch_add(1, std::memory_order_release);
      workers_[w]->mail.notify_one();
    }
    in_team = true;
    Failure first = run_parts(body, 0, parts, members);
    for (int w = 0; w < helpers; ++w) {
      if (!take(workers_[w]->mail)) continue;
      merge(first, run_parts(body, w + 1, parts, members));
      pending_.fetch_sub(1, std::memory_order_relaxed);
    }
    in_team = false;
    for (int left = pending_.load(std::memory_order_acquire); left != 0;) left = await(pending_, left, spin_);
    for (int w = 0; w < helpers; ++w) merge(first, std::exchange(workers_[w]->failure, {}));
    if (first.error) std::rethrow_exception(first.error);
  }

  /// So is this.
  void wake() {
    if (!started_) start();
    for (auto& worker : workers_) {
      worker->mail.fetch_add(2, std::memory_order_relaxed);
      worker->mail.notify_one();
    }
  }

  void stop() {
    stopping_.store(true, std::memory_order_relaxed);
    for (auto& worker : workers_) {
      worker->mail.fetch_add(2, std::memory_order_release);
      worker->mail.notify_one();
      worker->thread.join();
    }
    workers_.clear();
    stopping_.store(false, std::memory_order_relaxed);
    started_ = false;
  }

  std::mutex busy;
  std::atomic<int> count{processors()};
  std::atomic<bool> closed{false};

 private:
  struct alignas(64) Worker {
    std::atomic<int> mail{0};  // odd: a task that nobody has taken yet
    Failure failure;
    std::thread thread;
  };

  /// As many workers as the system gives: results do not depend on their number.
  void start() {
    const int wanted = count.load(std::memory_order_relaxed);
    spin_ = wanted <= processors();
    workers_.reserve(static_cast<std::size_t>(wanted) - 1);
    while (static_cast<int>(workers_.size()) < wanted - 1) {
      auto worker = std::make_unique<Worker>();
      const int number = static_cast<int>(workers_.size()) + 1;
      try {
        worker->thread = std::thread([this, self = worker.get(), number] { work(*self, number); });
      } catch (const std::system_error&) {
        break;
      }
      workers_.push_back(std::move(worker));
    }
    started_ = true;
  }

  /// Takes the task in a mailbox; false if there is none.
  static bool take(std::atomic<int>& mail) {
    int posted = mail.load(std::memory_order_relaxed);
    return posted % 2 != 0 && mail.compare_exchange_strong(posted, posted + 1, std::memory_order_acquire, std::memory_order_relaxed);
  }

  void work(Worker& self, int number) {
    in_team = true;
    for (int seen = 0;;) {
      seen = await(self.mail, seen, spin_);
      if (stopping_.load(std::memory_order_relaxed)) return;
      if (!take(self.mail)) continue;
      ++seen;
      self.failure = run_parts(*body_, number, parts_, static_cast<int>(workers_.size()) + 1);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  // Written before the mail that announces them, read after it.
  std::vector<std::unique_ptr<Worker>> workers_;
  FunctionRef<void(int)>* body_ = nullptr;
  int parts_ = 0;
  bool started_ = false, spin_ = false;
  std::atomic<bool> stopping_{false};  // read too by a worker that wakes to nothing
  alignas(64) std::atomic<int> pending_{0};
};

/// The team outlives all statics (a destructor may still call parallel, and runs alone); its threads end with them.
Team& team() {
  static Team* const instance = new Team;
  static const struct Closing {
    ~Closing() {
      if (in_team) return;  // exit was called inside a part: the threads end with the process
      const std::lock_guard guard(instance->busy);
      instance->closed = true;
      instance->stop();
    }
  } closing;
  return *instance;
}

}  // namespace

int threads() { return team().count.load(std::memory_order_relaxed); }

void set_threads(int count) {
  if (count < 1 || count > most_threads)
    fail<ValueError>("set_threads: count must be from 1 to {}: got {} (the default is one for each processor)", most_threads, count);
  if (in_team) fail<ValueError>("set_threads: the team is running: got {} inside of parallel (call it outside)", count);
  Team& all = team();
  const std::lock_guard guard(all.busy);
  if (count == all.count.load(std::memory_order_relaxed)) return;
  all.stop();
  all.count.store(count, std::memory_order_relaxed);
}

namespace {

/// Calls use(team) where there is one, and nobody else uses it; else returns false.
template <class F>
bool with_team(const F& use) {
  if (in_team) return false;
  Team& all = team();
  if (all.count.load(std::memory_order_relaxed) <= 1 || all.closed) return false;
  const std::unique_lock guard(all.busy, std::try_to_lock);
  if (!guard || all.closed) return false;
  use(all);
  return true;
}

}  // namespace

void wake_team() {
  with_team([](Team& all) { all.wake(); });
}

void parallel(int parts, FunctionRef<void(int)> body) {
  if (parts > 1 && with_team([&](Team& all) { all.run(parts, body); })) return;
  if (const Failure first = run_parts(body, 0, parts, 1); first.error) std::rethrow_exception(first.error);
}

void parallel(int parts, Index n, Index grain, FunctionRef<void(Index, Index)> body) {
  if (parts <= 1) return n > 0 ? body(0, n) : void();
  constexpr Index least = 16;  // pieces a thread would take if all were small
  const Index size = grain * std::max<Index>(1, n / (least * parts * grain));
  Pieces pieces((n + size - 1) / size, 1, parts);
  parallel(parts, [&](int) {
    for (Share piece = pieces.take(); piece.begin < piece.end; piece = pieces.take())
      body(piece.begin * size, std::min(piece.end * size, n));
  });
}

}  // namespace rw

#include <rewind/autograd/plan.hpp>
#include <rewind/autograd/profile.hpp>

#include <algorithm>
#include <map>
#include <rewind/core/format.hpp>
#include <tuple>

namespace rw {

namespace detail {

std::atomic<bool> profiling{false};

namespace {

using Clock = std::chrono::steady_clock;

struct Counters {
  std::uint64_t calls = 0;
  double seconds = 0, flops = 0, bytes = 0;
  void operator+=(const Counters& c) { calls += c.calls, seconds += c.seconds, flops += c.flops, bytes += c.bytes; }
};

/// What one thread has counted, by number of the row.
struct Sheet {
  std::mutex guard;
  std::vector<Counters> rows;
  double plans = 0;

  Sheet();
  ~Sheet();
  void add(int row, const Counters& more) {
    const std::lock_guard lock(guard);
    if (static_cast<int>(rows.size()) <= row) rows.resize(static_cast<std::size_t>(row) + 1);
    rows[static_cast<std::size_t>(row)] += more;
  }
  void run(double seconds) {
    const std::lock_guard lock(guard);
    plans += seconds;
  }
  void add_to(std::vector<Counters>& sums, double& seconds) {
    const std::lock_guard lock(guard);
    if (sums.size() < rows.size()) sums.resize(rows.size());
    for (std::size_t r = 0; r < rows.size(); ++r) sums[r] += rows[r];
    seconds += plans;
  }
  void clear() {
    const std::lock_guard lock(guard);
    rows.clear();
    plans = 0;
  }
};

/// The rows' names and the sheets of all threads. Its guard is taken before a sheet's.
struct Register {
  std::mutex guard;
  std::map<std::tuple<std::string, std::string, DType>, int> numbers;
  std::vector<Sheet*> sheets;
  std::vector<Counters> ended;  ///< of threads that are gone
  double ended_plans = 0;
  Clock::time_point started, stopped;

  int number(const std::string& kind, const std::string& shape, DType dtype) {
    const std::lock_guard lock(guard);
    return numbers.try_emplace({kind, shape, dtype}, static_cast<int>(numbers.size())).first->second;
  }
};

/// It outlives the threads, and all that they destroy.
Register& all() {
  static Register* const instance = new Register;
  return *instance;
}

Sheet::Sheet() {
  const std::lock_guard lock(all().guard);
  all().sheets.push_back(this);
}

Sheet::~Sheet() {
  const std::lock_guard lock(all().guard);
  add_to(all().ended, all().ended_plans);
  std::erase(all().sheets, this);
}

Sheet& sheet_of_thread() {
  thread_local Sheet sheet;
  return sheet;
}

double seconds(Clock::time_point begin, Clock::time_point end) { return std::chrono::duration<double>(end - begin).count(); }

bool is_product(const Operator* op) { return op == &matmul_operator || op == &matmul_steps_operator; }

std::string shape_of(const Program& p, const Instruction& i) {
  const Shape& result = p.types[i.first].shape;
  if (i.op == &scan_operator) return fmt::format("{} step{}", i.attributes[1], i.attributes[1] == 1 ? "" : "s");
  if (i.op == &region_operator) {  // what it runs over, though the result may be a sum of it
    const auto& types = i.body->program.types;
    const auto less = [](const Type& a, const Type& b) { return a.shape.size() < b.shape.size(); };
    return fmt::format("{} ops {}", i.body->program.code.size(), std::max_element(types.begin(), types.end(), less)->shape);
  }
  if (!is_product(i.op)) return fmt::format("{}", result);
  const bool steps = i.op == &matmul_steps_operator, left = steps || i.attributes[0], right = !steps && i.attributes[1];
  return fmt::format("{}{} x {}{}", p.types[i.inputs[0]].shape, left ? "T" : "", p.types[i.inputs[1]].shape, right ? "T" : "");
}

double flops_of(const Program& p, const Instruction& i) {
  if (!is_product(i.op)) return 0;
  const Shape& left = p.types[i.inputs[0]].shape;
  const Index chain = i.op == &matmul_steps_operator ? left[0] * left[1] : left[left.rank() - (i.attributes[0] ? 2 : 1)];
  return 2 * static_cast<double>(p.types[i.first].shape.size()) * static_cast<double>(chain);
}

}  // namespace

StepNote note_of(const Instruction* i, bool copy, std::span<const Slot> slots) {
  StepNote note{i, copy, 0};
  if (i && i->op == &scan_operator && !copy) return note;  // what it touches, its steps touch
  auto bytes = [](const Slot& s) {
    if (s.shape().size() == 0) return 0.0;
    Index elements = 1;
    for (int a = 0; a < s.shape().rank(); ++a)
      if (s.strides[a] != 0) elements *= s.shape()[a];
    return static_cast<double>(elements * size_of(s.type.dtype));
  };
  for (const Slot& s : slots) note.bytes += bytes(s);
  if (i && i->op == &gather_operator && !copy)  // of its table the rows asked for
    note.bytes -= std::max(0.0, bytes(slots.front()) - bytes(slots.back()));
  return note;
}

void Plan::run_profiled(const Frame& frame) const {
  std::call_once(charged_once_, [&] {
    charges_.reserve(notes.size());
    for (const auto& note : notes) {
      Charge c{0, 0, note.bytes};
      if (!note.instruction) {
        c.row = all().number("output (copy)", "", DType::f32);
      } else {
        const Instruction& i = *note.instruction;
        const std::string kind = i.op->name();
        c.row = all().number(note.copy ? kind + " (copy)" : kind, note.copy ? "" : shape_of(*program, i), program->types[i.first].dtype);
        if (!note.copy) c.flops = flops_of(*program, i);
      }
      charges_.push_back(c);
    }
  });
  Sheet& sheet = sheet_of_thread();
  std::atomic<double> inside{0};
  Frame own = frame;
  own.inside = &inside;
  const double share = 1.0 / frame.parts;
  const auto begin = Clock::now();
  auto before = begin;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    inside.store(0, std::memory_order_relaxed);
    own.ahead = ahead_of(s, frame);
    steps[s]->run(own);
    const auto after = Clock::now();
    const double self = seconds(before, after) * share - inside.load(std::memory_order_relaxed);
    sheet.add(charges_[s].row, {1, std::max(self, 0.0), charges_[s].flops, charges_[s].bytes});
    before = after;
  }
  const double whole = seconds(begin, before) * share;
  frame.inside ? void(frame.inside->fetch_add(whole, std::memory_order_relaxed)) : sheet.run(whole);
}

void PackCharge::end() const {
  const double time = seconds(begin_, Clock::now()) / frame_.parts;
  Sheet& sheet = sheet_of_thread();
  sheet.add(all().number("pack", "", DType::f32), {1, time, 0, 0});
  frame_.inside ? void(frame_.inside->fetch_add(time, std::memory_order_relaxed)) : sheet.run(time);
}

}  // namespace detail

namespace profile {

using detail::all;

void start() {
  const std::lock_guard lock(all().guard);
  for (auto* sheet : all().sheets) sheet->clear();
  all().ended.clear();
  all().ended_plans = 0;
  all().started = detail::Clock::now();
  detail::profiling = true;
}

void stop() {
  const std::lock_guard lock(all().guard);
  if (detail::profiling.exchange(false)) all().stopped = detail::Clock::now();
}

bool running() { return detail::profiling; }

Profile report() {
  const std::lock_guard lock(all().guard);
  Profile result;
  auto sums = all().ended;
  result.plans = all().ended_plans;
  for (auto* sheet : all().sheets) sheet->add_to(sums, result.plans);
  for (const auto& [name, number] : all().numbers) {
    if (static_cast<std::size_t>(number) >= sums.size() || sums[number].calls == 0) continue;
    const auto& [kind, shape, dtype] = name;
    const auto& c = sums[number];
    result.rows.push_back({kind, shape, dtype, c.calls, c.seconds, c.flops, c.bytes});
  }
  std::stable_sort(result.rows.begin(), result.rows.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  result.elapsed = detail::seconds(all().started, running() ? detail::Clock::now() : all().stopped);
  return result;
}

}  // namespace profile

}  // namespace rw

// How a training step of an LSTM grows: time and peak memory along T, B, H, layers and threads, each from the same base. A table, and a
// picture of it: a column an axis, milliseconds, GF/s and MiB one below the other; GF/s beside the peak of independent multiply-adds.
//
// A step is recording, forward, backward and all gradients; packing is inside, for every weight changes before it. Inputs are as wide as
// the hidden state. Memory is the pool's peak above what weights and inputs take. Each point runs in a process of its own, since peaks are
// those of a process. Flop: 3 times 2 B T L 2H 4H.
#include <sys/wait.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <rewind/core/format.hpp>
#include <rewind/core/isa.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>
#include <rewind/rewind.hpp>
#include <rewind/train/plot.hpp>

namespace {

using namespace rw;
using Clock = std::chrono::steady_clock;

struct Point {
  Index t = 32, b = 32, h = 256, l = 1, threads = 1;
  double flop() const { return 3 * 2.0 * double(b * t * l) * 2 * double(h) * 4 * double(h); }
};

struct Axis {
  const char *name, *words;
  Index Point::*extent;
  std::vector<Index> values;
  int power;  // of time in it
};

struct Measured {
  double ms = 0, mib = 0, peak = 0;  ///< a step, its memory, GF/s of independent multiply-adds on as many threads
};

Measured measure(const Point& p, double seconds) {
  set_threads(static_cast<int>(p.threads));
  seed(1);
  const nn::Lstm lstm(p.h, p.h, {.layers = p.l});
  const auto weights = parameters(lstm);
  const Variable x(random::normal({p.t, p.b, p.h})), dy(random::normal({p.t, p.b, p.h}));
  const Index before = pool_statistics().bytes_in_use;
  auto step = [&] {
    std::vector<Variable> inputs{x};
    for (const auto& w : weights) inputs.push_back(w.place.value());
    auto gradients = rw::gradients(sum(lstm(x).first * dy), inputs);
    NoGrad last;
    evaluate(gradients);
  };
  step();
  step();  // the plan and the pool are there
  const Index peak = pool_statistics().peak_bytes - before;
  std::vector<double> times;
  for (double total = 0; times.size() < 5 || (total < seconds && times.size() < 200);) {
    for (const auto& w : weights) w.place.set_value(w.place.value().value().copy());
    const auto start = Clock::now();
    step();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return {times[times.size() / 2] * 1e3, static_cast<double>(peak) / (1 << 20),
          1e-9 * peak_flops(DType::f32, static_cast<int>(p.threads), 10, 0.01)};
}

/// The same in a process of its own.
Measured measure_apart(const Point& p, double seconds) {
  int ends[2];
  Measured result;
  std::fflush(stdout);
  if (::pipe(ends) != 0) fail<IoError>("scale: no pipe for a process");
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      result = measure(p, seconds);
      status = ::write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1;
    } catch (const std::exception& error) {
      fmt::print(stderr, "scale: {}\n", error.what());
    }
    ::_exit(status);
  }
  ::close(ends[1]);
  const bool whole = child > 0 && ::read(ends[0], &result, sizeof result) == sizeof result;
  ::close(ends[0]);
  int status = 0;
  if (child > 0) ::waitpid(child, &status, 0);
  if (!whole || status != 0) fail<IoError>("scale: T {} B {} H {} L {}, {} threads: its process failed", p.t, p.b, p.h, p.l, p.threads);
  return result;
}

struct Row {
  const Axis* axis;
  Point point;
  Measured measured;
  double gfs() const { return point.flop() / measured.ms * 1e-6; }
};

/// The picture in gnuplot's words. Data lie in `csv`: axis, value, ms, GF/s, peak, MiB.
std::string script(const std::string& path, const std::string& csv, const std::vector<Axis>& axes, const std::vector<Row>& rows,
                   const Point& base, const std::string& title) {
  struct Quantity {
    const char *unit, *color;
    int column;
    double (*of)(const Row&);
  };
  const Quantity quantities[] = {{"ms a step", "#2f6db3", 3, [](const Row& r) { return r.measured.ms; }},
                                 {"GF/s", "#c8402f", 4, [](const Row& r) { return std::max(r.gfs(), r.measured.peak); }},
                                 {"MiB at the peak", "#3a8a4d", 6, [](const Row& r) { return r.measured.mib; }}};
  std::string s = train::plot::page(path, 300 * static_cast<int>(axes.size()), 1000);
  s += "set border 3 linecolor '#888888'; unset key; set format y '%g'; set xtics font ',11'; set ytics font ',11'; ";
  s += "set style line 1 linecolor '#aaaaaa' linewidth 1.5 dashtype 2; ";
  s += fmt::format("set multiplot layout 3,{} title {} noenhanced textcolor '#222222' offset 0,-0.3 margins 0.055,0.985,0.065,0.92 ",
                   axes.size(), train::plot::quoted(title));
  s += "spacing 0.038,0.08; ";
  for (const Quantity& q : quantities) {
    const bool rate = q.column == 4;
    double low = HUGE_VAL, high = 0;
    for (const Row& r : rows) low = std::min(low, q.of(r)), high = std::max(high, q.of(r));
    s += rate ? fmt::format("unset logscale; set logscale x; set yrange [0:{}]; ", high * 1.08)
              : fmt::format("set logscale xy; set yrange [{}:{}]; ", low / 1.4, high * 1.4);
    for (const Axis& axis : axes) {
      s += fmt::format("set xrange [{}:{}]; set xtics (", double(axis.values.front()) / 1.25, double(axis.values.back()) * 1.25);
      for (Index value : axis.values) s += fmt::format("{}'{}' {}", value == axis.values.front() ? "" : ", ", value, value);
      s += fmt::format("); set xlabel {} offset 0,0.4 textcolor '#444444'; ", train::plot::quoted(axis.words));
      s += &axis == axes.data() ? fmt::format("set ylabel '{}' offset 0.4,0 textcolor '#444444'; ", q.unit) : "unset ylabel; ";
      const std::string data = fmt::format("{} using (strcol(1) eq '{}' ? $2 : 1/0)", train::plot::quoted(csv), axis.name);
      const int power = q.column == 3 ? axis.power : std::max(axis.power, 0) > 0;
      s += "plot ";
      for (const Row& r : rows)
        if (!rate && power != 0 && r.axis == &axis && r.point.*axis.extent == base.*axis.extent)
          s += fmt::format("{}*(x/{}.0)**({}) with lines linestyle 1, ", q.of(r), base.*axis.extent, power);
      if (rate) s += data + ":5 with lines linestyle 1, ";
      s += fmt::format("{}:{} with linespoints linecolor '{}' linewidth 2 pointtype 7 pointsize 0.8; ", data, q.column, q.color);
    }
  }
  return s + "unset multiplot";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"How time and memory of a training step of an LSTM grow with T, B, H, layers and threads."};
  bool json = false;
  double seconds = 0.4;
  Point base;
  std::string folder = "runs/scale";
  std::vector<Axis> axes{{"T", "T, steps of time", &Point::t, {8, 16, 32, 64, 128, 256}, 1},
                         {"B", "B, batch", &Point::b, {1, 4, 16, 32, 64, 128}, 1},
                         {"H", "H, hidden width", &Point::h, {64, 128, 256, 512, 1024}, 2},
                         {"L", "L, layers", &Point::l, {1, 2, 4, 8}, 1},
                         {"threads", "threads", &Point::threads, {1}, -1}};
  for (Index n = 2; n <= threads(); n *= 2) axes.back().values.push_back(n);
  if (axes.back().values.back() < threads()) axes.back().values.push_back(threads());
  for (Axis& axis : axes)
    app.add_option(fmt::format("--{}", axis.name), axis.values, axis.words)
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::Range(1, axis.extent == &Point::threads ? 1024 : 1 << 20));
  app.add_option("--base",
                 [&](const CLI::results_t& words) {
                   char end = 0;
                   return std::sscanf(words[0].c_str(), "%ldx%ldx%ldx%ld%c", &base.b, &base.t, &base.h, &base.l, &end) == 4 &&
                          std::min({base.b, base.t, base.h, base.l}) > 0;
                 })
      ->type_name("BxTxHxL")
      ->description("where the axes cross [32x32x256x1]");
  app.add_option("--seconds", seconds, "of steps a point, at least five; the median counts")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 600.0));
  app.add_option("--out", folder, "gets scale.csv and scale.png")->capture_default_str();
  app.add_flag("--json", json, "an object a line");
  try {
    app.parse(argc, argv);
    std::filesystem::create_directories(folder);
    const std::string csv = folder + "/scale.csv", picture = folder + "/scale.png";
    std::ofstream file(csv);
    file << "axis,value,ms,gfs,peak_gfs,mib\n";
    if (!json)
      fmt::print("{}, an LSTM's training step; base B {} T {} H {} L {}, 1 thread\n{:<8}{:>7}{:>12}{:>10}{:>8}{:>12}{:>22}\n", name(isa()),
                 base.b, base.t, base.h, base.l, "axis", "", "ms", "GF/s", "share", "MiB", "growth of ms, MiB");
    std::vector<Row> rows;
    for (Axis& axis : axes) {
      std::sort(axis.values.begin(), axis.values.end());
      for (Index value : axis.values) {
        Row row{&axis, base, {}};
        row.point.*axis.extent = value;
        row.measured = measure_apart(row.point, seconds);
        const auto& [p, m] = std::tie(row.point, row.measured);
        file << fmt::format("{},{},{:.4f},{:.2f},{:.2f},{:.3f}\n", axis.name, value, m.ms, row.gfs(), m.peak, m.mib);
        if (json) {
          fmt::print(
              "{{\"axis\": \"{}\", \"B\": {}, \"T\": {}, \"H\": {}, \"L\": {}, \"threads\": {}, \"train_ms\": {:.3f}, "
              "\"train_gfs\": {:.1f}, \"peak_gfs\": {:.1f}, \"peak_mib\": {:.2f}}}\n",
              axis.name, p.b, p.t, p.h, p.l, p.threads, m.ms, row.gfs(), m.peak, m.mib);
        } else {
          const bool first = rows.empty() || rows.back().axis != &axis;
          const double step = first ? 1 : std::log(double(value) / double(rows.back().point.*axis.extent));
          const std::string growth = first ? ""
                                           : fmt::format("^{:.2f}, ^{:.2f}", std::log(m.ms / rows.back().measured.ms) / step,
                                                         std::log(m.mib / rows.back().measured.mib) / step);
          fmt::print("{:<8}{:>7}{:>12.3f}{:>10.1f}{:>8.2f}{:>12.2f}{:>22}\n", axis.name, value, m.ms, row.gfs(), row.gfs() / m.peak, m.mib,
                     growth);
        }
        std::fflush(stdout);
        rows.push_back(row);
      }
    }
    file.close();
    if (!file) fail<IoError>("scale: {} cannot be written", csv);
    const std::string title = fmt::format(
        "an LSTM's training step, from B {}, T {}, H {}, L {}, 1 thread; dashed: in proportion (time with H squared, with threads "
        "inverse), and the peak",
        base.b, base.t, base.h, base.l);
    const std::string said =
        train::plot::draw(picture, [&](const std::string& part) { return script(part, csv, axes, rows, base, title); });
    fmt::print(stderr, "{}\n", said.empty() ? picture : "no picture is drawn: " + said);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "scale: {}\n", error.what());
    return 1;
  }
}

// A recurrent layer's training step, as a user writes it: recording, forward, backward, gradients of x and of all weights.
//
// Before every timed step, outside the clock, every weight changes, so packing is inside. One line a kind and shape; shares are of the peak
// that independent multiply-adds reach in the same run, before or after. Inputs are as wide as the hidden state. Flop: 2 B T 2H G H forward
// (G gates), three times that for training.
#include "cells.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <rewind/core/isa.hpp>
#include <rewind/core/matmul.hpp>
#include <rewind/core/team.hpp>
#include <rewind/rewind.hpp>

namespace {

using namespace rw;
using Clock = std::chrono::steady_clock;

struct Shape3 {
  Index b, t, h;
};

struct Bench {
  int threads;
  bool json, profiled;
  double peak = 0;

  template <class Layer>
  void run(const char* kind, int gates, const Shape3& s, const Layer& layer) {
    const Variable x(random::normal({s.t, s.b, s.h})), dy(random::normal({s.t, s.b, s.h}));
    const auto weights = parameters(layer);
    auto forward = [&] {
      NoGrad values_only;
      Variable y = layer(x).first;
      evaluate(std::span(&y, 1));
    };
    auto train = [&] {
      Variable loss;
      {
        auto y = layer(x).first;
        loss = sum(y * dy);
      }
      std::vector<Variable> xs{x};
      for (const auto& w : weights) xs.push_back(w.place.value());
      auto gradients = rw::gradients(loss, xs);
      NoGrad last;
      evaluate(gradients);
    };
    double flop = 2.0 * double(s.b * s.t) * 2 * double(s.h) * gates * double(s.h);
    double forward_seconds = median(flop, weights, forward, false), train_seconds = median(3 * flop, weights, train, profiled);
    peak = std::max(peak, peak_flops(DType::f32, threads, 20, 0.05));
    double f = flop / forward_seconds * 1e-9, g = 3 * flop / train_seconds * 1e-9;
    if (json) {
      fmt::print(
          "{{\"kind\": \"{}\", \"B\": {}, \"T\": {}, \"H\": {}, \"threads\": {}, \"forward_ms\": {:.3f}, \"train_ms\": {:.3f}, "
          "\"forward_gfs\": {:.1f}, "
          "\"train_gfs\": {:.1f}, \"peak_gfs\": {:.1f}}}\n",
          kind, s.b, s.t, s.h, threads, forward_seconds * 1e3, train_seconds * 1e3, f, g, peak * 1e-9);
    } else {
      fmt::print("{:<8}{:>5}{:>5}{:>6}{:>12.3f}{:>12.3f}{:>10.1f}{:>10.1f}{:>9.2f}\n", kind, s.b, s.t, s.h, forward_seconds * 1e3,
                 train_seconds * 1e3, f, g, g * 1e9 / peak);
    }
    std::fflush(stdout);
    if (!profiled) return;
    auto bounds = train::measure_profile_bounds();
    bounds.flops = peak;
    fmt::print(json ? stderr : stdout, "{}\n", train::profile_table(profile::report(), bounds));
  }

 private:
  template <class Step>
  static double median(double flop, const ParameterList& weights, const Step& step, bool profiled) {
    const int runs = std::clamp(static_cast<int>(1e11 / flop), 5, 200) | 1;  // half a second or more
    std::vector<double> times;
    for (int i = -2; i < runs; ++i) {  // two for the plan and the pool
      if (i == 0 && profiled) profile::start();
      for (const auto& w : weights) w.place.set_value(w.place.value().value().copy());
      const auto start = Clock::now();
      step();
      if (i >= 0) times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    profile::stop();
    std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
    return times[static_cast<std::size_t>(runs / 2)];
  }
};

Shape3 parse(const std::string& text) {
  Shape3 s{};
  char end = 0;
  if (std::sscanf(text.c_str(), "%ldx%ldx%ld%c", &s.b, &s.t, &s.h, &end) != 3 || s.b < 1 || s.t < 1 || s.h < 1)
    throw CLI::ValidationError("--shapes", "BxTxH of positive numbers is needed, such as 32x35x512: got " + text);
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A recurrent layer's training step: milliseconds, GF/s, share of the peak."};
  int threads = 1;
  bool json = false, profiled = false;
  std::vector<std::string> kinds{"LSTM", "GRU", "GRU0", "RNN", "LNLSTM"};
  std::vector<std::string> shapes{"1x35x256", "16x35x128", "32x35x256", "32x35x512", "64x35x512", "20x35x650", "64x100x1024"};
  app.add_option("--threads", threads, "threads of the team")->capture_default_str()->check(CLI::Range(1, 1024));
  app.add_option("--kinds", kinds,
                 "LSTM, GRU (reset after), GRU0 (reset before), RNN; written as a user would: LNLSTM, LSTMCELL (the library's cell under "
                 "another name), LSTMPERM (gates permuted), LSTM4 (a product a gate), LSTMLOOP (a loop by hand)")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::IsMember({"LSTM", "GRU", "GRU0", "RNN", "LNLSTM", "LSTMCELL", "LSTMPERM", "LSTM4", "LSTMLOOP"}));
  app.add_option("--shapes", shapes, "BxTxH")->delimiter(',')->capture_default_str();
  app.add_flag("--json", json, "an object a line");
  app.add_flag("--profile", profiled, "where the time of the training steps went, after each line; with --json on the standard error");
  try {
    app.parse(argc, argv);
    set_threads(threads);
    seed(1);
    Bench measure{threads, json, train::profile_wanted(profiled)};
    measure.peak = peak_flops(DType::f32, threads, 20, 0.05);
    if (!json)
      fmt::print("{}, {} threads, peak {:.1f} GF/s\nkind        B    T     H  forward ms    train ms   forward     train    share\n",
                 name(isa()), threads, measure.peak * 1e-9);
    for (const auto& kind : kinds)
      for (const auto& text : shapes) {
        Shape3 s = parse(text);
        if (kind == "LSTM") measure.run("LSTM", 4, s, nn::Lstm(s.h, s.h));
        if (kind == "GRU") measure.run("GRU", 3, s, nn::Gru(s.h, s.h, {.cell = {nn::Reset::after}}));
        if (kind == "GRU0") measure.run("GRU0", 3, s, nn::Gru(s.h, s.h, {.cell = {nn::Reset::before}}));
        if (kind == "RNN") measure.run("RNN", 1, s, nn::Rnn(s.h, s.h));
        if (kind == "LNLSTM") measure.run("LNLSTM", 4, s, nn::Recurrent<bench::NormLstmCell>(s.h, s.h));
        if (kind == "LSTMCELL") measure.run("LSTMCELL", 4, s, nn::Recurrent<bench::UserLstmCell>(s.h, s.h));
        if (kind == "LSTMPERM") measure.run("LSTMPERM", 4, s, nn::Recurrent<bench::PermutedLstmCell>(s.h, s.h));
        if (kind == "LSTM4") measure.run("LSTM4", 4, s, nn::Recurrent<bench::FourProductsLstmCell>(s.h, s.h));
        if (kind == "LSTMLOOP") measure.run("LSTMLOOP", 4, s, bench::LoopLstm(s.h, s.h));
      }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const Error& error) {
    fmt::print(stderr, "layers: {}\n", error.what());
    return 1;
  }
}

#include <unistd.h>
#include <rewind/train/curve.hpp>
#include <rewind/train/process.hpp>

#include <cmath>
#include <fstream>
#include <sstream>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;

namespace {
std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}
}  // namespace

TEST_CASE("curve: drawn from metrics.csv, whatever stands in path and title") {
  test::Scratch scratch;
  MetricsLog log(scratch.file("it's $(metrics).csv"));
  CHECK(draw_curve(scratch.file("none.svg"),
                   [&] {
                     log.rewrite();
                     return log.path();
                   }(),
                   {}) == "there is no evaluation yet");
  for (Index step = 100; step <= 2000; step += 100) {
    const double x = static_cast<double>(step);
    log.write(
        {.step = step, .tokens = step * 2048, .train_nats = 1.2 + 2 * std::exp(-x / 300), .valid_nats = 1.3 + 2 * std::exp(-x / 300)});
  }
  const CurveOptions options{
      .title = "lstm, 2 x 256: it's \"`a_b`\" {x}", .reference_bits = 1.85, .reference_name = "xz -9, 1.85 bits a character"};
  const std::string svg = scratch.file("cu'rve.svg"), png = scratch.file("curve.png");
  const std::string said = draw_curve(svg, log.path(), options);
  if (run_process({"gnuplot", "--version"}).status == 127) {
    MESSAGE("not run: there is no gnuplot");
    CHECK(said == "there is no gnuplot (Debian's gnuplot-nox)");
    return;
  }
  CHECK(said == "");
  CHECK(draw_curve(png, log.path(), options) == "");
  const std::string drawing = content(svg);
  CHECK(drawing.find("</svg>") != std::string::npos);
  CHECK(drawing.find("validation") != std::string::npos);
  CHECK(drawing.find("xz -9") != std::string::npos);
  CHECK(drawing.find("a_b") != std::string::npos);
  CHECK(content(png).substr(1, 3) == "PNG");
  CHECK(::access((svg + ".part.svg").c_str(), F_OK) != 0);
}

TEST_CASE("curve: one evaluation is enough") {
  if (run_process({"gnuplot", "--version"}).status == 127) {
    MESSAGE("not run: there is no gnuplot");
    return;
  }
  test::Scratch scratch;
  MetricsLog log(scratch.file("metrics.csv"));
  log.write({.step = 1, .tokens = 64, .train_nats = 4, .valid_nats = 4});
  CHECK(draw_curve(scratch.file("curve.svg"), log.path(), {.title = "one"}) == "");
}

#include <sys/stat.h>
#include <rewind/train/metrics.hpp>

#include <fstream>
#include <sstream>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;
using test::error_text;

namespace {
std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Metrics row(Index step) {
  return {.step = step,
          .tokens = 100 * step,
          .train_nats = 2.5,
          .valid_nats = 2,
          .gradient_norm = 0.1,
          .rate = 1e-3,
          .tokens_per_s = 5000,
          .seconds = 1.5};
}

const std::string names = "step,tokens,train_nats,valid_nats,bits_per_char,gradient_norm,rate,tokens_per_s,seconds\n";
const std::string first = "1,100,2.5,2,2.88539008,0.1,0.001,5000,1.5\n", second = "2,200,2.5,2,2.88539008,0.1,0.001,5000,1.5\n";
}  // namespace

TEST_CASE("metrics: rows stand in the file as soon as they are written") {
  test::Scratch scratch;
  MetricsLog log(scratch.file("metrics.csv"));
  log.write(row(1));
  CHECK(content(log.path()) == names + first);
  log.write(row(2));
  CHECK(content(log.path()) == names + first + second);
}

TEST_CASE("metrics: an older run's file is replaced at the first row, not before") {
  test::Scratch scratch;
  std::ofstream(scratch.file("metrics.csv")) << "old";
  MetricsLog log(scratch.file("metrics.csv"));
  CHECK(content(log.path()) == "old");
  log.write(row(1));
  CHECK(content(log.path()) == names + first);
}

TEST_CASE("metrics: resuming drops later rows and one that was cut short") {
  test::Scratch scratch;
  const std::string path = scratch.file("metrics.csv");
  std::ofstream(path) << names << first << second << "3,300,2.";
  MetricsLog log(path);
  log.resume(1);
  CHECK(content(path) == names + first);
  CHECK(log.rows().size() == 1);
  CHECK(log.rows()[0].train_nats == 2.5);
  CHECK(log.rows()[0].seconds == 1.5);
  log.write(row(2));
  CHECK(content(path) == names + first + second);
}

TEST_CASE("metrics: what is read and written again keeps its digits") {
  test::Scratch scratch;
  const std::string path = scratch.file("metrics.csv"), uneven = "1,100,2.5,1.96589688,2.83618967,0.1,0.001,5000,1.5\n";
  std::ofstream(path) << names << uneven;
  MetricsLog log(path);
  log.resume(5);
  CHECK(content(path) == names + uneven);
}

TEST_CASE("metrics: numbers that are not finite come back") {
  test::Scratch scratch;
  MetricsLog log(scratch.file("metrics.csv"));
  Metrics m = row(1);
  m.gradient_norm = HUGE_VAL;
  m.valid_nats = NAN;
  log.write(m);
  MetricsLog again(log.path());
  again.read();
  CHECK(again.rows()[0].gradient_norm == HUGE_VAL);
  CHECK(std::isnan(again.rows()[0].valid_nats));
}

TEST_CASE("metrics: errors") {
  test::Scratch scratch;
  const std::string path = scratch.file("metrics.csv");
  std::ofstream(path) << "a,b\n";
  CHECK(error_text<IoError>([&] { MetricsLog(path).read(); }) ==
        "metrics: " + path + ": line 1 does not name the columns (is it the file of a training run?)");
  std::ofstream(path) << names << first << "2,200,x\n";
  CHECK(error_text<IoError>([&] { MetricsLog(path).read(); }) == "metrics: " + path + ": line 3 is not a row of 9 numbers");
  CHECK_THROWS_AS(MetricsLog(scratch.file("none.csv")).read(), IoError);
  CHECK_THROWS_AS(MetricsLog(scratch.file("no/folder.csv")).write(row(1)), IoError);
  MetricsLog gone(path);
  gone.write(row(1));
  std::remove(path.c_str());
  CHECK(error_text<IoError>([&] { gone.write(row(2)); }) == "metrics: " + path + ": a row cannot be written: No such file or directory");
  CHECK(gone.rows().size() == 1);
}

#include <unistd.h>
#include <rewind/train/plot.hpp>
#include <rewind/train/process.hpp>

#include "../support.hpp"

using namespace rw;
using namespace rw::train;

TEST_CASE("plot: strings in which nothing means anything") {
  CHECK(plot::quoted("it's `a`\n$b \"c\" \\d") == "'it''s `a` $b \"c\" \\d'");
  CHECK(plot::quoted("") == "''");
}

TEST_CASE("plot: a page is drawn and takes its place; what fails leaves the older file and no other") {
  test::Scratch scratch;
  if (run_process({"gnuplot", "--version"}).status == 127) {
    MESSAGE("not run: there is no gnuplot");
    return;
  }
  for (const char* name : {"a.png", "a.svg"}) {
    const std::string path = scratch.file(name);
    CHECK(plot::draw(path, [](const std::string& part) { return plot::page(part, 400, 300) + "plot x"; }) == "");
    CHECK(::access(path.c_str(), R_OK) == 0);
    const std::string said = plot::draw(path, [](const std::string& part) { return plot::page(part, 400, 300) + "plot nothing("; });
    CHECK_MESSAGE(said.starts_with("gnuplot: "), said);
    CHECK(::access(path.c_str(), R_OK) == 0);
    CHECK(::access((path + ".part" + path.substr(path.size() - 4)).c_str(), F_OK) != 0);
  }
}

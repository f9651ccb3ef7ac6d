// Words that must not stand in the sources, and how files begin and how long they are.
#include <doctest/doctest.h>

#include <regex>

#include "source.hpp"

namespace {

using house::all_sources;

void ban(const char* pattern, const char* why) {
  const std::regex word(pattern);
  for (const auto& source : all_sources())
    for (std::size_t i = 0; i < source.code.size(); ++i)
      CHECK_MESSAGE(!std::regex_search(source.code[i], word),
                    source.path << ":" << i + 1 << ": " << source.lines[i] << "  (" << why << ")");
}

}  // namespace

TEST_CASE("house: comments and literals are not code") {
  auto code = house::code_of(
      {"a = \"xt::eval\"; // keep_dims", "b /* immediate", "xt::pad */ c", "n = 10'000; d = '\"'; e", "R\"(xt::tile", ")\" f"});
  CHECK(code == std::vector<std::string>{"a = \"        \";             ", "b /*          ", "        */ c", "n = 10'000; d = ' '; e",
                                         "R\"(        ", ")\" f"});
}

TEST_CASE("house: what xtensor 0.24 computes wrongly is not used") {
  ban("\\bkeep_dims\\b|\\bxt::(evaluation_strategy::)?immediate\\b|\\bimmediate\\b", "reads out of bounds or crashes");
  ban("\\bxt::(eval|pad|tile|variance|load_npy)\\b", "gives garbage, crashes, or trusts a file's header");
  ban("\\bauto\\s+\\w+\\s*=\\s*xt::(sum|prod|mean|amax|amin|minmax|norm_\\w+|stddev|average|count_nonzero|nan\\w+|logical_\\w+)\\s*\\(",
      "a lazy reducer dangles: give the result a type");
}

TEST_CASE("house: nothing is left for later") { ban("\\bassert\\s*\\(", "input can reach it: throw a worded error"); }

TEST_CASE("house: numbers are exact everywhere") {
  for (const auto& source : all_sources())
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const auto& line = source.lines[i];
      bool fast = line.find(
                      "ffast"
                      "-math") != std::string::npos ||
                  line.find(
                      "fp_contract"
                      "(on)") != std::string::npos;
      bool later = line.find(
                       "TO"
                       "DO") != std::string::npos ||
                   line.find(
                       "FIX"
                       "ME") != std::string::npos;
      CHECK_MESSAGE(!fast, source.path << ":" << i + 1 << ": " << line);
      CHECK_MESSAGE(!later, source.path << ":" << i + 1 << ": " << line);
    }
}

TEST_CASE("house: a file says what it is, headers guard themselves, and a long file says why") {
  for (const auto& source : all_sources()) {
    REQUIRE_MESSAGE(!source.lines.empty(), source.path << " is empty");
    bool comment = source.lines[0].starts_with("//"), own_header = source.path.ends_with(".cpp") && source.lines[0].starts_with("#include");
    CHECK_MESSAGE((comment || own_header), source.path << " does not begin with a comment");
    if (source.path.ends_with(".hpp") && !source.path.ends_with(".inl.hpp")) {
      bool guarded = false;
      for (const auto& line : source.lines) guarded = guarded || line == "#pragma once";
      CHECK_MESSAGE(guarded, source.path << " has no #pragma once");
    }
    if (source.lines.size() <= 400) continue;
    bool reason = false;
    for (std::size_t i = 0; i < source.lines.size() && source.lines[i].starts_with("//"); ++i)
      reason = reason || source.lines[i].find("Long because") != std::string::npos;
    CHECK_MESSAGE(reason, source.path << " has " << source.lines.size() << " lines: make it two, or say `Long because ...` at its top");
  }
}

// Who may include whom (docs/design.md), read from the include lines.
#include <doctest/doctest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "source.hpp"

namespace {

using house::all_sources;

/// The headers that are installed, as CMake lists them: "core/tensor.hpp".
std::set<std::string> public_headers() {
  std::set<std::string> found;
  std::istringstream list(house::text_of(REWIND_PUBLIC_HEADERS));
  for (std::string path; std::getline(list, path);) found.insert(path.substr(path.rfind("/rewind/") + 8));
  return found;
}

}  // namespace

TEST_CASE("house: a folder includes only what stands below it") {
  const std::map<std::string, std::set<std::string>> below = {
      {"core", {"core"}},
      {"autograd", {"core", "autograd"}},
      {"nn", {"core", "autograd", "nn"}},
      {"optim", {"core", "autograd", "optim"}},
      {"train", {"core", "autograd", "nn", "optim", "train"}},
  };
  int seen = 0;
  for (const auto& source : all_sources()) {
    auto allowed = below.find(house::folder(source.path));
    if (allowed == below.end()) continue;
    for (const auto& include : house::includes(source)) {
      ++seen;
      CHECK_MESSAGE(include.front() == '<', source.path << " includes " << include << ": write <rewind/...>");
      if (!include.starts_with("<rewind/")) continue;
      auto target = house::folder(include.substr(8));
      CHECK_MESSAGE(allowed->second.contains(target), source.path << " includes " << include);
    }
  }
  CHECK(seen > 0);
}

TEST_CASE("house: each dependency stays in its room") {
  struct Room {
    const char* dependency;
    const char* files;  // who may include it
  };
  const Room rooms[] = {
      {"<xsimd/.*", "core/(isa|simd)/.*"},
      {"<(xtensor|xtl)/.*", "core/xtensor\\.hpp|(tests|examples)/.*"},
      {"<fmt/.*", "core/format\\.hpp|.*\\.cpp"},
      {"<rewind/core/format\\.hpp>", ".*\\.cpp"},
      {"<nlohmann/.*", "(core|train|examples|bench|tests)/.*\\.cpp"},
      {"<CLI/.*", "(examples|bench)/.*"},
      {"<doctest/.*", "tests/.*"},
      {"<(immintrin|xmmintrin|emmintrin|x86intrin)\\.h>", "core/.*"},
  };
  for (const auto& room : rooms) {
    const std::regex dependency(room.dependency), files(room.files);
    for (const auto& source : all_sources())
      for (const auto& include : house::includes(source))
        if (std::regex_search(include, dependency))
          CHECK_MESSAGE(std::regex_match(source.path, files),
                        source.path << " includes " << include << ", which belongs to " << room.files);
  }
}

TEST_CASE("house: public headers stay thin, and include public headers only") {
  const std::regex heavy("<(functional|filesystem|iostream|fstream|sstream|regex|thread|future|format)>");
  const auto headers = public_headers();
  CHECK(headers.contains("core/tensor.hpp"));
  for (const auto& source : all_sources()) {
    if (!headers.contains(source.path)) continue;
    for (const auto& include : house::includes(source)) {
      const bool closures = include == "<functional>" && (source.path == "autograd/custom.hpp" || source.path == "autograd/gradcheck.hpp");
      CHECK_MESSAGE((closures || !std::regex_match(include, heavy)),
                    source.path << " includes " << include << ": its cost falls on every user's file");
      if (include.starts_with("<rewind/"))
        CHECK_MESSAGE(headers.contains(include.substr(8, include.size() - 9)),
                      source.path << " includes " << include << ", which is not installed");
    }
  }
}

TEST_CASE("house: nn holds forward formulas only") {
  const std::regex rule("\\bgradients?\\w*\\b|\\bcustom\\s*\\(|\\bbackward\\s*\\(|\\bvjp\\b");
  for (const auto& source : all_sources())
    if (source.path.starts_with("nn/"))
      for (std::size_t i = 0; i < source.code.size(); ++i)
        CHECK_MESSAGE(!std::regex_search(source.code[i], rule), source.path << ":" << i + 1 << ": " << source.lines[i]);
}

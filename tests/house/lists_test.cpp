// The lists of files in CMake name every file, since there are no globs: a forgotten test would pass for ever.
#include <doctest/doctest.h>

#include <regex>

#include "source.hpp"

TEST_CASE("house: every source and every header stands in a CMake list") {
  const std::filesystem::path root = REWIND_SOURCE_DIR;
  for (const auto& source : house::all_sources()) {
    if (source.path.starts_with("tests/consumers/")) continue;
    std::filesystem::path list = root / source.path, folder;
    do list = list.parent_path();
    while (!exists(list / "CMakeLists.txt"));
    auto name = std::filesystem::relative(root / source.path, list).generic_string();
    bool library = source.path.ends_with(".hpp") && !source.path.starts_with("tests/") && !source.path.starts_with("examples/") &&
                   !source.path.starts_with("bench/");
    if (source.path.ends_with(".hpp") && !library) continue;
    std::string pattern;
    for (char c : name) pattern += c == '.' || c == '+' ? std::string("\\") + c : std::string(1, c);
    auto text = house::text_of(list / "CMakeLists.txt");
    CHECK_MESSAGE(std::regex_search(text, std::regex("(^|[\\s(/])" + pattern + "(?=[\\s)])")),
                  source.path << " is not named in " << (list / "CMakeLists.txt"));
  }
}
